package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What a machine keeps of what is over: as much as was asked for, and no more.

// marks are those in the store.
func (b *bench) marks() int { return len(b.Store.Snapshot().Marks) }

// Marks go with their lanes: at the tick, at the start after one that came before the
// tick, and by the very Apply in which a lane is marked and emptied among very many.
func TestMarksGoWithTheirLanes(t *testing.T) {
	f := func(keys, want int, crash bool) {
		t.Helper()
		b := newBench(t, 0)
		ids := b.enqueue(make([]task.Spec, markBlock)...)
		for k := range keys {
			ids = append(ids, b.enqueue(task.Spec{Key: fmt.Sprint("k", k)})...)
		}
		b.lease(markBlock-1, task.Hour)
		err := b.Apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, TTL: task.Hour}},
			queue.Command{Op: queue.OpChange, Change: &queue.Change{Verb: task.VerbCancel, IDs: ids, Errs: make([]*task.Error, len(ids))}})
		if err != nil {
			t.Fatal(err)
		}
		if n := b.marks(); n != want {
			t.Fatalf("%d keys: %d marks after as many dispatches as it takes, want %d", keys, n, want)
		}
		if crash {
			b.reopen(false)
		}
		b.Now += 2000
		b.apply(queue.Command{Op: queue.OpTick})
		if n := b.marks(); n != 0 {
			t.Errorf("%d keys, a crash before the tick %v: %d marks are left of lanes that are gone", keys, crash, n)
		}
	}
	f(0, 1, false)
	f(0, 1, true)
	f(1_100, 0, false)
}

// Dead letters count in bytes while they are there.
func TestBytesOfDeadLetters(t *testing.T) {
	b := newBench(t, 100)
	id := b.enqueue(task.Spec{Payload: make([]byte, 3000)})[0]
	b.report(task.Outcome{Token: b.lease(1, task.Hour)[0], Kind: task.OutcomeFail, Permanent: true})
	if q := b.info(); q.Dead != 1 || q.DeadBytes < 3000 {
		t.Errorf("%d dead letters with %d bytes, want one of 3,000", q.Dead, q.DeadBytes)
	}
	b.change(task.VerbDelete, id)
	if q := b.info(); q.Dead != 0 || q.DeadBytes != 0 {
		t.Errorf("%d dead letters with %d bytes after it was deleted", q.Dead, q.DeadBytes)
	}
}

// A queue keeps what it was told to of those that have ended.
func TestHistoryKeepsWhatItIsToldTo(t *testing.T) {
	f := func(mode task.HistoryMode, done, failed bool) {
		t.Helper()
		b := newBench(t, 100)
		b.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: &queue.SetQueue{Name: "q", Patch: task.QueuePatch{History: &mode}}})
		kept := func() (n int64) {
			for _, s := range b.M.Segments() {
				n += int64(s.Count)
			}
			return n
		}
		b.enqueue(task.Spec{})
		b.report(task.Outcome{Token: b.lease(1, task.Hour)[0]})
		if got := kept() == 1; got != done {
			t.Errorf("history mode %d: one that succeeded is kept: %v, want %v", mode, got, done)
		}
		before := kept()
		b.change(task.VerbCancel, b.enqueue(task.Spec{})...)
		if got := kept() == before+1; got != failed {
			t.Errorf("history mode %d: one that was canceled is kept: %v, want %v", mode, got, failed)
		}
	}
	f(task.HistoryAll, true, true)
	f(task.HistoryFailures, false, true)
	f(task.HistoryNone, false, false)
}

// A purge that comes while the sweep of an earlier one is under way leaves nothing
// behind where that has passed.
func TestPurgeDuringASweep(t *testing.T) {
	const n = 1_300 // more than the sweeper looks over in two steps
	b := newBench(t, 8)
	purge := func() {
		t.Helper()
		p := &queue.Purge{Name: "q", States: []task.State{task.Ready, task.Scheduled}}
		b.apply(queue.Command{Op: queue.OpPurge, Purge: p})
		if p.Err != nil {
			t.Fatal(p.Err)
		}
	}
	retried := func(n int) (ts []task.Token) { // tasks that have moved: each has a where record
		t.Helper()
		for len(ts) < n {
			ts = append(ts, b.lease(min(100, n-len(ts)), task.Hour)...)
			for _, k := range ts[max(0, len(ts)-100):] {
				b.report(task.Outcome{Token: k, Kind: task.OutcomeFail, Delay: task.Hour})
			}
		}
		return ts
	}
	b.enqueue(make([]task.Spec, n)...)
	first := b.lease(50, task.Hour) // they run during the first purge: the first of all
	retried(n - 50)
	purge()
	b.apply(queue.Command{Op: queue.OpTick})
	if b.Refills() == 0 {
		t.Fatal("no sweep is under way")
	}
	b.Refill(0)
	b.apply(queue.Command{Op: queue.OpTick}) // the first step has passed them
	for _, k := range first {
		b.report(task.Outcome{Token: k, Kind: task.OutcomeFail, Delay: task.Hour})
	}
	purge()
	b.settle()
	b.settle()
	if left := b.Store.Wheres(); left != 0 {
		t.Errorf("%d where records lead nowhere after all is purged and swept", left)
	}
}

// Chunks of large payloads go with a purge, but those of what runs.
func TestPurgeSparesPayloadsOfWhatRuns(t *testing.T) {
	b := newBench(t, 4)
	b.enqueue(make([]task.Spec, 1)...)
	large := make([]task.Spec, 9)
	for i := range large {
		large[i].Payload = make([]byte, 10<<10)
	}
	b.enqueue(large...)
	runs := b.lease(3, task.Hour)
	b.apply(queue.Command{Op: queue.OpPurge, Purge: &queue.Purge{Name: "q", States: []task.State{task.Ready}}})
	if len(b.Out.PurgeLarge) == 0 {
		t.Fatal("no chunks are purged")
	}
	for _, g := range b.Out.PurgeLarge {
		for _, k := range runs {
			if g.From <= k.Seq && k.Seq < g.To {
				t.Errorf("the chunks of %x, which runs, are purged with %x to %x", uint64(k.Seq), uint64(g.From), uint64(g.To))
			}
		}
	}
}
