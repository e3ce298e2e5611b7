package queue_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// idemTally counts what Outputs have of idempotency entries.
type idemTally struct{ read, puts, drops, briefs, dropBriefs, spans int }

func (b *bench) tally() *idemTally {
	t := &idemTally{}
	b.Trace = func(_ task.Time, _ []queue.Command, o *queue.Output) {
		for _, w := range o.Wants {
			if w.What == queue.WantIdem || w.What == queue.WantIdemsDue || w.What == queue.WantIdemsLive {
				t.read++
			}
		}
		t.puts += len(o.Idems.Puts)
		t.drops += len(o.Idems.Drops)
		t.briefs += len(o.Briefs.Puts)
		t.dropBriefs += len(o.Briefs.Drops)
		t.spans += len(o.BriefSpans)
	}
	return t
}

func manyKeys(n int) []string {
	keys := make([]string, n)
	for i := range keys {
		keys[i] = fmt.Sprintf("key-%06d", i)
	}
	return keys
}

// TestBriefsAreNotRead: keys with short windows are put once each, never read, and go
// by ranges.
func TestBriefsAreNotRead(t *testing.T) {
	const n = 3_000
	b := newBench(t, 0)
	got := b.tally()
	b.keyed(10*task.Second, manyKeys(n)...)
	if _, known := b.keyed(10*task.Second, manyKeys(n)...); known != n {
		t.Fatalf("%d of %d keys hold", known, n)
	}
	for left := n; left > 0; {
		ls := b.lease(left, task.Hour)
		for _, l := range ls {
			b.report(task.Outcome{Token: l})
		}
		left -= len(ls)
	}
	b.pass(12*task.Second, task.Second)
	if want := (idemTally{briefs: n, spans: 1}); *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
	if k := b.Store.IdemEntries(); k != 0 {
		t.Errorf("%d entries are left", k)
	}
}

// TestBriefOutlived: the key of a task that outlives its window becomes one like
// others, over a restart too, and ends after the task.
func TestBriefOutlived(t *testing.T) {
	for _, crash := range []bool{false, true} {
		b := newBench(t, 0)
		got := b.tally()
		ids, _ := b.keyed(10*task.Second, "done", "lives")
		b.report(task.Outcome{Token: b.lease(1, task.Hour)[0]})
		if err := b.Reopen(crash); err != nil {
			t.Fatal(err)
		}
		if again, known := b.keyed(10*task.Second, "done", "lives"); known != 2 || again[1] != ids[1] {
			t.Fatalf("after a restart %d of 2 keys hold", known)
		}
		b.pass(12*task.Second, task.Second)
		if got.puts != 1 {
			t.Errorf("%d entries have become ordinary ones, want that of the task that lives", got.puts)
		}
		if _, known := b.keyed(10*task.Second, "done", "lives"); known != 1 {
			t.Errorf("%d of 2 keys hold, want that of the task that lives", known)
		}
		b.change(task.VerbCancel, ids[1])
		for range 2 {
			for _, l := range b.lease(2, task.Hour) {
				b.report(task.Outcome{Token: l})
			}
		}
		b.pass(task.Minute, task.Second)
		if k := b.Store.IdemEntries(); k != 0 {
			t.Errorf("%d entries outlive window and task", k)
		}
	}
}

// TestBriefsBounded: where there is no room in memory, entries are like others, and
// all hold.
func TestBriefsBounded(t *testing.T) {
	b := &bench{t, queuetest.NewRig(queue.Config{Partition: 1, WindowBytes: 2_000}, 1_000_000)}
	got := b.tally()
	b.keyed(10*task.Second, manyKeys(200)...)
	if got.briefs == 0 || got.puts == 0 || got.briefs+got.puts != 200 {
		t.Errorf("of 200 entries %d are brief and %d not", got.briefs, got.puts)
	}
	if _, known := b.keyed(10*task.Second, manyKeys(200)...); known != 200 {
		t.Errorf("%d of 200 keys hold", known)
	}
}

// TestBriefsOverABit: a restart amid the end of a second's entries forgets none that
// holds: the key that was used again, while the entry before stood there still.
func TestBriefsOverABit(t *testing.T) {
	const n = 5_000 // more than are looked at in one Apply
	b := newBench(t, 0)
	keys := manyKeys(n)
	b.keyed(10*task.Second, keys...)
	for left := n; left > 0; {
		ls := b.lease(left, task.Hour)
		for _, l := range ls {
			b.report(task.Outcome{Token: l})
		}
		left -= len(ls)
	}
	b.Now = b.Now.Add(12 * task.Second)
	b.apply(queue.Command{Op: queue.OpTick})
	if k := b.Store.IdemEntries(); k != n {
		t.Fatalf("%d entries after a first look, want all of %d", k, n)
	}
	if _, known := b.keyed(10*task.Second, keys[0]); known != 0 {
		t.Fatal("a key holds after its window")
	}
	if err := b.Reopen(true); err != nil {
		t.Fatal(err)
	}
	if _, known := b.keyed(10*task.Second, keys[0]); known != 1 {
		t.Error("a key that was used again does not hold")
	}
	b.pass(2*task.Second, task.Second)
	if _, known := b.keyed(10*task.Second, keys[0]); known != 1 {
		t.Error("a key that was used again does not hold, once those before it have gone")
	}
	if k := b.Store.IdemEntries(); k != 1 {
		t.Errorf("%d entries are left, want one", k)
	}
}

// TestBriefAgain: a key that is used again, or freed with its task, leaves no entry
// behind.
func TestBriefAgain(t *testing.T) {
	b := newBench(t, 0)
	ids, _ := b.keyed(10*task.Second, "again", "freed")
	b.change(task.VerbCancel, ids[0])
	b.change(task.VerbDelete, ids[1])
	if _, known := b.keyed(10*task.Second, "freed"); known != 0 {
		t.Error("the key of a deleted task holds")
	}
	b.Now = b.Now.Add(10*task.Second + 1) // over, and its second is not
	if _, known := b.keyed(10*task.Second, "again"); known != 0 {
		t.Error("a key holds after its window")
	}
	if k := b.Store.IdemEntries(); k != 2 {
		t.Errorf("%d entries, want one a key", k)
	}
}

// TestBriefsOfManyQueues: keys of the same name in many queues are keys of their own.
func TestBriefsOfManyQueues(t *testing.T) {
	b := newBench(t, 0)
	enqueue := func(q int) task.Enqueued {
		e := &task.EnqueueBatch{Queue: fmt.Sprint("q", q), Results: make([]task.Enqueued, 1),
			Specs: []task.Spec{{Type: "t", Idempotency: "same", IdempotencyFor: 10 * task.Second}}}
		b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		return e.Results[0]
	}
	for q := range 50 {
		if enqueue(q).Existing {
			t.Fatalf("queue %d has a key before it is used", q)
		}
	}
	for q := range 50 {
		if !enqueue(q).Existing {
			t.Fatalf("the key of queue %d does not hold", q)
		}
	}
}

// With nine lanes nothing was sure of a task that is not in memory: each short key
// became one with an index, and was read.
func TestBriefsAmongManyLanes(t *testing.T) {
	const n = 3_000
	b := newBench(t, 0)
	b.fill(9, 9, "other")
	got := b.tally()
	b.keyed(10*task.Second, manyKeys(n)...)
	for left := n; left > 0; {
		b.apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Types: []string{"t"}, Queues: []task.QueueWeight{{Queue: "q"}}, Max: left, TTL: task.Hour}})
		ls := slices.Clone(b.Leased)
		for i := range ls {
			b.report(task.Outcome{Token: ls[i].Token})
		}
		left -= len(ls)
	}
	b.pass(30*task.Second, task.Second)
	if want := (idemTally{briefs: n, spans: 1}); *got != want {
		t.Errorf("got %+v, want %+v", *got, want)
	}
}

// A key that a look ended was put again in the same Apply, and its batch named it
// twice.
func TestKeyUsedAgainAsItEnds(t *testing.T) {
	const window = 2 * task.Minute
	b := newBench(t, 0)
	b.keyed(window, "k")
	b.report(task.Outcome{Token: b.lease(1, task.Hour)[0]})
	b.Now = b.Now.Add(window + task.Second)
	b.apply(queue.Command{}) // asks for a look
	b.Refill(0)
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: &task.EnqueueBatch{Queue: "q",
		Specs: []task.Spec{{Type: "t", Idempotency: "k", IdempotencyFor: window}}, Results: make([]task.Enqueued, 1)}})
	if _, known := b.keyed(window, "k"); known != 1 {
		t.Error("it does not hold")
	}
}
