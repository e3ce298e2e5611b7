package brokertest

import (
	"slices"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

var sessionPromises = []promise{
	{"session/a bad one is refused", false, func(h *harness) {
		for _, o := range []task.SessionOptions{
			{Queues: on("q")},
			{ID: strings.Repeat("x", 33), Queues: on("q")},
			{ID: "s"},
			{ID: "s", Queues: on("")},
			{ID: "s", Queues: on("q"), TTL: -1},
			{ID: "s", Queues: on("q"), Concurrency: -1},
			{ID: "s", Queues: []task.QueueWeight{{Queue: "q", Weight: -1}}},
			{ID: "s", Queues: on("q"), TTL: task.SessionTTLMax + 1},
			{ID: "s", Queues: on("q"), Types: []string{""}},
			{ID: "s", Queues: on("q"), Types: make([]string, task.SessionTypesMax+1)},
		} {
			_, err := h.br.Attach(h.Context(), o, &worker{h: h})
			if task.CodeOf(err) != task.Invalid {
				h.Fatalf("attach %.80v: got %v, want Invalid", o, err)
			}
		}
	}},
	{"session/heartbeats keep its leases", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 500})
		w.s.Credit(1)
		d := w.take(1)[0]
		h.pass(1200)
		h.wantState(id, task.Running)
		w.report(task.OK, complete(d, ""))
		if in := h.get(id); in.Counts != (task.Counts{}) {
			h.Fatalf("got %+v", in.Counts)
		}
	}},
	{"session/silence ends it and its oldest leases are blamed", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 5)...)
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 80, Concurrency: 2})
		w.s.Credit(5)
		ds := w.take(5)
		w.silence()
		h.until("the session is lost", w.wasLost)
		h.wantCode("a heartbeat of a lost session", w.s.Heartbeat(), task.LeaseLost)
		again := h.serve(5, "q").take(5)
		if got := ids(again); !slices.ContainsFunc(want, func(id task.ID) bool { return !slices.Contains(got, id) }) {
			h.Logf("came back in the order %v", got)
		} else {
			h.Fatalf("came back: got %v, want all of %v", got, want)
		}
		for _, d := range again {
			crashes := uint32(0)
			if slices.Contains(want[:2], d.ID) { // the oldest two
				crashes = 1
			}
			if d.Counts != (task.Counts{Crashes: crashes}) || d.Attempt != crashes+1 {
				h.Fatalf("delivery of %v: got attempt %d, %+v; want %d crashes", d.ID, d.Attempt, d.Counts, crashes)
			}
		}
		h.report(complete(ds[0], ""), task.LeaseLost)
		h.wantCounts("q", tally{Running: 5, Enqueued: 5})
	}},
	{"session/what was finished is not blamed", false, func(h *harness) {
		h.enqueue("q", make([]task.Spec, 3)...)
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 80, Concurrency: 1})
		w.s.Credit(3)
		ds := w.take(3)
		w.report(task.OK, complete(ds[0], ""))
		w.silence()
		again := h.serve(5, "q").take(2)
		for _, d := range again {
			crashes := uint32(0)
			if d.ID == ds[1].ID {
				crashes = 1
			}
			if d.ID == ds[0].ID || d.Counts.Crashes != crashes {
				h.Fatalf("got %+v: the oldest one still open is to blame, %v", d, ds[1].ID)
			}
		}
	}},
	{"session/a detached one gets no more", false, func(h *harness) {
		w := h.serve(10, "q")
		w.silence()
		w.s.Detach()
		id := h.enqueueOne("q", task.Spec{})
		h.wantIDs("another worker", h.serve(1, "q").take(1), id)
		if w.waiting() != 0 {
			h.Fatalf("the detached session got %d tasks", w.waiting())
		}
	}},
	{"session/a reconnect keeps what it runs", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 2)...)
		w := h.serve(2, "q")
		ds := w.take(2)
		w.s.Detach()
		w.open([]task.Token{ds[0].Token, ds[1].Token})
		h.pass(30)
		for _, id := range want {
			if in := h.wantState(id, task.Running); in.Counts != (task.Counts{}) {
				h.Fatalf("got %+v", in.Counts)
			}
		}
		if w.wasRevoked(ds[0].Token) || w.wasRevoked(ds[1].Token) {
			h.Fatalf("a good lease was revoked")
		}
		w.report(task.OK, complete(ds[0], ""), complete(ds[1], ""))
		h.wantCounts("q", tally{Enqueued: 2, Succeeded: 2})
	}},
	{"session/a reconnect without Detach works as well", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		w.open([]task.Token{d.Token})
		w.s.Credit(1)
		id := h.enqueueOne("q", task.Spec{})
		h.wantIDs("credit begins anew", w.take(1), id)
		w.report(task.OK, complete(d, ""))
	}},
	{"session/a reconnect is told what it lost", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 60, Concurrency: 1})
		w.s.Credit(1)
		d := w.take(1)[0]
		w.silence()
		w.s.Detach()
		other := h.serve(1, "q")
		other.take(1)
		w.open([]task.Token{d.Token})
		h.until("the lost lease is revoked", func() bool { return w.wasRevoked(d.Token) })
		w.report(task.LeaseLost, complete(d, ""))
	}},
	{"session/a delivery that never arrived comes back", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 2)...)
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 200, Concurrency: 1})
		w.s.Credit(2)
		ds := w.take(2)
		w.s.Detach()
		w.open([]task.Token{ds[0].Token}) // as if the second had been lost on its way
		w.s.Credit(1)
		d := w.take(1)[0]
		if d.ID != want[1] || d.Token == ds[1].Token {
			h.Fatalf("got %+v", d)
		}
		w.report(task.OK, complete(ds[0], ""), complete(d, ""))
		h.wantCounts("q", tally{Enqueued: 2, Succeeded: 2})
	}},
	{"session/one that does not come back is lost", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.attach(task.SessionOptions{Queues: on("q"), TTL: 80, Concurrency: 1})
		w.s.Credit(1)
		w.take(1)
		w.silence()
		w.s.Detach()
		d := h.serve(1, "q").take(1)[0]
		if d.ID != id || d.Counts != (task.Counts{Crashes: 1}) {
			h.Fatalf("got %+v", d)
		}
	}},
	{"session/close hands back without blame", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 4)...)
		w := h.serve(4, "q")
		ds := w.take(4)
		w.report(task.OK, complete(ds[0], ""))
		w.silence()
		w.s.Close()
		again := h.serve(4, "q").take(3)
		h.wantIDs("the rest", again, want[1:]...)
		for _, d := range again {
			if d.Counts.Failures != 0 || d.Counts.Crashes != 0 || d.Attempt != 1 {
				h.Fatalf("got %+v", d)
			}
		}
		h.wantCode("a heartbeat of a closed session", w.s.Heartbeat(), task.LeaseLost)
	}},
	{"session/an outcome may come by another way", false, func(h *harness) {
		h.enqueue("q", make([]task.Spec, 2)...)
		w, other := h.serve(2, "q"), h.serve(0, "q")
		ds := w.take(2)
		h.report(complete(ds[0], ""), task.OK)
		other.report(task.OK, complete(ds[1], ""))
		h.wantCounts("q", tally{Enqueued: 2, Succeeded: 2})
	}},
	{"session/progress is shown", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.serve(1, "q")
		d := w.take(1)[0]
		w.s.Progress(d.Token, task.Progress{Done: 1, Total: 4, Text: "one"})
		h.until("progress shows", func() bool { return h.get(id).Progress == task.Progress{Done: 1, Total: 4, Text: "one"} })
	}},
	{"session/is shown", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{Type: "a"})
		w := h.attach(task.SessionOptions{ID: "me", Queues: on("q"), Types: []string{"a"}, Concurrency: 3, Worker: "host:1", Build: "v1"})
		w.s.Credit(5)
		w.take(1)
		if q := h.queue("q"); q.Workers != 1 {
			h.Fatalf("the queue has %d workers, want 1", q.Workers)
		}
		find := func() (task.WorkerInfo, bool) {
			n, err := h.in.Node(h.Context())
			if err != nil {
				h.Fatal(err)
			}
			i := slices.IndexFunc(n.Workers, func(w task.WorkerInfo) bool { return w.ID == "me" })
			if i < 0 {
				return task.WorkerInfo{}, false
			}
			return n.Workers[i], true
		}
		in, ok := find()
		if !ok || in.Worker != "host:1" || in.Build != "v1" || !slices.Equal(in.Queues, []string{"q"}) || !slices.Equal(in.Types, []string{"a"}) ||
			in.Concurrency != 3 || in.Running != 1 || in.Since == 0 {
			h.Fatalf("got %+v, %v", in, ok)
		}
		w.silence()
		w.s.Close()
		h.until("it is gone", func() bool { _, ok := find(); return !ok })
	}},
}
