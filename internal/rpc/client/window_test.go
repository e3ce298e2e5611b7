package client

import (
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// No more tasks are sent before some are answered than a broker can tell the numbers of;
// the others follow as answers come.
func TestWindowOfTasks(t *testing.T) {
	c := &Conn{lanes: map[laneKey]*lane{}, producer: "p"}
	const batches, each = 50, 1_000
	for range batches {
		b := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, each), Results: make([]task.Enqueued, each)}
		n, err := weigh(b)
		if err != nil {
			t.Fatal(err)
		}
		c.fresh = append(c.fresh, waitingBatch{b: b})
		c.waiting += n
	}
	sent := 0
	for rounds := 0; len(c.fresh) > 0; rounds++ {
		groups, _ := c.gather()
		for _, g := range groups {
			sent += g.n
		}
		if c.sentTasks > windowTasksMax+each || len(c.fresh) > 0 && !c.full() || rounds > 1 {
			t.Fatalf("%d tasks are unanswered, and %d batches wait", c.sentTasks, len(c.fresh))
		}
		for _, g := range groups {
			c.drop(g)
		}
	}
	if sent != batches*each || c.sentTasks != 0 || c.sent != 0 {
		t.Errorf("%d tasks were sent; then %d tasks and %d bytes are unanswered", sent, c.sentTasks, c.sent)
	}
}
