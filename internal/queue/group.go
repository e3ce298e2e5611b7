package queue

import "github.com/penstock-io/penstock/internal/task"

// queueOf is a queue: settings, exact counts, lanes, and who serves them.
//
//	queue ─ level (a priority) ─ heap of groups (a type) ─ heap of lanes ─ tasks
//
// A worker that serves every type takes the first lane of the first group; one
// that names some has a menu with the first of each (menu.go). Lanes that a gate
// holds are not in the heaps.
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
	shut     uint8                // the gate that holds all of it, + 1
	menus    []*menu
	full     *menu // that of workers that take every type; nil: there are none

	inTurn   int       // lanes that have something to dispatch,
	inNamed  int       // and those of types that sessions name
	lastAll  task.Time // when the last one was here
	workers  int       // sessions that serve any
	named    int       // sessions that name it, be they connected or not
	left     task.Time // when the last of these left
	open     int       // what could be dispatched: ready in memory, and lanes whose first task has to be read; without parked lanes
	birthsIn int64     // births in memory, running ones too
	timedIn  int64     // timed tasks likewise
	alone    uint64    // Apply in which tasks last went to the store alone,
	aloneNow [3]int64  // and how many did so in it, by class

	idemBytes int64 // of idempotency entries that are not brief

	tasks [task.Expired + 1]int64 // live ones by state (event.go); of other states it tells nothing
}

// level is one priority of a queue: the types that have lanes to dispatch from.
type level = heap[*group, groupOrder]

// typeOf is a type as a queue knows it, while it has lanes.
type typeOf struct {
	name   string
	queue  *queueOf
	groups *group // one a priority, through next
	last   task.Time
	list   int32 // in the queue's list + 1
	lanes  int32 // of all groups
	inTurn int32 // lanes that have something to dispatch
	served int32 // menus that name it, and that a worker which is here has
	open   int32 // as the queue's
	run    int32 // tasks that run

	offers     []*offer // one a menu that names it
	away       int32    // of them, those in no heap
	latestPrio uint8    // none of the others stands in its heap later than here
	latest     position
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
		for _, sv := range m.naming[name] {
			if mn := sv.menus[q]; mn != nil {
				m.offer(mn, t)
			}
		}
	}
	return t
}

// dropType forgets a type that has no lanes.
func (m *Machine) dropType(t *typeOf) {
	if t.lanes > 0 {
		return
	}
	t.withdraw()
	q := t.queue
	delete(q.types, t.name)
	q.typeList = swapOut(q.typeList, int(t.list-1))
	if q.typeList == nil {
		q.types = map[string]*typeOf{}
	} else if int(t.list) <= len(q.typeList) {
		q.typeList[t.list-1].list = t.list
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
	m.putUp(g.typ)
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

// servedInTurn is how many lanes of the queue have something for workers that are
// here.
func (q *queueOf) servedInTurn() int {
	if q.shut != 0 {
		return 0
	}
	if q.servedAll() {
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
	if t.queue.shut == 0 && (t.served > 0 || t.queue.servedAll()) {
		m.inTurn += n
	}
}

// servedAll says whether a worker that takes every type is here.
func (q *queueOf) servedAll() bool { return q.full != nil && q.full.workers > 0 }

// isServed says whether a worker that takes this type is here, or has a task of it.
func (t *typeOf) isServed() bool { return t.served > 0 || t.run > 0 || t.queue.servedAll() }

// lastServed is when one was here last, or could have been: when the owner itself
// was stopped last, nobody could.
func (t *typeOf) lastServed(now, stopped task.Time) task.Time {
	if t.isServed() {
		return now
	}
	return max(t.last, t.queue.lastAll, stopped)
}
