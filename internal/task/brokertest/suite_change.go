package brokertest

import "github.com/penstock-io/penstock/internal/task"

// changeCode changes one task and wants a code.
func (h *harness) changeCode(v task.Verb, id task.ID, want task.Code) {
	h.Helper()
	es := h.in.Change(h.Context(), v, []task.ID{id})
	if len(es) != 1 {
		h.Fatalf("change %d: got %d answers", v, len(es))
	}
	h.wantCode("change", es[0], want)
}

// unknownID is an ID that no task has, near one that a task has.
func unknownID(id task.ID) task.ID {
	id.Seq += 12345
	return id
}

var changePromises = []promise{
	{"cancel/a waiting task never runs", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{Delay: task.Hour}, task.Spec{})
		h.change(task.VerbCancel, ids[0], ids[1])
		for _, id := range ids[:2] {
			if in := h.wantState(id, task.Canceled); in.FinishedAt == 0 || in.Reason == "" {
				h.Fatalf("got %+v", in)
			}
		}
		h.wantIDs("what was not canceled", h.lease("q", 1, 0), ids[2])
		h.empty("q")
		h.wantCounts("q", tally{Running: 1, Enqueued: 3, Canceled: 2})
	}},
	{"change/an ID that says anything else names nothing", false, func(h *harness) {
		moved := h.enqueueOne("q", task.Spec{})
		h.report(failAfter(h.lease("q", 1, 0)[0], task.Hour), task.OK)
		timed := h.enqueueOne("q", task.Spec{Delay: task.Hour})
		for _, id := range []task.ID{moved, timed, h.enqueueOne("q", task.Spec{})} {
			for _, alter := range []func(x *task.ID){
				func(x *task.ID) { x.Queue++ }, func(x *task.ID) { x.Lane ^= 1 }, func(x *task.ID) { x.Priority ^= 1 },
				func(x *task.ID) { x.Class ^= 1 }, func(x *task.ID) { x.Seq++ }, func(x *task.ID) { x.Seq ^= 1 << 39 },
			} {
				other := id
				alter(&other)
				for _, v := range []task.Verb{task.VerbCancel, task.VerbRetry, task.VerbDelete} {
					h.changeCode(v, other, task.NotFound)
				}
				h.gone(other)
			}
		}
		h.wantCounts("q", tally{Scheduled: 2, Ready: 1, Enqueued: 3})
	}},
	{"cancel/a retry that waits", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		h.report(failAfter(h.lease("q", 1, 0)[0], 60), task.OK)
		h.change(task.VerbCancel, id)
		h.pass(100)
		h.empty("q")
		h.wantCounts("q", tally{Enqueued: 1, Canceled: 1})
	}},
	{"cancel/a running task is told, and its outcome refused", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		h.change(task.VerbCancel, id)
		h.wantState(id, task.Canceled)
		h.until("the worker is told", func() bool { return w.wasRevoked(d.Token) })
		w.report(task.LeaseLost, complete(d, "late"))
		if in := h.wantState(id, task.Canceled); in.Result != nil || in.Attempts[0].Outcome != task.AttemptCanceled {
			h.Fatalf("got %+v", in)
		}
		h.wantCounts("q", tally{Enqueued: 1, Canceled: 1})
	}},
	{"cancel/of a unary lease refuses its outcome", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		h.change(task.VerbCancel, id)
		h.report(failAfter(d, 0), task.LeaseLost)
		if es := h.br.Extend(h.Context(), []task.Extension{{Token: d.Token}}); es[0] == nil {
			h.Fatal("a canceled task's lease was extended")
		}
		h.wantState(id, task.Canceled)
	}},
	{"cancel/what has ended or never was", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		h.changeCode(task.VerbCancel, unknownID(id), task.NotFound)
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		h.changeCode(task.VerbCancel, id, task.Conflict)
		h.wantState(id, task.Succeeded)
	}},
	{"retry/a dead letter starts again", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Payload: []byte("in"), Policy: &task.Policy{MaxAttempts: 1}})
		h.report(fail(h.lease("q", 1, 0)[0], "boom"), task.OK)
		h.wantState(id, task.Dead)
		h.change(task.VerbRetry, id)
		h.wantState(id, task.Ready)
		h.wantCounts("q", tally{Ready: 1, Enqueued: 1})
		d := h.lease("q", 1, 0)[0]
		if d.ID != id || string(d.Payload) != "in" {
			h.Fatalf("got %+v", d)
		}
		h.report(fail(d, "boom again"), task.OK)
		if in := h.wantState(id, task.Dead); in.Error != "boom again" {
			h.Fatalf("got %+v", in)
		}
		h.change(task.VerbRetry, id)
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"retry/a quarantined task starts again", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		for range task.CrashesMax {
			h.lease("q", 1, 30)
		}
		h.untilState(id, task.Dead)
		h.change(task.VerbRetry, id)
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
	}},
	{"retry/a scheduled task runs now", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Delay: task.Hour})
		h.change(task.VerbRetry, id)
		h.wantState(id, task.Ready)
		h.wantIDs("now", h.lease("q", 1, 0), id)
	}},
	{"retry/what runs, succeeded or never was", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		h.changeCode(task.VerbRetry, id, task.Conflict)
		h.report(complete(d, ""), task.OK)
		h.changeCode(task.VerbRetry, id, task.Conflict)
		h.changeCode(task.VerbRetry, unknownID(id), task.NotFound)
	}},
	{"delete/is forgotten, whatever its state but running", false, func(h *harness) {
		dead := h.enqueueOne("q", task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		h.report(fail(h.lease("q", 1, 0)[0], ""), task.OK)
		done := h.enqueueOne("q", task.Spec{})
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		running := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		ready := h.enqueueOne("q", task.Spec{})
		later := h.enqueueOne("q", task.Spec{Delay: task.Hour})
		h.change(task.VerbDelete, dead, done, ready, later)
		for _, id := range []task.ID{dead, done, ready, later} {
			h.gone(id)
			h.changeCode(task.VerbDelete, id, task.NotFound)
		}
		h.changeCode(task.VerbDelete, running, task.Conflict)
		h.empty("q")
		h.report(complete(d, ""), task.OK)
		q := h.queue("q")
		if q.Ready+q.Scheduled+q.Running+q.Dead != 0 || q.Enqueued != 5 || q.DeadBytes != 0 {
			h.Fatalf("got %+v", q)
		}
	}},
	{"change/one answer an ID", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{})
		es := h.in.Change(h.Context(), task.VerbCancel, []task.ID{ids[0], unknownID(ids[0]), ids[0], ids[1]})
		if len(es) != 4 || es[0] != nil || task.CodeOf(es[1]) != task.NotFound || task.CodeOf(es[2]) != task.Conflict || es[3] != nil {
			h.Fatalf("got %v", es)
		}
	}},
}
