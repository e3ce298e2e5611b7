// Package penstocktest is for the tests of programs that use penstock: the real
// queue in memory with a clock that the test holds, and single attempts without
// a queue. It works in synctest bubbles. Its one rule: handlers run in Drain
// only, and time passes in Advance only.
package penstocktest

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// Server is a queue in memory, for one test.
type Server struct {
	t        testing.TB
	srv      *server.Server
	handlers []penstock.Handler
	worker   penstock.Worker

	mu  sync.Mutex
	now time.Time // guarded by mu
}

// New opens a queue that ends with the test. The handlers run when the test
// calls Drain. The clock starts at the current time, in whole seconds, and
// stands still.
func New(t testing.TB, handlers ...penstock.Handler) *Server {
	t.Helper()
	return NewWorker(t, penstock.Worker{}, handlers...)
}

// NewWorker is New with settings for the worker that Drain runs, such as its
// middleware. Its Queues are ignored: Drain serves every queue.
func NewWorker(t testing.TB, w penstock.Worker, handlers ...penstock.Handler) *Server {
	t.Helper()
	s := &Server{t: t, handlers: handlers, worker: w, now: time.Now().Truncate(time.Second)}
	if s.worker.Logger == nil {
		s.worker.Logger = slog.New(slog.NewTextHandler(t.Output(), &slog.HandlerOptions{Level: slog.LevelWarn}))
	}
	srv, err := server.Open(server.Config{Mem: true, Now: s.Now, Check: true})
	if err != nil {
		t.Fatalf("penstocktest: open the queue: %v", err)
	}
	s.srv = srv
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("penstocktest: close the queue: %v", err)
		}
	})
	return s
}

// Client is what the code under test enqueues with. What waits for a result,
// such as Do, needs a Drain beside it.
func (s *Server) Client() *penstock.Client { return s.srv.Client() }

// Now is the queue's clock.
func (s *Server) Now() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.now
}

// unservedFor is for queues that say nothing of it: handlers of a test serve
// their types all the time, though they run in Drain only.
const unservedFor = 10 * 365 * 24 * time.Hour

// Advance moves the queue's clock by d: scheduled tasks and retries that are due
// become ready, deadlines and windows pass. What is ready runs at the next
// Drain. The contexts of handlers go by the program's clock, not by this one.
func (s *Server) Advance(d time.Duration) {
	s.t.Helper()
	if d < 0 {
		s.t.Fatalf("penstocktest: advance by %v: time does not go back", d)
	}
	s.keepUnserved()
	s.mu.Lock()
	s.now = s.now.Add(d)
	s.mu.Unlock()
	s.srv.Tick()
}

func (s *Server) keepUnserved() {
	s.t.Helper()
	ctx, c := context.Background(), s.Client()
	qs, err := c.Queues(ctx)
	for _, q := range qs {
		if err == nil && q.Config.Unserved == 0 {
			d := unservedFor
			_, err = c.SetQueue(ctx, q.Name, penstock.QueuePatch{Unserved: &d})
		}
	}
	if err != nil {
		s.t.Fatalf("penstocktest: look at the queues: %v", err)
	}
}

// A drain looks whether it is done after a millisecond, and the longer it has
// been going the less often: a twentieth of the time so far, at most pollMax.
const (
	pollMin = time.Millisecond
	pollMax = 100 * time.Millisecond
)

// Drain runs handlers until no task that one of them serves is ready or running,
// in any queue, those included that handlers enqueue meanwhile. Tasks that wait
// for a later time, retries too, stay: Advance, then Drain again. The error is
// ctx's, or the worker's.
func (s *Server) Drain(ctx context.Context) error {
	for {
		names, busy, err := s.look(ctx)
		if err != nil || !busy {
			return err
		}
		if err := s.drainQueues(ctx, names); err != nil {
			return err
		}
	}
}

// drainQueues runs a worker over the queues given until they are quiet, or
// another queue has something to do.
func (s *Server) drainQueues(ctx context.Context, names []string) error {
	w := s.worker
	w.Queues = map[string]int{}
	for _, n := range names {
		w.Queues[n] = 1
	}
	wctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.Client().Worker(w, s.handlers...).Run(wctx) }()
	began := time.Now()
	tick := time.NewTimer(pollMin)
	defer tick.Stop()
	for {
		select {
		case err := <-ended:
			if err == nil {
				err = ctx.Err()
			}
			return err
		case <-tick.C:
		}
		now, busy, err := s.look(ctx)
		if err == nil && busy && slices.Equal(now, names) {
			tick.Reset(min(max(time.Since(began)/20, pollMin), pollMax))
			continue
		}
		stop()
		if werr := <-ended; err == nil {
			err = werr
		}
		return err
	}
}

// look names all queues, sorted, and says whether there is something to run.
func (s *Server) look(ctx context.Context) (names []string, busy bool, err error) {
	if err := ctx.Err(); err != nil {
		return nil, false, err
	}
	qs, err := s.Client().Queues(ctx)
	if err != nil {
		return nil, false, err
	}
	for _, q := range qs {
		names = append(names, q.Name)
		if busy || q.Paused && q.Running == 0 || q.Ready+q.Running == 0 {
			continue
		}
		if busy, err = s.serves(ctx, q); err != nil {
			return nil, false, err
		}
	}
	slices.Sort(names)
	return names, busy, nil
}

// serves says whether a task of a queue that is ready or running has a handler.
func (s *Server) serves(ctx context.Context, q penstock.QueueInfo) (bool, error) {
	states := []penstock.State{penstock.Ready, penstock.Running}
	if q.Paused {
		states = states[1:]
	}
	for _, h := range s.handlers {
		if h.Type() == penstock.AnyType {
			return true, nil
		}
		p, err := s.Client().List(ctx, penstock.Filter{Queue: q.Name, Type: h.Type(), States: states, Limit: 1})
		if err != nil {
			return false, fmt.Errorf("look into queue %q: %w", q.Name, err)
		}
		if len(p.Tasks) > 0 || p.Next != "" {
			return true, nil
		}
	}
	return false, nil
}
