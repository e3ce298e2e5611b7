package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// Names are what the machine looks at of what a task is. Tasks of one queue and
// priority whose names are the same stand in one lane.
type Names struct {
	Type   string
	Key    string
	Limits []string // extra limit keys
}

func namesOf(s *task.Spec) Names { return Names{s.Type, s.Key, s.LimitKeys} }

// hash finds the lane of a priority and names.
func (n *Names) hash(prio uint8) uint64 {
	h := uint64(14695981039346656037) // FNV-1a
	add := func(s string) {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	add(n.Type)
	if n.Key != "" || len(n.Limits) > 0 {
		add(n.Key)
		for _, l := range n.Limits {
			add(l)
		}
	}
	return h ^ uint64(prio)<<56
}

// lane is a set of waiting tasks that every gate treats alike: one queue,
// priority, type, key and set of extra limit keys. It exists here while it has
// tasks, in memory or in the store; in the store it is nothing but their records.
// In memory it is a window at the front of two streams. Where it stands among
// others is where its first task does, be that in memory or not; one whose first
// task has to be read holds up those behind it until it is.
//
// Rejected: a lane by a registered type, which nothing could ever take back; a
// lane in memory only while tasks of it are, which would lose sight of who is
// first in the store.
type lane struct {
	group *group // its queue, priority and type
	key   string
	side  *side   // nil: it never had timed or returned tasks, nor limit keys
	born  *stream // births in the store alone; nil: there never were any
	same  *lane   // the next one whose names have the same hash
	at    position

	newestBirth task.Seq // no birth of it is above; 0 = there are none, or none since the start

	no   laneNo  // index in Machine.lanes
	num  LaneNum // in store keys, among those of its queue
	pos  int32   // in its group's heap, or in its gate's, + 1
	list int32   // in its queue's list + 1

	head, tail     Slot   // ready births, by sequence
	oldest, newest Slot   // births in memory by sequence, running ones too
	tasks          int32  // in memory, running ones too
	waiting        int32  // in memory and not running: ready, scheduled or held
	ready          int32  // ready in memory
	window         int32  // how many tasks the lane may keep in memory
	chunk          int32  // how many are read at once at least: it grows when a worker has to wait for the lane
	period         uint32 // in which a worker took from it last
	sinceMark      int32  // dispatches since its marks were written
	lowPos         int32  // in Machine.low + 1

	calendar bool  // its tasks are timed by the wall clock (clock.go)
	gate     uint8 // that it is parked at, + 1
	stored   bool  // its first task is in the store alone
	urged    uint8 // in Machine.urged: urgedFirst or urgedNext
	fading   bool  // in Machine.fading: it may have no more tasks
	marked   bool  // a mark of it is in the store
	gone     bool  // let go of
}

// side is what most lanes don't need.
type side struct {
	limits    []string
	returned  heap[Slot, readyOrder] // ready and held tasks that are no fresh births
	timed     stream
	order     timedOrder
	timedIn   int       // timed tasks in memory, running ones too
	wake      task.Time // when timed tasks must be loaded, or are due
	wakePos   int       // in Machine.wakes + 1
	timedMark task.Time // of the low-water mark that is written
	scheduled Slot      // scheduled tasks in memory, through next and prev
}

// position is where a task stands in the order of a priority: by the time it
// became ready, then by sequence.
type position struct {
	ready task.Time
	seq   task.Seq
}

func (a position) less(b position) bool {
	return a.ready < b.ready || a.ready == b.ready && a.seq < b.seq
}

func (a position) compare(b position) int {
	return cmp.Or(cmp.Compare(a.ready, b.ready), cmp.Compare(a.seq, b.seq))
}

// readyOrder is the order of tasks that are ready.
type readyOrder struct{ slab *slab }

func (o readyOrder) less(a, b Slot) bool {
	x, y := o.slab.at(a), o.slab.at(b)
	return x.ready < y.ready || x.ready == y.ready && x.seq < y.seq
}

func (o readyOrder) placed(i Slot, pos int) { o.slab.at(i).pos = uint32(pos) }

func (l *lane) queue() *queueOf { return l.group.typ.queue }

func (l *lane) prio() uint8 { return l.group.prio }

// names are the lane's names.
func (l *lane) names() Names {
	n := Names{Type: l.group.typ.name, Key: l.key}
	if l.side != nil {
		n.Limits = l.side.limits
	}
	return n
}

func (l *lane) is(n *Names, calendar bool) bool {
	if l.calendar != calendar || l.group.typ.name != n.Type || l.key != n.Key {
		return false
	}
	if l.side == nil {
		return len(n.Limits) == 0
	}
	return slices.Equal(l.side.limits, n.Limits)
}

// births is the lane's stream of births, made when the first one stays in the
// store alone.
func (l *lane) births() *stream {
	if l.born == nil {
		l.born = &stream{}
	}
	return l.born
}

func (l *lane) moreBirths() bool { return l.born != nil && l.born.more }

func (l *lane) moreTimed() bool { return l.side != nil && l.side.timed.more }

// returned is how many ready tasks are no fresh births.
func (l *lane) returned() int {
	if l.side == nil {
		return 0
	}
	return l.side.returned.len()
}

// sideOf makes the lane's side if there is none.
func (m *Machine) sideOf(l *lane) *side {
	if l.side == nil {
		l.side = &side{scheduled: NoSlot, returned: heap[Slot, readyOrder]{by: readyOrder{&m.slab}}}
	}
	return l.side
}

// first is the ready task in memory that is to be dispatched next; NoSlot: there
// is none.
func (m *Machine) first(l *lane) Slot {
	if l.returned() == 0 {
		return l.head
	}
	r := l.side.returned.items[0]
	if l.head == NoSlot {
		return r
	}
	a, b := m.slab.at(l.head), m.slab.at(r)
	if b.ready < a.ready || b.ready == a.ready && b.seq < a.seq {
		return r
	}
	return l.head
}

// front is where the lane's first task stands, and whether that is in the store
// alone. What is in memory and stands before it needs not wait for it: so an
// overdue backlog is dispatched while it is being read.
func (m *Machine) front(l *lane) (at position, stored, any bool) {
	if i := m.first(l); i != NoSlot {
		s := m.slab.at(i)
		at, any = position{s.ready, s.seq}, true
	}
	if l.moreBirths() {
		if t := l.born.birthAt(); !any || t.less(at) {
			at, stored, any = t, true, true
		}
	}
	if l.moreTimed() && l.side.timed.next.due <= m.clockOf(l) {
		if t := m.timedAt(l); !any || t.less(at) {
			at, stored, any = t, true, true
		}
	}
	return at, stored, any
}

// fixLane puts the lane where its first task belongs: in its group's heap, in
// its gate's while it is parked, or nowhere.
func (m *Machine) fixLane(l *lane) {
	at, stored, any := m.front(l)
	if l.gate != 0 {
		m.fixParked(l, at, stored, any)
		return
	}
	g := l.group
	if was := l.stored; was != (stored && any) {
		l.stored = stored && any
		m.countOpen(l, btoi(l.stored)-btoi(was))
	}
	switch {
	case any && l.pos == 0:
		l.at = at
		m.countInTurn(g.typ, 1)
		g.lanes.push(laneAt{at, l})
	case any && l.at != at:
		l.at = at
		g.lanes.set(int(l.pos-1), laneAt{at, l})
	case !any && l.pos != 0:
		m.countInTurn(g.typ, -1)
		g.lanes.remove(int(l.pos - 1))
	default:
		return
	}
	m.fixGroup(g)
}

func btoi(b bool) int {
	if b {
		return 1
	}
	return 0
}

// countOpen counts what could be dispatched of the lane, if it is not parked: its
// ready tasks in memory, and one if its first has to be read.
func (m *Machine) countOpen(l *lane, n int) {
	if l.gate != 0 {
		return
	}
	t := l.group.typ
	q := t.queue
	t.open += int32(n)
	q.open += n
	if n <= 0 || q.shut != 0 {
		return
	}
	if int(t.open) == n {
		m.rouseType(t)
	}
	if q.open == n && q.full != nil {
		m.rouse(q.full)
	}
}

func (m *Machine) countReady(l *lane, n int) {
	l.ready += int32(n)
	m.countOpen(l, n)
}

// pushBirth appends a ready birth to the lane; its sequence is above all in it.
func (m *Machine) pushBirth(l *lane, i Slot) {
	s := m.slab.at(i)
	s.state, s.prev, s.next = slotReady, l.tail, NoSlot
	if l.tail == NoSlot {
		l.head = i
	} else {
		m.slab.at(l.tail).next = i
	}
	l.tail = i
	l.waiting++
	m.countReady(l, 1)
	if l.head == i {
		m.fixLane(l)
	}
}

// pushReturned makes any other task ready.
func (m *Machine) pushReturned(l *lane, i Slot) {
	m.slab.at(i).state = slotReady
	m.sideOf(l).returned.push(i)
	l.waiting++
	m.countReady(l, 1)
	m.fixLane(l)
}

// pushHeld keeps a task from being dispatched, at its place in the order: nothing
// behind it may go first.
func (m *Machine) pushHeld(l *lane, i Slot) {
	m.slab.at(i).state = slotHeld
	m.sideOf(l).returned.push(i)
	l.waiting++
	m.fixLane(l)
}

// unready takes a ready or held task out of its lane.
func (m *Machine) unready(l *lane, i Slot) {
	s := m.slab.at(i)
	if s.pos != 0 {
		l.side.returned.remove(int(s.pos - 1))
	} else {
		m.unlink(&l.head, &l.tail, s)
	}
	l.waiting--
	if s.state != slotHeld {
		m.countReady(l, -1)
	}
	m.fixLane(l)
	m.runLow(l)
}

// unlink takes a slot out of a list through next and prev.
func (m *Machine) unlink(head, tail *Slot, s *slot) {
	if s.prev == NoSlot {
		*head = s.next
	} else {
		m.slab.at(s.prev).next = s.next
	}
	if s.next == NoSlot {
		*tail = s.prev
	} else {
		m.slab.at(s.next).prev = s.prev
	}
	s.next, s.prev = NoSlot, NoSlot
}

// enter counts a task that comes into one of the lane's lists.
func (m *Machine) enter(l *lane, s *slot) {
	l.tasks++
	q := l.queue()
	if s.class.Timed() {
		l.side.timedIn++
		q.timedIn++
	} else {
		q.birthsIn++
	}
}

// leave counts a task that has left the lane's lists for good.
func (m *Machine) leave(l *lane, s *slot) {
	l.tasks--
	q := l.queue()
	if s.class.Timed() {
		l.side.timedIn--
		q.timedIn--
		l.side.order.shed(&m.slab, l.side.timedIn)
	} else {
		q.birthsIn--
		m.unorder(l, s)
	}
	if l.tasks == 0 {
		m.fade(l)
	}
}

// order appends a birth to the lane's births in memory; its sequence is above all
// in it.
func (m *Machine) order(l *lane, i Slot) {
	s := m.slab.at(i)
	s.ordered, s.older, s.newer = true, l.newest, NoSlot
	if l.newest == NoSlot {
		l.oldest = i
	} else {
		m.slab.at(l.newest).newer = i
	}
	l.newest = i
}

func (m *Machine) unorder(l *lane, s *slot) {
	if !s.ordered {
		return
	}
	if s.older == NoSlot {
		l.oldest = s.newer
	} else {
		m.slab.at(s.older).newer = s.newer
	}
	if s.newer == NoSlot {
		l.newest = s.older
	} else {
		m.slab.at(s.newer).older = s.older
	}
	s.ordered, s.older, s.newer = false, NoSlot, NoSlot
}
