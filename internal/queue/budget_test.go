package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What runs under sessions is in memory, whatever credit their workers give: it takes
// half of the budget at most, and lanes and leases outside sessions have the rest.
func TestLeasesOfSessionsAreBounded(t *testing.T) {
	const window = 4 * task.LeaseMax
	b := newBench(t, window)
	for range 5 {
		b.enqueue(make([]task.Spec, 1_000)...)
	}
	greedy, late := b.open("greedy"), b.open("late")
	var held []task.Token
	for range 20 {
		held = append(held, b.take(greedy, 1_000)...)
	}
	if len(held) != window/2 {
		t.Fatalf("a session was leased %d tasks, of a window of %d", len(held), window)
	}
	if n := b.M.Room(late.Session); n != 0 {
		t.Errorf("there is no room, and another is to be given %d", n)
	}
	if n := b.M.Info().InMemory; n > window {
		t.Errorf("%d tasks are in memory, of a window of %d", n, window)
	}
	if ts := b.lease(10, task.Hour); len(ts) != 10 {
		t.Errorf("outside sessions %d of 10 were leased", len(ts))
	}
	for _, k := range held[:7] {
		if c := b.report(task.Outcome{Token: k}); c != task.OK {
			t.Fatal(c)
		}
	}
	if ts := b.take(late, 100); len(ts) != 7 {
		t.Errorf("7 have ended, and another session got %d", len(ts))
	}
	b.apply(queue.Command{Op: queue.OpClose, Session: greedy.Session})
	got := 0
	for range 20 {
		got += len(b.take(late, 1_000))
	}
	if got != window/2-7 {
		t.Errorf("the first has gone, and the other got %d more", got)
	}
}

// A session has back all that it holds, also from an owner with less memory, and gets
// no more until it has room again.
func TestSessionIsBackWithMoreThanThereIsRoomFor(t *testing.T) {
	b := newBench(t, 3*task.LeaseMax)
	b.enqueue(make([]task.Spec, 2_000)...)
	o := b.open("w")
	held := b.take(o, 1_500)
	b.Cfg.WindowTasks = 16
	b.reopen(false)
	if o = b.open("w", held...); len(held) != 1_500 || o.Err != nil || len(o.Lost) > 0 {
		t.Fatalf("it is back with %d: %v, and has lost %d", len(held), o.Err, len(o.Lost))
	}
	if ts := b.take(o, 10); len(ts) > 0 {
		t.Errorf("it has more than it may, and got %d", len(ts))
	}
	r := &task.OutcomeBatch{Codes: make([]task.Code, len(held))}
	for _, k := range held {
		r.Outcomes = append(r.Outcomes, task.Outcome{Token: k})
	}
	b.apply(queue.Command{Op: queue.OpReport, Report: r})
	got := 0
	for range 500 {
		got += len(b.take(o, 100))
	}
	if got != 500 {
		t.Errorf("all has ended, and it got %d of those that were left", got)
	}
}

// A session holds no more than it may present when it is back, however much memory
// there is.
func TestSessionHoldsWhatItMayPresent(t *testing.T) {
	m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
	var out queue.Output
	for k := range task.HeldMax/1_000 + 2 {
		e := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, 1_000), Results: make([]task.Enqueued, 1_000)}
		for i := range e.Specs {
			e.Specs[i] = task.Spec{Type: "t", Key: string(rune('a' + k))} // a lane's window is smaller
		}
		m.Apply(1, []queue.Command{{Op: queue.OpEnqueue, Enqueue: e}}, &out)
	}
	take := func(id string) (n int) {
		o := &queue.Open{Options: &task.SessionOptions{ID: id, Concurrency: 1, Queues: []task.QueueWeight{{Queue: "q"}}}}
		m.Apply(1, []queue.Command{{Op: queue.OpOpen, Open: o}}, &out)
		for range 40 {
			m.Apply(1, []queue.Command{{Op: queue.OpDispatch, Session: o.Session, N: 900}}, &out)
			n += len(out.Leased)
		}
		if d := min(m.Demand(m.CrewOf(o.Session), 1), m.Room(o.Session)); d != 0 {
			t.Errorf("%d are to be given to %s", d, id)
		}
		return n
	}
	if n := take("greedy"); n != task.HeldMax {
		t.Errorf("it was leased %d tasks", n)
	}
	if n := take("other"); n != 2_000 {
		t.Errorf("another got %d of the others", n)
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}
