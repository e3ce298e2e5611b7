package partition

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// gets counts the calls of Get and what each asks for.
type gets struct {
	store.Partition
	calls, points int
}

func (c *gets) Get(points []store.Point) error {
	c.calls++
	c.points += len(points)
	return c.Partition.Get(points)
}

// few runs fn and checks that it reads at least points records in at most calls.
func (g *rig) few(what string, calls, points int, fn func()) {
	g.t.Helper()
	c := &gets{Partition: g.r.part}
	g.r.part = c
	fn()
	g.r.part = c.Partition
	if c.calls > calls || c.points < points {
		g.t.Errorf("%s: %d points in %d calls of Get, want at least %d in at most %d", what, c.points, c.calls, points, calls)
	}
}

// What a turn must read is read in a few calls, however much it is.
func TestReadsInBatches(t *testing.T) {
	const n = 1_500
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) {
		c.WindowTasks, c.CacheBytes, c.Check = 100, 1, false // next to nothing is at hand
	})
	keyed := func() *task.EnqueueBatch {
		b := batchOf("keyed", 0, n)
		for i := range b.Specs {
			b.Specs[i].Idempotency = fmt.Sprint(i)
		}
		b.Done = func(*task.EnqueueBatch) {}
		g.r.Enqueue(b)
		g.run()
		return b
	}
	// Of each 256 records in the first call: the rest follows in another.
	first := keyed()
	g.mem.Crash(0)
	g.open()
	var again *task.EnqueueBatch
	g.few("repeat of keys", 5, n, func() { again = keyed() })
	for i := range again.Results {
		if again.Results[i].ID != first.Results[i].ID || !again.Results[i].Existing {
			t.Fatalf("repeat %d got %+v, want the task of before", i, again.Results[i])
		}
	}

	g.few("cancel of what only the store knows", 8, n-200, func() { g.changeAll(task.VerbCancel, first) })
	g.few("cancel of what is finished", 12, 3*n, func() { g.changeAll(task.VerbCancel, first) })
	g.few("delete of what is finished, with its keys", 16, 4*n, func() { g.changeAll(task.VerbDelete, first) })
	if left := g.tally(); left[record.ClassIdem] != 0 || left[record.ClassBirth] != 0 || left[record.ClassFinished] != 0 {
		t.Errorf("left after the delete: %v", left)
	}
}

// changeAll applies a verb to all tasks of a batch.
func (g *rig) changeAll(v task.Verb, b *task.EnqueueBatch) {
	g.t.Helper()
	ids := make([]task.ID, len(b.Results))
	for i := range ids {
		ids[i] = b.Results[i].ID
	}
	done := false
	g.r.Change(v, ids, func(_ []*task.Error, err *task.Error) {
		if done = true; err != nil {
			g.t.Errorf("change: %v", err)
		}
	})
	if g.run(); !done {
		g.t.Fatal("a change was never answered")
	}
}

// The records that deliveries and retries start from are read in a few calls, and
// so are the chunks of large payloads.
func TestSourcesInBatches(t *testing.T) {
	const n = 500
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.CacheBytes = 1 })
	g.enqueue("q", 0, n)
	large := &task.EnqueueBatch{Queue: "large", Done: func(*task.EnqueueBatch) {}}
	for i := range 40 {
		large.Specs = append(large.Specs, task.Spec{Type: "t", Payload: bytes.Repeat([]byte{byte(i)}, record.InlineMax+1+i)})
	}
	g.r.Enqueue(large)
	g.run()
	// The ring keeps at least two chunks, which is more than these records: forget them.
	clear(g.r.cache.refs)
	w := g.attach("w", "q")
	w.opts.Concurrency = n
	g.few("deliveries", 2, n, func() { w.credit.Add(n); g.run() })
	if len(w.got) != n {
		t.Fatalf("%d delivered, want %d", len(w.got), n)
	}
	clear(g.r.cache.refs)
	g.few("failures", 2, n, func() {
		g.report(w.got, func(_ *task.Delivery, o *task.Outcome) { o.Kind, o.Error = task.OutcomeFail, "no" })
	})
	l := g.attach("l", "large")
	g.few("large payloads", 2, 40, func() { l.credit.Add(40); g.run() })
	if len(l.got) != 40 {
		t.Fatalf("%d large ones delivered, want 40", len(l.got))
	}
	for i, d := range l.got {
		if !bytes.Equal(d.Payload, large.Specs[i].Payload) {
			t.Errorf("large payload %d differs", i)
		}
	}
}

// A start reads what may be running in a few calls.
func TestStartInBatches(t *testing.T) {
	const n = 3_000
	g := newRig(t, store.MemOptions{PunishSingleDelete: true})
	g.enqueue("q", 0, n)
	w := g.attach("w", "q")
	w.opts.Concurrency = n
	w.credit.Add(n)
	g.run()
	if len(w.got) != n {
		t.Fatalf("%d delivered, want %d", len(w.got), n)
	}
	g.mem.Crash(0)
	part, err := g.mem.Acquire(t.Context(), g.cfg.Partition, "test")
	if err != nil {
		t.Fatal(err)
	}
	c := &gets{Partition: part}
	if g.r, err = Open(t.Context(), c, g.cfg); err != nil {
		t.Fatal(err)
	}
	if c.calls > 8 || c.points < n {
		t.Errorf("%d points in %d calls of Get, want at least %d in at most 8", c.points, c.calls, n)
	}
}
