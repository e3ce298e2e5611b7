package partition

import (
	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Enqueue hands a batch over; b.Done is called exactly once. It is refused when
// too much waits already.
func (r *Runner) Enqueue(b *task.EnqueueBatch) {
	if cap(b.Results) < len(b.Specs) {
		b.Results = make([]task.Enqueued, len(b.Specs))
	}
	b.Results = b.Results[:len(b.Specs)]
	m := mail{cmd: queue.Command{Op: queue.OpEnqueue, Enqueue: b}}
	bytes := 0
	for i := range b.Specs {
		bytes += len(b.Specs[i].Payload) + specOverhead
	}
	m.tasks, m.bytes = int32(len(b.Specs)), clamp(bytes)
	if err := r.box.putAdmit(m); err != nil {
		b.Err = err
		b.Done(b)
	}
}

// specOverhead is about what a spec takes beside its payload.
const specOverhead = 200

// clamp fits a size into an errand; what is larger counts as a turn of its own
// anyway.
func clamp(n int) int32 { return int32(min(n, 1<<30)) }

// Report hands outcomes over; b.Done is called exactly once. They are never
// refused for want of room, and never wait behind enqueues.
func (r *Runner) Report(b *task.OutcomeBatch) {
	if cap(b.Codes) < len(b.Outcomes) {
		b.Codes = make([]task.Code, len(b.Outcomes))
	}
	b.Codes = b.Codes[:len(b.Outcomes)]
	m := mail{cmd: queue.Command{Op: queue.OpReport, Report: b}}
	bytes := 0
	for i := range b.Outcomes {
		bytes += len(b.Outcomes[i].Result) + len(b.Outcomes[i].Log) + len(b.Outcomes[i].Error) + specOverhead
	}
	m.tasks, m.bytes = int32(len(b.Outcomes)), clamp(bytes)
	if err := r.box.putFinish(m); err != nil {
		b.Err = err
		b.Done(b)
	}
}

// Extend renews unary leases; codes are in e when done is called.
func (r *Runner) Extend(e *queue.Extend, done func(err *task.Error)) {
	e.Codes = make([]task.Code, len(e.Extensions))
	for i := range e.Extensions {
		if p := e.Extensions[i].Progress; p != nil {
			r.Progress(e.Extensions[i].Token, *p)
		}
	}
	r.put(queue.Command{Op: queue.OpExtend, Extend: e}, done)
}

// Change cancels, retries or deletes tasks; errors are in c when done is called.
func (r *Runner) Change(c *queue.Change, done func(err *task.Error)) {
	c.Errs = make([]*task.Error, len(c.IDs))
	r.put(queue.Command{Op: queue.OpChange, Change: c}, done)
}

// SetQueue changes a queue's settings.
func (r *Runner) SetQueue(c *queue.SetQueue, done func(err *task.Error)) {
	r.put(queue.Command{Op: queue.OpSetQueue, SetQueue: c}, func(err *task.Error) {
		if err == nil {
			err = c.Err
		}
		done(err)
	})
}

// Purge deletes a queue's waiting tasks or dead letters.
func (r *Runner) Purge(c *queue.Purge, done func(err *task.Error)) {
	r.put(queue.Command{Op: queue.OpPurge, Purge: c}, func(err *task.Error) {
		if err == nil {
			err = c.Err
		}
		done(err)
	})
}

// Free hands back deliveries that could not be brought to whom they were for,
// without blame.
func (r *Runner) Free(unsent []task.Token) {
	r.put(queue.Command{Op: queue.OpFree, Unsent: unsent}, func(*task.Error) {})
}

func (r *Runner) put(c queue.Command, done func(err *task.Error)) {
	m := mail{cmd: c}
	m.reply = done
	if err := r.box.putFinish(m); err != nil {
		done(err)
	}
}
