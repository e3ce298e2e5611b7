package partition

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

func TestLifeOfTasks(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true})
	ids := g.enqueue("q", 0, 100)
	w := g.attach("w", "q")
	if len(w.got) != 0 {
		t.Fatalf("%d deliveries without credit", len(w.got))
	}
	w.credit.Add(60)
	g.run()
	if len(w.got) != 60 || w.credit.Left() != 0 {
		t.Fatalf("%d deliveries for a credit of 60, %d left", len(w.got), w.credit.Left())
	}
	for i, d := range w.got {
		if d.ID != ids[i] || string(d.Payload) != fmt.Sprint(i) || d.Queue != "q" || d.Type != "t" || d.Attempt != 1 {
			t.Fatalf("delivery %d is %+v", i, d)
		}
	}
	for i, c := range g.report(w.got, func(d *task.Delivery, o *task.Outcome) { o.Result = d.Payload }) {
		if c != task.OK {
			t.Fatalf("outcome %d: %v", i, c)
		}
	}
	info, err := g.get(ids[5])
	if err != nil || info.State != task.Succeeded || string(info.Result) != "5" || info.Queue != "q" || info.Type != "t" {
		t.Fatalf("get: %+v, %v", info, err)
	}
	if info, err = g.get(ids[70]); err != nil || info.State != task.Ready || string(info.Payload) != "70" {
		t.Fatalf("get: %+v, %v", info, err)
	}
	w.credit.Add(100)
	g.run()
	if len(w.got) != 100 || w.credit.Left() != 60 {
		t.Fatalf("%d deliveries, credit %d", len(w.got), w.credit.Left())
	}
}

// A backlog larger than the window drains in order, each task once.
func TestWindowSmallerThanBacklog(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 16 })
	const n = 1_000
	for i := 0; i < n; i += 50 {
		g.enqueue("q", i, 50)
	}
	w := g.attach("w", "q")
	for len(w.got) < n {
		before := len(w.got)
		w.credit.Add(7)
		g.run()
		if len(w.got) == before {
			t.Fatalf("the drain hangs after %d", before)
		}
		g.report(w.got[before:], nil)
	}
	for i, d := range w.got {
		if string(d.Payload) != fmt.Sprint(i) {
			t.Fatalf("delivery %d is of task %s", i, d.Payload)
		}
	}
}
