package sim

import (
	"context"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// holder is a worker that only notes what it gets and what it loses.
type holder struct {
	got  []task.Token
	lost int
}

func (h *holder) Deliver(ds []task.Delivery) {
	for i := range ds {
		h.got = append(h.got, ds[i].Token)
	}
}

func (h *holder) Revoke(ts []task.Token, _ task.Code) { h.lost += len(ts) }

func (h *holder) Lost(*task.Error) {}

// With more than 64 lanes in flight a restart lost the leases of all but the first,
// and counted crashes against tasks whose worker was there.
func TestLeasesOfManyLanesGoOn(t *testing.T) {
	ctx := context.Background()
	now := task.Time(startOfTime)
	mem := store.NewMem(store.MemOptions{Manual: true, PunishSingleDelete: true})
	var n *node.Node
	open := func() {
		t.Helper()
		var err error
		n, err = node.Open(ctx, node.Config{Store: mem, Now: func() task.Time { return now }, Manual: true, Check: true})
		if err != nil {
			t.Fatal(err)
		}
	}
	rest := func() {
		for n.Step() || n.Refill() {
		}
	}
	open()
	const lanes = 200
	b := &task.EnqueueBatch{Queue: "q", Done: func(*task.EnqueueBatch) {}}
	for i := range lanes {
		b.Specs = append(b.Specs, task.Spec{Type: fmt.Sprint("type", i), Priority: uint8(i % 10)})
	}
	n.Enqueue(b)
	h := &holder{}
	o := task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: lanes, Remote: true}
	s, err := n.Attach(ctx, o, h)
	if err != nil {
		t.Fatal(err)
	}
	s.Credit(lanes)
	rest()
	if len(h.got) != lanes {
		t.Fatalf("%d tasks were given out", len(h.got))
	}
	for range 4 {
		now += 3000
		if err := s.Heartbeat(); err != nil {
			t.Fatal(err)
		}
		rest() // they are claimed: a lost one would be a crash
		mem.Sync()
		mem.Crash(0)
		open()
		now += 2000
		o.Running = h.got
		if s, err = n.Attach(ctx, o, h); err != nil {
			t.Fatal(err)
		}
		if h.lost > 0 {
			t.Fatalf("%d leases were lost", h.lost)
		}
	}
	r := &task.OutcomeBatch{Done: func(*task.OutcomeBatch) {}}
	for _, k := range h.got {
		r.Outcomes = append(r.Outcomes, task.Outcome{Token: k})
	}
	s.Report(r)
	rest()
	for i, c := range r.Codes {
		if c != task.OK {
			t.Fatalf("outcome %d: %v", i, c)
		}
	}
}
