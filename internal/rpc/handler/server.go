// Package handler serves task.Broker and task.Inspector on one listener: the
// gRPC session stream and services, the same calls as JSON over HTTP, health.
// It holds no rule of the queue: it checks form, translates and passes on.
package handler

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	checkEvery   = 5 * time.Second  // slow readers are looked for
	headerMax    = 10 * time.Second // for a client's first bytes and HTTP headers
	idleMax      = 2 * time.Minute  // of an HTTP connection between calls
	headBytesMax = 64 << 10
)

// Server serves one Broker on any number of listeners.
type Server struct {
	o     Options
	log   *slog.Logger
	gate  gate
	unary map[string]method
	grpc  *grpc.Server
	http  *http.Server

	bodies     *bodies
	calls      atomic.Int64   // going on
	background sync.WaitGroup // attaches and detaches on their way
	quit       chan struct{}  // closed by the first Shutdown or Close
	stop       sync.Once

	mu       sync.Mutex
	streams  map[*stream]struct{}
	sessions map[string]*session // by the session's own ID
	doors    map[*door]struct{}
}

// New checks o and makes a Server.
func New(o Options) (*Server, error) {
	if o.Broker == nil || o.Inspector == nil {
		return nil, errors.New("make a handler: Broker and Inspector must be set")
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.Version == "" {
		o.Version = "dev"
	}
	s := &Server{
		o: o, log: o.Logger, gate: newGate(o.Token), bodies: newBodies(o.BodyBytes), quit: make(chan struct{}),
		streams: map[*stream]struct{}{}, sessions: map[string]*session{}, doors: map[*door]struct{}{},
	}
	s.unary = s.methods()
	s.grpc = s.newGRPC()
	s.http = &http.Server{
		Handler: s.newHTTP(), ReadHeaderTimeout: headerMax, IdleTimeout: idleMax, MaxHeaderBytes: headBytesMax,
		ErrorLog: slog.NewLogLogger(s.log.Handler(), slog.LevelDebug),
	}
	s.background.Go(s.watchReaders)
	return s, nil
}

// Serve accepts connections on ln until Shutdown or Close; then it returns nil.
func (s *Server) Serve(ln net.Listener) error {
	d := newDoor(s, ln)
	s.mu.Lock()
	s.doors[d] = struct{}{}
	s.mu.Unlock()
	if s.draining() {
		_ = ln.Close()
		return nil
	}
	return d.serve()
}

func (s *Server) draining() bool {
	select {
	case <-s.quit:
		return true
	default:
		return false
	}
}

// Shutdown drains: session streams are told to go away, calls in flight are
// answered, and what remains when ctx ends is cut.
func (s *Server) Shutdown(ctx context.Context) error {
	s.drain()
	done := make(chan error, 1)
	go func() {
		s.grpc.GracefulStop()
		done <- nil
	}()
	err := s.http.Shutdown(ctx)
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
		s.grpc.Stop()
		<-done
	}
	if err != nil {
		_ = s.http.Close()
	}
	s.background.Wait()
	return err
}

// drain stops accepting and tells every stream.
func (s *Server) drain() {
	s.stop.Do(func() { close(s.quit) })
	s.mu.Lock()
	streams := make([]*stream, 0, len(s.streams))
	for st := range s.streams {
		streams = append(streams, st)
	}
	for d := range s.doors {
		d.close()
	}
	s.mu.Unlock()
	for _, st := range streams {
		st.goAway()
	}
}

// Close cuts everything at once.
func (s *Server) Close() error {
	s.drain()
	s.grpc.Stop()
	err := s.http.Close()
	s.background.Wait()
	return err
}

// Calls is how many unary calls are going on.
func (s *Server) Calls() int { return int(s.calls.Load()) }

// Streams is how many clients hold a session stream.
func (s *Server) Streams() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.streams)
}

// session serves one session stream.
func (s *Server) session(rpc grpc.ServerStream) error {
	st := newStream(s, rpc)
	s.mu.Lock()
	s.streams[st] = struct{}{}
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.streams, st)
		s.mu.Unlock()
	}()
	return st.run()
}

// watchReaders cuts the connections of those who do not read what they asked
// for, and gives memory back after a burst of large requests.
func (s *Server) watchReaders() {
	t := time.NewTicker(checkEvery)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case now := <-t.C:
			s.cutStalled(now)
			s.bodies.settle(now)
		}
	}
}

func (s *Server) cutStalled(now time.Time) {
	s.mu.Lock()
	var slow []*stream
	for st := range s.streams {
		if st.stalled(now) {
			slow = append(slow, st)
		}
	}
	s.mu.Unlock()
	for _, st := range slow {
		s.log.Warn("cut a client that does not read", "client", remote(st.context()))
		st.fail()
		cut(st.context())
	}
}

// takeOver makes n the stream's session that stands for its ID. An earlier one
// is detached first, so that its end cannot end this one.
func (s *Server) takeOver(n *session) {
	s.mu.Lock()
	old := s.sessions[n.id]
	s.sessions[n.id] = n
	s.mu.Unlock()
	if old != nil {
		old.leave(true)
	}
}

func (s *Server) dropSession(n *session) {
	s.mu.Lock()
	if s.sessions[n.id] == n {
		delete(s.sessions, n.id)
	}
	s.mu.Unlock()
}

var _ task.Sink = (*session)(nil)
