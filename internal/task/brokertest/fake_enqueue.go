package brokertest

import (
	"bytes"
	"hash/fnv"

	"github.com/penstock-io/penstock/internal/task"
)

type idemKey struct{ queue, key string }

// idemEntry remembers the task that was enqueued under an idempotency key.
type idemEntry struct {
	rec     *rec
	payload []byte
	until   task.Time
}

// holds says whether the key is still taken: to the later of its window and
// the end of its task.
func (e *idemEntry) holds(now task.Time) bool {
	return now < e.until || e.rec.state != task.StateUnknown && !e.rec.state.Final()
}

type producerKey struct{ producer, queue string }

// producer is the numbers of one producer session in one queue.
type producer struct {
	ids     map[uint64]task.ID
	below   uint64
	lastUse task.Time
}

// Enqueue is task.Broker's.
func (f *Fake) Enqueue(b *task.EnqueueBatch) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	b.Err = nil
	b.Results = make([]task.Enqueued, len(b.Specs))
	b.Err = f.checkBatch(b)
	if b.Err == nil {
		q := f.queueNamed(b.Queue)
		p := f.producerOf(b)
		for i := range b.Specs {
			b.Results[i] = f.enqueueNumbered(q, p, b, &b.Specs[i])
		}
		f.dispatch(q)
		b.Err = f.loseAnswer()
	}
	f.call(func() { b.Done(b) })
}

func (f *Fake) checkBatch(b *task.EnqueueBatch) *task.Error {
	if e := f.refusal(); e != nil {
		return e
	}
	if f.faults.Full {
		return task.Errorf(task.Exhausted, "the disk is almost full: free some space, finishing goes on meanwhile")
	}
	if e := task.CheckName("queue", b.Queue); e != nil {
		return e
	}
	if len(b.Specs) > task.BatchMax {
		return task.Errorf(task.Invalid, "%d tasks in one call, the limit is %d: send several calls", len(b.Specs), task.BatchMax)
	}
	if len(b.Producer) > 32 {
		return task.Errorf(task.Invalid, "the producer session's name is over 32 bytes long")
	}
	n := 0
	for i := range b.Specs {
		n += len(b.Specs[i].Payload)
	}
	if n > task.BatchBytesMax {
		return task.Errorf(task.Invalid, "the call has %d bytes of payload, the limit is %d: send several calls", n, task.BatchBytesMax)
	}
	return nil
}

// refusal is why nothing at all can be done now.
func (f *Fake) refusal() *task.Error {
	if f.closed {
		return errClosed()
	}
	if f.faults.Refuse > 0 {
		f.faults.Refuse--
		return &task.Error{Code: task.Unavailable, Text: "the queue can't be reached: try again", Applied: task.AppliedNo}
	}
	return nil
}

func (f *Fake) loseAnswer() *task.Error {
	if f.faults.LoseAnswers == 0 {
		return nil
	}
	f.faults.LoseAnswers--
	return &task.Error{Code: task.Unavailable, Text: "the answer was lost: repeat it under the same number", Applied: task.AppliedUnknown}
}

func (f *Fake) producerOf(b *task.EnqueueBatch) *producer {
	if b.Producer == "" {
		return nil
	}
	k := producerKey{b.Producer, b.Queue}
	p := f.producers[k]
	if p == nil {
		if f.evicted[k] {
			return &producer{below: ^uint64(0)}
		}
		p = &producer{ids: map[uint64]task.ID{}}
		f.producers[k] = p
	}
	p.lastUse = f.now
	f.soon(f.now.Add(task.ProducerIdleMax))
	for ; p.below < b.AckBelow && len(p.ids) > 0; p.below++ {
		delete(p.ids, p.below)
	}
	p.below = max(p.below, b.AckBelow)
	return p
}

func (f *Fake) enqueueNumbered(q *queue, p *producer, b *task.EnqueueBatch, s *task.Spec) task.Enqueued {
	if p == nil || s.Number == 0 {
		return f.enqueueOne(q, s)
	}
	if s.Number < p.below {
		return task.Enqueued{Err: task.Errorf(task.Conflict,
			"number %d of producer session %q is no longer remembered: whether it was enqueued is not known", s.Number, b.Producer)}
	}
	if id, ok := p.ids[s.Number]; ok {
		return task.Enqueued{ID: id, Existing: true}
	}
	res := f.enqueueOne(q, s)
	if res.Err == nil {
		p.ids[s.Number] = res.ID
	}
	return res
}

func (f *Fake) enqueueOne(q *queue, s *task.Spec) task.Enqueued {
	if e := s.Check(); e != nil {
		return task.Enqueued{Err: e}
	}
	ik := idemKey{q.name, s.Idempotency}
	if s.Idempotency != "" {
		if e := f.idem[ik]; e != nil && e.holds(f.now) {
			if !bytes.Equal(e.payload, s.Payload) {
				return task.Enqueued{Err: task.Errorf(task.Conflict,
					"idempotency key %q was used for task %s with another payload", s.Idempotency, e.rec.id)}
			}
			return task.Enqueued{ID: e.rec.id, Existing: true}
		}
	}
	r := &rec{queue: q, spec: *s, timerPos: -1, enqueuedAt: f.now}
	r.attempts = r.firstRoom[:0]
	r.spec.Payload = bytes.Clone(s.Payload)
	due := max(s.RunAt, f.now.Add(s.Delay))
	f.counter++
	h := fnv.New32a()
	h.Write([]byte(s.Type))
	r.id = task.ID{Partition: fakePartition, Priority: s.Priority, Queue: q.number, Lane: h.Sum32(), Seq: task.MakeSeq(fakeEpoch, f.counter)}
	if due > f.now {
		r.id.Class, r.id.Due = task.ClassTimed, due
	}
	if s.ExpireAfter > 0 {
		r.expiresAt = due.Add(s.ExpireAfter)
	}
	f.recs[r.id.Seq] = r
	q.enqueued++
	if s.Idempotency != "" {
		window := s.IdempotencyFor
		if window == 0 {
			window = task.DefaultIdempotency
		}
		f.idem[ik] = &idemEntry{rec: r, payload: r.spec.Payload, until: f.now.Add(window)}
	}
	r.readyAt = due
	if due > f.now {
		f.setState(r, task.Scheduled)
	} else {
		f.setState(r, task.Ready)
		f.noteUnserved(r)
	}
	f.retime(r)
	return task.Enqueued{ID: r.id}
}

// noteUnserved has the clock look again when r has waited for a worker of its
// type as long as it may.
func (f *Fake) noteUnserved(r *rec) {
	if !f.served(r.queue, r.spec.Type) {
		limit := r.queue.cfg.Unserved
		if limit == 0 {
			limit = task.DefaultUnserved
		}
		f.soon(f.now.Add(limit))
	}
}

// Watch is task.Broker's.
func (f *Fake) Watch(w *task.Watch) (stop func()) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	r := f.find(w.ID)
	switch {
	case f.closed:
		w.Err = errClosed()
	case r == nil:
		w.Err = notFound(w.ID)
	case r.state.Final():
		w.Info = f.info(r)
	default:
		r.watches = append(r.watches, w)
		return func() { f.unwatch(r, w) }
	}
	f.call(func() { w.Done(w) })
	return func() {}
}

func (f *Fake) unwatch(r *rec, w *task.Watch) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	for i := range r.watches {
		if r.watches[i] == w {
			r.watches = append(r.watches[:i:i], r.watches[i+1:]...)
			return
		}
	}
}

// find is nil unless id names a task that is known.
func (f *Fake) find(id task.ID) *rec {
	if r := f.recs[id.Seq]; r != nil && r.id == id {
		return r
	}
	return nil
}

func notFound(id task.ID) *task.Error {
	return task.Errorf(task.NotFound, "no task %s: it was deleted, or finished longer ago than its queue keeps history", id)
}
