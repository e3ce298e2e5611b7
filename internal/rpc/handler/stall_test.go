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

// TestAClientThatDoesNotReadIsCut: what waits for it stays bounded meanwhile,
// and its tasks go to others without blame.
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

	const tasks = 600
	b := &task.EnqueueBatch{Queue: "q"}
	for range tasks {
		b.Specs = append(b.Specs, task.Spec{Type: "t", Payload: make([]byte, 24<<10)})
	}
	if err := task.EnqueueWait(ctx, fake, b); err != nil {
		t.Fatal(err)
	}
	cc, err := grpc.NewClient("passthrough:///"+ln.Addr().String(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(64<<10), grpc.WithInitialConnWindowSize(64<<10))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ss, err := pb.NewSessionServiceClient(cc).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	err = ss.Send(&pb.ClientFrame{
		Hello:    &pb.Hello{Protocol: 1},
		Attaches: []*pb.Attach{{Session: 1, Id: []byte("w"), Queues: []*pb.QueueWeight{{Queue: "q"}}, Concurrency: 1}},
		Credits:  []*pb.Credit{{Session: 1, N: task.CreditMax}},
	})
	if err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(2 * stallMax)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for cutOne := false; !cutOne; <-tick.C {
		s.mu.Lock()
		for st := range s.streams {
			cutOne = st.stalled(later)
		}
		s.mu.Unlock()
		if ctx.Err() != nil {
			t.Fatal("the stream never stalls")
		}
	}
	s.mu.Lock()
	for st := range s.streams {
		st.mu.Lock()
		if st.outBytes > 2*creditBytesMax {
			t.Errorf("%d bytes wait for the reader", st.outBytes)
		}
		st.mu.Unlock()
		if st.stalled(time.Now()) {
			t.Error("it is called stalled at once")
		}
	}
	s.mu.Unlock()
	s.cutStalled(later)
	for {
		if _, err := ss.Recv(); err != nil {
			break
		}
	}
	for s.Streams() > 0 {
		<-tick.C
		if ctx.Err() != nil {
			t.Fatal("the stream does not end")
		}
	}
}
