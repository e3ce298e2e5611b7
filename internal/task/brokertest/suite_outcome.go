package brokertest

import (
	"strings"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

var outcomePromises = []promise{
	{"complete/with a result", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Payload: []byte("in")})
		w := h.attach(task.SessionOptions{Queues: on("q"), Worker: "host:1"})
		w.s.Credit(1)
		d := w.take(1)[0]
		if in := h.wantState(id, task.Running); in.Worker != "host:1" || in.StartedAt == 0 {
			h.Fatalf("while it runs: got %+v", in)
		}
		o := complete(d, `"out"`)
		o.ResultType, o.Log = "text/plain", []byte("a line\n")
		w.report(task.OK, o)
		in := h.wantState(id, task.Succeeded)
		if string(in.Result) != `"out"` || in.ResultType != "text/plain" || in.PayloadKept || in.Payload != nil || in.FinishedAt == 0 ||
			in.Counts != (task.Counts{}) || in.Error != "" || string(in.Log) != "a line\n" {
			h.Fatalf("got %+v", in)
		}
		if len(in.Attempts) != 1 || in.Attempts[0].Outcome != task.AttemptSucceeded || in.Attempts[0].Number != 1 || in.Attempts[0].Worker != "host:1" {
			h.Fatalf("attempts: got %+v", in.Attempts)
		}
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"complete/a log goes up to the limit", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.serve(1, "q")
		o := complete(w.take(1)[0], "")
		o.Log = []byte(strings.Repeat("l", task.LogMax+1))
		w.report(task.Invalid, o)
		h.wantState(id, task.Running)
		o.Log, o.ResultType = o.Log[1:], strings.Repeat("t", task.NameMax+1)
		w.report(task.Invalid, o)
		o.ResultType = ""
		w.report(task.OK, o)
		if in := h.wantState(id, task.Succeeded); string(in.Log) != string(o.Log) {
			h.Fatalf("got a log of %d bytes, or other bytes", len(in.Log))
		}
	}},
	{"complete/a repeat is harmless, another's is refused", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		w.report(task.OK, complete(d, "first"))
		w.report(task.OK, complete(d, "second"))
		h.report(complete(d, "third"), task.OK)
		other := d
		other.Token.Dispatch++
		h.report(complete(other, "forged"), task.LeaseLost)
		if in := h.wantState(id, task.Succeeded); string(in.Result) != "first" {
			h.Fatalf("got result %q, want the first one", in.Result)
		}
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"complete/twice in one report counts once", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		if cs := h.reportCodes(complete(d, "a"), complete(d, "b")); cs[0] != task.OK || cs[1] != task.OK {
			h.Fatalf("got %v", cs)
		}
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"complete/a token that was never given is refused", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		forged := d
		forged.Token.Nonce ^= 0x5555
		h.report(complete(forged, ""), task.LeaseLost)
		forged = d
		forged.Token.Seq += 1000
		if c := h.reportCodes(complete(forged, ""))[0]; c != task.NotFound && c != task.LeaseLost {
			h.Fatalf("a task that never was: got %v", c)
		}
		if c := h.reportCodes(task.Outcome{})[0]; c == task.OK || c == task.Internal {
			h.Fatalf("an empty token: got %v", c)
		}
		h.wantState(id, task.Running)
		h.report(complete(d, ""), task.OK)
	}},
	{"complete/a bad outcome changes nothing", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		for _, o := range []task.Outcome{
			{Token: d.Token, Kind: 99},
			{Token: d.Token, Kind: task.OutcomeFail, Delay: -2},
			{Token: d.Token, Kind: task.OutcomeRelease, Delay: -1},
			{Token: d.Token, Kind: task.OutcomeRelease, Delay: task.DelayMax + 1},
		} {
			h.report(o, task.Invalid)
			h.wantState(id, task.Running)
		}
		h.report(complete(d, ""), task.OK)
	}},
	{"fail/is tried again, counted, and told", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Payload: []byte("in")})
		w := h.serve(2, "q")
		w.report(task.OK, failAfter(w.take(1)[0], 300))
		in := h.wantState(id, task.Scheduled)
		if in.Counts != (task.Counts{Failures: 1}) || in.Error != "boom" {
			h.Fatalf("got %+v", in)
		}
		d := w.take(1)[0]
		if d.ID != id || d.Attempt != 2 || d.Counts != (task.Counts{Failures: 1}) || string(d.Payload) != "in" {
			h.Fatalf("second attempt: got %+v", d)
		}
		if h.now() < in.ReadyAt {
			h.Fatalf("the second attempt came at %v, before %v", h.now(), in.ReadyAt)
		}
		w.report(task.OK, complete(d, "ok"))
		in = h.wantState(id, task.Succeeded)
		if len(in.Attempts) != 2 || in.Attempts[0].Outcome != task.AttemptFailed || in.Attempts[0].Error != "boom" ||
			in.Attempts[1].Outcome != task.AttemptSucceeded || in.Attempts[1].Number != 2 || in.Counts.Failures != 1 {
			h.Fatalf("attempts: got %+v", in)
		}
	}},
	{"fail/a repeat is not counted twice", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		h.report(failAfter(d, task.Minute), task.OK)
		h.report(failAfter(d, task.Minute), task.OK)
		if in := h.wantState(id, task.Scheduled); in.Counts.Failures != 1 {
			h.Fatalf("got %+v, want one failure", in.Counts)
		}
	}},
	{"fail/what was acknowledged stands", false, acknowledgedStands},
	{"fail/after max attempts it is dead", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Payload: []byte("kept"), Policy: &task.Policy{MaxAttempts: 3}})
		w := h.serve(10, "q")
		for i := range 3 {
			d := w.take(1)[0]
			if d.Attempt != uint32(i+1) || d.MaxAttempts != 3 {
				h.Fatalf("attempt %d: got %+v", i+1, d)
			}
			w.report(task.OK, failAfter(d, 0))
		}
		in := h.wantState(id, task.Dead)
		if in.Reason == "" || in.Error != "boom" || in.Counts.Failures != 3 || !in.PayloadKept || string(in.Payload) != "kept" || in.FinishedAt == 0 {
			h.Fatalf("got %+v", in)
		}
		h.wantCounts("q", tally{Dead: 1, Enqueued: 1})
		if q := h.queue("q"); q.DeadBytes <= 0 {
			h.Fatalf("dead letters take %d bytes", q.DeadBytes)
		}
	}},
	{"fail/a permanent one is dead at once", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		o := fail(d, "no such user")
		o.Permanent = true
		h.report(o, task.OK)
		if c := h.reportCodes(o)[0]; c != task.OK && c != task.LeaseLost {
			h.Fatalf("a repeat: got %v", c)
		}
		if in := h.wantState(id, task.Dead); in.Counts.Failures != 1 || in.Error != "no such user" {
			h.Fatalf("got %+v", in)
		}
		h.wantCounts("q", tally{Dead: 1, Enqueued: 1})
	}},
	{"fail/a long error text keeps head and tail", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		text := "HEAD" + strings.Repeat("é", task.ErrorTextMax) + "TAIL"
		h.report(fail(h.lease("q", 1, 0)[0], text), task.OK)
		in := h.get(id)
		if len(in.Error) > task.ErrorTextMax || !strings.HasPrefix(in.Error, "HEAD") || !strings.HasSuffix(in.Error, "TAIL") || !utf8.ValidString(in.Error) {
			h.Fatalf("got %d bytes: %.20q … %q", len(in.Error), in.Error, in.Error[max(0, len(in.Error)-20):])
		}
	}},
	{"fail/the queue's policy holds where the task has none", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{MaxAttempts: ptr(int32(1)), Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 20}})
		plain := h.enqueueOne("q", task.Spec{})
		own := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 5}})
		for _, d := range h.lease("q", 2, 0) {
			h.report(fail(d, "boom"), task.OK)
		}
		h.wantState(plain, task.Dead)
		in := h.get(own)
		if in.State.Final() || in.Counts.Failures != 1 || in.MaxAttempts != 5 {
			h.Fatalf("got %+v", in)
		}
		if wait := in.ReadyAt.Sub(in.Attempts[0].Ended); wait != 20 {
			h.Fatalf("waits for %d ms, the queue says 20", wait)
		}
	}},
	{"backoff/fixed", false, backoff(task.Backoff{Kind: task.BackoffFixed, Base: 20}, [][2]task.Millis{{20, 20}, {20, 20}, {20, 20}})},
	{"backoff/list", false, backoff(task.Backoff{Kind: task.BackoffList, List: []task.Millis{5, 30}}, [][2]task.Millis{{5, 5}, {30, 30}, {30, 30}})},
	{"backoff/linear", false, backoff(task.Backoff{Kind: task.BackoffLinear, Base: 20, Max: 50}, [][2]task.Millis{{18, 22}, {36, 44}, {45, 55}, {45, 55}})},
	{"backoff/exponential", false, backoff(task.Backoff{Kind: task.BackoffExponential, Base: 10, Max: 50}, [][2]task.Millis{{9, 11}, {18, 22}, {36, 44}, {45, 55}, {45, 55}})},
	{"backoff/jitter spreads", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{Backoff: &task.Backoff{Kind: task.BackoffExponential, Base: task.Minute, Max: task.Hour}})
		h.enqueue("q", make([]task.Spec, 40)...)
		seen := map[task.Millis]bool{}
		for _, d := range h.lease("q", 40, 0) {
			h.report(fail(d, "boom"), task.OK)
			in := h.wantState(d.ID, task.Scheduled)
			wait := in.ReadyAt.Sub(in.Attempts[0].Ended)
			if wait < task.Minute*9/10 || wait > task.Minute*11/10 {
				h.Fatalf("waits for %d ms, want a minute ± 10 %%", wait)
			}
			seen[wait] = true
		}
		if len(seen) < 20 {
			h.Fatalf("40 tasks that failed wait %d different lengths of time, want most of them apart", len(seen))
		}
	}},
	{"release/costs nothing", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		w := h.serve(10, "q")
		for i := range 5 {
			d := w.take(1)[0]
			if d.Attempt != 1 || d.Counts != (task.Counts{Releases: uint32(i)}) {
				h.Fatalf("after %d releases: got %+v", i, d)
			}
			w.report(task.OK, release(d, 0))
		}
		d := w.take(1)[0]
		if in := h.get(id); in.Counts != (task.Counts{Releases: 5}) {
			h.Fatalf("got %+v", in)
		}
		w.report(task.OK, complete(d, ""))
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"release/waits as long as asked", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		h.report(release(h.lease("q", 1, 0)[0], 50), task.OK)
		in := h.wantState(id, task.Scheduled)
		h.empty("q")
		d := h.lease("q", 1, 0)[0]
		if d.ID != id || h.now() < in.ReadyAt {
			h.Fatalf("came back at %v, want from %v", h.now(), in.ReadyAt)
		}
	}},
	{"release/of one that never began shows nothing", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		o := release(h.lease("q", 1, 0)[0], 0)
		o.Started = false
		h.report(o, task.OK)
		if in := h.wantState(id, task.Ready); in.Counts != (task.Counts{}) || len(in.Attempts) != 0 {
			h.Fatalf("got %+v", in)
		}
	}},
	{"stale/an outcome of an earlier attempt is refused", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		old := h.lease("q", 1, 0)[0]
		h.report(release(old, 0), task.OK)
		cur := h.lease("q", 1, 0)[0]
		if cur.Token.Fence() <= old.Token.Fence() {
			h.Fatalf("the fencing number did not rise: %d, then %d", old.Token.Fence(), cur.Token.Fence())
		}
		h.report(complete(old, "late"), task.LeaseLost)
		h.report(failAfter(old, 0), task.LeaseLost)
		h.wantState(id, task.Running)
		h.report(complete(cur, "good"), task.OK)
		h.report(complete(old, "late"), task.LeaseLost)
		if in := h.get(id); string(in.Result) != "good" {
			h.Fatalf("got result %q", in.Result)
		}
	}},
}

// backoff fails a task once for each pair of bounds and looks at its wait.
func backoff(b task.Backoff, bounds [][2]task.Millis) func(*harness) {
	return func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 100, Backoff: &b}})
		for i, want := range bounds {
			d := h.lease("q", 1, 0)[0]
			if d.Attempt != uint32(i+1) {
				h.Fatalf("got attempt %d, want %d", d.Attempt, i+1)
			}
			h.report(fail(d, "boom"), task.OK)
			in := h.get(id)
			wait := in.ReadyAt.Sub(in.Attempts[i].Ended)
			if wait < want[0] || wait > want[1] {
				h.Fatalf("after failure %d: waits for %d ms, want %d to %d", i+1, wait, want[0], want[1])
			}
		}
	}
}

// acknowledgedStands: after an acknowledged outcome the same one is OK once more,
// and another under that lease comes too late.
func acknowledgedStands(h *harness) {
	type does = func(task.Delivery) task.Outcome
	done := func(d task.Delivery) task.Outcome { return complete(d, "") }
	retry := func(d task.Delivery) task.Outcome { return failAfter(d, task.Minute) }
	dead := func(d task.Delivery) task.Outcome {
		return task.Outcome{Token: d.Token, Kind: task.OutcomeFail, Permanent: true, Error: "boom", Delay: task.RetryAfterByBackoff}
	}
	back := func(d task.Delivery) task.Outcome {
		return task.Outcome{Token: d.Token, Kind: task.OutcomeRelease, Started: true}
	}
	later := func(d task.Delivery) task.Outcome {
		return task.Outcome{Token: d.Token, Kind: task.OutcomeRelease, Started: true, Delay: task.Minute}
	}
	for _, c := range []struct {
		first  does
		others []does
		state  task.State
	}{
		{retry, []does{done, back, later}, task.Scheduled},
		{later, []does{done, retry, dead}, task.Scheduled},
		{back, []does{done, retry, dead}, task.Ready},
		{dead, []does{done, back, later}, task.Dead},
		{done, []does{retry, dead, back, later}, task.Succeeded},
	} {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		h.report(c.first(d), task.OK)
		was := h.get(id).Counts
		for _, other := range c.others {
			h.report(other(d), task.LeaseLost)
			h.report(c.first(d), task.OK)
		}
		if in := h.wantState(id, c.state); in.Counts != was {
			h.Fatalf("%+v became %+v", was, in.Counts)
		}
		if c.state == task.Ready {
			h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
			h.report(c.first(d), task.LeaseLost)
		}
	}
}
