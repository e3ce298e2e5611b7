package brokertest

import (
	"context"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// consumer is one who takes tasks: a worker session, or one unary lease call.
type consumer struct {
	shares  []share
	types   map[string]bool // nil = every type
	credit  int
	out     []task.Delivery // leased in this call, not yet handed over
	session *session        // nil = a unary lease
	worker  string
	ttl     task.Millis // of a unary lease
}

// share is one queue of a consumer, and how its turns stand.
type share struct {
	q              *queue
	weight, credit int
}

func (c *consumer) serves(taskType string) bool { return c.types == nil || c.types[taskType] }

func (f *Fake) newConsumer(queues []task.QueueWeight, types []string) *consumer {
	c := &consumer{}
	for _, t := range types {
		if c.types == nil {
			c.types = map[string]bool{}
		}
		c.types[t] = true
	}
	for _, qw := range queues {
		c.shares = append(c.shares, share{q: f.queueNamed(qw.Queue), weight: max(qw.Weight, 1)})
	}
	return c
}

func (f *Fake) join(c *consumer) {
	for _, s := range c.shares {
		if !slices.Contains(s.q.consumers, c) {
			s.q.consumers = append(s.q.consumers, c)
		}
	}
}

func (f *Fake) part(c *consumer) {
	for _, s := range c.shares {
		for _, l := range s.q.laneOrder {
			if c.serves(l.taskType) {
				l.lastServed, l.lastServedOK = f.now, true
			}
		}
		s.q.consumers = slices.DeleteFunc(s.q.consumers, func(x *consumer) bool { return x == c })
		limit := s.q.cfg.Unserved
		if limit == 0 {
			limit = task.DefaultUnserved
		}
		f.soon(f.now.Add(limit))
	}
}

// dispatch gives the tasks of q to those who may have more, one each in turn.
func (f *Fake) dispatch(q *queue) {
	for progress := true; progress && !q.paused && q.byState[task.Ready] > 0; {
		progress = false
		for range len(q.consumers) {
			q.turn = (q.turn + 1) % len(q.consumers)
			if f.pullOne(q.consumers[q.turn]) {
				progress = true
			}
		}
	}
}

// pull gives c all it may have.
func (f *Fake) pull(c *consumer) {
	for f.pullOne(c) {
	}
}

// pullOne leases one task to c: from the queue whose turn it is by weight
// among those that have one, of the highest priority, ready for longest.
func (f *Fake) pullOne(c *consumer) bool {
	if c.credit <= 0 {
		return false
	}
	var best *rec
	at, total := -1, 0
	for i := range c.shares {
		s := &c.shares[i]
		if s.q.paused || s.q.byState[task.Ready] == 0 {
			continue
		}
		r := s.q.head(c)
		if r == nil {
			continue
		}
		s.credit += s.weight
		total += s.weight
		if at < 0 || s.credit > c.shares[at].credit {
			at, best = i, r
		}
	}
	if at < 0 {
		return false
	}
	c.shares[at].credit -= total
	f.lease(best, c)
	return true
}

func (q *queue) head(c *consumer) *rec {
	for p := task.PriorityMax; p >= 0; p-- {
		if q.readyBy[p] == 0 {
			continue
		}
		var best *rec
		for _, l := range q.laneOrder {
			if l.waiting == 0 || !c.serves(l.taskType) {
				continue
			}
			r := l.head(p)
			if r != nil && (best == nil || r.readyAt < best.readyAt || r.readyAt == best.readyAt && r.id.Seq < best.id.Seq) {
				best = r
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
}

func (f *Fake) lease(r *rec, c *consumer) {
	c.credit--
	f.dispatchN++
	maxAttempts, timeout, _ := r.policy()
	attempt := r.counts.Failures + r.counts.Crashes + 1
	r.token = task.Token{
		Partition: fakePartition, Attempt: uint16(min(attempt, 1<<16-1)), Epoch: fakeEpoch, Nonce: f.nonce,
		Dispatch: f.dispatchN, Queue: r.queue.number, Seq: r.id.Seq,
	}
	r.answered = false
	r.startedAt, r.worker, r.progress = f.now, c.worker, task.Progress{}
	d := task.Delivery{
		ID: r.id, Token: r.token, Queue: r.queue.name, Type: r.spec.Type, Key: r.spec.Key, Payload: r.spec.Payload,
		ContentType: r.spec.ContentType, Headers: r.spec.Headers, Tags: r.spec.Tags, Priority: r.spec.Priority,
		Attempt: attempt, MaxAttempts: maxAttempts, Counts: r.counts, EnqueuedAt: r.enqueuedAt,
		Timeout: timeout, Deadline: r.spec.Deadline,
	}
	if timeout > 0 {
		r.timeoutAt = f.now.Add(timeout)
	}
	if c.session != nil {
		r.holder = c.session
		c.session.leases[r.id.Seq] = r
	} else {
		r.leaseEnd = f.now.Add(c.ttl)
		d.LeaseEnd = r.leaseEnd
	}
	r.attempts = append(r.attempts, task.Attempt{Number: attempt, Started: f.now, Worker: c.worker})
	if n := len(r.attempts) - task.AttemptsShownMax; n > 0 {
		r.attempts = r.attempts[n:]
	}
	f.setState(r, task.Running)
	f.retime(r)
	if len(c.out) == 0 {
		f.touched = append(f.touched, c)
	}
	c.out = append(c.out, d)
}

// handOver brings what c was leased in this call on its way.
func (f *Fake) handOver(c *consumer) {
	if len(c.out) == 0 {
		return
	}
	if c.session != nil {
		ds := c.out
		c.out = nil
		f.call(func() { f.deliver(c, ds) })
		return
	}
	if w := f.waiters[c]; w != nil {
		f.endWait(c, w)
	}
}

// deliver runs on the callback goroutine. Deliveries for a connection that was
// lost meanwhile are dropped: they go back when the session attaches or ends.
func (f *Fake) deliver(c *consumer, ds []task.Delivery) {
	f.mu.Lock()
	s := c.session
	sink, ok := s.sink, s.attached && s.c == c
	f.mu.Unlock()
	if !ok {
		return
	}
	if !f.opts.Scribble {
		sink.Deliver(ds)
		return
	}
	n := 0
	for i := range ds {
		n += len(ds[i].Payload)
	}
	buf := make([]byte, 0, n)
	for i := range ds {
		from := len(buf)
		buf = append(buf, ds[i].Payload...)
		ds[i].Payload = buf[from:len(buf):len(buf)]
	}
	sink.Deliver(ds)
	for i := range buf {
		buf[i] = '#'
	}
	clear(ds)
}

// waiter is a unary lease call that waits for its first task.
type waiter struct {
	until task.Time
	got   []task.Delivery
	err   *task.Error
	ready chan struct{}
}

// Lease is task.Broker's.
func (f *Fake) Lease(ctx context.Context, r task.LeaseRequest) ([]task.Delivery, error) {
	f.mu.Lock()
	f.enter()
	c, w, err := f.startLease(r)
	f.leave()
	if err != nil {
		return nil, err
	}
	select {
	case <-w.ready:
	case <-ctx.Done():
		f.mu.Lock()
		f.enter()
		f.endWait(c, w)
		for i := range w.got { // nobody will read the answer: back, without blame
			f.release(f.recs[w.got[i].ID.Seq], 0, false)
		}
		f.leave()
		return nil, ctx.Err()
	}
	if w.err != nil {
		return nil, w.err
	}
	return w.got, nil
}

func (f *Fake) startLease(r task.LeaseRequest) (*consumer, *waiter, error) {
	if e := f.refusal(); e != nil {
		return nil, nil, e
	}
	if e := r.Check(); e != nil {
		return nil, nil, e
	}
	c := f.newConsumer(r.Queues, r.Types)
	c.credit, c.worker, c.ttl = max(r.Max, 1), r.Worker, r.TTL
	if c.ttl == 0 {
		c.ttl = task.DefaultLease
	}
	w := &waiter{until: f.now.Add(r.Wait), ready: make(chan struct{})}
	f.waiters[c] = w
	f.join(c)
	f.pull(c)
	if len(c.out) == 0 {
		if r.Wait == 0 {
			f.endWait(c, w)
		} else {
			f.soon(w.until)
		}
	}
	return c, w, nil
}

func (f *Fake) endWait(c *consumer, w *waiter) {
	if f.waiters[c] != w {
		return
	}
	delete(f.waiters, c)
	f.part(c)
	w.got, c.out = c.out, nil
	close(w.ready)
}

// Extend is task.Broker's.
func (f *Fake) Extend(_ context.Context, exts []task.Extension) []error {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	errs := make([]error, len(exts))
	for i, e := range exts {
		if err := f.extend(e); err != nil {
			errs[i] = err
		}
	}
	return errs
}

func (f *Fake) extend(e task.Extension) *task.Error {
	if err := f.refusal(); err != nil {
		return err
	}
	if e.TTL < 0 || e.TTL > task.LeaseTTLMax {
		return task.Errorf(task.Invalid, "a TTL of %d ms is out of range", e.TTL)
	}
	r := f.recs[e.Token.Seq]
	switch {
	case r == nil:
		return task.Errorf(task.NotFound, "no such task")
	case r.state != task.Running || r.token != e.Token:
		return task.Errorf(task.LeaseLost, "the lease has ended: drop the task")
	}
	if r.holder == nil {
		ttl := e.TTL
		if ttl == 0 {
			ttl = task.DefaultLease
		}
		r.leaseEnd = f.now.Add(ttl)
		f.retime(r)
	}
	if e.Progress != nil {
		r.progress = *e.Progress
	}
	return nil
}
