package node

import (
	"context"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// noSink takes what comes and does nothing with it.
type noSink struct{}

func (noSink) Deliver([]task.Delivery)        {}
func (noSink) Revoke([]task.Token, task.Code) {}
func (noSink) Lost(*task.Error)               {}

// A worker may present all that it may hold: leases, and outcomes without an answer.
func TestAllThatIsHeldMayBePresented(t *testing.T) {
	n := openNode(t)
	attach := func(running int) error {
		o := task.SessionOptions{ID: "w", Remote: true, Concurrency: 5_000, Queues: []task.QueueWeight{{Queue: "q"}}, Running: make([]task.Token, running)}
		_, err := n.Attach(context.Background(), o, noSink{})
		return err
	}
	if err := attach(task.HeldMax); err != nil {
		t.Errorf("%d are presented: %v", task.HeldMax, err)
	}
	if err := attach(task.HeldMax + 1); task.CodeOf(err) != task.Invalid {
		t.Errorf("one more: %v", err)
	}
}
