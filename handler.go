package penstock

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/internal/task"
)

// Handler is something a worker can run: a *Function, or what HandleRaw makes.
type Handler interface {
	// Type is the type of the tasks it runs; AnyType for every other.
	Type() string
	handler() *handler
}

// handler is a Handler with its types rubbed off.
type handler struct {
	typ   string // "" = every type that no other handler serves
	queue string
	err   error
	rules []rule
	run   func(ctx context.Context, a *Attempt) error
}

func (f *Function[In, Out]) handler() *handler {
	h := &handler{typ: f.typ, queue: f.opts.queue, err: f.err, rules: f.opts.rules}
	if f.fn == nil && h.err == nil {
		h.err = task.Errorf(task.Invalid, "the function that handles task type %q is nil", f.typ)
	}
	contentType := f.opts.spec.ContentType
	h.run = func(ctx context.Context, a *Attempt) error {
		var in In
		if err := f.in.decode(a.d.Payload, &in); err != nil {
			return Permanent(fmt.Errorf("decode payload: %w", err))
		}
		out, err := f.fn(ctx, in)
		if err != nil {
			return err
		}
		if a.result, err = f.out.append(a.result[:0], out); err != nil {
			return Permanent(fmt.Errorf("encode result: %w", err))
		}
		a.resultType = contentType
		return nil
	}
	return h
}

// AnyType, given to HandleRaw, serves every type that no other handler of the
// worker serves.
const AnyType = ""

// Content is bytes and what they are.
type Content struct {
	Data []byte // at most 1 MiB
	Type string // "" = application/json
}

// HandleRaw runs the tasks of a type, or of AnyType, without decoding them. Of
// the options only Queue, which names the queue that the worker then serves,
// and RetryOn matter.
func HandleRaw(typ string, fn func(ctx context.Context, a *Attempt) (Content, error), opts ...Option) Handler {
	o := defaultOptions().apply(opts)
	h := &handler{typ: typ, queue: o.queue, err: o.err(), rules: o.rules}
	if typ != AnyType && h.err == nil {
		h.err = refusal(task.CheckName("type", typ))
	}
	if fn == nil && h.err == nil {
		h.err = task.Errorf(task.Invalid, "the function that handles task type %q is nil", typ)
	}
	h.run = func(ctx context.Context, a *Attempt) error {
		c, err := fn(ctx, a)
		if err != nil {
			return err
		}
		a.result = append(a.result[:0], c.Data...)
		a.resultType = c.Type
		if c.Type == JSON.ContentType() {
			a.resultType = ""
		}
		return nil
	}
	return rawHandler{h}
}

type rawHandler struct{ h *handler }

func (r rawHandler) Type() string      { return r.h.typ }
func (r rawHandler) handler() *handler { return r.h }

// Middleware wraps every attempt of a worker. It calls next, once, to go on,
// with the context it was given or one made from it; what it returns is what
// became of the attempt.
type Middleware func(ctx context.Context, a *Attempt, next func(context.Context) error) error

// wrap puts the middleware round run, the first outermost.
func wrap(run func(context.Context, *Attempt) error, mws []Middleware) func(context.Context, *Attempt) error {
	for i := len(mws) - 1; i >= 0; i-- {
		mw, inner := mws[i], run
		run = func(ctx context.Context, a *Attempt) error {
			return mw(ctx, a, func(ctx context.Context) error { return inner(ctx, a) })
		}
	}
	return run
}
