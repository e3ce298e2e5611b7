package sim

import (
	"context"
	"testing"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// A task that moves twice in one turn — its attempt times out, and a user who
// does not know it yet has it run now — keeps both in its history.
func TestTwoMovesInOneTurn(t *testing.T) {
	ctx := context.Background()
	now := task.Time(startOfTime)
	n, err := node.Open(ctx, node.Config{Store: store.NewMem(store.MemOptions{Manual: true, PunishSingleDelete: true}),
		Now: func() task.Time { return now }, Manual: true, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t", Payload: []byte("in"),
		Policy: &task.Policy{Timeout: 1000, Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: task.Minute}}}}}
	b.Done = func(*task.EnqueueBatch) {}
	n.Enqueue(b)
	for n.Step() {
	}
	if b.Err != nil || b.Results[0].Err != nil {
		t.Fatal(b.Err, b.Results)
	}
	id := b.Results[0].ID
	lease := func() []task.Delivery {
		t.Helper()
		ds, err := n.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, TTL: task.Minute})
		if err != nil || len(ds) != 1 || string(ds[0].Payload) != "in" {
			t.Fatalf("lease: %+v, %v", ds, err)
		}
		return ds
	}
	lease()
	now += 1500 // the timer and the change meet in the next turn
	if err := n.Change(ctx, task.VerbRetry, []task.ID{id})[0]; err != nil {
		t.Fatal(err)
	}
	in, err := n.Get(ctx, id)
	if err != nil || in.State != task.Ready || in.Counts.Failures != 1 {
		t.Fatalf("got %+v, %v", in, err)
	}
	if len(in.Attempts) != 1 || in.Attempts[0].Outcome != task.AttemptTimedOut {
		t.Fatalf("attempts: got %+v, want the one that timed out", in.Attempts)
	}
	if ds := lease(); ds[0].Attempt != 2 {
		t.Fatalf("got attempt %d, want 2", ds[0].Attempt)
	}
}
