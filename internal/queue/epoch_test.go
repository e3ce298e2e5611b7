package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// The numbers of an epoch began anew when they were used up: of dispatches after
// 2^32, so that fencing numbers fell and one lease could not be finished; of Applies,
// so that a record was taken for another and an acknowledged task was lost; and of
// sequences after 2^40. A spent epoch ends before that, and the next goes on.
func TestEpochIsSpent(t *testing.T) {
	f := func(name string, dispatches uint32, applies, births uint64) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(make([]task.Spec, 6)...)
		o := b.open("w")
		last := b.take(o, 1)[0]
		if b.Out.Spent {
			t.Errorf("%s: a young epoch is spent", name)
		}
		queue.Age(b.M, dispatches, applies, births)
		old := b.take(o, 2)
		if !b.Out.Spent || len(old) != 2 {
			t.Fatalf("%s: spent %v, leased %d", name, b.Out.Spent, len(old))
		}
		b.reopen(true)
		if b.Out.Spent {
			t.Errorf("%s: the next epoch is spent too", name)
		}
		o = b.open("w", append(old, last)...)
		if len(o.Lost) > 0 {
			t.Errorf("%s: it lost %v, which it runs", name, o.Lost)
		}
		for _, k := range append(old, b.take(o, 3)...) {
			if k.Fence() <= last.Fence() {
				t.Errorf("%s: fence %d after %d", name, k.Fence(), last.Fence())
			}
			last = k
			if c := b.report(task.Outcome{Token: k}); c != task.OK {
				t.Errorf("%s: %v for the only holder of the lease", name, c)
			}
		}
	}
	f("dispatches", 1<<32-1<<24, 0, 0)
	f("Applies", 0, 1<<32-1<<24, 0)
	f("births", 0, 0, 1<<40-1<<24)
}

// Should nobody end a spent epoch, its numbers end and do not begin anew.
func TestNumbersEnd(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(make([]task.Spec, 6)...)
	o := b.open("w")
	queue.Age(b.M, 1<<32-3, 0, 1<<40-3)
	ts := b.take(o, 5)
	if len(ts) != 2 || ts[0].Fence() >= ts[1].Fence() {
		t.Errorf("leased %v, want two and then none", ts)
	}
	e := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}, {Type: "t"}, {Type: "t"}}, Results: make([]task.Enqueued, 3)}
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
	r := e.Results
	if r[0].Err != nil || r[1].Err != nil || r[0].ID.Seq >= r[1].ID.Seq || r[2].Err == nil || r[2].Err.Code != task.Unavailable {
		t.Errorf("got %+v, want two born and the third refused", r)
	}
}
