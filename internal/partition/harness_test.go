package partition

import (
	"context"
	"fmt"
	"hash/crc32"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// raced says that the race detector is at work.
var raced bool

// rig drives a Runner by steps, over a store and a clock that the test holds: all
// in one goroutine. Nothing can race there, so short runs leave it to those without
// the detector, which are several times as fast; "make check" makes both.
type rig struct {
	t   testing.TB
	mem *store.Mem
	cfg Config
	r   *Runner
	now task.Time
}

func newRig(t testing.TB, o store.MemOptions, change ...func(*Config)) *rig {
	t.Helper()
	if raced && testing.Short() {
		t.Skip("one goroutine: not in short runs with the race detector")
	}
	if o.Shows == nil { // as little as an engine may show, or some more
		rng := rand.New(rand.NewPCG(1, uint64(crc32.ChecksumIEEE([]byte(t.Name())))))
		o.Manual, o.Shows = true, func(_ uint16, pending int) int { return rng.IntN(pending + 1) }
	}
	g := &rig{t: t, mem: store.NewMem(o), now: 1_790_000_000_000}
	g.cfg = Config{Partition: 3, Now: func() task.Time { return g.now }, Held: true, Check: true}
	for _, c := range change {
		c(&g.cfg)
	}
	g.open()
	t.Cleanup(func() {
		if err := g.r.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if n := g.mem.Misused(); n > 0 {
			t.Errorf("%d SingleDeletes of keys that were set more than once", n)
		}
	})
	return g
}

// open acquires the partition, as after a restart.
func (g *rig) open() {
	g.t.Helper()
	part, err := g.mem.Acquire(context.Background(), g.cfg.Partition, "test")
	if err != nil {
		g.t.Fatalf("acquire: %v", err)
	}
	if g.r, err = Open(context.Background(), part, g.cfg); err != nil {
		g.t.Fatalf("open: %v", err)
	}
}

// run steps until nothing is left to do.
func (g *rig) run() {
	g.t.Helper()
	for i := 0; ; i++ {
		made, err := g.r.Step()
		if err != nil {
			g.t.Fatalf("step: %v", err)
		}
		if !g.r.Refill() && !made {
			return
		}
		if i > 100_000 {
			g.t.Fatal("the runner does not come to rest")
		}
	}
}

// enqueue puts n tasks whose payloads are their numbers from first on.
func (g *rig) enqueue(queue string, first, n int) []task.ID {
	g.t.Helper()
	b := batchOf(queue, first, n)
	done := false
	b.Done = func(*task.EnqueueBatch) { done = true }
	g.r.Enqueue(b)
	g.run()
	if !done || b.Err != nil {
		g.t.Fatalf("enqueue: done %v, err %v", done, b.Err)
	}
	ids := make([]task.ID, n)
	for i := range b.Results {
		if b.Results[i].Err != nil {
			g.t.Fatalf("enqueue %d: %v", i, b.Results[i].Err)
		}
		ids[i] = b.Results[i].ID
	}
	return ids
}

func batchOf(queue string, first, n int) *task.EnqueueBatch {
	b := &task.EnqueueBatch{Queue: queue, Specs: make([]task.Spec, n)}
	for i := range b.Specs {
		b.Specs[i] = task.Spec{Type: "t", Payload: fmt.Appendf(nil, "%d", first+i), Priority: task.DefaultPriority}
	}
	return b
}

// worker is a session that collects what it gets.
type worker struct {
	g       *rig
	a       *Attached
	opts    task.SessionOptions
	credit  Credit
	got     []task.Delivery
	revoked []task.Token
	lost    *task.Error
}

func (w *worker) Deliver(ds []task.Delivery) {
	for _, d := range ds {
		d.Payload = append([]byte(nil), d.Payload...)
		w.got = append(w.got, d)
	}
}

func (w *worker) Revoke(ts []task.Token, why task.Code) { w.revoked = append(w.revoked, ts...) }
func (w *worker) Lost(err *task.Error)                  { w.lost = err }

func (g *rig) attach(id string, queues ...string) *worker {
	g.t.Helper()
	w := &worker{g: g, opts: task.SessionOptions{ID: id, Concurrency: 10, Worker: id}}
	for _, q := range queues {
		w.opts.Queues = append(w.opts.Queues, task.QueueWeight{Queue: q})
	}
	var err *task.Error
	done := false
	w.a = g.r.Attach(&w.opts, 1, &w.credit, w, func(lost []task.Token, e *task.Error) { done, err = true, e })
	g.run()
	if !done || err != nil {
		g.t.Fatalf("attach: done %v, err %v", done, err)
	}
	return w
}

// report hands in one outcome for each delivery and returns the codes.
func (g *rig) report(ds []task.Delivery, fill func(d *task.Delivery, o *task.Outcome)) []task.Code {
	g.t.Helper()
	b := &task.OutcomeBatch{Outcomes: make([]task.Outcome, len(ds))}
	for i := range ds {
		b.Outcomes[i] = task.Outcome{Token: ds[i].Token, Started: true}
		if fill != nil {
			fill(&ds[i], &b.Outcomes[i])
		}
	}
	done := false
	b.Done = func(*task.OutcomeBatch) { done = true }
	g.r.Report(b)
	g.run()
	if !done || b.Err != nil {
		g.t.Fatalf("report: done %v, err %v", done, b.Err)
	}
	return b.Codes
}

func (g *rig) get(id task.ID) (task.Info, *task.Error) {
	g.t.Helper()
	var info task.Info
	var err *task.Error
	done := false
	g.r.Get(id, func(i task.Info, e *task.Error) { info, err, done = i, e, true })
	g.run()
	if !done {
		g.t.Fatal("get was never answered")
	}
	return info, err
}
