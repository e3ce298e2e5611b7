package node

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

// session is a worker session. It is open in every partition that a queue of its
// lives in; its credit is one number for all of them.
type session struct {
	n      *Node
	opts   task.SessionOptions
	sink   task.Sink
	credit partition.Credit
	gone   atomic.Bool // closed, detached, lost, or taken over by another connection

	sinking sync.Mutex // calls of sink come one at a time, whichever partition they come from

	mu   sync.Mutex
	legs []*leg // guarded by mu
}

var _ task.Session = (*session)(nil)

// leg is a session in one partition.
type leg struct {
	s *session
	r *partition.Runner
	a *partition.Attached
	p uint16
}

// Attach implements task.Broker.
func (n *Node) Attach(ctx context.Context, opts task.SessionOptions, sink task.Sink) (task.Session, error) {
	if err := opts.Check(); err != nil {
		return nil, err
	}
	if n.closed.Load() {
		return nil, errClosed
	}
	s := &session{n: n, opts: opts, sink: sink}
	s.opts.Queues, s.opts.Types = slices.Clone(opts.Queues), slices.Clone(opts.Types)
	s.credit.Bound(task.HeldMax)
	n.mu.Lock()
	old := n.sessions[opts.ID]
	n.sessions[opts.ID] = s
	n.mu.Unlock()
	if old != nil {
		old.takenOver()
	}
	lost, err := s.openAll(ctx)
	if err != nil {
		s.Detach()
		return nil, err
	}
	if s.gone.Load() { // a partition has ended already, or the same worker is here anew
		return nil, n.away()
	}
	if len(lost) > 0 {
		s.revoke(lost, task.LeaseLost)
	}
	return s, nil
}

// partitions lists where the queues live, in rising order.
func (n *Node) partitions(queues []task.QueueWeight) []uint16 {
	var ps []uint16
	for _, q := range queues {
		n.routes.each(q.Queue, func(p uint16) { ps = append(ps, p) })
	}
	slices.Sort(ps)
	return slices.Compact(ps)
}

// openAll opens the session wherever its queues live or its running tasks come
// from, and returns the leases that are gone.
func (s *session) openAll(ctx context.Context) ([]task.Token, error) {
	var lost []task.Token // no result by name: a partition may answer after the caller has gone
	ps := s.n.partitions(s.opts.Queues)
	for _, t := range s.opts.Running {
		if int(t.Partition) >= len(s.n.members) {
			lost = append(lost, t)
		} else if !slices.Contains(ps, t.Partition) {
			ps = append(ps, t.Partition)
		}
	}
	var mu sync.Mutex
	all := make(chan struct{})
	j := &join{left: len(ps), done: func() { close(all) }}
	for _, p := range ps {
		s.openIn(p, s.runningIn(p), func(gone []task.Token, err *task.Error) {
			mu.Lock()
			lost = append(lost, gone...)
			mu.Unlock()
			j.answer(err)
		})
	}
	if err := s.n.await(ctx, all); err != nil {
		return nil, err
	}
	if j.err != nil {
		return nil, j.err
	}
	return lost, nil
}

func (s *session) runningIn(p uint16) []task.Token {
	var ts []task.Token
	for _, t := range s.opts.Running {
		if t.Partition == p {
			ts = append(ts, t)
		}
	}
	return ts
}

// weightIn adds up the weights of the session's queues that live in p.
func (s *session) weightIn(p uint16) int {
	w := 0
	for _, q := range s.opts.Queues {
		s.n.routes.each(q.Queue, func(at uint16) {
			if at == p {
				w += max(q.Weight, 1)
			}
		})
	}
	return w
}

// openIn opens the session in one partition.
func (s *session) openIn(p uint16, running []task.Token, done func(lost []task.Token, err *task.Error)) {
	r, err := s.n.runner(p)
	if err != nil {
		done(nil, err)
		return
	}
	opts := s.opts
	opts.Running = running
	l := &leg{s: s, r: r, p: p}
	l.a = r.Attach(&opts, s.weightIn(p), &s.credit, l, done) // may call done, and so lose s
	s.mu.Lock()
	s.legs = append(s.legs, l)
	s.mu.Unlock()
	if s.gone.Load() {
		r.Detach(l.a)
		return
	}
	s.n.members[p].isBack(s.opts.ID)
}

// widen opens the session in partitions that a queue of its has been given.
func (s *session) widen() {
	for _, p := range s.n.partitions(s.opts.Queues) {
		s.mu.Lock()
		known := slices.ContainsFunc(s.legs, func(l *leg) bool { return l.p == p })
		s.mu.Unlock()
		if known || s.gone.Load() {
			continue
		}
		s.openIn(p, nil, func(_ []task.Token, err *task.Error) {
			if err != nil {
				s.lose(err)
			}
		})
	}
}

// Credit implements task.Session.
func (s *session) Credit(n int) {
	if n = min(n, task.CreditMax-s.credit.Open()); n > 0 {
		s.credit.Add(n)
	}
}

// Report implements task.Session.
func (s *session) Report(b *task.OutcomeBatch) { s.n.Report(b) }

var errSessionGone = task.Errorf(task.LeaseLost, "the session has ended: attach again")

// Heartbeat implements task.Session.
func (s *session) Heartbeat() error {
	if s.gone.Load() {
		return errSessionGone
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, l := range s.legs {
		if err := l.r.Beat(l.a); err != nil {
			return errSessionGone // its partition has ended; Lost is on its way
		}
	}
	return nil
}

// Progress implements task.Session.
func (s *session) Progress(t task.Token, p task.Progress) {
	if r, err := s.n.runner(t.Partition); err == nil {
		r.Progress(t, p)
	}
}

// Detach implements task.Session.
func (s *session) Detach() {
	if s.leave() {
		s.detachLegs()
	}
}

// detachLegs leaves every partition as one who will be back.
func (s *session) detachLegs() {
	for _, l := range s.takeLegs() {
		if !s.opts.Remote {
			s.n.members[l.p].noteAway(&s.opts)
		}
		l.r.Detach(l.a)
	}
}

// Close implements task.Session.
func (s *session) Close() {
	if s.leave() {
		for _, l := range s.takeLegs() {
			l.r.CloseSession(l.a, nil)
		}
	}
}

// leave ends deliveries at once, in every partition. It returns false when that
// was done before.
func (s *session) leave() bool {
	if s.gone.Swap(true) {
		return false
	}
	s.credit.Close()
	s.n.mu.Lock()
	if s.n.sessions[s.opts.ID] == s {
		delete(s.n.sessions, s.opts.ID)
	}
	s.n.mu.Unlock()
	return true
}

func (s *session) takeLegs() []*leg {
	s.mu.Lock()
	defer s.mu.Unlock()
	legs := s.legs
	s.legs = nil
	return legs
}

// takenOver ends this end of a session that another connection has taken up.
// Nothing is detached: the partitions know the other end by the same ID.
func (s *session) takenOver() {
	s.gone.Store(true)
	s.credit.Close()
}

// lose tells the worker that it must attach again.
func (s *session) lose(err *task.Error) {
	if !s.leave() {
		return
	}
	s.detachLegs()
	s.sinking.Lock()
	defer s.sinking.Unlock()
	s.sink.Lost(err)
}

func (s *session) revoke(ts []task.Token, why task.Code) {
	s.sinking.Lock()
	defer s.sinking.Unlock()
	s.sink.Revoke(ts, why)
}

// Deliver implements partition.Receiver.
func (l *leg) Deliver(ds []task.Delivery) {
	s := l.s
	if s.gone.Load() {
		return // its leases end with it
	}
	s.sinking.Lock()
	defer s.sinking.Unlock()
	s.sink.Deliver(ds)
}

// Revoke implements partition.Receiver.
func (l *leg) Revoke(ts []task.Token, why task.Code) {
	if !l.s.gone.Load() {
		l.s.revoke(ts, why)
	}
}

// Lost implements partition.Receiver. A session is lost as a whole: its worker
// attaches again and names what it runs.
func (l *leg) Lost(err *task.Error) {
	if !l.s.opts.Remote && l.r.Err() != nil {
		l.s.n.members[l.p].noteAway(&l.s.opts)
	}
	l.s.lose(err)
}

// closeSessions tells all sessions that the node ends.
func (n *Node) closeSessions() {
	n.mu.Lock()
	all := make([]*session, 0, len(n.sessions))
	for _, s := range n.sessions {
		all = append(all, s)
	}
	waiting := make([]*unary, 0, len(n.leases))
	for u := range n.leases {
		waiting = append(waiting, u)
	}
	n.mu.Unlock()
	for _, u := range waiting {
		u.giveUp(errClosed)
	}
	for _, s := range all {
		if s.opts.Remote {
			s.lose(errClosed)
			continue
		}
		// It dies with this process: what it runs goes back without blame.
		if s.leave() {
			for _, l := range s.takeLegs() {
				l.r.CloseSession(l.a, nil)
			}
			s.sinking.Lock()
			s.sink.Lost(errClosed)
			s.sinking.Unlock()
		}
	}
}
