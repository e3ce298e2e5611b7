package queue

import "github.com/penstock-io/penstock/internal/task"

// expiry follows the index of tasks that end by themselves. Only the time of its
// first entry is in memory; when that comes the entries due are read.
type expiry struct {
	next  task.Time // no entry is earlier; 0 = none
	asked bool
	born  task.Time // least entry put since asked; 0 = none

	// Tasks that answers of this Apply tell of and that are still as they say. A task
	// may have several entries in the index, of which one is its own.
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

func (m *Machine) putExpiry(at task.Time, id task.ID) {
	m.out.Expiries.put(Expiry{ExpiryKey{at, id.Seq}, id})
	e := &m.expiry
	if e.asked && (e.born == 0 || at < e.born) {
		e.born = at
	}
	if e.next == 0 || at < e.next {
		e.next = at
	}
}

func (m *Machine) dropExpiry(k ExpiryKey) {
	m.out.Expiries.drop(k)
	m.dirty = true
}

func (m *Machine) wantExpiries() {
	e := &m.expiry
	if e.next != 0 && e.next <= m.now && !e.asked {
		e.asked, e.born = true, 0
		m.want(Want{What: WantExpiries, Until: m.now, Limit: expiryBatchMax})
	}
}

// expireDue ends the tasks whose entries are due; those not in memory are asked
// for.
func (m *Machine) expireDue(a *Loaded) {
	e := &m.expiry
	e.asked, e.next = false, a.Next
	if e.born != 0 && (e.next == 0 || e.born < e.next) {
		e.next = e.born
	}
	for k := range a.Expiries {
		x := &a.Expiries[k]
		i, here := m.index.get(x.Key.Seq)
		if !here {
			m.want(Want{What: WantTask, ID: x.ID, Until: x.Key.At})
			continue
		}
		m.expireSlot(i, x.Key)
	}
}

func (m *Machine) expireSlot(i Slot, k ExpiryKey) {
	s := m.slab.at(i)
	if (s.state == slotRunning || s.state == slotHeld) && (s.deadline == 0 || s.deadline > m.now) {
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

// waitsAgain puts the expiry entry of a task back that came due while it ran: it
// has waited long enough, or its deadline is near, and nobody may come for it.
func (m *Machine) waitsAgain(s *slot) {
	if s.expires != 0 && s.flags&FlagExpiry == 0 {
		s.flags |= FlagExpiry
		m.dirty = true
		m.putExpiry(s.expires, m.idOf(m.place(s)))
	}
}

// expireLoaded ends a task that was in the store alone, or clears an entry whose
// task is gone.
func (m *Machine) expireLoaded(a *Loaded) {
	k := ExpiryKey{a.Want.Until, a.Want.ID.Seq}
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
