package queuetest

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// When lane numbers had begun anew, a busy lane that went took with it the tasks of
// an old one of the same number.
func TestLaneNumbersBeginAnew(t *testing.T) {
	r := NewRig(queue.Config{Partition: 1}, 1_000_000)
	apply := func(c ...queue.Command) {
		t.Helper()
		if err := r.Apply(c...); err != nil {
			t.Fatal(err)
		}
	}
	enqueue := func(specs ...task.Spec) task.ID {
		t.Helper()
		e := &task.EnqueueBatch{Queue: "q", Specs: specs, Results: make([]task.Enqueued, len(specs))}
		apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		return e.Results[0].ID
	}
	old := enqueue(task.Spec{Type: "a", Key: "old", Delay: task.Hour})
	if err := r.Reopen(true); err != nil {
		t.Fatal(err)
	}
	q := r.Store.queues[1]
	q.NextLane = 1<<31 - 2 // two billion lanes later
	r.Store.queues[1] = q
	r.open()
	enqueue(task.Spec{Type: "b", Key: "1"}, task.Spec{Type: "b", Key: "2"})
	busy := make([]task.Spec, 1500)
	for i := range busy {
		busy[i] = task.Spec{Type: "b", Key: "busy"}
	}
	if id := enqueue(busy...); id.Lane == old.Lane {
		t.Errorf("another lane has the number %d too", id.Lane)
	}
	o := &queue.Open{Options: &task.SessionOptions{ID: "w", Types: []string{"b"}, Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1}}
	apply(queue.Command{Op: queue.OpOpen, Open: o})
	for range 10 {
		apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: 500})
		b := &task.OutcomeBatch{Codes: make([]task.Code, len(r.Leased))}
		for i := range r.Leased {
			b.Outcomes = append(b.Outcomes, task.Outcome{Token: r.Leased[i].Token})
		}
		apply(queue.Command{Op: queue.OpReport, Report: b})
	}
	for range 5 {
		r.Now = r.Now.Add(task.Second)
		apply(queue.Command{Op: queue.OpTick})
	}
	if r.Store.recordOf(old.Seq) == nil {
		t.Error("the delayed task of the old lane is gone")
	}
}
