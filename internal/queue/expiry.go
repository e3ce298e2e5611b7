package queue

import "github.com/penstock-io/penstock/internal/task"

// expiry follows an index of tasks that end by themselves: of how long they may wait,
// by machine time, or of their deadlines, which are users' moments and follow the wall
// clock when that is set. Only the time of its first entry is in memory; when that
// comes the entries due are read.
type expiry struct {
	wall  bool      // of deadlines
	next  task.Time // no entry is earlier; 0 = none
	asked bool
	born  task.Time // least entry put, or met before its time, since asked; 0 = none

	// Tasks that answers of this Apply tell of and that are still as they say. A task
	// may have several entries in the index, of which one is its own. For both indexes
	// they are in that of waits.
	told map[task.Seq]struct{}

	// How long tasks of calendars in memory may wait from when they are due.
	after map[task.Seq]task.Millis
}

func (e *expiry) waits(s *slot, d task.Millis) {
	if d == 0 || s.expires == 0 {
		return
	}
	if e.after == nil {
		e.after = map[task.Seq]task.Millis{}
	}
	e.after[s.seq] = d
}

func (e *expiry) learn(seq task.Seq) {
	if e.told == nil {
		e.told = map[task.Seq]struct{}{}
	}
	e.told[seq] = struct{}{}
}

func (m *Machine) putExpiry(k ExpiryKey, id task.ID) {
	m.out.Expiries.put(Expiry{k, id})
	m.expiriesOf(k.Wall).from(k.At)
}

func (m *Machine) expiriesOf(wall bool) *expiry {
	if wall {
		return &m.deadlines
	}
	return &m.expiry
}

// from notes that there is an entry at that time.
func (e *expiry) from(at task.Time) {
	if e.asked && (e.born == 0 || at < e.born) {
		e.born = at
	}
	if e.next == 0 || at < e.next {
		e.next = at
	}
}

// due is when entries have to be read next; 0 = never, or they are being read.
func (e *expiry) due() task.Time {
	if e.asked {
		return 0
	}
	return e.next
}

func (m *Machine) dropExpiry(k ExpiryKey) {
	m.out.Expiries.drop(k)
	m.dirty = true
}

func (m *Machine) wantExpiries(e *expiry, now task.Time) {
	if e.next != 0 && e.next <= now && !e.asked {
		e.asked, e.born = true, 0
		m.want(Want{What: WantExpiries, Until: now, Wall: e.wall, Limit: expiryBatchMax})
	}
}

// expireDue ends the tasks whose entries are due; those not in memory are asked
// for.
func (m *Machine) expireDue(a *Loaded) {
	e := m.expiriesOf(a.Want.Wall)
	e.asked, e.next = false, a.Next
	if e.born != 0 && (e.next == 0 || e.born < e.next) {
		e.next = e.born
	}
	for k := range a.Expiries {
		x := &a.Expiries[k]
		i, here := m.index.get(x.Key.Seq)
		if !here {
			m.want(Want{What: WantTask, ID: x.ID, Until: x.Key.At, Wall: x.Key.Wall})
			continue
		}
		m.expireSlot(i, x.Key)
	}
}

func (m *Machine) expireSlot(i Slot, k ExpiryKey) {
	s := m.slab.at(i)
	if k.Wall {
		m.deadlineDue(i, k)
		return
	}
	if s.state == slotRunning || s.state == slotHeld {
		// It runs: its wait is over. Should it wait again, it has an entry again.
		m.dropExpiry(k)
		s.flags &^= FlagExpiry
		return
	}
	own := s.flags&FlagExpiry != 0 && s.expires == k.At // it goes with the task
	if m.dueAgain(s) {
		if !own {
			m.dropExpiry(k)
		}
		return
	}
	m.expire(i)
	if !own {
		m.dropExpiry(k)
	}
}

// deadlineDue ends a task whose deadline has come. The wall clock may have been set
// back while the entry was read: then it stays.
func (m *Machine) deadlineDue(i Slot, k ExpiryKey) {
	switch s := m.slab.at(i); {
	case s.flags&FlagDeadline == 0 || s.deadline != k.At: // it was brought back, and has left it behind
		m.dropExpiry(k)
	case s.deadline > m.wall:
		m.deadlines.from(k.At)
	default:
		m.expire(i)
	}
}

// waitsAgain puts the expiry entry of a task back that came due while it ran: it
// has waited long enough, and nobody may come for it.
func (m *Machine) waitsAgain(s *slot) {
	if s.expires != 0 && s.flags&FlagExpiry == 0 {
		s.flags |= FlagExpiry
		m.dirty = true
		m.putExpiry(ExpiryKey{At: s.expires, Seq: s.seq}, m.idOf(m.place(s)))
	}
}

// expireLoaded ends a task that was in the store alone, or clears an entry whose
// task is gone.
func (m *Machine) expireLoaded(a *Loaded) {
	k := ExpiryKey{a.Want.Until, a.Want.ID.Seq, a.Want.Wall}
	if i, here := m.index.get(k.Seq); here {
		m.expireSlot(i, k)
		return
	}
	_, still := m.expiry.told[k.Seq]
	if !still || len(a.Waiting) == 0 || m.numbered[a.Waiting[0].Place.Queue] == nil { // or its queue has been deleted since
		m.dropExpiry(k)
		return
	}
	if i, ok := m.takeLoaded(&a.Waiting[0]); ok {
		m.expireSlot(i, k)
		if s := m.slab.at(i); s.seq == k.Seq && s.state == slotLoaded {
			m.forget(i) // it may wait for longer
		}
	}
}
