package queuetest

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// timeoutGrace is how long past an attempt's timeout a session's worker is given.
const timeoutGrace = task.Second

// judge finds what has happened to tasks by itself and holds a reason against
// it; then it looks for what should have happened and did not.
func (m *Model) judge() error {
	for _, no := range m.rig.Lapsed {
		s := m.sessions[no]
		if s == nil || s.beat.Add(s.ttl) > m.rig.Now {
			return fmt.Errorf("session %d lapsed at %d: %+v", no, m.rig.Now, s)
		}
	}
	// The oldest leases of a lapsed session are to blame, but for those that had
	// ended by themselves before.
	blame := map[*modelTask]bool{}
	for _, no := range m.rig.Lapsed {
		s := m.sessions[no]
		n, unsure := 0, 0
		for _, t := range s.leases {
			r := m.rig.Store.anyRecord(t.id.Seq)
			if r.Spec == nil { // it expired, before or after, and no history tells
				unsure++
			}
			if r.Counts.Failures > t.counts.Failures || r.State == task.Expired && r.Counts.Crashes == t.counts.Crashes && n < max(s.opts.Concurrency, 1) {
				continue
			}
			blame[t] = n < max(s.opts.Concurrency, 1)
			if !blame[t] && n-unsure < max(s.opts.Concurrency, 1) {
				blame[t] = r.Counts.Crashes > t.counts.Crashes
			}
			n++
		}
	}
	m.spareYoung()
	for _, t := range m.order {
		if err := m.judgeEnd(t); err != nil {
			return err
		}
	}
	for _, t := range slices.Clone(m.order) {
		if err := m.judgeLive(t, blame); err != nil {
			return err
		}
	}
	for _, no := range m.rig.Lapsed {
		if n := len(m.sessions[no].leases); n > 0 {
			return fmt.Errorf("session %d lapsed and still has %d leases", no, n)
		}
		delete(m.sessions, no)
	}
	for _, t := range m.order {
		if t.state == task.Running && t.expires != 0 && t.expires <= m.rig.Now {
			t.excused = true
		}
	}
	return nil
}

// judgeEnd looks at tasks that expired, timed out for the last time, or were
// given up.
func (m *Model) judgeEnd(t *modelTask) error {
	st := m.rig.Store
	if !t.live() || st.recordOf(t.id.Seq) != nil {
		return nil
	}
	now := m.rig.Now
	if w, ok := st.wheres[t.id.Seq]; ok && w.Dead.Queue != 0 && st.dead[w.Dead] != nil {
		c := st.dead[w.Dead].Counts
		switch {
		case c.Crashes == t.counts.Crashes+1:
			return nil // judgeLive asks who is to blame
		case c.Failures == t.counts.Failures+1:
			return m.judgeTimeout(t)
		}
		limit := t.queue.cfg.Unserved
		if limit == 0 {
			limit = task.DefaultUnserved
		}
		if !t.waits() || t.ready.Add(limit) > now {
			return fmt.Errorf("task %v (%v since %d) was given up at %d: %s", t.what(), t.state, t.ready, now, st.dead[w.Dead].Reason)
		}
		for _, s := range m.sessions {
			if !s.detached && s.serves(t) {
				return fmt.Errorf("task %v was given up for want of a worker, and one serves it", t.what())
			}
		}
		return m.die(t)
	}
	if !m.over(t) {
		return fmt.Errorf("task %v (%v, expires at %d) is gone at %d for no reason", t.what(), t.state, t.expires, now)
	}
	if t.state == task.Running && !m.past(t) && !m.mayHaveStopped(t) {
		return fmt.Errorf("task %v expired while it ran, at %d, deadline %d", t.what(), now, t.spec.Deadline)
	}
	m.end(t, task.Expired)
	return nil
}

// past says whether the task's deadline has passed, by the wall clock.
func (m *Model) past(t *modelTask) bool {
	return t.spec.Deadline != 0 && t.spec.Deadline <= m.rig.wall()
}

// over says whether the task may end by itself: it has waited for as long as it may,
// or its deadline has passed.
func (m *Model) over(t *modelTask) bool {
	return t.expires != 0 && t.expires <= m.rig.Now || m.past(t)
}

// mayHaveStopped says whether the lease of t may have ended by itself.
func (m *Model) mayHaveStopped(t *modelTask) bool {
	_, timeout, _ := t.policy()
	return t.leaseEnd != 0 && t.leaseEnd <= m.rig.Now || timeout != 0 && t.started.Add(timeout+t.stood) <= m.rig.Now ||
		slices.Contains(m.rig.Lapsed, t.session)
}

func (s *modelSession) serves(t *modelTask) bool {
	return (s.opts.Types == nil || slices.Contains(s.opts.Types, t.spec.Type)) &&
		slices.ContainsFunc(s.opts.Queues, func(w task.QueueWeight) bool { return w.Queue == t.queue.name })
}

func (m *Model) judgeTimeout(t *modelTask) error {
	_, timeout, _ := t.policy()
	end := t.started.Add(timeout + t.stood)
	if t.session != 0 {
		end = end.Add(timeoutGrace)
	}
	if t.state != task.Running || timeout == 0 || end > m.rig.Now {
		return fmt.Errorf("task %v (%v since %d, timeout %d) failed by itself at %d", t.what(), t.state, t.started, timeout, m.rig.Now)
	}
	return m.fail(t, false, task.RetryAfterByBackoff)
}

// judgeLive looks at tasks that crashed, timed out or were handed back.
func (m *Model) judgeLive(t *modelTask, blame map[*modelTask]bool) error {
	if !t.live() {
		return nil
	}
	c := m.rig.Store.anyRecord(t.id.Seq).Counts
	switch {
	case c.Failures == t.counts.Failures+1 && c.Crashes == t.counts.Crashes:
		return m.judgeTimeout(t)
	case c.Crashes == t.counts.Crashes+1 && c.Failures == t.counts.Failures:
		guilty, lapsed := blame[t]
		switch {
		case t.state == task.Running && t.session == 0 && t.leaseEnd != 0 && t.leaseEnd <= m.rig.Now:
		case t.state == task.Running && lapsed && guilty:
		case m.judgeHold(t):
		default:
			return fmt.Errorf("task %v (%v, session %d, lease to %d) crashed at %d for no reason", t.what(), t.state, t.session, t.leaseEnd, m.rig.Now)
		}
		return m.crash(t)
	case c.Failures != t.counts.Failures || c.Crashes != t.counts.Crashes:
		return fmt.Errorf("task %v counts %+v, want %+v", t.what(), c, t.counts)
	}
	if m.judgeHold(t) {
		return fmt.Errorf("task %v was held until %d, and its crash is not counted", t.what(), m.rig.Now)
	}
	if t.state != task.Running {
		return nil
	}
	if v, ok := m.rig.M.Find(t.id.Seq); ok && v.State == task.Running {
		return nil
	}
	if guilty, lapsed := blame[t]; !lapsed || guilty {
		return fmt.Errorf("task %v was taken from session %d without a crash", t.what(), t.session)
	}
	m.back(t)
	return nil
}

// overdue finds what should have happened by now.
func (m *Model) overdue() error {
	now := m.rig.Now
	for _, t := range m.order {
		_, timeout, _ := t.policy()
		// Under the last owner its entry went while it ran: it gets one when it is read.
		unread := false
		if t.excused && t.waits() {
			_, here := m.rig.M.Find(t.id.Seq)
			unread = !here
		}
		switch {
		case t.waits() && t.expires != 0 && t.expires <= now && !unread && t.hold == nil:
			return fmt.Errorf("task %v waits at %d, past its expiry at %d", t.what(), now, t.expires)
		case t.waits() && m.past(t):
			return fmt.Errorf("task %v waits at %d by the wall clock, past its deadline at %d", t.what(), m.rig.wall(), t.spec.Deadline)
		case t.state != task.Running:
		case t.leaseEnd != 0 && t.leaseEnd <= now:
			return fmt.Errorf("task %v runs at %d, past its lease's end at %d", t.what(), now, t.leaseEnd)
		case timeout != 0 && t.started.Add(timeout+t.stood+timeoutGrace+2*slack) <= now && t.resumed < now:
			return fmt.Errorf("task %v runs at %d, since %d with a timeout of %d", t.what(), now, t.started, timeout)
		case m.past(t):
			return fmt.Errorf("task %v runs at %d by the wall clock, past its deadline at %d", t.what(), m.rig.wall(), t.spec.Deadline)
		}
	}
	if err := m.overdueAway(); err != nil {
		return err
	}
	for no, s := range m.sessions {
		if s.beat.Add(s.ttl+slack) <= now {
			return fmt.Errorf("session %d lives at %d, last heard of at %d with a TTL of %d", no, now, s.beat, s.ttl)
		}
	}
	return nil
}

// stoodStill: the owner could hear nobody for d. Nobody is to blame for that.
func (m *Model) stoodStill(d task.Millis) {
	for _, s := range m.sessions {
		if s.beat = min(s.beat.Add(d), m.rig.Now); !s.spared {
			s.beat, s.spared = m.rig.Now, true
		}
	}
	for id := range m.away {
		m.away[id] = m.away[id].Add(d)
	}
	for _, t := range m.order {
		if t.hold != nil {
			t.hold.until = t.hold.until.Add(d)
		}
		if t.state != task.Running {
			continue
		}
		t.stood += d
		if t.leaseEnd != 0 {
			t.leaseEnd = t.leaseEnd.Add(d)
		}
	}
}

// clockSet: what is to run at a moment does so by the wall clock as it is now. What
// is ready and stays so has its place in the line, if it is in memory.
func (m *Model) clockSet() {
	for _, t := range m.order {
		if !t.live() || !t.calendar || t.state == task.Running || t.hold != nil { // what has run keeps its place, unless it waits again
			continue
		}
		at := t.spec.RunAt.Add(m.rig.Wall)
		if t.ready > m.rig.Now || at > m.rig.Now || !m.inMemory(t) {
			t.ready = at
		}
	}
}
