package queue

import (
	"maps"

	"github.com/penstock-io/penstock/internal/task"
)

// errPending marks an ID whose task must be read first.
var errPending = &task.Error{Code: task.Internal, Text: "pending"}

// change applies a verb to tasks wherever they are. Those not in memory are put
// off until they have been read.
func (m *Machine) change(c *Command) {
	ch := c.Change
	first := c.N == 0 // N = 1 marks the second round
	wait := false
	for k, id := range ch.IDs {
		if first {
			ch.Errs[k] = errPending
		}
		if ch.Errs[k] == errPending {
			ch.Errs[k] = m.changeOne(ch.Verb, id)
			wait = wait || ch.Errs[k] == errPending
		}
	}
	if wait {
		again := *c
		again.N = 1
		m.later(&again)
	}
}

func (m *Machine) changeOne(v task.Verb, id task.ID) *task.Error {
	if i, ok := m.index.get(id.Seq); ok {
		return m.changeLive(v, i)
	}
	a, asked := m.gotTask[id.Seq]
	switch {
	case !asked:
		m.want(Want{What: WantTask, ID: id, Idem: v == task.VerbDelete})
		return errPending
	case len(a.Waiting) > 0:
		i, ok := m.takeLoaded(&a.Waiting[0])
		if !ok {
			return task.Errorf(task.Internal, "task %s belongs to a queue that is not known: run penstock doctor", id)
		}
		err := m.changeLive(v, i)
		if s := m.slab.at(i); s.seq == id.Seq && s.state == slotLoaded {
			m.forget(i) // nothing was done to it
		}
		return err
	case a.Dead != nil:
		err := m.changeDead(v, id, a)
		delete(m.gotTask, id.Seq) // named once more, it is read once more
		return err
	case a.Finished != nil:
		err := m.changeFinished(v, id, a)
		delete(m.gotTask, id.Seq)
		return err
	}
	return task.Errorf(task.NotFound, "no task %s: it was deleted, or its history is over", id)
}

func (m *Machine) changeLive(v task.Verb, i uint32) *task.Error {
	s := m.slab.at(i)
	switch v {
	case task.VerbCancel:
		if s.state == slotRunning {
			m.revoke(i, task.Conflict)
		}
		m.end(i, ending{state: task.Canceled, reason: "canceled"})
	case task.VerbRetry:
		if s.state == slotRunning {
			return task.Errorf(task.Conflict, "the task is running: cancel it first, or wait")
		}
		if s.class == task.ClassTimed && s.due > m.now {
			m.move(i, m.now, nil)
		}
	case task.VerbDelete:
		if s.state == slotRunning {
			return task.Errorf(task.Conflict, "the task is running: cancel it first")
		}
		if !m.freeKey(m.idOf(m.place(s)), s.flags) {
			return errPending
		}
		m.remove(i)
	default:
		return task.Errorf(task.Invalid, "unknown verb")
	}
	return nil
}

// remove forgets a waiting task without a trace.
func (m *Machine) remove(i uint32) {
	s := m.slab.at(i)
	m.detach(i)
	m.dropRecord(s, false)
	m.out.Ended = append(m.out.Ended, Ended{s.seq, task.StateUnknown})
	m.forget(i)
}

func (m *Machine) changeDead(v task.Verb, id task.ID, a *Loaded) *task.Error {
	d := a.Dead
	q := m.queues[d.Key.Queue]
	if v == task.VerbDelete && !m.freeKey(id, d.Flags) {
		return errPending
	}
	switch v {
	case task.VerbCancel:
		return task.Errorf(task.Conflict, "the task is dead already: retry or delete it")
	case task.VerbRetry:
		m.revive(d.Place, d.Flags, Source{Slot: NoSlot, Dead: d.Key}, d.Size, a)
	case task.VerbDelete:
		m.out.DropWheres = append(m.out.DropWheres, d.Key.Seq)
		if d.Flags&FlagLarge != 0 {
			m.out.DropLarge = append(m.out.DropLarge, d.Place)
		}
		m.out.Ended = append(m.out.Ended, Ended{id.Seq, task.StateUnknown})
	}
	m.out.DropDead = append(m.out.DropDead, d.Key)
	q.state.Dead--
	q.state.DeadBytes = max(0, q.state.DeadBytes-int64(d.Size))
	m.touch(q)
	a.Dead = nil
	return nil
}

func (m *Machine) changeFinished(v task.Verb, id task.ID, a *Loaded) *task.Error {
	f := a.Finished
	switch v {
	case task.VerbCancel:
		return task.Errorf(task.Conflict, "the task has ended already: it is %s", f.State)
	case task.VerbRetry:
		if f.State == task.Succeeded || !f.KeepBody {
			return task.Errorf(task.Conflict, "the task is %s and its payload is no longer kept: enqueue it anew", f.State)
		}
		if f.Flags&FlagLarge != 0 {
			return task.Errorf(task.Conflict, "the task is %s and its payload of more than %d bytes is no longer kept: enqueue it anew", f.State, largeBytes)
		}
		q := m.queues[f.Place.Queue]
		if f.State == task.Canceled {
			q.state.Canceled--
		} else {
			q.state.Expired--
		}
		m.revive(f.Place, f.Flags, Source{Slot: NoSlot, Finished: f.Key}, recordOverhead, a)
	case task.VerbDelete:
		if f.State != task.Succeeded && !m.freeKey(id, f.Flags) { // what is done stays done: a repeat may not do it again
			return errPending
		}
		m.out.Ended = append(m.out.Ended, Ended{id.Seq, task.StateUnknown})
	}
	m.out.DropFinished = append(m.out.DropFinished, f.Key)
	m.dirty = true
	a.Finished = nil
	return nil
}

// revive makes an ended task wait again, due now, with its counters at zero.
func (m *Machine) revive(p Place, flags Flags, from Source, size int, a *Loaded) {
	if d := &m.idems.due; d.asked && flags&FlagIdem != 0 {
		d.revived[p.Seq] = struct{}{}
	}
	q := m.queues[p.Queue]
	l := m.laneOf(q, p.Prio, p.Lane)
	w := Waiting{Place: p, Enqueued: m.now, Flags: (flags | FlagMoved) &^ (FlagExpiry | FlagClaim), Size: size}
	w.Place.Class, w.Place.Due = task.ClassTimed, m.now
	if a.Revived != nil {
		w.Policy, w.Enqueued = a.Revived.Policy, a.Revived.Enqueued
	}
	if a.Dead != nil {
		w.Told = a.Dead.Told
	}
	i := m.slotFor(l, &w)
	q.state.Timed++
	m.putTimed(l, i, Timed{Place: w.Place, Slot: i, From: from, Flags: w.Flags, Told: w.Told})
}

// purge deletes a queue's waiting tasks or dead letters.
func (m *Machine) purge(c *Purge) {
	q := m.byName[c.Name]
	if q == nil {
		c.Err = task.Errorf(task.NotFound, "no queue %q", c.Name)
		return
	}
	var ready, scheduled, dead bool
	for _, s := range c.States {
		switch s {
		case task.Ready:
			ready = true
		case task.Scheduled:
			scheduled = true
		case task.Dead:
			dead = true
		default:
			c.Err = task.Errorf(task.Invalid, "tasks that are %s can't be purged: purge ready, scheduled or dead ones", s)
			return
		}
	}
	if dead {
		c.Gone += m.purgeDead(q)
	}
	before := q.state.Births + q.state.Timed
	for _, l := range q.lanes {
		m.purgeTimed(l, ready, scheduled)
		if ready {
			m.purgeBirths(l)
		}
		m.fixTail(l)
	}
	if ready {
		q.state.Births = m.birthsLeft(q)
	}
	if scheduled {
		q.state.Timed = m.timedLeft(q)
	}
	c.Gone += before - q.state.Births - q.state.Timed
	m.unlearn(q)
	m.touch(q)
}

// unlearn forgets what was read of the queue's tasks before a purge: a command
// that needs it reads it anew.
func (m *Machine) unlearn(q *queueOf) {
	maps.DeleteFunc(m.gotTask, func(_ task.Seq, a *Loaded) bool {
		return len(a.Waiting) > 0 && a.Waiting[0].Place.Queue == q.state.Queue || a.Dead != nil && a.Dead.Key.Queue == q.state.Queue
	})
}

func (m *Machine) purgeDead(q *queueOf) int64 {
	gone, left := q.state.Dead, int64(0)
	var bytes int64
	for i := range m.out.Dead {
		if m.out.Dead[i].Key.Queue == q.state.Queue { // put in this very Apply: stays
			left++
			bytes += int64(m.out.Dead[i].Size)
		}
	}
	m.out.PurgeDead = append(m.out.PurgeDead, q.state.Queue)
	q.state.Dead, q.state.DeadBytes = left, bytes
	m.touch(q)
	return gone - left
}

// purgeBirths drops the lane's births that wait: those in memory one by one, those
// in the store alone by range. Running ones stay.
func (m *Machine) purgeBirths(l *lane) {
	for i := range l.order.n {
		e := l.order.buf[(l.order.head+i)&(len(l.order.buf)-1)]
		s := m.slab.at(e.slot)
		if s.seq == e.seq && s.class == task.ClassBirth && (s.state == slotReady || s.state == slotHeld) {
			m.remove(e.slot)
		}
	}
	if !l.more {
		return
	}
	if l.births != nil {
		l.births.void = true
		l.births = nil
	}
	from := Place{Class: task.ClassBirth, Prio: l.prio, Queue: l.queue.state.Queue, Lane: l.num, Seq: l.purgeFrom(m)}
	to := task.MakeSeq(m.cfg.Epoch, m.counter+1)
	if l.lastAlone == m.batch { // births of this very Apply: they are put after the range is gone
		l.cursor = m.firstAlone(l)
	} else {
		l.more = false
	}
	end := from
	end.Seq = to
	alone := l.timedCount == 0 && !l.timedMore && l.queue.state.Dead == 0 // no other task can have a payload there
	m.out.Purges = append(m.out.Purges, Range{from, end, alone})
	m.dirty = true
}

// purgeFrom is the first sequence behind everything of the lane in memory.
func (l *lane) purgeFrom(m *Machine) task.Seq {
	if l.order.n == 0 {
		return min(l.cursor, task.MakeSeq(m.cfg.Epoch, m.counter+1))
	}
	last := l.order.buf[(l.order.head+l.order.n-1)&(len(l.order.buf)-1)].seq
	return last + 1
}

// firstAlone is the first birth of this Apply that went to the store alone.
func (m *Machine) firstAlone(l *lane) task.Seq {
	for i := range m.out.Births {
		p := m.out.Births[i].Place
		if p.Queue == l.queue.state.Queue && p.Lane == l.num && p.Prio == l.prio && p.Class == task.ClassBirth && m.out.Births[i].Slot == NoSlot {
			return p.Seq
		}
	}
	return task.MakeSeq(m.cfg.Epoch, m.counter+1)
}

// purgeTimed drops timed tasks in memory by what they are, and those in the store
// alone if scheduled ones are meant: that is what they count as.
func (m *Machine) purgeTimed(l *lane, ready, scheduled bool) {
	for _, e := range append(timedHeap(nil), l.timedOrder...) {
		s := m.slab.at(e.slot)
		if s.seq != e.key.seq || s.class != task.ClassTimed || s.due != e.key.due {
			continue
		}
		if ready && (s.state == slotReady || s.state == slotHeld) || scheduled && s.state == slotScheduled {
			m.remove(e.slot)
		}
	}
	if !scheduled || !l.timedMore {
		return
	}
	if l.timed != nil {
		l.timed.void = true
		l.timed = nil
	}
	m.purgeTimedTail(l)
	if l.timedAlone != m.batch {
		l.timedMore = false
	}
	m.dirty = true
}

// purgeTimedTail drops the timed tasks behind the horizon by ranges that leave
// out what stays: tasks of the lane in memory.
func (m *Machine) purgeTimedTail(l *lane) {
	base := Place{Class: task.ClassTimed, Prio: l.prio, Queue: l.queue.state.Queue, Lane: l.num}
	at := l.horizon
	at.seq++
	keep := append(timedHeap(nil), l.timedOrder...)
	for len(keep) > 0 {
		e := keep[0]
		keep.pop()
		s := m.slab.at(e.slot)
		if s.seq != e.key.seq || s.class != task.ClassTimed || s.due != e.key.due || e.key.less(at) {
			continue
		}
		m.purgeRange(base, at, e.key)
		at = timedKey{e.key.due, e.key.seq + 1}
	}
	m.purgeRange(base, at, timedKey{1<<62 - 1, 0})
}

func (m *Machine) purgeRange(base Place, from, to timedKey) {
	if !from.less(to) {
		return
	}
	a, b := base, base
	a.Due, a.Seq = from.due, from.seq
	b.Due, b.Seq = to.due, to.seq
	m.out.Purges = append(m.out.Purges, Range{From: a, To: b})
}

// birthsLeft counts the births of the queue that a purge left: running ones, and
// those that went to the store alone in this very Apply.
func (m *Machine) birthsLeft(q *queueOf) int64 {
	var n int64
	for _, l := range q.lanes {
		for i := range l.order.n {
			e := l.order.buf[(l.order.head+i)&(len(l.order.buf)-1)]
			if s := m.slab.at(e.slot); s.seq == e.seq && s.class == task.ClassBirth && s.state != slotFree {
				n++
			}
		}
		if l.lastAlone == m.batch {
			n += int64(l.aloneNow)
		}
	}
	return n
}

// timedLeft counts the timed tasks that a purge left: those in memory, and those
// that went to the store alone in this very Apply.
func (m *Machine) timedLeft(q *queueOf) int64 {
	var n int64
	for _, l := range q.lanes {
		n += int64(l.timedCount)
	}
	for i := range m.out.Births {
		if b := &m.out.Births[i]; b.Place.Queue == q.state.Queue && b.Place.Class == task.ClassTimed && b.Slot == NoSlot {
			n++
		}
	}
	for i := range m.out.Timed {
		if t := &m.out.Timed[i]; t.Place.Queue == q.state.Queue && t.Slot == NoSlot {
			n++
		}
	}
	return n
}
