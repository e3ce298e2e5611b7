package handler

import (
	"context"
	"net"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// unread is a session stream that asks for tasks and does not read them.
func unread(ctx context.Context, t *testing.T, addr string) pb.SessionService_SessionClient {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	ss, err := pb.NewSessionServiceClient(cc).Session(ctx)
	if err == nil {
		err = ss.Send(&pb.ClientFrame{
			Hello:    &pb.Hello{Protocol: 1},
			Attaches: []*pb.Attach{{Session: 1, Id: []byte("w"), Queues: []*pb.QueueWeight{{Queue: "q"}}, Concurrency: 1}},
			Credits:  []*pb.Credit{{Session: 1, N: task.CreditMax}},
		})
	}
	if err != nil {
		t.Fatal(err)
	}
	return ss
}

// TestAClientThatDoesNotReadIsCut: what waits for it stays bounded meanwhile.
func TestAClientThatDoesNotReadIsCut(t *testing.T) {
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	s, err := New(Options{Broker: fake, Inspector: fake})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(ln) }()
	t.Cleanup(func() { _ = s.Close() })
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	for range 5 { // 60 MB, three times what may wait
		b := &task.EnqueueBatch{Queue: "q"}
		for range 500 {
			b.Specs = append(b.Specs, task.Spec{Type: "t", Payload: make([]byte, 24<<10)})
		}
		if err := task.EnqueueWait(ctx, fake, b); err != nil {
			t.Fatal(err)
		}
	}
	ss := unread(ctx, t, ln.Addr().String())
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	later := time.Now().Add(2 * stallMax)
	any := func(f func(*stream) bool) (yes bool) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for st := range s.streams {
			yes = yes || f(st)
		}
		return yes
	}
	for !any(func(st *stream) bool { return st.stalled(later) }) {
		if <-tick.C; ctx.Err() != nil {
			t.Fatal("the stream never stalls")
		}
	}
	if any(func(st *stream) bool { return st.stalled(time.Now()) }) {
		t.Error("it is called stalled at once")
	}
	if any(func(st *stream) bool { st.mu.Lock(); defer st.mu.Unlock(); return st.outBytes > 2*creditBytesMax }) {
		t.Error("too much waits for the reader")
	}
	s.cutStalled(later)
	for err = nil; err == nil; _, err = ss.Recv() {
	}
	for s.Streams() > 0 {
		if <-tick.C; ctx.Err() != nil {
			t.Fatal("the stream does not end")
		}
	}
}
