package node

import "github.com/penstock-io/penstock/internal/task"

// repeats is a batch for a queue whose width has been changed. What may be a
// repeat of an enqueue under an earlier width is first asked for where it went
// then, and taken as new only if it is not known there. A partition answers in the
// order in which it is asked, so a repeat never overtakes what it repeats.
type repeats struct {
	n       *Node
	b       *task.EnqueueBatch
	w       route
	earlier []former // still to be asked
	left    []int    // specs that are not answered
}

// mayRepeat says whether any of b may have been enqueued before its queue's width
// was changed.
func (n *Node) mayRepeat(b *task.EnqueueBatch, w *route) bool {
	if b.Producer != "" && n.numbersKept(&w.earlier[0]) {
		return true
	}
	for i := range b.Specs {
		if b.Specs[i].Idempotency != "" {
			return true
		}
	}
	return false
}

// numbersKept says whether numbers that were used until then may be repeated.
func (n *Node) numbersKept(e *former) bool { return e.until.Add(task.ProducerIdleMax) > n.steady() }

func newRepeats(n *Node, b *task.EnqueueBatch, w route) *repeats {
	r := &repeats{n: n, b: b, w: w, earlier: w.earlier, left: make([]int, len(b.Specs))}
	for i := range r.left {
		r.left[i] = i
	}
	if cap(b.Results) < len(b.Specs) {
		b.Results = make([]task.Enqueued, len(b.Specs))
	}
	b.Results = b.Results[:len(b.Specs)]
	return r
}

// ask goes on with the next earlier width, or enqueues what is left.
func (r *repeats) ask() {
	for len(r.earlier) > 0 {
		e := r.earlier[0]
		r.earlier = r.earlier[1:]
		by := map[uint16][]int{}
		for _, i := range r.left {
			if !r.mayBe(e, &r.b.Specs[i]) {
				continue
			}
			if p := r.at(e.put, i); p != r.at(r.w.put, i) {
				by[p] = append(by[p], i)
			}
		}
		if len(by) > 0 {
			r.send(by)
			return
		}
	}
	if len(r.left) == 0 {
		r.b.Done(r.b)
		return
	}
	rest := r.part(r.left)
	rest.Done = func(rest *task.EnqueueBatch) {
		if r.b.Err = rest.Err; r.b.Err == nil {
			for k, i := range r.left {
				r.b.Results[i] = rest.Results[k]
			}
		}
		r.b.Done(r.b)
	}
	r.n.place(rest, r.w.put)
}

// mayBe says whether a spec may have been enqueued before the width was changed.
func (r *repeats) mayBe(e former, s *task.Spec) bool {
	return s.Idempotency != "" || s.Number != 0 && r.b.Producer != "" && r.n.numbersKept(&e)
}

// at is where the i-th spec goes if its queue lives in ps.
func (r *repeats) at(ps []uint16, i int) uint16 {
	switch len(ps) {
	case 0:
		return r.n.routes.home(r.b.Queue)
	case 1:
		return ps[0]
	}
	return ps[r.n.wayOf(r.b, &r.b.Specs[i])%uint64(len(ps))]
}

func (r *repeats) part(at []int) *task.EnqueueBatch {
	b := &task.EnqueueBatch{Queue: r.b.Queue, Producer: r.b.Producer, AckBelow: r.b.AckBelow, Wide: r.n.numbersKept(&r.w.earlier[0])}
	for _, i := range at {
		b.Specs = append(b.Specs, r.b.Specs[i])
	}
	b.Results = make([]task.Enqueued, len(at))
	return b
}

func (r *repeats) send(by map[uint16][]int) {
	j := &join{left: len(by)}
	unseen := make([]bool, len(r.b.Specs)) // each partition writes its own
	j.done = func() {
		if j.err != nil { // to be repeated whole: that is harmless
			r.b.Err = j.err
			r.b.Done(r.b)
			return
		}
		asked := map[int]bool{}
		for _, at := range by {
			for _, i := range at {
				asked[i] = true
			}
		}
		var left []int
		for _, i := range r.left {
			if !asked[i] || unseen[i] {
				left = append(left, i)
			}
		}
		r.left = left
		r.ask()
	}
	for _, p := range sortedKeys(by) {
		at := by[p]
		b := r.part(at)
		b.Known = true
		b.Done = func(b *task.EnqueueBatch) {
			for k, i := range at {
				if b.Err == nil {
					r.b.Results[i], unseen[i] = b.Results[k], b.Results[k].Err == task.ErrUnseen
				}
			}
			j.answer(b.Err)
		}
		r.n.enqueueTo(p, b)
	}
}
