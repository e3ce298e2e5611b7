package penstock

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// engine is one Run of a worker.
//
//	Deliver ─▶ ring ─▶ slots (≤ Concurrency goroutines) ─▶ pending outcomes ─▶ reporter ─▶ session
//	                      credit for more, as fast as handlers get through ◀─┘
//
// A task costs its slot two turns of one mutex: the end of the last attempt and
// the start of the next are one critical section, and so are the outcome and the
// slot's release. No goroutine, channel or timer is made for a task.
type engine struct {
	c        *Client
	cfg      Worker
	log      *slog.Logger
	base     context.Context // values of Run's context, without its end
	handlers map[string]*handler
	run      func(context.Context, *Attempt) error
	opts     task.SessionOptions

	life       context.Context // of the session and the reporter
	endLife    context.CancelFunc
	reporterOn chan struct{} // 1: there is something to report
	beatOn     chan struct{} // 1: there are tasks, and the next heartbeat is far off
	slotFree   chan struct{} // 1: while draining, something has come to its end
	quiet      chan struct{} // 1: the session is to be opened again without credit
	fatal      chan struct{} // closed when the session can't be had; fatalErr is why
	fatalErr   error
	wg         sync.WaitGroup // the reporter and the session loop

	mu       sync.Mutex // guards all below
	idle     *sync.Cond
	ring     attemptRing // delivered, not started, in order
	slots    []*slot
	idleN    int  // slots that wait
	waking   bool // one of them has been called and has not come yet
	busyN    int
	draining bool
	stopped  bool
	sess     task.Session // nil = not attached

	confirmed time.Time   // when the leases were last presented to a server that took them
	leaseEnd  *time.Timer // ends everything when heartbeats stay out
	slowBeat  bool        // the next heartbeat is that of a worker without tasks
	out       outbox
	win       window
	sweepOn   bool // a sweep of the ring is due
}

// slot is one goroutine that runs handlers.
type slot struct {
	cur    *Attempt // guarded by engine.mu
	result []byte   // reused for results; the goroutine's own
}

func newEngine(c *Client, cfg Worker, base context.Context) *engine {
	e := &engine{
		c: c, cfg: cfg, log: cfg.Logger, base: base, handlers: map[string]*handler{},
		reporterOn: make(chan struct{}, 1), beatOn: make(chan struct{}, 1), slotFree: make(chan struct{}, 1), quiet: make(chan struct{}, 1),
		fatal: make(chan struct{}),
	}
	e.life, e.endLife = context.WithCancel(base)
	e.idle = sync.NewCond(&e.mu)
	e.run = wrap(func(ctx context.Context, a *Attempt) error { return a.h.run(ctx, a) }, cfg.Middleware)
	e.out.reported = e.reported
	e.win = newWindow(cfg.Concurrency, max(cfg.Prefetch, 0))
	return e
}

func (e *engine) start() {
	e.wg.Go(e.reportLoop)
	e.wg.Go(e.sessionLoop)
}

func (e *engine) session() task.Session {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.sess
}

const slabMax = 64 // attempts allocated at once

// deliver takes what the session brings. What ds point to is copied.
func (e *engine) deliver(ds []task.Delivery) {
	now := time.Now()
	var (
		slab  []Attempt
		arena payloadArena
		last  *Attempt
	)
	e.mu.Lock()
	defer e.mu.Unlock()
	e.win.delivered(len(ds))
	for i := range ds {
		if len(slab) == 0 {
			slab = make([]Attempt, min(len(ds)-i, slabMax))
		}
		a := &slab[0]
		slab = slab[1:]
		d := &ds[i]
		a.e, a.received = e, now
		a.d = lease{
			ID: d.ID, Token: d.Token, Type: d.Type, Queue: d.Queue, Payload: arena.own(ds[i:]), more: ownDetails(d),
			EnqueuedAt: d.EnqueuedAt, Timeout: d.Timeout, Deadline: d.Deadline, Counts: d.Counts,
			Attempt: d.Attempt, MaxAttempts: d.MaxAttempts, Priority: d.Priority,
		}
		if last != nil && last.d.Type == d.Type {
			a.h = last.h
		} else if a.h = e.handlers[d.Type]; a.h == nil {
			a.h = e.handlers[AnyType]
		}
		last = a
		if a.h == nil || e.draining {
			e.handBack(a)
			continue
		}
		e.ring.push(a)
	}
	e.beatSooner()
	e.wakeSlot()
	e.sweepLater()
}

const (
	arenaMax   = 32 << 10 // so much may stay in memory for one small payload that is still in use
	arenaEntry = 4 << 10  // larger payloads have memory of their own
)

// payloadArena copies the payloads of one call, small ones side by side.
type payloadArena struct{ free []byte }

// own copies the payload of ds[0]; the others say how much more will come.
func (m *payloadArena) own(ds []task.Delivery) []byte {
	p := ds[0].Payload
	if len(p) == 0 {
		return nil
	}
	if len(p) > arenaEntry {
		return append([]byte(nil), p...)
	}
	if len(m.free) < len(p) {
		size := 0
		for i := range ds {
			n := len(ds[i].Payload)
			if n <= arenaEntry {
				size += n
			}
			if size >= arenaMax {
				size = arenaMax
				break
			}
		}
		m.free = make([]byte, size)
	}
	n := copy(m.free, p)
	own := m.free[:n:n]
	m.free = m.free[n:]
	return own
}

// ownDetails keeps what most tasks don't have; nil = none of it.
func ownDetails(d *task.Delivery) *details {
	if d.ContentType == "" && d.Key == "" && len(d.Headers) == 0 && len(d.Tags) == 0 {
		return nil
	}
	return &details{key: d.Key, contentType: d.ContentType, headers: slices.Clone(d.Headers), tags: slices.Clone(d.Tags)}
}

// handBack returns a delivery that no handler has begun. Call with mu held.
func (e *engine) handBack(a *Attempt) {
	e.out.add(task.Outcome{Token: a.d.Token, Kind: task.OutcomeRelease})
	e.kickReporter()
}

// wakeSlot sees to it that a slot takes what is in the ring. One slot at a time
// is called; it calls the next if there is more, so that a stream of tiny tasks
// is worked off by few goroutines, and slow ones spread over all. Call with mu
// held.
func (e *engine) wakeSlot() {
	if e.ring.len() == 0 || e.waking {
		return
	}
	if e.idleN > 0 {
		e.waking = true
		e.idle.Signal()
		return
	}
	if len(e.slots) < e.cfg.Concurrency {
		s := &slot{}
		e.slots = append(e.slots, s)
		e.waking = true
		go e.slotLoop(s, true)
	}
}

// slotLoop runs attempts until the engine stops. called says that waking was
// set for it.
func (e *engine) slotLoop(s *slot, called bool) {
	over := false
	defer func() {
		if !over { // the handler called runtime.Goexit and took the goroutine with it
			go e.slotLoop(s, false)
		}
	}()
	e.mu.Lock()
	for {
		if called {
			e.waking, called = false, false
		}
		if e.ring.len() == 0 || e.stopped {
			if e.stopped {
				e.mu.Unlock()
				over = true
				return
			}
			e.idleN++
			e.idle.Wait()
			e.idleN--
			called = true
			continue
		}
		a := e.ring.pop()
		a.waited = min(time.Since(a.received), waitedMax)
		s.cur = a
		e.busyN++
		e.wakeSlot()
		e.mu.Unlock()
		e.attempt(s, a)
		e.mu.Lock()
	}
}

// attempt runs the handler and files the outcome. It returns with mu free, and
// also when the handler ends the goroutine.
func (e *engine) attempt(s *slot, a *Attempt) {
	var err error
	returned := false
	defer func() {
		if !returned {
			err = caught(recover())
		}
		e.finish(s, a, err)
	}()
	a.result = s.result[:0]
	err = e.run((*attemptContext)(a), a)
	returned = true
}

// finish files the outcome and frees the slot.
func (e *engine) finish(s *slot, a *Attempt, err error) {
	o, report := a.outcome(err)
	a.close()
	s.result, a.result = a.result[:0], nil
	if cap(s.result) > payloadKeptMax {
		s.result = nil
	}
	e.mu.Lock()
	s.cur = nil
	e.busyN--
	e.win.finished()
	if report {
		e.out.add(o)
	}
	e.kickReporter()
	if e.draining {
		e.tellDrain()
	}
	e.mu.Unlock()
}

// kickReporter has the reporter look at the outbox and the window.
func (e *engine) kickReporter() {
	if e.out.kicked {
		return
	}
	e.out.kicked = true
	select {
	case e.reporterOn <- struct{}{}:
	default:
	}
}

func (e *engine) tellDrain() {
	select {
	case e.slotFree <- struct{}{}:
	default:
	}
}

const (
	sweepAfter = 50 * time.Millisecond  // how long a delivery may wait before it is asked whether it should
	waitedMax  = 500 * time.Millisecond // the server, who counts from the dispatch, allows a second
)

// sweepLater has the ring looked at if it is not empty soon. Call with mu held.
func (e *engine) sweepLater() {
	if e.sweepOn || e.ring.len() == 0 {
		return
	}
	e.sweepOn = true
	time.AfterFunc(sweepAfter, e.sweep)
}

// sweep hands back what was fetched for faster handlers than there are: the
// newest deliveries beyond what the measured rate will need. Others may run
// them now.
func (e *engine) sweep() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.sweepOn = false
	if e.ring.len() == 0 {
		return
	}
	if oldest := e.ring.at(0); time.Since(oldest.received) >= sweepAfter {
		keep := e.win.ahead(time.Now())
		for e.ring.len() > keep {
			e.handBack(e.ring.popNewest())
		}
	}
	e.sweepLater()
}

// revoke ends attempts whose leases have ended.
func (e *engine) revoke(ts []task.Token, why task.Code) {
	cause := ErrCanceled
	if why == task.LeaseLost {
		cause = ErrLeaseLost
	}
	gone := make(map[task.Token]bool, len(ts))
	for _, t := range ts {
		gone[t] = true
	}
	var ended []*Attempt
	e.mu.Lock()
	for _, s := range e.slots {
		if s.cur != nil && gone[s.cur.d.Token] {
			s.cur.revoked.Store(true)
			ended = append(ended, s.cur)
		}
	}
	e.ring.drop(func(a *Attempt) bool { return gone[a.d.Token] })
	e.kickReporter()
	e.mu.Unlock()
	for _, a := range ended {
		if a.outOfTime() {
			continue // the server saw it first; the context ends by its own deadline
		}
		a.end(cause)
	}
}

// running lists the attempts whose handlers run; mu is held.
func (e *engine) running() []*Attempt {
	var as []*Attempt
	for _, s := range e.slots {
		if s.cur != nil {
			as = append(as, s.cur)
		}
	}
	return as
}

func endAll(as []*Attempt, cause error) {
	for _, a := range as {
		a.end(cause)
	}
}

// attemptRing is a queue of attempts in a circle.
type attemptRing struct {
	buf        []*Attempt // length is a power of two
	head, size int
}

func (r *attemptRing) len() int { return r.size }

func (r *attemptRing) at(i int) *Attempt { return r.buf[(r.head+i)&(len(r.buf)-1)] }

func (r *attemptRing) push(a *Attempt) {
	if r.size == len(r.buf) {
		grown := make([]*Attempt, max(2*len(r.buf), 64))
		for i := range r.size {
			grown[i] = r.at(i)
		}
		r.buf, r.head = grown, 0
	}
	r.buf[(r.head+r.size)&(len(r.buf)-1)] = a
	r.size++
}

func (r *attemptRing) pop() *Attempt {
	a := r.buf[r.head]
	r.buf[r.head] = nil
	r.head = (r.head + 1) & (len(r.buf) - 1)
	r.size--
	return a
}

func (r *attemptRing) popNewest() *Attempt {
	r.size--
	i := (r.head + r.size) & (len(r.buf) - 1)
	a := r.buf[i]
	r.buf[i] = nil
	return a
}

// drop takes out those that no longer belong, and keeps the order.
func (r *attemptRing) drop(gone func(*Attempt) bool) {
	n := r.size
	for range n {
		if a := r.pop(); !gone(a) {
			r.push(a)
		}
	}
}
