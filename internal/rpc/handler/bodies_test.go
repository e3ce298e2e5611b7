package handler

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// Bodies that grow beside each other, and would together be far too large, all
// come to their end: none waits for one that waits for it.
func TestHalfReadBodiesDoNotWaitForEachOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies(128 << 20)
		most := int64(0)
		var wg sync.WaitGroup
		for range 40 {
			wg.Go(func() {
				c := b.claim()
				defer c.end()
				for range 60 {
					if err := c.take(t.Context(), 1<<20); err != nil {
						t.Error(err)
						return
					}
					b.mu.Lock()
					most = max(most, b.held)
					b.mu.Unlock()
					<-time.After(time.Millisecond) // the others grow as well
				}
			})
		}
		wg.Wait()
		if most > b.max || b.held != 0 || b.refused != 0 || len(b.waiting) != 0 || b.senior != nil || b.full.Load() {
			t.Errorf("most %d of %d, then %d held, %d refused, %d waiting", most, b.max, b.held, b.refused, len(b.waiting))
		}
	})
}

// Who finds no room in time is refused with what to do; small requests pass, and
// who gives up waiting is not in the way.
func TestNoRoomForABody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies(128 << 20)
		stuck := []*claim{b.claim(), b.claim()}
		for _, c := range stuck { // the second one as the senior
			if err := c.take(t.Context(), 60<<20); err != nil {
				t.Fatal(err)
			}
		}
		small := b.claim()
		if err := small.take(t.Context(), freeBytes); err != nil {
			t.Errorf("a small request: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if err := b.claim().take(ctx, 10<<20); err != context.DeadlineExceeded {
			t.Errorf("one whose caller has gone: %v", err)
		}
		began := time.Now()
		err := small.take(t.Context(), 10<<20)
		if task.CodeOf(err) != task.Exhausted || !strings.Contains(err.Error(), "--body-bytes") || time.Since(began) != bodyWaitMax {
			t.Errorf("refused after %v with %v", time.Since(began), err)
		}
		waited := make(chan error, 1)
		go func() { waited <- small.take(t.Context(), 10<<20) }()
		synctest.Wait()
		stuck[1].end()
		if err := <-waited; err != nil || b.refused != 1 {
			t.Errorf("when there is room: %v, %d refused", err, b.refused)
		}
		small.end()
		stuck[0].end()
		if b.held != 0 || b.full.Load() {
			t.Errorf("%d held in the end", b.held)
		}
	})
}

func TestMemoryGoesBackAfterABurst(t *testing.T) {
	b := newBodies(0)
	freed := 0
	b.free = func() { freed++ }
	now := time.Now()
	after := func(d time.Duration, want int) {
		t.Helper()
		if b.settle(now.Add(d)); freed != want {
			t.Errorf("after %v memory was given back %d times, want %d", d, freed, want)
		}
	}
	c := b.claim()
	c.force(100 << 20)
	after(0, 0)
	after(time.Minute, 0)
	c.give(90 << 20)
	after(2*time.Minute, 0)
	c.force(50 << 20) // not over yet
	c.give(50 << 20)
	after(2*time.Minute+calmMax, 0)
	after(2*time.Minute+2*calmMax, 1)
	after(10*time.Minute, 1)
}

// crowded is a server with little memory for bodies, which waits for a moment only.
func crowded(t *testing.T) (*Server, string) {
	t.Helper()
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	s, err := New(Options{Broker: fake, Inspector: fake, BodyBytes: 70 << 20})
	if err != nil {
		t.Fatal(err)
	}
	s.bodies.wait = 100 * time.Millisecond
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(ln) }()
	t.Cleanup(func() {
		_ = s.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return s, ln.Addr().String()
}

// eventually waits for cond.
func eventually(t *testing.T, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > 20*time.Second {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func peak(s *Server) int64 {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	return s.bodies.peak
}

const enqueuePath = "/penstock.v1.TaskService/Enqueue"

// halfBody sends size bytes of a chunked body that does not end.
func halfBody(t *testing.T, addr string, size int) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	fmt.Fprintf(c, "POST %s HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n", enqueuePath, size)
	go func() { _, _ = c.Write(make([]byte, size)) }()
	return c
}

// Bodies in flight take no more than they may, whichever way they come: packed,
// plain, without a length and half sent.
func TestBodiesInFlightAreBounded(t *testing.T) {
	s, addr := crowded(t)
	held := func() int64 { n, _ := s.Bodies(); return n }
	for range 8 {
		halfBody(t, addr, 6<<20)
	}
	eventually(t, "the senior's body", func() bool { return held() >= 8<<20 })
	eventually(t, "refusals", func() bool { _, refused := s.Bodies(); return refused >= 7 })
	var packed bytes.Buffer
	z := gzip.NewWriter(&packed)
	_, _ = z.Write(make([]byte, 8<<20))
	_ = z.Close()
	r, _ := http.NewRequest("POST", "http://"+addr+enqueuePath, bytes.NewReader(packed.Bytes()))
	r.Header.Set("Content-Encoding", "gzip")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") == "" || !strings.Contains(string(text), "--body-bytes") || !strings.Contains(string(text), "resource_exhausted") {
		t.Errorf("beside them: %s, Retry-After %q, %s", resp.Status, resp.Header.Get("Retry-After"), text)
	}
	resp, err = http.Post("http://"+addr+enqueuePath, "application/json", strings.NewReader(`{"task":{"type":"t"}}`))
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("a small one beside them: %v, %v", resp, err)
	}
	_ = resp.Body.Close()
	if n := peak(s); n > 70<<20 {
		t.Errorf("bodies took %d bytes", n)
	}
}

// A body that stops coming does not hold its memory for ever.
func TestASlowBodyIsGivenUp(t *testing.T) {
	s := &Server{bodies: newBodies(0)}
	c := s.bodies.claim()
	pieces := 0
	slow := readerFunc(func(p []byte) (int, error) {
		if pieces++; pieces > 100 {
			return 0, fmt.Errorf("read: %w", os.ErrDeadlineExceeded)
		}
		return min(len(p), 4<<10), nil
	})
	told := 0
	_, err := fill(t.Context(), slow, -1, c, func() { told++ })
	if task.CodeOf(err) != task.Invalid || !strings.Contains(err.Error(), "too slowly") || told < 50 {
		t.Errorf("%v after %d deadlines", err, told)
	}
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// Unary calls over gRPC are held to the same: one that can't have its memory in
// time is refused, and the rest of its connection goes on.
func TestUnaryRequestsInFlightAreBounded(t *testing.T) {
	s, addr := crowded(t)
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultCallOptions(grpc.MaxCallSendMsgSize(64<<20)))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	stuck := halfBody(t, addr, 6<<20) // all that is not the senior's, and the senior
	eventually(t, "a body in flight", func() bool { n, _ := s.Bodies(); return n >= 8<<20 })
	client := pb.NewTaskServiceClient(cc)
	large := &pb.EnqueueRequest{Task: &pb.TaskSpec{Type: "t", Payload: make([]byte, 8<<20)}}
	refusals := make(chan error, 4)
	for range 4 {
		go func() {
			_, err := client.Enqueue(t.Context(), large)
			refusals <- err
		}()
	}
	for range 4 {
		if err := <-refusals; status.Code(err) != codes.ResourceExhausted || !strings.Contains(err.Error(), "--body-bytes") {
			t.Errorf("refused with %v", err)
		}
	}
	if _, err := client.Enqueue(t.Context(), &pb.EnqueueRequest{Task: &pb.TaskSpec{Type: "t"}}); err != nil {
		t.Errorf("a small one: %v", err)
	}
	_ = stuck.Close()
	eventually(t, "room", func() bool { n, _ := s.Bodies(); return n == 0 })
	if _, err := client.Enqueue(t.Context(), large); status.Code(err) != codes.InvalidArgument { // too large a payload
		t.Errorf("when there is room: %v", err)
	}
	eventually(t, "everything to be given back", func() bool { n, _ := s.Bodies(); return n == 0 })
}

// A stream whose server has no memory for more is not refused anything.
func TestStreamsAreHeldBackAndNotRefused(t *testing.T) {
	s, addr := crowded(t)
	other := s.bodies.claim()
	other.force(100 << 20)
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	ss, err := pb.NewSessionServiceClient(cc).Session(t.Context())
	if err == nil {
		err = ss.Send(&pb.ClientFrame{Hello: &pb.Hello{Protocol: 1, Producer: []byte("p")}})
	}
	if err != nil {
		t.Fatal(err)
	}
	const groups = 20
	go func() {
		for i := range groups {
			_ = ss.Send(&pb.ClientFrame{Enqueues: []*pb.EnqueueGroup{{Seq: uint64(i + 1), Queue: "q", FirstNumber: uint64(i + 1),
				Tasks: []*pb.TaskSpec{{Type: "t", Payload: make([]byte, 512<<10)}}}}})
		}
		_ = ss.CloseSend()
	}()
	answers := 0
	for {
		f, err := ss.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, a := range f.GetEnqueueAnswers() {
			if answers++; a.Error != nil {
				t.Errorf("group %d: %v", a.Seq, a.Error)
			}
		}
	}
	if answers != groups {
		t.Errorf("%d answers to %d groups", answers, groups)
	}
	if over := peak(s) - 100<<20; over > 4<<20 {
		t.Errorf("a stream took %d bytes beside a full server", over)
	}
	other.end()
	eventually(t, "everything to be given back", func() bool { n, _ := s.Bodies(); return n == 0 })
}

// manyTasks is a request of 9,999 tasks that is small as it comes.
func manyTasks(t *testing.T) (plain, packed []byte, m *pb.EnqueueRequest) {
	t.Helper()
	m = &pb.EnqueueRequest{Queue: "q"}
	for range 9_999 {
		m.Tasks = append(m.Tasks, &pb.TaskSpec{Type: "t", Tags: []string{"a", "b", "c", "d"}})
	}
	one := `{"type":"t","tags":["a","b","c","d"]}`
	plain = []byte(`{"queue":"q","tasks":[` + strings.Repeat(one+",", 9_998) + one + "]}")
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, _ = z.Write(plain)
	_ = z.Close()
	return plain, b.Bytes(), m
}

// What a request is charged with is what it becomes, whichever way it comes, and is
// given back with its answer: 980 KB became 15 MB that nobody counted.
func TestWhatIsDecodedIsCharged(t *testing.T) {
	plain, packed, m := manyTasks(t)
	binary, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	post := func(contentType, encoding string, body []byte) func(t *testing.T, addr string) {
		return func(t *testing.T, addr string) {
			r, _ := http.NewRequest("POST", "http://"+addr+enqueuePath, bytes.NewReader(body))
			r.Header.Set("Content-Type", contentType)
			r.Header.Set("Content-Encoding", encoding)
			resp, err := http.DefaultClient.Do(r)
			if err != nil || resp.StatusCode != 200 {
				t.Fatal(resp, err)
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
		}
	}
	for name, send := range map[string]func(t *testing.T, addr string){
		"JSON":      post("application/json", "identity", plain),
		"gzip":      post("application/json", "gzip", packed),
		"protobuf":  post("application/proto", "identity", binary),
		"over gRPC": func(t *testing.T, addr string) { enqueueGRPC(t, addr, m) },
	} {
		t.Run(name, func(t *testing.T) {
			s, addr := crowded(t)
			send(t, addr)
			if n := peak(s); n < 10<<20 || n > 35<<20 {
				t.Errorf("%d tasks were charged with %d bytes", len(m.Tasks), n)
			}
			eventually(t, "everything to be given back", func() bool { n, _ := s.Bodies(); return n == 0 })
			if len(s.bodies.line)+len(s.bodies.ends) != 0 {
				t.Error("a place in the line is not given back")
			}
		})
	}
}

func enqueueGRPC(t *testing.T, addr string, m *pb.EnqueueRequest) {
	t.Helper()
	cc, err := grpc.NewClient("passthrough:///"+addr, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer cc.Close()
	if _, err := pb.NewTaskServiceClient(cc).Enqueue(t.Context(), m); err != nil {
		t.Fatal(err)
	}
}

// Large requests are decoded and carried out a few at a time, in the order in which
// they came. Small ones pass them, and so do those that finish tasks; who waits too long is refused.
func TestLargeRequestsStandInLine(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies(0)
		decode := func(weight int) (func(), error) {
			c := b.claim()
			leave, err := c.decode(t.Context(), b.line, weight, func() error { return nil })
			if err != nil {
				c.end()
				return nil, err
			}
			return func() { leave(); leave(); c.end() }, nil
		}
		var leaves []func()
		for range cap(b.line) {
			leave, err := decode(1 << 20)
			if err != nil {
				t.Fatal(err)
			}
			leaves = append(leaves, leave)
		}
		began := time.Now()
		small, err := decode(largeBytes)
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("a small one waited for %v: %v", time.Since(began), err)
		}
		small()
		c := b.claim()
		leave, err := c.decode(t.Context(), b.lineOf(&method{ends: true}), 1<<20, func() error { return nil })
		if err != nil || time.Since(began) != 0 {
			t.Fatalf("one that finishes tasks waited for %v: %v", time.Since(began), err)
		}
		leave()
		c.end()
		if _, err := decode(1 << 20); task.CodeOf(err) != task.Exhausted || time.Since(began) != bodyWaitMax || b.refused != 1 {
			t.Errorf("one too many got %v after %v", err, time.Since(began))
		}
		next := make(chan func())
		go func() {
			leave, _ := decode(1 << 20)
			next <- leave
		}()
		synctest.Wait()
		for _, leave := range leaves {
			leave()
		}
		(<-next)()
		if b.held != 0 || len(b.line) != 0 {
			t.Errorf("%d bytes and %d places are held in the end", b.held, len(b.line))
		}
	})
}

// A request that becomes more than is kept for one waits for the others to end. One
// that could never have so much is told so at once.
func TestARequestThatBecomesLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBodies(256 << 20)
		other := b.claim()
		if err := other.take(t.Context(), 150<<20); err != nil {
			t.Fatal(err)
		}
		decoded := make(chan error, 1)
		c := b.claim()
		go func() {
			_, err := c.decode(t.Context(), b.line, 120<<20, func() error { return nil })
			decoded <- err
		}()
		synctest.Wait()
		if b.senior != c || len(decoded) != 0 {
			t.Error("it does not wait, or not as the senior")
		}
		other.end()
		if err := <-decoded; err != nil || b.held != 120<<20 || b.full.Load() {
			t.Errorf("alone: %v, %d held", err, b.held)
		}
		began := time.Now()
		_, err := b.claim().decode(t.Context(), b.line, 129<<20, func() error { return nil })
		if task.CodeOf(err) != task.Invalid || !strings.Contains(err.Error(), "fewer tasks") || time.Since(began) != 0 {
			t.Errorf("one that is too large: %v", err)
		}
		c.end()
	})
}
