package brokertest

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

var orderPromises = []promise{
	{"order/first in, first out", false, func(h *harness) {
		var want []task.ID
		for range 10 {
			want = append(want, h.enqueue("q", make([]task.Spec, 10)...)...)
		}
		h.wantIDs("one session", h.serve(100, "q").take(100), want...)
	}},
	{"order/first in, first out over types", false, func(h *harness) {
		var want []task.ID
		for i := range 30 {
			want = append(want, h.enqueueOne("q", task.Spec{Type: fmt.Sprintf("t%d", i%3)}))
			h.pass(1)
		}
		h.wantIDs("one session", h.serve(30, "q").take(30), want...)
	}},
	{"order/unary leases too", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 20)...)
		got := append(h.lease("q", 5, 0), h.lease("q", 15, 0)...)
		h.wantIDs("unary", got, want...)
	}},
	{"order/strict priority, first in first out within one", false, func(h *harness) {
		specs := make([]task.Spec, 100)
		for i := range specs {
			specs[i].Priority = uint8(i * 7 % 10)
		}
		var want []task.ID
		got := h.enqueue("q", specs...)
		for p := task.PriorityMax; p >= 0; p-- {
			for i := range specs {
				if int(specs[i].Priority) == p {
					want = append(want, got[i])
				}
			}
		}
		h.wantIDs("by priority", h.serve(100, "q").take(100), want...)
	}},
	{"order/a late task of higher priority goes first", false, func(h *harness) {
		low := h.enqueue("q", task.Spec{Priority: 1}, task.Spec{Priority: 1}, task.Spec{Priority: 1})
		w := h.serve(1, "q")
		got := w.take(1)
		high := h.enqueueOne("q", task.Spec{Priority: 8})
		w.s.Credit(3)
		h.wantIDs("high before the rest", append(got, w.take(3)...), low[0], high, low[1], low[2])
	}},
	{"order/priority holds over types", false, func(h *harness) {
		a := h.enqueueOne("q", task.Spec{Type: "a", Priority: 1})
		b := h.enqueueOne("q", task.Spec{Type: "b", Priority: 9})
		h.wantIDs("b first", h.serve(2, "q").take(2), b, a)
	}},
	{"order/by the time a task became ready", false, func(h *harness) {
		late := h.enqueueOne("q", task.Spec{Delay: 60})
		early := h.enqueueOne("q", task.Spec{})
		h.until("the delay is over", func() bool { return h.now() > h.get(late).ReadyAt+2 })
		last := h.enqueueOne("q", task.Spec{})
		h.wantIDs("early, late, last", h.serve(3, "q").take(3), early, late, last)
	}},
	{"order/a retry queues up from the end of its wait", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{})
		w := h.serve(1, "q")
		w.report(task.OK, failAfter(w.take(1)[0], 40))
		h.until("the wait is over", func() bool { return h.now() > h.get(ids[0]).ReadyAt+2 })
		last := h.enqueueOne("q", task.Spec{})
		w.s.Credit(3)
		h.wantIDs("the other, the retry, the last", w.take(3), ids[1], ids[0], last)
	}},
	{"order/a task that no one serves hides nothing", false, func(h *harness) {
		specs := make([]task.Spec, 2000)
		for i := range specs {
			specs[i].Type = "unknown"
			specs[i].Priority = 9
		}
		unserved := h.enqueue("q", specs...)
		want := h.enqueueOne("q", task.Spec{Type: "known"})
		w := h.attach(task.SessionOptions{Queues: on("q"), Types: []string{"known", "other"}})
		w.s.Credit(10)
		h.wantIDs("the served type", w.take(1), want)
		in := h.wantState(unserved[0], task.Ready)
		if in.Reason == "" {
			h.Fatalf("a task that no one serves says no reason: %+v", in)
		}
		q := h.queue("q")
		if len(q.Unserved) != 1 || q.Unserved[0].Type != "unknown" || q.Unserved[0].Oldest != in.ReadyAt {
			h.Fatalf("unserved types: got %+v", q.Unserved)
		}
		w2 := h.attach(task.SessionOptions{Queues: on("q"), Types: []string{"unknown"}})
		w2.s.Credit(3)
		h.wantIDs("served at last", w2.take(3), unserved[:3]...)
		if q := h.queue("q"); len(q.Unserved) != 0 {
			h.Fatalf("unserved types: got %+v", q.Unserved)
		}
	}},
	{"order/a session serves the queues it names", false, func(h *harness) {
		a := h.enqueueOne("a", task.Spec{})
		h.enqueueOne("b", task.Spec{})
		c := h.enqueueOne("c", task.Spec{})
		got := ids(h.serve(10, "a", "c").take(2))
		if !slices.Contains(got, a) || !slices.Contains(got, c) {
			h.Fatalf("got %v, want %v and %v", got, a, c)
		}
		h.wantCounts("b", tally{Ready: 1, Enqueued: 1})
	}},
	{"order/queues share a worker by weight", false, func(h *harness) {
		h.enqueue("heavy", make([]task.Spec, 100)...)
		h.enqueue("light", make([]task.Spec, 100)...)
		w := h.attach(task.SessionOptions{Queues: []task.QueueWeight{{Queue: "heavy", Weight: 3}, {Queue: "light", Weight: 1}}})
		w.s.Credit(80)
		n := 0
		for _, d := range w.take(80) {
			if d.Queue == "heavy" {
				n++
			}
		}
		if n < 54 || n > 66 {
			h.Fatalf("weights 3 to 1: got %d of 80 tasks from the heavy queue, want about 60", n)
		}
	}},
	{"order/queues share a worker by weight, however few it takes at once", false, func(h *harness) {
		h.enqueue("heavy", make([]task.Spec, 100)...)
		h.enqueue("light", make([]task.Spec, 100)...)
		w := h.attach(task.SessionOptions{Queues: []task.QueueWeight{{Queue: "heavy", Weight: 3}, {Queue: "light", Weight: 1}}})
		n := 0
		for i := range 40 {
			some := 1 + i%3
			w.s.Credit(some)
			for _, d := range w.take(some) {
				if d.Queue == "heavy" {
					n++
				}
				w.report(task.OK, complete(d, ""))
			}
		}
		if n < 54 || n > 65 {
			h.Fatalf("weights 3 to 1: got %d of 79 tasks from the heavy queue, want about 59", n)
		}
	}},
	{"order/many waiting tasks are served whole and in order", false, func(h *harness) {
		var want []task.ID
		for range 6 {
			want = append(want, h.enqueue("q", make([]task.Spec, 1000)...)...)
		}
		w := h.serve(1000, "q")
		var got []task.ID
		for len(got) < len(want) {
			ds := w.take(500)
			os := make([]task.Outcome, len(ds))
			for i, d := range ds {
				os[i] = complete(d, "")
			}
			w.report(task.OK, os...)
			w.s.Credit(500)
			got = append(got, ids(ds)...)
		}
		if !slices.Equal(got, want) {
			h.Fatalf("%d tasks came in another order", len(want))
		}
		h.wantCounts("q", tally{Enqueued: 6000, Succeeded: 6000})
	}},
	{"credit/no more is delivered than is allowed", false, func(h *harness) {
		h.enqueue("q", make([]task.Spec, 10)...)
		w := h.serve(3, "q")
		ds := w.take(3)
		h.wantCounts("q", tally{Ready: 7, Running: 3, Enqueued: 10})
		w.report(task.OK, complete(ds[0], ""), complete(ds[1], ""))
		h.never("a delivery without credit", 20, func() bool { return w.waiting() > 0 })
		h.wantCounts("q", tally{Ready: 7, Running: 1, Succeeded: 2, Enqueued: 10})
		w.s.Credit(2)
		w.take(2)
		h.wantCounts("q", tally{Ready: 5, Running: 3, Succeeded: 2, Enqueued: 10})
	}},
	{"credit/it waits for tasks to come", false, func(h *harness) {
		w := h.serve(5, "q")
		for range 5 {
			id := h.enqueueOne("q", task.Spec{})
			h.wantIDs("at once", w.take(1), id)
		}
		h.enqueueOne("q", task.Spec{})
		h.never("a sixth delivery", 20, func() bool { return w.waiting() > 0 })
	}},
	{"credit/every session gets what it may", false, func(h *harness) {
		a, b := h.serve(5, "q"), h.serve(5, "q")
		h.enqueue("q", make([]task.Spec, 12)...)
		seen := map[task.ID]bool{}
		for _, d := range append(a.take(5), b.take(5)...) {
			seen[d.ID] = true
		}
		if len(seen) != 10 {
			h.Fatalf("two sessions got %d tasks between them, want 10", len(seen))
		}
		h.wantCounts("q", tally{Ready: 2, Running: 10, Enqueued: 12})
	}},
}
