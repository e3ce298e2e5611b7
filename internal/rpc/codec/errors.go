package codec

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

var (
	errBadID    = errors.New("a task ID in the frame is malformed")
	errBadToken = errors.New("a lease token in the frame is malformed")
	errTooMany  = fmt.Errorf("more than %d entries in one group", task.BatchMax)
)

// valid is s, or s with what is not UTF-8 replaced: protobuf strings hold
// nothing else.
func valid(s string) string {
	if utf8.ValidString(s) {
		return s
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}

// ErrorToProto converts e; nil stays nil.
func ErrorToProto(e *task.Error) *pb.Error {
	if e == nil {
		return nil
	}
	return &pb.Error{Code: e.Code.String(), Text: valid(e.Text), AppliedUnknown: e.Applied == task.AppliedUnknown}
}

// ErrorFromProto converts m; nil stays nil.
func ErrorFromProto(m *pb.Error) *task.Error {
	if m == nil {
		return nil
	}
	code, _ := task.ParseCode(m.Code)
	if code == task.OK {
		code = task.Internal
	}
	e := &task.Error{Code: code, Text: m.Text}
	if m.AppliedUnknown {
		e.Applied = task.AppliedUnknown
	}
	return e
}

var grpcCodes = [...]codes.Code{
	task.OK:          codes.OK,
	task.Invalid:     codes.InvalidArgument,
	task.NotFound:    codes.NotFound,
	task.Conflict:    codes.AlreadyExists,
	task.LeaseLost:   codes.Aborted,
	task.Exhausted:   codes.ResourceExhausted,
	task.Unavailable: codes.Unavailable,
	task.Internal:    codes.Internal,
}

// GRPCCode is the gRPC code of c.
func GRPCCode(c task.Code) codes.Code {
	if int(c) < len(grpcCodes) {
		return grpcCodes[c]
	}
	return codes.Internal
}

// ToStatus turns err into a gRPC status error that carries penstock.v1.Error.
func ToStatus(err error) error {
	if err == nil {
		return nil
	}
	return StatusOf(err).Err()
}

// StatusOf is the gRPC status of err, which is not nil.
func StatusOf(err error) *status.Status {
	if e := fromContext(err); e != nil {
		return status.New(e.code, e.text)
	}
	te := task.AsError(err)
	st := status.New(GRPCCode(te.Code), valid(te.Error()))
	if with, err := st.WithDetails(ErrorToProto(te)); err == nil {
		return with
	}
	return st
}

// IsContextEnd says whether err is only the end of the caller's context.
func IsContextEnd(err error) bool { return fromContext(err) != nil }

type contextEnd struct {
	code codes.Code
	text string
}

func fromContext(err error) *contextEnd {
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return &contextEnd{codes.DeadlineExceeded, "the caller's deadline has passed"}
	case errors.Is(err, context.Canceled):
		return &contextEnd{codes.Canceled, "the caller has gone"}
	}
	return nil
}

// FromStatus turns the error of a gRPC call into what the broker said. A status
// that is not the broker's becomes the nearest refusal.
func FromStatus(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		if m, ok := d.(*pb.Error); ok {
			return ErrorFromProto(m)
		}
	}
	switch st.Code() {
	case codes.Canceled:
		return context.Canceled
	case codes.DeadlineExceeded:
		return context.DeadlineExceeded
	case codes.Unavailable:
		return &task.Error{Code: task.Unavailable, Text: st.Message(), Applied: task.AppliedUnknown}
	case codes.Unauthenticated, codes.PermissionDenied, codes.InvalidArgument, codes.OutOfRange, codes.FailedPrecondition:
		return &task.Error{Code: task.Invalid, Text: st.Message()}
	case codes.Unimplemented:
		return task.Errorf(task.Invalid, "the server does not know this call: it may be older than the client (%s)", st.Message())
	case codes.ResourceExhausted:
		return &task.Error{Code: task.Exhausted, Text: st.Message()}
	case codes.NotFound:
		return &task.Error{Code: task.NotFound, Text: st.Message()}
	}
	return &task.Error{Code: task.Internal, Text: st.Message()}
}
