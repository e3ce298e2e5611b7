package node

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// widen sets the width of a queue.
func widen(t *testing.T, n *Node, queue string, width int) {
	t.Helper()
	if _, err := n.SetQueue(context.Background(), queue, task.QueuePatch{Width: &width}); err != nil {
		t.Fatal(err)
	}
}

// A partition of a wide queue that sees a producer for the first time takes what it
// sends, though what went elsewhere is confirmed.
func TestWideProducerIsNewToMost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 8 })
		widen(t, n, "hot", 8)
		for i := range uint64(50) {
			b := &task.EnqueueBatch{Queue: "hot", Producer: "p", AckBelow: i + 1, Specs: []task.Spec{{Type: "t", Number: i + 1}}}
			if err := task.EnqueueWait(context.Background(), n, b); err != nil || b.Results[0].Err != nil {
				t.Fatalf("number %d, with all before it confirmed: %v, %+v", i+1, err, b.Results)
			}
		}
	})
}

// A worker that was there before its queue was made wider serves all of it, alone.
func TestWorkerOfBeforeAWidening(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 4 })
		h := newHand(t, n, "early", 20, "hot")
		widen(t, n, "hot", 4)
		ids := enqueueAll(t, n, "hot", "p", 100)
		drainAll(t, n, "hot", 100, h)
		once(t, ids, h)
	})
}

// Tasks of a width that is no longer remembered are served where they are, after a
// restart too.
func TestTasksOfAForgottenWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		n := openNode(t, func(c *Config) { c.Partitions, c.Store = 8, st })
		widen(t, n, "hot", 8)
		ids := enqueueAll(t, n, "hot", "p", 200)
		for i := range task.EarlierWidthsMax + 2 {
			widen(t, n, "hot", 1+i%2)
		}
		if err := n.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		n = openNode(t, func(c *Config) { c.Partitions, c.Store = 8, st })
		h := newHand(t, n, "w", 20, "hot")
		drainAll(t, n, "hot", 200, h)
		once(t, ids, h)
	})
}
