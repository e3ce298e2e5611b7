// Package brokertest holds what tests of a task.Broker need: Fake, a whole
// queue in memory that is plain enough to be believed, and Run, the promises
// to users as a suite over any implementation. Nothing here is durable, and
// nothing outside tests may import it.
package brokertest

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	fakePartition  = 1
	fakeEpoch      = 1
	historyDefault = 200_000 // finished tasks the Fake keeps when not told
	idleCheckMax   = 250 * time.Millisecond
)

// Options of a Fake. The zero value is ready for use.
type Options struct {
	Clock      *Clock // nil = the wall clock
	HistoryMax int    // finished tasks kept; 0 = 200,000
	Scribble   bool   // overwrite payloads once Sink.Deliver has returned, to catch those who kept them
}

// Fake is a queue in memory behind one mutex. It keeps every rule that users
// are promised but durability. Callbacks come from one goroutine of its own.
type Fake struct {
	opts Options
	pump *pump
	kick chan struct{} // tells the timer goroutine that an earlier moment came up
	done chan struct{}
	wg   sync.WaitGroup

	mu        sync.Mutex // guards all below
	now       task.Time  // never goes back
	started   task.Time
	nonce     uint32
	counter   uint64 // of sequences
	dispatchN uint32 // of dispatches
	recs      map[task.Seq]*rec
	queues    map[string]*queue
	parted    map[string]*queue // deleted ones, for those who serve them when they are made again
	numbers   uint32            // of queues, given so far
	idem      map[idemKey]*idemEntry
	producers map[producerKey]*producer
	evicted   map[producerKey]bool
	sessions  map[string]*session
	waiters   map[*consumer]*waiter
	timers    timerHeap
	finished  []*rec // oldest first, for HistoryMax
	touched   []*consumer
	checkAt   task.Time // lower bound of the next session, waiter or lane event
	sleepTill task.Time // what the timer goroutine sleeps for
	faults    Faults
	heldDone  []func()
	closed    bool
}

var (
	_ task.Broker    = (*Fake)(nil)
	_ task.Inspector = (*Fake)(nil)
)

// NewFake starts a Fake. Close it.
func NewFake(o Options) *Fake {
	if o.HistoryMax == 0 {
		o.HistoryMax = historyDefault
	}
	f := &Fake{
		opts: o, pump: newPump(), kick: make(chan struct{}, 1), done: make(chan struct{}),
		nonce: rand.Uint32(), recs: map[task.Seq]*rec{}, queues: map[string]*queue{}, parted: map[string]*queue{},
		idem: map[idemKey]*idemEntry{}, producers: map[producerKey]*producer{}, evicted: map[producerKey]bool{},
		sessions: map[string]*session{}, waiters: map[*consumer]*waiter{},
	}
	f.now = f.clock()
	f.started = f.now
	if o.Clock != nil {
		o.Clock.subscribe(f.Tick)
	} else {
		f.wg.Go(f.tickLoop)
	}
	return f
}

// Close ends the Fake: sessions are told that they are lost, held callbacks
// are called, and every later call is refused.
func (f *Fake) Close() {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return
	}
	f.enter()
	for _, s := range f.sessionsInOrder() {
		f.loseSession(s, errClosed())
	}
	for c, w := range f.waiters {
		w.err = errClosed()
		f.endWait(c, w)
	}
	for _, r := range f.recs {
		for _, w := range r.watches {
			w.Err = errClosed()
			f.call(func() { w.Done(w) })
		}
		r.watches = nil
	}
	held := f.heldDone
	f.heldDone = nil
	f.closed = true
	f.mu.Unlock()
	for _, fn := range held {
		f.pump.post(fn)
	}
	close(f.done)
	f.wg.Wait()
	f.pump.close()
}

func errClosed() *task.Error {
	return task.Errorf(task.Unavailable, "the queue is closed: open it again")
}

// Faults are what a Fake does wrong on purpose.
type Faults struct {
	HoldDone    bool // Done callbacks and deliveries wait until it is false again
	LoseAnswers int  // so many batches are applied, and answered as unknown
	Refuse      int  // so many batches are refused, nothing applied
	Full        bool // enqueues are refused with Exhausted
}

// Inject changes the faults.
func (f *Fake) Inject(change func(*Faults)) {
	f.mu.Lock()
	change(&f.faults)
	var held []func()
	if !f.faults.HoldDone {
		held, f.heldDone = f.heldDone, nil
	}
	f.mu.Unlock()
	for _, fn := range held {
		f.pump.post(fn)
	}
}

// LoseSessions cuts every session off as a lost connection does: leases live
// on until the sessions' TTL ends, and each sink hears Lost.
func (f *Fake) LoseSessions() {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	for _, s := range f.sessionsInOrder() {
		if s.attached {
			f.detach(s)
			sink := s.sink
			f.call(func() { sink.Lost(task.Errorf(task.Unavailable, "the connection was lost: attach again")) })
		}
	}
}

// Flush returns once every callback that was due at the call has returned. It
// must not be called from a callback.
func (f *Fake) Flush() {
	done := make(chan struct{})
	f.pump.post(func() { close(done) })
	<-done
}

// Tick lets the Fake look at its clock. With a Clock it is called by Advance.
func (f *Fake) Tick() {
	f.mu.Lock()
	f.enter()
	f.leave()
}

// enter moves time on; every entry point calls it first, under mu.
func (f *Fake) enter() {
	if n := f.clock(); n > f.now {
		f.now = n
	}
	f.fireTimers()
}

// leave hands over what the call has brought about and unlocks.
func (f *Fake) leave() {
	for _, c := range f.touched {
		f.handOver(c)
	}
	f.touched = f.touched[:0]
	wake := f.nextWake()
	poke := wake != 0 && wake < f.sleepTill
	f.mu.Unlock()
	if poke {
		select {
		case f.kick <- struct{}{}:
		default:
		}
	}
}

// call runs fn from the callback goroutine, unless callbacks are held.
func (f *Fake) call(fn func()) {
	if f.faults.HoldDone {
		f.heldDone = append(f.heldDone, fn)
		return
	}
	f.pump.post(fn)
}

func (f *Fake) clock() task.Time {
	if f.opts.Clock != nil {
		return f.opts.Clock.Now()
	}
	return task.Time(time.Now().UnixMilli())
}

func (f *Fake) tickLoop() {
	timer := time.NewTimer(idleCheckMax)
	defer timer.Stop()
	for {
		f.mu.Lock()
		f.enter()
		wait := idleCheckMax
		if w := f.nextWake(); w != 0 {
			wait = min(wait, time.Duration(w-f.now)*time.Millisecond)
		}
		wait = max(wait, time.Millisecond)
		f.sleepTill = f.now.Add(task.Millis(wait / time.Millisecond))
		f.leave()
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-f.kick:
		case <-f.done:
			return
		}
	}
}

// Clock is a clock that a test holds.
type Clock struct {
	mu   sync.Mutex
	now  task.Time
	subs []func()
}

// NewClock starts a clock at a moment in 2026.
func NewClock() *Clock { return &Clock{now: 1_790_000_000_000} }

// Now reads the clock.
func (c *Clock) Now() task.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Advance moves the clock and lets everyone who listens look at it.
func (c *Clock) Advance(d task.Millis) {
	c.mu.Lock()
	c.now = c.now.Add(d)
	subs := c.subs
	c.mu.Unlock()
	for _, fn := range subs {
		fn()
	}
}

func (c *Clock) subscribe(fn func()) {
	c.mu.Lock()
	c.subs = append(c.subs[:len(c.subs):len(c.subs)], fn)
	c.mu.Unlock()
}

// pump is the one goroutine that makes callbacks, in order.
type pump struct {
	mu      sync.Mutex
	cond    *sync.Cond
	pending []func()
	closed  bool
	exited  chan struct{}
}

func newPump() *pump {
	p := &pump{exited: make(chan struct{})}
	p.cond = sync.NewCond(&p.mu)
	go p.loop()
	return p
}

func (p *pump) post(fn func()) {
	p.mu.Lock()
	closed := p.closed
	if !closed {
		p.pending = append(p.pending, fn)
	}
	p.mu.Unlock()
	if closed {
		go fn() // refusals after Close have no order to keep
		return
	}
	p.cond.Signal()
}

func (p *pump) close() {
	p.mu.Lock()
	p.closed = true
	p.mu.Unlock()
	p.cond.Signal()
	<-p.exited
}

func (p *pump) loop() {
	defer close(p.exited)
	var batch []func()
	for {
		p.mu.Lock()
		for len(p.pending) == 0 && !p.closed {
			p.cond.Wait()
		}
		if len(p.pending) == 0 {
			p.mu.Unlock()
			return
		}
		batch, p.pending = p.pending, batch[:0]
		p.mu.Unlock()
		for i, fn := range batch {
			fn()
			batch[i] = nil
		}
	}
}
