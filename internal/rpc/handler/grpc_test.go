package handler_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
	"github.com/penstock-io/penstock/api/penstock/v1/penstockv1connect"
)

// waitFor waits for cond.
func waitFor(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

// foreign is a gRPC connection made of nothing but generated code, as another
// language has it.
func foreign(t testing.TB, s *site) *grpc.ClientConn {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+s.addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return cc
}

func TestForeignUnaryClients(t *testing.T) {
	s := newSite(t, handler.Options{})
	ctx := context.Background()
	gt := pb.NewTaskServiceClient(foreign(t, s))
	e, err := gt.Enqueue(ctx, &pb.EnqueueRequest{Task: &pb.TaskSpec{Queue: "q", Type: "t", Payload: []byte{0xff, 0}}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = gt.Get(ctx, &pb.GetRequest{Id: "nonsense"})
	st, _ := status.FromError(err)
	if st.Code() != codes.InvalidArgument || len(st.Details()) != 1 || st.Details()[0].(*pb.Error).Code != "invalid" {
		t.Errorf("gRPC refusal %v, details %v", st, st.Details())
	}
	for name, opts := range map[string][]connect.ClientOption{"proto": nil, "gzip": {connect.WithSendGzip()}, "json": {connect.WithCodec(rawJSON{})}} {
		ct := penstockv1connect.NewTaskServiceClient(http.DefaultClient, "http://"+s.addr, opts...)
		if name != "json" {
			g, err := ct.Get(ctx, &pb.GetRequest{Id: e.Id})
			if err != nil || g.Task.State != pb.State_STATE_READY || string(g.Task.Payload) != "\xff\x00" {
				t.Errorf("Connect %s: %v, %v", name, g, err)
			}
		}
		_, err = ct.Get(ctx, &pb.GetRequest{Id: "nonsense"})
		var ce *connect.Error
		if !errors.As(err, &ce) || ce.Code() != connect.CodeInvalidArgument || len(ce.Details()) != 1 {
			t.Errorf("Connect %s refusal: %v", name, err)
			continue
		}
		if v, err := ce.Details()[0].Value(); err != nil || v.(*pb.Error).Code != "invalid" {
			t.Errorf("Connect %s detail: %v, %v", name, v, err)
		}
	}
}

// rawJSON is a Connect codec that only speaks for a Get of nonsense.
type rawJSON struct{}

func (rawJSON) Name() string                { return "json" }
func (rawJSON) Marshal(any) ([]byte, error) { return []byte(`{"id":"nonsense"}`), nil }
func (rawJSON) Unmarshal([]byte, any) error { return nil }

// generated is a session stream driven by generated code alone.
type generated struct {
	testing.TB
	grpc.BidiStreamingClient[pb.ClientFrame, pb.ServerFrame]
}

func openSession(t testing.TB, s *site) generated {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	t.Cleanup(cancel)
	ss, err := pb.NewSessionServiceClient(foreign(t, s)).Session(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return generated{t, ss}
}

func (g generated) send(f *pb.ClientFrame) {
	g.Helper()
	if err := g.Send(f); err != nil {
		g.Fatal(err)
	}
}

// next reads frames until want finds what it looks for.
func (g generated) next(what string, want func(*pb.ServerFrame) bool) {
	g.Helper()
	for {
		f, err := g.Recv()
		if err != nil {
			g.Fatalf("%s: %v", what, err)
		}
		if want(f) {
			return
		}
	}
}

// TestForeignSession walks a task through a session stream, as a client in
// another language would.
func TestForeignSession(t *testing.T) {
	g := openSession(t, newSite(t, handler.Options{Version: "v-test"}))
	g.send(&pb.ClientFrame{Hello: &pb.Hello{Protocol: 1, Client: "test", Producer: []byte("p")}})
	g.next("welcome", func(f *pb.ServerFrame) bool { return f.Welcome.GetServer() == "v-test" })
	g.send(&pb.ClientFrame{
		Attaches: []*pb.Attach{{Session: 1, Id: []byte("w"), Queues: []*pb.QueueWeight{{Queue: "q"}}, Concurrency: 1}},
		Credits:  []*pb.Credit{{Session: 1, N: 1}}, // ahead of the answer: it counts
		Enqueues: []*pb.EnqueueGroup{{Seq: 5, Queue: "q", FirstNumber: 1, Tasks: []*pb.TaskSpec{{Type: "a"}, {Type: "b", Priority: new(uint32)}, {Type: ""}}}},
	})
	var id []byte
	var delivery *pb.Delivery
	attached := false
	g.next("an answer and a delivery", func(f *pb.ServerFrame) bool {
		for _, a := range f.EnqueueAnswers {
			if n := len(a.Runs); a.Seq != 5 || n < 2 || a.Runs[n-1].Error.GetCode() != "invalid" {
				t.Errorf("answer %v", a)
			}
			id = a.Runs[0].FirstId
		}
		for _, d := range f.Deliveries {
			delivery = d.Tasks[0]
		}
		attached = attached || len(f.Attached) == 1 && f.Attached[0].Error == nil
		return id != nil && delivery != nil && attached
	})
	if delivery.Type != "a" || string(delivery.Id) != string(id) || delivery.Priority != nil {
		t.Errorf("delivery %v of %x", delivery, id)
	}
	g.finish(id, delivery.Token)
	g.send(&pb.ClientFrame{Detaches: []*pb.Detach{{Session: 1}, {Session: 7}}})
	gone := 0
	g.next("detached", func(f *pb.ServerFrame) bool { gone += len(f.Detached); return gone == 2 })
	if err := g.CloseSend(); err != nil {
		t.Fatal(err)
	}
	if _, err := g.Recv(); !errors.Is(err, io.EOF) {
		t.Errorf("after CloseSend: %v, want EOF", err)
	}
}

// finish reports on a lease, and checks all that is answered meanwhile.
func (g generated) finish(id, token []byte) {
	g.send(&pb.ClientFrame{
		Outcomes:   []*pb.OutcomeGroup{{Session: 1, Seq: 8, Outcomes: []*pb.Outcome{{Token: token, Result: []byte("1"), Started: true}, {Token: make([]byte, 32)}}}},
		Heartbeats: []*pb.Heartbeat{{Session: 1, Seq: 3}, {Session: 9, Seq: 4}},
		Watches:    []*pb.Watch{{Seq: 2, Id: id}, {Seq: 3, Id: []byte("x")}},
	})
	outcomes, beats, watches := 0, 0, 0
	g.next("answers", func(f *pb.ServerFrame) bool {
		for _, a := range f.OutcomeAnswers {
			outcomes++
			if a.Seq != 8 || len(a.Codes) != 2 || a.Codes[0] != byte(task.OK) || a.Codes[1] == byte(task.OK) {
				g.Errorf("outcome answer %v", a)
			}
		}
		for _, h := range f.Heartbeats {
			beats++
			if (h.Seq == 3) != (h.Error == nil) {
				g.Errorf("heartbeat %v", h)
			}
		}
		for _, w := range f.WatchResults {
			watches++
			if w.Seq == 2 && (w.Task.GetState() != pb.State_STATE_SUCCEEDED || string(w.Task.Result) != "1") || w.Seq == 3 && w.Error.GetCode() != "invalid" {
				g.Errorf("watch %v", w)
			}
		}
		return outcomes == 1 && beats == 2 && watches == 2
	})
}

func TestBadSessionsAreRefused(t *testing.T) {
	s := newSite(t, handler.Options{})
	f := func(code codes.Code, text string, frames ...*pb.ClientFrame) {
		t.Helper()
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		ss, err := pb.NewSessionServiceClient(foreign(t, s)).Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for _, fr := range frames {
			_ = ss.Send(fr)
		}
		for err == nil {
			_, err = ss.Recv()
		}
		if status.Code(err) != code || !strings.Contains(err.Error(), text) {
			t.Errorf("refused with %v, want %v … %s", err, code, text)
		}
	}
	hello := &pb.Hello{Protocol: 1}
	f(codes.FailedPrecondition, "speaks protocol 9", &pb.ClientFrame{Hello: &pb.Hello{Protocol: 9}})
	f(codes.InvalidArgument, "first part", &pb.ClientFrame{Credits: []*pb.Credit{{}}})
	f(codes.InvalidArgument, "hello came twice", &pb.ClientFrame{Hello: hello}, &pb.ClientFrame{Hello: hello})
	f(codes.InvalidArgument, "token", &pb.ClientFrame{Hello: hello, Outcomes: []*pb.OutcomeGroup{{Outcomes: []*pb.Outcome{{Token: []byte("short")}}}}})
	f(codes.InvalidArgument, "limit is 32", &pb.ClientFrame{Hello: &pb.Hello{Protocol: 1, Producer: make([]byte, 33)}})
}

func TestHealthAndReflection(t *testing.T) {
	s := newSite(t, handler.Options{Token: "secret"})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cc := foreign(t, s)
	h, err := grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "penstock.v1.TaskService"})
	if err != nil || h.Status != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health %v, %v", h, err)
	}
	if _, err = grpc_health_v1.NewHealthClient(cc).Check(ctx, &grpc_health_v1.HealthCheckRequest{Service: "other"}); status.Code(err) != codes.NotFound {
		t.Errorf("health of another service: %v", err)
	}
	if _, err = pb.NewNodeServiceClient(cc).Info(ctx, &pb.InfoRequest{}); status.Code(err) != codes.Unauthenticated {
		t.Errorf("without a token: %v", err)
	}
	ss, err := pb.NewSessionServiceClient(cc).Session(ctx)
	if err == nil {
		_, err = ss.Recv()
	}
	if status.Code(err) != codes.Unauthenticated {
		t.Errorf("a session without a token: %v", err)
	}
	withToken := metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer secret")
	r, err := grpc_reflection_v1.NewServerReflectionClient(cc).ServerReflectionInfo(withToken)
	if err != nil {
		t.Fatal(err)
	}
	_ = r.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
	list, err := r.Recv()
	if err != nil || !strings.Contains(list.String(), "penstock.v1.SessionService") {
		t.Errorf("reflection %v, %v", list, err)
	}
}

// TestDrainEndsLongPolls: a server that shuts down does not wait for pollers.
func TestDrainEndsLongPolls(t *testing.T) {
	s := newSite(t, handler.Options{})
	id := s.ok("TaskService/Enqueue", `{"queue":"other","type":"t"}`)["id"].(string)
	answers := make(chan map[string]any, 2)
	go func() { answers <- s.ok("WorkerService/Lease", `{"queue":"q","wait":"60s"}`) }()
	go func() { answers <- s.ok("TaskService/Wait", `{"id":"`+id+`","wait":"60s"}`) }()
	waitFor(t, "the pollers", func() bool { return s.srv.Calls() == 2 })
	start := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	if err := s.srv.Shutdown(ctx); err != nil {
		t.Error(err)
	}
	for range 2 {
		a := <-answers
		if tasks, ok := a["tasks"].([]any); ok && len(tasks) != 0 || !ok && a["done"] != false {
			t.Errorf("answer %v", a)
		}
	}
	if d := time.Since(start); d > 10*time.Second {
		t.Errorf("the drain took %v", d)
	}
}

// TestTheNewerConnectionKeepsTheSession: a worker that came back before its old
// connection was seen to be dead must not lose its session with that one.
func TestTheNewerConnectionKeepsTheSession(t *testing.T) {
	s := newSite(t, handler.Options{})
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	open := func() grpc.BidiStreamingClient[pb.ClientFrame, pb.ServerFrame] {
		ss, err := pb.NewSessionServiceClient(foreign(t, s)).Session(ctx)
		if err != nil {
			t.Fatal(err)
		}
		_ = ss.Send(&pb.ClientFrame{Hello: &pb.Hello{Protocol: 1}, Attaches: []*pb.Attach{{Session: 1, Id: []byte("w"), Queues: []*pb.QueueWeight{{Queue: "q"}}}}})
		for {
			f, err := ss.Recv()
			if err != nil {
				t.Fatal(err)
			}
			if len(f.Attached) == 1 {
				return ss
			}
		}
	}
	old := open()
	now := open()
	_ = old.CloseSend()
	if _, err := old.Recv(); !errors.Is(err, io.EOF) {
		t.Fatalf("the old stream ends with %v", err)
	}
	_ = now.Send(&pb.ClientFrame{Heartbeats: []*pb.Heartbeat{{Session: 1, Seq: 1}}, Credits: []*pb.Credit{{Session: 1, N: 1}}})
	s.ok("TaskService/Enqueue", `{"queue":"q","type":"t"}`)
	beat, delivered := false, false
	for !beat || !delivered {
		f, err := now.Recv()
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range f.Heartbeats {
			beat = true
			if h.Error != nil {
				t.Fatalf("heartbeat: %v", h.Error)
			}
		}
		delivered = delivered || len(f.Deliveries) > 0
	}
}

// TestALeaseHoldsOnlySoMuch: what does not fit into one answer is not leased.
func TestALeaseHoldsOnlySoMuch(t *testing.T) {
	s := newSite(t, handler.Options{})
	b := &task.EnqueueBatch{Queue: "q"}
	for range 10 {
		b.Specs = append(b.Specs, task.Spec{Type: "t", Payload: make([]byte, task.PayloadMax)})
	}
	for range 8 {
		if err := task.EnqueueWait(context.Background(), s.fake, b); err != nil {
			t.Fatal(err)
		}
	}
	out, err := pb.NewWorkerServiceClient(foreign(t, s)).Lease(context.Background(), &pb.LeaseRequest{Queue: "q", Max: 100}, grpc.MaxCallRecvMsgSize(1<<30))
	if err != nil || len(out.Tasks) != 63 {
		t.Errorf("%d tasks, %v, want 63", len(out.GetTasks()), err)
	}
	if q := s.ok("QueueService/Get", `{"queue":"q"}`)["queue"].(map[string]any); q["running"] != 63.0 || q["ready"] != 17.0 {
		t.Errorf("queue %v", q)
	}
}
