package penstock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// Error is a refusal from the queue: a Code that says how to react, a Text that
// says what to do and is safe to show, and for an unavailable queue whether the
// request may have been applied. Find it in an error with errors.As.
type Error = task.Error

// Code says how a caller should react to an Error.
type Code = task.Code

// The codes.
const (
	CodeInvalid     = task.Invalid     // the request is wrong; do not repeat it
	CodeNotFound    = task.NotFound    // no such task, queue or session
	CodeConflict    = task.Conflict    // it contradicts what is there
	CodeLeaseLost   = task.LeaseLost   // the lease is no longer the worker's
	CodeExhausted   = task.Exhausted   // a limit is reached; try later, or raise the limit that the text names
	CodeUnavailable = task.Unavailable // try again; Error.Applied says whether it may have happened
	CodeInternal    = task.Internal    // a bug or a broken disk; the server's log has the cause
)

// Whether a request that was refused with CodeUnavailable took effect.
const (
	AppliedNo      = task.AppliedNo      // certainly not
	AppliedUnknown = task.AppliedUnknown // perhaps
)

// Sentinels to compare codes with errors.Is.
var (
	ErrInvalid     = task.ErrInvalid
	ErrNotFound    = task.ErrNotFound
	ErrConflict    = task.ErrConflict
	ErrExhausted   = task.ErrExhausted
	ErrUnavailable = task.ErrUnavailable
	ErrInternal    = task.ErrInternal
)

// Why a handler's context ended: context.Cause(ctx) is one of these.
var (
	// ErrCanceled says that someone canceled or deleted the task. What the
	// handler returns is dropped. errors.Is also finds it in the TaskError of a
	// task that ended canceled.
	ErrCanceled error = &causeError{"the task was canceled", context.Canceled}
	// ErrTimeout says that the attempt ran into its Timeout or the task into
	// its Deadline. It is context.DeadlineExceeded to errors.Is. A success that
	// comes after the Timeout is a failed attempt too.
	ErrTimeout error = &causeError{"the attempt ran out of time", context.DeadlineExceeded}
	// ErrLeaseLost says that the server has not been heard for so long that the
	// task may be running elsewhere. A handler that succeeds all the same has its
	// success reported: it counts if the task was not leased again since. What the
	// server has acknowledged of an attempt stands, and no later word undoes it.
	ErrLeaseLost error = &causeError{"the lease was lost: the task may be running elsewhere", task.ErrLeaseLost}
	// ErrShutdown says that the worker stops and its DrainTimeout is over. The
	// task is handed back without blame unless the handler succeeds.
	ErrShutdown error = &causeError{"the worker is shutting down", context.Canceled}
)

// causeError is a cause that also answers to an error people already look for.
type causeError struct {
	text string
	like error
}

func (e *causeError) Error() string        { return e.text }
func (e *causeError) Is(target error) bool { return target == e.like }

// TaskError is what waiting for a task returns when the task ended without
// success.
type TaskError struct {
	ID       ID
	Type     string
	State    State  // Dead, Canceled or Expired
	Reason   string // why it ended so, as the server tells it; may be empty
	Text     string // error text of the last failed attempt; may be empty
	Failures int    // attempts that failed
	Crashes  int    // attempts whose worker was lost
}

// Error renders the state, the reason and the last attempt's error.
func (e *TaskError) Error() string {
	s := fmt.Sprintf("task %s (%s) is %s", e.ID, e.Type, e.State)
	if e.Failures+e.Crashes > 0 {
		s += " after " + count(e.Failures, "failure")
		if e.Crashes > 0 {
			s += " and " + count(e.Crashes, "crash")
		}
	}
	if e.Reason != "" {
		s += ": " + e.Reason
	}
	if e.Text != "" && !strings.HasSuffix(e.Reason, e.Text) { // a reason may end with it
		s += ": " + e.Text
	}
	return s
}

func count(n int, what string) string {
	switch {
	case n == 1:
		return "1 " + what
	case strings.HasSuffix(what, "sh"):
		what += "e"
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// Is makes a canceled task's error ErrCanceled.
func (e *TaskError) Is(target error) bool { return e.State == Canceled && target == ErrCanceled }

// Permanent wraps err so that the task is not tried again: it goes to the dead
// letters at once. Permanent(nil) is nil.
func Permanent(err error) error {
	if err == nil {
		return nil
	}
	return &decidedError{err, Stop()}
}

// RetryAfter wraps err so that the next attempt comes after d rather than after
// the task's backoff. The attempt counts as a failure. RetryAfter(nil, d) is nil.
func RetryAfter(err error, d time.Duration) error {
	if err == nil {
		return nil
	}
	return &decidedError{err, After(d)}
}

// Snooze is returned by a handler that wants the task again in d without
// burning an attempt: neither success nor failure.
func Snooze(d time.Duration) error {
	return &decidedError{errSnoozed, SnoozeFor(d)}
}

var errSnoozed = errors.New("snoozed")

// decidedError carries what the handler decided about the next attempt.
type decidedError struct {
	err error
	Decision
}

func (e *decidedError) Error() string { return e.err.Error() }
func (e *decidedError) Unwrap() error { return e.err }

// panicError is a handler's panic with its stack.
type panicError struct {
	value any
	stack []byte
}

func (e *panicError) Error() string { return fmt.Sprintf("panic: %v\n\n%s", e.value, e.stack) }

func (e *panicError) Unwrap() error {
	err, _ := e.value.(error)
	return err
}

// refusal keeps a nil *Error from becoming a non-nil error.
func refusal(e *task.Error) error {
	if e == nil {
		return nil
	}
	return e
}
