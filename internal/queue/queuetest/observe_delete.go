package queuetest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// deleted predicts what becomes of a queue that is to be deleted.
func (m *Model) deleted(c *queue.DeleteQueue) error {
	got := task.OK
	if c.Err != nil {
		got = c.Err.Code
	}
	want := func(code task.Code, gone int64) error {
		if got != code || c.Gone != gone {
			return fmt.Errorf("deletion of queue %q, force %v: got %v and %d tasks gone, want %v and %d", c.Name, c.Force, c.Err, c.Gone, code, gone)
		}
		return nil
	}
	q := m.queues[c.Name]
	if q == nil {
		return want(task.NotFound, 0)
	}
	running, others := m.countOf(q)
	if running > 0 || others > 0 && !c.Force {
		return want(task.Conflict, 0)
	}
	m.forgetQueue(q)
	return want(task.OK, others)
}

// countOf counts the tasks of a queue that run, and those that wait or are dead.
func (m *Model) countOf(q *modelQueue) (running, others int64) {
	for _, t := range m.order {
		switch {
		case t.queue != q:
		case t.state == task.Running, t.hold != nil:
			running++
		case t.live() || t.state == task.Dead:
			others++
		}
	}
	return running, others
}

// forgetQueue forgets the queue and all that was in it. The next one of its name
// begins from nothing.
func (m *Model) forgetQueue(q *modelQueue) {
	for _, t := range m.order {
		if t.queue == q {
			m.gone(t)
		}
	}
	maps.DeleteFunc(m.idems, func(k [2]string, _ *modelIdem) bool { return k[0] == q.name })
	maps.DeleteFunc(m.number, func(p producerName, _ map[uint64]task.ID) bool { return p.queue == q.name })
	maps.DeleteFunc(m.below, func(p producerName, _ uint64) bool { return p.queue == q.name })
	delete(m.queues, q.name)
}

// vanished judges the queues that the machine has let go of by itself. d is the
// deletion that was asked for, if one was.
func (m *Model) vanished(d *queue.DeleteQueue) error {
	for _, name := range slices.Sorted(maps.Keys(m.queues)) {
		q := m.queues[name]
		num, there := m.rig.M.QueueNum(name)
		if q.num == 0 {
			q.num = num
		}
		if there && num == q.num || d != nil && d.Name == name {
			continue
		}
		running, others := m.countOf(q)
		named := false
		for _, s := range m.sessions {
			named = named || slices.ContainsFunc(s.opts.Queues, func(w task.QueueWeight) bool { return w.Queue == name })
		}
		for k, e := range m.idems {
			named = named || k[0] == name && e.until > m.rig.Now
		}
		if running+others > 0 || named || q.set || q.used.Add(m.rig.Cfg.QueueIdle) > m.rig.Now {
			return fmt.Errorf("queue %q vanished at %d: it has %d tasks, is named or keyed: %v, was set: %v, was used at %d", name, m.rig.Now, running+others, named, q.set, q.used)
		}
		m.forgetQueue(q)
	}
	return nil
}
