package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A lane whose window later tasks fill, at its largest, is read on when its first
// stands in the store alone.
func TestFullWindowIsReadOn(t *testing.T) {
	b := newBench(t, 2*queue.LaneWindowMax)
	o := b.open("w")
	b.enqueue(task.Spec{})
	b.take(o, 1) // a worker takes from the lane: its window grows as far as it may
	for had, window := 0, queue.LaneWindowMin; window <= queue.LaneWindowMax; had, window = window, 2*window {
		later := make([]task.Spec, window-had)
		for i := range later {
			later[i].Delay = task.Hour
		}
		b.enqueue(later...)
		id := b.enqueue(task.Spec{})[0]
		if v, ok := b.M.Find(id.Seq); ok {
			t.Fatalf("window of %d: it is in memory: %+v", window, v)
		}
		taken := false
		for range 3 {
			ts := b.take(o, 1)
			taken = taken || len(ts) == 1 && ts[0].Seq == id.Seq
		}
		if !taken {
			t.Fatalf("window of %d: it is ready and not dispatched: %+v", window, b.info())
		}
	}
}

// Births that went back to the store stood before one that still ran, and came back
// behind it: a mark taken from the first of them would have been too high.
func TestEvictedBeforeOneThatRuns(t *testing.T) {
	b := newBench(t, 8)
	b.enqueue(make([]task.Spec, 6)...)
	ts := b.take(b.open("w"), 3)
	for _, k := range ts[:2] {
		if c := b.report(task.Outcome{Token: k, Kind: task.OutcomeRelease}); c != task.OK {
			t.Fatal(c)
		}
	}
	for range 3 { // the third is claimed, and no list tells of the others any more
		b.Now = b.Now.Add(task.Second)
		b.settle()
	}
	b.Cfg.WindowTasks = 4
	b.reopen(false)
	o := b.open("w", ts[2]) // the third of the lane runs on, the first two are read with the others
	if v, ok := b.M.Find(ts[0].Seq); !ok || v.State != task.Ready || len(o.Lost) > 0 {
		t.Fatalf("the first: %+v, %v; lost are %v", v, ok, o.Lost)
	}
	b.Now = b.Now.Add(30 * task.Second) // nobody takes from the lane
	other := &task.EnqueueBatch{Queue: "r", Specs: make([]task.Spec, 40), Results: make([]task.Enqueued, 40)}
	for i := range other.Specs {
		other.Specs[i].Type = "t"
	}
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: other})
	evicted := false
	for range 20 {
		b.apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "r"}}, Max: 10, TTL: task.Minute}})
		_, here := b.M.Find(ts[1].Seq)
		evicted = evicted || !here
		for b.Refills() > 0 {
			b.Refill(0)
			b.apply(queue.Command{})
		}
	}
	if !evicted {
		t.Fatal("nothing made room")
	}
	var got []task.Token
	for range 40 {
		got = append(got, b.take(o, 5-len(got))...)
	}
	if len(got) != 5 || got[0].Seq != ts[0].Seq || got[1].Seq != ts[1].Seq {
		t.Errorf("got %v, want the five that wait, in order", got)
	}
}

// What was purged while its lane was being read stays away.
func TestPurgedWhileRead(t *testing.T) {
	b := newBench(t, 4)
	b.enqueue(make([]task.Spec, 40)...)
	leased := 0
	for range 20 { // until more of the lane is being read
		if b.Refills() > 0 {
			break
		}
		b.apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1}})
		leased += len(b.Leased)
	}
	if b.Refills() == 0 {
		t.Fatal("nothing is being read")
	}
	p := &queue.Purge{Name: "q", States: []task.State{task.Ready}}
	b.apply(queue.Command{Op: queue.OpPurge, Purge: p})
	b.settle()
	if p.Err != nil || p.Gone != int64(40-leased) {
		t.Fatalf("purged %d, %v", p.Gone, p.Err)
	}
	if got := b.lease(40, task.Minute); len(got) != 0 {
		t.Errorf("%d of them are back", len(got))
	}
}
