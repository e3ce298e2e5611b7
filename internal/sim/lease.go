package sim

import (
	"context"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// What is promised of leases: while whoever holds one is heard of, the task is
// given to nobody else, over restarts and faults too; and an outcome counts under
// the last lease only.

const (
	adoptFor   = 5 * task.Second         // after a restart workers have so long to be back
	claimAfter = 1100 * task.Millis(1)   // a lease so old is written
	sweepLate  = 2500 * task.Millis(1)   // what is looked after once a second is done by then
	graceFor   = 1000 * task.Millis(1)   // a session's worker has so long past a timeout
	lateName   = "a caller that is gone" // who leases and does not wait for it
)

// hold is the last lease of a task, as who has it knows it.
type hold struct {
	d      task.Delivery
	k      *worker // nil: unary
	born   int     // of k
	life   int     // of the process that gave it
	broken int     // faults of the store until then
	since  task.Time
	began  task.Time   // not before then
	from   task.Time   // since when this owner has known of it
	over   bool        // reported, revoked or given up
	shaken task.Time   // the first fault or restart since; 0 = none
	known  bool        // it was written before that
	late   bool        // of one who hands it back at once
	end    task.Time   // of a unary one; 0 = the wall clock was set, it can't be told
	stood  task.Millis // its owner stood still for so long since, until a fault
}

// leased judges a delivery by the lease that was before it.
func (w *world) leased(d task.Delivery, k *worker) {
	t := w.led.tasks[d.ID]
	if t == nil {
		return
	}
	if h := t.held; h != nil && w.promised(h) {
		w.led.cry("lease", "%s was given to another under fence %d while %s has it under fence %d, since %d ms", t.key, d.Token.Fence(), h.who(), h.d.Token.Fence(), w.now.Sub(h.since))
	}
	d.Payload = nil
	h := &hold{d: d, k: k, life: w.life, broken: w.broken, since: w.now, from: w.now, began: w.quiet}
	if k != nil {
		h.born = k.born
	} else if w.clocks.set == 0 || w.led.step > w.clocks.last+1 {
		h.end = w.now.Add(d.LeaseEnd.Sub(w.wall()))
	}
	t.held = h
	w.checkWritten(t, h)
	w.checkAllowed(t, &d)
}

func (h *hold) who() string {
	if h.k == nil {
		return "curl"
	}
	return h.k.id()
}

// promised says whether the lease must be good now.
func (w *world) promised(h *hold) bool {
	t := w.led.tasks[h.d.ID]
	x := w.led.sent[t.key]
	if h.over || w.led.draining || w.clocks.set > 0 && h.shaken != 0 || t.touched(x) || x.spec.ExpireAfter != 0 || x.spec.Deadline != 0 ||
		h.d.Timeout != 0 && w.now >= h.began.Add(h.d.Timeout+h.stood) {
		return false
	}
	if h.k == nil {
		return w.now < h.end && (h.shaken == 0 || h.known)
	}
	k := h.k
	if k.born != h.born || w.now >= k.heard.Add(k.lasts()) || !k.remote && k.heardLife != w.life {
		return false
	}
	// An owner that does not end in order takes a second of that, however young it died.
	return k.shaken == 0 || w.now < k.shaken.Add(adoptFor-task.Millis(k.falls)*task.Second)
}

// touched says that somebody has, or may have, changed the task.
func (t *known) touched(x *sent) bool {
	return t.canceled > 0 || t.deleted > 0 || t.retried || x.purged
}

// lasts is the TTL of the worker's session.
func (k *worker) lasts() task.Millis {
	if k.ttl == 0 {
		return task.DefaultSessionTTL
	}
	return k.ttl
}

// contact notes that the node has heard of the worker.
func (k *worker) contact() {
	k.w.sessions[k.id()] = k.w.now.Add(k.lasts())
	k.heard, k.heardLife, k.shaken, k.falls, k.spared = k.w.now, k.w.life, 0, 0, false
}

// resumed notes that a worker is back, before it counts as heard of.
func (w *world) resumed(k *worker) {
	for _, d := range k.running {
		h := w.led.tasks[d.ID].held
		if h == nil || h.d.Token != d.Token || w.promised(h) && (h.shaken == 0 || h.known) {
			continue
		}
		h.known, h.from = false, w.now
	}
}

// fell notes that a partition ends, or all of them. In order means that what runs
// was written down.
func (w *world) fell(inOrder bool) {
	for _, k := range w.workers {
		if k.shaken == 0 {
			k.shaken = w.now
		} else if !inOrder {
			k.falls++
		}
		if !k.remote && k.s == nil { // it is recorded nowhere, and not attached
			k.heard = 0
		}
	}
	for _, t := range w.led.order {
		if h := t.held; h != nil && !h.over && h.shaken == 0 {
			h.stood = 0 // that is nowhere written
			h.shaken, h.known = w.now, inOrder || w.rested >= h.since.Add(claimAfter)
		}
	}
	w.shakes++
	w.shookLast = w.now
}

// revoked judges the end of a lease that its worker is told of.
func (w *world) revoked(k *worker, ts []task.Token, why task.Code) {
	for _, tok := range ts {
		t := w.led.bySeq[seqKey(tok.Partition, tok.Seq)]
		if t == nil || t.held == nil || t.held.d.Token != tok || t.held.k != k {
			continue
		}
		if w.promised(t.held) {
			w.led.cry("lease", "%s lost %s after %d ms (%v), and was heard of %d ms ago, %d ms before a fault", k.id(), t.key, w.now.Sub(t.held.since), why, w.now.Sub(k.heard), max(0, k.shaken.Sub(k.heard)))
		}
		t.held.over = true
	}
}

// sending notes what is known when outcomes are sent; what it returns judges their
// answers.
func (w *world) sending(os []task.Outcome) func(b *task.OutcomeBatch) {
	type newer struct {
		d      task.Delivery
		shakes int
	}
	seen := map[task.Token]newer{}
	for i := range os {
		o := &os[i]
		t := w.led.bySeq[seqKey(o.Token.Partition, o.Token.Seq)]
		if t == nil {
			continue
		}
		if t.held != nil && t.held.d.Token == o.Token {
			t.held.over = true
		}
		if t.saidUnder != o.Token {
			t.saidUnder, t.saidAt = o.Token, w.now
		}
		if n := len(t.seen); n > 0 && t.seen[n-1].Token.Fence() > o.Token.Fence() {
			seen[o.Token] = newer{t.seen[n-1], t.shakes}
		}
	}
	return func(b *task.OutcomeBatch) {
		if b.Err != nil {
			return
		}
		for i := range b.Outcomes {
			o := &b.Outcomes[i]
			n, stale := seen[o.Token]
			t := w.led.bySeq[seqKey(o.Token.Partition, o.Token.Seq)]
			if t != nil && b.Codes[i] == task.OK && !stale && t.saidUnder == o.Token {
				sent := t.saidAt // a repeat is answered as the first was, whose answer was lost
				if t.notBefore = w.retryFrom(w.led.sent[t.key], o, sent); o.Kind == task.OutcomeComplete && t.endedBy == 0 {
					t.endedBy = sent
				}
			}
			if !stale || b.Codes[i] != task.OK || t.retried || t.completed != nil && t.completed.Token == o.Token {
				continue
			}
			// Of two dispatches of one attempt nobody can tell the last after a fault.
			if n.d.Token.Attempt == o.Token.Attempt && w.shakes > n.shakes {
				continue
			}
			w.led.cry("stale", "%s: an outcome under fence %d, attempt %d was accepted, and attempt %d had been given out under fence %d", t.key, o.Token.Fence(), o.Token.Attempt, n.d.Token.Attempt, n.d.Token.Fence())
		}
	}
}

// checkWritten wants a lease of a queue with durable claims to be written before
// its task arrives.
func (w *world) checkWritten(t *known, h *hold) {
	t.shakes = w.shakes
	if w.claims[h.d.Queue] && w.promised(h) {
		w.wantClaim(h)
	}
}

func (w *world) wantClaim(h *hold) {
	if _, found := w.mem.Durable(record.AppendClaimKey(nil, h.d.ID.Partition, h.d.ID.Seq)); !found {
		w.led.cry("claim", "%s has %s under fence %d since %d ms, and that is not written", h.who(), keyOf(h.d.Payload), h.d.Token.Fence(), w.now.Sub(h.since))
	}
}

// checkClaims wants leases that are old enough to be written; nothing is under
// way.
func (w *world) checkClaims() {
	for _, t := range w.led.order {
		if h := t.held; h != nil && w.promised(h) && w.now >= h.from.Add(claimAfter) && (h.k == nil || h.k.s != nil) {
			w.wantClaim(h)
		}
	}
}

// checkAllowed holds a delivery against what was asked for of its task.
func (w *world) checkAllowed(t *known, d *task.Delivery) {
	x := w.led.sent[t.key]
	if w.paused[d.Queue] {
		w.led.cry("paused", "%s was dispatched, and queue %q is paused", t.key, d.Queue)
	}
	if t.retried {
		return
	}
	if p := x.spec.Policy; p != nil && p.MaxAttempts > 0 && d.Counts.Failures >= uint32(p.MaxAttempts) {
		w.led.cry("attempts", "%s runs again after %d failures, and may fail %d times", t.key, d.Counts.Failures, p.MaxAttempts)
	}
	if d.Counts.Crashes >= task.CrashesMax {
		w.led.cry("attempts", "%s runs again after %d crashes", t.key, d.Counts.Crashes)
	}
	if w.clocks.set > 0 {
		return
	}
	if from := x.firstSent; from != 0 && w.now < from.Add(x.spec.Delay) {
		w.led.cry("early", "%s came %d ms after it was sent, with a delay of %d", t.key, w.now.Sub(from), x.spec.Delay)
	}
	if w.now < t.notBefore {
		w.led.cry("early", "%s came %d ms before its retry was due", t.key, t.notBefore.Sub(w.now))
	}
}

// retryFrom is when a task may run again by the outcome that was accepted.
func (w *world) retryFrom(x *sent, o *task.Outcome, sent task.Time) task.Time {
	d := o.Delay
	if o.Kind == task.OutcomeFail && d == task.RetryAfterByBackoff {
		p := x.spec.Policy
		if p == nil || p.Backoff == nil || p.Backoff.Kind != task.BackoffFixed {
			return 0
		}
		d = p.Backoff.Base
	}
	if o.Kind == task.OutcomeComplete || d <= 0 {
		return 0
	}
	return sent.Add(d)
}

// leaseLate leases for a caller that goes away before the answer.
func (w *world) leaseLate() {
	ctx := &fading{Context: context.Background(), left: 1 + w.more.IntN(3)}
	q := task.LeaseRequest{Queues: []task.QueueWeight{{Queue: queueNames[w.more.IntN(2)]}}, Max: 1 + w.more.IntN(5), TTL: 10 * task.Minute, Worker: lateName}
	ds, err := w.sys.Lease(ctx, q)
	w.log("a caller that goes away leases %d: %v", len(ds), err)
	if w.died() {
		return
	}
	b := &task.OutcomeBatch{} // it was quick enough: it hands them back
	for _, d := range ds {
		if x := w.led.sent[keyOf(d.Payload)]; x != nil {
			w.led.taskOf(d.ID, x.key)
		}
		w.leased(d, nil)
		w.led.delivered(d, lateName)
		w.led.tasks[d.ID].held.late = true
		o := task.Outcome{Token: d.Token, Kind: task.OutcomeRelease}
		w.led.decided(d, o)
		b.Outcomes = append(b.Outcomes, o)
	}
	if len(ds) == 0 {
		return
	}
	judge, life := w.sending(b.Outcomes), w.life
	b.Done = func(b *task.OutcomeBatch) {
		if w.life == life {
			judge(b)
			w.led.reported(b)
		}
	}
	w.sys.Report(b)
}

// fading is a context that ends once it has been asked so often.
type fading struct {
	context.Context
	left int
}

// Err is context.Context's.
func (c *fading) Err() error {
	if c.left--; c.left < 0 {
		return context.Canceled
	}
	return nil
}
