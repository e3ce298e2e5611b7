package handler

import (
	"context"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"
)

// unaryService is a service whose unary calls are served as streams of one
// message each way: gRPC's own way reads the whole request before it asks
// anybody, with no say in how much of it. The interceptor of streams is not asked
// either.
func (s *Server) unaryService(d grpc.ServiceDesc) *grpc.ServiceDesc {
	out := &grpc.ServiceDesc{ServiceName: d.ServiceName, Metadata: d.Metadata}
	for _, m := range d.Methods {
		call := s.unary["/"+d.ServiceName+"/"+m.MethodName]
		out.Streams = append(out.Streams, grpc.StreamDesc{
			StreamName: m.MethodName,
			Handler:    func(_ any, ss grpc.ServerStream) error { return s.serveUnary(call, ss) },
		})
	}
	return out
}

func (s *Server) serveUnary(m method, ss grpc.ServerStream) error {
	if !s.admits(ss.Context(), pathPrefix+m.name) {
		return status.Error(codes.Unauthenticated, unauthorized(authorization(ss.Context())))
	}
	c := s.bodies.claim()
	defer c.end()
	var in codec.In
	if err := s.receive(ss, &in, c); err != nil {
		if e, ok := err.(*task.Error); ok { // ours, and to be counted
			_, err = s.invoke(m.name, func() (any, error) { return nil, e })
			return codec.ToStatus(err)
		}
		return err
	}
	n := len(in.Data())
	req := m.make()
	leave, err := c.decode(ss.Context(), s.bodies.lineOf(&m), codec.WeighProto(in.Data(), req), func() error {
		if err := codec.UnmarshalBounded(in.Data(), req); err != nil {
			return notDecoded{err}
		}
		return nil
	})
	in.Free()
	c.give(n)
	if no, ok := err.(notDecoded); ok {
		return status.Errorf(codes.Internal, "grpc: failed to unmarshal the received message: %v", no.error)
	}
	resp, err := s.invoke(m.name, func() (any, error) {
		if err != nil {
			return nil, err
		}
		defer leave()
		if m.waits {
			leave()
		}
		return m.call(ss.Context(), req)
	})
	if err != nil {
		return codec.ToStatus(err)
	}
	return ss.SendMsg(resp)
}

// notDecoded is a request that is no message: in gRPC that is the connection's fault.
type notDecoded struct{ error }

// receive reads the request of a unary call, and counts it.
func (s *Server) receive(ss grpc.ServerStream, in *codec.In, c *claim) error {
	r := &receiving{refused: make(chan error, 1)}
	if m := meterOf(ss.Context()); m != nil {
		m.begin(r)
		defer m.end(r)
	}
	got, msg := make(chan error, 1), new(codec.In)
	go func() { got <- ss.RecvMsg(msg) }() // it ends with the call at the latest
	t := time.NewTimer(bodyReadMax)
	defer t.Stop()
	var err error
	select {
	case err = <-got:
		if err == nil {
			*in = *msg
			c.force(len(in.Data()))
		}
		return err
	case err = <-r.refused:
	case <-t.C:
		err = errTooSlow
	}
	go func() {
		if <-got == nil {
			msg.Free()
		}
	}()
	return err
}

var errTooSlow error = task.Errorf(task.Invalid, "the request did not come whole within %v: send smaller ones", bodyReadMax)

// meter is a gRPC connection that counts what comes in while unary calls wait for
// the rest of their requests. It can't tell one call's bytes from another's; all
// together can't have more than that.
type meter struct {
	net.Conn
	b     *bodies
	calls atomic.Int32 // len(open)

	mu   sync.Mutex
	open []*receiving // oldest first
	got  int64        // since open was empty
	c    *claim       // for got; nil = open is empty
}

// receiving is a unary call whose request is not whole.
type receiving struct{ refused chan error }

// Read implements net.Conn. What it holds back, TCP holds back at the sender.
func (m *meter) Read(p []byte) (int, error) {
	n, err := m.Conn.Read(p)
	if n > 0 && m.calls.Load() > 0 {
		m.count(n)
	}
	return n, err
}

// count counts n bytes. When there is no room for them in time, the youngest
// call is refused.
func (m *meter) count(n int) {
	const step = 256 << 10
	m.mu.Lock()
	m.got += int64(n)
	calls, c := int64(len(m.open)), m.c
	most := min(m.got, calls*recvBytesMax) - calls*freeBytes
	m.mu.Unlock()
	if c == nil {
		return
	}
	c.b.mu.Lock()
	more := most - c.n
	c.b.mu.Unlock()
	if more <= 0 {
		return
	}
	err := c.take(context.Background(), int(more)+step)
	if err == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if k := len(m.open); k > 0 {
		r := m.open[k-1]
		m.drop(k - 1)
		r.refused <- err
	}
}

func (m *meter) begin(r *receiving) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.c == nil {
		m.c, m.got = m.b.claim(), 0
	}
	m.open = append(m.open, r)
	m.calls.Store(int32(len(m.open)))
}

func (m *meter) end(r *receiving) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if i := slices.Index(m.open, r); i >= 0 {
		m.drop(i)
	}
}

// drop forgets a call; mu is held.
func (m *meter) drop(i int) {
	m.open = slices.Delete(m.open, i, i+1)
	m.calls.Store(int32(len(m.open)))
	if len(m.open) == 0 {
		m.c.end()
		m.c = nil
		return
	}
	if m.got > int64(len(m.open))*recvBytesMax {
		m.got = int64(len(m.open)) * recvBytesMax
	}
}

func meterOf(ctx context.Context) *meter {
	if p, ok := peer.FromContext(ctx); ok {
		if i, ok := p.AuthInfo.(sortedInfo); ok {
			m, _ := i.conn.(*meter)
			return m
		}
	}
	return nil
}
