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
			if p := m.producers.find[ProducerKey{q.state.Queue, b.Producer}]; p != nil && p.repeat(s.Number, r) {
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
	if r.Err = m.mayBear(); r.Err != nil {
		return
	}
	r.ID = m.bear(q, s)
	if p != nil && s.Number != 0 {
		m.producers.note(m, p, s.Number, r.ID)
	}
	if s.Idempotency != "" {
		m.idems.note(m, q, s, r.ID)
	}
}

// checkTimes refuses what is over before it begins.
func (m *Machine) checkTimes(s *task.Spec) *task.Error {
	if s.Deadline != 0 && s.Deadline <= m.wall {
		return task.Errorf(task.Invalid, "the deadline has already passed")
	}
	if s.RunAt > m.wall.Add(task.DelayMax) {
		return task.Errorf(task.Invalid, "run-at lies more than ten years ahead: times are Unix milliseconds")
	}
	return nil
}

// bear makes the task: its record, its place in memory if the lane's window has
// room, its expiry entry.
func (m *Machine) bear(q *queueOf, s *task.Spec) task.ID {
	m.counter++
	place := Place{Prio: s.Priority, Queue: q.state.Queue, Seq: task.MakeSeq(m.cfg.Epoch, m.counter)}
	switch {
	case s.Delay > 0:
		place.Class, place.Due = task.ClassTimed, m.now.Add(s.Delay)
	case s.RunAt != 0 && s.RunAt > m.wall:
		place.Class, place.Due = task.ClassCalendar, s.RunAt
	}
	l := m.laneFor(q, s.Priority, namesOf(s), place.Class == task.ClassCalendar)
	place.Lane = l.num
	at := m.now
	if place.Class.Timed() {
		at = m.readyAt(l, place.Due)
	} else {
		l.newestBirth = place.Seq
	}
	b := Birth{Place: place, Slot: NoSlot, Spec: s, Enqueued: m.now, Deadline: s.Deadline}
	if len(s.Payload) > largeBytes {
		b.Flags |= FlagLarge
	}
	if s.Idempotency != "" {
		b.Flags |= FlagIdem
	}
	id := m.idOf(place)
	if s.ExpireAfter > 0 {
		b.Flags |= FlagExpiry
		b.Expires = at.Add(s.ExpireAfter)
		m.putExpiry(ExpiryKey{At: b.Expires, Seq: place.Seq}, id)
	}
	if s.Deadline != 0 {
		b.Flags |= FlagDeadline
		m.putExpiry(ExpiryKey{At: s.Deadline, Seq: place.Seq, Wall: true}, id)
	}
	b.Slot = m.admit(l, &b)
	m.out.Births = append(m.out.Births, b)
	m.dirty = true
	if e := (step{kind: EventBorn, to: inStore(place.Class), was: place.Class}); b.Slot != NoSlot {
		m.event(q, e, m.slab.at(b.Slot))
	} else {
		m.eventOf(q, e, subject{slot: NoSlot, place: place, typ: s.Type})
	}
	if l.calendar && l.marked && place.Due < l.side.timedMark { // the wall clock was set back
		m.putMark(l)
	}
	return id
}

// largeBytes is the payload size above which it is stored in chunks of its own.
const largeBytes = 4 << 10

// admit takes a newborn into memory if its lane has room, else leaves it to the
// store alone.
func (m *Machine) admit(l *lane, b *Birth) Slot {
	if b.Place.Class.Timed() {
		key := streamKey{b.Place.Due, b.Place.Seq}
		if !m.roomForTimed(l, key) {
			return NoSlot
		}
		i := m.newborn(l, b)
		m.enter(l, m.slab.at(i))
		m.schedule(l, i, key)
		return i
	}
	if l.moreBirths() || !m.room(l) {
		m.leaveInStore(l, l.births(), task.ClassBirth, streamKey{seq: b.Place.Seq}, m.now)
		return NoSlot
	}
	i := m.newborn(l, b)
	m.order(l, i)
	m.enter(l, m.slab.at(i))
	m.pushBirth(l, i)
	return i
}

// leaveInStore notes a record of this batch that the store alone holds.
func (m *Machine) leaveInStore(l *lane, s *stream, c task.Class, k streamKey, ready task.Time) {
	q := l.queue()
	if q.alone != m.batch {
		q.alone, q.aloneNow = m.batch, [3]int64{}
	}
	q.aloneNow[c]++
	was, next := s.more, s.next
	s.leave(k, ready, m.batch)
	if !was || s.next != next {
		m.tailChanged(l)
	}
}

func (m *Machine) newborn(l *lane, b *Birth) Slot {
	i := m.slab.take()
	s := m.slab.at(i)
	s.seq, s.class, s.due = b.Place.Seq, b.Place.Class, b.Place.Due
	s.enqueued, s.ready = m.now, m.now
	s.expires, s.deadline, s.flags = b.Expires, b.Deadline, b.Flags
	s.lane, s.policy = l.no, m.policies.hold(b.Spec.Policy)
	s.size = recordOverhead + uint32(len(b.Spec.Payload))
	s.putBatch, s.putIndex = uint32(m.batch), uint32(len(m.out.Births))
	if s.class.Timed() {
		m.sideOf(l)
	}
	if l.calendar {
		m.expiry.waits(s, b.Spec.ExpireAfter)
	}
	m.index.put(s.seq, i)
	m.noteSize(s.size)
	m.waiting++
	return i
}

// recordOverhead is about what a record costs beside its payload.
const recordOverhead = 64

// schedule puts a timed task that is in memory where its time says.
func (m *Machine) schedule(l *lane, i Slot, key streamKey) {
	l.side.order.push(timedEntry{key, i})
	if key.due <= m.clockOf(l) {
		m.dueAgain(m.slab.at(i))
		m.pushReturned(l, i)
		return
	}
	m.sleep(l, i)
}

// unschedule takes a task out of the lane's scheduled ones.
func (m *Machine) unschedule(l *lane, s *slot) {
	var tail Slot
	m.unlink(&l.side.scheduled, &tail, s)
	l.waiting--
}

// roomForTimed says whether a timed task of this batch may stand in memory. If
// not, it is in the store alone from now on.
func (m *Machine) roomForTimed(l *lane, key streamKey) bool {
	s := &m.sideOf(l).timed
	if m.room(l) && !s.behind(key) {
		return true
	}
	m.leaveInStore(l, s, l.timedClass(), key, 0)
	return false
}

// forget takes a task out of memory. It stands in no list any more.
func (m *Machine) forget(i Slot) {
	s := m.slab.at(i)
	m.timers.set(i, 0)
	delete(m.expiry.after, s.seq)
	m.policies.drop(s.policy)
	m.index.del(s.seq)
	m.slab.give(i)
}

// detach takes a task out of whatever list it is in, whatever its state. Its
// record and slot stay.
func (m *Machine) detach(i Slot) {
	s := m.slab.at(i)
	if s.state == slotLoaded {
		return
	}
	l := m.lanes[s.lane]
	m.takeOut(l, i)
	m.leave(l, s)
}

// takeOut takes a task out of whatever list of tasks it is in.
func (m *Machine) takeOut(l *lane, i Slot) {
	s := m.slab.at(i)
	switch s.state {
	case slotReady:
		m.unready(l, i)
		m.waiting--
	case slotScheduled:
		m.unschedule(l, s)
		m.waiting--
		m.timersOf(l).set(i, 0)
	case slotHeld:
		m.unready(l, i)
		m.waiting--
		m.unlist(s)
		s.session = 0
	case slotRunning:
		m.unlease(i)
	}
	s.state = slotLoaded
}

// dropRecord takes the task's live record away, with its where, expiry and claim
// entries. A put of this very Apply is taken back instead of being deleted.
// moving says that the task gets a new timed record: its expiry entry and chunks stay.
func (m *Machine) dropRecord(s *slot, moving bool) {
	l := m.lanes[s.lane]
	p := s.placeIn(l)
	fresh := s.putBatch == uint32(m.batch)
	if p.Class.Timed() {
		if fresh && s.flags&FlagMoved != 0 {
			m.out.Timed[s.putIndex].Place.Queue = Void
		} else if fresh {
			m.out.Births[s.putIndex].Place.Queue = Void
		} else {
			m.out.DropTimed = append(m.out.DropTimed, p)
		}
		if l.side != nil {
			l.side.timed.load.touch(p.Seq)
		}
	} else {
		if fresh {
			m.out.Births[s.putIndex].Place.Queue = Void
		} else {
			m.out.DropBirths = append(m.out.DropBirths, p)
		}
		if l.born != nil {
			l.born.load.touch(p.Seq)
		}
	}
	m.dropClaim(s)
	m.touch(l.queue())
	m.dirty = true
	if len(m.gotTask) > 0 || len(m.expiry.told) > 0 {
		delete(m.gotTask, s.seq) // what was read of it is no longer so
		delete(m.expiry.told, s.seq)
	}
	if moving {
		return
	}
	if s.flags&FlagMoved != 0 {
		m.out.Wheres.drop(s.seq)
	}
	if s.flags&FlagExpiry != 0 {
		m.dropExpiry(ExpiryKey{At: s.expires, Seq: s.seq})
	}
	if s.flags&FlagDeadline != 0 {
		m.dropExpiry(ExpiryKey{At: s.deadline, Seq: s.seq, Wall: true})
	}
	if s.flags&FlagLarge != 0 {
		m.out.DropLarge = append(m.out.DropLarge, p)
	}
}
