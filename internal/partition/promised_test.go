package partition

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// One whose credit is promised to another partition does not stand before one that has
// credit: a draw that came to nothing ended the turn.
func TestPromisedCreditHidesNobody(t *testing.T) {
	for n := 1; n <= 4; n++ {
		g := newRig(t, store.MemOptions{})
		for i := range n {
			w := &worker{g: g, opts: task.SessionOptions{ID: fmt.Sprint("w", i), Concurrency: 1, Queues: []task.QueueWeight{{Queue: "q"}}}}
			w.credit.join(&tap{weight: 1, wake: func() {}}, true) // the other partition, which is slow
			w.a = g.r.Attach(&w.opts, 1, &w.credit, w, func([]task.Token, *task.Error) {})
			g.run()
			w.credit.Add(1)
			g.run()
		}
		free := g.attach("free", "q")
		free.credit.Add(1)
		g.run()
		g.enqueue("q", 0, 1)
		if len(free.got) == 0 {
			t.Errorf("%d sessions are promised elsewhere, a task is ready, and a worker with credit gets none", n)
		}
	}
}

// A session that holds all it may, and has credit left, is given more when some of that
// has ended.
func TestBoundedSessionIsAskedAgain(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	w := &worker{g: g, opts: task.SessionOptions{ID: "w", Concurrency: 1, Queues: []task.QueueWeight{{Queue: "q"}}}}
	w.credit.Bound(2)
	w.credit.Add(5)
	w.a = g.r.Attach(&w.opts, 1, &w.credit, w, func([]task.Token, *task.Error) {})
	g.run()
	g.enqueue("q", 0, 6)
	if len(w.got) != 2 {
		t.Fatalf("it holds %d, and may hold 2", len(w.got))
	}
	g.report(w.got, nil)
	if len(w.got) != 4 {
		t.Errorf("2 of 2 have ended, and it got %d more", len(w.got)-2)
	}
}

// A session that was chosen when the room for leases ended is asked again when there is
// room.
func TestCutShortIsAskedAgain(t *testing.T) {
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks = 2_000 })
	a := g.attach("a", "q")
	a.credit.Add(999) // of 1,000
	g.enqueue("q", 0, 1_100)
	b, c := g.attach("b", "q"), g.attach("c", "q")
	b.credit.Add(1)
	c.credit.Add(1)
	g.run()
	g.report(a.got[:10], nil)
	if len(b.got) != 1 || len(c.got) != 1 {
		t.Errorf("there is room, and b has %d, c has %d", len(b.got), len(c.got))
	}
}

// A worker that is free at once with another, in a partition that had one task, is not
// kept for that partition when the other has taken it.
func TestShareOfAPartitionWithoutTasks(t *testing.T) {
	var gs [2]*rig
	for p := range gs {
		gs[p] = newRig(t, store.MemOptions{}, func(c *Config) { c.Partition = uint16(p) })
	}
	both := func() {
		for range 5 {
			gs[0].run()
			gs[1].run()
		}
	}
	var ws [2]*worker
	for i := range ws {
		ws[i] = &worker{opts: task.SessionOptions{ID: fmt.Sprint("w", i), Concurrency: 1, TTL: 10 * task.Minute, Queues: []task.QueueWeight{{Queue: "q"}}}}
		for _, g := range gs {
			g.r.Attach(&ws[i].opts, 1, &ws[i].credit, ws[i], func([]task.Token, *task.Error) {})
		}
	}
	both()
	gs[0].enqueue("q", 0, 1)
	gs[1].enqueue("q", 1, 10)
	both()
	ws[0].credit.Add(1)
	ws[1].credit.Add(1)
	both()
	for i, w := range ws {
		if len(w.got) != 1 {
			t.Errorf("worker %d has credit %d and got %d tasks", i, w.credit.Left(), len(w.got))
		}
	}
}

// A connection that takes a session up is given nothing on its predecessor's credit.
func TestTakenOverHasItsOwnCredit(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	old := g.attach("w", "q")
	old.credit.Add(5)
	w := &worker{g: g, opts: old.opts}
	w.a = g.r.Attach(&w.opts, 1, &w.credit, w, func([]task.Token, *task.Error) {})
	g.enqueue("q", 0, 3)
	if len(old.got) != 0 || len(w.got) != 0 {
		t.Errorf("without credit it got %d tasks, and its predecessor %d", len(w.got), len(old.got))
	}
	w.credit.Add(2)
	g.run()
	if len(w.got) != 2 {
		t.Errorf("with credit for 2 it got %d", len(w.got))
	}
}
