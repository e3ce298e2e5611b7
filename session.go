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
)

// sessionSink is the engine's end of one session.
type sessionSink struct {
	e    *engine
	lost chan *task.Error // 1
}

var _ task.Sink = (*sessionSink)(nil)

func (s *sessionSink) Deliver(ds []task.Delivery)            { s.e.deliver(ds) }
func (s *sessionSink) Revoke(ts []task.Token, why task.Code) { s.e.revoke(ts, why) }

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
	)
	for e.life.Err() == nil {
		opened := time.Now()
		sess, sink, err := e.attach()
		if err == nil {
			ever = true
			err = e.beat(sess, sink)
			e.detached()
			if err == nil {
				sess.Close()
				return
			}
			sess.Detach()
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

func (e *engine) attach() (task.Session, *sessionSink, error) {
	ctx, cancel := context.WithTimeout(e.life, attachMax)
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
// life ends.
func (e *engine) beat(sess task.Session, sink *sessionSink) error {
	t := time.NewTicker(e.cfg.TTL / 3)
	defer t.Stop()
	for {
		select {
		case <-e.life.Done():
			return nil
		case err := <-sink.lost:
			return refusal(err)
		case <-t.C:
		}
		sent := time.Now()
		if err := sess.Heartbeat(); err != nil {
			return err
		}
		e.mu.Lock()
		e.confirm(sent)
		e.mu.Unlock()
	}
}

// confirm notes that the leases are good for the TTL from when the heartbeat
// was sent; handlers are stopped a margin before. Call with mu held.
func (e *engine) confirm(sent time.Time) {
	now := time.Now()
	e.win.trip = now.Sub(sent)
	margin := min(leaseMargin, e.cfg.TTL/4)
	left := sent.Add(e.cfg.TTL - margin).Sub(now)
	if e.leaseEnd == nil {
		e.leaseEnd = time.AfterFunc(left, e.leasesOver)
		return
	}
	e.leaseEnd.Reset(left)
}

// leasesOver ends everything that runs or waits: others may have it by now.
func (e *engine) leasesOver() {
	e.mu.Lock()
	e.ring.drop(func(*Attempt) bool { return true })
	e.mu.Unlock()
	e.endAll(ErrLeaseLost)
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
	e.mu.Unlock()

	idle := func() bool { return e.busyN == 0 }
	if !e.waitFor(idle, max(e.cfg.DrainTimeout, 0)) {
		e.endAll(ErrShutdown)
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
		errs = append(errs, fmt.Errorf("stop worker: %d handlers have not returned %v after their context ended", busy, stopGrace))
	}
	if unreported > 0 {
		errs = append(errs, fmt.Errorf("stop worker: %d outcomes could not be delivered: their tasks will run again", unreported))
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
