package node

import (
	"context"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
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

// Sessions of this process that have left are remembered until they lapse, and not for
// ever: each has a name of its own.
func TestSessionsThatLeftAreForgotten(t *testing.T) {
	clock := brokertest.NewClock()
	n := openNode(t, func(c *Config) { c.Now = clock.Now })
	for i := range 1_000 {
		s, err := n.Attach(context.Background(), task.SessionOptions{ID: fmt.Sprint("w", i), TTL: 5 * task.Second, Queues: []task.QueueWeight{{Queue: "q"}}}, noSink{})
		if err != nil {
			t.Fatal(err)
		}
		s.Detach()
		clock.Advance(task.Second)
		n.Tick()
	}
	m := n.members[0]
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := len(m.away); k < 5 || k > 2*awayLookMin {
		t.Errorf("%d sessions that left are remembered", k)
	}
}
