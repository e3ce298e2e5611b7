package queue

import "github.com/penstock-io/penstock/internal/task"

// Two readings of time. Machine time never goes back and runs evenly: lengths
// (delays, retries, leases, timeouts, retention) are counted in it. The wall clock
// may be set either way: users' moments are meant in it. Offset is machine time less
// wall time. Moments are kept by the wall clock: deadlines in an index of their own
// (expiry.go), what is to run at one in a calendar:
//
//	lane ── births, timed (by machine time)
//	calendar lane ── ClassCalendar (by wall time), else a lane like any other
//
// A calendar's due times, stream and marks are wall times. Its tasks are merged
// with those of other lanes by when they became ready, and leave it when they move.

// tell sets both readings.
func (m *Machine) tell(now task.Time, offset task.Millis) {
	m.now = max(m.now, now)
	was, moved := m.wall, offset != m.meta.Offset
	m.meta.Offset = offset
	m.wall = m.now.Add(-offset)
	if moved { // the next owner counts on it
		m.dirty = true
		m.clockSet(m.wall < was)
	}
}

// toMachine maps a user's moment to machine time; 0 stays 0.
func (m *Machine) toMachine(t task.Time) task.Time {
	if t == 0 {
		return 0
	}
	return max(1, t.Add(m.meta.Offset))
}

// clockOf is the time that a lane's due times are compared with.
func (m *Machine) clockOf(l *lane) task.Time {
	if l.calendar {
		return m.wall
	}
	return m.now
}

// timersOf is the heap of tasks that wait for the clock of their lane.
func (m *Machine) timersOf(l *lane) *timers {
	if l.calendar {
		return &m.calendar
	}
	return &m.timers
}

// readyAt is when a scheduled task will be ready, in machine time; of one past its
// time it is when that was.
func (m *Machine) readyAt(l *lane, due task.Time) task.Time {
	if l.calendar {
		return due.Add(m.meta.Offset)
	}
	return due
}

// timedClass is the class of the lane's timed tasks.
func (l *lane) timedClass() task.Class {
	if l.calendar {
		return task.ClassCalendar
	}
	return task.ClassTimed
}

// ripen puts a waiting task, in no list and counted by none, where the clock says.
func (m *Machine) ripen(l *lane, i Slot) {
	s := m.slab.at(i)
	if !s.class.Timed() || s.due <= m.clockOf(l) {
		m.pushReturned(l, i)
		return
	}
	m.sleep(l, i)
}

// sleep makes a timed task wait for its time.
func (m *Machine) sleep(l *lane, i Slot) {
	s := m.slab.at(i)
	s.state, s.ready = slotScheduled, m.readyAt(l, s.due)
	s.prev, s.next = NoSlot, l.side.scheduled
	if s.next != NoSlot {
		m.slab.at(s.next).prev = i
	}
	l.side.scheduled = i
	l.waiting++
	m.timersOf(l).set(i, s.due)
}

// clockSet has every calendar follow a wall clock that was set.
func (m *Machine) clockSet(back bool) {
	for _, l := range m.lanes {
		if l != nil && l.calendar {
			if back {
				m.unripen(l)
			}
			m.tailChanged(l)
		}
	}
}

// unripen makes tasks wait again that are no longer due, since the wall clock was
// set back: in memory as they are, in the store by their keys.
func (m *Machine) unripen(l *lane) {
	for _, i := range append([]Slot(nil), l.side.returned.items...) {
		if s := m.slab.at(i); s.state == slotReady && s.due > m.wall {
			m.unready(l, i)
			m.sleep(l, i)
			m.event(l.queue(), step{kind: EventWaits, from: task.Ready, to: task.Scheduled}, s)
		}
	}
}

// waitsUntil is when a task of a calendar has waited for as long as it may, which it
// does from when it is due: 0 = it may for ever.
func (m *Machine) waitsUntil(s *slot) task.Time {
	d, ok := m.expiry.after[s.seq]
	if !ok || s.class != task.ClassCalendar {
		return 0
	}
	return m.readyAt(m.lanes[s.lane], s.due).Add(d)
}

// dueAgain moves the expiry entry of a task of a calendar whose wait has become
// longer or shorter, since the wall clock was set. It says whether that lies ahead.
func (m *Machine) dueAgain(s *slot) bool {
	at := m.waitsUntil(s)
	if at == 0 || s.flags&FlagExpiry == 0 {
		return false
	}
	if at != s.expires {
		m.dropExpiry(ExpiryKey{At: s.expires, Seq: s.seq})
		s.expires = at
		m.putExpiry(ExpiryKey{At: at, Seq: s.seq}, m.idOf(m.place(s)))
	}
	return at > m.now
}
