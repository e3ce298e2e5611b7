package queue

import "github.com/penstock-io/penstock/internal/task"

// enqueue admits a batch. A batch with idempotency keys is put off once, whole,
// until what is known of the keys has been read; its order is kept.
func (m *Machine) enqueue(c *Command) {
	b := c.Enqueue
	if b.Known {
		m.enqueueKnown(c)
		return
	}
	q, e := m.queueNamed(b.Queue)
	if e != nil {
		b.Err = e
		return
	}
	if !m.idems.known(m, q, b) {
		m.later(c)
		return
	}
	var p *producer
	if b.Producer != "" {
		if p, e = m.producers.of(m, b, q); e != nil {
			b.Err = e
			return
		}
	}
	b.Err = nil
	for i := range b.Specs {
		m.enqueueOne(q, p, &b.Specs[i], &b.Results[i])
	}
	m.touch(q)
}

// enqueueKnown answers what of a batch has been enqueued before, and takes nothing.
func (m *Machine) enqueueKnown(c *Command) {
	b := c.Enqueue
	q := m.byName[b.Queue]
	if q != nil && !m.idems.known(m, q, b) {
		m.later(c)
		return
	}
	b.Err = nil
	for i := range b.Specs {
		s, r := &b.Specs[i], &b.Results[i]
		*r = task.Enqueued{}
		if q != nil && s.Number != 0 && b.Producer != "" {
			if p := m.producers.find[producerKey{q.state.Queue, b.Producer}]; p != nil && p.repeat(s.Number, r) {
				continue
			}
		}
		if q != nil && s.Idempotency != "" && len(s.Idempotency) <= task.IdempotencyMax && m.idems.held(m, q, s) != nil {
			m.idems.repeat(m, q, s, r)
			continue
		}
		r.Err = task.ErrUnseen
	}
}

func (m *Machine) enqueueOne(q *queueOf, p *producer, s *task.Spec, r *task.Enqueued) {
	*r = task.Enqueued{}
	if p != nil && s.Number != 0 {
		if done := p.repeat(s.Number, r); done {
			return
		}
	}
	if r.Err = s.Check(); r.Err != nil {
		return
	}
	if r.Err = m.checkTimes(s); r.Err != nil {
		return
	}
	if s.Idempotency != "" {
		if done := m.idems.repeat(m, q, s, r); done {
			return
		}
	}
	num, e := m.typeNamed(q, s.Type)
	if e != nil {
		r.Err = e
		return
	}
	r.ID = m.bear(q, num, s)
	if p != nil && s.Number != 0 {
		m.producers.note(m, p, s.Number, r.ID)
	}
	if s.Idempotency != "" {
		m.idems.note(m, q, s, r.ID)
	}
}

// checkTimes refuses what is over before it begins.
func (m *Machine) checkTimes(s *task.Spec) *task.Error {
	if s.Deadline != 0 && s.Deadline <= m.now {
		return task.Errorf(task.Invalid, "the deadline has already passed")
	}
	if s.RunAt > m.now.Add(task.DelayMax) {
		return task.Errorf(task.Invalid, "run-at lies more than ten years ahead: times are Unix milliseconds")
	}
	return nil
}

// bear makes the task: its record, its place in memory if the lane's window has
// room, its expiry entry.
func (m *Machine) bear(q *queueOf, num uint32, s *task.Spec) task.ID {
	m.counter++
	seq := task.MakeSeq(m.cfg.Epoch, m.counter)
	at := m.now
	switch {
	case s.Delay > 0:
		at = m.now.Add(s.Delay)
	case s.RunAt > m.now:
		at = s.RunAt
	}
	l := m.laneOf(q, s.Priority, num)
	place := Place{Prio: s.Priority, Queue: q.state.Queue, Lane: num, Seq: seq}
	if at > m.now {
		place.Class, place.Due = task.ClassTimed, at
		q.state.Timed++
	} else {
		q.state.Births++
	}
	q.state.Enqueued++
	b := Birth{Place: place, Slot: NoSlot, Spec: s, Enqueued: m.now, Expires: expiryOf(s, m.now, at)}
	if len(s.Payload) > largeBytes {
		b.Flags |= FlagLarge
	}
	if s.Idempotency != "" {
		b.Flags |= FlagIdem
	}
	id := m.idOf(place)
	if b.Expires != 0 {
		b.Flags |= FlagExpiry
		m.putExpiry(b.Expires, id)
	}
	b.Slot = m.admit(l, &b)
	m.out.Births = append(m.out.Births, b)
	m.dirty = true
	return id
}

// largeBytes is the payload size above which it is stored in chunks of its own.
const largeBytes = 4 << 10

// expiryOf is when the task must be looked at if it is still there: when it has
// waited too long, or its deadline, whichever comes first.
func expiryOf(s *task.Spec, now, at task.Time) task.Time {
	x := s.Deadline
	if s.ExpireAfter > 0 {
		if w := at.Add(s.ExpireAfter); x == 0 || w < x {
			x = w
		}
	}
	return x
}

// admit takes a newborn into memory if its lane has room, else leaves it to the
// store alone.
func (m *Machine) admit(l *lane, b *Birth) uint32 {
	if b.Place.Class == task.ClassTimed {
		key := timedKey{b.Place.Due, b.Place.Seq}
		if !m.roomForTimed(l, key) {
			return NoSlot
		}
		i := m.newborn(l, b)
		m.schedule(l, i, key)
		return i
	}
	if l.more || l.waiting >= l.window || m.room() <= 0 {
		if !l.more {
			l.more, l.cursor = true, b.Place.Seq
			m.fixTail(l)
		}
		if l.lastAlone != m.batch {
			l.lastAlone, l.aloneNow = m.batch, 0
		}
		l.aloneNow++
		return NoSlot
	}
	i := m.newborn(l, b)
	l.order.push(b.Place.Seq, i)
	m.pushBirth(l, i)
	return i
}

func (m *Machine) newborn(l *lane, b *Birth) uint32 {
	i := m.slab.take()
	s := m.slab.at(i)
	s.seq, s.class, s.due = b.Place.Seq, b.Place.Class, b.Place.Due
	s.enqueued, s.ready = m.now, max(m.now, b.Place.Due)
	s.expires, s.deadline, s.flags = b.Expires, b.Spec.Deadline, b.Flags
	s.lane, s.policy = l.no, m.policies.hold(b.Spec.Policy)
	s.size = recordOverhead + uint32(len(b.Spec.Payload))
	s.putBatch, s.putIndex = uint32(m.batch), uint32(len(m.out.Births))
	m.index.put(s.seq, i)
	m.waiting++
	return i
}

// recordOverhead is about what a record costs beside its payload.
const recordOverhead = 64

// schedule puts a timed task that is in memory where its time says.
func (m *Machine) schedule(l *lane, i uint32, key timedKey) {
	s := m.slab.at(i)
	l.timedCount++
	l.timedOrder.push(timedEntry{key, i})
	if s.ready <= m.now {
		l.queue.timedActive++
		m.pushReturned(l, i)
		return
	}
	s.state = slotScheduled
	l.waiting++
	m.timers.set(i, s.ready)
}

// roomForTimed says whether a timed task may stand in memory. If not, it is
// behind the lane's horizon from now on.
func (m *Machine) roomForTimed(l *lane, key timedKey) bool {
	if m.room() > 0 && l.waiting < l.window && (!l.timedMore || !l.horizon.less(key)) {
		return true
	}
	l.timedAlone = m.batch
	if !l.timedMore || !l.horizon.less(key) {
		l.timedMore, l.horizon = true, key.before()
		m.fixTail(l)
	}
	if l.timed != nil && (!l.aloneSet || key.less(l.aloneMin)) {
		l.aloneMin, l.aloneSet = key, true
	}
	return false
}

// forget takes a task out of memory. It stands in no list any more.
func (m *Machine) forget(i uint32) {
	s := m.slab.at(i)
	m.timers.set(i, 0)
	m.policies.drop(s.policy)
	m.index.del(s.seq)
	m.slab.give(i)
}

// detach takes a task out of whatever list it is in, whatever its state; the
// counts follow. Its record and slot stay.
func (m *Machine) detach(i uint32) {
	s := m.slab.at(i)
	l := m.lanes[s.lane]
	q := l.queue
	switch s.state {
	case slotReady:
		m.unready(l, i)
		m.waiting--
	case slotScheduled:
		l.waiting--
		m.waiting--
		m.timers.set(i, 0)
	case slotHeld:
		l.waiting--
		m.waiting--
		q.held--
	case slotRunning:
		m.unlease(i)
	}
	if s.class == task.ClassTimed && s.state != slotScheduled && s.state != slotLoaded {
		q.timedActive--
	}
	if s.class == task.ClassTimed && s.state != slotLoaded {
		l.timedCount--
	}
	s.state = slotLoaded
}

// dropRecord takes the task's live record away, with its where, expiry and claim
// entries. A put of this very Apply is taken back instead of being deleted.
// moving says that the task gets a new timed record: its expiry entry and chunks stay.
func (m *Machine) dropRecord(s *slot, moving bool) {
	p := m.place(s)
	l := m.lanes[s.lane]
	fresh := s.putBatch == uint32(m.batch)
	if p.Class == task.ClassTimed {
		l.queue.state.Timed--
		if fresh && s.flags&FlagMoved != 0 {
			m.out.Timed[s.putIndex].Place.Queue = Void
		} else if fresh {
			m.out.Births[s.putIndex].Place.Queue = Void
		} else {
			m.out.DropTimed = append(m.out.DropTimed, p)
		}
		l.timed.touch(p.Seq)
	} else {
		l.queue.state.Births--
		if fresh {
			m.out.Births[s.putIndex].Place.Queue = Void
		} else {
			m.out.DropBirths = append(m.out.DropBirths, p)
		}
		l.births.touch(p.Seq)
	}
	m.dropClaim(s)
	m.touch(l.queue)
	m.dirty = true
	if len(m.gotTask) > 0 {
		delete(m.gotTask, s.seq) // what was read of it is no longer so
	}
	if moving {
		return
	}
	if s.flags&FlagMoved != 0 {
		m.out.DropWheres = append(m.out.DropWheres, s.seq)
	}
	if s.flags&FlagExpiry != 0 {
		m.dropExpiry(ExpiryKey{s.expires, s.seq})
		if fresh {
			m.putExpiries.takeBack(&m.out.Expiries, s.seq)
		}
	}
	if s.flags&FlagLarge != 0 {
		m.out.DropLarge = append(m.out.DropLarge, p)
	}
}
