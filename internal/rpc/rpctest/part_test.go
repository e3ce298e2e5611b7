package rpctest

import (
	"context"
	"net"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// slowAttach is a broker that takes a session up, once it was there, only when told
// to, and counts those that are closed.
type slowAttach struct {
	*brokertest.Fake
	attached, closed atomic.Int32
	hold             chan struct{}
}

type countedSession struct {
	task.Session
	b *slowAttach
}

func (s *countedSession) Close() {
	s.b.closed.Add(1)
	s.Session.Close()
}

func (b *slowAttach) Attach(ctx context.Context, o task.SessionOptions, sink task.Sink) (task.Session, error) {
	if b.attached.Add(1) > 1 {
		<-b.hold
	}
	s, err := b.Fake.Attach(ctx, o, sink)
	return &countedSession{s, b}, err
}

type noSink struct{}

func (noSink) Deliver([]task.Delivery)        {}
func (noSink) Revoke([]task.Token, task.Code) {}
func (noSink) Lost(*task.Error)               {}

// A session that is closed while it is being taken up over a new connection is closed on
// the server as well, which would blame its worker for the leases otherwise.
func TestClosedWhileItIsAttachedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &slowAttach{Fake: brokertest.NewFake(brokertest.Options{}), hold: make(chan struct{})}
		t.Cleanup(b.Fake.Close)
		l := newLine()
		srv, err := handler.New(handler.Options{Broker: b, Inspector: b.Fake})
		if err != nil {
			t.Fatal(err)
		}
		go func(ln net.Listener) { _ = srv.Serve(ln) }(l.ln)
		t.Cleanup(func() { srv.Close() })
		conn := dial(t, "http://pipe:1", client.Options{Lazy: true, Dialer: l.dial})
		s, err := conn.Attach(context.Background(), task.SessionOptions{ID: "w", Concurrency: 1, Queues: []task.QueueWeight{{Queue: "q"}}}, noSink{})
		if err != nil {
			t.Fatal(err)
		}
		l.cut()()
		pass(time.Second)
		if n := b.attached.Load(); n != 2 {
			t.Fatalf("attached %d times, want 2", n)
		}
		ended := make(chan struct{})
		go func() { s.Close(); close(ended) }()
		synctest.Wait()
		close(b.hold)
		select {
		case <-ended:
		case <-time.After(4 * time.Second):
			t.Error("Close does not end")
		}
		if b.closed.Load() == 0 {
			t.Error("the server keeps the session, and its leases")
		}
	})
}
