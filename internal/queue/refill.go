package queue

import "github.com/penstock-io/penstock/internal/task"

// learn keeps the answers that commands of this Apply will ask for. It comes
// before all that may change a task, and so make an answer untrue.
func (m *Machine) learn(a *Loaded) {
	switch a.Want.What {
	case WantTask:
		if a.Want.Until == 0 {
			m.gotTask[a.Want.ID.Seq] = a
		} else {
			m.expiry.learn(a.Want.ID.Seq)
		}
	case WantTold:
		m.gotTold[a.Want.Seq] = a
	case WantIdem:
		m.idems.learn(IdemKey{a.Want.Queue, a.Want.Hash}, a.Idem)
	}
}

// loaded acts on the answer to a Want of the machine's own.
func (m *Machine) loaded(a *Loaded) {
	switch a.Want.What {
	case WantBirths, WantTimed:
		m.reading--
		for i := range a.Stretches {
			s := &a.Stretches[i]
			m.refill(s, a.Waiting[s.From:s.To], a.Want.Batch)
		}
	case WantTask:
		if a.Want.Until != 0 {
			m.expireLoaded(a)
		}
	case WantExpiries:
		m.expireDue(a)
	case WantIdemsDue:
		m.idemsDue(a)
	case WantIdemsLive:
		m.idemsLive(a)
	case WantSweepWheres, WantSweepExpiries, WantSweepDeadlines, WantSweepChunks:
		m.swept(a)
	}
}

// refill takes a stretch of a lane into memory, filtered against everything that
// happened since its view was pinned.
func (m *Machine) refill(s *Stretch, ws []Waiting, view uint64) {
	ld := m.loads[s.Load]
	if ld != nil {
		delete(m.loads, ld.no)
		m.reserved -= ld.limit
	}
	if ld == nil || ld.void {
		for range ws {
			m.out.Taken = append(m.out.Taken, NoSlot)
		}
		return
	}
	l := ld.lane
	st := l.born
	if ld.class.Timed() {
		st = &l.side.timed
	}
	for k := range ws { // the load is under way until the end: what is put alone meanwhile is noted
		m.out.Taken = append(m.out.Taken, m.takeIn(l, ld, &ws[k]))
	}
	l.chunk = max(l.chunk, 1)
	if s.End && 2*len(ws) < ld.limit { // lanes are shorter than they were taken for
		m.chunk -= (m.chunk + 7) / 8
	}
	st.filled(streamKey{s.Next.Due, s.Next.Seq}, s.Ready, s.End)
	m.tailChanged(l)
}

// takeIn gives a loaded task a slot and its place, unless it was touched since,
// or is here.
func (m *Machine) takeIn(l *lane, ld *load, w *Waiting) Slot {
	if _, gone := ld.touched[w.Place.Seq]; gone {
		return NoSlot
	}
	if i, here := m.index.get(w.Place.Seq); here {
		if s := m.slab.at(i); s.class == task.ClassBirth && ld.class == task.ClassBirth && !s.ordered && s.state != slotLoaded {
			m.order(l, i) // it was loaded out of turn, and this is its turn
		}
		return NoSlot
	}
	m.waiting++
	i := m.slotFor(l, w)
	if w.Expires != 0 && w.Expires <= m.now { // its entry may have gone while it ran under the last owner
		x := m.slab.at(i)
		x.flags &^= FlagExpiry
		m.waitsAgain(x)
		m.dueAgain(x)
	}
	if ld.class == task.ClassBirth {
		m.order(l, i)
	}
	m.enter(l, m.slab.at(i))
	if ld.class == task.ClassBirth {
		m.pushBirth(l, i)
	} else {
		m.schedule(l, i, streamKey{w.Place.Due, w.Place.Seq})
		if x := m.slab.at(i); x.state == slotReady {
			m.event(l.queue(), step{kind: EventReady, from: task.Scheduled, to: task.Ready}, x)
		}
	}
	return i
}

// slotFor makes the slot of a record that was read.
func (m *Machine) slotFor(l *lane, w *Waiting) Slot {
	i := m.slab.take()
	s := m.slab.at(i)
	s.seq, s.class, s.due = w.Place.Seq, w.Place.Class, w.Place.Due
	s.enqueued, s.ready = w.Enqueued, w.Enqueued
	if s.class.Timed() {
		s.ready = m.readyAt(l, w.Place.Due)
		m.sideOf(l)
	}
	s.expires, s.flags = w.Expires, w.Flags&^FlagClaim
	m.expiry.waits(s, w.After)
	if w.Flags&FlagDeadline != 0 { // one that was brought back has left its deadline behind
		s.deadline = w.Deadline
	}
	s.failures, s.crashes, s.releases = uint16(w.Counts.Failures), uint16(w.Counts.Crashes), uint16(w.Counts.Releases)
	s.lane, s.policy, s.size = l.no, m.policies.hold(w.Policy), uint32(w.Size)
	s.state = slotLoaded
	if w.Told.Set() {
		s.lastLease(&w.Told.Token)
		s.told = toldOf(w.Told.Kind)
	}
	m.index.put(s.seq, i)
	m.noteSize(s.size)
	return i
}

// takeLoaded gives a slot to a task that a command needs and that is in the
// store alone.
func (m *Machine) takeLoaded(w *Waiting) (Slot, bool) {
	q := m.numbered[w.Place.Queue]
	if q == nil {
		return NoSlot, false
	}
	l := m.findLane(q, w.Place.Prio, &w.Names, w.Place.Class == task.ClassCalendar)
	if l == nil || l.num != w.Place.Lane {
		return NoSlot, false
	}
	return m.slotFor(l, w), true
}
