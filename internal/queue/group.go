package queue

import (
	"iter"

	"github.com/penstock-io/penstock/internal/task"
)

// queueOf is a queue: settings, exact counts, lanes, and who serves them.
//
//	queue ─ level (a priority) ─ heap of groups (a type) ─ heap of lanes ─ tasks
//
// A worker that serves every type takes the first lane of the first group; one
// that serves some looks at their groups alone. Lanes that a gate holds are not
// in the heaps.
type queueOf struct {
	state  QueueState
	dirty  bool
	levels [task.PriorityMax + 1]level

	types    map[string]*typeOf
	typeList []*typeOf
	lanes    []*lane
	lanesTop int                  // most lanes there were
	byName   map[uint64]*lane     // by hash of priority and names; others through same
	lastLane *lane                // the one asked for last: producers repeat themselves
	inUse    map[LaneNum]struct{} // numbers of lanes, once they have begun anew (makeLane)
	paused   parked

	inTurn    int       // lanes that have something to dispatch,
	inNamed   int       // and those of types that sessions name
	servedAll int       // sessions that serve every type
	lastAll   task.Time // when the last one was here
	workers   int       // sessions that serve any
	named     int       // sessions that name it, be they connected or not
	left      task.Time // when the last of these left
	open      int       // what could be dispatched: ready in memory, and lanes whose first task has to be read; without parked lanes
	birthsIn  int64     // births in memory, running ones too
	timedIn   int64     // timed tasks likewise
	alone     uint64    // Apply in which tasks last went to the store alone,
	aloneNow  [3]int64  // and how many did so in it, by class

	idemBytes int64 // of idempotency entries that are not brief

	tasks [task.Expired + 1]int64 // live ones by state (event.go); of other states it tells nothing
}

// level is one priority of a queue: the types that have lanes to dispatch from.
type level = heap[*group, groupOrder]

// typeOf is a type as a queue knows it, while it has lanes or somebody serves it.
type typeOf struct {
	name   string
	queue  *queueOf
	groups *group // one a priority, through next
	last   task.Time
	list   int32 // in the queue's list + 1
	lanes  int32 // of all groups
	inTurn int32 // lanes that have something to dispatch
	served int32 // sessions that name it
	open   int32 // as the queue's
}

// group is the lanes of one type at one priority of a queue.
type group struct {
	typ   *typeOf
	prio  uint8
	next  *group
	held  int                     // lanes, whether or not they have something to dispatch
	lanes heap[laneAt, laneOrder] // those that have
	pos   int                     // in its level + 1
}

// laneAt is a lane in a heap, with where its first task stands: to compare them no
// lane is looked at.
type laneAt struct {
	at   position
	lane *lane
}

// laneOrder is the order of lanes by their first tasks.
type laneOrder struct{}

func (laneOrder) less(a, b laneAt) bool    { return a.at.less(b.at) }
func (laneOrder) placed(x laneAt, pos int) { x.lane.pos = int32(pos) }

// groupOrder is the order of groups by their first lanes.
type groupOrder struct{}

func (groupOrder) less(a, b *group) bool    { return a.lanes.items[0].at.less(b.lanes.items[0].at) }
func (groupOrder) placed(g *group, pos int) { g.pos = pos }

// typeNamed finds what the queue knows of a type, or begins to.
func (m *Machine) typeNamed(q *queueOf, name string) *typeOf {
	t := q.types[name]
	if t == nil {
		t = &typeOf{name: name, queue: q, last: m.now}
		q.types[name] = t
		q.typeList = append(q.typeList, t)
		t.list = int32(len(q.typeList))
	}
	return t
}

// dropType forgets a type that has no lanes and that no session names.
func (m *Machine) dropType(t *typeOf) {
	if t.lanes > 0 || t.served > 0 {
		return
	}
	q := t.queue
	delete(q.types, t.name)
	last := len(q.typeList) - 1
	q.typeList[t.list-1] = q.typeList[last]
	q.typeList[t.list-1].list = t.list
	q.typeList[last] = nil
	q.typeList = q.typeList[:last]
	if last == 0 {
		q.typeList, q.types = nil, map[string]*typeOf{}
	}
}

func (t *typeOf) at(prio uint8) *group {
	for g := t.groups; g != nil; g = g.next {
		if g.prio == prio {
			return g
		}
	}
	return nil
}

func (m *Machine) groupFor(q *queueOf, prio uint8, typ string) *group {
	t := m.typeNamed(q, typ)
	g := t.at(prio)
	if g == nil {
		g = &group{typ: t, prio: prio, next: t.groups}
		t.groups = g
	}
	return g
}

func (m *Machine) dropGroup(g *group) {
	p := &g.typ.groups
	for *p != g {
		p = &(*p).next
	}
	*p = g.next
}

// fixGroup puts the group where its first lane belongs.
func (m *Machine) fixGroup(g *group) {
	lv := &g.typ.queue.levels[g.prio]
	switch empty := g.lanes.len() == 0; {
	case empty && g.pos != 0:
		m.takeGroup(lv, g)
	case !empty && g.pos == 0:
		lv.push(g)
	case !empty:
		lv.fix(g.pos - 1)
	}
}

// takeGroup takes an empty group out of its level: it can't be compared.
func (m *Machine) takeGroup(lv *level, g *group) {
	last := len(lv.items) - 1
	p := g.pos - 1
	lv.items[p] = lv.items[last]
	lv.items[p].pos = p + 1
	lv.items[last] = nil
	lv.items = lv.items[:last]
	g.pos = 0
	if p != last {
		lv.fix(p)
	}
}

// serves is which types a worker takes.
type serves struct {
	all   bool
	names []string
	set   map[string]struct{}
}

func newServes(types []string) serves {
	sv := serves{all: types == nil, names: types}
	if !sv.all {
		sv.set = make(map[string]struct{}, len(types))
		for _, t := range types {
			sv.set[t] = struct{}{}
		}
	}
	return sv
}

func (sv *serves) has(name string) bool {
	if sv.all {
		return true
	}
	_, ok := sv.set[name]
	return ok
}

// pick is the lane whose first task is next for a worker that serves sv: strict
// priority, then the task that became ready first. It may be one that has to be
// read, or that a gate holds; nothing behind it may go before that is known.
func (m *Machine) pick(q *queueOf, sv *serves) *lane {
	for p := task.PriorityMax; p >= 0; p-- {
		lv := &q.levels[p]
		if lv.len() == 0 {
			continue
		}
		if sv.all {
			return lv.items[0].lanes.items[0].lane
		}
		if g := m.pickGroup(q, uint8(p), sv); g != nil {
			return g.lanes.items[0].lane
		}
	}
	return nil
}

// pickGroup is the first group of a level that sv serves.
func (m *Machine) pickGroup(q *queueOf, prio uint8, sv *serves) *group {
	if first := q.levels[prio].items[0]; sv.has(first.typ.name) {
		return first
	}
	var best *group
	for g := range q.groups(prio, sv) {
		if best == nil || (groupOrder{}).less(g, best) {
			best = g
		}
	}
	return best
}

// groups are those of a level that sv, which names types, serves, in no order
// that counts. It looks at what is fewer: the types served, or those that have
// something.
func (q *queueOf) groups(prio uint8, sv *serves) iter.Seq[*group] {
	return func(yield func(*group) bool) {
		if lv := &q.levels[prio]; len(lv.items) <= len(sv.names) {
			for _, g := range lv.items {
				if sv.has(g.typ.name) && !yield(g) {
					return
				}
			}
			return
		}
		for _, name := range sv.names {
			t := q.types[name]
			if t == nil || t.open == 0 {
				continue
			}
			if g := t.at(prio); g != nil && g.pos != 0 && !yield(g) {
				return
			}
		}
	}
}

// openFor is how much could be dispatched to a worker that serves sv, up to most.
func (q *queueOf) openFor(sv *serves, most int) int {
	if sv.all || q.open == 0 {
		return min(q.open, most)
	}
	n := 0
	if len(q.typeList) <= len(sv.names) {
		for _, t := range q.typeList {
			if t.open > 0 && sv.has(t.name) {
				n += int(t.open)
			}
		}
		return min(n, most)
	}
	for _, name := range sv.names {
		if t := q.types[name]; t != nil {
			if n += int(t.open); n >= most {
				return most
			}
		}
	}
	return n
}

// countServing counts a session in, or out (n = -1), of those that serve its
// queues.
func (m *Machine) countServing(s *session, n int) {
	for _, sq := range s.queues {
		m.countServingIn(s, sq.queue, n)
	}
}

func (m *Machine) countServingIn(s *session, q *queueOf, n int) {
	q.workers += n
	m.inTurn -= q.servedInTurn()
	defer func() { m.inTurn += q.servedInTurn() }()
	if s.serves.all {
		q.servedAll += n
		q.lastAll = m.now
		return
	}
	for _, name := range s.serves.names {
		t := m.typeNamed(q, name)
		was := t.served > 0
		t.served += int32(n)
		if is := t.served > 0; is != was {
			q.inNamed += int(t.inTurn) * (btoi(is) - btoi(was))
		}
		t.last = m.now
		if n < 0 {
			m.dropType(t)
		}
	}
}

// servedInTurn is how many lanes of the queue have something for workers that are
// here.
func (q *queueOf) servedInTurn() int {
	if q.servedAll > 0 {
		return q.inTurn
	}
	return q.inNamed
}

// countInTurn counts lanes of a type that come to have something to dispatch.
func (m *Machine) countInTurn(t *typeOf, n int) {
	t.inTurn += int32(n)
	t.queue.inTurn += n
	if t.served > 0 {
		t.queue.inNamed += n
	}
	if t.isServed() {
		m.inTurn += n
	}
}

// isServed says whether a worker that takes this type is here.
func (t *typeOf) isServed() bool { return t.served > 0 || t.queue.servedAll > 0 }

// lastServed is when one was here last, or could have been: when the owner itself
// was stopped last, nobody could.
func (t *typeOf) lastServed(now, stopped task.Time) task.Time {
	if t.isServed() {
		return now
	}
	return max(t.last, t.queue.lastAll, stopped)
}
