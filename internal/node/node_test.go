package node

import (
	"context"
	"fmt"
	"log/slog"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

func openNode(t testing.TB, change ...func(*Config)) *Node {
	t.Helper()
	cfg := Config{Store: store.NewMem(store.MemOptions{PunishSingleDelete: true}), Name: "n", Check: true, Log: slog.New(slog.DiscardHandler)}
	for _, c := range change {
		c(&cfg)
	}
	n, err := Open(context.Background(), cfg)
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	t.Cleanup(func() {
		if err := n.Close(context.Background()); err != nil {
			t.Errorf("close: %v", err)
		}
		if m, ok := cfg.Store.(*store.Mem); ok && m.Misused() > 0 {
			t.Errorf("%d SingleDeletes of keys that were set more than once", m.Misused())
		}
	})
	return n
}

// TestPromises holds the node against all that users are promised, with one
// partition and with four, by the wall clock in a bubble and by one held by hand.
func TestPromises(t *testing.T) {
	for _, partitions := range []int{1, 4} {
		t.Run(fmt.Sprint("partitions=", partitions), func(t *testing.T) {
			brokertest.RunInBubble(t, func(t *testing.T) (task.Broker, task.Inspector, brokertest.Controls) {
				n := openNode(t, func(c *Config) { c.Partitions = partitions })
				return n, n, brokertest.Controls{}
			})
		})
	}
	t.Run("held clock", func(t *testing.T) {
		brokertest.RunInBubble(t, func(t *testing.T) (task.Broker, task.Inspector, brokertest.Controls) {
			clock := brokertest.NewClock()
			n := openNode(t, func(c *Config) { c.Now = clock.Now })
			return n, n, brokertest.Controls{Now: clock.Now, Advance: func(d task.Millis) {
				clock.Advance(d)
				n.Tick()
			}}
		})
	})
}
