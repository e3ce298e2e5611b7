package queue

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// dispatchTo leases up to n tasks to a session: a weighted round over its
// queues, each exact in itself. A share that n cuts short goes on next time.
func (m *Machine) dispatchTo(no SessionNo, n int) {
	s := m.sessionOf(no)
	if s == nil || s.detached || s.beat.Add(s.ttl) <= m.now { // what lapses in this very Apply gets nothing in it
		return
	}
	n = min(n, m.heldRoom(s))
	if m.careful(s) {
		if s.running > 0 {
			return
		}
		n = min(n, 1)
	}
	live := s.crew.live
	if len(s.crew.queues) == 1 && len(live) == 1 {
		m.dispatchFrom(live[0].menu, s, nil, n)
		return
	}
	// A queue that is not live is passed over as one that has nothing would be: what is
	// decided may not depend on who has asked for the demand (I4).
	at, ok := slices.BinarySearchFunc(live, s.turn, byQueue)
	if !ok {
		s.share = 0
	}
	for idle := 0; n > 0 && idle < len(live); {
		cq := live[at%len(live)]
		no, share := cq.menu.queue.state.Queue, cq.weight
		if no == s.turn && s.share > 0 {
			share = s.share
		}
		got := m.dispatchFrom(cq.menu, s, nil, min(share, n))
		n -= got
		switch {
		case got == 0:
			idle++
			if at++; no == s.turn {
				s.turn, s.share = no+1, 0
			}
		case got == share:
			idle, s.turn, s.share = 0, no+1, 0
			at++
		default:
			idle, s.turn, s.share = 0, no, share-got
		}
	}
}

// careful says that the session's tasks run inside the process that owns the
// partition, and that this process has died twice within a minute: then one task
// runs at a time, and is written down first. Workers outside can't kill it.
func (m *Machine) careful(s *session) bool { return m.restart.safe && s.no != 0 && !s.opts.Remote }

// leaseUnary leases tasks outside any session.
func (m *Machine) leaseUnary(c *Lease) {
	c.Got, c.Read, c.Err = 0, false, nil
	most := m.unaryRoom(c)
	no := c.Crew
	if no == 0 {
		no = m.Join(c.Queues, c.Types)
		defer m.Leave(no)
	}
	cr := m.crews[no-1]
	total := 0
	for _, w := range c.Queues {
		total += max(w.Weight, 1)
		if q := m.byName[w.Queue]; q != nil {
			m.noteServed(cr.serves.menus[q])
		}
	}
	for idle := 0; c.Got < most && idle < len(c.Queues); {
		q, share := weightedTurn(c.Queues, m.unaryTurn%total)
		m.unaryTurn = (m.unaryTurn%total + share) % total
		got := 0
		if q := m.byName[q.Queue]; q != nil {
			got = m.dispatchFrom(cr.serves.menus[q], &m.unary, c, min(share, most-c.Got))
		}
		if c.Got += got; got == 0 {
			idle++
			continue
		}
		idle = 0
		if got < share { // the rest of this queue's share is for the next lease
			m.unaryTurn = (m.unaryTurn - share + got + total) % total
		}
	}
}

// weightedTurn finds whose turn it is in a round over the queues in which each has
// as many places as its weight, and how many of them are left to it.
func weightedTurn(queues []task.QueueWeight, at int) (task.QueueWeight, int) {
	for _, w := range queues {
		n := max(w.Weight, 1)
		if at < n {
			return w, n - at
		}
		at -= n
	}
	return queues[0], 1
}

// dispatchFrom leases up to n tasks of what one queue has on a menu, and returns how
// many.
func (m *Machine) dispatchFrom(mn *menu, s *session, c *Lease, n int) int {
	got := 0
	for got < n && mn.queue.shut == 0 && m.dispatch < dispatchesMax {
		l := m.pick(mn)
		if l == nil {
			return got
		}
		if m.park(l) {
			continue
		}
		m.use(l)
		if l.stored {
			m.urge(l, mn)
			if c != nil {
				c.Read = true
			}
			return got
		}
		i := m.first(l)
		x := m.slab.at(i)
		if x.state == slotHeld { // it waits for the worker that may be running it
			return got
		}
		if x.expires != 0 && x.expires <= m.now || m.isPast(x) {
			if m.expired++; m.expired > expiryBatchMax {
				return got
			}
			m.expire(i)
			continue
		}
		m.unready(l, i)
		m.waiting--
		m.dispatch++
		m.lease(i, s, &task.Token{Attempt: uint16(attemptOf(x)), Epoch: m.cfg.Epoch, Nonce: m.cfg.Nonce, Slot: uint32(i), Dispatch: m.dispatch}, task.Ready)
		m.deliver(l, i, s, c)
		got++
		m.noteDispatched(l)
	}
	return got
}

// lease links a task, in no list now, to the session's leases, under token t. from
// is the state that it still counts in.
func (m *Machine) lease(i Slot, s *session, t *task.Token, from task.State) {
	x := m.slab.at(i)
	x.lastLease(t)
	x.told, x.old = toldNone, false
	x.state, x.session, x.started, x.long, x.stood = slotRunning, s.no, m.now, false, 0
	x.prev, x.next = s.tail, NoSlot
	if s.tail == NoSlot {
		s.head = i
	} else {
		m.slab.at(s.tail).next = i
	}
	s.tail = i
	s.running++
	if s.no != 0 {
		m.held++
		m.noteHeld(s)
	}
	m.lanes[x.lane].group.typ.run++
	m.event(m.lanes[x.lane].queue(), step{kind: EventLeased, from: from, to: task.Running}, x)
	if m.longAt == 0 {
		m.longAt = m.now.Add(longAfter)
	}
}

// unlease takes a running task from its session's leases.
func (m *Machine) unlease(i Slot) {
	x := m.slab.at(i)
	s := &m.unary
	if x.session != 0 {
		s = m.sessions[x.session-1]
		m.held--
		m.noteHeld(s)
	}
	t := m.lanes[x.lane].group.typ
	t.run--
	t.last = m.now
	if x.prev == NoSlot {
		s.head = x.next
	} else {
		m.slab.at(x.prev).next = x.next
	}
	if x.next == NoSlot {
		s.tail = x.prev
	} else {
		m.slab.at(x.next).prev = x.prev
	}
	if s.watched == i {
		s.watched = x.prev
	}
	x.next, x.prev, x.session, x.leaseEnd = NoSlot, NoSlot, 0, 0
	if x.list != 0 {
		m.unlist(x)
	}
	s.running--
	m.timers.set(i, 0)
}

// deliver tells the runner to bring the task to its worker.
func (m *Machine) deliver(l *lane, i Slot, s *session, c *Lease) {
	x := m.slab.at(i)
	q := l.queue()
	r := m.rulesOf(x)
	d := Leased{Type: l.group.typ.name, Key: l.key, Session: s.no, Lease: c, Slot: i, Place: x.placeIn(l), Token: m.token(x), Attempt: attemptOf(x),
		MaxAttempts: r.maxAttempts, Counts: x.counts(), Flags: x.flags, Enqueued: x.enqueued, Timeout: r.timeout, Deadline: x.deadline}
	if c != nil {
		ttl := c.TTL
		if ttl == 0 {
			ttl = task.DefaultLease
		}
		x.leaseEnd = m.now.Add(ttl)
		d.LeaseEnd = x.leaseEnd
	}
	if q.state.Config.Claims == task.ClaimsDurable || m.careful(s) {
		m.claim(i, s)
	} else {
		m.list(i, Dispatched{Place: d.Place, Dispatch: x.dispatch, Slot: i, Attempt: d.Token.Attempt, Session: s.opts.ID, Started: x.started, LeaseEnd: x.leaseEnd})
	}
	if c != nil || r.timeout != 0 && r.timeout < 2*longAfter || x.deadline != 0 && x.deadline < m.wall.Add(2*longAfter) {
		m.armLease(i)
	}
	m.out.Leased = append(m.out.Leased, d)
}

func attemptOf(x *slot) uint32 { return uint32(x.failures) + uint32(x.crashes) + 1 }

func (s *slot) counts() task.Counts {
	return task.Counts{Failures: uint32(s.failures), Crashes: uint32(s.crashes), Releases: uint32(s.releases)}
}

// lastLease keeps what a token says of a dispatch.
func (s *slot) lastLease(t *task.Token) {
	s.attempt, s.epoch, s.nonce, s.lastSlot, s.dispatch = t.Attempt, t.Epoch, t.Nonce, Slot(t.Slot), t.Dispatch
}

// token is that of the task's last dispatch.
func (m *Machine) token(x *slot) task.Token {
	return task.Token{Partition: m.cfg.Partition, Attempt: x.attempt, Epoch: x.epoch, Nonce: x.nonce, Slot: uint32(x.lastSlot),
		Dispatch: x.dispatch, Queue: uint32(m.lanes[x.lane].queue().state.Queue), Seq: x.seq}
}

// claim writes the lease down.
func (m *Machine) claim(i Slot, s *session) {
	if x := m.slab.at(i); x.flags&FlagClaim == 0 {
		x.flags |= FlagClaim
		m.unlist(x)
		m.putClaim(i, s)
	}
}

// putClaim writes the claim as it is now: a unary lease's end may have moved.
func (m *Machine) putClaim(i Slot, s *session) {
	x := m.slab.at(i)
	c := Claim{Seq: x.seq, Place: m.place(x), Token: m.token(x), Session: s.opts.ID, Worker: s.opts.Worker, Concurrency: s.opts.Concurrency, Started: x.started, LeaseEnd: x.leaseEnd}
	m.dirty = true
	m.out.Claims.put(c)
}

// claimUnary writes down the new end of a unary lease.
func (m *Machine) claimUnary(i Slot) {
	x := m.slab.at(i)
	m.unlist(x) // its list tells of an earlier end
	x.flags |= FlagClaim
	m.putClaim(i, &m.unary)
}

// dropClaim takes the claim of a task away, if there is one.
func (m *Machine) dropClaim(x *slot) {
	if x.flags&FlagClaim == 0 {
		return
	}
	x.flags &^= FlagClaim
	m.dirty = true
	m.out.Claims.drop(x.seq)
}

// armLease sets the timer of a running task: the end of its unary lease, its
// attempt's timeout or its deadline, whichever comes first.
func (m *Machine) armLease(i Slot) {
	x := m.slab.at(i)
	at := x.leaseEnd
	if end := m.timeoutEnd(x); end != 0 && (at == 0 || end < at) {
		at = end
	}
	if end := m.toMachine(x.deadline); end != 0 && (at == 0 || end < at) {
		at = end
	}
	m.timers.set(i, at)
}

// watchLong arms timers for, and claims, leases of sessions that have become
// older than longAfter, and sets when it has to look again. Short ones never
// touch a timer.
func (m *Machine) watchLong() {
	m.longAt = 0
	left := m.watchLongOf(&m.unary, longBatchMax)
	for _, s := range m.sessions {
		if s != nil {
			left = m.watchLongOf(s, left)
		}
	}
	switch {
	case left == 0:
		m.longAt = m.now // the next Apply goes on
	case m.longAt != 0:
		m.longAt = max(m.longAt, m.now.Add(longEvery))
	}
}

func (m *Machine) watchLongOf(s *session, left int) int {
	i := s.head
	if s.watched != NoSlot && s.running > 0 && s.watchedValid(m) {
		i = m.slab.at(s.watched).next
	}
	for ; i != NoSlot && left > 0; i = m.slab.at(i).next {
		x := m.slab.at(i)
		if at := x.started.Add(longAfter); at > m.now {
			if m.longAt == 0 || at < m.longAt {
				m.longAt = at
			}
			break
		}
		s.watched = i
		if x.long {
			continue
		}
		x.long = true
		left--
		m.armLease(i)
		m.claim(i, s)
	}
	return left
}

func (s *session) watchedValid(m *Machine) bool {
	if !m.slab.valid(s.watched) { // its page was given back
		return false
	}
	x := m.slab.at(s.watched)
	return x.state == slotRunning && x.session == s.no && x.long
}

// noteDispatched writes the lane's marks once in a while, so that a start needs
// not walk over all that has gone.
func (m *Machine) noteDispatched(l *lane) {
	if l.sinceMark++; l.sinceMark >= markBlock {
		l.sinceMark = 0
		m.putMark(l)
	}
}

func (l *lane) markKey() MarkKey { return MarkKey{l.queue().state.Queue, l.prio(), l.num} }

// putMark writes the lane's marks.
func (m *Machine) putMark(l *lane) {
	l.marked = true
	m.out.Marks.put(Mark{MarkKey: l.markKey(), Low: m.lowOf(l), TimedLow: m.timedLowOf(l)})
	m.dirty = true
}

// lowOf is the first sequence at which the lane may have a birth.
func (m *Machine) lowOf(l *lane) task.Seq {
	low := task.MakeSeq(m.cfg.Epoch, m.counter+1)
	if l.moreBirths() {
		low = l.born.next.seq
	}
	if l.oldest != NoSlot {
		low = min(low, m.slab.at(l.oldest).seq)
	}
	return low
}

// timedLowOf is timedLow, of a mark that is to be written.
func (m *Machine) timedLowOf(l *lane) task.Time {
	low := m.timedLow(l)
	if l.side != nil {
		l.side.timedMark = low
	}
	return low
}

// timedLow is the first due time at which the lane may have a timed task.
func (m *Machine) timedLow(l *lane) task.Time {
	low := m.clockOf(l)
	if l.side == nil {
		return low
	}
	if at, ok := l.side.order.first(&m.slab); ok {
		low = min(low, at)
	}
	if l.side.timed.more {
		low = min(low, l.side.timed.next.due)
	}
	return low
}
