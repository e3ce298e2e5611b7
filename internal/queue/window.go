package queue

import "github.com/penstock-io/penstock/internal/task"

// wantRefills asks for the next tasks of every lane that runs low in memory and
// has more in the store.
func (m *Machine) wantRefills() {
	m.nextTimed = 0
	for _, l := range m.tails {
		if l.more && l.births == nil && (l.head == NoSlot || l.waiting < l.window/2) {
			if n := m.refillSize(l, l.head == NoSlot); n > 0 {
				if l.head == NoSlot && l.lastAlone < m.batch {
					l.window = min(2*l.window, laneWindowMax, max(m.cfg.WindowTasks, laneWindowTiny))
				}
				l.births = m.newLoad(l, WantBirths, Place{Class: task.ClassBirth, Seq: l.cursor}, n)
			}
		}
		if !l.timedMore || l.timed != nil {
			continue
		}
		soon := l.horizon.due <= m.now.Add(timedLead)
		if soon || l.waiting < l.window/2 {
			if n := m.refillSize(l, soon); n > 0 {
				l.aloneSet = false
				l.timed = m.newLoad(l, WantTimed, Place{Class: task.ClassTimed, Due: l.horizon.due, Seq: l.horizon.seq + 1}, n)
				continue
			}
		}
		if t := l.horizon.due.Add(-timedLead); m.nextTimed == 0 || t < m.nextTimed {
			m.nextTimed = t
		}
	}
}

// refillSize is how many tasks a lane may take in. One that must have some gets
// a few even when the budget is spent.
func (m *Machine) refillSize(l *lane, must bool) int {
	n := min(l.window-l.waiting, m.room())
	if must {
		n = max(n, laneWindowTiny)
	}
	return n
}

func (m *Machine) newLoad(l *lane, what WantKind, from Place, n int) *load {
	m.meta.NextLoad++
	ld := &load{no: m.meta.NextLoad, lane: l}
	m.loads[ld.no] = ld
	from.Queue, from.Prio, from.Lane = l.queue.state.Queue, l.prio, l.num
	m.want(Want{What: what, Load: ld.no, Place: from, Queue: from.Queue, Limit: n})
	return ld
}

// learn keeps the answers that commands of this Apply will ask for. It comes
// before all that may change a task, and so make an answer untrue.
func (m *Machine) learn(a *Loaded) {
	switch a.Want.What {
	case WantTask:
		if a.Want.Until == 0 {
			m.gotTask[a.Want.ID.Seq] = a
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
		m.refill(a)
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
	}
}

// refill takes a range of a lane into memory, filtered against everything that
// happened since its view was pinned.
func (m *Machine) refill(a *Loaded) {
	ld := m.loads[a.Want.Load]
	if ld == nil {
		m.takeNone(a)
		return
	}
	delete(m.loads, ld.no)
	if ld.void {
		m.takeNone(a)
		return
	}
	if a.Want.What == WantBirths {
		m.refillBirths(ld, a)
	} else {
		m.refillTimed(ld, a)
	}
	m.fixTail(ld.lane)
}

func (m *Machine) takeNone(a *Loaded) {
	for range a.Waiting {
		m.out.Taken = append(m.out.Taken, NoSlot)
	}
}

func (m *Machine) refillBirths(ld *load, a *Loaded) {
	l := ld.lane
	l.births = nil
	for k := range a.Waiting {
		w := &a.Waiting[k]
		i := m.takeIn(l, ld, w)
		m.out.Taken = append(m.out.Taken, i)
		if i == NoSlot {
			continue
		}
		l.order.push(w.Place.Seq, i)
		if !m.inherit(l, w, i) {
			m.pushBirth(l, i)
		}
	}
	if n := len(a.Waiting); n > 0 {
		l.cursor = a.Waiting[n-1].Place.Seq + 1
	}
	if a.End && l.lastAlone <= a.Want.Batch {
		l.more = false
	}
}

func (m *Machine) refillTimed(ld *load, a *Loaded) {
	l := ld.lane
	for k := range a.Waiting { // l.timed stays set: what is put alone meanwhile is noted
		w := &a.Waiting[k]
		i := m.takeIn(l, ld, w)
		m.out.Taken = append(m.out.Taken, i)
		if i == NoSlot {
			continue
		}
		if !m.inherit(l, w, i) {
			m.schedule(l, i, timedKey{w.Place.Due, w.Place.Seq})
		}
	}
	l.timed = nil
	if n := len(a.Waiting); n > 0 {
		p := a.Waiting[n-1].Place
		l.horizon = timedKey{p.Due, p.Seq}
	}
	l.timedMore = !a.End
	if l.aloneSet && (!l.timedMore || l.aloneMin.before().less(l.horizon)) {
		l.timedMore, l.horizon = true, l.aloneMin.before()
	}
	l.aloneSet = false
}

// takeIn gives a loaded task a slot, unless it was touched since, or is here.
func (m *Machine) takeIn(l *lane, ld *load, w *Waiting) uint32 {
	if _, gone := ld.touched[w.Place.Seq]; gone {
		return NoSlot
	}
	if _, here := m.index.get(w.Place.Seq); here {
		return NoSlot
	}
	m.waiting++
	i := m.slotFor(l, w)
	if w.Expires != 0 && w.Expires <= m.now { // its entry may have gone while it ran under the last owner
		x := m.slab.at(i)
		x.flags &^= FlagExpiry
		m.waitsAgain(x)
	}
	return i
}

// slotFor makes the slot of a record that was read.
func (m *Machine) slotFor(l *lane, w *Waiting) uint32 {
	i := m.slab.take()
	s := m.slab.at(i)
	s.seq, s.class, s.due = w.Place.Seq, w.Place.Class, w.Place.Due
	s.enqueued, s.ready = w.Enqueued, w.Enqueued
	if s.class == task.ClassTimed {
		s.ready = w.Place.Due
	}
	s.expires, s.flags = w.Expires, w.Flags&^FlagClaim
	if w.Expires != 0 { // one that was brought back has left its deadline behind
		s.deadline = w.Deadline
	}
	s.failures, s.crashes, s.releases = uint16(w.Counts.Failures), uint16(w.Counts.Crashes), uint16(w.Counts.Releases)
	s.lane, s.policy, s.size = l.no, m.policies.hold(w.Policy), uint32(w.Size)
	s.state = slotLoaded
	if w.Told.Set() {
		s.lastLease(&w.Told.Token)
		s.told = toldOf(w.Told.Kind)
	}
	if m.restart.claimed(s.seq) {
		s.flags |= FlagClaim
	}
	m.index.put(s.seq, i)
	return i
}

// takeLoaded gives a slot to a task that a command needs and that is in the
// store alone.
func (m *Machine) takeLoaded(w *Waiting) (uint32, bool) {
	if int(w.Place.Queue) >= len(m.queues) || m.queues[w.Place.Queue] == nil {
		return NoSlot, false
	}
	return m.slotFor(m.laneOf(m.queues[w.Place.Queue], w.Place.Prio, w.Place.Lane), w), true
}
