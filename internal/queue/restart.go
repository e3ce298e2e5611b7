package queue

import "github.com/penstock-io/penstock/internal/task"

// restart is what a new owner must mind: tasks that may still be running under
// the last one, and a process that keeps dying.
type restart struct {
	unclean bool
	until   task.Time           // end of the adoption window; 0 = over
	away    map[string]struct{} // recorded sessions that are not back
	names   []string            // the same, in order
	claims  map[task.Seq]Claim  // of leases that nobody has taken over yet
	held    []uint32
	safe    bool // claims durable, one task at a time
	opened  task.Time
	settled bool // it has lived for safeWindow
}

// loadRestart reads the state of the last owner. After an unclean end, tasks up
// to each lane's dispatch marks may be running on workers that will be back.
func (m *Machine) loadRestart(snap *Snapshot) {
	r := &m.restart
	r.opened = m.now
	r.away = map[string]struct{}{}
	r.claims = map[task.Seq]Claim{}
	for _, c := range snap.Claims {
		r.claims[c.Seq] = c
	}
	for _, s := range snap.Sessions {
		r.away[s.Session] = struct{}{}
		r.names = append(r.names, s.Session)
	}
	r.unclean = snap.Found && !snap.Meta.Clean
	if r.unclean {
		if m.meta.LastOpen != 0 && m.now.Sub(m.meta.LastOpen) < safeWindow {
			m.meta.UncleanOpens++
		} else {
			m.meta.UncleanOpens = 1
		}
		r.safe = m.meta.UncleanOpens >= 2
	} else {
		m.meta.UncleanOpens = 0
	}
	m.meta.LastOpen, m.meta.Clean = m.now, false
	if len(r.away) == 0 || !r.unclean && len(r.claims) == 0 {
		return
	}
	r.until = m.now.Add(adoptWindow)
	if !r.unclean {
		return
	}
	for _, l := range m.lanes {
		l.heldBelow, l.heldTimed = l.high, l.timedTop
	}
}

// holds says whether a task read from the store may be running already.
func (r *restart) holds(l *lane, w *Waiting) bool {
	if r.until == 0 {
		return false
	}
	if c, ok := r.claims[w.Place.Seq]; ok {
		_, away := r.away[c.Session]
		return away
	}
	if w.Place.Class == task.ClassTimed {
		return w.Place.Due <= l.heldTimed
	}
	return w.Place.Seq <= l.heldBelow
}

// claimed says that a claim of the task is written.
func (r *restart) claimed(seq task.Seq) bool {
	if len(r.claims) == 0 {
		return false
	}
	_, ok := r.claims[seq]
	return ok
}

// crashedAt says that the task was running when the process that ran it died: a
// claim without a worker that could be back.
func (r *restart) crashedAt(seq task.Seq) bool {
	if len(r.claims) == 0 {
		return false
	}
	c, ok := r.claims[seq]
	if !ok || !r.unclean && c.LeaseEnd == 0 {
		return false
	}
	_, away := r.away[c.Session]
	return !away || r.until == 0
}

// unaryUntil is the end of the unary lease that is written for a task; 0 = none.
func (r *restart) unaryUntil(seq task.Seq) task.Time {
	if len(r.claims) == 0 {
		return 0
	}
	return r.claims[seq].LeaseEnd
}

// resumeUnary goes on with a unary lease of the last owner. The task was just
// read and is in no list.
func (m *Machine) resumeUnary(i uint32) {
	x := m.slab.at(i)
	c := m.restart.claims[x.seq]
	delete(m.restart.claims, x.seq)
	m.waiting--
	m.lease(i, &m.unary, &c.Token)
	x.started, x.leaseEnd, x.long = c.Started, c.LeaseEnd, true
	m.armLease(i)
}

// takeOver leases a waiting task to s under t, its last dispatch. The attempt
// goes on: it began when that dispatch did, as far as this owner knows.
func (m *Machine) takeOver(i uint32, s *session, t *task.Token) {
	x := m.slab.at(i)
	started := x.started
	c, claimed := m.restart.claims[x.seq]
	if claimed {
		started = c.Started
		delete(m.restart.claims, x.seq)
	}
	m.detachToLease(i)
	m.lease(i, s, t)
	x.long = claimed
	if started != 0 {
		x.started = started
		m.armLease(i)
	}
}

// inherit puts a task just read where the last owner's leases say: it goes on
// under its unary lease, waits for its worker, or crashed with its process.
// False: it was not running.
func (m *Machine) inherit(l *lane, w *Waiting, i uint32) bool {
	unary := m.restart.unaryUntil(w.Place.Seq) > m.now
	held := !unary && m.restart.holds(l, w)
	if !unary && !held && !m.restart.crashedAt(w.Place.Seq) {
		m.dropClaim(m.slab.at(i))
		return false
	}
	if w.Place.Class == task.ClassTimed {
		l.timedCount++
		l.timedOrder.push(timedEntry{timedKey{w.Place.Due, w.Place.Seq}, i})
		l.queue.timedActive++
	}
	switch {
	case unary:
		m.resumeUnary(i)
	case held:
		m.hold(l, i)
	default:
		m.crashLoaded(l, i)
	}
	return true
}

// hold keeps a task from being dispatched until its worker is back or the window
// is over.
func (m *Machine) hold(l *lane, i uint32) {
	m.slab.at(i).state = slotHeld
	l.waiting++
	l.queue.held++
	m.restart.held = append(m.restart.held, i)
}

func (m *Machine) unhold(l *lane, i uint32) {
	l.waiting--
	l.queue.held--
}

// crashLoaded counts the crash of a task just read; it is in no list.
func (m *Machine) crashLoaded(l *lane, i uint32) {
	s := m.slab.at(i)
	s.started = m.restart.claims[s.seq].Started
	// It stands as held for a moment, so that the counts follow the usual way.
	s.state = slotHeld
	l.waiting++
	l.queue.held++
	m.crash(i)
}

// back notes that a recorded session has returned.
func (r *restart) back(m *Machine, id string) {
	delete(r.away, id)
	m.endAdoption()
}

// endAdoption releases what is held once every recorded session is back, or the
// window is over. Held tasks with a claim whose worker did not return crashed.
func (m *Machine) endAdoption() {
	r := &m.restart
	if !r.settled && m.now >= r.opened.Add(safeWindow) {
		r.settled, r.safe = true, false
		if m.meta.UncleanOpens != 0 {
			m.meta.UncleanOpens = 0
			m.dirty = true
		}
	}
	if r.until == 0 || len(r.away) > 0 && m.now < r.until {
		return
	}
	if m.loadingHeld() && m.now < r.until {
		return
	}
	r.until = 0
	for _, i := range r.held {
		s := m.slab.at(i)
		if s.state != slotHeld {
			continue
		}
		l := m.lanes[s.lane]
		if r.crashedAt(s.seq) {
			s.started = r.claims[s.seq].Started
			m.crash(i)
			continue
		}
		m.dropClaim(s)
		m.unhold(l, i)
		m.pushReturned(l, i)
	}
	r.held = nil
	for _, name := range r.names {
		if _, away := r.away[name]; away {
			m.out.DropSessions = append(m.out.DropSessions, name)
			m.dirty = true
		}
	}
	r.names = nil
	clear(r.away)
}

// loadingHeld says whether a lane's tasks that may be running are still being
// read.
func (m *Machine) loadingHeld() bool {
	for _, l := range m.tails {
		if l.more && l.cursor <= l.heldBelow || l.timedMore && l.horizon.due <= l.heldTimed {
			return true
		}
	}
	return false
}

// Close hands the partition over in order: leases of sessions that outlive this
// owner are written as claims, and the meta says that nothing else was running.
// The machine must not be used afterwards.
func (m *Machine) Close(now task.Time, out *Output) {
	out.Reset()
	m.out = out
	m.now = max(m.now, now)
	m.batch++
	out.Batch, out.Now = m.batch, m.now
	for i := m.unary.head; i != NoSlot; i = m.slab.at(i).next {
		m.claim(i, &m.unary)
	}
	for _, s := range m.sessions {
		if s == nil || !s.opts.Remote {
			continue
		}
		for i := s.head; i != NoSlot; i = m.slab.at(i).next {
			m.claim(i, s)
		}
	}
	m.meta.Clean = true
	m.dirty = true
	m.finishApply()
	out.Wants = out.Wants[:0]
}
