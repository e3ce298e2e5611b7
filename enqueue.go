package penstock

import (
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	payloadKeptMax  = 16 << 10 // larger buffers are left to the garbage collector
	manyBatchMax    = task.BatchMax
	manyBytesMax    = 4 << 20 // payload bytes in one batch of EnqueueMany
	manyInFlightMax = 2       // batches under way at once: one travels while the next is encoded
)

// enqueueCall is one task on its way, with all that the call needs, so that a
// call takes one object from a pool. While the broker has it, it is the broker's.
type enqueueCall struct {
	batch   task.EnqueueBatch
	specs   [1]task.Spec
	results [1]task.Enqueued
	payload []byte
	done    chan struct{}
}

func newEnqueueCall() any {
	e := &enqueueCall{done: make(chan struct{}, 1)}
	e.batch.Done = func(*task.EnqueueBatch) { e.done <- struct{}{} }
	return e
}

// call takes one from the client's pool. The pool is not the program's, because
// a channel that was made in a synctest bubble can't be used outside it.
func (c *Client) call() *enqueueCall { return c.calls.Get().(*enqueueCall) }

// recycle gives a call back; only when the broker is done with it.
func (c *Client) recycle(e *enqueueCall) {
	if cap(e.payload) > payloadKeptMax {
		e.payload = nil
	}
	e.specs[0], e.results[0] = task.Spec{}, task.Enqueued{}
	c.calls.Put(e)
}

// enqueueOne sends call.specs[0] and waits. It takes call over.
func (c *Client) enqueueOne(ctx context.Context, queue string, call *enqueueCall) (task.Enqueued, error) {
	if n := len(call.specs[0].Payload); n > task.PayloadMax {
		c.recycle(call)
		return task.Enqueued{}, payloadTooLarge(n)
	}
	if err := ctx.Err(); err != nil {
		c.recycle(call)
		return task.Enqueued{}, err
	}
	b := &call.batch
	b.Queue, b.Specs, b.Results, b.Err = queue, call.specs[:], call.results[:], nil
	b.Producer, b.AckBelow = "", 0
	c.broker.Enqueue(b)
	if ended := ctx.Done(); ended == nil {
		<-call.done
	} else {
		select {
		case <-call.done:
		case <-ended:
			// The batch stays with the broker: it is not recycled.
			return task.Enqueued{}, fmt.Errorf("enqueue task: %w (it may still be enqueued)", ctx.Err())
		}
	}
	err := b.Err
	var got task.Enqueued
	if err == nil {
		got = b.Results[0] // its own array, should the broker have put one there
		if b.Specs[0].Idempotency == "" {
			got.Existing = false // it is this call's own, sent twice
		}
		err = got.Err
	}
	c.recycle(call)
	return got, refusal(err)
}

func payloadTooLarge(n int) *task.Error {
	return task.Errorf(task.Invalid, "payload is %d bytes, the limit is %d: keep large data elsewhere and enqueue its address", n, task.PayloadMax)
}

// answerFunc is told what became of input i.
type answerFunc func(i int, got task.Enqueued, err error)

// enqueueMany cuts a long list into batches and keeps a few under way.
type enqueueMany struct {
	ctx    context.Context
	c      *Client
	queue  string
	left   int // inputs not yet added, at most
	open   *manyBatch
	flight []*manyBatch
	failed error // the context's, or the client's; nothing more is sent
}

type manyBatch struct {
	batch task.EnqueueBatch
	items []int // input of each spec
	bytes []byte
	done  chan struct{}
}

func newEnqueueMany(ctx context.Context, c *Client, queue string, n int) *enqueueMany {
	return &enqueueMany{ctx: ctx, c: c, queue: queue, left: n}
}

// add puts one task in the open batch. encode appends its payload; its error is
// returned and the input is left out.
func (m *enqueueMany) add(i int, spec task.Spec, encode func([]byte) ([]byte, error), answer answerFunc) error {
	b := m.open
	if b == nil {
		n := min(m.left, manyBatchMax)
		b = &manyBatch{items: make([]int, 0, n)}
		b.batch.Specs = make([]task.Spec, 0, n)
		m.open = b
	}
	m.left--
	start := len(b.bytes)
	buf, err := encode(b.bytes)
	if err != nil {
		return err
	}
	if n := len(buf) - start; n > task.PayloadMax {
		b.bytes = buf[:start]
		answer(i, task.Enqueued{}, payloadTooLarge(n))
		return nil
	}
	if start == 0 { // the first: the others will be much like it
		buf = slices.Grow(buf, min(len(buf)*cap(b.items)*9/8, manyBytesMax))
	}
	b.bytes = buf
	spec.Payload = buf[start:len(buf):len(buf)]
	b.batch.Specs = append(b.batch.Specs, spec)
	b.items = append(b.items, i)
	if len(b.batch.Specs) >= manyBatchMax || len(b.bytes) >= manyBytesMax {
		m.send(answer)
	}
	return nil
}

// send hands the open batch over, after waiting for the oldest when enough are
// under way.
func (m *enqueueMany) send(answer answerFunc) {
	b := m.open
	m.open = nil
	if b == nil || len(b.items) == 0 {
		return
	}
	if len(m.flight) >= manyInFlightMax {
		m.collect(answer)
	}
	if m.failed == nil {
		m.failed = m.ctx.Err()
	}
	if m.failed != nil {
		m.answerAll(b, m.failed, answer)
		return
	}
	b.done = make(chan struct{})
	b.batch.Queue = m.queue
	b.batch.Results = make([]task.Enqueued, len(b.items))
	b.batch.Done = func(*task.EnqueueBatch) { close(b.done) }
	m.flight = append(m.flight, b)
	m.c.broker.Enqueue(&b.batch)
}

// collect waits for the oldest batch under way.
func (m *enqueueMany) collect(answer answerFunc) {
	b := m.flight[0]
	m.flight = m.flight[1:]
	select {
	case <-b.done:
	case <-m.ctx.Done():
		m.failed = fmt.Errorf("enqueue tasks: %w (they may still be enqueued)", m.ctx.Err())
		m.answerAll(b, m.failed, answer)
		return
	}
	if b.batch.Err != nil {
		m.answerAll(b, b.batch.Err, answer)
		return
	}
	for k, i := range b.items {
		got := b.batch.Results[k]
		if b.batch.Specs[k].Idempotency == "" {
			got.Existing = false
		}
		answer(i, got, refusal(got.Err))
	}
}

func (m *enqueueMany) answerAll(b *manyBatch, err error, answer answerFunc) {
	for _, i := range b.items {
		answer(i, task.Enqueued{}, err)
	}
}

// flush sends what is left and waits for all.
func (m *enqueueMany) flush(answer answerFunc) {
	m.send(answer)
	for len(m.flight) > 0 {
		m.collect(answer)
	}
}

// Raw is a task of a type that this program has no Definition of: its payload
// is bytes.
type Raw struct {
	Type        string   // at most 256 bytes of UTF-8
	Payload     []byte   // at most 1 MiB
	ContentType string   // "" = application/json
	Options     []Option // of this task, after those of the call
}

// Enqueue puts a task with a ready-made payload in its queue and returns once
// it is durable. Its result is bytes too. Otherwise as Definition.Enqueue.
func (c *Client) Enqueue(ctx context.Context, r Raw, opts ...Option) (*Task[[]byte], error) {
	o, err := r.options(opts)
	if err != nil {
		return nil, err
	}
	call := c.call()
	call.payload = append(call.payload[:0], r.Payload...)
	call.specs[0] = o.spec
	call.specs[0].Payload = call.payload
	got, err := c.enqueueOne(ctx, o.queue, call)
	if err != nil {
		return nil, err
	}
	return &Task[[]byte]{c: c, id: ID{got.ID}, existing: got.Existing, codec: &rawCodec}, nil
}

// EnqueueMany puts many tasks with ready-made payloads in their queues: one
// answer for each, in order. Otherwise as Definition.EnqueueMany. A run of
// tasks for the same queue travels in one batch.
func (c *Client) EnqueueMany(ctx context.Context, rs []Raw, opts ...Option) ([]Enqueued[[]byte], error) {
	var (
		out   = make([]Enqueued[[]byte], len(rs))
		many  *enqueueMany
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
		out[i].Task = &Task[[]byte]{c: c, id: ID{got.ID}, existing: got.Existing, codec: &rawCodec}
	}
	for i := range rs {
		o, err := rs[i].options(opts)
		if err != nil {
			answer(i, task.Enqueued{}, err)
			continue
		}
		if many != nil && many.queue != o.queue {
			many.flush(answer)
			many = nil
		}
		if many == nil {
			many = newEnqueueMany(ctx, c, o.queue, len(rs)-i)
		}
		copyPayload := func(dst []byte) ([]byte, error) { return append(dst, rs[i].Payload...), nil }
		if err := many.add(i, o.spec, copyPayload, answer); err != nil {
			answer(i, task.Enqueued{}, err)
		}
	}
	if many != nil {
		many.flush(answer)
	}
	return out, first
}

var rawCodec = typedCodec[[]byte]{codec: Bytes}

func (r *Raw) options(opts []Option) (taskOptions, error) {
	o := defaultOptions().apply(opts).apply(r.Options)
	o.spec.Type = r.Type
	if o.coded > 0 {
		o.refuse("a raw task has no codec: its payload is bytes already")
	}
	if r.ContentType != "" {
		o.spec.ContentType = r.ContentType
	}
	if o.spec.ContentType == JSON.ContentType() {
		o.spec.ContentType = ""
	}
	if err := o.err(); err != nil {
		return o, fmt.Errorf("enqueue task of type %q: %w", r.Type, err)
	}
	return o, nil
}
