package brokertest

import (
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

var timePromises = []promise{
	{"time/a delay is kept", false, func(h *harness) {
		w := h.serve(10, "q")
		id := h.enqueueOne("q", task.Spec{Delay: 60})
		in := h.get(id)
		if in.State != task.Scheduled || in.ReadyAt != in.EnqueuedAt.Add(60) {
			h.Fatalf("got %+v", in)
		}
		h.wantIDs("when it is due", w.take(1), id)
		if h.now() < in.ReadyAt {
			h.Fatalf("delivered at %v, due at %v", h.now(), in.ReadyAt)
		}
		h.wantCounts("q", tally{Running: 1, Enqueued: 1})
	}},
	{"time/a run-at is kept", false, func(h *harness) {
		at := h.now().Add(60)
		id := h.enqueueOne("q", task.Spec{RunAt: at})
		if in := h.wantState(id, task.Scheduled); in.ReadyAt != at {
			h.Fatalf("ready at %v, asked for %v", in.ReadyAt, at)
		}
		h.wantCounts("q", tally{Scheduled: 1, Enqueued: 1})
		h.lease("q", 1, 0)
		if h.now() < at {
			h.Fatalf("leased at %v, asked for %v", h.now(), at)
		}
	}},
	{"time/a run-at in the past is now", false, func(h *harness) {
		in := h.wantState(h.enqueueOne("q", task.Spec{RunAt: 1}), task.Ready)
		if in.ReadyAt != in.EnqueuedAt {
			h.Fatalf("got %+v", in)
		}
	}},
	{"time/scheduled tasks come in the order they are due", false, func(h *harness) {
		at := h.now().Add(50)
		ids := h.enqueue("q", task.Spec{RunAt: at + 20}, task.Spec{RunAt: at}, task.Spec{RunAt: at + 10}, task.Spec{RunAt: at})
		h.wantIDs("by due time", h.serve(4, "q").take(4), ids[1], ids[3], ids[2], ids[0])
	}},
	{"time/far tomorrow", true, func(h *harness) {
		far := task.Day
		if h.ctl.Advance == nil && testing.Short() {
			far = 2 * task.Hour // a node has a turn a second
		}
		id := h.enqueueOne("q", task.Spec{Delay: far})
		h.long(far - task.Minute)
		h.wantState(id, task.Scheduled)
		h.long(task.Minute)
		h.wantIDs("when it is due", h.lease("q", 1, 0), id)
	}},
	{"time/expiry ends a task that waits too long", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{ExpireAfter: 40})
		in := h.get(id)
		if in.ExpiresAt != in.EnqueuedAt.Add(40) {
			h.Fatalf("expires at %v, enqueued at %v", in.ExpiresAt, in.EnqueuedAt)
		}
		in = h.untilState(id, task.Expired)
		if in.Reason == "" || in.FinishedAt < in.ExpiresAt {
			h.Fatalf("got %+v", in)
		}
		h.empty("q")
		h.wantCounts("q", tally{Enqueued: 1, Expired: 1})
	}},
	{"time/expiry leaves a running task alone", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{ExpireAfter: 300})
		d := h.lease("q", 1, task.Minute)[0]
		h.pass(400)
		h.wantState(id, task.Running)
		h.report(complete(d, ""), task.OK)
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"time/a deadline ends a waiting task", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{Deadline: h.now().Add(40)}, task.Spec{Deadline: h.now().Add(40), Delay: task.Hour})
		for _, id := range ids {
			if in := h.untilState(id, task.Expired); in.Reason == "" {
				h.Fatalf("got %+v", in)
			}
		}
		h.empty("q")
		h.wantCounts("q", tally{Enqueued: 2, Expired: 2})
	}},
	{"time/a deadline ends a running task", false, func(h *harness) {
		at := h.now().Add(400)
		id := h.enqueueOne("q", task.Spec{Deadline: at})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		if d.Deadline != at {
			h.Fatalf("the delivery's deadline is %v, want %v", d.Deadline, at)
		}
		h.until("the lease is revoked", func() bool { return w.wasRevoked(d.Token) })
		h.untilState(id, task.Expired)
		w.report(task.LeaseLost, complete(d, "late"))
		h.wantCounts("q", tally{Enqueued: 1, Expired: 1})
	}},
	{"time/an attempt over its timeout is a failure", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Policy: &task.Policy{Timeout: 60, Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 10}}})
		w := h.serve(2, "q")
		d := w.take(1)[0]
		if d.Timeout != 60 {
			h.Fatalf("the delivery's timeout is %d, want 60", d.Timeout)
		}
		d2 := w.take(1)[0]
		if d2.ID != id || d2.Attempt != 2 || d2.Counts != (task.Counts{Failures: 1}) {
			h.Fatalf("second attempt: got %+v", d2)
		}
		if !w.wasRevoked(d.Token) {
			h.Fatalf("the first lease was not revoked")
		}
		w.report(task.LeaseLost, complete(d, "late"))
		in := h.get(id)
		if in.Attempts[0].Outcome != task.AttemptTimedOut || in.Attempts[0].Error == "" {
			h.Fatalf("attempts: got %+v", in.Attempts)
		}
		w.report(task.OK, complete(d2, ""))
	}},
	{"time/timeouts use up the attempts", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 2, Timeout: 40, Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 10}}})
		h.serve(5, "q").take(2)
		if in := h.untilState(id, task.Dead); in.Counts.Failures != 2 || in.Counts.Crashes != 0 {
			h.Fatalf("got %+v", in)
		}
	}},
	{"time/the default timeout is an hour", true, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		none := h.enqueueOne("q", task.Spec{Policy: &task.Policy{Timeout: task.AttemptTimeoutNone}})
		ds := h.lease("q", 2, 12*task.Hour)
		if ds[0].Timeout != task.Hour || ds[1].Timeout != 0 {
			h.Fatalf("timeouts: got %d and %d", ds[0].Timeout, ds[1].Timeout)
		}
		h.long(task.Hour + task.Second)
		in := h.get(id)
		if in.Counts.Failures != 1 {
			h.Fatalf("got %+v", in)
		}
		h.wantState(none, task.Running)
	}},
	{"time/a type that nobody serves is dead after a while", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{Unserved: ptr(task.Millis(80))})
		w := h.attach(task.SessionOptions{Queues: on("q"), Types: []string{"known"}})
		bad := h.enqueueOne("q", task.Spec{Type: "unknown"})
		good := h.enqueueOne("q", task.Spec{Type: "known"})
		in := h.untilState(bad, task.Dead)
		if in.Reason == "" || in.FinishedAt.Sub(in.EnqueuedAt) < 80 {
			h.Fatalf("got %+v", in)
		}
		h.wantState(good, task.Ready) // its worker is there, and merely busy
		w.s.Credit(1)
		h.wantIDs("the served type", w.take(1), good)
	}},
}
