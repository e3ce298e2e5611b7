package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// bench is a Rig whose faults end the test: one test a fault that was found.
type bench struct {
	*testing.T
	*queuetest.Rig
}

func newBench(t *testing.T, window int) *bench {
	return &bench{t, queuetest.NewRig(queue.Config{Partition: 1, WindowTasks: window}, 1_000_000)}
}

func (b *bench) apply(c queue.Command) {
	b.Helper()
	if err := b.Apply(c); err != nil {
		b.Fatal(err)
	}
}

func (b *bench) enqueue(specs ...task.Spec) []task.ID {
	b.Helper()
	for i := range specs {
		specs[i].Type = "t"
	}
	e := &task.EnqueueBatch{Queue: "q", Specs: specs, Results: make([]task.Enqueued, len(specs))}
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
	var ids []task.ID
	for _, r := range e.Results {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
		ids = append(ids, r.ID)
	}
	return ids
}

// lease takes up to n tasks without a session, in as many calls as it needs.
func (b *bench) lease(n int, ttl task.Millis) []task.Token {
	b.Helper()
	var ts []task.Token
	for range 2*n + 2 {
		b.settle()
		b.apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: n - len(ts), TTL: ttl}})
		for i := range b.Leased {
			ts = append(ts, b.Leased[i].Token)
		}
		if len(ts) == n {
			break
		}
	}
	return ts
}

// settle lets refills arrive until none is under way.
func (b *bench) settle() {
	b.Helper()
	b.apply(queue.Command{})
	for range 20 {
		for b.Refills() > 0 {
			b.Refill(0)
			b.apply(queue.Command{})
		}
	}
}

func (b *bench) report(o task.Outcome) task.Code {
	b.Helper()
	r := &task.OutcomeBatch{Outcomes: []task.Outcome{o}, Codes: make([]task.Code, 1)}
	b.apply(queue.Command{Op: queue.OpReport, Report: r})
	return r.Codes[0]
}

func (b *bench) change(v task.Verb, ids ...task.ID) []*task.Error {
	b.Helper()
	c := &queue.Change{Verb: v, IDs: ids, Errs: make([]*task.Error, len(ids))}
	b.apply(queue.Command{Op: queue.OpChange, Change: c})
	return c.Errs
}

func (b *bench) info() task.QueueInfo { return b.M.QueueInfos([]string{"q"}, nil)[0] }

// A task due in the same millisecond as the horizon's, its sequence the one just
// before, stood neither in memory nor behind the horizon.
func TestTimedTaskAtTheHorizonIsNotLost(t *testing.T) {
	b := newBench(t, 1)
	b.enqueue(make([]task.Spec, 5)...) // two stay, and leave no room
	ts := b.lease(3, task.Hour)
	for _, k := range []int{1, 0} { // the later one first
		if c := b.report(task.Outcome{Token: ts[k], Kind: task.OutcomeFail, Delay: 5000}); c != task.OK {
			t.Fatal(c)
		}
	}
	b.report(task.Outcome{Token: ts[2], Kind: task.OutcomeFail, Delay: 5000})
	b.Now += 6000
	if got := b.lease(5, task.Hour); len(got) != 5 || got[2].Seq != ts[0].Seq || got[4].Seq != ts[2].Seq {
		t.Fatalf("got %v, want the two and then the three in order", got)
	}
}

// A change that named a task in the store twice ended it twice.
func TestChangeThatNamesATaskTwice(t *testing.T) {
	b := newBench(t, 1)
	ids := b.enqueue(make([]task.Spec, 5)...)
	errs := b.change(task.VerbCancel, ids[4], ids[4], ids[3])
	if errs[0] != nil || errs[1] == nil || errs[1].Code != task.Conflict || errs[2] != nil {
		t.Fatalf("got %v", errs)
	}
	if q := b.info(); q.Canceled != 2 || q.Ready != 3 {
		t.Fatalf("got %+v", q)
	}
}

// A revived task's old deadline came back when it was read from the store.
func TestRevivedTaskHasNoDeadline(t *testing.T) {
	b := newBench(t, 1)
	id := b.enqueue(task.Spec{Deadline: b.Now + 1000})[0]
	b.Now += 2000
	b.settle()
	b.enqueue(make([]task.Spec, 3)...) // no room is left
	if errs := b.change(task.VerbRetry, id); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if err := b.Reopen(true); err != nil {
		t.Fatal(err)
	}
	b.lease(4, task.Hour)
	b.Now += 10_000
	b.settle()
	if q := b.info(); q.Running != 4 || q.Expired != 0 {
		t.Fatalf("got %+v, want four running", q)
	}
}

// A lease handed back without blame left its claim, and the next unclean start
// took that for a crash.
func TestReleaseTakesTheClaimBack(t *testing.T) {
	b := newBench(t, 100)
	mode := task.ClaimsDurable
	b.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: &queue.SetQueue{Name: "q", Patch: task.QueuePatch{Claims: &mode}}})
	b.enqueue(task.Spec{})
	b.report(task.Outcome{Token: b.lease(1, task.Hour)[0], Kind: task.OutcomeRelease})
	if err := b.Reopen(false); err != nil {
		t.Fatal(err)
	}
	b.settle()
	b.lease(1, task.Hour)
	if len(b.Leased) != 1 || b.Leased[0].Counts.Crashes != 0 {
		t.Fatalf("got %+v, want no crash", b.Leased)
	}
}

// A token of an earlier owner was taken for a task that this owner had leased and
// got back.
func TestTokenOfAnEarlierOwner(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	old := b.take(b.open("w"), 1)[0]
	b.kill()
	b.pass(6*task.Second, task.Second)
	cur := b.lease(1, task.Hour)[0]
	b.report(task.Outcome{Token: cur, Kind: task.OutcomeRelease})
	if c := b.report(task.Outcome{Token: old}); c != task.LeaseLost {
		t.Fatalf("got %v, want LeaseLost", c)
	}
}

// It is taken while nobody has had the task since.
func TestTokenOfTheLastOwner(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	old := b.lease(1, task.Hour)[0]
	if err := b.Reopen(false); err != nil {
		t.Fatal(err)
	}
	b.settle()
	for range 2 { // a repeat is harmless
		if c := b.report(task.Outcome{Token: old}); c != task.OK {
			t.Fatalf("got %v, want OK", c)
		}
	}
	if q := b.info(); q.Succeeded != 1 || q.Ready != 0 {
		t.Fatalf("got %+v", q)
	}
}

// A completion that came late and was accepted was stored under the number of the
// attempt that would have been next: its repeat was refused.
func TestRepeatOfALateCompletion(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	k := b.lease(1, 1000)[0]
	b.Now += 2000
	b.settle()
	for range 2 {
		if c := b.report(task.Outcome{Token: k}); c != task.OK {
			t.Fatalf("got %v, want OK", c)
		}
	}
}

// A purge in the Apply of an enqueue began at the newest task, and left the older
// ones that were in the store alone.
func TestPurgeBesideAnEnqueue(t *testing.T) {
	b := newBench(t, 1)
	b.enqueue(make([]task.Spec, 200)...)
	b.lease(1, task.Hour)
	e := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}, Results: make([]task.Enqueued, 1)}
	p := &queue.Purge{Name: "q", States: []task.State{task.Ready}}
	if err := b.Once(queue.Command{Op: queue.OpEnqueue, Enqueue: e}, queue.Command{Op: queue.OpPurge, Purge: p}); err != nil {
		t.Fatal(err)
	}
	if q := b.info(); q.Running != 1 || q.Ready > 1 {
		t.Fatalf("got %+v", q)
	}
}

// A change beside a purge believed what had been read before the purge: the task
// that was gone already was taken from the counts once more.
func TestChangeBesideAPurge(t *testing.T) {
	f := func(state task.State, born func(b *bench, key task.Spec) task.ID) {
		t.Helper()
		b := newBench(t, 1)
		key := task.Spec{Type: "t", Idempotency: "k", IdempotencyFor: 1, Delay: task.Hour}
		id := born(b, key)
		b.Now += 10
		again := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{key}, Results: []task.Enqueued{{}}}
		c := &queue.Change{Verb: task.VerbDelete, IDs: []task.ID{id}, Errs: []*task.Error{nil}}
		p := &queue.Purge{Name: "q", States: []task.State{state}}
		for _, step := range [][]queue.Command{
			{{Op: queue.OpEnqueue, Enqueue: again}}, {}, // the key is read, then its task
			{{Op: queue.OpPurge, Purge: p}, {Op: queue.OpChange, Change: c}}, {}, {},
		} {
			if err := b.Once(step...); err != nil {
				t.Fatal(err)
			}
		}
		if c.Errs[0] == nil || c.Errs[0].Code != task.NotFound {
			t.Errorf("a %v task: got %v, want that it is not found", state, c.Errs[0])
		}
	}
	f(task.Scheduled, func(b *bench, key task.Spec) task.ID {
		return b.enqueue(task.Spec{Delay: 1000}, task.Spec{Delay: 1000}, key)[2]
	})
	f(task.Dead, func(b *bench, key task.Spec) task.ID {
		key.Delay = 0
		id := b.enqueue(key)[0]
		b.report(task.Outcome{Token: b.lease(1, task.Hour)[0], Kind: task.OutcomeFail, Permanent: true})
		return id
	})
}

// Many lanes lost their last task in one Apply, one of them with a mark that the
// same Apply put, or that was in the store: a batch may name no key twice, and a
// range counts for all keys in it.
func TestManyLanesEndAtOnce(t *testing.T) {
	const block, lanes = 1_024, 1_100 // dispatches between two marks; more than may wait for the tick
	f := func(apart bool) {
		t.Helper()
		b := newBench(t, 0)
		ids := b.enqueue(make([]task.Spec, block)...)
		more := make([]task.Spec, lanes)
		for i := range more {
			more[i].Key = fmt.Sprint("k", i)
		}
		ids = append(ids, b.enqueue(more...)...)
		b.lease(block-1, task.Hour)
		last := []queue.Command{
			{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, TTL: task.Hour}},
			{Op: queue.OpChange, Change: &queue.Change{Verb: task.VerbCancel, IDs: ids, Errs: make([]*task.Error, len(ids))}},
		}
		if apart {
			b.apply(last[0])
			last = last[1:]
		}
		if err := b.Apply(last...); err != nil {
			t.Fatal(err)
		}
		b.Now += 2_000
		b.apply(queue.Command{Op: queue.OpTick})
		if got := b.M.Sizes().Lanes; got != 0 {
			t.Errorf("apart %v: %d lanes are left", apart, got)
		}
	}
	f(false)
	f(true)
}
