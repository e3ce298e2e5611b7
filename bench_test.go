package penstock

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// instant is a broker that does nothing: what a benchmark over it measures is
// the SDK. Enqueues are durable at once, and a session delivers as much as there
// is credit for until it has delivered limit.
type instant struct {
	task.Broker
	limit    int
	reported atomic.Int64
	done     chan struct{}
}

func (b *instant) Enqueue(e *task.EnqueueBatch) {
	for i := range e.Specs {
		e.Results[i].ID.Seq++
	}
	e.Done(e)
}

func (b *instant) Attach(_ context.Context, _ task.SessionOptions, sink task.Sink) (task.Session, error) {
	s := &instantSession{b: b, sink: sink}
	s.more = sync.NewCond(&s.mu)
	go s.deliver()
	return s, nil
}

type instantSession struct {
	b     *instant
	sink  task.Sink
	mu    sync.Mutex
	more  *sync.Cond
	n     int
	stop  bool
	codes []task.Code
}

func (s *instantSession) deliver() {
	const batchMax = 256
	ds := make([]task.Delivery, batchMax)
	payload := []byte(`{"ID":"order-4711","Cents":1999}`)
	var seq task.Seq
	for sent := 0; sent < s.b.limit; {
		s.mu.Lock()
		for s.n == 0 && !s.stop {
			s.more.Wait()
		}
		n := min(s.n, batchMax, s.b.limit-sent)
		s.n -= n
		stop := s.stop
		s.mu.Unlock()
		if stop {
			return
		}
		for i := range n {
			seq++
			ds[i] = task.Delivery{ID: task.ID{Seq: seq}, Token: task.Token{Seq: seq}, Queue: "default", Type: "t", Payload: payload,
				Attempt: 1, MaxAttempts: 10, Timeout: task.Hour}
		}
		s.sink.Deliver(ds[:n])
		sent += n
	}
}

func (s *instantSession) Credit(n int) {
	s.mu.Lock()
	s.n += n
	s.mu.Unlock()
	s.more.Signal()
}

func (s *instantSession) Report(o *task.OutcomeBatch) {
	n := len(o.Outcomes)
	if cap(s.codes) < n {
		s.codes = make([]task.Code, n)
	}
	o.Codes = s.codes[:n]
	o.Done(o)
	if s.b.reported.Add(int64(n)) == int64(s.b.limit) {
		close(s.b.done)
	}
}

func (s *instantSession) Heartbeat() error                   { return nil }
func (s *instantSession) Progress(task.Token, task.Progress) {}
func (s *instantSession) Detach()                            {}
func (s *instantSession) Close() {
	s.mu.Lock()
	s.stop = true
	s.mu.Unlock()
	s.more.Signal()
}

// BenchmarkEnqueue is the SDK's own share of one typed enqueue.
func BenchmarkEnqueue(b *testing.B) {
	c := NewClient(&instant{}, nil)
	def := Define[order, order]("order.ship", MaxAttempts(5))
	in := order{"order-4711", 1999}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := def.Enqueue(context.Background(), c, in); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkEnqueueMany is the SDK's own share of a task in a batch of 1,000.
func BenchmarkEnqueueMany(b *testing.B) {
	c := NewClient(&instant{}, nil)
	def := Define[order, order]("order.ship", MaxAttempts(5))
	ins := make([]order, 1000)
	for i := range ins {
		ins[i] = order{"order-4711", 1999}
	}
	b.ReportAllocs()
	for n := 0; n < b.N; n += len(ins) {
		if _, err := def.EnqueueMany(context.Background(), c, ins[:min(len(ins), b.N-n)]); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkWorker is the worker's own share of a task with a typed handler:
// delivery, JSON in and out, outcome.
func BenchmarkWorker(b *testing.B) {
	f := func(name string, handler func(context.Context, order) (order, error)) {
		b.Run(name, func(b *testing.B) {
			br := &instant{limit: b.N, done: make(chan struct{})}
			c := NewClient(br, nil)
			ctx, cancel := context.WithCancel(b.Context())
			ended := make(chan error, 1)
			b.ReportAllocs()
			b.ResetTimer()
			go func() { ended <- c.Work(ctx, Func("t", handler)) }()
			<-br.done
			b.StopTimer()
			cancel()
			if err := <-ended; err != nil {
				b.Fatal(err)
			}
		})
	}
	f("plain", func(_ context.Context, o order) (order, error) { return o, nil })
	f("asks its context", func(ctx context.Context, o order) (order, error) { return o, ctx.Err() })
}
