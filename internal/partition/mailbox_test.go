package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Enqueues beyond the bound are refused at once; outcomes and heartbeats are
// taken all the same, and room comes back.
func TestAdmissionIsBounded(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	g.enqueue("q", 0, 10)
	w := g.attach("w", "q")
	w.credit.Add(10)
	g.run()
	send := func(n, bytes int) *task.EnqueueBatch {
		b := batchOf("q", 0, n)
		for i := range b.Specs {
			b.Specs[i].Payload = make([]byte, bytes)
		}
		b.Done = func(b *task.EnqueueBatch) { b.AckBelow = 1 }
		g.r.Enqueue(b)
		return b
	}
	f := func(what string, n, bytes int) {
		t.Helper()
		var taken []*task.EnqueueBatch
		for {
			b := send(n, bytes)
			if b.AckBelow == 1 {
				if b.Err == nil || b.Err.Code != task.Exhausted {
					t.Fatalf("%s: refused with %v, want Exhausted", what, b.Err)
				}
				break
			}
			if taken = append(taken, b); len(taken) > 1_000 {
				t.Fatalf("%s: nothing bounds what waits", what)
			}
		}
		answered := false
		ob := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: w.got[0].Token}}, Done: func(*task.OutcomeBatch) { answered = true }}
		w.got = w.got[1:]
		g.r.Report(ob)
		if e := g.r.Beat(w.a); e != nil {
			t.Fatal(e)
		}
		if _, err := g.r.Step(); err != nil {
			t.Fatal(err)
		}
		if !answered || ob.Codes[0] != task.OK {
			t.Fatalf("%s: an outcome had to wait behind enqueues: %v, %v", what, answered, ob.Codes)
		}
		g.run()
		for i, b := range taken {
			if b.AckBelow != 1 || b.Err != nil {
				t.Fatalf("%s: batch %d that was taken: answered %d, %v", what, i, b.AckBelow, b.Err)
			}
		}
		if b := send(1, 1); b.AckBelow == 1 {
			t.Fatalf("%s: no room after the backlog was taken in: %v", what, b.Err)
		}
		g.run()
	}
	f("count", task.BatchMax, 1)
	f("bytes", 16, 1<<20)
}

// What came in while the loop's side of the box held only mail that makes no command
// is not left there.
func TestMailBehindWhatMakesNoCommand(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	g.run()
	answers := 0
	enqueue := func(first, n int) {
		b := batchOf("q", first, n)
		b.Done = func(*task.EnqueueBatch) { answers++ }
		g.r.Enqueue(b)
	}
	enqueue(0, turnTasksMax)
	var c Credit
	c.Undivided()
	c.Add(1)
	g.r.Poll(&task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "empty"}}, Max: 1}, &c, &worker{}, false, func(*task.Error) {})
	if made, err := g.r.Step(); err != nil || !made { // takes the batch, and leaves the lease for the next turn
		t.Fatal(made, err)
	}
	enqueue(2*turnTasksMax, 1)
	g.run()
	if answers != 2 {
		t.Errorf("%d of 2 enqueues are answered when there is nothing more to do", answers)
	}
}
