package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// TestNothingIsLeasedToWhatLapses: a session that is past its TTL lapses in the Apply
// that notices. What that leased to it would end in it as a crash, with its record
// gone before anybody could read it.
func TestNothingIsLeasedToWhatLapses(t *testing.T) {
	r := queuetest.NewRig(queue.Config{Partition: 1}, 1_000_000)
	o := &queue.Open{Options: &task.SessionOptions{ID: "s", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1, TTL: 1500}}
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}, Results: make([]task.Enqueued, 1)}
	if err := r.Apply(queue.Command{Op: queue.OpOpen, Open: o}, queue.Command{Op: queue.OpEnqueue, Enqueue: b}); err != nil {
		t.Fatal(err)
	}
	r.Now += 5000
	if err := r.Apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: 1}); err != nil {
		t.Fatal(err)
	}
	if len(r.Leased) != 0 || len(r.Lapsed) != 1 {
		t.Errorf("%d tasks were leased, %d sessions lapsed", len(r.Leased), len(r.Lapsed))
	}
	if v, ok := r.M.Find(b.Results[0].ID.Seq); !ok || v.State != task.Ready || v.Counts != (task.Counts{}) {
		t.Errorf("the task is %+v, %v", v, ok)
	}
}
