package queue

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// deleteQueue deletes a queue: an empty one, or by force what waits in it too.
// Tasks that run, or may be running, stand against it even then: their handlers are
// at work, and somebody waits for what comes of them.
func (m *Machine) deleteQueue(c *Command) {
	d := c.DeleteQueue
	d.Gone, d.Err = 0, nil
	q := m.byName[d.Name]
	if q == nil {
		d.Err = task.Errorf(task.NotFound, "no queue %q", d.Name)
		return
	}
	info := m.infoOf(q, m.history.from())
	if d.Err = info.CheckDelete(d.Force); d.Err != nil {
		return
	}
	if m.isPut(q) {
		m.deleteLater(c)
		return
	}
	if q.state.Births+q.state.Timed+q.state.Dead > 0 {
		p := Purge{Name: d.Name, States: []task.State{task.Ready, task.Scheduled, task.Dead}}
		m.purge(&p)
		d.Gone = p.Gone
	}
	m.dropQueue(q)
}

// isPut says whether this very Apply puts or hands out something of the queue,
// which can't be taken back any more: deletes come before puts.
func (m *Machine) isPut(q *queueOf) bool {
	return q.dirty || slices.ContainsFunc(m.out.Leased, func(l Leased) bool { return l.Place.Queue == q.state.Queue })
}

// deleteLater has the next Apply delete the queue, before all that is new to it.
func (m *Machine) deleteLater(c *Command) {
	if c.N == deleteTriesMax {
		c.DeleteQueue.Err = task.Errorf(task.Conflict, "queue %q is busy: pause it, and delete it again", c.DeleteQueue.Name)
		return
	}
	again := *c
	again.N++
	m.later(&again)
}

// dropQueue lets go of a queue that has no tasks and that this Apply has put
// nothing of but deletes. What is left under its number goes by range.
func (m *Machine) dropQueue(q *queueOf) {
	num := q.state.Queue
	for _, l := range slices.Clone(q.lanes) {
		m.emptyLane(l)
		m.dropLane(l)
	}
	m.out.DropLarge = slices.DeleteFunc(m.out.DropLarge, func(p Place) bool { return p.Queue == num })
	m.out.PurgeLarge = slices.DeleteFunc(m.out.PurgeLarge, func(g SeqRange) bool { return g.Queue == num })
	m.sweeper.dropQueue(num)
	m.unlearn(q)
	if len(q.menus) > 0 {
		m.dropFromCrews(q)
	}
	m.out.DropQueues = append(m.out.DropQueues, DropQueue{Queue: num, Idems: q.state.IdemBytes != 0,
		Producers: m.producers.dropQueue(num), Payloads: q.state.Enqueued > 0})
	m.dirtyList = slices.DeleteFunc(m.dirtyList, func(x *queueOf) bool { return x == q })
	m.dirty = true
	delete(m.byName, q.state.Name)
	delete(m.numbered, num)
	at := slices.Index(m.queues, q)
	m.queues = slices.Delete(m.queues, at, at+1)
	if at < m.idleAt {
		m.idleAt--
	}
	if at < m.unservedAt[0] {
		m.unservedAt[0]--
	} else if at == m.unservedAt[0] {
		m.unservedAt[1] = 0
	}
}

// emptyLane forgets what the lane may have in the store alone, of which its
// queue's counts say that it is nothing.
func (m *Machine) emptyLane(l *lane) {
	for _, c := range [...]task.Class{task.ClassBirth, l.timedClass()} {
		if s := l.streamOf(c); s != nil {
			s.purged(m.batch)
			s.more = false
		}
	}
	m.fixLane(l)
}

// dropIdle deletes empty queues that nobody has set and in which nothing happened
// for as long as Config.QueueIdle: producers that make up names leave nothing
// behind. It looks at a bounded number a tick, and goes on with the next.
func (m *Machine) dropIdle() {
	if m.cfg.QueueIdle == 0 || m.now < m.restart.opened.Add(idleGrace) {
		return
	}
	gone := 0
	for range min(idleLooksMax, len(m.queues)) {
		if m.idleAt >= len(m.queues) {
			m.idleAt = 0
		}
		q := m.queues[m.idleAt]
		if !m.isIdle(q) {
			m.idleAt++
			continue
		}
		m.dropQueue(q)
		if gone++; gone == idleDropsMax {
			return
		}
	}
}

// isIdle says whether the queue may vanish. Of one that is used without a write of
// its own it notes so now and then, for the next owner.
func (m *Machine) isIdle(q *queueOf) bool {
	st := &q.state
	if m.isPut(q) || st.Births+st.Timed+st.Dead+st.IdemBytes > 0 {
		return false
	}
	if st.Used == 0 || q.named > 0 && st.Used.Add(idleNoteEvery) <= m.now {
		m.touch(q)
		return false
	}
	mine := !st.Set && !st.Paused && st.Config == (task.QueueConfig{}) && len(st.Earlier) == 0
	return mine && q.named == 0 && max(st.Used, q.left).Add(m.cfg.QueueIdle) <= m.now
}
