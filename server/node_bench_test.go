package server

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
	"github.com/penstock-io/penstock/internal/task"
)

// openBench opens a node without anything in front of it.
func openBench(b *testing.B, mem bool, change ...func(*node.Config)) (n *node.Node, commits *atomic.Int64) {
	b.Helper()
	commits = &atomic.Int64{}
	var st store.Store
	if mem {
		st = store.NewMem(store.MemOptions{})
	} else {
		p, err := pebblestore.Open(b.TempDir(), pebblestore.Options{Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			b.Fatal(err)
		}
		st = p
	}
	var err error
	cfg := node.Config{Store: st, Name: "bench", Log: slog.New(slog.DiscardHandler), Observe: func(s node.Stats) {
		if s.Ops > 0 {
			commits.Add(1)
		}
	}}
	for _, c := range change {
		c(&cfg)
	}
	n, err = node.Open(context.Background(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			b.Error(err)
		}
		st.Close()
	})
	return n, commits
}

// echo is a worker session that completes all it gets.
type echo struct {
	s    task.Session
	done atomic.Int64
	want int64
	all  chan struct{}
	pool sync.Pool
}

func (e *echo) Deliver(ds []task.Delivery) {
	ob, _ := e.pool.Get().(*task.OutcomeBatch)
	if ob == nil {
		ob = &task.OutcomeBatch{Done: func(o *task.OutcomeBatch) {
			n := len(o.Outcomes)
			e.pool.Put(o)
			e.s.Credit(n)
			if e.done.Add(int64(n)) == e.want {
				close(e.all)
			}
		}}
	}
	ob.Outcomes = ob.Outcomes[:0]
	for i := range ds {
		ob.Outcomes = append(ob.Outcomes, task.Outcome{Token: ds[i].Token, Started: true})
	}
	e.s.Report(ob)
}
func (e *echo) Revoke([]task.Token, task.Code) {}
func (e *echo) Lost(*task.Error)               {}

func attachEcho(b *testing.B, n *node.Node, want int) *echo {
	e := &echo{want: int64(want), all: make(chan struct{})}
	s, err := n.Attach(context.Background(), task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 100, TTL: task.SessionTTLMax}, e)
	if err != nil {
		b.Fatal(err)
	}
	e.s = s
	return e
}

func payload() []byte { return make([]byte, 100) }

// BenchmarkNode is the whole life of tasks in one process, without SDK and wire.
func BenchmarkNode(b *testing.B) {
	for _, mem := range []bool{true, false} {
		engine := "pebble"
		if mem {
			engine = "mem"
		}
		for _, c := range []struct{ callers, each int }{{1, 1}, {64, 1}, {256, 1}, {16, 100}, {4, 1000}} {
			b.Run(fmt.Sprintf("%s/steady/%dx%d", engine, c.callers, c.each), func(b *testing.B) { steady(b, mem, c.callers, c.each) })
		}
		b.Run(engine+"/drain", func(b *testing.B) { drain(b, mem) })
	}
}

func steady(b *testing.B, mem bool, callers, each int) {
	n, commits := openBench(b, mem)
	total := max(b.N/(callers*each), 1) * callers * each
	e := attachEcho(b, n, total)
	e.s.Credit(4096)
	b.ReportAllocs()
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for range callers {
		wg.Go(func() {
			p := payload()
			eb := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, each)}
			for i := range eb.Specs {
				eb.Specs[i] = task.Spec{Type: "t", Payload: p, Priority: 5}
			}
			done := make(chan struct{}, 1)
			eb.Done = func(*task.EnqueueBatch) { done <- struct{}{} }
			for range total / callers / each {
				n.Enqueue(eb)
				<-done
				if eb.Err != nil {
					b.Error(eb.Err)
					return
				}
			}
		})
	}
	wg.Wait()
	<-e.all
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "tasks/s")
	b.ReportMetric(float64(commits.Load())*1000/float64(total), "commits/1k")
}

func drain(b *testing.B, mem bool) {
	n, commits := openBench(b, mem)
	total := max(b.N, 1000) / 1000 * 1000
	p := payload()
	eb := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, 1000)}
	for i := range eb.Specs {
		eb.Specs[i] = task.Spec{Type: "t", Payload: p, Priority: 5}
	}
	start := time.Now()
	for range total / 1000 {
		if err := task.EnqueueWait(context.Background(), n, eb); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "enqueued/s")
	e := attachEcho(b, n, total)
	b.ReportAllocs()
	b.ResetTimer()
	commits.Store(0)
	start = time.Now()
	e.s.Credit(4096)
	<-e.all
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "drained/s")
	b.ReportMetric(float64(commits.Load())*1000/float64(total), "commits/1k")
}
