package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// TestTwoEntriesOfOneTask: a task whose wait has changed has an entry for each that
// it had. When two come due at once it ends once.
func TestTwoEntriesOfOneTask(t *testing.T) {
	r := queuetest.NewRig(queue.Config{Partition: 1, WindowTasks: 10}, 1_000_000)
	b := &task.EnqueueBatch{Queue: "q", Results: make([]task.Enqueued, 1_000)}
	for i := range b.Results {
		b.Specs = append(b.Specs, task.Spec{Type: fmt.Sprint("t", i%3), ExpireAfter: 1000})
	}
	if err := r.Apply(queue.Command{Op: queue.OpEnqueue, Enqueue: b}); err != nil {
		t.Fatal(err)
	}
	r.Now += 2000
	for range 10 {
		if err := r.Once(queue.Command{Op: queue.OpTick}); err != nil {
			t.Fatal(err)
		}
		var cmds []queue.Command
		for _, w := range r.Out.Wants {
			if w.What != queue.WantTask {
				continue
			}
			later := w
			later.Until++
			cmds = append(cmds, queue.Command{Op: queue.OpLoaded, Loaded: r.Store.Answer(w, r.M)}, queue.Command{Op: queue.OpLoaded, Loaded: r.Store.Answer(later, r.M)})
		}
		if len(cmds) == 0 {
			continue
		}
		var out queue.Output
		r.M.Apply(r.Now, cmds, &out)
		if n := len(cmds) / 2; len(out.Ended) != n || len(out.DropBirths) != n {
			t.Errorf("%d tasks whose time is over ended %d times, and %d records were dropped", n, len(out.Ended), len(out.DropBirths))
		}
		return
	}
	t.Fatal("nothing was asked for: every task is in memory")
}

// A worker that came to a backlog whose time was over had all of it ended in one
// batch, however large.
func TestDispatchEndsSomeAtATime(t *testing.T) {
	const n, most = 4_000, 2 * 256 // of what dispatch meets, and of what the index tells
	b := newBench(t, 10_000)
	specs := make([]task.Spec, n, n+1)
	for i := range specs {
		specs[i].ExpireAfter = task.Second
	}
	ids := b.enqueue(append(specs, task.Spec{})...)
	w := b.open("w")
	b.Now = b.Now.Add(2 * task.Second)
	for turns := 1; turns < n; turns++ {
		if err := b.Once(queue.Command{Op: queue.OpDispatch, Session: w.Session, N: 10}); err != nil {
			t.Fatal(err)
		}
		if ended := len(b.Out.Ended); ended > most {
			t.Fatalf("turn %d ended %d tasks", turns, ended)
		}
		if len(b.Out.Leased) > 0 {
			if got := b.Out.Leased[0].Token.Seq; got != ids[n].Seq || turns < n/most {
				t.Errorf("got %x in turn %d", uint64(got), turns)
			}
			return
		}
		if b.Out.Deadline != b.Now+1 {
			t.Fatalf("turn %d: the next is due in %d ms", turns, b.Out.Deadline-b.Now)
		}
		b.Now++
	}
	t.Fatal("the task behind them is never dispatched")
}

// A task may wait for less time than its deadline leaves: its one entry in the index
// has come and gone while it runs, and the deadline ends it all the same.
func TestDeadlineEndsWhatRuns(t *testing.T) {
	b := newBench(t, 100)
	id := b.enqueue(task.Spec{ExpireAfter: task.Second, Deadline: b.Now.Add(10 * task.Second)})[0]
	k := b.take(b.open("w"), 1)
	if len(k) != 1 {
		t.Fatal("it was not dispatched")
	}
	for range 9 {
		b.Now = b.Now.Add(task.Second)
		b.settle()
	}
	if q := b.info(); q.Running != 1 {
		t.Fatalf("before its deadline: %+v", q)
	}
	b.Now = b.Now.Add(task.Second)
	b.apply(queue.Command{Op: queue.OpTick})
	if q := b.info(); q.Running != 0 || q.Expired != 1 || len(b.Revoked) != 1 || b.Revoked[0].Token != k[0] {
		t.Errorf("task %v at its deadline: %+v, revoked are %v", id, q, b.Revoked)
	}
}
