package sim

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// pipes is a network in memory that loses things: each connection has so many
// bytes to live in each direction; at its end what is on the way is lost, and
// both sides hear of that at once, or later.
type pipes struct {
	in    chan net.Conn
	down  chan struct{}
	lossy atomic.Bool
	lost  atomic.Int64 // connections

	mu   sync.Mutex
	open map[*pipe]struct{}
}

const (
	pipeBytesMax = 30_000
	pipeMuteMax  = 3 * time.Second
)

func newPipes() *pipes {
	return &pipes{in: make(chan net.Conn), down: make(chan struct{}), open: map[*pipe]struct{}{}}
}

// Accept is net.Listener's.
func (n *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-n.in:
		return c, nil
	case <-n.down:
		return nil, net.ErrClosed
	}
}

// Close is net.Listener's.
func (n *pipes) Close() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	select {
	case <-n.down:
	default:
		close(n.down)
	}
	return nil
}

// Addr is net.Listener's.
func (n *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

// Network is net.Addr's.
func (pipeAddr) Network() string { return "pipe" }

// String is net.Addr's.
func (pipeAddr) String() string { return "pipe:1" }

var errRefused = errors.New("the connection is refused")

// dial connects, most of the time.
func (n *pipes) dial(ctx context.Context, _ string) (net.Conn, error) {
	if n.lossy.Load() && rand.IntN(5) == 0 {
		return nil, errRefused
	}
	a, b := net.Pipe()
	select {
	case n.in <- n.wrap(b):
		return n.wrap(a), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-n.down:
		return nil, errRefused
	}
}

func (n *pipes) wrap(c net.Conn) net.Conn {
	p := &pipe{Conn: c, n: n}
	p.left.Store(int64(1 + rand.IntN(pipeBytesMax)))
	n.mu.Lock()
	n.open[p] = struct{}{}
	n.mu.Unlock()
	return p
}

// mend lets connections live, and ends those that are broken already.
func (n *pipes) mend() {
	n.lossy.Store(false)
	n.mu.Lock()
	defer n.mu.Unlock()
	for p := range n.open {
		if p.mute.Load() {
			p.Conn.Close()
		}
	}
}

// pipe is one end of a connection.
type pipe struct {
	net.Conn
	n    *pipes
	left atomic.Int64
	mute atomic.Bool
}

// Write loses all from some byte on.
func (p *pipe) Write(b []byte) (int, error) {
	if p.mute.Load() {
		return len(b), nil
	}
	left := p.left.Add(-int64(len(b)))
	if left > 0 || !p.n.lossy.Load() {
		return p.Conn.Write(b)
	}
	p.n.lost.Add(1)
	if keep := left + int64(len(b)); keep > 0 { // the rest of it is torn off
		if _, err := p.Conn.Write(b[:keep]); err != nil {
			return 0, err
		}
	}
	if rand.IntN(2) == 0 {
		p.Conn.Close()
		return 0, io.ErrClosedPipe
	}
	p.mute.Store(true) // nobody hears of it yet
	time.AfterFunc(rand.N(pipeMuteMax), func() { p.Conn.Close() })
	return len(b), nil
}

// Close is net.Conn's.
func (p *pipe) Close() error {
	p.n.mu.Lock()
	delete(p.n.open, p)
	p.n.mu.Unlock()
	return p.Conn.Close()
}
