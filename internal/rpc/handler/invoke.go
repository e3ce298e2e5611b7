package handler

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"runtime/debug"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"
)

// method is one unary call, the same for gRPC and for HTTP.
type method struct {
	name  string // "TaskService/Get"
	waits bool   // for what others do, and not for the disk alone
	ends  bool   // what it is about are tasks that run
	make  func() proto.Message
	call  func(ctx context.Context, req proto.Message) (proto.Message, error)
}

// unary makes a method of f.
func unary[Req any, P interface {
	*Req
	proto.Message
}, Resp proto.Message](name string, f func(context.Context, P) (Resp, error)) method {
	return method{
		name: name,
		make: func() proto.Message { return P(new(Req)) },
		call: func(ctx context.Context, m proto.Message) (proto.Message, error) {
			return f(ctx, m.(P))
		},
	}
}

// methods lists every unary call by its path.
func (s *Server) methods() map[string]method {
	t := tasks{s.o.Broker, s.o.Inspector, s.quit}
	w := workers{s.o.Broker, s.quit}
	q := queues{s.o.Inspector}
	n := nodes{s.o.Inspector}
	out := map[string]method{}
	for _, m := range []method{
		unary("TaskService/Enqueue", t.Enqueue), unary("TaskService/Get", t.Get), unary("TaskService/Wait", t.Wait),
		unary("TaskService/Cancel", t.Cancel), unary("TaskService/Retry", t.Retry), unary("TaskService/Delete", t.Delete),
		unary("TaskService/List", t.List),
		unary("WorkerService/Lease", w.Lease), unary("WorkerService/Extend", w.Extend), unary("WorkerService/Complete", w.Complete),
		unary("WorkerService/Fail", w.Fail), unary("WorkerService/Release", w.Release),
		unary("QueueService/List", q.List), unary("QueueService/Get", q.Get), unary("QueueService/Set", q.Set),
		unary("QueueService/Pause", q.Pause), unary("QueueService/Resume", q.Resume), unary("QueueService/Purge", q.Purge),
		unary("QueueService/Delete", q.Delete),
		unary("NodeService/Info", n.Info),
	} {
		m.ends = strings.HasPrefix(m.name, "WorkerService/") && m.name != "WorkerService/Lease"
		m.waits = m.name == "TaskService/Wait" || m.name == "WorkerService/Lease"
		out[pathPrefix+m.name] = m
	}
	return out
}

const pathPrefix = "/penstock.v1."

// invoke runs a call; a panic in it is a bug and the caller's Internal, and
// not the end of a process that may hold other people's tasks.
func (s *Server) invoke(name string, f func() (any, error)) (resp any, err error) {
	start := time.Now()
	s.calls.Add(1)
	defer s.calls.Add(-1)
	defer func() {
		if p := recover(); p != nil {
			s.log.Error("panic in a call", "method", name, "panic", p, "stack", string(debug.Stack()))
			err = task.Errorf(task.Internal, "a bug in %s: the server's log has the cause", name)
		}
		if s.o.Observe != nil {
			code := task.CodeOf(err)
			if err != nil && codec.IsContextEnd(err) { // the caller's doing, and no fault of ours
				code = task.Unavailable
			}
			s.o.Observe(name, code, time.Since(start))
		}
	}()
	return f()
}

// refusal is an error in the words of Connect: its code's name, and a message
// that begins with our own code's.
type refusal struct {
	code    codes.Code
	message string
	detail  *task.Error
}

func refusalOf(err error) refusal {
	st := codec.StatusOf(err)
	r := refusal{code: st.Code(), message: st.Message()}
	if !codec.IsContextEnd(err) {
		r.detail = task.AsError(err)
	}
	return r
}

// gate compares bearer tokens.
type gate struct {
	open bool
	want [sha256.Size]byte
}

func newGate(token string) gate {
	return gate{open: token == "", want: sha256.Sum256([]byte(token))}
}

// unauthorized says what to do, by the Authorization header that was no good.
func unauthorized(authorization string) string {
	if scheme, _, _ := strings.Cut(authorization, " "); strings.EqualFold(scheme, "bearer") {
		return "this server wants a token, and another than was sent: check --token-file or PENSTOCK_TOKEN"
	}
	return "this server wants a token: send it as \"Authorization: Bearer …\", with --token-file or PENSTOCK_TOKEN"
}

// admits takes the value of an Authorization header. Hashing first makes the
// comparison take the same time whatever the length.
func (g gate) admits(authorization string) bool {
	if g.open {
		return true
	}
	scheme, token, _ := strings.Cut(authorization, " ")
	got := sha256.Sum256([]byte(strings.TrimSpace(token)))
	return subtle.ConstantTimeCompare(got[:], g.want[:]) == 1 && strings.EqualFold(scheme, "bearer")
}

func connectCode(c codes.Code) (name string, http int) {
	switch c {
	case codes.Canceled:
		return "canceled", 499
	case codes.InvalidArgument:
		return "invalid_argument", 400
	case codes.DeadlineExceeded:
		return "deadline_exceeded", 504
	case codes.NotFound:
		return "not_found", 404
	case codes.AlreadyExists:
		return "already_exists", 409
	case codes.PermissionDenied:
		return "permission_denied", 403
	case codes.ResourceExhausted:
		return "resource_exhausted", 429
	case codes.Aborted:
		return "aborted", 409
	case codes.Unimplemented:
		return "unimplemented", 404
	case codes.Unavailable:
		return "unavailable", 503
	case codes.Unauthenticated:
		return "unauthenticated", 401
	case codes.Internal:
		return "internal", 500
	}
	return fmt.Sprintf("unknown (%d)", c), 500
}
