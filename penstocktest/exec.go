package penstocktest

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// Exec runs one attempt of a task without a queue: the input goes through the
// type's codec, the handler runs with a context as in a worker (Current, Log and
// Progress work, its Timeout holds), and what it returned comes back, a panic as
// an error. Options are those of the enqueue.
func Exec[In, Out any](t testing.TB, f *penstock.Function[In, Out], in In, opts ...penstock.Option) (Out, error) {
	t.Helper()
	var out Out
	queue, spec, err := f.Spec(in, opts...)
	if err != nil {
		t.Fatalf("penstocktest: %v", err)
	}
	one := &oneTask{queue: queue, spec: spec, done: make(chan struct{})}
	var returned error
	ran := false
	keep := func(ctx context.Context, _ *penstock.Attempt, next func(context.Context) error) error {
		ran = true
		returned = next(ctx)
		return returned
	}
	w := penstock.NewClient(one, nil).Worker(penstock.Worker{
		Concurrency: 1, Name: t.Name(), Middleware: []penstock.Middleware{keep},
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}, f)
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	select {
	case <-one.done:
		stop()
		err = <-ended
	case err = <-ended:
		stop()
	}
	if err != nil {
		t.Fatalf("penstocktest: %v", err)
	}
	switch {
	case returned != nil:
		return out, returned
	case one.outcome.Kind == task.OutcomeComplete:
		return f.Decode(one.outcome.Result)
	case one.outcome.Error != "":
		return out, errors.New(one.outcome.Error)
	case !ran:
		t.Fatalf("penstocktest: the test ended before the attempt began")
	}
	return out, errors.New("the attempt was handed back")
}

// oneTask is a broker of one task: it delivers it to the first session and
// keeps the outcome.
type oneTask struct {
	task.Broker
	queue   string
	spec    task.Spec
	once    sync.Once
	outcome task.Outcome
	done    chan struct{}
}

// Attach is task.Broker's.
func (o *oneTask) Attach(_ context.Context, _ task.SessionOptions, sink task.Sink) (task.Session, error) {
	return &oneSession{o: o, sink: sink}, nil
}

func (o *oneTask) delivery() task.Delivery {
	d := task.Delivery{
		ID: task.ID{Seq: 1}, Token: task.Token{Attempt: 1, Epoch: 1, Dispatch: 1, Seq: 1}, Queue: o.queue,
		Type: o.spec.Type, Key: o.spec.Key, Payload: o.spec.Payload, ContentType: o.spec.ContentType,
		Headers: o.spec.Headers, Tags: o.spec.Tags, Priority: o.spec.Priority, Attempt: 1,
		MaxAttempts: task.DefaultMaxAttempts, EnqueuedAt: task.Time(time.Now().UnixMilli()),
		Timeout: task.DefaultTimeout, Deadline: o.spec.Deadline,
	}
	if p := o.spec.Policy; p != nil {
		if p.MaxAttempts > 0 {
			d.MaxAttempts = p.MaxAttempts
		}
		if p.Timeout != 0 {
			d.Timeout = max(p.Timeout, 0)
		}
	}
	return d
}

type oneSession struct {
	o         *oneTask
	sink      task.Sink
	delivered sync.Once
}

// Credit is task.Session's.
func (s *oneSession) Credit(int) {
	s.delivered.Do(func() { s.sink.Deliver([]task.Delivery{s.o.delivery()}) })
}

// Report is task.Session's.
func (s *oneSession) Report(b *task.OutcomeBatch) {
	b.Codes = make([]task.Code, len(b.Outcomes))
	s.o.once.Do(func() {
		s.o.outcome = b.Outcomes[0]
		s.o.outcome.Result = append([]byte(nil), s.o.outcome.Result...)
		defer close(s.o.done)
	})
	b.Done(b)
}

// Heartbeat is task.Session's.
func (s *oneSession) Heartbeat() error { return nil }

// Progress is task.Session's.
func (s *oneSession) Progress(task.Token, task.Progress) {}

// Detach is task.Session's.
func (s *oneSession) Detach() {}

// Close is task.Session's.
func (s *oneSession) Close() {}
