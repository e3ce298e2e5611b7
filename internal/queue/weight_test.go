package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A worker that serves two queues takes from them in the ratio of their weights,
// however its credit is cut up: what a round leaves of a share goes on in the next.
func TestWeightsOfASession(t *testing.T) {
	f := func(rounds, credit, wantFirst int) {
		t.Helper()
		b := newBench(t, 1000)
		for _, name := range []string{"q", "r"} {
			e := &task.EnqueueBatch{Queue: name, Specs: make([]task.Spec, 50), Results: make([]task.Enqueued, 50)}
			for i := range e.Specs {
				e.Specs[i].Type = "t"
			}
			b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		}
		o := &queue.Open{Options: &task.SessionOptions{ID: "w", Remote: true, TTL: task.Minute, Queues: []task.QueueWeight{{Queue: "q", Weight: 3}, {Queue: "r", Weight: 1}}}}
		b.apply(queue.Command{Op: queue.OpOpen, Open: o})
		got := map[string]int{}
		for range rounds {
			b.apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: credit})
			for i := range b.Leased {
				got[b.M.QueueName(b.Leased[i].Place.Queue)]++
			}
		}
		if got["q"] != wantFirst || got["r"] != rounds*credit-wantFirst {
			t.Errorf("%d times %d: got %s, want %d of q", rounds, credit, fmt.Sprint(got), wantFirst)
		}
	}
	f(1, 8, 6)
	f(8, 1, 6)
	f(4, 5, 15)
	f(20, 2, 30)
}
