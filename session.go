package penstock

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	attachMax   = 10 * time.Second // one try to open a session
	leaseMargin = time.Second      // how long before the end of their lease handlers are stopped
	stopGrace   = 5 * time.Second  // for handlers to return once their context has ended
	reportGrace = 10 * time.Second // for the last outcomes to be durable
	steadyAfter = 10 * time.Second // a session that lived so long is no reason to wait before the next

	// Heartbeats in a TTL: leases are good for that much less from any moment on.
	beatsBusy = 20 // with tasks
	beatsIdle = 3  // without
)

// sessionSink is the engine's end of one session.
type sessionSink struct {
	e    *engine
	lost chan *task.Error // 1
}

var (
	_ task.Sink    = (*sessionSink)(nil)
	_ task.Renewer = (*sessionSink)(nil)
)

func (s *sessionSink) Deliver(ds []task.Delivery)            { s.e.deliver(ds) }
func (s *sessionSink) Revoke(ts []task.Token, why task.Code) { s.e.revoke(ts, why) }

// Renewed is task.Renewer's. Without it handlers that begin right after an outage
// would end with the leases of before it: the next heartbeat may be too late.
func (s *sessionSink) Renewed(at time.Time) {
	s.e.mu.Lock()
	s.e.confirm(at)
	s.e.mu.Unlock()
}

func (s *sessionSink) Lost(err *task.Error) {
	select {
	case s.lost <- err:
	default:
	}
}

// sessionLoop keeps a session open until the engine's life ends. A session that
// was lost is opened again under the same ID, with the leases still held, so
// that those that are good go on.
func (e *engine) sessionLoop() {
	var (
		pause retryPause
		ever  bool
		quiet bool // the session is parted with only to be opened again, and closed
	)
	for quiet || e.life.Err() == nil {
		opened, ctx := time.Now(), e.life
		if quiet {
			ctx = e.base
		}
		sess, sink, err := e.attach(ctx)
		quiet = false
		if err == nil {
			ever = true
			err = e.beat(sess, sink)
			e.detached()
			if err == nil {
				sess.Close()
				return
			}
			sess.Detach()
			if err == errQuiet {
				quiet = true
				continue
			}
			if time.Since(opened) > steadyAfter {
				pause.reset()
			}
		} else if !ever && !passing(err) {
			e.fail(err)
			return
		}
		if e.life.Err() != nil {
			return
		}
		e.log.Warn("penstock: the worker has no session; trying again", "error", err)
		if err := pause.sleep(e.life, e.c.closed); err != nil {
			if e.life.Err() == nil { // the client was closed under the worker
				e.fail(err)
			}
			return
		}
	}
}

// fail ends the Run: there will be no session.
func (e *engine) fail(err error) {
	e.fatalErr = fmt.Errorf("run worker: %w", err)
	close(e.fatal)
}

// errQuiet ends a session that has credit left when the worker drains: credit
// can't be taken back, and what was handed back would be delivered again at once.
// The session is opened again without any.
var errQuiet = errors.New("the worker takes no more tasks")

// passing says whether an error may go away by itself.
func passing(err error) bool {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		return true
	}
	switch task.CodeOf(err) {
	case task.Invalid, task.NotFound:
		return false
	}
	return true
}

func (e *engine) attach(ctx context.Context) (task.Session, *sessionSink, error) {
	ctx, cancel := context.WithTimeout(ctx, attachMax)
	defer cancel()
	sink := &sessionSink{e: e, lost: make(chan *task.Error, 1)}
	opts := e.opts
	opts.Running = e.held()
	sent := time.Now()
	sess, err := e.c.broker.Attach(ctx, opts, sink)
	if err != nil {
		return nil, nil, err
	}
	e.mu.Lock()
	e.sess = sess
	e.win.open = 0
	e.out.held = false
	e.win.trip = time.Since(sent)
	e.confirm(sent)
	e.kickReporter()
	e.mu.Unlock()
	return sess, sink, nil
}

// held is the leases that the worker still has: running, waiting, or ended with
// an outcome that is not known to be durable.
func (e *engine) held() []task.Token {
	e.mu.Lock()
	defer e.mu.Unlock()
	var ts []task.Token
	for _, s := range e.slots {
		if s.cur != nil && !s.cur.revoked.Load() {
			ts = append(ts, s.cur.d.Token)
		}
	}
	for i := range e.ring.len() {
		ts = append(ts, e.ring.at(i).d.Token)
	}
	return e.out.tokens(ts)
}

// beat sends heartbeats until the session is lost, or nil when the engine's
// life ends. A heartbeat that finds no connection is no reason to give the
// session up: whoever carries it may be opening one.
func (e *engine) beat(sess task.Session, sink *sessionSink) error {
	t := time.NewTimer(e.nextBeat(false))
	defer t.Stop()
	answers := make(chan heartbeat, 1)
	asked := false // one is unanswered
	for {
		select {
		case <-e.life.Done():
			return nil
		case err := <-sink.lost:
			return refusal(err)
		case <-e.quiet:
			return errQuiet
		case <-e.beatOn:
			if !asked {
				t.Reset(e.nextBeat(true))
			}
		case <-t.C:
			asked = true
			go func() { // it may hang as long as a connection does
				h := heartbeat{sent: time.Now()}
				h.err = sess.Heartbeat()
				answers <- h
			}()
		case h := <-answers:
			if h.err != nil && task.CodeOf(h.err) != task.Unavailable {
				return h.err
			}
			asked = false
			if h.err != nil {
				t.Reset(e.cfg.TTL / beatsBusy)
				continue
			}
			e.mu.Lock()
			e.win.trip = time.Since(h.sent)
			e.confirm(h.sent)
			e.mu.Unlock()
			t.Reset(e.nextBeat(false))
		}
	}
}

// heartbeat is one sent, and its answer.
type heartbeat struct {
	sent time.Time
	err  error
}

// nextBeat is how long the next heartbeat may wait. It counts from when the leases
// were last presented, and not from the answer: a slow server's comes late. An
// outage costs a task its run when the leases end within it: the older their last
// confirmation, the shorter it may be. So there are many while there are tasks;
// busy says that there are.
func (e *engine) nextBeat(busy bool) time.Duration {
	e.mu.Lock()
	defer e.mu.Unlock()
	every := e.cfg.TTL / beatsBusy
	if e.slowBeat = !busy && e.busyN+e.ring.len()+e.out.n == 0; e.slowBeat {
		every = e.cfg.TTL / beatsIdle
	}
	return max(time.Until(e.confirmed.Add(every)), 0)
}

// beatSooner has the next heartbeat sent as early as a worker with tasks sends it.
// Call with mu held.
func (e *engine) beatSooner() {
	if !e.slowBeat {
		return
	}
	e.slowBeat = false
	select {
	case e.beatOn <- struct{}{}:
	default:
	}
}

// confirm notes that the leases are good for the TTL from when they were
// presented, by a heartbeat or an attach; handlers are stopped a margin before.
// Answers may overtake each other: the latest moment stays. Call with mu held.
func (e *engine) confirm(sent time.Time) {
	if e.stopped || !sent.After(e.confirmed) {
		return
	}
	e.confirmed = sent
	left := time.Until(e.leasesUntil())
	if e.leaseEnd == nil {
		e.leaseEnd = time.AfterFunc(left, e.leasesOver)
		return
	}
	e.leaseEnd.Reset(left)
}

// leasesUntil is when handlers are stopped; mu is held.
func (e *engine) leasesUntil() time.Time {
	return e.confirmed.Add(e.cfg.TTL - min(leaseMargin, e.cfg.TTL/4))
}

// leasesOver ends everything that runs and gives back what waits: others may
// have it by now, and if not, the server should not think that we do.
func (e *engine) leasesOver() {
	e.mu.Lock()
	if time.Now().Before(e.leasesUntil()) { // renewed meanwhile: the timer is set again
		e.mu.Unlock()
		return
	}
	for e.ring.len() > 0 {
		e.handBack(e.ring.pop())
	}
	running := e.running() // and not what begins from now on, with a lease of its own
	e.mu.Unlock()
	endAll(running, ErrLeaseLost)
}

func (e *engine) detached() {
	e.mu.Lock()
	e.sess = nil
	e.mu.Unlock()
}

// drain ends the Run: see Worker.Run.
func (e *engine) drain() error {
	e.mu.Lock()
	e.draining = true
	for e.ring.len() > 0 {
		e.handBack(e.ring.pop())
	}
	if e.sess != nil && e.win.open > 0 && e.busyN+e.out.n > 0 {
		e.sess = nil // nothing more by this one
		e.quiet <- struct{}{}
	}
	e.mu.Unlock()

	idle := func() bool { return e.busyN == 0 }
	if !e.waitFor(idle, max(e.cfg.DrainTimeout, 0)) {
		e.mu.Lock()
		running := e.running()
		e.mu.Unlock()
		endAll(running, ErrShutdown)
		e.waitFor(idle, stopGrace)
	}
	var errs []error
	select {
	case <-e.fatal:
		errs = append(errs, e.fatalErr)
	default:
		e.waitFor(func() bool { return e.out.n == 0 }, reportGrace)
	}
	e.mu.Lock()
	e.stopped = true
	e.idle.Broadcast()
	busy, unreported := e.busyN, e.out.n
	if e.leaseEnd != nil {
		e.leaseEnd.Stop()
	}
	e.mu.Unlock()
	e.endLife()
	e.wg.Wait()
	if busy > 0 {
		errs = append(errs, fmt.Errorf("stop worker: %s not returned %v after the context ended", count(busy, "handler"), stopGrace))
	}
	if unreported > 0 {
		errs = append(errs, fmt.Errorf("stop worker: %s not delivered: those tasks will run again", count(unreported, "outcome")))
	}
	return errors.Join(errs...)
}

// waitFor waits until ok, asked with mu held, or for at most d.
func (e *engine) waitFor(ok func() bool, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	for {
		e.mu.Lock()
		yes := ok()
		e.mu.Unlock()
		if yes {
			return true
		}
		select {
		case <-e.slotFree:
		case <-t.C:
			e.mu.Lock()
			defer e.mu.Unlock()
			return ok()
		}
	}
}
