package brokertest

import (
	"context"
	"errors"

	"github.com/penstock-io/penstock/internal/task"
)

// leaseNow is a unary lease call with whatever it returns.
func (h *harness) leaseNow(r task.LeaseRequest) ([]task.Delivery, error) {
	return h.br.Lease(h.Context(), r)
}

var leasePromises = []promise{
	{"lease/takes what is there, up to max", false, func(h *harness) {
		h.empty("q")
		ids := h.enqueue("q", make([]task.Spec, 5)...)
		ds, err := h.leaseNow(task.LeaseRequest{Queues: on("q"), Max: 3, TTL: task.Minute, Worker: "curl"})
		if err != nil {
			h.Fatal(err)
		}
		h.wantIDs("three", ds, ids[:3]...)
		end := h.now().Add(task.Minute) // by a clock of its own: both round to a millisecond
		if ds[0].LeaseEnd > end+1 || ds[0].LeaseEnd < end-5*task.Time(task.Second) {
			h.Fatalf("the lease ends at %v, want about %v", ds[0].LeaseEnd, end)
		}
		if in := h.wantState(ids[0], task.Running); in.Worker != "curl" {
			h.Fatalf("got %+v", in)
		}
		ds, err = h.leaseNow(task.LeaseRequest{Queues: on("q"), Max: 3})
		if err != nil {
			h.Fatal(err)
		}
		h.wantIDs("the rest", ds, ids[3:]...)
		h.wantCounts("q", tally{Running: 5, Enqueued: 5})
	}},
	{"lease/waits for the first task", false, func(h *harness) {
		type answer struct {
			ds  []task.Delivery
			err error
		}
		got := make(chan answer, 1)
		go func() {
			ds, err := h.leaseNow(task.LeaseRequest{Queues: on("q"), Max: 3, Wait: task.Minute})
			got <- answer{ds, err}
		}()
		h.pass(20)
		id := h.enqueueOne("q", task.Spec{})
		var a answer
		h.until("the lease call returns", func() bool {
			select {
			case a = <-got:
				return true
			default:
				return false
			}
		})
		if a.err != nil {
			h.Fatal(a.err)
		}
		h.wantIDs("the task that came", a.ds, id)
	}},
	{"lease/returns empty when the wait is over", false, func(h *harness) {
		got := make(chan error, 1)
		go func() {
			ds, err := h.leaseNow(task.LeaseRequest{Queues: on("q"), Max: 3, Wait: 50})
			if len(ds) != 0 {
				err = errors.New("got a task from nowhere")
			}
			got <- err
		}()
		h.until("the lease call returns", func() bool {
			select {
			case err := <-got:
				if err != nil {
					h.Fatal(err)
				}
				return true
			default:
				return false
			}
		})
		id := h.enqueueOne("q", task.Spec{})
		h.wantIDs("nobody stands in the way", h.lease("q", 1, 0), id)
	}},
	{"lease/a caller that gave up takes nothing", false, func(h *harness) {
		ctx, cancel := context.WithCancel(h.Context())
		got := make(chan error, 1)
		go func() {
			_, err := h.br.Lease(ctx, task.LeaseRequest{Queues: on("q"), Max: 3, Wait: task.Minute})
			got <- err
		}()
		h.pass(20)
		cancel()
		h.until("the lease call returns", func() bool {
			select {
			case err := <-got:
				if err == nil {
					h.Fatal("a canceled lease call returned without an error")
				}
				return true
			default:
				return false
			}
		})
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 0)[0]
		if d.ID != id || d.Counts.Crashes != 0 || d.Counts.Failures != 0 {
			h.Fatalf("got %+v", d)
		}
	}},
	{"lease/types and several queues", false, func(h *harness) {
		h.enqueueOne("a", task.Spec{Type: "x"})
		want := h.enqueueOne("b", task.Spec{Type: "y"})
		ds, err := h.leaseNow(task.LeaseRequest{Queues: on("a", "b"), Types: []string{"y"}, Max: 10})
		if err != nil {
			h.Fatal(err)
		}
		h.wantIDs("type y", ds, want)
	}},
	{"lease/a bad request is refused", false, func(h *harness) {
		for _, r := range []task.LeaseRequest{
			{Max: 1},
			{Queues: on("q"), Max: -1},
			{Queues: on("q"), Max: task.LeaseMax + 1},
			{Queues: on("q"), Max: 1, TTL: -1},
			{Queues: on("q"), Max: 1, TTL: task.LeaseTTLMax + 1},
			{Queues: on("q"), Max: 1, Wait: -1},
			{Queues: on("q"), Max: 1, Wait: task.LeaseWaitMax + 1},
			{Queues: on("q"), Max: 1<<32 + 1},
			{Queues: []task.QueueWeight{{Queue: "q", Weight: -1}}, Max: 1},
			{Queues: []task.QueueWeight{{Queue: "q", Weight: task.WeightMax + 1}}, Max: 1},
			{Queues: on(""), Max: 1},
			{Queues: on("q"), Max: 1, Types: []string{""}},
		} {
			_, err := h.leaseNow(r)
			if task.CodeOf(err) != task.Invalid {
				h.Fatalf("lease %+v: got %v, want Invalid", r, err)
			}
		}
	}},
	{"lease/one that runs out is a crash", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		h.lease("q", 1, 60)
		d := h.lease("q", 1, task.Minute)[0]
		if d.ID != id || d.Attempt != 2 || d.Counts != (task.Counts{Crashes: 1}) {
			h.Fatalf("got %+v", d)
		}
		in := h.get(id)
		if in.Attempts[0].Outcome != task.AttemptCrashed || in.Counts.Failures != 0 {
			h.Fatalf("got %+v", in)
		}
		h.wantCounts("q", tally{Running: 1, Enqueued: 1})
	}},
	{"lease/extend keeps it", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 250)[0]
		es := h.br.Extend(h.Context(), []task.Extension{
			{Token: d.Token, TTL: task.Minute, Progress: &task.Progress{Done: 3, Total: 10, Text: "a third"}},
			{Token: task.Token{Partition: d.Token.Partition, Seq: d.Token.Seq + 99}},
		})
		if len(es) != 2 || es[0] != nil || es[1] == nil {
			h.Fatalf("extend: got %v", es)
		}
		if in := h.get(id); in.Progress != (task.Progress{Done: 3, Total: 10, Text: "a third"}) {
			h.Fatalf("progress: got %+v", in.Progress)
		}
		h.pass(350)
		h.wantState(id, task.Running)
		h.report(complete(d, ""), task.OK)
		if es := h.br.Extend(h.Context(), []task.Extension{{Token: d.Token}}); len(es) != 1 || es[0] == nil {
			h.Fatalf("extend of a finished task: got %v", es)
		}
	}},
	{"lease/extend after another's lease is refused", false, func(h *harness) {
		h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 40)[0]
		h.lease("q", 1, task.Minute)
		es := h.br.Extend(h.Context(), []task.Extension{{Token: d.Token, TTL: task.Minute}})
		if len(es) != 1 {
			h.Fatalf("got %d answers", len(es))
		}
		h.wantCode("extend", es[0], task.LeaseLost)
	}},
	{"lease/a late outcome counts while nobody else has the task", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{})
		d := h.lease("q", 1, 40)[0]
		h.untilState(id, task.Ready)
		h.report(complete(d, "late"), task.OK)
		if in := h.wantState(id, task.Succeeded); string(in.Result) != "late" || in.Counts.Crashes != 1 {
			h.Fatalf("got %+v", in)
		}
		h.empty("q")
		h.wantCounts("q", tally{Enqueued: 1, Succeeded: 1})
	}},
	{"lease/three crashes are the end", false, func(h *harness) {
		id := h.enqueueOne("q", task.Spec{Payload: []byte("kept")})
		for i := range task.CrashesMax {
			d := h.lease("q", 1, 30)[0]
			if d.Counts.Crashes != uint32(i) {
				h.Fatalf("got %+v, want %d crashes", d.Counts, i)
			}
		}
		in := h.untilState(id, task.Dead)
		if in.Counts != (task.Counts{Crashes: task.CrashesMax}) || in.Reason == "" || string(in.Payload) != "kept" {
			h.Fatalf("got %+v", in)
		}
		h.empty("q")
		h.wantCounts("q", tally{Dead: 1, Enqueued: 1})
	}},
}
