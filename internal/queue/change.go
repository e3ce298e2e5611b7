package queue

import "github.com/penstock-io/penstock/internal/task"

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
	i, here := m.index.get(id.Seq)
	if here && m.bornAs(i, id) {
		return m.changeLive(v, i)
	}
	a, asked := m.gotTask[id.Seq]
	if here && asked {
		if len(a.Waiting) == 0 {
			return errNoTask(id)
		}
		return m.changeLive(v, i)
	}
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
	case a.Finished != nil && m.numbered[a.Finished.Place.Queue] != nil: // else its queue was deleted
		err := m.changeFinished(v, id, a)
		delete(m.gotTask, id.Seq)
		return err
	}
	return errNoTask(id)
}

func errNoTask(id task.ID) *task.Error {
	return task.Errorf(task.NotFound, "no task %s: it was deleted, or its history is over", id)
}

// bornAs says that the task was born as its ID says. Of one that has moved, or
// that the ID does not name, memory doesn't know: its record has to be asked.
func (m *Machine) bornAs(i Slot, id task.ID) bool {
	s := m.slab.at(i)
	return s.flags&FlagMoved == 0 && m.idOf(m.place(s)) == id
}

func (m *Machine) changeLive(v task.Verb, i Slot) *task.Error {
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
		if s.class.Timed() && s.due > m.clockOf(m.lanes[s.lane]) {
			m.move(i, m.now, nil, EventRetried)
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
func (m *Machine) remove(i Slot) {
	s := m.slab.at(i)
	l := m.lanes[s.lane]
	from := s.stands()
	m.detach(i)
	m.dropRecord(s, false)
	m.event(l.queue(), step{kind: EventGone, from: from, was: s.class}, s)
	m.forget(i)
}

func (m *Machine) changeDead(v task.Verb, id task.ID, a *Loaded) *task.Error {
	d := a.Dead
	q := m.numbered[d.Key.Queue]
	if v == task.VerbDelete && !m.freeKey(id, d.Flags) {
		return errPending
	}
	switch v {
	case task.VerbCancel:
		return task.Errorf(task.Conflict, "the task is dead already: retry or delete it")
	case task.VerbRetry:
		m.revive(d.Place, d.Flags, Source{Slot: NoSlot, Dead: d.Key}, d.Size, a, task.Dead)
	case task.VerbDelete:
		m.out.Wheres.drop(d.Key.Seq)
		if d.Flags&FlagLarge != 0 {
			m.out.DropLarge = append(m.out.DropLarge, d.Place)
		}
		m.eventOf(q, step{kind: EventGone, from: task.Dead}, subject{slot: NoSlot, place: d.Place, typ: d.Type, size: int64(d.Size)})
	}
	m.out.Dead.drop(d.Key)
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
		m.revive(f.Place, f.Flags, Source{Slot: NoSlot, Finished: f.Key}, recordOverhead, a, f.State)
	case task.VerbDelete:
		if f.State != task.Succeeded && !m.freeKey(id, f.Flags) { // what is done stays done: a repeat may not do it again
			return errPending
		}
		m.eventOf(m.numbered[f.Place.Queue], step{kind: EventGone, from: f.State}, subject{slot: NoSlot, place: f.Place, typ: f.Names.Type})
	}
	m.out.Finished.drop(f.Key)
	m.dirty = true
	a.Finished = nil
	return nil
}

// revive makes an ended task wait again, due now, with its counters at zero. was is
// how it had ended.
func (m *Machine) revive(p Place, flags Flags, from Source, size int, a *Loaded, was task.State) {
	if d := &m.idems.due; d.asked && flags&FlagIdem != 0 {
		d.revived[p.Seq] = struct{}{}
	}
	q := m.numbered[p.Queue]
	l := m.laneFor(q, p.Prio, a.Revived.Names, false)
	p.Lane = l.num // its lane may have another number by now
	w := Waiting{Place: p, Enqueued: m.now, Flags: (flags | FlagMoved) &^ (FlagExpiry | FlagDeadline | FlagClaim), Size: size}
	w.Place.Class, w.Place.Due = task.ClassTimed, m.now
	w.Policy, w.Enqueued = a.Revived.Policy, a.Revived.Enqueued
	if a.Dead != nil {
		w.Told = a.Dead.Told
	}
	i := m.slotFor(l, &w)
	m.putTimed(l, i, Timed{Place: w.Place, Type: l.group.typ.name, Slot: i, From: from, Flags: w.Flags, Told: w.Told}, step{kind: EventRetried, from: was}, int64(size))
}
