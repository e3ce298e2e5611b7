package node

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// everywhere says which partitions know the queue.
func everywhere(t *testing.T, n *Node, queue string) []uint16 {
	t.Helper()
	ps, err := n.holders(t.Context(), queue)
	if err != nil && task.CodeOf(err) != task.NotFound {
		t.Fatal(err)
	}
	return ps
}

// A wide queue is deleted in all its partitions, those of earlier widths too, and
// the next one of its name is as any new one.
func TestDeleteAWideQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		n := openNode(t, func(c *Config) { c.Partitions, c.Store = 8, mem })
		for _, width := range []int{4, 8, 2} {
			if _, err := n.SetQueue(t.Context(), "q", task.QueuePatch{Width: &width}); err != nil {
				t.Fatal(err)
			}
			enqueueAll(t, n, "q", fmt.Sprint("p", width), 40)
		}
		if got := everywhere(t, n, "q"); len(got) != 8 {
			t.Fatalf("the queue is in %v", got)
		}
		if _, err := n.DeleteQueue(t.Context(), "q", false); task.CodeOf(err) != task.Conflict {
			t.Fatalf("without force: %v", err)
		}
		if k, err := n.DeleteQueue(t.Context(), "q", true); k != 120 || err != nil {
			t.Fatalf("by force: %d, %v", k, err)
		}
		if got := everywhere(t, n, "q"); len(got) != 0 || len(*n.routes.wide.Load()) != 0 {
			t.Fatalf("after it the queue is in %v, with routes %v", got, *n.routes.wide.Load())
		}
		enqueueAll(t, n, "q", "p8", 5)
		if got := everywhere(t, n, "q"); len(got) != 1 || got[0] != n.routes.home("q") {
			t.Fatalf("made again it is in %v", got)
		}
		infos, err := n.Queues(t.Context(), []string{"q"})
		if err != nil || infos[0].Enqueued != 5 || infos[0].Config.Width > 1 || len(infos[0].Earlier) > 0 {
			t.Fatalf("made again: %+v, %v", infos, err)
		}
	})
}

// A part that is in use after all keeps the queue, with the settings it had.
func TestADeletionInPartLeavesTheQueueWhole(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 4 })
		width, attempts := 4, int32(7)
		if _, err := n.SetQueue(t.Context(), "q", task.QueuePatch{Width: &width, MaxAttempts: &attempts}); err != nil {
			t.Fatal(err)
		}
		was := n.routes.of("q")
		n.routes.goHome("q")
		for _, p := range was.put[1:3] { // so far a deletion may have come
			if _, err := ask(t.Context(), n, p, func(r *partition.Runner, answer func(int64, *task.Error)) { r.DeleteQueue("q", false, answer) }); err != nil {
				t.Fatal(err)
			}
		}
		n.routes.restore("q", was)
		why := task.Errorf(task.Conflict, "in use")
		if err := n.deletedInPart(context.Background(), n.routes.home("q"), "q", why); err != why {
			t.Fatalf("got %v", err)
		}
		for _, p := range was.put {
			infos, err := n.queueInfos(t.Context(), p, []string{"q"})
			if err != nil || len(infos) != 1 || infos[0].Config.MaxAttempts != 7 || infos[0].Config.Width != 4 {
				t.Errorf("partition %d: %+v, %v", p, infos, err)
			}
		}
	})
}
