package rpctest

import (
	"context"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
	"github.com/penstock-io/penstock/server"
)

// engine is the real thing in memory behind a port.
func engine(t *testing.T, partitions int) *server.Server {
	t.Helper()
	s, err := server.Open(server.Config{Mem: true, HTTP: "127.0.0.1:0", Partitions: partitions})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return s
}

// TestContractOfTheEngineOverTCP is the promise as a user of the SDK has it.
func TestContractOfTheEngineOverTCP(t *testing.T) {
	if testing.Short() {
		t.Skip("15 s: the engine waits by the wall clock")
	}
	brokertest.Run(t, func(t *testing.T) (task.Broker, task.Inspector, brokertest.Controls) {
		conn := dial(t, engine(t, 1).URL(), client.Options{})
		return conn, conn, brokertest.Controls{}
	})
}

// TestManyQueuesOfManyPartitions enqueues into queues whose owners see the
// client for the first time at different moments.
func TestManyQueuesOfManyPartitions(t *testing.T) {
	conn := dial(t, engine(t, 4).URL(), client.Options{})
	four := 4
	if _, err := conn.SetQueue(context.Background(), "a", task.QueuePatch{Width: &four}); err != nil {
		t.Fatal(err)
	}
	queues := []string{"a", "b", "c", "d", "e", "a"}
	const each = 200
	var wg sync.WaitGroup
	for _, q := range queues {
		wg.Go(func() {
			for range each {
				if r := enqueue(t, conn, q, task.Spec{Type: "t"}); r[0].Err != nil {
					t.Errorf("queue %s: %v", q, r[0].Err)
					return
				}
			}
		})
	}
	wg.Wait()
	for q, want := range map[string]int64{"a": 2 * each, "b": each, "e": each} {
		infos, err := conn.Queues(context.Background(), []string{q})
		if err != nil || infos[0].Enqueued != want {
			t.Errorf("queue %s: %+v, %v, want %d", q, infos, err, want)
		}
	}
}
