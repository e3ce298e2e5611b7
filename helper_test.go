package penstock

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// newClient is a client of a fake queue that ends with the test.
func newClient(t testing.TB) (*Client, *brokertest.Fake) {
	t.Helper()
	f := brokertest.NewFake(brokertest.Options{Scribble: true})
	t.Cleanup(f.Close)
	return NewClient(f, f), f
}

// bubble runs f in a synctest bubble with a fake queue.
func bubble(t *testing.T, f func(t *testing.T, c *Client, q *brokertest.Fake)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		c, q := newClient(t)
		f(t, c, q)
	})
}

// quiet is a worker whose complaints are not shown.
func quiet(w Worker) Worker {
	w.Logger = slog.New(slog.DiscardHandler)
	return w
}

// startWorker runs a worker until stop is called, which returns Run's error.
func startWorker(t testing.TB, c *Client, w Worker, hs ...Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Worker(quiet(w), hs...).Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil && !t.Failed() {
			t.Errorf("worker: %v", err)
		}
	})
	return stop
}

// expectStop stops a worker that has to complain.
func expectStop(t testing.TB, c *Client, w Worker, hs ...Handler) (stop func() error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Worker(quiet(w), hs...).Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() { stop() })
	return stop
}

func mustEnqueue[In, Out any](t testing.TB, c *Client, d *Definition[In, Out], in In, opts ...Option) *Task[Out] {
	t.Helper()
	tk, err := d.Enqueue(context.Background(), c, in, opts...)
	if err != nil {
		t.Fatalf("enqueue: %v", err)
	}
	return tk
}

func mustInfo(t testing.TB, c *Client, id ID) Info {
	t.Helper()
	in, err := c.Get(context.Background(), id)
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	return in
}

// taskError waits for a task that must not succeed.
func taskError[Out any](t testing.TB, tk *Task[Out]) *TaskError {
	t.Helper()
	_, err := tk.Wait(context.Background())
	var te *TaskError
	if !errors.As(err, &te) {
		t.Fatalf("Wait = %v, want a TaskError", err)
	}
	return te
}

// outage has the fake refuse everything, and cuts its sessions off.
func outage(q *brokertest.Fake) (over func()) {
	q.Inject(func(f *brokertest.Faults) { f.Refuse = 1 << 30 })
	q.LoseSessions()
	return func() { q.Inject(func(f *brokertest.Faults) { f.Refuse = 0 }) }
}

// recording is a broker that notes what a worker does.
type recording struct {
	*brokertest.Fake
	mu       sync.Mutex
	credit   int // ever given
	most     int // unused credit and held deliveries at the worst
	open     int
	attaches []task.SessionOptions
	reports  []task.Outcome
}

type recordingSession struct {
	task.Session
	r *recording
}

type recordingSink struct {
	task.Sink
	r *recording
}

func (r *recording) Attach(ctx context.Context, o task.SessionOptions, s task.Sink) (task.Session, error) {
	r.mu.Lock()
	r.attaches = append(r.attaches, o)
	r.mu.Unlock()
	sess, err := r.Fake.Attach(ctx, o, recordingSink{s, r})
	return recordingSession{sess, r}, err
}

func (s recordingSession) Credit(n int) {
	s.r.mu.Lock()
	s.r.credit += n
	s.r.open += n
	s.r.most = max(s.r.most, s.r.open)
	s.r.mu.Unlock()
	s.Session.Credit(n)
}

func (s recordingSession) Report(b *task.OutcomeBatch) {
	s.r.mu.Lock()
	s.r.reports = append(s.r.reports, b.Outcomes...)
	s.r.open -= len(b.Outcomes)
	s.r.mu.Unlock()
	s.Session.Report(b)
}

func (r *recording) snapshot() (credit, most int, reports []task.Outcome, attaches []task.SessionOptions) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.credit, r.most, append([]task.Outcome(nil), r.reports...), append([]task.SessionOptions(nil), r.attaches...)
}

// pass lets a bubble's clock move on.
func pass(d time.Duration) { <-time.After(d) }
