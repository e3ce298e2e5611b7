package queue

import "github.com/penstock-io/penstock/internal/task"

// queueNamed finds a queue, or makes it.
func (m *Machine) queueNamed(name string) (*queueOf, *task.Error) {
	if q := m.byName[name]; q != nil {
		return q, nil
	}
	if e := task.CheckName("queue", name); e != nil {
		return nil, e
	}
	if len(m.byName) >= queuesMax {
		return nil, task.Errorf(task.Exhausted, "this partition has %d queues, the most it can hold: use fewer queues and more types or keys", queuesMax)
	}
	m.meta.NextQueue = max(m.meta.NextQueue, 1)
	q := m.addQueue(QueueState{Queue: m.meta.NextQueue, Name: name})
	m.meta.NextQueue++
	m.touch(q)
	m.adoptQueue(q)
	return q, nil
}

func (m *Machine) addQueue(st QueueState) *queueOf {
	q := &queueOf{state: st, typeNum: map[string]uint32{}}
	for int(st.Queue) >= len(m.queues) {
		m.queues = append(m.queues, nil)
	}
	m.queues[st.Queue] = q
	m.byName[st.Name] = q
	return q
}

// typeNamed finds the number of a type in the queue, registering it if it is new.
func (m *Machine) typeNamed(q *queueOf, name string) (uint32, *task.Error) {
	if name == q.lastType {
		return q.lastNum, nil
	}
	if n, ok := q.typeNum[name]; ok {
		q.lastType, q.lastNum = name, n
		return n, nil
	}
	if len(q.types) >= typesMax {
		return 0, task.Errorf(task.Exhausted, "queue %q has %d types, the most it can hold: put what differs into the payload", q.state.Name, typesMax)
	}
	q.types = append(q.types, name)
	n := uint32(len(q.types))
	q.typeNum[name] = n
	m.out.Types = append(m.out.Types, TypeName{Queue: q.state.Queue, Lane: n, Name: name})
	m.dirty = true
	return n, nil
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
	set(&q.state.Paused, p.Paused)
	if p.Backoff != nil {
		cfg.Backoff = p.Backoff
	}
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

// loadQueues rebuilds queues, types and lanes from the snapshot.
func (m *Machine) loadQueues(snap *Snapshot) {
	for _, st := range snap.Queues {
		m.addQueue(st)
	}
	for _, t := range snap.Types {
		q := m.queues[t.Queue]
		for int(t.Lane) > len(q.types) {
			q.types = append(q.types, "")
		}
		q.types[t.Lane-1] = t.Name
		q.typeNum[t.Name] = t.Lane
	}
	for _, mk := range snap.Marks {
		l := m.laneOf(m.queues[mk.Queue], mk.Prio, mk.Lane)
		l.high, l.timedTop = mk.High, mk.TimedTop
		l.timedMark = mk.TimedLow
	}
	for _, f := range snap.Lanes {
		l := m.laneOf(m.queues[f.Queue], f.Prio, f.Lane)
		if f.HasBirth {
			l.more, l.cursor = true, f.Birth
		}
		if f.HasTimed {
			l.timedMore, l.horizon = true, timedKey{f.Timed, 0}
		}
		m.fixTail(l)
	}
}
