package brokertest

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// Controls let the suite steer what it tests.
type Controls struct {
	// Advance moves the implementation's clock, where the test holds it. Nil:
	// the clock is the wall's, and the suite waits.
	Advance func(task.Millis)
	// Now reads the implementation's clock; nil = the wall clock.
	Now func() task.Time
}

// Open starts a fresh, empty queue for one case; it cleans up with t.Cleanup.
type Open func(t *testing.T) (task.Broker, task.Inspector, Controls)

// Run holds an implementation against everything a user is promised, short of
// what needs a crash: each promise is one subtest over a queue of its own.
func Run(t *testing.T, open Open) {
	for _, c := range suite() {
		t.Run(c.name, func(t *testing.T) {
			h := newHarness(t, open, c.long)
			if h == nil {
				t.Skip("needs a clock that can be moved")
			}
			c.check(h)
		})
	}
}

// RunInBubble is Run with each case in a testing/synctest bubble: waiting costs
// nothing. Only for implementations without a network or a disk.
func RunInBubble(t *testing.T, open Open) {
	for _, c := range suite() {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := newHarness(t, open, false)
				h.bubble = true
				c.check(h)
			})
		})
	}
}

// promise is one case. A long one takes hours of the implementation's clock.
type promise struct {
	name  string
	long  bool
	check func(*harness)
}

func suite() []promise {
	var all []promise
	for _, part := range [][]promise{enqueuePromises, orderPromises, outcomePromises, timePromises,
		leasePromises, sessionPromises, changePromises, queuePromises, inspectPromises} {
		all = append(all, part...)
	}
	return all
}

const (
	patience = 20 * time.Second // of real time, before the suite calls an event missing
	stepTime = task.Millis(1)
)

// harness is one case at work.
type harness struct {
	*testing.T
	br      task.Broker
	in      task.Inspector
	ctl     Controls
	bubble  bool
	workers []*worker // whose heartbeats the harness sends
	tick    *time.Ticker
}

func newHarness(t *testing.T, open Open, long bool) *harness {
	br, in, ctl := open(t)
	if long && ctl.Advance == nil {
		return nil
	}
	h := &harness{T: t, br: br, in: in, ctl: ctl, tick: time.NewTicker(time.Millisecond)}
	t.Cleanup(h.tick.Stop)
	return h
}

func (h *harness) now() task.Time {
	if h.ctl.Now != nil {
		return h.ctl.Now()
	}
	return task.Time(time.Now().UnixMilli())
}

// beat sends the heartbeats of all workers that still send them.
func (h *harness) beat() {
	for _, w := range h.workers {
		if w.beats && time.Since(w.lastBeat) >= 20*time.Millisecond {
			w.lastBeat = time.Now()
			if err := w.s.Heartbeat(); err != nil {
				h.Logf("heartbeat of %s: %v", w.opts.ID, err)
				w.beats = false
			}
		}
	}
}

// until waits for cond, and fails the case when it does not come true.
func (h *harness) until(what string, cond func() bool) {
	h.Helper()
	for start := time.Now(); !cond(); {
		if time.Since(start) > patience {
			h.Fatalf("waited in vain for: %s", what)
		}
		h.beat()
		<-h.tick.C
		if h.ctl.Advance != nil {
			h.ctl.Advance(stepTime)
		}
	}
}

// pass lets d go by, heartbeats included.
func (h *harness) pass(d task.Millis) {
	h.Helper()
	if h.ctl.Advance == nil {
		for end := h.now().Add(d); h.now() < end; {
			h.beat()
			<-h.tick.C
		}
		return
	}
	step := max(min(d/20, task.Second), 1)
	for ; d > 0; d -= step {
		h.forceBeat()
		h.ctl.Advance(min(step, d))
	}
}

// forceBeat is beat for a clock that jumps.
func (h *harness) forceBeat() {
	for _, w := range h.workers {
		w.lastBeat = time.Time{}
	}
	h.beat()
}

// long lets hours pass at once; only in cases marked long, or in a bubble.
func (h *harness) long(d task.Millis) {
	if h.ctl.Advance != nil {
		h.ctl.Advance(d)
		return
	}
	h.tick.Stop() // a day has 86 million of its ticks
	defer h.tick.Reset(time.Millisecond)
	select {
	case <-time.After(time.Duration(d) * time.Millisecond):
	case <-h.Context().Done():
	}
}

// never fails the case if cond comes true within d.
func (h *harness) never(what string, d task.Millis, cond func() bool) {
	h.Helper()
	for end := h.now().Add(d); h.now() < end; {
		if cond() {
			h.Fatalf("happened, and should not have: %s", what)
		}
		h.beat()
		<-h.tick.C
		if h.ctl.Advance != nil {
			h.ctl.Advance(stepTime)
		}
	}
	if cond() {
		h.Fatalf("happened, and should not have: %s", what)
	}
}

func (h *harness) wantCode(what string, err error, want task.Code) {
	h.Helper()
	if got := task.CodeOf(err); got != want {
		h.Fatalf("%s: got %v (%v), want %v", what, got, err, want)
	}
	if e := task.AsError(err); e != nil && e.Text == "" {
		h.Fatalf("%s: the refusal %v says nothing", what, want)
	}
}

// enqueueBatch enqueues b and returns its results; the batch itself must be good.
func (h *harness) enqueueBatch(b *task.EnqueueBatch) []task.Enqueued {
	h.Helper()
	if err := task.EnqueueWait(h.Context(), h.br, b); err != nil {
		h.Fatalf("enqueue %d tasks in queue %q: %v", len(b.Specs), b.Queue, err)
	}
	if len(b.Results) != len(b.Specs) {
		h.Fatalf("enqueue %d tasks: got %d results", len(b.Specs), len(b.Results))
	}
	return b.Results
}

// enqueue enqueues specs that must all be good. A type left out is "t".
func (h *harness) enqueue(queue string, specs ...task.Spec) []task.ID {
	h.Helper()
	for i := range specs {
		if specs[i].Type == "" {
			specs[i].Type = "t"
		}
	}
	var ids []task.ID
	for i, r := range h.enqueueBatch(&task.EnqueueBatch{Queue: queue, Specs: specs}) {
		if r.Err != nil {
			h.Fatalf("enqueue spec %d (%+v): %v", i, specs[i], r.Err)
		}
		if r.ID.IsZero() || r.Existing {
			h.Fatalf("enqueue spec %d: got %+v, want a new ID", i, r)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

func (h *harness) enqueueOne(queue string, s task.Spec) task.ID {
	h.Helper()
	return h.enqueue(queue, s)[0]
}

func (h *harness) get(id task.ID) task.Info {
	h.Helper()
	in, err := h.in.Get(h.Context(), id)
	if err != nil {
		h.Fatalf("get %v: %v", id, err)
	}
	if in.ID != id {
		h.Fatalf("get %v: got task %v", id, in.ID)
	}
	return in
}

func (h *harness) wantState(id task.ID, want task.State) task.Info {
	h.Helper()
	in := h.get(id)
	if in.State != want {
		h.Fatalf("task %v is %v (%s), want %v", id, in.State, in.Reason, want)
	}
	return in
}

func (h *harness) untilState(id task.ID, want task.State) task.Info {
	h.Helper()
	var in task.Info
	h.until("task "+id.String()+" is "+want.String(), func() bool {
		in = h.get(id)
		return in.State == want
	})
	return in
}

func (h *harness) gone(id task.ID) {
	h.Helper()
	_, err := h.in.Get(h.Context(), id)
	h.wantCode("get a task that is gone", err, task.NotFound)
}

func (h *harness) queue(name string) task.QueueInfo {
	h.Helper()
	qs, err := h.in.Queues(h.Context(), []string{name})
	if err != nil || len(qs) != 1 || qs[0].Name != name {
		h.Fatalf("queues %q: got %+v, %v", name, qs, err)
	}
	return qs[0]
}

// tally is the exact counts of a queue.
type tally struct {
	Scheduled, Ready, Running, Dead, Enqueued, Succeeded, Canceled, Expired int64
}

func (h *harness) wantCounts(queue string, want tally) {
	h.Helper()
	q := h.queue(queue)
	got := tally{q.Scheduled, q.Ready, q.Running, q.Dead, q.Enqueued, q.Succeeded, q.Canceled, q.Expired}
	if got != want {
		h.Fatalf("counts of queue %q: got %+v, want %+v", queue, got, want)
	}
}

func (h *harness) setQueue(name string, p task.QueuePatch) {
	h.Helper()
	if _, err := h.in.SetQueue(h.Context(), name, p); err != nil {
		h.Fatalf("set queue %q: %v", name, err)
	}
}

func (h *harness) change(v task.Verb, ids ...task.ID) {
	h.Helper()
	for i, err := range h.in.Change(h.Context(), v, ids) {
		if err != nil {
			h.Fatalf("change %d of %v: %v", v, ids[i], err)
		}
	}
}

// reportCodes reports outcomes outside any session.
func (h *harness) reportCodes(os ...task.Outcome) []task.Code {
	h.Helper()
	b := &task.OutcomeBatch{Outcomes: os}
	if err := task.ReportWait(h.Context(), h.br, b); err != nil {
		h.Fatalf("report %d outcomes: %v", len(os), err)
	}
	if len(b.Codes) != len(os) {
		h.Fatalf("report %d outcomes: got %d codes", len(os), len(b.Codes))
	}
	return b.Codes
}

// report reports an outcome and wants a code.
func (h *harness) report(o task.Outcome, want task.Code) {
	h.Helper()
	if got := h.reportCodes(o)[0]; got != want {
		h.Fatalf("report %+v: got %v, want %v", o, got, want)
	}
}

func complete(d task.Delivery, result string) task.Outcome {
	return task.Outcome{Token: d.Token, Kind: task.OutcomeComplete, Result: []byte(result), Started: true}
}

// fail fails d; it waits as its policy says.
func fail(d task.Delivery, text string) task.Outcome {
	return task.Outcome{Token: d.Token, Kind: task.OutcomeFail, Error: text, Delay: task.RetryAfterByBackoff, Started: true}
}

func failAfter(d task.Delivery, wait task.Millis) task.Outcome {
	return task.Outcome{Token: d.Token, Kind: task.OutcomeFail, Error: "boom", Delay: wait, Started: true}
}

func release(d task.Delivery, wait task.Millis) task.Outcome {
	return task.Outcome{Token: d.Token, Kind: task.OutcomeRelease, Delay: wait, Started: true}
}

// lease takes n tasks outside any session and fails the case if there are fewer.
func (h *harness) lease(queue string, n int, ttl task.Millis) []task.Delivery {
	h.Helper()
	var got []task.Delivery
	h.until("a unary lease", func() bool {
		ds, err := h.br.Lease(h.Context(), task.LeaseRequest{Queues: on(queue), Max: n - len(got), TTL: ttl, Worker: "unary"})
		if err != nil {
			h.Fatalf("lease: %v", err)
		}
		got = append(got, ds...)
		return len(got) == n
	})
	return got
}

// empty wants that a unary lease finds nothing.
func (h *harness) empty(queue string) {
	h.Helper()
	ds, err := h.br.Lease(h.Context(), task.LeaseRequest{Queues: on(queue), Max: 10})
	if err != nil || len(ds) != 0 {
		h.Fatalf("lease from queue %q: got %d tasks (%+v), %v; want none", queue, len(ds), ds, err)
	}
}

func on(queues ...string) []task.QueueWeight {
	var out []task.QueueWeight
	for _, q := range queues {
		out = append(out, task.QueueWeight{Queue: q, Weight: 1})
	}
	return out
}

func ptr[T any](v T) *T { return &v }
