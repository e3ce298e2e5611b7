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

// Tasks of a paused queue died for want of a worker.
func TestPausedIsNotUnserved(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	pause := func(yes bool) {
		b.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: &queue.SetQueue{Name: "q", Patch: task.QueuePatch{Paused: &yes}}})
	}
	pause(true)
	hours := func(n int) {
		for range n {
			b.Now = b.Now.Add(task.Hour)
			b.apply(queue.Command{})
		}
	}
	hours(30)
	pause(false)
	hours(20)
	if q := b.info(); q.Dead != 0 || q.Ready != 1 {
		t.Errorf("paused for 30 hours, then unserved for 20: %+v", q)
	}
	hours(5)
	if q := b.info(); q.Dead != 1 {
		t.Errorf("unserved for 25 hours: %+v", q)
	}
}
