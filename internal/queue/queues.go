package queue

import (
	"github.com/penstock-io/penstock/internal/task"
)

// queueNamed finds a queue, or makes it.
func (m *Machine) queueNamed(name string) (*queueOf, *task.Error) {
	if q := m.byName[name]; q != nil {
		return q, nil
	}
	if e := task.CheckName("queue", name); e != nil {
		return nil, e
	}
	if len(m.byName) >= queuesMax {
		return nil, task.Errorf(task.Exhausted, "this partition has %d queues, the most it can hold: delete those that are no longer used, or use fewer, and keys for what differs", queuesMax)
	}
	m.meta.NextQueue = max(m.meta.NextQueue, 1) // number 0 is never used
	if m.meta.NextQueue == Void {
		return nil, task.Errorf(task.Exhausted, "this partition has had %d queues, the most there can ever be in it: use fewer queues, and keys for what differs", Void-1)
	}
	q := m.addQueue(QueueState{Queue: m.meta.NextQueue, Name: name})
	m.meta.NextQueue++
	m.touch(q)
	m.adoptQueue(q)
	return q, nil
}

func (m *Machine) addQueue(st QueueState) *queueOf {
	q := &queueOf{state: st, types: map[string]*typeOf{}, byName: map[uint64]*lane{}}
	q.tasks[inStore(task.ClassBirth)], q.tasks[inStore(task.ClassTimed)] = st.Births, st.Timed
	m.queues = append(m.queues, q)
	m.numbered[st.Queue] = q
	m.byName[st.Name] = q
	return q
}

// setQueue changes a queue's settings.
func (m *Machine) setQueue(c *SetQueue) {
	q, e := m.queueNamed(c.Name)
	if e == nil {
		e = checkPatch(&c.Patch)
	}
	if e != nil {
		c.Err = e
		return
	}
	p, cfg := &c.Patch, &q.state.Config
	set(&cfg.MaxAttempts, p.MaxAttempts)
	set(&cfg.Timeout, p.Timeout)
	set(&cfg.Retention, p.Retention)
	set(&cfg.History, p.History)
	set(&cfg.Unserved, p.Unserved)
	set(&cfg.Claims, p.Claims)
	q.noteWidth(p.Width, m.now)
	set(&cfg.Width, p.Width)
	if q.state.Paused && p.Paused != nil && !*p.Paused {
		q.lastAll = m.now // nobody could have served it until now
	}
	set(&q.state.Paused, p.Paused)
	q.state.Set = true
	if p.Backoff != nil {
		cfg.Backoff = p.Backoff
	}
	m.askGates(q)
	m.touch(q)
}

// noteWidth remembers the width that the queue has had until now, if something may
// have been enqueued under it.
func (q *queueOf) noteWidth(p *int, now task.Time) {
	st := &q.state
	old := max(st.Config.Width, 1)
	if p == nil || max(*p, 1) == old || old == 1 && st.Enqueued == 0 {
		return
	}
	kept := append([]task.EarlierWidth{{Width: old, Until: now}}, st.Earlier...)
	st.Earlier = kept[:min(len(kept), task.EarlierWidthsMax)]
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

func checkPatch(p *task.QueuePatch) *task.Error {
	pol := task.Policy{Backoff: p.Backoff}
	set(&pol.MaxAttempts, p.MaxAttempts)
	set(&pol.Timeout, p.Timeout)
	if e := pol.Check(); e != nil {
		return e
	}
	switch {
	case p.Retention != nil && (*p.Retention < 0 || *p.Retention > task.DelayMax):
		return task.Errorf(task.Invalid, "retention of %d ms is out of range", *p.Retention)
	case p.Unserved != nil && (*p.Unserved < 0 || *p.Unserved > task.DelayMax):
		return task.Errorf(task.Invalid, "unserved limit of %d ms is out of range", *p.Unserved)
	case p.History != nil && *p.History > task.HistoryNone:
		return task.Errorf(task.Invalid, "unknown history mode: use all, failures or none")
	case p.Claims != nil && *p.Claims > task.ClaimsDurable:
		return task.Errorf(task.Invalid, "unknown claims mode: use deferred or durable")
	case p.Width != nil && (*p.Width < 0 || *p.Width > 1<<15-1):
		return task.Errorf(task.Invalid, "width %d is out of range", *p.Width)
	}
	return nil
}

// loadQueues rebuilds queues and lanes from the snapshot.
func (m *Machine) loadQueues(snap *Snapshot) {
	for _, st := range snap.Queues {
		m.askGates(m.addQueue(st))
	}
	type place struct {
		queue QueueNum
		prio  uint8
		lane  LaneNum
	}
	found := make(map[place]*lane, len(snap.Lanes))
	for i := range snap.Lanes {
		f := &snap.Lanes[i]
		l := m.addLane(m.numbered[f.Queue], f.Prio, f.Lane, f.Names, f.Calendar)
		found[place{f.Queue, f.Prio, f.Lane}] = l
		if f.HasBirth {
			s := l.births()
			s.back(streamKey{seq: f.Birth}, f.Ready)
		}
		if f.HasTimed {
			m.sideOf(l).timed.back(streamKey{f.Timed, f.TimedSeq}, 0)
		}
	}
	for _, mk := range snap.Marks {
		l := found[place{mk.Queue, mk.Prio, mk.Lane}]
		if l == nil {
			m.lostMarks = append(m.lostMarks, mk.MarkKey) // of a lane that has no tasks any more
			continue
		}
		l.marked = true
		if l.calendar {
			m.sideOf(l).timedMark = mk.TimedLow
		}
	}
	for _, l := range m.lanes {
		m.tailChanged(l)
	}
}
