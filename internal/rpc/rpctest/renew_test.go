package rpctest

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/test/bufconn"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// line is the way to a server inside a bubble. While it is down, dialing waits.
type line struct {
	ln *bufconn.Listener

	refused atomic.Bool // while it is down dialing fails
	frozen  atomic.Pointer[chan struct{}]

	mu    sync.Mutex
	up    chan struct{} // closed while it is up
	conns []net.Conn
}

func newLine() *line {
	l := &line{ln: bufconn.Listen(1 << 20), up: make(chan struct{})}
	close(l.up)
	return l
}

func (l *line) dial(ctx context.Context, _ string) (net.Conn, error) {
	l.mu.Lock()
	up := l.up
	l.mu.Unlock()
	if l.refused.Load() {
		return nil, errRefused
	}
	select {
	case <-up:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	c, err := l.ln.DialContext(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return &icy{Conn: c, l: l, closed: make(chan struct{})}, err
}

// cut breaks it until the function returned is called.
func (l *line) cut() (mend func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	up := make(chan struct{})
	l.up = up
	for _, c := range l.conns {
		_ = c.Close()
	}
	l.conns = nil
	return func() { close(up) }
}

// inBubble runs f with a worker's client whose time is a bubble's.
func inBubble(t *testing.T, f func(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client)) {
	synctest.Test(t, func(t *testing.T) {
		fake := brokertest.NewFake(brokertest.Options{})
		t.Cleanup(fake.Close)
		l := newLine()
		serve(t, fake, l.ln, handler.Options{})
		conn := dial(t, "http://pipe:1", client.Options{Lazy: true, Dialer: l.dial})
		f(t, l, fake, penstock.NewClient(conn, conn))
	})
}

func pass(d time.Duration) { <-time.After(d) }

// runs counts attempts, and those whose context ended before they did.
type runs struct{ begun, cut atomic.Int32 }

func (r *runs) handler() *penstock.Function[time.Duration, int] {
	return penstock.Func("t", func(ctx context.Context, d time.Duration) (int, error) {
		r.begun.Add(1)
		pass(d)
		if ctx.Err() != nil {
			r.cut.Add(1)
		}
		return 0, ctx.Err()
	})
}

func work(t *testing.T, c *penstock.Client, h penstock.Handler) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() {
		ended <- c.Worker(penstock.Worker{Concurrency: 4, Logger: slog.New(slog.DiscardHandler)}, h).Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// A connection that is back right before the leases end renews them: what began
// before the outage goes on, and so does what begins after it.
func TestAttachingAgainRenewsTheLeases(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client) {
		var r runs
		work(t, c, r.handler())
		synctest.Wait()
		enqueue(t, fake, "default", task.Spec{Type: "t", Payload: []byte("20000000000")})
		pass(6700 * time.Millisecond) // heartbeats every 0.5 s, the last one at 6.5 s
		mend := l.cut()
		pass(8600 * time.Millisecond) // handlers would end 9 s after the last one: at 15.5 s
		enqueue(t, fake, "default", task.Spec{Type: "t", Payload: []byte("3000000000")})
		mend()
		pass(10 * time.Second)
		if r.begun.Load() != 2 || r.cut.Load() != 0 {
			t.Errorf("%d attempts of 2 tasks, %d of them cut", r.begun.Load(), r.cut.Load())
		}
	})
}

// Handlers live on leases of the last connection and of no earlier one: when it
// is lost as well, they end in time.
func TestLeasesOfAnAttachEnd(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client) {
		var r runs
		work(t, c, r.handler())
		pass(3400 * time.Millisecond)
		mend := l.cut()
		pass(9 * time.Second) // the leases are over at 12.33 s
		enqueue(t, fake, "default", task.Spec{Type: "t", Payload: []byte("9500000000")})
		mend()
		pass(50 * time.Millisecond) // a heartbeat is tried at 12.67 s
		if r.begun.Load() != 1 {
			t.Fatal("the task has not begun")
		}
		defer l.cut()() // before any heartbeat
		pass(10 * time.Second)
		if r.cut.Load() != 1 {
			t.Error("a handler has outlived its lease")
		}
	})
}

// A server that could not be reached for most of the TTL costs the first handlers
// nothing: leases count from when they were asked for, not from the first try.
func TestASlowFirstAttach(t *testing.T) {
	inBubble(t, func(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client) {
		mend := l.cut()
		enqueue(t, fake, "default", task.Spec{Type: "t", Payload: []byte("3000000000")})
		var r runs
		work(t, c, r.handler())
		pass(8500 * time.Millisecond)
		mend()
		pass(10 * time.Second)
		if r.begun.Load() != 1 || r.cut.Load() != 0 {
			t.Errorf("%d attempts of one task, %d of them cut", r.begun.Load(), r.cut.Load())
		}
	})
}
