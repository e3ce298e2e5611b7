package queuetest

import (
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

func (m *Model) openedSession(o *queue.Open) error {
	if o.Err != nil {
		return fmt.Errorf("session %q was refused: %v", o.Options.ID, o.Err)
	}
	s := m.sessions[o.Session]
	if s == nil {
		s = &modelSession{}
		m.sessions[o.Session] = s
	} else if s.opts.ID != o.Options.ID {
		return fmt.Errorf("session %q got the number %d of session %q", o.Options.ID, o.Session, s.opts.ID)
	}
	s.opts, s.beat, s.detached, s.spared, s.ttl = *o.Options, m.rig.Now, false, false, o.Options.TTL
	if s.ttl == 0 {
		s.ttl = task.DefaultSessionTTL
	}
	kept := map[*modelTask]bool{}
	for _, k := range o.Options.Running {
		t := m.tasks[k.Seq]
		lost := slices.Contains(o.Lost, k)
		if m.resumed(s, o.Session, t, k) == lost {
			return fmt.Errorf("session %q resumes %+v: lost is %v", o.Options.ID, k, lost)
		}
		kept[t] = !lost || kept[t]
	}
	for _, t := range slices.Clone(s.leases) {
		if !kept[t] {
			m.back(t)
		}
	}
	delete(m.away, o.Options.ID)
	for _, t := range m.order {
		if t.hold != nil && t.hold.session == o.Options.ID {
			t.release()
			m.ripen(t)
		}
	}
	return nil
}

// resumed says whether a worker that says it runs a task under k still has it,
// and gives it back to it.
func (m *Model) resumed(s *modelSession, no queue.SessionNo, t *modelTask, k task.Token) bool {
	switch {
	case t == nil || !t.live() || !m.inMemory(t):
		return false
	case t.state == task.Running:
		return t.token == k && t.session == no
	case m.before[t.id.Seq].State == task.Scheduled:
		return false
	case !t.known || t.told != nil || t.token != k:
		return false
	}
	m.goesOn(t, k)
	t.session, t.leaseEnd = no, 0
	s.leases = append(s.leases, t)
	return true
}

// goesOn makes a waiting task run again under k, its last dispatch. The attempt
// began with that.
func (m *Model) goesOn(t *modelTask, k task.Token) {
	t.resumed, t.stood = m.rig.Now, 0
	t.state, t.token, t.known, t.old, t.hold, t.told = task.Running, k, true, false, nil, nil
}

func (m *Model) changed(c *queue.Change) error {
	for i, id := range c.IDs {
		if err := m.changedOne(c.Verb, id, c.Errs[i]); err != nil {
			return fmt.Errorf("verb %d on %v: %w", c.Verb, id, err)
		}
	}
	return nil
}

func (m *Model) changedOne(v task.Verb, id task.ID, err *task.Error) error {
	got := task.OK
	if err != nil {
		got = err.Code
	}
	want := func(c task.Code) error {
		if got != c {
			return fmt.Errorf("got %v (%v), want %v", got, err, c)
		}
		return nil
	}
	t := m.tasks[id.Seq]
	if t == nil || t.state == task.StateUnknown || t.id != id {
		return want(task.NotFound)
	}
	if !t.live() && t.state != task.Dead && t.finisherGone(m.rig.Store) {
		// Its history is over, or this very change took it: then it says so.
		if got == task.NotFound {
			return nil
		}
		if v != task.VerbDelete && v != task.VerbRetry {
			return fmt.Errorf("got %v, want NotFound", got)
		}
	}
	switch v {
	case task.VerbCancel:
		if !t.live() {
			return want(task.Conflict)
		}
		m.end(t, task.Canceled)
	case task.VerbDelete:
		if t.state == task.Running {
			return want(task.Conflict)
		}
		if t.state != task.Succeeded {
			maps.DeleteFunc(m.idems, func(_ [2]string, e *modelIdem) bool { return e.task == t })
		}
		m.gone(t)
	case task.VerbRetry:
		return m.retried(t, want)
	}
	return want(task.OK)
}

// gone forgets t.
func (m *Model) gone(t *modelTask) { t.state, t.known, t.hold = task.StateUnknown, false, nil }

func (m *Model) retried(t *modelTask, want func(task.Code) error) error {
	large := len(t.spec.Payload) > 4<<10
	switch {
	case t.state == task.Running, t.state == task.Succeeded,
		t.state == task.Canceled && large, t.state == task.Expired && large:
		return want(task.Conflict)
	case t.waits():
		if err := want(task.OK); err != nil || t.ready <= m.rig.Now {
			return err
		}
		return m.moved(t, 0, 0)
	}
	if err := want(task.OK); err != nil {
		return err
	}
	switch t.state {
	case task.Canceled:
		t.queue.canceled--
	case task.Expired:
		t.queue.expired--
	}
	if t.state != task.Dead {
		t.told = nil // a finished record keeps no outcome that did not finish it
	}
	t.revived, t.spec.Deadline = true, 0
	t.counts, t.known, t.finisher, t.expires, t.excused = task.Counts{}, false, task.Token{}, 0, false
	return m.moved(t, 0, 0)
}

func (m *Model) setQueue(c *queue.SetQueue) error {
	if c.Err != nil {
		return fmt.Errorf("got %v", c.Err)
	}
	q := m.queueNamed(c.Name)
	q.set = true
	p := &c.Patch
	set(&q.cfg.MaxAttempts, p.MaxAttempts)
	set(&q.cfg.Timeout, p.Timeout)
	set(&q.cfg.Retention, p.Retention)
	set(&q.cfg.History, p.History)
	set(&q.cfg.Unserved, p.Unserved)
	set(&q.cfg.Claims, p.Claims)
	set(&q.paused, p.Paused)
	if p.Backoff != nil {
		q.cfg.Backoff = p.Backoff
	}
	return nil
}

func set[T any](to *T, from *T) {
	if from != nil {
		*to = *from
	}
}

// purged: what waits in memory goes by what it is; what is in the store alone
// counts as ready if it was born so, as scheduled otherwise.
func (m *Model) purged(c *queue.Purge) error {
	q := m.queues[c.Name]
	if q == nil {
		if c.Err == nil || c.Err.Code != task.NotFound {
			return fmt.Errorf("purge of an unknown queue: %v", c.Err)
		}
		return nil
	}
	if c.Err != nil {
		return fmt.Errorf("purge: %v", c.Err)
	}
	var n int64
	for _, t := range m.order {
		if t.queue != q || t.state == task.Running || t.hold != nil {
			continue
		}
		as := t.state
		if t.waits() {
			v, here := m.before[t.id.Seq]
			switch {
			case here && v.State == task.Scheduled, !here && t.timed:
				as = task.Scheduled
			default:
				as = task.Ready
			}
		}
		if slices.Contains(c.States, as) && (as == task.Ready || as == task.Scheduled || as == task.Dead) {
			m.gone(t)
			n++
		}
	}
	if c.Gone != n {
		return fmt.Errorf("purge of %v in queue %q: %d are gone, want %d", c.States, c.Name, c.Gone, n)
	}
	return nil
}
