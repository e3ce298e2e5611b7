package rpctest

import (
	"context"
	"testing"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/server"
)

// TestUnaryLeaseOutlivesTheServer: a lease taken outside any session is good when
// the server is back, and nobody else gets its task meanwhile.
func TestUnaryLeaseOutlivesTheServer(t *testing.T) {
	dir := t.TempDir()
	open := func() (*server.Server, *client.Conn) {
		s, err := server.Open(server.Config{Dir: dir, HTTP: "127.0.0.1:0"})
		if err != nil {
			t.Fatal(err)
		}
		return s, dial(t, s.URL(), client.Options{})
	}
	ctx := context.Background()
	request := task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, TTL: task.Minute}
	s, conn := open()
	enqueue(t, conn, "q", task.Spec{Type: "t"})
	ds, err := conn.Lease(ctx, request)
	if err != nil || len(ds) != 1 {
		t.Fatalf("lease: %d tasks, %v", len(ds), err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, conn = open()
	defer s.Close()
	if again, err := conn.Lease(ctx, request); err != nil || len(again) != 0 {
		t.Fatalf("a second lease of the same task: %d tasks, %v", len(again), err)
	}
	if errs := conn.Extend(ctx, []task.Extension{{Token: ds[0].Token, TTL: task.Minute}}); errs[0] != nil {
		t.Fatalf("extend: %v", errs[0])
	}
	b := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: ds[0].Token}}}
	if err := task.ReportWait(ctx, conn, b); err != nil || b.Codes[0] != task.OK {
		t.Fatalf("complete: %v, %v", b.Codes, err)
	}
	b = &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: ds[0].Token, Kind: task.OutcomeFail}}}
	if err := task.ReportWait(ctx, conn, b); err != nil || b.Codes[0] != task.LeaseLost {
		t.Fatalf("fail after complete: %v, %v", b.Codes, err)
	}
}
