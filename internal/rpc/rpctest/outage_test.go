package rpctest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// refuse breaks the line as a server does that has died: nobody is there to be
// connected to, until the function returned is called.
func (l *line) refuse() (back func()) {
	l.refused.Store(true)
	mend := l.cut()
	return func() {
		l.refused.Store(false)
		mend()
	}
}

// freeze is a server that stands still: its machine takes connections and bytes,
// and nothing is answered.
func (l *line) freeze() (thaw func()) {
	gate := make(chan struct{})
	l.frozen.Store(&gate)
	return func() {
		l.frozen.Store(nil)
		close(gate)
	}
}

// icy is the worker's end of a connection.
type icy struct {
	net.Conn
	l      *line
	closed chan struct{}
	once   sync.Once
}

func (c *icy) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	if gate := c.l.frozen.Load(); gate != nil {
		select {
		case <-*gate:
		case <-c.closed:
			return 0, net.ErrClosed
		}
	}
	return n, err
}

func (c *icy) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

var errRefused = errors.New("the connection is refused")

// safe is what docs/operations.md promises: so long an outage costs no task that
// runs a second run.
func safe(ttl time.Duration) time.Duration {
	if ttl < 10*time.Second {
		return ttl / 2
	}
	return ttl * 4 / 5
}

// Outages as long as may be, at any moment and one soon after another, of a server
// that died and of one that stood still.
func TestOutagesThatAreSafe(t *testing.T) {
	kinds := map[string]func(*line) func(){"dead": (*line).refuse, "still": (*line).freeze}
	for how, down := range kinds {
		for _, ttl := range []time.Duration{time.Second, 2 * time.Second, 5 * time.Second, 0, time.Minute, 10 * time.Minute} {
			t.Run(fmt.Sprint(how, " ", ttl), func(t *testing.T) {
				inBubble(t, func(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client) {
					outages(t, l, fake, c, ttl, down)
				})
			})
		}
	}
}

func outages(t *testing.T, l *line, fake *brokertest.Fake, c *penstock.Client, ttl time.Duration, down func(*line) func()) {
	var begun, cut atomic.Int32
	stop := make(chan struct{})
	h := penstock.Func("t", func(ctx context.Context, _ int) (int, error) {
		begun.Add(1)
		select {
		case <-stop:
		case <-ctx.Done():
			cut.Add(1)
		}
		return 0, nil
	})
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	w := c.Worker(penstock.Worker{Concurrency: 4, TTL: ttl, Logger: slog.New(slog.DiscardHandler)}, h)
	go func() { ended <- w.Run(ctx) }()
	defer func() {
		end()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}()
	if ttl == 0 {
		ttl = 10 * time.Second
	}
	lull := func(most time.Duration) { pass(rand.N(most)) }
	lull(ttl) // the worker has been idle, and the first outage comes soon after the task
	enqueue(t, fake, "default", task.Spec{Type: "t", Payload: []byte("0"), Policy: &task.Policy{Timeout: task.AttemptTimeoutNone}})
	pass(10 * time.Millisecond)
	for i := range 25 {
		mend := down(l)
		pass(safe(ttl))
		mend()
		pass(time.Second)
		lull(time.Second)
		if cut.Load() > 0 {
			t.Errorf("outage %d of %v with a TTL of %v ended the task", i, safe(ttl), ttl)
			break
		}
		lull(2 * ttl)
	}
	close(stop)
	pass(ttl)
	if begun.Load() != 1 {
		t.Errorf("%d runs of one task", begun.Load())
	}
}
