package brokertest

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

var queuePromises = []promise{
	{"queue/pause stops dispatch, resume goes on", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		h.setQueue("q", task.QueuePatch{Paused: ptr(true)})
		w.s.Credit(10)
		late := h.enqueueOne("q", task.Spec{})
		h.empty("q")
		if !h.queue("q").Paused || w.waiting() != 0 {
			h.Fatalf("paused: got %+v, %d deliveries", h.queue("q"), w.waiting())
		}
		w.report(task.OK, complete(d, "")) // what runs goes on
		h.wantCounts("q", tally{Ready: 2, Enqueued: 3, Succeeded: 1})
		if in := h.wantState(late, task.Ready); in.Reason == "" {
			h.Fatal("a task of a paused queue does not say what it waits for")
		}
		h.setQueue("q", task.QueuePatch{Paused: ptr(false)})
		h.wantIDs("resumed", w.take(2), ids[1], late)
	}},
	{"queue/pause of one leaves the others alone", false, func(h *harness) {
		h.setQueue("a", task.QueuePatch{Paused: ptr(true)})
		h.enqueueOne("a", task.Spec{Priority: 9})
		b := h.enqueueOne("b", task.Spec{Priority: 1})
		h.wantIDs("the other queue", h.serve(5, "a", "b").take(1), b)
		h.wantCounts("a", tally{Ready: 1, Enqueued: 1})
	}},
	{"queue/settings are kept and shown", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{
			MaxAttempts: ptr(int32(7)), Timeout: ptr(task.Minute), Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 5},
			Retention: ptr(task.Hour), History: ptr(task.HistoryFailures), Unserved: ptr(2 * task.Hour),
		})
		h.setQueue("q", task.QueuePatch{Timeout: ptr(2 * task.Minute)})
		c := h.queue("q").Config
		if c.MaxAttempts != 7 || c.Timeout != 2*task.Minute || c.Backoff == nil || c.Backoff.Kind != task.BackoffFixed || c.Backoff.Base != 5 ||
			c.Retention != task.Hour || c.History != task.HistoryFailures || c.Unserved != 2*task.Hour {
			h.Fatalf("got %+v", c)
		}
		h.wantCounts("q", tally{})
	}},
	{"queue/bad settings are refused", false, func(h *harness) {
		f := func(name string, p task.QueuePatch) {
			h.Helper()
			_, err := h.in.SetQueue(h.Context(), name, p)
			h.wantCode("set queue", err, task.Invalid)
		}
		f("", task.QueuePatch{})
		f("a\x02", task.QueuePatch{})
		f(strings.Repeat("q", task.NameMax+1), task.QueuePatch{})
		f("q", task.QueuePatch{MaxAttempts: ptr(int32(-1))})
		f("q", task.QueuePatch{Timeout: ptr(task.Millis(-5))})
		f("q", task.QueuePatch{Retention: ptr(task.Millis(-5))})
		f("q", task.QueuePatch{Unserved: ptr(task.Millis(-5))})
		f("q", task.QueuePatch{Width: ptr(-1)})
		f("q", task.QueuePatch{Backoff: &task.Backoff{Kind: 99}})
		f("q", task.QueuePatch{History: ptr(task.HistoryMode(99))})
	}},
	{"queue/all are listed, an unknown one is not found", false, func(h *harness) {
		h.enqueueOne("b", task.Spec{})
		h.enqueueOne("a", task.Spec{})
		qs, err := h.in.Queues(h.Context(), nil)
		if err != nil {
			h.Fatal(err)
		}
		var names []string
		for _, q := range qs {
			names = append(names, q.Name)
		}
		slices.Sort(names)
		if !slices.Equal(names, []string{"a", "b"}) {
			h.Fatalf("got %v", names)
		}
		_, err = h.in.Queues(h.Context(), []string{"a", "nope"})
		h.wantCode("an unknown queue", err, task.NotFound)
	}},
	{"queue/the oldest ready task is told", false, func(h *harness) {
		first := h.enqueueOne("q", task.Spec{Priority: 1})
		h.pass(5)
		h.enqueueOne("q", task.Spec{Priority: 9})
		if q, in := h.queue("q"), h.get(first); q.OldestReady != in.ReadyAt {
			h.Fatalf("the oldest ready: got %v, want %v", q.OldestReady, in.ReadyAt)
		}
		h.lease("q", 2, 0)
		if q := h.queue("q"); q.OldestReady != 0 {
			h.Fatalf("with nothing ready: got %v", q.OldestReady)
		}
	}},
	{"purge/waiting tasks, nothing else", false, func(h *harness) {
		dead := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		h.report(fail(h.lease("q", 1, 0)[0], ""), task.OK)
		h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		ready := h.enqueue("q", make([]task.Spec, 20)...)
		later := h.enqueue("q", task.Spec{Delay: task.Hour})
		other := h.enqueueOne("other", task.Spec{})
		n, err := h.in.Purge(h.Context(), "q", []task.State{task.Ready})
		if err != nil || n != 20 {
			h.Fatalf("purge ready: got %d, %v, want 20", n, err)
		}
		h.wantCounts("q", tally{Scheduled: 1, Running: 1, Dead: 1, Enqueued: 23})
		for _, id := range ready {
			h.gone(id)
		}
		n, err = h.in.Purge(h.Context(), "q", []task.State{task.Scheduled, task.Dead})
		if err != nil || n != 2 {
			h.Fatalf("purge scheduled and dead: got %d, %v, want 2", n, err)
		}
		h.gone(later[0])
		h.gone(dead)
		h.empty("q")
		h.wantState(other, task.Ready)
		h.report(complete(d, ""), task.OK)
		h.wantCounts("q", tally{Enqueued: 23, Succeeded: 1})
		id := h.enqueueOne("q", task.Spec{})
		h.wantIDs("after a purge", h.lease("q", 1, 0), id)
	}},
	{"purge/a bad one is refused", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		_, err := h.in.Purge(h.Context(), "nope", []task.State{task.Ready})
		h.wantCode("purge of an unknown queue", err, task.NotFound)
		_, err = h.in.Purge(h.Context(), "q", []task.State{task.Running})
		h.wantCode("purge of running tasks", err, task.Invalid)
		h.report(task.Outcome{Token: h.lease("q", 1, 0)[0].Token, Kind: task.OutcomeFail, Permanent: true}, task.OK)
		_, err = h.in.Purge(h.Context(), "q", []task.State{task.Dead, task.Succeeded})
		h.wantCode("purge of dead and finished tasks", err, task.Invalid)
		h.wantCounts("q", tally{Dead: 1, Enqueued: 1})
	}},
	{"delete/an empty queue, and nothing of it is left", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{MaxAttempts: ptr(int32(1))})
		h.enqueueOne("other", task.Spec{})
		old := h.enqueueOne("q", task.Spec{Idempotency: "k"})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		_, err := h.in.DeleteQueue(h.Context(), "q", false)
		h.wantCode("delete a queue whose task runs", err, task.Conflict)
		w.report(task.OK, complete(d, ""))
		if n, err := h.in.DeleteQueue(h.Context(), "q", false); n != 0 || err != nil {
			h.Fatalf("delete: got %d, %v", n, err)
		}
		_, err = h.in.Queues(h.Context(), []string{"q"})
		h.wantCode("a deleted queue", err, task.NotFound)
		h.gone(old)
		p, err := h.in.List(h.Context(), task.Filter{})
		if err != nil || len(p.Tasks) != 1 || p.Tasks[0].Queue != "other" {
			h.Fatalf("listed: %+v, %v", p.Tasks, err)
		}
		id := h.enqueueOne("q", task.Spec{Idempotency: "k"}) // whoever serves the name gets it
		if id == old || h.queue("q").Config.MaxAttempts != 0 {
			h.Fatalf("made again: task %v after %v, %+v", id, old, h.queue("q"))
		}
		w.s.Credit(1)
		h.wantIDs("from the new queue", w.take(1), id)
		h.wantCounts("q", tally{Running: 1, Enqueued: 1})
	}},
	{"delete/one with tasks by force alone, and never what runs", false, func(h *harness) {
		dead := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		h.report(fail(h.lease("q", 1, 0)[0], ""), task.OK)
		runs := h.enqueueOne("q", task.Spec{})
		h.lease("q", 1, 0)
		waits := h.enqueue("q", task.Spec{}, task.Spec{Delay: task.Hour})
		_, err := h.in.DeleteQueue(h.Context(), "q", true)
		h.wantCode("by force, while a task runs", err, task.Conflict)
		h.change(task.VerbCancel, runs)
		_, err = h.in.DeleteQueue(h.Context(), "q", false)
		h.wantCode("without force", err, task.Conflict)
		h.wantCounts("q", tally{Scheduled: 1, Ready: 1, Dead: 1, Enqueued: 4, Canceled: 1})
		watched := h.watch(waits[0])
		if n, err := h.in.DeleteQueue(h.Context(), "q", true); n != 3 || err != nil {
			h.Fatalf("by force: got %d, %v, want 3", n, err)
		}
		h.untilDone(watched)
		for _, id := range append(waits, dead, runs) {
			h.gone(id)
			h.changeCode(task.VerbRetry, id, task.NotFound)
		}
		_, err = h.in.DeleteQueue(h.Context(), "q", true)
		h.wantCode("once more", err, task.NotFound)
	}},
	{"history/none is kept where none is wanted", false, func(h *harness) {
		h.setQueue("q", task.QueuePatch{History: ptr(task.HistoryNone)})
		ok := h.enqueueOne("q", task.Spec{})
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		h.gone(ok)
		bad := h.enqueueOne("q", task.Spec{})
		o := fail(h.lease("q", 1, 0)[0], "boom")
		o.Permanent = true
		h.report(o, task.OK)
		h.wantState(bad, task.Dead) // dead letters wait for a decision
		h.wantCounts("q", tally{Dead: 1, Enqueued: 2, Succeeded: 1})
	}},
	{"counts/are exact through all that can happen", false, func(h *harness) {
		h.enqueue("q", task.Spec{}, task.Spec{}, task.Spec{}, task.Spec{}, task.Spec{}, task.Spec{Delay: task.Hour})
		h.wantCounts("q", tally{Scheduled: 1, Ready: 5, Enqueued: 6})
		ds := h.lease("q", 4, 0)
		h.wantCounts("q", tally{Scheduled: 1, Ready: 1, Running: 4, Enqueued: 6})
		h.report(complete(ds[0], ""), task.OK)
		h.report(failAfter(ds[1], task.Hour), task.OK)
		h.report(release(ds[2], 0), task.OK)
		o := fail(ds[3], "")
		o.Permanent = true
		h.report(o, task.OK)
		h.wantCounts("q", tally{Scheduled: 2, Ready: 2, Dead: 1, Enqueued: 6, Succeeded: 1})
		h.change(task.VerbCancel, ds[1].ID)
		h.change(task.VerbRetry, ds[3].ID)
		h.wantCounts("q", tally{Scheduled: 1, Ready: 3, Enqueued: 6, Succeeded: 1, Canceled: 1})
	}},
}
