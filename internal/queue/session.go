package queue

import (
	"github.com/penstock-io/penstock/internal/task"
)

// session is an open worker session. Its leases are renewed together.
type session struct {
	no       SessionNo // number; 0 for the unary one
	opts     task.SessionOptions
	crew     *crew
	ttl      task.Millis
	since    task.Time
	beat     task.Time
	detached bool
	spared   bool     // it was given its TTL anew for a gap of the owner's, and not heard of since
	noted    uint64   // Apply in which Output.Held has it
	turn     QueueNum // where the round over queues goes on
	share    int      // what is left to that queue of its share; 0: the whole of it

	head, tail Slot // leases in the order of dispatch
	running    int
	watched    Slot // last lease known to be long: those before it are watched
}

func newUnary() session { return session{head: NoSlot, tail: NoSlot, watched: NoSlot} }

// sessionOf finds an open session by number.
func (m *Machine) sessionOf(no SessionNo) *session {
	if no == 0 || int(no) > len(m.sessions) {
		return nil
	}
	return m.sessions[no-1]
}

// open opens a session, or takes up one that is still known, with the leases it
// says it holds.
func (m *Machine) open(o *Open) {
	*o = Open{Options: o.Options}
	if o.Err = checkSession(o.Options); o.Err != nil {
		return
	}
	s := m.sessionOf(m.byID[o.Options.ID])
	if s == nil {
		if m.openCount >= sessionsMax {
			o.Err = task.Errorf(task.Exhausted, "%d worker sessions are open, the most there can be: use fewer processes with more concurrency", sessionsMax)
			return
		}
		s = &session{head: NoSlot, tail: NoSlot, watched: NoSlot, since: m.now}
		s.no = m.freeSessionNo()
		m.sessions[s.no-1] = s
		m.byID[o.Options.ID] = s.no
		m.openCount++
	}
	was := s.crew
	s.crew = m.crewFor(o.Options.Queues, o.Options.Types)
	s.crew.uses++
	if was != nil {
		m.countSession(was, -1, btoi(s.detached)-1)
		m.leaveCrew(was)
	}
	m.countSession(s.crew, 1, 1)
	o.Session = s.no
	s.opts = *o.Options
	s.opts.Running = nil
	s.beat, s.detached, s.spared = m.now, false, false
	s.ttl = s.opts.TTL
	if s.ttl == 0 {
		s.ttl = task.DefaultSessionTTL
	}
	s.turn, s.share = 0, 0
	if s.opts.Remote {
		m.dirty = true
		m.out.Sessions.put(SessionState{Session: s.opts.ID, Worker: s.opts.Worker, Concurrency: s.opts.Concurrency, TTL: s.ttl})
	}
	m.resume(s, o)
}

// freeSessionNo is a number that no session has, the last one given back first.
func (m *Machine) freeSessionNo() SessionNo {
	if n := len(m.freeNos); n > 0 {
		no := m.freeNos[n-1]
		m.freeNos = m.freeNos[:n-1]
		return no
	}
	m.sessions = append(m.sessions, nil)
	return SessionNo(len(m.sessions))
}

func checkSession(o *task.SessionOptions) *task.Error {
	switch {
	case o.ID == "" || len(o.ID) > 64:
		return task.Errorf(task.Invalid, "a worker session's ID has %d bytes: use 1 to 64", len(o.ID))
	case len(o.Queues) == 0:
		return task.Errorf(task.Invalid, "the worker names no queue: say which it serves")
	case len(o.Queues) > task.SessionQueuesMax:
		return task.Errorf(task.Invalid, "the worker names %d queues, the most is %d", len(o.Queues), task.SessionQueuesMax)
	case len(o.Types) > task.SessionTypesMax:
		return task.Errorf(task.Invalid, "the worker serves %d types, the most is %d: serve every type instead", len(o.Types), task.SessionTypesMax)
	case o.TTL < 0 || o.TTL > task.SessionTTLMax:
		return task.Errorf(task.Invalid, "a session TTL of %d ms is out of range: at most 10 minutes", o.TTL)
	}
	for _, q := range o.Queues {
		if e := task.CheckName("queue", q.Queue); e != nil {
			return e
		}
	}
	return nil
}

// detachSession notes that the session's connection is gone.
func (m *Machine) detachSession(s *session) {
	if !s.detached {
		s.detached = true
		m.countSession(s.crew, 0, -1)
	}
}

// countSession counts one session in, or out, of a crew, and of its queues.
func (m *Machine) countSession(c *crew, opened, here int) {
	c.opened += opened
	c.here += here
	for _, cq := range c.queues {
		cq.menu.queue.named += opened
		if here != 0 {
			m.countServing(cq.menu, here)
		}
	}
}

// noteHeld tells that what the session holds has changed.
func (m *Machine) noteHeld(s *session) {
	if s.noted != m.batch {
		s.noted = m.batch
		m.out.Held = append(m.out.Held, s.no)
	}
}

// resume gives the session the leases it says it holds, where they are still
// good; the others are lost. What the machine had leased to it besides, an attempt
// at the same task too, was never received, and goes back without blame.
func (m *Machine) resume(s *session, o *Open) {
	kept := make(map[Slot]struct{}, len(o.Options.Running))
	for _, t := range o.Options.Running {
		if i, ok := m.resumeOne(s, t); ok {
			kept[i] = struct{}{}
		} else {
			o.Lost = append(o.Lost, t)
		}
	}
	for i := s.head; i != NoSlot; {
		next := m.slab.at(i).next
		if _, ok := kept[i]; !ok {
			m.giveBack(i)
		}
		i = next
	}
	m.restart.back(m, s.opts.ID)
}

func (m *Machine) resumeOne(s *session, t task.Token) (Slot, bool) {
	i, ok := m.index.get(t.Seq)
	if !ok {
		return NoSlot, false
	}
	x := m.slab.at(i)
	if x.told != toldNone || !m.wasLast(x, &t) {
		return NoSlot, false
	}
	switch x.state {
	case slotRunning:
		return i, x.session == s.no
	case slotHeld, slotReady:
		// A lease of an earlier owner, or one that lapsed and was not given out again.
		m.takeBack(i, s)
		return i, true
	}
	return NoSlot, false
}

// closeSession ends a session in order: its leases go back without blame.
func (m *Machine) closeSession(no SessionNo) {
	s := m.sessionOf(no)
	if s == nil {
		return
	}
	for s.head != NoSlot {
		m.giveBack(s.head)
	}
	m.endSession(s)
}

func (m *Machine) endSession(s *session) {
	m.countSession(s.crew, -1, btoi(s.detached)-1)
	for _, cq := range s.crew.queues { // until now its tasks had somebody who might run them
		m.noteServed(cq.menu)
		cq.menu.queue.left = m.now
	}
	m.leaveCrew(s.crew)
	m.sessions[s.no-1] = nil
	m.freeNos = append(m.freeNos, s.no)
	delete(m.byID, s.opts.ID)
	m.openCount--
	if s.opts.Remote {
		m.dropSession(s.opts.ID)
	}
}

// dropSession takes the session's record away.
func (m *Machine) dropSession(id string) {
	m.dirty = true
	m.out.Sessions.drop(id)
}

// lapseSessions ends sessions that have not been heard of for their TTL. The
// oldest leases, as many as it ran at once, are crashes; the others never began.
func (m *Machine) lapseSessions() {
	for _, s := range m.sessions {
		if s == nil || s.beat.Add(s.ttl) > m.now {
			continue
		}
		blamed := max(s.opts.Concurrency, 1)
		for n := 0; s.head != NoSlot; n++ {
			i := s.head
			m.revoke(i, task.LeaseLost)
			if n < blamed {
				m.crash(i)
			} else {
				m.giveBack(i)
			}
		}
		m.out.Lapsed = append(m.out.Lapsed, s.no)
		m.endSession(s)
	}
}

func (m *Machine) revoke(i Slot, why task.Code) {
	s := m.slab.at(i)
	if s.session != 0 {
		m.out.Revoked = append(m.out.Revoked, Revoke{Session: s.session, Token: m.token(s), Why: why})
	}
}

// freeUnsent releases deliveries that could not be written, without blame.
func (m *Machine) freeUnsent(ts []task.Token) {
	for i := range ts {
		if j, ok := m.findLease(&ts[i]); ok {
			m.giveBack(j)
		}
	}
}
