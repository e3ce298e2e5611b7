package node

import (
	"github.com/penstock-io/penstock/internal/task"
)

var errFull = task.Errorf(task.Exhausted, "the disk is nearly full, so no new tasks are taken; those that are there can still be finished: free some space, or raise the limit")

// Enqueue implements task.Broker.
func (n *Node) Enqueue(b *task.EnqueueBatch) {
	b.Err = n.refuse(b)
	if b.Err != nil || len(b.Specs) == 0 {
		b.Results = b.Results[:0]
		b.Done(b)
		return
	}
	w := n.routes.of(b.Queue)
	if w.earlier != nil && n.mayRepeat(b, &w) {
		newRepeats(n, b, w).ask()
		return
	}
	n.place(b, w.put)
}

// place enqueues b where its queue's new tasks go: ps, or nil for its home.
func (n *Node) place(b *task.EnqueueBatch, ps []uint16) {
	if ps != nil {
		n.spread(b, ps)
		return
	}
	n.enqueueTo(n.routes.home(b.Queue), b)
}

func (n *Node) enqueueTo(p uint16, b *task.EnqueueBatch) {
	r, err := n.runner(p)
	if err != nil {
		b.Err = err
		b.Done(b)
		return
	}
	r.Enqueue(b)
}

// refuse says why a batch can't be taken at all.
func (n *Node) refuse(b *task.EnqueueBatch) *task.Error {
	if e := n.damaged.Load(); e != nil {
		return e
	}
	if _, low := n.space.look(); low {
		return errFull
	}
	if len(b.Specs) > task.BatchMax {
		return task.Errorf(task.Invalid, "%d tasks in one call, the most is %d: split it", len(b.Specs), task.BatchMax)
	}
	bytes := 0
	for i := range b.Specs {
		bytes += len(b.Specs[i].Payload)
	}
	if bytes > task.BatchBytesMax {
		return task.Errorf(task.Invalid, "%d bytes of payload in one call, the most is %d: split it", bytes, task.BatchBytesMax)
	}
	if len(b.Producer) > task.SessionIDMax {
		return task.Errorf(task.Invalid, "a producer session's name has %d bytes, the most is %d", len(b.Producer), task.SessionIDMax)
	}
	return nil
}

// spread splits a batch over the partitions of a wide queue. Each spec's way is
// always the same while the width is: by its idempotency key, its key, or its
// number within the producer session; what has none of them goes anywhere.
func (n *Node) spread(b *task.EnqueueBatch, ps []uint16) {
	subs := make([]*task.EnqueueBatch, len(ps))
	origin := make([][]int, len(ps))
	for i := range b.Specs {
		k := n.wayOf(b, &b.Specs[i]) % uint64(len(ps))
		if subs[k] == nil {
			subs[k] = &task.EnqueueBatch{Queue: b.Queue, Producer: b.Producer, AckBelow: b.AckBelow, Wide: true}
		}
		subs[k].Specs = append(subs[k].Specs, b.Specs[i])
		origin[k] = append(origin[k], i)
	}
	if cap(b.Results) < len(b.Specs) {
		b.Results = make([]task.Enqueued, len(b.Specs))
	}
	b.Results = b.Results[:len(b.Specs)]
	j := &join{}
	for _, s := range subs {
		if s != nil {
			j.left++
		}
	}
	j.done = func() {
		if !j.some {
			b.Err = j.err
		}
		b.Done(b)
	}
	for k, s := range subs {
		if s == nil {
			continue
		}
		s.Done = func(s *task.EnqueueBatch) {
			for at, i := range origin[k] {
				if s.Err != nil {
					b.Results[i] = task.Enqueued{Err: s.Err}
				} else {
					b.Results[i] = s.Results[at]
				}
			}
			j.answer(s.Err)
		}
		n.enqueueTo(ps[k], s)
	}
}

func (n *Node) wayOf(b *task.EnqueueBatch, s *task.Spec) uint64 {
	switch {
	case s.Idempotency != "":
		return mix(hash(s.Idempotency))
	case s.Key != "":
		return mix(hash(s.Key))
	case b.Producer != "" && s.Number != 0:
		return mix(hash(b.Producer) ^ mix(s.Number))
	}
	return n.turn.Add(1)
}

// hash is 64-bit FNV-1a. What it gives decides where tasks are, so it may not
// change.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := range len(s) {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// mix is the finaliser of splitmix64 (Steele, Lea, Flood 2014).
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// Report implements task.Broker.
func (n *Node) Report(b *task.OutcomeBatch) {
	b.Err = nil
	if len(b.Outcomes) == 0 {
		b.Codes = b.Codes[:0]
		b.Done(b)
		return
	}
	if len(b.Outcomes) > task.BatchMax {
		b.Err = task.Errorf(task.Invalid, "%d outcomes in one call, the most is %d: split it", len(b.Outcomes), task.BatchMax)
		b.Done(b)
		return
	}
	p := b.Outcomes[0].Token.Partition
	for i := range b.Outcomes[1:] {
		if b.Outcomes[i+1].Token.Partition != p {
			n.reportMany(b)
			return
		}
	}
	n.reportTo(p, b)
}

func (n *Node) reportTo(p uint16, b *task.OutcomeBatch) {
	r, err := n.runner(p)
	switch {
	case err == nil:
		r.Report(b)
		return
	case err.Code == task.NotFound: // a token of nobody here
		b.Codes = append(b.Codes[:0], make([]task.Code, len(b.Outcomes))...)
		for i := range b.Codes {
			b.Codes[i] = task.NotFound
		}
	default:
		b.Err = err
	}
	b.Done(b)
}

// reportMany splits outcomes by partition. When one of them fails, all are told
// so: repeating an outcome is harmless.
func (n *Node) reportMany(b *task.OutcomeBatch) {
	subs := map[uint16]*task.OutcomeBatch{}
	origin := map[uint16][]int{}
	var order []uint16
	for i := range b.Outcomes {
		p := b.Outcomes[i].Token.Partition
		if subs[p] == nil {
			subs[p] = &task.OutcomeBatch{}
			order = append(order, p)
		}
		subs[p].Outcomes = append(subs[p].Outcomes, b.Outcomes[i])
		origin[p] = append(origin[p], i)
	}
	b.Codes = append(b.Codes[:0], make([]task.Code, len(b.Outcomes))...)
	j := &join{left: len(order)}
	j.done = func() {
		if b.Err = j.err; b.Err != nil && j.some && b.Err.Applied == task.AppliedNo {
			b.Err = &task.Error{Code: b.Err.Code, Text: b.Err.Text, Applied: task.AppliedUnknown}
		}
		b.Done(b)
	}
	for _, p := range order {
		at := origin[p]
		subs[p].Done = func(s *task.OutcomeBatch) {
			if s.Err == nil {
				for k, i := range at {
					b.Codes[i] = s.Codes[k]
				}
			}
			j.answer(s.Err)
		}
		n.reportTo(p, subs[p])
	}
}
