package rpctest

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// echo is the least that answers: a broker that numbers tasks and hands them to
// one session, in turns of one goroutine as a partition's owner does. What a
// benchmark over it shows is the wire's.
type echo struct {
	*brokertest.Fake // what is not measured

	mu       sync.Mutex
	work     sync.Cond
	batches  []*task.EnqueueBatch
	reports  []*task.OutcomeBatch
	sink     task.Sink
	credit   int
	ready    []task.Delivery
	seq      task.Seq
	quitting bool
}

func newEcho(t testing.TB) *echo {
	e := &echo{Fake: brokertest.NewFake(brokertest.Options{})}
	e.work.L = &e.mu
	done := make(chan struct{})
	go func() { defer close(done); e.loop() }()
	t.Cleanup(func() {
		e.mu.Lock()
		e.quitting = true
		e.work.Signal()
		e.mu.Unlock()
		<-done
		e.Fake.Close()
	})
	return e
}

func (e *echo) Enqueue(b *task.EnqueueBatch) {
	e.mu.Lock()
	e.batches = append(e.batches, b)
	e.work.Signal()
	e.mu.Unlock()
}

func (e *echo) Report(b *task.OutcomeBatch) {
	e.mu.Lock()
	e.reports = append(e.reports, b)
	e.work.Signal()
	e.mu.Unlock()
}

func (e *echo) Attach(_ context.Context, _ task.SessionOptions, s task.Sink) (task.Session, error) {
	e.mu.Lock()
	e.sink = s
	e.mu.Unlock()
	return echoSession{e}, nil
}

type echoSession struct{ *echo }

func (s echoSession) Credit(n int) {
	s.mu.Lock()
	s.credit += n
	s.work.Signal()
	s.mu.Unlock()
}
func (echoSession) Heartbeat() error                       { return nil }
func (echoSession) Progress(t task.Token, p task.Progress) {}
func (echoSession) Detach()                                {}
func (echoSession) Close()                                 {}

func (e *echo) loop() {
	payload := make([]byte, 100)
	for {
		e.mu.Lock()
		for len(e.batches)+len(e.reports) == 0 && (e.credit == 0 || len(e.ready) == 0) && !e.quitting {
			e.work.Wait()
		}
		if e.quitting {
			e.mu.Unlock()
			return
		}
		batches, reports := e.batches, e.reports
		e.batches, e.reports = nil, nil
		e.mu.Unlock()
		for _, b := range reports {
			b.Codes = append(b.Codes[:0], make([]task.Code, len(b.Outcomes))...)
			b.Done(b)
		}
		for _, b := range batches {
			b.Results = b.Results[:0]
			for i := range b.Specs {
				e.seq++
				id := task.ID{Partition: 1, Priority: 5, Queue: 1, Lane: 7, Seq: task.MakeSeq(1, uint64(e.seq))}
				b.Results = append(b.Results, task.Enqueued{ID: id})
				if e.sink != nil {
					e.ready = append(e.ready, task.Delivery{ID: id, Token: task.Token{Partition: 1, Epoch: 1, Nonce: 7, Dispatch: uint32(e.seq), Seq: id.Seq, Attempt: 1},
						Queue: "bench", Type: b.Specs[i].Type, Payload: payload, Priority: 5, Attempt: 1, MaxAttempts: 10, EnqueuedAt: 1790000000000, Timeout: task.Hour})
				}
			}
			b.Done(b)
		}
		e.mu.Lock()
		n := min(e.credit, len(e.ready))
		e.credit -= n
		e.mu.Unlock()
		if n > 0 {
			e.sink.Deliver(e.ready[:n])
			e.ready = e.ready[:copy(e.ready, e.ready[n:])]
		}
	}
}

// finisher completes what it is given, batch by batch, as an SDK's worker does.
type finisher struct {
	mu     sync.Mutex
	wake   chan struct{}
	tokens []task.Token
	done   atomic.Int64
	sess   task.Session
}

func newFinisher(t testing.TB, br task.Broker, credit int) *finisher {
	f := &finisher{wake: make(chan struct{}, 1)}
	sess, err := br.Attach(context.Background(), task.SessionOptions{ID: "bench", Queues: []task.QueueWeight{{Queue: "bench"}}, Concurrency: 64}, f)
	if err != nil {
		t.Fatal(err)
	}
	f.sess = sess
	quit := make(chan struct{})
	t.Cleanup(func() { close(quit) })
	go f.loop(quit)
	sess.Credit(credit)
	return f
}

func (f *finisher) Deliver(ds []task.Delivery) {
	f.mu.Lock()
	for i := range ds {
		f.tokens = append(f.tokens, ds[i].Token)
	}
	f.mu.Unlock()
	select {
	case f.wake <- struct{}{}:
	default:
	}
}
func (f *finisher) Revoke([]task.Token, task.Code) {}
func (f *finisher) Lost(*task.Error)               {}

func (f *finisher) loop(quit chan struct{}) {
	result := []byte(`"ok"`)
	for {
		select {
		case <-f.wake:
		case <-quit:
			return
		}
		f.mu.Lock()
		ts := f.tokens
		f.tokens = nil
		f.mu.Unlock()
		b := &task.OutcomeBatch{Done: func(b *task.OutcomeBatch) { f.done.Add(int64(len(b.Outcomes))) }}
		for _, t := range ts {
			b.Outcomes = append(b.Outcomes, task.Outcome{Token: t, Kind: task.OutcomeComplete, Result: result, Started: true})
		}
		f.sess.Report(b)
		f.sess.Credit(len(ts))
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

func benchRig(b *testing.B) *client.Conn {
	e := newEcho(b)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	srv, err := handler.New(handler.Options{Broker: e, Inspector: e.Fake})
	if err != nil {
		b.Fatal(err)
	}
	go srv.Serve(ln)
	b.Cleanup(func() { srv.Close() })
	return dial(b, "http://"+ln.Addr().String(), client.Options{Logger: slog.New(slog.DiscardHandler)})
}

// BenchmarkSteady is enqueue → deliver → complete, a task at a time, by many
// callers. cpu-µs is both sides' and the echo's.
func BenchmarkSteady(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) {
			conn := benchRig(b)
			f := newFinisher(b, conn, 2000)
			run(b, conn, f, callers, 1)
		})
	}
}

// BenchmarkBulk is enqueue alone, in batches.
func BenchmarkBulk(b *testing.B) {
	conn := benchRig(b)
	run(b, conn, nil, 4, 1000)
}

func run(b *testing.B, conn *client.Conn, f *finisher, callers, batch int) {
	payload := make([]byte, 100)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	start, began := cpu(), time.Now()
	for range callers {
		wg.Go(func() {
			eb := &task.EnqueueBatch{Queue: "bench"}
			done := make(chan struct{}, 1)
			eb.Done = func(*task.EnqueueBatch) { done <- struct{}{} }
			for left.Add(-int64(batch)) > -int64(batch) {
				eb.Specs = eb.Specs[:0]
				for range batch {
					eb.Specs = append(eb.Specs, task.Spec{Type: "bench.task", Payload: payload, Priority: 5})
				}
				conn.Enqueue(eb)
				<-done
				if eb.Err != nil {
					b.Error(eb.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	for f != nil && f.done.Load() < int64(b.N) {
		runtime.Gosched()
	}
	b.StopTimer()
	b.ReportMetric(float64((cpu()-start).Microseconds())/float64(b.N), "cpu-µs/task")
	b.ReportMetric(float64(b.N)/time.Since(began).Seconds(), "tasks/s")
}
