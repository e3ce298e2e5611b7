package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// That the wall clock was set is written down though nothing else changes: the next
// owner maps users' moments by it.
func TestSetClockIsWritten(t *testing.T) {
	m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
	var out queue.Output
	set := []queue.Command{{Op: queue.OpClock, Offset: 2 * task.Hour}}
	m.Apply(999, nil, &out) // the opening is written
	m.Apply(1000, set, &out)
	if !out.Durable() || out.Meta.Offset != 2*task.Hour {
		t.Errorf("it is not written: %v, offset %d", out.Durable(), out.Meta.Offset)
	}
	m.Apply(1001, set, &out)
	if out.Durable() {
		t.Error("the same reading is written again")
	}
}
