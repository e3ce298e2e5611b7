package penstock

import (
	"context"
	"fmt"

	"github.com/penstock-io/penstock/internal/task"
)

// Definition is a type of task: its name, what goes in, what comes out, and how
// its tasks are queued and tried unless a call says otherwise. A program that
// only enqueues needs nothing else. Make one with Define, usually in a variable
// of a package that producers and workers share.
type Definition[In, Out any] struct {
	typ  string
	opts taskOptions
	in   typedCodec[In]
	out  typedCodec[Out]
	err  error
}

// Define names a type of task, at most 256 bytes of UTF-8. A wrong name or
// option is told by the first Enqueue, and by Worker.Run.
func Define[In, Out any](typ string, opts ...Option) *Definition[In, Out] {
	o := defaultOptions().apply(opts)
	o.spec.Type = typ
	d := &Definition[In, Out]{typ: typ, opts: o, in: newTypedCodec[In](o.codec), out: newTypedCodec[Out](o.codec), err: o.err()}
	if e := task.CheckName("type", typ); d.err == nil && e != nil {
		d.err = e
	}
	if e := o.spec.Check(); d.err == nil && e != nil {
		d.err = e
	}
	if d.err != nil {
		d.err = fmt.Errorf("define task type %q: %w", typ, d.err)
	}
	return d
}

// Function is a Definition together with the function that runs its tasks. It
// is a Handler for a worker.
type Function[In, Out any] struct {
	*Definition[In, Out]
	fn func(context.Context, In) (Out, error)
}

// Func defines a type of task and says how to run it: Define and Handle in one.
func Func[In, Out any](typ string, fn func(context.Context, In) (Out, error), opts ...Option) *Function[In, Out] {
	return Define[In, Out](typ, opts...).Handle(fn)
}

// Handle says how to run the tasks of a type. fn is called from many goroutines
// at once. Its context ends early when the task is canceled, its time is over,
// its lease is lost or the worker stops: context.Cause says which. A nil error
// completes the task with the value returned; any other error, and a panic, is
// a failure that is tried again as the task's options say.
func (d *Definition[In, Out]) Handle(fn func(context.Context, In) (Out, error)) *Function[In, Out] {
	return &Function[In, Out]{d, fn}
}

// Type is the type's name.
func (d *Definition[In, Out]) Type() string { return d.typ }

// options are the definition's, changed by those of a call.
func (d *Definition[In, Out]) options(opts []Option) (*taskOptions, error) {
	if d.err != nil {
		return nil, d.err
	}
	if len(opts) == 0 {
		return &d.opts, nil
	}
	o := d.opts.apply(opts)
	if o.coded != d.opts.coded {
		o.refuse("a codec belongs to the type of task: give it to Define or Func")
	}
	if err := o.err(); err != nil {
		return nil, fmt.Errorf("enqueue task of type %q: %w", d.typ, err)
	}
	return &o, nil
}

// Enqueue puts a task in its queue and returns once it is durable. An *Error
// says why it was refused. When ctx ends first, the task may still be enqueued:
// use Idempotency where that matters. Calls of many goroutines travel together:
// there is no need to batch by hand.
func (d *Definition[In, Out]) Enqueue(ctx context.Context, c *Client, in In, opts ...Option) (*Task[Out], error) {
	o, err := d.options(opts)
	if err != nil {
		return nil, err
	}
	call := c.call()
	call.payload, err = d.in.append(call.payload[:0], in)
	if err != nil {
		c.recycle(call)
		return nil, encodeError(d.typ, err)
	}
	call.specs[0] = o.spec
	call.specs[0].Payload = call.payload
	got, err := c.enqueueOne(ctx, o.queue, call)
	if err != nil {
		return nil, err
	}
	return &Task[Out]{c: c, id: ID{got.ID}, existing: got.Existing, codec: &d.out}, nil
}

// Enqueued is one answer of EnqueueMany: a task, or why it was refused.
type Enqueued[Out any] struct {
	Task *Task[Out]
	Err  error
}

// EnqueueMany puts many tasks in their queue and returns once all that were
// accepted are durable: one answer for each input, in order. The error is the
// first one among them, so that a caller who wants all or a complaint need not
// look further. Any number of inputs may be given; they travel in batches of up
// to 10,000 tasks and 4 MiB, and each batch is durable as a whole.
func (d *Definition[In, Out]) EnqueueMany(ctx context.Context, c *Client, ins []In, opts ...Option) ([]Enqueued[Out], error) {
	o, err := d.options(opts)
	if err != nil {
		return nil, err
	}
	var (
		out   = make([]Enqueued[Out], len(ins))
		tasks = make([]Task[Out], len(ins))
		many  = newEnqueueMany(ctx, c, o.queue, len(ins))
		first error
	)
	answer := func(i int, got task.Enqueued, err error) {
		if err != nil {
			out[i].Err = err
			if first == nil {
				first = err
			}
			return
		}
		tasks[i] = Task[Out]{c: c, id: ID{got.ID}, existing: got.Existing, codec: &d.out}
		out[i].Task = &tasks[i]
	}
	for i, in := range ins {
		err := many.add(i, o.spec, func(dst []byte) ([]byte, error) { return d.in.append(dst, in) }, answer)
		if err != nil {
			answer(i, task.Enqueued{}, encodeError(d.typ, err))
		}
	}
	many.flush(answer)
	return out, first
}

// Do enqueues a task, waits for it and returns its result: Enqueue, then
// Task.Wait. It wants a queue that keeps history (the default): in another, a
// task may be done and forgotten before the waiting begins.
func (d *Definition[In, Out]) Do(ctx context.Context, c *Client, in In, opts ...Option) (Out, error) {
	t, err := d.Enqueue(ctx, c, in, opts...)
	if err != nil {
		var none Out
		return none, err
	}
	return t.Wait(ctx)
}

// Task finds a task of this type by its ID, without asking the server.
func (d *Definition[In, Out]) Task(c *Client, id ID) *Task[Out] {
	return &Task[Out]{c: c, id: id, existing: true, codec: &d.out}
}

// Spec is the task that Enqueue would ask for: for penstocktest. A program has
// no use for it, for its types are internal.
func (d *Definition[In, Out]) Spec(in In, opts ...Option) (queue string, s task.Spec, err error) {
	o, err := d.options(opts)
	if err != nil {
		return "", task.Spec{}, err
	}
	s = o.spec
	if s.Payload, err = d.in.append(nil, in); err != nil {
		return "", task.Spec{}, encodeError(d.typ, err)
	}
	return o.queue, s, nil
}

// Decode turns a result's bytes into the type's result.
func (d *Definition[In, Out]) Decode(result []byte) (Out, error) {
	var out Out
	err := d.out.decode(result, &out)
	return out, err
}

func encodeError(typ string, err error) error {
	return task.Errorf(task.Invalid, "payload for task type %q can't be encoded: %v", typ, err)
}

// Task is an enqueued task with a typed result.
type Task[Out any] struct {
	c        *Client
	id       ID
	existing bool
	codec    *typedCodec[Out]
}

// ID is the task's name, for ever.
func (t *Task[Out]) ID() ID { return t.id }

// Existing says that the task was there before: its idempotency key was known.
func (t *Task[Out]) Existing() bool { return t.existing }

// Wait waits until the task has ended and returns its result. A task that ended
// without success is a *TaskError; one that is not there (any more) is
// ErrNotFound; else the error is the context's.
func (t *Task[Out]) Wait(ctx context.Context) (Out, error) {
	var out Out
	in, err := t.c.wait(ctx, t.id.id)
	if err != nil {
		return out, err
	}
	if in.State != task.Succeeded {
		pub := infoOf(in)
		return out, pub.Err()
	}
	if err := t.codec.decode(in.Result, &out); err != nil {
		return out, fmt.Errorf("decode result of task %s (%s): %w", t.id, in.Type, err)
	}
	return out, nil
}

// Info tells all that is known of the task now.
func (t *Task[Out]) Info(ctx context.Context) (Info, error) { return t.c.Get(ctx, t.id) }

// Cancel ends the task; see Client.Cancel.
func (t *Task[Out]) Cancel(ctx context.Context) error { return t.c.Cancel(ctx, t.id) }
