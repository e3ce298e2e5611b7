package partition

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// stepOnly makes turns but leaves refills unread.
func (g *rig) stepOnly() {
	g.t.Helper()
	for {
		made, err := g.r.Step()
		if err != nil {
			g.t.Fatal(err)
		}
		if !made {
			return
		}
	}
}

// A refill whose view was pinned before tasks were canceled, deleted or changed
// does not bring them back, however late it is read.
func TestLateRefill(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 16 })
	ids := g.enqueue("q", 0, 200)
	w := g.attach("w", "q")
	gone := map[task.ID]bool{}
	for i := 0; len(w.got) < 200-len(gone) && i < 2_000; i++ {
		from := len(w.got)
		w.credit.Add(10)
		g.stepOnly() // a refill is asked for, and its view pinned
		for _, k := range []int{3, 7, 20, 40} {
			at := len(w.got) + len(gone) + k
			if i%2 == 1 || at >= len(ids) || gone[ids[at]] {
				continue
			}
			verb := []task.Verb{task.VerbCancel, task.VerbDelete}[k%2]
			g.r.Change(verb, ids[at:at+1], func(errs []*task.Error, err *task.Error) {
				if err == nil && errs[0] == nil {
					gone[ids[at]] = true
				}
			})
		}
		g.stepOnly()
		g.run()
		g.report(w.got[from:], nil)
	}
	last := -1
	for _, d := range w.got {
		at := slices.Index(ids, d.ID)
		if gone[d.ID] {
			t.Errorf("task %d was canceled or deleted, and is delivered", at)
		}
		if at <= last {
			t.Errorf("task %d comes after %d", at, last)
		}
		last = at
	}
	if len(w.got)+len(gone) != 200 || len(gone) < 20 {
		t.Fatalf("%d delivered, %d gone, of 200", len(w.got), len(gone))
	}
}

// Payloads too large for their record come back whole, from delivery, Get and the
// dead letters, over restarts.
func TestLargePayloads(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true})
	var want [][]byte
	b := &task.EnqueueBatch{Queue: "q", Done: func(*task.EnqueueBatch) {}}
	for i, n := range []int{0, 1, record.InlineMax, record.InlineMax + 1, record.ChunkBytes, record.ChunkBytes + 1, task.PayloadMax} {
		p := bytes.Repeat([]byte{byte('a' + i)}, n)
		want = append(want, p)
		b.Specs = append(b.Specs, task.Spec{Type: "t", Payload: p})
	}
	g.r.Enqueue(b)
	g.run()
	check := func(what string, i int, got []byte) {
		t.Helper()
		if !bytes.Equal(got, want[i]) {
			t.Errorf("%s: payload %d has %d bytes, want %d", what, i, len(got), len(want[i]))
		}
	}
	for i := range want {
		info, err := g.get(b.Results[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		check("get", i, info.Payload)
	}
	w := g.attach("w", "q")
	w.credit.Add(10)
	g.run()
	for i, d := range w.got {
		check("delivery", i, d.Payload)
	}
	g.report(w.got, func(_ *task.Delivery, o *task.Outcome) { o.Kind, o.Permanent, o.Error = task.OutcomeFail, true, "no" })
	g.mem.Crash(0)
	g.open()
	var ids []task.ID
	for i := range want {
		info, err := g.get(b.Results[i].ID)
		if err != nil || info.State != task.Dead {
			t.Fatalf("got %v, %v", info.State, err)
		}
		check("dead letter", i, info.Payload)
		ids = append(ids, info.ID)
	}
	g.r.Change(task.VerbRetry, ids, func([]*task.Error, *task.Error) {})
	g.run()
	w = g.attach("w2", "q")
	w.credit.Add(10)
	g.run()
	if len(w.got) != len(want) {
		t.Fatalf("%d retried tasks came, want %d", len(w.got), len(want))
	}
	for _, d := range w.got {
		check("retry", slices.Index(ids, d.ID), d.Payload)
	}
	g.report(w.got, nil)
	if n := g.tally()[record.ClassChunk]; n != 0 {
		t.Errorf("%d chunks of finished tasks are left", n)
	}
}

// A record that can't be read keeps the partition shut, and the error names it.
func TestCorruptRecord(t *testing.T) {
	f := func(what string, spoil func(b *store.Batch)) {
		t.Helper()
		mem := store.NewMem(store.MemOptions{})
		cfg := Config{Partition: 3, Now: func() task.Time { return 1_790_000_000_000 }}
		g := &rig{t: t, mem: mem, cfg: cfg, now: cfg.Now()}
		g.open()
		g.enqueue("q", 0, 3)
		var b store.Batch
		spoil(&b)
		if err := g.r.part.Begin(&b)(); err != nil {
			t.Fatal(err)
		}
		mem.Crash(0)
		part, err := mem.Acquire(context.Background(), 3, "test")
		if err != nil {
			t.Fatal(err)
		}
		r, err := Open(context.Background(), part, cfg)
		if err == nil {
			t.Fatalf("%s: the partition opened: %v", what, r)
		}
		if !strings.Contains(err.Error(), "doctor") || !strings.Contains(err.Error(), "0003") {
			t.Errorf("%s: the error does not say where and what to do: %v", what, err)
		}
	}
	f("meta", func(b *store.Batch) { b.Set(record.AppendMetaKey(nil, 3), []byte("x")) })
	f("queue", func(b *store.Batch) { b.Set(record.AppendQueueKey(nil, 3, 1), []byte{1}) })
	f("mark", func(b *store.Batch) { b.Set(append(record.AppendPrefix(nil, 3, record.ClassMark), 0, 0), []byte{1}) })
	f("birth", func(b *store.Batch) {
		b.Set(record.AppendPlaceKey(nil, 3, record.PlaceOf(task.ID{Partition: 3, Queue: 1, Lane: 1, Seq: 1})), []byte{1, 2, 3})
	})
	f("lane of nobody", func(b *store.Batch) {
		b.Set(record.AppendPlaceKey(nil, 3, record.PlaceOf(task.ID{Partition: 3, Queue: 9, Lane: 1, Seq: 1})), []byte{1, 2, 3})
	})
}

// Listings page through everything once, newest first within a kind of place, in
// pages of any size.
func TestList(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 32 })
	want := map[task.ID]task.State{}
	var births []task.ID
	for i := range 60 {
		b := batchOf([]string{"a", "b"}[i%2], i*5, 5)
		for k := range b.Specs {
			b.Specs[k].Type, b.Specs[k].Priority = fmt.Sprint("t", k%3), uint8(k)
			if i%6 == 5 {
				b.Specs[k].Delay = task.Hour + task.Millis(i%4) // many share a moment
			}
		}
		b.Done = func(*task.EnqueueBatch) {}
		g.r.Enqueue(b)
		g.run()
		for k := range b.Results {
			want[b.Results[k].ID] = task.Ready
			if i%6 == 5 {
				want[b.Results[k].ID] = task.Scheduled
			} else {
				births = append(births, b.Results[k].ID)
			}
		}
	}
	w := g.attach("w", "a", "b")
	w.credit.Add(40)
	g.run()
	for i, d := range w.got[:30] {
		kind := i % 3
		g.report(w.got[i:i+1], func(_ *task.Delivery, o *task.Outcome) {
			if kind == 0 {
				o.Kind, o.Permanent = task.OutcomeFail, true
			}
		})
		want[d.ID] = task.Succeeded
		if kind == 0 {
			want[d.ID] = task.Dead
		}
	}
	for _, d := range w.got[30:] {
		want[d.ID] = task.Running
	}
	for _, limit := range []int{1, 7, 100, 1_000} {
		got := g.listAll(task.Filter{Limit: limit})
		if len(got) != len(want) {
			t.Errorf("limit %d: %d tasks, want %d", limit, len(got), len(want))
		}
		for _, info := range got {
			if want[info.ID] != info.State || info.MaxAttempts != task.DefaultMaxAttempts {
				t.Errorf("limit %d: task %s is listed as %v with %d attempts, want %v with 10", limit, info.ID, info.State, info.MaxAttempts, want[info.ID])
			}
		}
	}
	slices.Reverse(births)
	births = slices.DeleteFunc(births, func(id task.ID) bool { return want[id] != task.Ready })
	var got []task.ID
	for _, info := range g.listAll(task.Filter{Limit: 7, States: []task.State{task.Ready}}) {
		got = append(got, info.ID)
	}
	if !slices.Equal(got, births) {
		t.Errorf("ready tasks are not listed newest first")
	}
	for _, info := range g.listAll(task.Filter{Limit: 50, Queue: "b", Type: "t1"}) {
		if info.Queue != "b" || info.Type != "t1" {
			t.Errorf("the filter let %s/%s through", info.Queue, info.Type)
		}
	}
}

// A page is bounded in bytes as well: results may be a megabyte each.
func TestListBytes(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	g.enqueue("q", 0, 20)
	w := g.attach("w", "q")
	w.credit.Add(20)
	g.run()
	g.report(w.got, func(_ *task.Delivery, o *task.Outcome) { o.Result = make([]byte, task.PayloadMax) })
	pages := 0
	g.r.List(context.Background(), task.Filter{Limit: 1_000}, nil, 50_000, func(p Page, err *task.Error) {
		pages++
		if n := len(p.Tasks); err != nil || n == 0 || n > 5 || p.Next == nil {
			t.Errorf("a page of %d tasks of a megabyte each, next %x, %v", n, p.Next, err)
		}
	})
	g.run()
	if all := g.listAll(task.Filter{Limit: 1_000}); len(all) != 20 || pages != 1 {
		t.Fatalf("%d tasks in all, want 20", len(all))
	}
}

// listAll follows the cursor to the end; no task may come twice.
func (g *rig) listAll(f task.Filter) []task.Info {
	g.t.Helper()
	var all []task.Info
	seen := map[task.ID]bool{}
	var at []byte
	for range 5_000 {
		var page Page
		var failed *task.Error
		g.r.List(context.Background(), f, at, 50_000, func(p Page, err *task.Error) { page, failed = p, err })
		g.run()
		if failed != nil {
			g.t.Fatal(failed)
		}
		for _, info := range page.Tasks {
			if seen[info.ID] {
				g.t.Fatalf("task %s is listed twice", info.ID)
			}
			seen[info.ID] = true
		}
		all = append(all, page.Tasks...)
		if at = page.Next; at == nil {
			return all
		}
	}
	g.t.Fatal("the listing has no end")
	return nil
}
