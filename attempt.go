package penstock

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// Attempt is one run of a handler on one task. It may be kept and read after
// the handler has returned.
type Attempt struct {
	d        lease
	e        *engine
	h        *handler
	received time.Time
	waited   time.Duration // before it began, as far as its time is stretched for it

	result     []byte // what the handler made of it; the slot's buffer
	resultType string

	mu       sync.Mutex
	std      atomic.Pointer[stdContext] // made when someone asks; written under mu
	cause    error                      // why the context has ended; guarded by mu
	log      *attemptLog                // guarded by mu
	progress *progressState             // nil = nothing was said; guarded by mu
	revoked  atomic.Bool                // the owner wants no outcome
	over     atomic.Bool                // the handler has returned
}

// lease is a delivery in the form that a worker keeps: many are in memory, and
// most have none of the details.
type lease struct {
	ID          task.ID
	Token       task.Token
	Queue, Type string
	Payload     []byte
	more        *details // nil = none
	EnqueuedAt  task.Time
	Timeout     task.Millis
	Deadline    task.Time
	Counts      task.Counts
	Attempt     uint32
	MaxAttempts int32
	Priority    uint8
}

type details struct {
	key, contentType string
	headers          []task.Header
	tags             []string
}

var noDetails details

func (l *lease) details() *details {
	if l.more == nil {
		return &noDetails
	}
	return l.more
}

// ID is the task's.
func (a *Attempt) ID() ID { return ID{a.d.ID} }

// Type is the task's type.
func (a *Attempt) Type() string { return a.d.Type }

// Queue is the queue that the task came from.
func (a *Attempt) Queue() string { return a.d.Queue }

// Key is the task's key; "" = none.
func (a *Attempt) Key() string { return a.d.details().key }

// Priority is the task's, from 0 to 9.
func (a *Attempt) Priority() int { return int(a.d.Priority) }

// Payload is the task's input as it was sent. It must not be changed.
func (a *Attempt) Payload() []byte { return a.d.Payload }

// ContentType is what the payload is.
func (a *Attempt) ContentType() string {
	if ct := a.d.details().contentType; ct != "" {
		return ct
	}
	return JSON.ContentType()
}

// Header is the value of the task's header of that name; "" = none.
func (a *Attempt) Header(name string) string {
	for _, h := range a.d.details().headers {
		if h.Name == name {
			return h.Value
		}
	}
	return ""
}

// Headers are all the task's headers; nil = none.
func (a *Attempt) Headers() map[string]string { return headerMap(a.d.details().headers) }

// Tags are the task's.
func (a *Attempt) Tags() []string { return a.d.details().tags }

// Number is 1 for the first attempt. Attempts handed back do not count.
func (a *Attempt) Number() int { return int(a.d.Attempt) }

// MaxAttempts is how many failures send the task to the dead letters.
func (a *Attempt) MaxAttempts() int { return int(a.d.MaxAttempts) }

// Failures, crashes and releases are what became of earlier attempts.
func (a *Attempt) Failures() int { return int(a.d.Counts.Failures) }

// Crashes is how many workers were lost while they had the task.
func (a *Attempt) Crashes() int { return int(a.d.Counts.Crashes) }

// Releases is how often the task was handed back without blame.
func (a *Attempt) Releases() int { return int(a.d.Counts.Releases) }

// EnqueuedAt is when the task was enqueued, by the server's clock.
func (a *Attempt) EnqueuedAt() time.Time { return fromTime(a.d.EnqueuedAt) }

// Deadline is when the attempt's context ends by its Timeout or the task's
// Deadline, whichever is first; false = never.
func (a *Attempt) Deadline() (time.Time, bool) {
	var at time.Time
	if a.d.Timeout > 0 {
		at = a.received.Add(fromMillis(a.d.Timeout) + a.waited)
	}
	if a.d.Deadline > 0 {
		if end := fromTime(a.d.Deadline); at.IsZero() || end.Before(at) {
			at = end
		}
	}
	return at, !at.IsZero()
}

// Fence is a number that rises with every attempt of the task, over all
// workers: hand it to a system that should refuse a worker which has lost its
// lease and does not know.
func (a *Attempt) Fence() uint64 { return a.d.Token.Fence() }

// LeaseToken is the text of the attempt's lease token, as the HTTP interface
// takes it.
func (a *Attempt) LeaseToken() string { return a.d.Token.String() }

// Current is the attempt that ctx belongs to; nil outside a handler.
func Current(ctx context.Context) *Attempt {
	a, _ := ctx.Value(attemptKey{}).(*Attempt)
	return a
}

type attemptKey struct{}

// attemptContext is the context of a handler. Most handlers are over before
// anyone asks their context anything, and a context with cancellation and a
// timer costs more than the rest of a small task's journey through the worker:
// so the real one is made when Done, Err or a derived context first needs it.
// From then on this one only points at it, so that contexts derived from it
// hang in the standard library's tree without a goroutine.
type attemptContext Attempt

// stdContext is the standard context behind an attemptContext.
type stdContext struct {
	context.Context
	end     context.CancelCauseFunc
	release context.CancelFunc // of the timer
}

func (c *attemptContext) attempt() *Attempt { return (*Attempt)(c) }

// Deadline is context.Context's.
func (c *attemptContext) Deadline() (time.Time, bool) { return c.attempt().Deadline() }

// Done is context.Context's.
func (c *attemptContext) Done() <-chan struct{} { return c.attempt().standard().Done() }

// Err is context.Context's.
func (c *attemptContext) Err() error { return c.attempt().standard().Err() }

// Value is context.Context's.
func (c *attemptContext) Value(key any) any {
	switch key.(type) {
	case attemptKey:
		return c.attempt()
	case *int:
		// The standard library's own look for the context that cancels,
		// among other keys of that shape: only the real one can answer.
		return c.attempt().standard().Value(key)
	}
	if s := c.std.Load(); s != nil {
		return s.Value(key)
	}
	return c.e.base.Value(key)
}

// String names the context in the text of contexts derived from it.
func (c *attemptContext) String() string { return "penstock.Attempt" }

func (a *Attempt) standard() *stdContext {
	if s := a.std.Load(); s != nil {
		return s
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if s := a.std.Load(); s != nil {
		return s
	}
	s := &stdContext{}
	ctx, end := context.WithCancelCause(a.e.base)
	s.end, s.release = end, func() {}
	if at, ok := a.Deadline(); ok {
		ctx, s.release = context.WithDeadlineCause(ctx, at, ErrTimeout)
	}
	s.Context = ctx
	if a.cause != nil {
		end(a.cause)
	}
	a.std.Store(s)
	return s
}

// end ends the context early. The first cause stays.
func (a *Attempt) end(cause error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.cause != nil {
		return
	}
	a.cause = cause
	if s := a.std.Load(); s != nil {
		s.end(cause)
	}
}

// endedBy is why the context has ended while the handler ran; nil = it has not.
func (a *Attempt) endedBy() error {
	if s := a.std.Load(); s != nil {
		return context.Cause(s)
	}
	a.mu.Lock()
	cause := a.cause
	a.mu.Unlock()
	if cause != nil {
		return cause
	}
	if at, ok := a.Deadline(); ok && !time.Now().Before(at) {
		return ErrTimeout
	}
	return nil
}

// close ends the context of a handler that has returned.
func (a *Attempt) close() {
	a.over.Store(true)
	a.mu.Lock()
	if a.cause == nil {
		a.cause = errOver
	}
	s := a.std.Load()
	a.mu.Unlock()
	if s != nil {
		s.end(errOver)
		s.release()
	}
}

var errOver = errors.New("the handler has returned")
