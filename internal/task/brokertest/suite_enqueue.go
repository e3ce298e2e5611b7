package brokertest

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/penstock-io/penstock/internal/task"
)

var enqueuePromises = []promise{
	{"enqueue/what goes in is what Get shows", false, func(h *harness) {
		before := h.now()
		id := h.enqueueOne("q", task.Spec{
			Type: "mail", Payload: []byte(`{"to":"a"}`), Priority: 7, Tags: []string{"vip", "eu"}, Key: "acme/user42",
			Headers: []task.Header{{Name: "traceparent", Value: "00-1"}}, ContentType: "text/plain",
		})
		in := h.wantState(id, task.Ready)
		if string(in.Payload) != `{"to":"a"}` || !in.PayloadKept || in.Type != "mail" || in.Queue != "q" || in.Priority != 7 ||
			in.Key != "acme/user42" || !slices.Equal(in.Tags, []string{"vip", "eu"}) || in.ContentType != "text/plain" ||
			len(in.Headers) != 1 || in.Headers[0] != (task.Header{Name: "traceparent", Value: "00-1"}) {
			h.Fatalf("got %+v", in)
		}
		if in.EnqueuedAt < before-1 || in.EnqueuedAt > h.now()+1 || in.ReadyAt != in.EnqueuedAt {
			h.Fatalf("enqueued at %v, ready at %v, the test began at %v", in.EnqueuedAt, in.ReadyAt, before)
		}
		back, err := task.ParseID(id.String())
		if err != nil || back != id {
			h.Fatalf("ID %v read back as %v, %v", id, back, err)
		}
		h.wantCounts("q", tally{Ready: 1, Enqueued: 1})
	}},
	{"enqueue/what goes in is what the worker gets", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{
			Type: "mail", Payload: []byte("\x00\xff raw"), Priority: 7, Tags: []string{"vip"}, Key: "acme",
			Headers: []task.Header{{Name: "a", Value: "b"}}, ContentType: "application/octet-stream",
			Policy: &task.Policy{MaxAttempts: 4, Timeout: 90 * task.Second},
		})
		d := h.serve(1, "q").take(1)[0]
		if d.ID != id || d.Queue != "q" || d.Type != "mail" || d.Key != "acme" || string(d.Payload) != "\x00\xff raw" ||
			d.ContentType != "application/octet-stream" || len(d.Headers) != 1 || d.Headers[0].Name != "a" || d.Headers[0].Value != "b" ||
			!slices.Equal(d.Tags, []string{"vip"}) || d.Priority != 7 || d.Attempt != 1 || d.MaxAttempts != 4 ||
			d.Timeout != 90*task.Second || d.Counts != (task.Counts{}) {
			h.Fatalf("got %+v", d)
		}
		if back, err := task.ParseToken(d.Token.String()); err != nil || back != d.Token || d.Token.Fence() == 0 {
			h.Fatalf("token %v read back as %v, %v", d.Token, back, err)
		}
	}},
	{"enqueue/a bad spec is refused alone and stores nothing", false, func(h *harness) {
		good := task.Spec{Type: "t"}
		bad := []task.Spec{
			{Type: ""},
			{Type: strings.Repeat("x", task.NameMax+1)},
			{Type: "a\nb"},
			{Type: "t", Priority: task.PriorityMax + 1},
			{Type: "t", Delay: -1},
			{Type: "t", Delay: task.DelayMax + 1},
			{Type: "t", Delay: 1, RunAt: 1},
			{Type: "t", RunAt: -1},
			{Type: "t", ExpireAfter: -1},
			{Type: "t", Deadline: -1},
			{Type: "t", IdempotencyFor: 5},
			{Type: "t", Tags: make([]string, task.TagsMax+1)},
			{Type: "t", Headers: []task.Header{{Name: "big", Value: strings.Repeat("x", task.HeaderBytesMax)}}},
			{Type: "t", Policy: &task.Policy{MaxAttempts: -1}},
			{Type: "t", Policy: &task.Policy{Timeout: -2}},
			{Type: "t", Policy: &task.Policy{Timeout: task.DelayMax + 1}},
			{Type: "t", Policy: &task.Policy{Backoff: &task.Backoff{Base: task.DelayMax + 1}}},
			{Type: "t", Policy: &task.Policy{Backoff: &task.Backoff{Kind: task.BackoffList}}},
			{Type: "t", Payload: make([]byte, task.PayloadMax+1)},
		}
		specs := []task.Spec{good}
		for _, s := range bad {
			specs = append(specs, s, good)
		}
		for i, r := range h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: specs}) {
			switch {
			case i%2 == 0 && (r.Err != nil || r.ID.IsZero()):
				h.Fatalf("good spec %d: got %+v", i, r)
			case i%2 == 1 && (r.Err == nil || r.Err.Code != task.Invalid || r.Err.Text == "" || !r.ID.IsZero()):
				h.Fatalf("bad spec %+v: got %+v", specs[i], r)
			}
		}
		n := int64(len(bad) + 1)
		h.wantCounts("q", tally{Ready: n, Enqueued: n})
	}},
	{"enqueue/a bad batch is refused whole", false, func(h *harness) {
		f := func(what string, b *task.EnqueueBatch) {
			h.Helper()
			h.wantCode(what, task.EnqueueWait(h.Context(), h.br, b), task.Invalid)
		}
		one := []task.Spec{{Type: "t"}}
		f("no queue", &task.EnqueueBatch{Specs: one})
		f("a queue name with a control character", &task.EnqueueBatch{Queue: "a\x01", Specs: one})
		f("a queue name that is too long", &task.EnqueueBatch{Queue: strings.Repeat("q", task.NameMax+1), Specs: one})
		f("too many tasks", &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, task.BatchMax+1)})
		f("a producer name that is too long", &task.EnqueueBatch{Queue: "q", Producer: strings.Repeat("p", 33), Specs: one})
	}},
	{"enqueue/a name that is not UTF-8 is refused", false, func(h *harness) {
		b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "a\xff"}}}
		err := task.EnqueueWait(h.Context(), h.br, b)
		if err == nil && b.Results[0].Err != nil {
			err = b.Results[0].Err
		}
		h.wantCode("a type that is not UTF-8", err, task.Invalid)
		err = task.EnqueueWait(h.Context(), h.br, &task.EnqueueBatch{Queue: "\xff", Specs: []task.Spec{{Type: "a"}}})
		h.wantCode("a queue that is not UTF-8", err, task.Invalid)
	}},
	{"enqueue/payloads and results go up to the limit", false, func(h *harness) {
		big := []byte(strings.Repeat("0123456789abcdef", task.PayloadMax/16))
		id := h.enqueueOne("q", task.Spec{Payload: big})
		d := h.serve(1, "q").take(1)[0]
		if string(d.Payload) != string(big) {
			h.Fatalf("got a payload of %d bytes, or other bytes", len(d.Payload))
		}
		o := complete(d, string(big))
		o.Result = append(o.Result, 'x')
		if got := h.reportCodes(o)[0]; got != task.Invalid {
			h.Fatalf("a result over the limit: got %v, want Invalid", got)
		}
		h.report(complete(d, string(big)), task.OK)
		if in := h.wantState(id, task.Succeeded); string(in.Result) != string(big) {
			h.Fatalf("got a result of %d bytes, or other bytes", len(in.Result))
		}
	}},
	{"enqueue/an empty batch is answered", false, func(h *harness) {
		h.enqueueBatch(&task.EnqueueBatch{Queue: "q"})
	}},
	{"enqueue/many at once get IDs of their own", false, func(h *harness) {
		const callers, each = 8, 100
		var wg sync.WaitGroup
		var mu sync.Mutex
		seen := map[task.ID]bool{}
		for range callers {
			wg.Go(func() {
				for range each {
					b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
					if err := task.EnqueueWait(h.Context(), h.br, b); err != nil || b.Results[0].Err != nil {
						h.Errorf("enqueue: %v, %+v", err, b.Results)
						return
					}
					mu.Lock()
					seen[b.Results[0].ID] = true
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if len(seen) != callers*each {
			h.Fatalf("got %d IDs, want %d", len(seen), callers*each)
		}
		h.wantCounts("q", tally{Ready: callers * each, Enqueued: callers * each})
	}},
	{"idempotency/the same key and payload is the same task", false, func(h *harness) {
		s := task.Spec{Type: "t", Payload: []byte("one"), Idempotency: "order-1"}
		first := h.enqueueOne("q", s)
		f := func(what string) {
			h.Helper()
			r := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}})[0]
			if r.Err != nil || r.ID != first || !r.Existing {
				h.Fatalf("%s: got %+v, want the existing %v", what, r, first)
			}
		}
		f("while it waits")
		w := h.serve(1, "q")
		d := w.take(1)[0]
		f("while it runs")
		w.report(task.OK, complete(d, "1"))
		f("when it is done, within the window")
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"idempotency/another payload under a key is a conflict", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{Payload: []byte("one"), Idempotency: "k"})
		r := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t", Payload: []byte("two"), Idempotency: "k"}}})[0]
		if r.Err == nil || r.Err.Code != task.Conflict {
			h.Fatalf("got %+v, want Conflict", r)
		}
		h.enqueueOne("other", task.Spec{Payload: []byte("two"), Idempotency: "k"}) // its scope is the queue
		h.wantCounts("q", tally{Ready: 1, Enqueued: 1})
	}},
	{"idempotency/twice in one batch is one task", false, func(h *harness) {
		s := task.Spec{Type: "t", Payload: []byte("one"), Idempotency: "k"}
		rs := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s, s}})
		if rs[0].Err != nil || rs[1].Err != nil || rs[0].ID != rs[1].ID || rs[0].Existing || !rs[1].Existing {
			h.Fatalf("got %+v", rs)
		}
		h.wantCounts("q", tally{Ready: 1, Enqueued: 1})
	}},
	{"idempotency/a deleted task frees its key, unless it has succeeded", false, func(h *harness) {
		end := map[string]func(task.ID){
			"ready": func(task.ID) {},
			"dead": func(task.ID) {
				h.report(task.Outcome{Token: h.lease("q", 1, 0)[0].Token, Kind: task.OutcomeFail, Permanent: true}, task.OK)
			},
			"canceled":  func(id task.ID) { h.change(task.VerbCancel, id) },
			"succeeded": func(task.ID) { h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK) },
		}
		for _, state := range slices.Sorted(maps.Keys(end)) {
			s := task.Spec{Type: "t", Payload: []byte(state), Idempotency: state}
			first := h.enqueueOne("q", s)
			end[state](first)
			r := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}})[0]
			if r.Err != nil || r.ID != first || !r.Existing {
				h.Fatalf("%s: got %+v, want the existing %v", state, r, first)
			}
			h.change(task.VerbDelete, first)
			r = h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}})[0]
			if done := state == "succeeded"; r.Err != nil || r.Existing != done || (r.ID == first) != done {
				h.Fatalf("%s and deleted: got %+v after %v", state, r, first)
			}
			if state != "succeeded" {
				h.change(task.VerbDelete, r.ID)
			}
		}
		h.wantCounts("q", tally{Enqueued: 7, Succeeded: 1, Canceled: 1})
	}},
	{"idempotency/a key holds to the later of its window and its task's end", false, func(h *harness) {
		s := task.Spec{Type: "t", Payload: []byte("one"), Idempotency: "k", IdempotencyFor: 40}
		first := h.enqueueOne("q", s)
		h.pass(80)
		r := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}})[0]
		if r.Err != nil || r.ID != first || !r.Existing {
			h.Fatalf("past the window, the task waits: got %+v, want the existing %v", r, first)
		}
		h.report(complete(h.lease("q", 1, 0)[0], "1"), task.OK)
		h.until("the key is free once window and task have ended", func() bool {
			r := h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}})[0]
			return r.Err == nil && !r.Existing && r.ID != first
		})
	}},
	{"repeats/a number is enqueued once", false, func(h *harness) {
		batch := func(queue, producer string, numbers ...uint64) []task.Enqueued {
			h.Helper()
			b := &task.EnqueueBatch{Queue: queue, Producer: producer}
			for _, n := range numbers {
				b.Specs = append(b.Specs, task.Spec{Number: n, Type: "t", Payload: fmt.Append(nil, n)})
			}
			rs := h.enqueueBatch(b)
			for i, r := range rs {
				if r.Err != nil {
					h.Fatalf("number %d: %v", numbers[i], r.Err)
				}
			}
			return rs
		}
		a := batch("q", "p1", 1, 2, 3)
		b := batch("q", "p1", 1, 2, 3)
		for i := range a {
			if a[i].ID != b[i].ID || a[i].Existing || !b[i].Existing {
				h.Fatalf("number %d: first %+v, then %+v", i+1, a[i], b[i])
			}
		}
		c := batch("q", "p1", 3, 4)
		if c[0].ID != a[2].ID || !c[0].Existing || c[1].Existing {
			h.Fatalf("an overlapping repeat: got %+v", c)
		}
		h.wantCounts("q", tally{Ready: 4, Enqueued: 4})
		if r := batch("q", "p2", 1); r[0].Existing {
			h.Fatalf("another producer's number 1: got %+v", r)
		}
		if r := batch("other", "p1", 1); r[0].Existing {
			h.Fatalf("number 1 of another queue: got %+v", r)
		}
		if r := batch("q", "", 1, 1); r[0].Existing || r[1].Existing {
			h.Fatalf("numbers without a producer: got %+v", r)
		}
		if r := batch("q", "p1", 0, 0); r[0].Existing || r[1].Existing {
			h.Fatalf("tasks without a number: got %+v", r)
		}
	}},
	{"repeats/a number is remembered when its task is done", false, func(h *harness) {
		b := func() *task.EnqueueBatch {
			return &task.EnqueueBatch{Queue: "q", Producer: "p", Specs: []task.Spec{{Number: 1, Type: "t"}}}
		}
		first := h.enqueueBatch(b())[0]
		h.report(complete(h.lease("q", 1, 0)[0], ""), task.OK)
		again := h.enqueueBatch(b())[0]
		if again.Err != nil || again.ID != first.ID || !again.Existing {
			h.Fatalf("got %+v, want the existing %v", again, first.ID)
		}
	}},
	{"repeats/a refused number may be sent again corrected", false, func(h *harness) {
		b := &task.EnqueueBatch{Queue: "q", Producer: "p", Specs: []task.Spec{{Number: 1, Type: "t"}, {Number: 2, Type: ""}, {Number: 3, Type: "t"}}}
		if rs := h.enqueueBatch(b); rs[0].Err != nil || rs[1].Err == nil || rs[2].Err != nil {
			h.Fatalf("got %+v", rs)
		}
		b = &task.EnqueueBatch{Queue: "q", Producer: "p", Specs: []task.Spec{{Number: 2, Type: "t"}}}
		if r := h.enqueueBatch(b)[0]; r.Err != nil || r.Existing {
			h.Fatalf("got %+v, want a new task", r)
		}
		h.wantCounts("q", tally{Ready: 3, Enqueued: 3})
	}},
	{"repeats/a number below AckBelow is never taken for new", false, func(h *harness) {
		h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Producer: "p", Specs: []task.Spec{{Number: 1, Type: "t"}, {Number: 2, Type: "t"}}})
		h.enqueueBatch(&task.EnqueueBatch{Queue: "q", Producer: "p", AckBelow: 3, Specs: []task.Spec{{Number: 3, Type: "t"}}})
		b := &task.EnqueueBatch{Queue: "q", Producer: "p", AckBelow: 3, Specs: []task.Spec{{Number: 1, Type: "t"}}}
		if err := task.EnqueueWait(h.Context(), h.br, b); err == nil && b.Results[0].Err == nil && !b.Results[0].Existing {
			h.Fatalf("got %+v, want a refusal", b.Results[0])
		}
		h.wantCounts("q", tally{Ready: 3, Enqueued: 3})
	}},
	{"repeats/a producer that was idle for long is refused", true, func(h *harness) {
		b := func(n uint64) *task.EnqueueBatch {
			return &task.EnqueueBatch{Queue: "q", Producer: "p", AckBelow: n, Specs: []task.Spec{{Number: n, Type: "t"}}}
		}
		h.enqueueBatch(b(1))
		h.enqueueBatch(b(2))
		h.long(task.ProducerIdleMax + task.Minute)
		again := b(2)
		err := task.EnqueueWait(h.Context(), h.br, again)
		if err == nil && again.Results[0].Err != nil {
			err = again.Results[0].Err
		}
		if err != nil || !again.Results[0].Existing {
			h.wantCode("a repeat from an evicted producer", err, task.Conflict)
		}
		h.wantCounts("q", tally{Ready: 2, Enqueued: 2})
	}},
}
