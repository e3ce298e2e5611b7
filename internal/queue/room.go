package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// room is a lane whose waiting tasks need not all be in memory.
type room struct {
	lane  *lane
	idle  bool     // no worker takes from it
	at    position // of the last of them
	after position // those that come after it may go
}

// makeRoom leaves tasks to the store that come late, so that those can be read that
// a worker waits for: first what no worker takes, then the last ones of some lanes,
// whichever come last, but none of a busy lane that comes before what is waited for.
func (m *Machine) makeRoom(l *lane) {
	m.rooms = m.rooms[:0]
	for range min(evictLanesMax, len(m.lanes)) {
		m.hand = (m.hand + 1) % len(m.lanes)
		x := m.lanes[m.hand]
		if x == nil || x.waiting == 0 {
			continue
		}
		r := room{lane: x, idle: !m.isWanted(x), at: x.at}
		if x.tail != NoSlot {
			s := m.slab.at(x.tail)
			r.at = position{s.ready, s.seq}
		}
		switch {
		case r.idle || !m.isActive(x) || x.prio() < l.prio(): // all of them
		case x.prio() == l.prio() && l.at.less(r.at):
			r.after = l.at
		default:
			continue
		}
		m.rooms = append(m.rooms, r)
	}
	slices.SortFunc(m.rooms, func(a, b room) int {
		return cmp.Or(btoi(b.idle)-btoi(a.idle), cmp.Compare(a.lane.prio(), b.lane.prio()), b.at.compare(a.at))
	})
	n := min(evictTasksMax, m.budget/4+1)
	tooMuch := false
	for i := 0; i < len(m.rooms) && n > 0; i++ {
		r := &m.rooms[i]
		got := m.evictLane(r.lane, min(n, int(r.lane.waiting+1)/2), r.after)
		if n -= got; got > 0 && r.lane.waiting > 0 { // more of it was read than was of use
			r.lane.chunk /= 2
			tooMuch = tooMuch || !r.idle
		}
	}
	if tooMuch {
		m.chunk = max(m.chunk-1, 0)
	}
	clear(m.rooms)
}

// evictLane leaves up to n of the lane's waiting births to the store, the last
// ones first, and then all its timed ones, as far as they come after that position.
func (m *Machine) evictLane(l *lane, n int, after position) int {
	if l.born != nil && l.born.load != nil || l.side != nil && l.side.timed.load != nil {
		return 0
	}
	got := 0
	for got < n && l.tail != NoSlot {
		i := l.tail
		s := m.slab.at(i)
		if !m.mayEvict(s) || !after.less(position{s.ready, s.seq}) {
			break
		}
		m.unorderFrom(l, s.seq)
		l.births().back(streamKey{seq: s.seq}, s.ready)
		m.letGo(l, i)
		got++
	}
	if got < n && l.tail == NoSlot && l.side != nil {
		got += m.evictReturned(l, n-got, after)
	}
	if got > 0 {
		m.tailChanged(l)
	}
	return got
}

// unorderFrom takes what still runs of the births that go back to the store out
// of the lane's order: a refill that passes it puts it in again.
func (m *Machine) unorderFrom(l *lane, seq task.Seq) {
	for l.newest != NoSlot {
		s := m.slab.at(l.newest)
		if s.seq <= seq {
			return
		}
		m.unorder(l, s)
	}
}

// evictReturned leaves up to n waiting tasks to the store that are no fresh births:
// timed ones, and those that were handed back.
func (m *Machine) evictReturned(l *lane, n int, after position) int {
	got := 0
	back := func(i Slot) {
		s := m.slab.at(i)
		if got >= n || !m.mayEvict(s) || !after.less(position{s.ready, s.seq}) {
			return
		}
		if s.class.Timed() {
			l.side.timed.back(streamKey{s.due, s.seq}, 0)
		} else {
			m.unorderFrom(l, s.seq)
			l.births().back(streamKey{seq: s.seq}, s.ready)
		}
		m.letGo(l, i)
		got++
	}
	for k := l.side.returned.len() - 1; k >= 0 && !l.calendar; k-- { // of a calendar they have their place by an earlier clock
		if k < l.side.returned.len() {
			back(l.side.returned.items[k])
		}
	}
	for i := l.side.scheduled; i != NoSlot; {
		next := m.slab.at(i).next
		back(i)
		i = next
	}
	return got
}

// letGo takes a waiting task out of memory: its record stays.
func (m *Machine) letGo(l *lane, i Slot) {
	s := m.slab.at(i)
	if from := s.stands(); from != inStore(s.class) {
		m.event(l.queue(), step{kind: EventWaits, from: from, to: inStore(s.class)}, s)
	}
	m.detach(i)
	m.forget(i)
}

// mayEvict says whether the task may leave memory: its record is in the store, and
// nothing is known of it but what stands there. Who was given it last is not.
func (m *Machine) mayEvict(s *slot) bool {
	return s.putBatch != uint32(m.batch) && (s.dispatch == 0 || s.told != toldNone && s.flags&FlagMoved != 0)
}
