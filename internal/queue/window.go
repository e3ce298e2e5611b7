package queue

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// wakeOrder is the order of lanes by when their timed tasks have to be read.
type wakeOrder struct{}

func (wakeOrder) less(a, b *lane) bool {
	return a.side.wake < b.side.wake || a.side.wake == b.side.wake && a.no < b.no
}
func (wakeOrder) placed(l *lane, pos int) { l.side.wakePos = pos }

// setWake arms the lane for when its next timed task in the store must be read,
// and then for when it is due, should it not be here by then.
func (m *Machine) setWake(l *lane) {
	t := &l.side.timed
	at := task.Time(0)
	if t.more {
		due := m.readyAt(l, t.next.due)
		switch soon := due.Add(-timedLead); {
		case soon > m.now && t.load == nil:
			at = soon
		case due > m.now:
			at = due
		}
	}
	switch s := l.side; {
	case at == 0 && s.wakePos != 0:
		m.wakes.remove(s.wakePos - 1)
	case at != 0 && s.wakePos == 0:
		s.wake = at
		m.wakes.push(l)
	case at != 0:
		s.wake = at
		m.wakes.fix(s.wakePos - 1)
	}
}

// wakeLanes looks after the lanes whose timed tasks in the store come near.
func (m *Machine) wakeLanes() {
	for m.wakes.len() > 0 && m.wakes.items[0].side.wake <= m.now {
		m.tailChanged(m.wakes.items[0])
	}
}

// tailChanged follows a change of what the lane has in the store alone.
func (m *Machine) tailChanged(l *lane) {
	if l.side != nil {
		m.setWake(l)
	}
	m.fixLane(l)
	if l.lowPos != 0 && (l.moreBirths() || l.moreTimed()) {
		if p, at := int(l.lowPos-1), m.storedAt(l); at != m.low.items[p].at {
			m.low.set(p, lowAt{at, l, l.prio()})
		}
	}
	m.runLow(l)
	m.fade(l)
}

// lowAt is a lane that has more in the store, with where the first of that stands.
type lowAt struct {
	at   position
	lane *lane
	prio uint8
}

// lowOrder is the order in which lanes are read that have more in the store: by
// priority, then by where the first of that stands. So those are read first that
// would be waited for first, however tasks are spread over lanes.
type lowOrder struct{}

func (lowOrder) less(a, b lowAt) bool {
	return a.prio > b.prio || a.prio == b.prio && a.at.less(b.at)
}
func (lowOrder) placed(x lowAt, pos int) { x.lane.lowPos = int32(pos) }

// runLow notes a lane that has room and more in the store.
func (m *Machine) runLow(l *lane) {
	if l.lowPos == 0 && (m.wantsBirths(l) || m.wantsTimed(l)) {
		m.low.push(lowAt{m.storedAt(l), l, l.prio()})
	}
}

// storedAt is where the first task that the lane has in the store alone stands.
func (m *Machine) storedAt(l *lane) position {
	switch {
	case !l.moreTimed():
		return l.born.birthAt()
	case !l.moreBirths():
		return m.timedAt(l)
	}
	b, t := l.born.birthAt(), m.timedAt(l)
	if t.less(b) {
		return t
	}
	return b
}

func (m *Machine) wantsBirths(l *lane) bool {
	return l.moreBirths() && l.born.load == nil && (l.waiting < l.window/2 || l.stored && l.at == l.born.birthAt())
}

func (m *Machine) wantsTimed(l *lane) bool {
	if !l.moreTimed() || l.side.timed.load != nil {
		return false
	}
	t := &l.side.timed
	return t.next.due <= m.clockOf(l).Add(timedLead) && (l.waiting < l.window/2 || l.stored && l.at == m.timedAt(l))
}

// use notes that a worker takes from the lane, or waits for it.
func (m *Machine) use(l *lane) {
	if p := uint32(m.now / task.Time(lanePeriod)); p != m.period {
		if m.active[1] = m.active[0]; p != m.period+1 {
			m.active[1] = 0
		}
		m.period, m.active[0] = p, 0
	}
	if l.period != m.period {
		l.period = m.period
		m.active[0]++
	}
}

// isActive says whether workers took from the lane lately.
func (m *Machine) isActive(l *lane) bool { return l.period+1 >= m.period && l.period != 0 }

// measure sets, for this Apply, how many tasks may be in memory, so many that the
// records of all are kept as well, by the size of those that came in lately; and
// how many each lane may have while memory is short, so that each of those that
// have something for a worker that is here can have as many.
func (m *Machine) measure() {
	m.budget = min(m.tasksMax(), max(int(m.cfg.WindowBytes/int64(max(m.sizeNow>>sizeShift, 1))), laneWindowTiny))
	lanes := max(m.active[0], m.active[1], m.inTurn, 1)
	m.share = max(m.budget/lanes, 1)
	m.stride = max(m.share, min(1+(m.budget+lanes/2)/lanes, strideMax))
}

// noteSize follows the size of the tasks that come into memory.
func (m *Machine) noteSize(size uint32) {
	m.sizeNow += int64(size) - m.sizeNow>>sizeShift
}

// sizeShift: a 64th of each task's size goes into the mean.
const sizeShift = 6

// isWanted says whether workers take from the lane, or could: those with a session,
// and those that asked for a lease lately.
func (m *Machine) isWanted(l *lane) bool {
	return l.gate == 0 && l.queue().shut == 0 && (m.isActive(l) || l.group.typ.lastServed(m.now, 0).Add(lanePeriod) > m.now)
}

// isShort says that half of what memory may hold is in use: then it is for those
// lanes that workers take from.
func (m *Machine) isShort() bool { return m.waiting+m.reserved >= m.budget/2 }

// room says whether the lane may take a new task into memory. While memory is
// short, those that nobody takes from may have a few only.
func (m *Machine) room(l *lane) bool {
	used := m.waiting + m.reserved
	if used >= m.budget || l.waiting >= l.window {
		return false
	}
	return !m.isShort() || l.waiting < laneWindowIdle || m.isWanted(l) && l.waiting < int32(m.share)
}

// refills is what one Apply asks to be read.
type refills struct{ births, timed, calendar Want }

func (r *refills) timedOf(l *lane) *Want {
	if l.calendar {
		return &r.calendar
	}
	return &r.timed
}

// any says that something is asked for.
func (r *refills) any() bool {
	return r.births.Lanes != nil || r.timed.Lanes != nil || r.calendar.Lanes != nil
}

// isFull says that no more may be asked for now.
func (r *refills) isFull() bool { return full(&r.births) || full(&r.timed) || full(&r.calendar) }

// wantRefills asks for the next tasks of lanes: first those that workers wait
// for, then, as far as memory reaches, those that run low, in turn. Unless something is
// read anyway, these wait until there is room for many: a read costs what it takes to
// find its beginning in every table, however few lanes it goes to.
func (m *Machine) wantRefills() {
	if m.reading >= loadsMax || m.urged.len() == 0 && m.low.len() == 0 {
		return
	}
	r := refills{Want{What: WantBirths}, Want{What: WantTimed}, Want{What: WantTimed}}
	if m.urged.len() > 0 && m.waiting+m.reserved > m.budget-m.budget/4 {
		m.makeRoom(m.urged.front())
	}
	for m.urged.len() > 0 && !r.isFull() {
		l := m.urged.front()
		m.urged.pop()
		least := btoi(l.urged == urgedFirst)
		if l.urged = urgedNot; !l.gone {
			m.refillLane(l, &r, m.budget/urgedPart, least)
		}
	}
	worth := r.any() || m.budget-m.waiting-m.reserved >= min(m.budget/refillPart, loadLanesMax*m.stride)
	for worth && m.low.len() > 0 && m.waiting+m.reserved < m.budget && !r.isFull() {
		l := m.low.items[0].lane
		m.low.remove(0)
		if !m.isShort() || m.isWanted(l) { // else it is read when a worker waits for it
			m.refillLane(l, &r, 0, 0)
		}
	}
	for _, w := range []*Want{&r.births, &r.timed, &r.calendar} {
		if w.Lanes != nil {
			slices.SortFunc(w.Lanes, func(a, b LaneWant) int { return comparePlaces(a.From, b.From) })
			m.reading++
			m.want(*w)
		}
	}
}

func full(w *Want) bool { return len(w.Lanes) >= loadLanesMax || w.Limit >= loadTasksMax }

// refillLane adds the lane's stretches to what is read. more is by how much memory
// may be overdrawn for it, and least what it gets even so.
func (m *Machine) refillLane(l *lane, r *refills, more, least int) {
	if m.wantsBirths(l) {
		if l.head == NoSlot && l.born.batch < m.batch && m.isActive(l) {
			l.window = min(2*l.window, int32(min(laneWindowMax, max(m.cfg.WindowTasks, laneWindowTiny))))
		}
		m.ask(l, &r.births, task.ClassBirth, l.born, m.refillSize(l, more, least))
	}
	if m.wantsTimed(l) {
		m.ask(l, r.timedOf(l), l.timedClass(), &l.side.timed, m.refillSize(l, more, least))
		m.setWake(l)
	}
}

// refillSize is how many tasks the lane may take in.
func (m *Machine) refillSize(l *lane, more, least int) int {
	free := m.budget + more - m.waiting - m.reserved
	n := min(int(l.window-l.waiting), max(m.stride, m.chunk, int(l.chunk)))
	if n <= 0 { // others of it fill its window, and this one is first
		n = min(laneWindowTiny, m.share)
	}
	return max(min(n, free), least)
}

func (m *Machine) ask(l *lane, w *Want, c task.Class, s *stream, n int) {
	if n <= 0 {
		m.runLow(l)
		return
	}
	m.meta.NextLoad++
	ld := &load{no: m.meta.NextLoad, lane: l, class: c, limit: n}
	m.loads[ld.no] = ld
	m.reserved += n
	s.load = ld
	from := Place{Class: c, Prio: l.prio(), Queue: l.queue().state.Queue, Lane: l.num, Due: s.next.due, Seq: s.next.seq}
	w.Lanes = append(w.Lanes, LaneWant{Load: ld.no, From: from, Limit: n})
	w.Limit += n
}

// timedAt is where the lane's first timed task in the store stands, at the earliest.
func (m *Machine) timedAt(l *lane) position {
	k := l.side.timed.next
	return position{m.readyAt(l, k.due), k.seq}
}
