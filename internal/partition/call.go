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

// Extend renews unary leases and notes what their holders say of their progress.
// done gets one code an extension.
func (r *Runner) Extend(exts []task.Extension, done func(codes []task.Code, err *task.Error)) {
	e := &queue.Extend{Extensions: exts, Codes: make([]task.Code, len(exts))}
	r.put(queue.Command{Op: queue.OpExtend, Extend: e}, func(err *task.Error) {
		for i := range exts {
			if p := exts[i].Progress; p != nil && err == nil && e.Codes[i] == task.OK {
				r.Progress(exts[i].Token, *p)
			}
		}
		done(e.Codes, err)
	})
}

// Change cancels, retries or deletes tasks. done gets one error an ID.
func (r *Runner) Change(v task.Verb, ids []task.ID, done func(errs []*task.Error, err *task.Error)) {
	c := &queue.Change{Verb: v, IDs: ids, Errs: make([]*task.Error, len(ids))}
	r.put(queue.Command{Op: queue.OpChange, Change: c}, func(err *task.Error) { done(c.Errs, err) })
}

// SetQueue changes a queue's settings and makes the queue if it is new.
func (r *Runner) SetQueue(name string, p task.QueuePatch, done func(err *task.Error)) {
	c := &queue.SetQueue{Name: name, Patch: p}
	r.put(queue.Command{Op: queue.OpSetQueue, SetQueue: c}, func(err *task.Error) {
		if err == nil {
			err = c.Err
		}
		done(err)
	})
}

// Purge deletes a queue's waiting tasks or dead letters. done gets how many.
func (r *Runner) Purge(name string, states []task.State, done func(gone int64, err *task.Error)) {
	c := &queue.Purge{Name: name, States: states}
	r.put(queue.Command{Op: queue.OpPurge, Purge: c}, func(err *task.Error) {
		if err == nil {
			err = c.Err
		}
		done(c.Gone, err)
	})
}

// DeleteQueue deletes a queue: an empty one, or by force what waits in it too. done
// gets how many tasks went with it.
func (r *Runner) DeleteQueue(name string, force bool, done func(gone int64, err *task.Error)) {
	c := &queue.DeleteQueue{Name: name, Force: force}
	r.put(queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: c}, func(err *task.Error) {
		if err == nil {
			err = c.Err
		}
		done(c.Gone, err)
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
