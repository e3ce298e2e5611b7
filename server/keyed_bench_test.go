package server

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/task"
)

// BenchmarkKeyed is the whole life of tasks with idempotency keys in one process:
// none of them ends within the run, or all do after a second. "held" enqueues
// 20,000 a second with a window of 10 s, and none may be refused: at the bound of
// 32 MiB a key may outlive its window by about as long again.
func BenchmarkKeyed(b *testing.B) {
	for name, window := range map[string]task.Millis{"kept": task.Day, "expiring": task.Second} {
		b.Run(name, func(b *testing.B) { keyed(b, window, 0) })
	}
	b.Run("held", func(b *testing.B) { keyed(b, 10*task.Second, 20_000) })
}

func keyed(b *testing.B, window task.Millis, rate int) {
	const callers, each = 4, 500
	n, commits := openBench(b, false, func(c *node.Config) {
		if rate > 0 {
			c.IdemBytes = 32 << 20
		}
	})
	total := max(b.N/(callers*each), 1) * callers * each
	e := attachEcho(b, n, total)
	e.s.Credit(4096)
	b.ResetTimer()
	start := time.Now()
	var wg sync.WaitGroup
	for c := range callers {
		wg.Go(func() {
			p := payload()
			eb := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, each)}
			done := make(chan struct{}, 1)
			eb.Done = func(*task.EnqueueBatch) { done <- struct{}{} }
			for k := range total / callers / each {
				if rate > 0 { // a caller that keeps time
					<-time.After(time.Until(start.Add(time.Duration(k*callers*each) * time.Second / time.Duration(rate))))
				}
				for i := range eb.Specs {
					eb.Specs[i] = task.Spec{Type: "t", Payload: p, Priority: 5, Idempotency: fmt.Sprintf("key-%d-%d", c, k*each+i), IdempotencyFor: window}
				}
				n.Enqueue(eb)
				<-done
				err := eb.Err
				for i := range eb.Results {
					if err == nil {
						err = eb.Results[i].Err
					}
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		return
	}
	<-e.all
	b.ReportMetric(float64(total)/time.Since(start).Seconds(), "tasks/s")
	b.ReportMetric(float64(commits.Load())*1000/float64(total), "commits/1k")
}
