package client

import (
	"context"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const detachMax = 5 * time.Second // Close waits so long for the server to have handed back

// session is a worker session: it lives over any number of links. Its leases
// are those delivered and not reported; a new link presents them.
type session struct {
	c    *Conn
	num  uint32
	opts task.SessionOptions
	sink task.Sink

	sinkMu sync.Mutex // calls of sink come one at a time

	leaseMu sync.Mutex
	leases  map[leaseKey]task.Token

	// guarded by c.mu
	opening     chan error // the first attach's answer; nil once it has come
	attachedNow bool       // on the link that lives
	gone        bool
	open        int // credit granted and not used
	grant       int // of it, not sent on this link
	granting    bool
	presented   time.Time // when its leases were last told to a server
	tries       int
	closing     chan struct{}
}

type leaseKey struct {
	partition uint16
	epoch     uint32
	dispatch  uint32
	nonce     uint32
}

func keyOf(t *task.Token) leaseKey {
	return leaseKey{t.Partition, t.Epoch, t.Dispatch, t.Nonce}
}

// Attach is task.Broker's. The session is attached again by itself after every
// lost connection, with the leases it holds.
func (c *Conn) Attach(ctx context.Context, opts task.SessionOptions, sink task.Sink) (task.Session, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	s := &session{c: c, opts: opts, sink: sink, leases: map[leaseKey]task.Token{}, opening: make(chan error, 1)}
	for _, t := range opts.Running {
		s.leases[keyOf(&t)] = t
	}
	s.opts.Running = nil
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return nil, errClosed()
	}
	c.lastSession++
	s.num = c.lastSession
	c.sessions[s.num] = s
	opening := s.opening
	if c.link != nil {
		c.control.attaches = append(c.control.attaches, s)
		c.wake()
	}
	c.mu.Unlock()
	select {
	case err := <-opening:
		if err != nil {
			return nil, err
		}
		return s, nil
	case <-ctx.Done():
		s.abandon(true)
		return nil, ctx.Err()
	}
}

// Credit is task.Session's.
func (s *session) Credit(n int) {
	if n <= 0 {
		return
	}
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.gone {
		return
	}
	s.open += n
	s.grant += n
	s.grantLater()
}

// grantLater lets the next frame carry the grant; c.mu is held.
func (s *session) grantLater() {
	if s.attachedNow && s.grant > 0 && !s.granting {
		s.granting = true
		s.c.control.credits = append(s.c.control.credits, s)
		s.c.wake()
	}
}

// Report is task.Session's.
func (s *session) Report(b *task.OutcomeBatch) {
	s.leaseMu.Lock()
	for i := range b.Outcomes {
		delete(s.leases, keyOf(&b.Outcomes[i].Token))
	}
	s.leaseMu.Unlock()
	s.c.report(s, b)
}

// Heartbeat is task.Session's. It fails with Unavailable while the connection
// is lost.
func (s *session) Heartbeat() error {
	c := s.c
	b := &beat{s: s, answer: make(chan error, 1)}
	c.mu.Lock()
	switch {
	case s.gone:
		c.mu.Unlock()
		return task.Errorf(task.LeaseLost, "the worker session is gone: attach again")
	case !s.attachedNow:
		c.mu.Unlock()
		return task.Errorf(task.Unavailable, "the connection to %s is lost: it is being opened again", c.addr)
	}
	b.seq = c.control.beats.add(b)
	c.control.newBeats = append(c.control.newBeats, b)
	c.wake()
	c.mu.Unlock()
	return <-b.answer
}

type beat struct {
	s      *session
	seq    uint64
	answer chan error
}

func (c *Conn) beaten(m *pb.HeartbeatAnswer) error {
	c.mu.Lock()
	b, ok := c.control.beats.take(m.Seq)
	c.mu.Unlock()
	if !ok {
		return nil
	}
	if m.Error == nil {
		b.answer <- nil
		return nil
	}
	e := codec.ErrorFromProto(m.Error)
	if e.Code == task.LeaseLost {
		b.s.abandon(false)
	}
	b.answer <- e
	return nil
}

// Progress is task.Session's.
func (s *session) Progress(t task.Token, p task.Progress) {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	if s.attachedNow && len(s.c.control.progress) < progressMax {
		s.c.control.progress = append(s.c.control.progress, &pb.ProgressReport{
			Session: s.num, Token: t.AppendBinary(nil), Progress: &pb.Progress{Done: p.Done, Total: p.Total, Text: p.Text}})
		s.c.wake()
	}
}

// Detach is task.Session's.
func (s *session) Detach() { s.part(true) }

// Close is task.Session's. It waits until the server has handed the leases
// back, or is out of reach.
func (s *session) Close() { s.part(false) }

func (s *session) part(keep bool) {
	c := s.c
	c.mu.Lock()
	if s.gone {
		c.mu.Unlock()
		return
	}
	s.gone = true
	if c.link == nil { // the server, which lost it too, ends it when its TTL is over
		delete(c.sessions, s.num)
		c.mu.Unlock()
		return
	}
	s.attachedNow = false
	s.closing = make(chan struct{})
	closing := s.closing
	c.control.detaches = append(c.control.detaches, &pb.Detach{Session: s.num, Keep: keep})
	c.wake()
	c.mu.Unlock()
	t := time.NewTimer(detachMax)
	defer t.Stop()
	select {
	case <-closing:
	case <-t.C:
	}
}

func (c *Conn) detached(m *pb.Detached) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if s := c.sessions[m.Session]; s != nil && s.closing != nil {
		close(s.closing)
		s.closing = nil
		delete(c.sessions, m.Session)
	}
	return nil
}

// abandon forgets a session; tell lets the server detach it too.
func (s *session) abandon(tell bool) {
	c := s.c
	c.mu.Lock()
	defer c.mu.Unlock()
	s.gone, s.attachedNow = true, false
	delete(c.sessions, s.num)
	if tell && c.link != nil {
		c.control.detaches = append(c.control.detaches, &pb.Detach{Session: s.num})
	}
	c.wake() // its outcomes go without it now
}

// lose tells the worker that its session is gone for good.
func (s *session) lose(e *task.Error) {
	s.abandon(false)
	s.c.mu.Lock()
	opening := s.opening
	s.opening = nil
	s.c.mu.Unlock()
	if opening != nil {
		opening <- e
		return
	}
	s.sinkMu.Lock()
	defer s.sinkMu.Unlock()
	s.sink.Lost(e)
}

func (c *Conn) attached(m *pb.Attached) error {
	c.mu.Lock()
	s := c.sessions[m.Session]
	if s == nil || s.gone {
		c.mu.Unlock()
		return nil
	}
	if m.Error != nil {
		e := codec.ErrorFromProto(m.Error)
		if e.Code == task.Unavailable && !c.closed {
			c.attachLater(s)
			c.mu.Unlock()
			return nil
		}
		c.mu.Unlock()
		s.lose(e)
		return nil
	}
	opening := s.opening
	s.opening = nil
	s.attachedNow, s.tries = true, 0
	s.grant = s.open // what was granted before is void with its link
	s.grantLater()
	c.wake() // its outcomes may go now
	at := s.presented
	c.mu.Unlock()
	if r, ok := s.sink.(task.Renewer); ok {
		s.sinkMu.Lock()
		r.Renewed(at)
		s.sinkMu.Unlock()
	}
	if opening != nil {
		opening <- nil
	}
	return nil
}

// attachLater repeats an attach that the server could not do just now; mu is
// held.
func (c *Conn) attachLater(s *session) {
	s.tries++
	time.AfterFunc(jitter(min(pauseMin<<min(s.tries-1, 10), c.pauseLimit())), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link != nil && !s.gone && !s.attachedNow {
			c.control.attaches = append(c.control.attaches, s)
			c.wake()
		}
	})
}

// attachMessage presents the session, and the leases it holds: those delivered,
// and those whose outcome is not answered.
func (s *session) attachMessage(unanswered []task.Token) *pb.Attach {
	o := s.opts
	o.Running = unanswered
	s.leaseMu.Lock()
	for _, t := range s.leases {
		o.Running = append(o.Running, t)
	}
	s.leaseMu.Unlock()
	return codec.SessionToProto(s.num, &o)
}

// unanswered lists the tokens whose outcomes are on their way; mu is held.
func (c *Conn) unanswered(s *session) []task.Token {
	var ts []task.Token
	add := func(r *report, from, to int) {
		if r.s == s {
			for i := from; i < to; i++ {
				ts = append(ts, r.b.Outcomes[i].Token)
			}
		}
	}
	for _, g := range c.reports.all() {
		for _, m := range g.members {
			add(m.r, m.from, m.to)
		}
	}
	for _, r := range c.outcomes {
		add(r, 0, len(r.b.Outcomes))
	}
	return ts
}

func (c *Conn) find(num uint32) *session {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.sessions[num]
}

func (c *Conn) delivered(l *link, body []byte) error {
	num, ds, err := codec.DecodeDeliveries(body, l.deliveries, l.names)
	l.deliveries = ds
	if err != nil {
		return err
	}
	c.mu.Lock()
	s := c.sessions[num]
	if s == nil || s.gone { // its leases go back with it
		c.mu.Unlock()
		return nil
	}
	s.open = max(0, s.open-len(ds))
	c.mu.Unlock()
	s.leaseMu.Lock()
	for i := range ds {
		s.leases[keyOf(&ds[i].Token)] = ds[i].Token
	}
	s.leaseMu.Unlock()
	s.sinkMu.Lock()
	s.sink.Deliver(ds)
	s.sinkMu.Unlock()
	if cap(ds) > groupTasksMax*4 {
		l.deliveries = nil
	}
	return nil
}

func (c *Conn) revoked(m *pb.Revoked) error {
	s := c.find(m.Session)
	if s == nil {
		return nil
	}
	var ts []task.Token
	s.leaseMu.Lock()
	for _, b := range m.Tokens {
		t, ok := task.TokenFromBinary(b)
		if _, held := s.leases[keyOf(&t)]; ok && held { // one that is reported already is not held
			delete(s.leases, keyOf(&t))
			ts = append(ts, t)
		}
	}
	s.leaseMu.Unlock()
	if len(ts) == 0 {
		return nil
	}
	s.sinkMu.Lock()
	defer s.sinkMu.Unlock()
	s.sink.Revoke(ts, task.Code(min(m.Code, 255)))
	return nil
}

func (c *Conn) lost(m *pb.Lost) error {
	if s := c.find(m.Session); s != nil {
		e := codec.ErrorFromProto(m.Error)
		if e == nil {
			e = task.Errorf(task.Unavailable, "the worker session is gone: attach again")
		}
		s.lose(e)
	}
	return nil
}

func (s *session) isGone() bool {
	s.c.mu.Lock()
	defer s.c.mu.Unlock()
	return s.gone
}

var _ task.Session = (*session)(nil)
