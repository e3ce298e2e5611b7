package node

import (
	"bytes"
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// backlog enqueues more tasks than there is room for in memory, and one that is
// to run later and has a large payload.
func backlog(t *testing.T, n *Node, payload []byte) (waiting, later task.ID) {
	t.Helper()
	b := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, 100)}
	for i := range b.Specs {
		b.Specs[i].Type = "t"
	}
	b.Specs = append(b.Specs, task.Spec{Type: "t", Delay: task.Minute, Payload: payload})
	if err := task.EnqueueWait(context.Background(), n, b); err != nil {
		t.Fatal(err)
	}
	return b.Results[99].ID, b.Results[100].ID
}

// A purge of what is ready took the large payloads of scheduled tasks along.
func TestPurgeLeavesOthersPayloads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.WindowTasks = 16 })
		payload := bytes.Repeat([]byte("large"), 2000)
		_, later := backlog(t, n, payload)
		if k, err := n.Purge(t.Context(), "q", []task.State{task.Ready}); k != 100 || err != nil {
			t.Fatalf("purge: got %d, %v", k, err)
		}
		<-time.After(2 * time.Minute)
		ds, err := n.Lease(t.Context(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 2})
		if err != nil || len(ds) != 1 || ds[0].ID != later || !bytes.Equal(ds[0].Payload, payload) {
			t.Fatalf("lease: got %d tasks, %v", len(ds), err)
		}
	})
}

// Who waited for a task that was purged from the store alone was never told.
func TestPurgeTellsWhoWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.WindowTasks = 16 })
		waiting, later := backlog(t, n, nil)
		told, early := make(chan *task.Error, 1), make(chan *task.Error, 1)
		n.Watch(&task.Watch{ID: waiting, Done: func(w *task.Watch) { told <- w.Err }})
		n.Watch(&task.Watch{ID: later, Done: func(w *task.Watch) { early <- w.Err }})
		synctest.Wait()
		if k, err := n.Purge(t.Context(), "q", []task.State{task.Ready}); k != 100 || err != nil {
			t.Fatalf("purge: got %d, %v", k, err)
		}
		synctest.Wait()
		select {
		case err := <-told:
			if err == nil || err.Code != task.NotFound {
				t.Fatalf("told %v, want not found", err)
			}
		default:
			t.Fatal("nobody was told")
		}
		select {
		case err := <-early:
			t.Fatalf("who waits for a task that is still there was told %v", err)
		default:
		}
	})
}
