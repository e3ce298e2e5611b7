package brokertest

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// watch is one Watch of the suite.
type watch struct {
	task.Watch
	calls atomic.Int32
	stop  func()
}

func (h *harness) watch(id task.ID) *watch {
	w := &watch{}
	w.ID = id
	w.Done = func(*task.Watch) { w.calls.Add(1) }
	w.stop = h.br.Watch(&w.Watch)
	return w
}

func (h *harness) untilDone(w *watch) {
	h.Helper()
	h.until("the watch ends", func() bool { return w.calls.Load() > 0 })
	if w.calls.Load() != 1 {
		h.Fatalf("the watch's Done was called %d times", w.calls.Load())
	}
	w.stop()
}

var inspectPromises = []promise{
	{"watch/tells the end of a task", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{}, task.Spec{}, task.Spec{ExpireAfter: 50, Delay: 1})
		early := h.watch(ids[0])
		ds := h.lease("q", 3, 0)
		running := h.watch(ids[0])
		dead, canceled, expired := h.watch(ids[1]), h.watch(ids[2]), h.watch(ids[3])
		if early.calls.Load() != 0 || running.calls.Load() != 0 {
			h.Fatal("a watch ended before its task")
		}
		h.report(complete(ds[0], "42"), task.OK)
		o := fail(ds[1], "boom")
		o.Permanent = true
		h.report(o, task.OK)
		h.change(task.VerbCancel, ids[2])
		after := h.watch(ids[0])
		for _, w := range []*watch{early, running, after} {
			h.untilDone(w)
			if w.Err != nil || w.Info.ID != ids[0] || w.Info.State != task.Succeeded || string(w.Info.Result) != "42" {
				h.Fatalf("got %+v, %v", w.Info, w.Err)
			}
		}
		f := func(w *watch, want task.State) {
			h.Helper()
			h.untilDone(w)
			if w.Err != nil || w.Info.State != want {
				h.Fatalf("got %+v, %v, want %v", w.Info, w.Err, want)
			}
		}
		f(dead, task.Dead)
		f(canceled, task.Canceled)
		f(expired, task.Expired)
		if dead.Info.Error != "boom" {
			h.Fatalf("got %+v", dead.Info)
		}
	}},
	{"watch/of what is gone or never was", false, func(h *harness) {
		ids := h.enqueue("q", task.Spec{}, task.Spec{})
		deleted, purged, never := h.watch(ids[0]), h.watch(ids[1]), h.watch(unknownID(ids[0]))
		h.change(task.VerbDelete, ids[0])
		if _, err := h.in.Purge(h.Context(), "q", []task.State{task.Ready}); err != nil {
			h.Fatal(err)
		}
		for _, w := range []*watch{deleted, purged, never} {
			h.untilDone(w)
			if w.Err == nil || w.Err.Code != task.NotFound {
				h.Fatalf("got %+v, %v, want NotFound", w.Info, w.Err)
			}
		}
	}},
	{"watch/one that was given up is not called", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		given, kept := h.watch(id), h.watch(id)
		given.stop()
		given.stop()
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		h.untilDone(kept)
		if given.calls.Load() != 0 {
			h.Fatal("it was called")
		}
	}},
	{"watch/a retry is not an end", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		w := h.watch(id)
		h.report(failAfter(h.lease("q", 1, 0)[0], 0), task.OK)
		d := h.lease("q", 1, 0)[0]
		if w.calls.Load() != 0 {
			h.Fatal("the watch ended at a retry")
		}
		h.report(complete(d, ""), task.OK)
		h.untilDone(w)
	}},
	{"get/what never was", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		h.gone(unknownID(id))
		other := id
		other.Lane ^= 1
		h.gone(other)
		other = id
		other.Queue += 7
		h.gone(other)
		h.gone(task.ID{})
	}},
	{"list/pages through all, newest first", false, func(h *harness) {
		want := h.enqueue("q", make([]task.Spec, 25)...)
		slices.Reverse(want)
		f := task.Filter{Queue: "q", States: []task.State{task.Ready}, Limit: 10}
		var got []task.ID
		for range 10 {
			p, err := h.in.List(h.Context(), f)
			if err != nil {
				h.Fatal(err)
			}
			if len(p.Tasks) > 10 {
				h.Fatalf("a page of %d tasks, asked for 10", len(p.Tasks))
			}
			for _, in := range p.Tasks {
				got = append(got, in.ID)
				if in.State != task.Ready || in.Queue != "q" || in.Type != "t" || in.EnqueuedAt == 0 {
					h.Fatalf("got %+v", in)
				}
			}
			if f.Cursor = p.Next; f.Cursor == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			h.Fatalf("got %d tasks %v, want %d %v", len(got), got, len(want), want)
		}
	}},
	{"list/newest first over several queues, page by page", false, func(h *harness) {
		var want []string
		for _, end := range []func(q string, id task.ID){
			func(string, task.ID) {},
			func(q string, _ task.ID) {
				h.report(task.Outcome{Token: h.lease(q, 1, 0)[0].Token, Kind: task.OutcomeFail, Permanent: true}, task.OK)
			},
			func(q string, _ task.ID) { h.report(complete(h.lease(q, 1, 0)[0], ""), task.OK) },
		} {
			for i := range 12 {
				name := fmt.Sprint("q", i%5)
				id := h.enqueueOne(name, task.Spec{Priority: uint8(len(want) / 12)}) // later ones are leased first
				end(name, id)
				want = append(want, id.String())
				h.pass(2)
			}
		}
		for i, state := range []task.State{task.Ready, task.Dead, task.Succeeded} {
			f := task.Filter{States: []task.State{state}, Limit: 5}
			var got []string
			for pages := 0; pages == 0 || f.Cursor != ""; pages++ {
				p, err := h.in.List(h.Context(), f)
				if err != nil || len(p.Tasks) > f.Limit || pages > 20 {
					h.Fatalf("page %d: %d tasks, %v", pages, len(p.Tasks), err)
				}
				for _, in := range p.Tasks {
					got = append(got, in.ID.String())
				}
				f.Cursor = p.Next
			}
			slices.Reverse(got)
			if !slices.Equal(got, want[12*i:12*i+12]) {
				h.Fatalf("%v: got, oldest first, %v, want %v", state, got, want[12*i:12*i+12])
			}
		}
	}},
	{"list/filters", false, func(h *harness) {
		a := h.enqueueOne("q", task.Spec{Type: "a"})
		b := h.enqueueOne("q", task.Spec{Type: "b"})
		later := h.enqueueOne("q", task.Spec{Type: "a", Delay: task.Hour})
		other := h.enqueueOne("other", task.Spec{Type: "a"})
		running := h.enqueueOne("r", task.Spec{Type: "a"})
		h.lease("r", 1, 0)
		done := h.enqueueOne("d", task.Spec{Type: "a"})
		h.report(complete(h.lease("d", 1, 0)[0], "x"), task.OK)
		dead := h.enqueueOne("d", task.Spec{Type: "a"})
		o := fail(h.lease("d", 1, 0)[0], "boom")
		o.Permanent = true
		h.report(o, task.OK)
		f := func(f task.Filter, want ...task.ID) {
			h.Helper()
			p, err := h.in.List(h.Context(), f)
			if err != nil {
				h.Fatalf("list %+v: %v", f, err)
			}
			var got []string
			for _, in := range p.Tasks {
				got = append(got, in.ID.String())
			}
			var ws []string
			for _, id := range want {
				ws = append(ws, id.String())
			}
			slices.Sort(got)
			slices.Sort(ws)
			if !slices.Equal(got, ws) || p.Next != "" {
				h.Fatalf("list %+v: got %v (next %q), want %v", f, got, p.Next, ws)
			}
		}
		f(task.Filter{Queue: "q"}, a, b, later)
		f(task.Filter{Queue: "q", Type: "a"}, a, later)
		f(task.Filter{Queue: "q", States: []task.State{task.Scheduled}}, later)
		f(task.Filter{Type: "a", States: []task.State{task.Ready}}, a, other)
		f(task.Filter{States: []task.State{task.Running}}, running)
		f(task.Filter{States: []task.State{task.Succeeded, task.Dead}}, done, dead)
		f(task.Filter{}, a, b, later, other, running, done, dead)
		f(task.Filter{Queue: "nope"})
	}},
	{"list/a bad filter is refused", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		_, err := h.in.List(h.Context(), task.Filter{Limit: task.ListMax + 1})
		h.wantCode("limit", err, task.Invalid)
		_, err = h.in.List(h.Context(), task.Filter{Limit: -1})
		h.wantCode("negative limit", err, task.Invalid)
		for _, cursor := range []string{"nonsense!", "garbage", "aaaaaaaaaaaa", "zzzz"} {
			_, err = h.in.List(h.Context(), task.Filter{Cursor: cursor})
			h.wantCode("cursor "+cursor, err, task.Invalid)
		}
	}},
	{"node/says what it is", false, func(h *harness) {
		n, err := h.in.Node(h.Context())
		if err != nil {
			h.Fatal(err)
		}
		if !n.Ready || n.Started == 0 || n.Now < n.Started || len(n.Partitions) == 0 {
			h.Fatalf("got %+v", n)
		}
	}},
	{"all/many producers and workers at once", false, manyAtOnce},
}

// manyAtOnce lets producers and workers loose on one queue, every outcome among
// them, and wants each task to end once and the counts to add up.
func manyAtOnce(h *harness) {
	const producers, each, workers = 4, 150, 3
	h.setQueue("q", task.QueuePatch{MaxAttempts: ptr(int32(3)), Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 1}})
	var mu sync.Mutex
	accepted := map[task.ID]int{}
	var wg sync.WaitGroup
	for range workers {
		w := h.serve(20, "q")
		stop := make(chan struct{})
		h.Cleanup(func() { close(stop) })
		go chaos(w, stop, func(id task.ID) {
			mu.Lock()
			accepted[id]++
			mu.Unlock()
		})
	}
	var all []task.ID
	for p := range producers {
		wg.Go(func() {
			for i := range each {
				b := &task.EnqueueBatch{Queue: "q", Producer: fmt.Sprint("p", p), Specs: []task.Spec{{Number: uint64(i + 1), Type: "t", Payload: []byte{byte(i)}, Priority: uint8(i % 10)}}}
				if err := task.EnqueueWait(h.Context(), h.br, b); err != nil || b.Results[0].Err != nil {
					h.Errorf("enqueue: %v, %+v", err, b.Results)
					return
				}
				mu.Lock()
				all = append(all, b.Results[0].ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	h.until("all tasks have ended", func() bool {
		q := h.queue("q")
		return q.Succeeded+q.Dead == producers*each
	})
	var dead int64
	for _, id := range all {
		in := h.get(id)
		mu.Lock()
		n := accepted[id]
		mu.Unlock()
		switch {
		case in.State == task.Succeeded && n == 1:
		case in.State == task.Dead && n == 0 && in.Counts.Failures == 3:
			dead++
		default:
			h.Fatalf("task %v is %v with %d completions and %+v", id, in.State, n, in.Counts)
		}
	}
	h.wantCounts("q", tally{Dead: dead, Enqueued: producers * each, Succeeded: producers*each - dead})
}

// chaos reports an outcome for each delivery of w: of seven one fails, one is
// released, one fails again and again, the others complete.
func chaos(w *worker, stop chan struct{}, completed func(task.ID)) {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-stop:
			return
		case <-tick.C:
		}
		w.mu.Lock()
		ds := w.inbox
		w.inbox = nil
		w.mu.Unlock()
		if len(ds) == 0 {
			continue
		}
		b := &task.OutcomeBatch{}
		for _, d := range ds {
			switch n := d.Payload[0] % 7; {
			case n == 0 && d.Attempt == 1, n == 1:
				b.Outcomes = append(b.Outcomes, fail(d, "boom"))
			case n == 2 && d.Counts.Releases == 0:
				b.Outcomes = append(b.Outcomes, release(d, 0))
			default:
				b.Outcomes = append(b.Outcomes, complete(d, "r"))
			}
		}
		b.Done = func(b *task.OutcomeBatch) {
			for i, o := range b.Outcomes {
				if b.Err == nil && b.Codes[i] == task.OK && o.Kind == task.OutcomeComplete {
					completed(ds[i].ID)
				}
			}
		}
		n := len(ds)
		w.s.Report(b)
		w.s.Credit(n)
	}
}
