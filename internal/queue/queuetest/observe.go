package queuetest

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Step moves time to now, then applies one command, and holds all that comes of
// either against the rules.
func (m *Model) Step(now task.Time, c queue.Command) error {
	m.rig.Now = max(m.rig.Now, now)
	for n := 0; n == 0 || m.rig.Out.Deadline == m.rig.Now+1 && n < 20; n++ {
		if n > 0 {
			m.rig.Now++
		}
		if err := m.tick(); err != nil {
			return fmt.Errorf("tick at %d: %w", m.rig.Now, err)
		}
	}
	m.rig.Now = m.rig.Now.Add(c.Gap)
	if c.Op == queue.OpClock {
		m.rig.Wall = c.Offset
	}
	m.Look()
	if err := m.rig.Apply(c); err != nil {
		return err
	}
	if err := m.vanished(c.DeleteQueue); err != nil {
		return err
	}
	if err := m.observe(&c); err != nil {
		return fmt.Errorf("%s at %d: %w", opNames[c.Op], m.rig.Now, err)
	}
	if err := m.judge(); err != nil {
		return fmt.Errorf("after %s at %d: %w", opNames[c.Op], m.rig.Now, err)
	}
	if err := m.overdue(); err != nil {
		return err
	}
	return m.Compare()
}

func (m *Model) tick() error {
	m.Look()
	if err := m.rig.Apply(queue.Command{Op: queue.OpTick}); err != nil {
		return err
	}
	if err := m.vanished(nil); err != nil {
		return err
	}
	if len(m.rig.Leased) > 0 {
		return fmt.Errorf("%d tasks were leased", len(m.rig.Leased))
	}
	return m.judge()
}

var opNames = [...]string{"tick", "enqueue", "report", "dispatch", "lease", "extend", "open", "beat", "detach", "close", "change", "set queue", "purge", "loaded", "free", "gap", "clock", "delete queue"}

func (m *Model) observe(c *queue.Command) error {
	if c.Op != queue.OpDispatch && c.Op != queue.OpLease && len(m.rig.Leased) > 0 {
		return fmt.Errorf("%d tasks were leased that nobody asked for", len(m.rig.Leased))
	}
	switch c.Op {
	case queue.OpGap:
		m.stoodStill(c.Gap)
	case queue.OpClock:
		m.clockSet()
	case queue.OpEnqueue:
		return m.enqueued(c.Enqueue)
	case queue.OpReport:
		for i := range c.Report.Outcomes {
			if err := m.reported(&c.Report.Outcomes[i], c.Report.Codes[i]); err != nil {
				return err
			}
		}
	case queue.OpDispatch:
		return m.dispatched(c.Session, c.N)
	case queue.OpLease:
		return m.leasedUnary(c.Lease)
	case queue.OpExtend:
		return m.extended(c.Extend)
	case queue.OpOpen:
		return m.openedSession(c.Open)
	case queue.OpBeat:
		if s := m.sessions[c.Session]; s != nil {
			s.beat, s.spared = m.rig.Now, false
		}
	case queue.OpDetach:
		if s := m.sessions[c.Session]; s != nil {
			s.detached = true
		}
	case queue.OpClose:
		if s := m.sessions[c.Session]; s != nil {
			for _, t := range slices.Clone(s.leases) {
				m.back(t)
			}
			delete(m.sessions, c.Session)
		}
	case queue.OpFree:
		for _, k := range c.Unsent {
			if t := m.tasks[k.Seq]; t != nil && t.state == task.Running && t.token == k {
				m.back(t)
			}
		}
	case queue.OpChange:
		return m.changed(c.Change)
	case queue.OpSetQueue:
		return m.setQueue(c.SetQueue)
	case queue.OpPurge:
		return m.purged(c.Purge)
	case queue.OpDeleteQueue:
		return m.deleted(c.DeleteQueue)
	}
	return nil
}

func (m *Model) enqueued(b *task.EnqueueBatch) error {
	if e := task.CheckName("queue", b.Queue); e != nil {
		if b.Err == nil {
			return fmt.Errorf("queue %q was taken", b.Queue)
		}
		return nil
	}
	q := m.queueNamed(b.Queue)
	p := producerName{b.Producer, b.Queue}
	if b.Producer != "" {
		num, _ := m.rig.M.QueueNum(b.Queue)
		if !m.known[queue.ProducerKey{Queue: num, Producer: b.Producer}] { // idle for too long, or new
			delete(m.number, p)
			delete(m.below, p)
			if b.AckBelow > 1 {
				if b.Err == nil || b.Err.Code != task.Conflict {
					return fmt.Errorf("a producer that is not known any more got %v", b.Err)
				}
				return nil
			}
		}
		if m.number[p] == nil {
			m.number[p] = map[uint64]task.ID{}
		}
		m.below[p] = max(m.below[p], b.AckBelow)
	}
	if b.Err != nil {
		return fmt.Errorf("the batch was refused: %v", b.Err)
	}
	for i := range b.Specs {
		if err := m.enqueuedOne(q, p, &b.Specs[i], b.Results[i]); err != nil {
			return fmt.Errorf("spec %d %+v: %w", i, b.Specs[i], err)
		}
	}
	return nil
}

func (m *Model) enqueuedOne(q *modelQueue, p producerName, s *task.Spec, got task.Enqueued) error {
	now := m.rig.Now
	want := func(code task.Code) error {
		if got.Err == nil || got.Err.Code != code || !got.ID.IsZero() {
			return fmt.Errorf("got %+v, want %v", got, code)
		}
		return nil
	}
	same := func(id task.ID) error {
		if got.Err != nil || got.ID != id || !got.Existing {
			return fmt.Errorf("got %+v, want the existing %v", got, id)
		}
		return nil
	}
	if p.producer != "" && s.Number != 0 {
		if s.Number < m.below[p] {
			return want(task.Conflict)
		}
		if id, ok := m.number[p][s.Number]; ok {
			return same(id)
		}
	}
	if s.Check() != nil || s.Deadline != 0 && s.Deadline <= m.rig.wall() {
		return want(task.Invalid)
	}
	key := [2]string{q.name, s.Idempotency}
	e := m.idems[key]
	// A key that was free once may have been swept when its task is brought back.
	swept := e != nil && now >= e.until && e.task.revived && got.Err == nil && !got.Existing
	if s.Idempotency != "" && e != nil && !swept && (now < e.until || e.task.live()) {
		if e.payload != s.Type+"\x00"+string(s.Payload) {
			return want(task.Conflict)
		}
		return same(e.task.id)
	}
	if got.Err != nil || got.Existing || m.tasks[got.ID.Seq] != nil {
		return fmt.Errorf("got %+v, want a new task", got)
	}
	t, err := m.born(q, s, got.ID)
	if err != nil {
		return err
	}
	m.tasks[got.ID.Seq] = t
	m.order = append(m.order, t)
	q.enqueued++
	q.used = now
	if p.producer != "" && s.Number != 0 {
		m.number[p][s.Number] = got.ID
	}
	if s.Idempotency != "" {
		window := s.IdempotencyFor
		if window == 0 {
			window = task.DefaultIdempotency
		}
		m.idems[key] = &modelIdem{t, s.Type + "\x00" + string(s.Payload), now.Add(window)}
	}
	return nil
}

// born is a new task as it should be.
func (m *Model) born(q *modelQueue, s *task.Spec, id task.ID) (*modelTask, error) {
	now := m.rig.Now
	at, due, class := now, task.Time(0), task.ClassBirth
	switch {
	case s.Delay > 0:
		at, class = now.Add(s.Delay), task.ClassTimed
		due = at
	case s.RunAt != 0 && s.RunAt > m.rig.wall():
		at, class = s.RunAt.Add(m.rig.Wall), task.ClassCalendar
		due = s.RunAt
	}
	if id.Class != class || id.Due != due || id.Priority != s.Priority || id.Seq.Epoch() != m.epoch {
		return nil, fmt.Errorf("ID %+v does not fit", id)
	}
	t := &modelTask{id: id, queue: q, spec: *s, state: task.Ready, ready: at, enqueued: now}
	if s.ExpireAfter > 0 {
		t.expires = at.Add(s.ExpireAfter)
	}
	t.timed, t.calendar = class.Timed(), class == task.ClassCalendar
	return t, nil
}

// reported predicts the code of one outcome and what it does.
func (m *Model) reported(o *task.Outcome, got task.Code) error {
	want := func(c task.Code) error {
		if got != c {
			return fmt.Errorf("outcome %d under %+v: got %v, want %v", o.Kind, o.Token, got, c)
		}
		return nil
	}
	if o.Kind > task.OutcomeRelease || o.Delay > task.DelayMax || o.Delay < task.RetryAfterByBackoff {
		return want(task.Invalid)
	}
	t := m.tasks[o.Token.Seq]
	switch {
	case t == nil:
		return want(task.LeaseLost)
	case !t.live():
		if o.Kind == task.OutcomeComplete && o.Token == t.finisher && !t.finisherGone(m.rig.Store) {
			return want(task.OK)
		}
		if t.state == task.Dead && t.told != nil && *t.told == (queue.Told{Kind: o.Kind, Token: o.Token}) {
			return want(task.OK)
		}
		return want(task.LeaseLost)
	case t.state == task.Running:
		if o.Token != t.token {
			return want(task.LeaseLost)
		}
	case t.told != nil && t.told.Token == o.Token: // it stands
		if t.told.Kind != o.Kind {
			return want(task.LeaseLost)
		}
		if _, here := m.rig.M.Find(t.id.Seq); !here && t.told != t.toldRec && got == task.LeaseLost {
			return nil // a release that is in no record, of a task that has left memory meanwhile
		}
		return want(task.OK)
	case t.known && o.Token == t.token && o.Kind == task.OutcomeComplete,
		m.mayBeEarlier(t, o.Token):
		// Late, and nobody else has had the task since. A machine that has it not in
		// memory cannot know.
		if !m.inMemory(t) && t.hold == nil && got == task.LeaseLost {
			return nil
		}
		m.goesOn(t, o.Token)
	default:
		return want(task.LeaseLost)
	}
	if err := want(task.OK); err != nil {
		return err
	}
	switch o.Kind {
	case task.OutcomeComplete:
		m.end(t, task.Succeeded)
	case task.OutcomeFail:
		t.known, t.told = true, &queue.Told{Kind: o.Kind, Token: o.Token}
		return m.fail(t, o.Permanent, o.Delay)
	default:
		if o.Started || o.Delay > 0 {
			t.counts.Releases++
		}
		if o.Delay > 0 {
			t.known, t.told = true, &queue.Told{Kind: o.Kind, Token: o.Token}
			return m.moved(t, o.Delay, o.Delay)
		}
		m.back(t)
		t.told = &queue.Told{Kind: o.Kind, Token: o.Token}
	}
	return nil
}

// finisherGone: without a finished record nobody knows who finished the task.
func (t *modelTask) finisherGone(s *Store) bool {
	for k := range s.finished {
		if k.Seq == t.id.Seq {
			return false
		}
	}
	return true
}

func (m *Model) dispatched(no queue.SessionNo, n int) error {
	s := m.sessions[no]
	if s == nil || s.detached || s.beat.Add(s.ttl) <= m.rig.Now {
		if len(m.rig.Leased) > 0 {
			return fmt.Errorf("session %d is not there, or past its TTL, and got %d tasks", no, len(m.rig.Leased))
		}
		return nil
	}
	lines := map[*modelQueue][]*modelTask{}
	for _, w := range s.opts.Queues {
		if q := m.queues[w.Queue]; q != nil {
			lines[q] = m.waitingIn(q, s.opts.Types)
		}
	}
	if err := m.leased(lines, no, n, 0); err != nil {
		return err
	}
	for i := range m.rig.Leased {
		s.leases = append(s.leases, m.tasks[m.rig.Leased[i].Token.Seq])
	}
	return nil
}

func (m *Model) leasedUnary(l *queue.Lease) error {
	lines := map[*modelQueue][]*modelTask{}
	for _, w := range l.Queues {
		if q := m.queues[w.Queue]; q != nil {
			lines[q] = m.waitingIn(q, l.Types)
		}
	}
	if l.Got != len(m.rig.Leased) {
		return fmt.Errorf("a lease of %d tasks shows %d", l.Got, len(m.rig.Leased))
	}
	ttl := l.TTL
	if ttl == 0 {
		ttl = task.DefaultLease
	}
	return m.leased(lines, 0, l.Max, m.rig.Now.Add(ttl))
}

// leased holds what was leased against the lines in front of each queue.
func (m *Model) leased(lines map[*modelQueue][]*modelTask, session queue.SessionNo, n int, end task.Time) error {
	if len(m.rig.Leased) > n {
		return fmt.Errorf("%d tasks were leased, asked for were %d", len(m.rig.Leased), n)
	}
	safe := session != 0 && !m.sessions[session].opts.Remote && m.rig.M.Info().SafeMode
	if safe && len(m.rig.Leased) > 1 {
		return fmt.Errorf("%d tasks were leased at once after crash upon crash", len(m.rig.Leased))
	}
	for i := range m.rig.Leased {
		l := &m.rig.Leased[i]
		t := m.tasks[l.Token.Seq]
		if t == nil {
			return fmt.Errorf("task %x was leased and is not known", uint64(l.Token.Seq))
		}
		line := lines[t.queue]
		for len(line) > 0 && line[0] != t && m.lapsed(line[0]) {
			line = line[1:]
		}
		if len(line) == 0 || line[0] != t {
			first := "nothing"
			if len(line) > 0 {
				first = fmt.Sprintf("%v (priority %d, ready %d)", line[0].what(), line[0].spec.Priority, line[0].ready)
			}
			return fmt.Errorf("task %v (%v, priority %d, ready %d) was leased, first in line is %s", t.what(), t.state, t.spec.Priority, t.ready, first)
		}
		lines[t.queue] = line[1:]
		if err := m.take(t, l, session, end); err != nil {
			return err
		}
	}
	if len(m.rig.Leased) == n || safe || m.rig.refillsOfLanes() > 0 {
		return nil
	}
	for q, line := range lines {
		for len(line) > 0 && m.lapsed(line[0]) {
			line = line[1:]
		}
		if len(line) == 0 || slices.ContainsFunc(line, func(t *modelTask) bool {
			return !m.inMemory(t) && t.spec.Priority >= line[0].spec.Priority
		}) {
			continue
		}
		return fmt.Errorf("%d of %d tasks were leased while task %v is ready in queue %q", len(m.rig.Leased), n, line[0].id, q.name)
	}
	return nil
}

// lapsed ends a task that the machine found past its expiry as its turn came.
func (m *Model) lapsed(t *modelTask) bool {
	if t.excused && m.over(t) && m.rig.Store.recordOf(t.id.Seq) == nil {
		m.end(t, task.Expired)
		return true
	}
	return false
}

func (m *Model) take(t *modelTask, l *queue.Leased, session queue.SessionNo, end task.Time) error {
	maxAttempts, timeout, _ := t.policy()
	attempt := t.counts.Failures + t.counts.Crashes + 1
	m.readAnew(t, l.Counts)
	if l.Session != session || l.LeaseEnd != end || l.Attempt != attempt || l.MaxAttempts != maxAttempts || l.Timeout != timeout ||
		l.Counts != t.counts || l.Deadline != t.spec.Deadline || uint32(l.Token.Attempt) != attempt {
		return fmt.Errorf("task %v: the lease %+v does not fit attempt %d of %d, timeout %d, deadline %d, %+v, session %d, end %d", t.what(), *l, attempt, maxAttempts, timeout, t.spec.Deadline, t.counts, session, end)
	}
	if l.Token.Fence() <= t.token.Fence() {
		return fmt.Errorf("task %v: the fencing number does not rise: %d after %d", t.what(), l.Token.Fence(), t.token.Fence())
	}
	t.state, t.token, t.known, t.old, t.hold, t.told = task.Running, l.Token, true, false, nil, nil
	t.session, t.started, t.stood, t.leaseEnd = session, m.rig.Now, 0, end
	return nil
}

func (m *Model) extended(e *queue.Extend) error {
	for i, x := range e.Extensions {
		t := m.tasks[x.Token.Seq]
		want := task.OK
		if t != nil && t.waits() && m.mayBeEarlier(t, x.Token) && x.TTL >= 0 && x.TTL <= task.LeaseTTLMax && m.inMemory(t) {
			// Its holder goes on: nobody else has had it.
			m.goesOn(t, x.Token)
			t.session = 0
		}
		switch {
		case t == nil || t.state != task.Running || t.token != x.Token:
			want = task.LeaseLost
		case x.TTL < 0 || x.TTL > task.LeaseTTLMax:
			want = task.Invalid
		case t.session == 0:
			ttl := x.TTL
			if ttl == 0 {
				ttl = task.DefaultLease
			}
			t.leaseEnd = m.rig.Now.Add(ttl)
		}
		if e.Codes[i] != want {
			return fmt.Errorf("extension %+v: got %v, want %v", x, e.Codes[i], want)
		}
	}
	return nil
}
