package handler_test

import (
	"context"
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// endless is an Inspector whose listings last as long as their callers.
type endless struct {
	task.Inspector
	begun, ended chan struct{}
}

func (e endless) List(ctx context.Context, _ task.Filter) (task.Page, error) {
	e.begun <- struct{}{}
	<-ctx.Done()
	e.ended <- struct{}{}
	return task.Page{}, ctx.Err()
}

// TestAListingEndsWithItsCaller: who hangs up, gives up or has no more time is
// not listed for any longer.
func TestAListingEndsWithItsCaller(t *testing.T) {
	e := endless{begun: make(chan struct{}), ended: make(chan struct{})}
	s := newSite(t, handler.Options{Inspector: e})
	f := func(what string, ask func() (leave func())) {
		t.Helper()
		limit := time.NewTimer(20 * time.Second)
		defer limit.Stop()
		leave := ask()
		for _, step := range []chan struct{}{e.begun, e.ended} {
			select {
			case <-step:
			case <-limit.C:
				t.Fatalf("%s: the listing goes on", what)
			}
			leave()
		}
	}
	raw := func(head string) func() func() {
		return func() func() {
			c, err := net.Dial("tcp", s.addr)
			if err == nil {
				_, err = fmt.Fprintf(c, "POST /penstock.v1.TaskService/List HTTP/1.1\r\nHost: x\r\n%sContent-Length: 2\r\n\r\n{}", head)
			}
			if err != nil {
				t.Fatal(err)
			}
			if head != "" {
				return func() {}
			}
			return func() { _ = c.Close() }
		}
	}
	f("HTTP, hung up", raw(""))
	f("HTTP, no more time", raw("Connect-Timeout-Ms: 20\r\n"))
	f("gRPC, given up", func() func() {
		ctx, cancel := context.WithCancel(context.Background())
		tasks := pb.NewTaskServiceClient(foreign(t, s))
		go func() { _, _ = tasks.List(ctx, &pb.ListRequest{}) }()
		return cancel
	})
}
