package partition

import (
	"bytes"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// turnCosts are n requests that meet in one turn.
var turnCosts = map[string]func(g *rig, n int){
	"enqueues that are put off": func(g *rig, n int) {
		for i := range n {
			b := batchOf("q", i, 1)
			b.Specs[0].Idempotency = fmt.Sprint("k", i)
			b.Done = func(*task.EnqueueBatch) {}
			g.r.Enqueue(b)
		}
	},
	"leases that wait": func(g *rig, n int) {
		q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1}
		for range n {
			var c Credit
			c.Undivided()
			c.Add(1)
			g.r.Poll(q, &c, &worker{}, true, func(*task.Error) {})
		}
	},
	"sessions that come and go": func(g *rig, n int) {
		all := make([]*Attached, n)
		opts := make([]task.SessionOptions, n)
		for i := range all {
			opts[i] = task.SessionOptions{ID: fmt.Sprint("w", i), Queues: []task.QueueWeight{{Queue: "q"}}}
			w := &worker{}
			all[i] = g.r.Attach(&opts[i], 1, &w.credit, w, func([]task.Token, *task.Error) {})
		}
		if _, err := g.r.Step(); err != nil {
			g.t.Fatal(err)
		}
		for _, a := range all {
			g.r.CloseSession(a, nil)
		}
	},
}

// BenchmarkTurnOfMany is the time of one request in a turn of hundreds and of
// thousands: about the same, or something in a turn is quadratic.
func BenchmarkTurnOfMany(b *testing.B) {
	for name, ask := range turnCosts {
		for _, n := range []int{400, 8_000} {
			b.Run(fmt.Sprint(name, ", ", n), func(b *testing.B) {
				for range b.N {
					g := newRig(b, store.MemOptions{}, func(c *Config) { c.Check = false })
					ask(g, n)
					g.run()
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/request")
			})
		}
	}
}

// A delivery that is left out, as its task ended before its large payload was
// read, gives its credit back: with a credit of one the worker would wait for ever.
func TestCreditOfWhatIsLeftOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p, end := running(t)
		step := func(n int) {
			for range n {
				p.gate <- nil
			}
			synctest.Wait()
		}
		w := &worker{}
		opts := &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}}
		r.Attach(opts, 1, &w.credit, w, func([]task.Token, *task.Error) {})
		b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t", Payload: bytes.Repeat([]byte("x"), 2*record.ChunkBytes)}}, Done: func(*task.EnqueueBatch) {}}
		r.Enqueue(b)
		step(4)
		born := record.PlaceOf(b.Results[0].ID)
		drop := &store.Batch{}
		drop.Delete(record.AppendChunkKey(nil, r.p, born, 0))
		drop.Delete(record.AppendPlaceKey(nil, r.p, born))
		p.gate <- nil
		p.Begin(drop)()
		step(6)
		w.credit.Add(1)
		synctest.Wait()
		if len(w.got) != 0 || w.credit.Left() != 1 {
			t.Errorf("got %d deliveries, and %d of credit are left", len(w.got), w.credit.Left())
		}
		if err := end(); err != nil {
			t.Error(err)
		}
	})
}

// Leases outside any session have a limit of their own, and say so.
func TestUnaryLeasesAreBounded(t *testing.T) {
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks = 2 * task.LeaseMax })
	g.enqueue("q", 0, 1_200)
	lease := func(n int) ([]task.Delivery, *task.Error) {
		var c Credit
		c.Undivided()
		c.Add(n)
		w := &worker{}
		var why *task.Error
		q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: n}
		g.r.Poll(q, &c, w, true, func(err *task.Error) { why = err })
		g.run()
		return w.got, why
	}
	var held []task.Delivery
	for len(held) < task.LeaseMax {
		got, err := lease(task.LeaseMax - len(held))
		if err != nil || len(got) == 0 {
			t.Fatalf("after %d: got %d, %v", len(held), len(got), err)
		}
		held = append(held, got...)
	}
	if got, err := lease(1); len(got) > 0 || task.CodeOf(err) != task.Exhausted {
		t.Fatalf("one too many: got %d, %v", len(got), err)
	}
	w := g.attach("w", "q") // a session still gets its share
	w.credit.Add(20)
	g.run()
	if len(w.got) != 20 {
		t.Fatalf("a session got %d of 20", len(w.got))
	}
	g.report(held[:7], nil)
	if got, err := lease(10); len(got) != 7 || err != nil {
		t.Fatalf("after 7 are done: got %d, %v", len(got), err)
	}
}
