package brokertest

import (
	"context"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// session is one worker session over all its connections.
type session struct {
	f        *Fake
	number   uint64
	opts     task.SessionOptions
	sink     task.Sink
	c        *consumer
	leases   map[task.Seq]*rec
	ttl      task.Millis
	since    task.Time
	lastBeat task.Time
	attached bool
	gone     bool
}

// handle is one attachment of a session: after the next Attach it is dead.
type handle struct {
	s *session
	c *consumer
}

// Attach is task.Broker's.
func (f *Fake) Attach(ctx context.Context, opts task.SessionOptions, sink task.Sink) (task.Session, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if e := f.refusal(); e != nil {
		return nil, e
	}
	if e := opts.Check(); e != nil {
		return nil, e
	}
	c := f.newConsumer(opts.Queues, opts.Types)
	s := f.sessions[opts.ID]
	if s == nil {
		f.counter++
		s = &session{f: f, number: f.counter, leases: map[task.Seq]*rec{}, since: f.now}
		f.sessions[opts.ID] = s
	} else {
		f.detach(s)
	}
	s.opts, s.sink, s.c, s.attached, s.lastBeat = opts, sink, c, true, f.now
	s.opts.Running = nil
	s.ttl = opts.TTL
	if s.ttl == 0 {
		s.ttl = task.DefaultSessionTTL
	}
	c.session, c.worker = s, opts.Worker
	f.soon(f.now.Add(s.ttl))
	f.join(c)
	f.adopt(s, opts.Running)
	for _, sh := range c.shares {
		f.dispatch(sh.q)
	}
	return handle{s, c}, nil
}

// adopt sorts out what a worker says it runs: leases that are still good go on,
// those that were lost though not dispatched since are taken up again, others
// are revoked. Leases it does not know of never reached it and go back.
func (f *Fake) adopt(s *session, running []task.Token) {
	keep := map[task.Seq]bool{}
	for _, t := range running {
		r := f.recs[t.Seq]
		if r == nil || r.state != task.Running || r.token != t || r.holder != s {
			f.revokeToken(s, t, task.LeaseLost)
			continue
		}
		keep[t.Seq] = true
	}
	for _, r := range s.leasesInOrder() {
		if !keep[r.id.Seq] {
			f.release(r, 0, false)
		}
	}
}

func (s *session) leasesInOrder() []*rec {
	rs := make([]*rec, 0, len(s.leases))
	for _, r := range s.leases {
		rs = append(rs, r)
	}
	slices.SortFunc(rs, func(a, b *rec) int { return int(int64(a.token.Dispatch) - int64(b.token.Dispatch)) })
	return rs
}

func (f *Fake) revokeToken(s *session, t task.Token, why task.Code) {
	sink := s.sink
	f.call(func() { sink.Revoke([]task.Token{t}, why) })
}

func (f *Fake) detach(s *session) {
	if s.attached {
		s.attached = false
		s.c.credit = 0
		f.part(s.c)
	}
}

// loseSession ends a session whose TTL has run out. Workers start deliveries in
// order, so only the oldest Concurrency of them can be to blame.
func (f *Fake) loseSession(s *session, why *task.Error) {
	wasAttached := s.attached
	f.detach(s)
	s.gone = true
	delete(f.sessions, s.opts.ID)
	blame := max(s.opts.Concurrency, 1)
	for i, r := range s.leasesInOrder() {
		if i < blame {
			f.crash(r, "its worker's session was lost")
		} else {
			f.release(r, 0, false)
		}
	}
	if wasAttached {
		sink := s.sink
		f.call(func() { sink.Lost(why) })
	}
}

// enter locks the Fake and says whether h is still the session's attachment.
func (h handle) enter() bool {
	h.s.f.mu.Lock()
	h.s.f.enter()
	return !h.s.gone && h.s.attached && h.s.c == h.c
}

// Credit is task.Session's.
func (h handle) Credit(n int) {
	ok := h.enter()
	defer h.s.f.leave()
	if ok && n > 0 {
		h.c.credit = min(h.c.credit+n, task.CreditMax)
		h.s.f.pull(h.c)
	}
}

// Report is task.Session's.
func (h handle) Report(b *task.OutcomeBatch) { h.s.f.Report(b) }

// Heartbeat is task.Session's.
func (h handle) Heartbeat() error {
	ok := h.enter()
	defer h.s.f.leave()
	if !ok {
		return task.Errorf(task.LeaseLost, "the session is gone: attach again")
	}
	if e := h.s.f.refusal(); e != nil {
		return e
	}
	h.s.lastBeat = h.s.f.now
	return nil
}

// Progress is task.Session's.
func (h handle) Progress(t task.Token, p task.Progress) {
	ok := h.enter()
	defer h.s.f.leave()
	if r := h.s.leases[t.Seq]; ok && r != nil && r.token == t {
		r.progress = p
	}
}

// Detach is task.Session's.
func (h handle) Detach() {
	if h.enter() {
		h.s.f.detach(h.s)
	}
	h.s.f.leave()
}

// Close is task.Session's.
func (h handle) Close() {
	ok := h.enter()
	defer h.s.f.leave()
	if !ok && (h.s.gone || h.s.c != h.c) {
		return
	}
	h.s.f.detach(h.s)
	h.s.gone = true
	delete(h.s.f.sessions, h.s.opts.ID)
	for _, r := range h.s.leasesInOrder() {
		h.s.f.release(r, 0, true)
	}
}
