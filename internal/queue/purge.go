package queue

import (
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// purge deletes a queue's waiting tasks or dead letters. What is in memory goes
// one by one; what is in the store alone goes by ranges over the whole queue that
// leave out what stays, so that their number is that of running tasks and not of
// lanes.
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
		m.purgeLane(l, ready, scheduled)
	}
	if ready {
		m.purgeStored(q, q.state.Births-q.birthsIn, task.ClassBirth)
	}
	if scheduled {
		m.purgeStored(q, q.state.Timed-q.timedIn, task.ClassTimed, task.ClassCalendar)
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
	for i := range m.out.Dead.Puts {
		if d := &m.out.Dead.Puts[i]; d.Key.Queue == q.state.Queue { // put in this very Apply: stays
			left++
			bytes += int64(d.Size)
		}
	}
	if gone > left {
		m.sweepIndexes()
		m.sweepChunks(q)
	}
	m.out.PurgeDead = append(m.out.PurgeDead, q.state.Queue)
	m.purged(q, step{kind: EventPurged, from: task.Dead}, q.state.DeadBytes-bytes, Purged{N: gone - left})
	m.touch(q)
	return gone - left
}

// purgeLane removes the lane's tasks in memory by what they are. What is held may be
// running, and stays as what runs does.
func (m *Machine) purgeLane(l *lane, ready, scheduled bool) {
	if ready {
		for l.head != NoSlot {
			m.remove(l.head)
		}
		if l.side != nil {
			all := slices.Clone(l.side.returned.items)
			for _, i := range slices.Backward(all) { // from the end they go without moving others
				if m.slab.at(i).state != slotHeld {
					m.remove(i)
				}
			}
		}
	}
	for scheduled && l.side != nil && l.side.scheduled != NoSlot {
		m.remove(l.side.scheduled)
	}
}

// purgeStored drops the queue's n tasks of some classes that are in the store alone.
// Timed ones count as scheduled there. What is put by this very Apply stays: puts
// come after the range is gone.
func (m *Machine) purgeStored(q *queueOf, n int64, classes ...task.Class) {
	for _, c := range classes {
		if q.alone == m.batch {
			n -= q.aloneNow[c]
		}
	}
	if n == 0 {
		return
	}
	from := len(m.out.Purges)
	for _, c := range classes {
		m.purgeClass(q, c)
	}
	m.purged(q, step{kind: EventPurged, from: inStore(classes[0]), was: classes[0]}, 0, Purged{n, m.out.Purges[from:]})
}

func (m *Machine) purged(q *queueOf, s step, size int64, p Purged) {
	m.eventOf(q, s, subject{slot: NoSlot, place: Place{Queue: q.state.Queue}, size: size, purged: p})
}

func (m *Machine) purgeClass(q *queueOf, c task.Class) {
	stays := m.stays(q, c)
	if c == task.ClassBirth && q.state.Timed == 0 && q.state.Dead == 0 {
		m.purgeLarge(q, stays)
	} else { // chunks of other tasks stand among theirs: the sweeper tells them apart
		m.sweepChunks(q)
	}
	if c.Timed() || m.expiry.next != 0 || m.expiry.asked {
		m.sweepIndexes()
	}
	at := Place{Class: c, Queue: q.state.Queue, Prio: task.PriorityMax}
	for _, p := range stays {
		m.purgeRange(at, p)
		m.orderStray(p)
		p.Seq++
		at = p
	}
	m.purgeRange(at, Place{Class: c, Queue: q.state.Queue + 1, Prio: task.PriorityMax})
	m.covered(q, c)
	for _, l := range q.lanes {
		if s := l.streamOf(c); s != nil && s.more {
			s.purged(m.batch)
			m.tailChanged(l)
		}
	}
	m.dirty = true
}

// orderStray puts a birth that was in memory out of turn among the lane's births
// by sequence: those before it that only the store had are gone.
func (m *Machine) orderStray(p Place) {
	i, _ := m.index.get(p.Seq)
	if s := m.slab.at(i); p.Class == task.ClassBirth && !s.ordered {
		m.order(m.lanes[s.lane], i)
	}
}

func (l *lane) streamOf(c task.Class) *stream {
	switch {
	case c == task.ClassBirth:
		return l.born
	case l.side != nil && c == l.timedClass():
		return &l.side.timed
	}
	return nil
}

// stays lists the places of the queue's tasks of a class that are in memory, in
// the order of the store.
func (m *Machine) stays(q *queueOf, c task.Class) []Place {
	var out []Place
	add := func(i Slot) {
		if s := m.slab.at(i); s.class == c && m.lanes[s.lane].queue() == q {
			out = append(out, m.place(s))
		}
	}
	for i := m.unary.head; i != NoSlot; i = m.slab.at(i).next {
		add(i)
	}
	for _, s := range m.sessions {
		for i := headOf(s); i != NoSlot; i = m.slab.at(i).next {
			add(i)
		}
	}
	for _, l := range q.lanes {
		for i := l.head; i != NoSlot; i = m.slab.at(i).next {
			add(i)
		}
		if l.side == nil {
			continue
		}
		for _, i := range l.side.returned.items {
			add(i)
		}
		for i := l.side.scheduled; i != NoSlot; i = m.slab.at(i).next {
			add(i)
		}
	}
	slices.SortFunc(out, comparePlaces)
	return slices.Compact(out)
}

func headOf(s *session) Slot {
	if s == nil {
		return NoSlot
	}
	return s.head
}

func (m *Machine) purgeRange(from, to Place) {
	if comparePlaces(from, to) < 0 {
		m.out.Purges = append(m.out.Purges, Range{from, to})
	}
}

// purgeLarge drops all chunks of the queue but those of tasks that stay.
func (m *Machine) purgeLarge(q *queueOf, stays []Place) {
	seqs := make([]task.Seq, 0, len(stays)+1)
	for i := range stays {
		seqs = append(seqs, stays[i].Seq)
	}
	slices.Sort(seqs)
	from := task.Seq(0)
	for _, s := range append(seqs, 1<<63) {
		if from < s {
			m.out.PurgeLarge = append(m.out.PurgeLarge, SeqRange{q.state.Queue, from, s})
		}
		from = s + 1
	}
}

// covered takes back deletes of records that the ranges now cover: a batch names
// a key once.
func (m *Machine) covered(q *queueOf, c task.Class) {
	drops := &m.out.DropBirths
	if c.Timed() {
		drops = &m.out.DropTimed
	}
	*drops = slices.DeleteFunc(*drops, func(p Place) bool { return p.Queue == q.state.Queue && p.Class == c })
}
