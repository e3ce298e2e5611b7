package queue

import "fmt"

// gate is a rule that may keep tasks from being dispatched, whoever serves them.
// One that holds a whole queue shuts it: nothing of it is looked at then, however
// many lanes it has. It is asked about a lane only when the lane's first task is
// next; a lane that it holds is parked with it and costs nothing until the gate
// wakes it. A new rule is a file with a gate, and a line in gates.
type gate interface {
	// shuts says whether nothing of the queue may go now. Whoever changes that calls
	// Machine.askGates.
	shuts(q *queueOf) bool
	// holds says whether the lane's first task may not go now.
	holds(l *lane) bool
	// parked is where lanes that this lane is held with are kept.
	parked(l *lane) *parked
	// why tells people what holds the lane, and what would let it go.
	why(l *lane) string
	// check verifies what the gate keeps, for tests.
	check(m *Machine) error
}

// parked is the lanes that one gate holds for one reason, by their first tasks.
type parked = heap[laneAt, laneOrder]

// gates are the rules, in the order in which they are asked and named.
var gates = []gate{pauseGate{}}

// askGates asks whether one holds the whole queue.
func (m *Machine) askGates(q *queueOf) {
	m.inTurn -= q.servedInTurn()
	q.shut = 0
	for i, g := range gates {
		if g.shuts(q) {
			q.shut = uint8(i + 1)
			break
		}
	}
	m.inTurn += q.servedInTurn()
	if q.shut == 0 && q.open > 0 {
		for _, mn := range q.menus {
			m.rouse(mn)
		}
	}
}

// park asks the gates about a lane that is next, and parks it with the first that
// holds it.
func (m *Machine) park(l *lane) bool {
	for i, g := range gates {
		if !g.holds(l) {
			continue
		}
		m.countOpen(l, -int(l.ready)-btoi(l.stored))
		m.countInTurn(l.group.typ, -1)
		l.group.lanes.remove(int(l.pos - 1))
		m.fixGroup(l.group)
		l.gate = uint8(i + 1)
		g.parked(l).push(laneAt{l.at, l})
		return true
	}
	return false
}

// fixParked keeps a parked lane where its first task belongs. One that has none
// any more is let go.
func (m *Machine) fixParked(l *lane, at position, stored, any bool) {
	p := gates[l.gate-1].parked(l)
	l.stored = stored && any
	if any {
		l.at = at
		p.set(int(l.pos-1), laneAt{at, l})
		return
	}
	p.remove(int(l.pos - 1))
	l.gate = 0
}

// wake lets every lane go that is parked in p: whatever may still hold it is
// asked when it is next.
func (m *Machine) wake(p *parked) {
	for p.len() > 0 {
		l := p.items[p.len()-1].lane
		p.remove(p.len() - 1)
		l.gate = 0
		m.countOpen(l, int(l.ready)+btoi(l.stored))
		m.fixLane(l)
	}
}

// whyHeld is what gates say of the lane: of all, not only of the one that it is
// parked with.
func whyHeld(l *lane) string {
	for _, g := range gates {
		if g.shuts(l.queue()) || g.holds(l) {
			return g.why(l)
		}
	}
	return ""
}

// pauseGate shuts a paused queue.
type pauseGate struct{}

func (pauseGate) shuts(q *queueOf) bool { return q.state.Paused }
func (pauseGate) holds(*lane) bool      { return false }
func (pauseGate) parked(*lane) *parked  { return nil }
func (pauseGate) why(*lane) string      { return "its queue is paused" }

func (pauseGate) check(m *Machine) error {
	for _, q := range m.queues {
		if shut := q.shut != 0; shut != q.state.Paused {
			return fmt.Errorf("queue %q: paused %v, shut %v", q.state.Name, q.state.Paused, shut)
		}
	}
	return nil
}
