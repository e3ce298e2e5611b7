package queue

import "github.com/penstock-io/penstock/internal/task"

// level is one priority of one queue: its lanes that have a task to dispatch,
// and those whose head is still in the store.
type level struct {
	heap  []*lane // by the first task's (ready, seq)
	tails []*lane // lanes that have tasks in the store alone
}

// queueOf is a queue: settings, exact counts, lanes.
type queueOf struct {
	state    QueueState
	dirty    bool
	types    []string // by lane number - 1
	typeNum  map[string]uint32
	levels   [task.PriorityMax + 1]level
	lanes    []*lane
	byLane   [task.PriorityMax + 1][]*lane // by priority and type number
	lastType string                        // the type seen last, and its number: producers repeat themselves
	lastNum  uint32

	inReady     int   // ready in memory
	running     int64 // leased
	timedActive int64 // of the timed class, in memory and past their time (ready, held or running)
	held        int64
}

func (m *Machine) headLess(a, b *lane) bool {
	x, y := m.slab.at(m.first(a)), m.slab.at(m.first(b))
	return x.ready < y.ready || x.ready == y.ready && x.seq < y.seq
}

// fixLevel puts the lane where its head belongs.
func (m *Machine) fixLevel(l *lane) {
	lv := &l.queue.levels[l.prio]
	empty := l.head == NoSlot && len(l.returned) == 0
	switch {
	case empty && l.heap != 0:
		m.levelRemove(lv, l.heap-1)
	case !empty && l.heap == 0:
		lv.heap = append(lv.heap, l)
		l.heap = len(lv.heap)
		m.levelUp(lv, l.heap-1)
	case !empty && len(lv.heap) > 1:
		m.levelDown(lv, l.heap-1)
		m.levelUp(lv, l.heap-1)
	}
}

func (m *Machine) levelSwap(lv *level, a, b int) {
	lv.heap[a], lv.heap[b] = lv.heap[b], lv.heap[a]
	lv.heap[a].heap, lv.heap[b].heap = a+1, b+1
}

func (m *Machine) levelUp(lv *level, p int) {
	for p > 0 {
		q := (p - 1) / 2
		if !m.headLess(lv.heap[p], lv.heap[q]) {
			return
		}
		m.levelSwap(lv, p, q)
		p = q
	}
}

func (m *Machine) levelDown(lv *level, p int) {
	for {
		c := 2*p + 1
		if c >= len(lv.heap) {
			return
		}
		if c+1 < len(lv.heap) && m.headLess(lv.heap[c+1], lv.heap[c]) {
			c++
		}
		if !m.headLess(lv.heap[c], lv.heap[p]) {
			return
		}
		m.levelSwap(lv, p, c)
		p = c
	}
}

func (m *Machine) levelRemove(lv *level, p int) {
	lv.heap[p].heap = 0
	last := len(lv.heap) - 1
	if p != last {
		lv.heap[p] = lv.heap[last]
		lv.heap[p].heap = p + 1
	}
	lv.heap[last] = nil
	lv.heap = lv.heap[:last]
	if p != last {
		m.levelDown(lv, p)
		m.levelUp(lv, p)
	}
}

// pick is the lane whose first task is next for a worker that serves sv: strict
// priority, then the head that became ready first. nil: nothing, or (stalled) a
// served lane of that rank is still being read from the store, or what is next is
// held for the worker that may be running it.
func (m *Machine) pick(q *queueOf, sv *serves) *lane {
	if q.state.Paused {
		return nil
	}
	for p := task.PriorityMax; p >= 0; p-- {
		lv := &q.levels[p]
		if m.stalledFor(lv, q, sv) {
			return nil
		}
		var best *lane
		for i, l := range lv.heap {
			if sv.has(q, l.num) && (best == nil || m.headLess(l, best)) {
				best = l
				if i == 0 {
					break
				}
			}
		}
		if best != nil {
			if m.slab.at(m.first(best)).state == slotHeld {
				return nil // nothing behind it may go first
			}
			return best
		}
	}
	return nil
}

// stalledFor says whether a lane that sv serves has its head in the store. Then
// nothing behind it may go first.
func (m *Machine) stalledFor(lv *level, q *queueOf, sv *serves) bool {
	for _, l := range lv.tails {
		if m.isStalled(l) && sv.has(q, l.num) {
			return true
		}
	}
	return false
}

// fixTail keeps the level's list of lanes with tasks in the store alone.
func (m *Machine) fixTail(l *lane) {
	lv := &l.queue.levels[l.prio]
	has := l.more || l.timedMore
	switch {
	case has && l.tailPos == 0:
		lv.tails = append(lv.tails, l)
		l.tailPos = len(lv.tails)
		m.tails = append(m.tails, l)
		l.tailAll = len(m.tails)
	case !has && l.tailPos != 0:
		last := len(lv.tails) - 1
		lv.tails[l.tailPos-1] = lv.tails[last]
		lv.tails[l.tailPos-1].tailPos = l.tailPos
		lv.tails = lv.tails[:last]
		l.tailPos = 0
		last = len(m.tails) - 1
		m.tails[l.tailAll-1] = m.tails[last]
		m.tails[l.tailAll-1].tailAll = l.tailAll
		m.tails = m.tails[:last]
		l.tailAll = 0
	}
}

// isStalled: the lane's next task is in the store, and nothing of it is in memory
// that could go before.
func (m *Machine) isStalled(l *lane) bool {
	if l.head == NoSlot && l.more {
		return true
	}
	return l.timedMore && l.horizon.due <= m.now
}

// serves is which types of a queue a worker takes.
type serves struct {
	all   bool
	names map[string]struct{}
	cache map[*queueOf][]int8 // by lane number: 0 not asked yet, 1 yes, 2 no
}

func newServes(types []string) serves {
	sv := serves{all: types == nil}
	if !sv.all {
		sv.names = make(map[string]struct{}, len(types))
		for _, t := range types {
			sv.names[t] = struct{}{}
		}
		sv.cache = map[*queueOf][]int8{}
	}
	return sv
}

func (sv *serves) has(q *queueOf, num uint32) bool {
	if sv.all {
		return true
	}
	c := sv.cache[q]
	if int(num) > len(c) {
		c = append(c, make([]int8, int(num)-len(c)+8)...)
		sv.cache[q] = c
	}
	if c[num-1] == 0 {
		c[num-1] = 2
		if _, ok := sv.names[q.types[num-1]]; ok {
			c[num-1] = 1
		}
	}
	return c[num-1] == 1
}
