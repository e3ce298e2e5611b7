package brokertest

import (
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

func TestFakeHeldClock(t *testing.T) {
	Run(t, func(t *testing.T) (task.Broker, task.Inspector, Controls) {
		c := NewClock()
		f := NewFake(Options{Clock: c, Scribble: true})
		t.Cleanup(f.Close)
		return f, f, Controls{Advance: c.Advance, Now: c.Now}
	})
}

func TestFakeBubble(t *testing.T) {
	RunInBubble(t, func(t *testing.T) (task.Broker, task.Inspector, Controls) {
		f := NewFake(Options{Scribble: true})
		t.Cleanup(f.Close)
		return f, f, Controls{}
	})
}

func TestFakeWallClock(t *testing.T) {
	if testing.Short() {
		t.Skip("takes seconds; the other two run the same cases")
	}
	Run(t, func(t *testing.T) (task.Broker, task.Inspector, Controls) {
		f := NewFake(Options{Scribble: true})
		t.Cleanup(f.Close)
		return f, f, Controls{}
	})
}

// sinkFunc is a sink that only takes deliveries.
type sinkFunc func([]task.Delivery)

func (f sinkFunc) Deliver(ds []task.Delivery)   { f(ds) }
func (sinkFunc) Revoke([]task.Token, task.Code) {}
func (sinkFunc) Lost(*task.Error)               {}

// BenchmarkFake is one task from enqueue to complete, in batches of 100.
func BenchmarkFake(b *testing.B) {
	f := NewFake(Options{HistoryMax: 10_000})
	defer f.Close()
	var finished atomic.Int64
	done := make(chan struct{})
	var s task.Session
	ready := make(chan struct{})
	s, err := f.Attach(b.Context(), task.SessionOptions{ID: "w", Queues: on("q")}, sinkFunc(func(ds []task.Delivery) {
		<-ready
		o := &task.OutcomeBatch{Outcomes: make([]task.Outcome, len(ds))}
		for i := range ds {
			o.Outcomes[i].Token = ds[i].Token
		}
		o.Done = func(o *task.OutcomeBatch) {
			s.Credit(len(o.Outcomes))
			if finished.Add(int64(len(o.Outcomes))) == int64(b.N) {
				close(done)
			}
		}
		s.Report(o)
	}))
	if err != nil {
		b.Fatal(err)
	}
	close(ready)
	s.Credit(4000)
	payload := make([]byte, 100)
	b.ResetTimer()
	for n := 0; n < b.N; n += 100 {
		e := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, min(100, b.N-n)), Done: func(*task.EnqueueBatch) {}}
		for i := range e.Specs {
			e.Specs[i] = task.Spec{Type: "t", Payload: payload, Priority: 5}
		}
		f.Enqueue(e)
	}
	<-done
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
