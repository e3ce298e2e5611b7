package queue

import (
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// TestUnaryWeights: leases outside a session share queues by weight, whatever
// their size.
func TestUnaryWeights(t *testing.T) {
	f := func(max, leases int) {
		t.Helper()
		m := New(Config{Epoch: 1}, &Snapshot{}, 1)
		var out Output
		for _, name := range []string{"heavy", "light"} {
			specs := make([]task.Spec, 200)
			for i := range specs {
				specs[i] = task.Spec{Type: "t"}
			}
			m.Apply(1, []Command{{Op: OpEnqueue, Enqueue: &task.EnqueueBatch{Queue: name, Specs: specs, Results: make([]task.Enqueued, len(specs))}}}, &out)
		}
		got := map[string]int{}
		for range leases {
			l := &Lease{Queues: []task.QueueWeight{{Queue: "heavy", Weight: 3}, {Queue: "light", Weight: 1}}, Max: max}
			m.Apply(1, []Command{{Op: OpLease, Lease: l}}, &out)
			if l.Got != max {
				t.Fatalf("a lease of %d got %d", max, l.Got)
			}
			for i := range out.Leased {
				got[m.QueueName(out.Leased[i].Place.Queue)]++
			}
		}
		if got["heavy"] != 30 || got["light"] != 10 {
			t.Errorf("%d leases of %d: got %v, want 30 and 10", leases, max, got)
		}
		if err := m.Check(); err != nil {
			t.Error(err)
		}
	}
	f(1, 40)
	f(2, 20)
	f(40, 1)
}

// TestExtendTakesUp: who holds a lease of an owner that died, and extends it
// before the task is given out again, goes on, although it came late.
func TestExtendTakesUp(t *testing.T) {
	seq := task.MakeSeq(1, 1)
	old := task.Token{Attempt: 1, Epoch: 1, Nonce: 3, Dispatch: 9, Queue: 1, Seq: seq}
	at := Waiting{Place: Place{Queue: 1, Lane: 1, Seq: seq}, Names: Names{Type: "t"}, Enqueued: 1}
	list := List{Key: ListKey{1, 5}, Epoch: 1, Nonce: 3, Tasks: []Dispatched{{Place: at.Place, Dispatch: 9, Attempt: 1, Started: 400, LeaseEnd: 900}}}
	snap := &Snapshot{Found: true, Meta: Meta{NextQueue: 2, LastOpen: 500, Now: 999}, Queues: []QueueState{{Queue: 1, Name: "q", Births: 1, Enqueued: 1}},
		Lanes: []LaneFound{{Queue: 1, Lane: 1, Names: Names{Type: "t"}, HasBirth: true, Birth: seq}}, Lists: []List{list}}
	snap.InFlight = snap.MayRun(1)
	snap.InFlight[0].Waiting = at
	m := New(Config{Epoch: 2, Nonce: 7}, snap, 1000)
	var out Output
	m.Apply(1000, []Command{{Op: OpTick}}, &out)
	m.Apply(1001, []Command{{Op: OpLoaded, Loaded: &Loaded{Want: out.Wants[0], Waiting: []Waiting{at}, Stretches: []Stretch{{Load: out.Wants[0].Lanes[0].Load, To: 1, End: true}}}}}, &out)
	e := &Extend{Extensions: []task.Extension{{Token: old, TTL: 5000}}, Codes: make([]task.Code, 1)}
	m.Apply(1002, []Command{{Op: OpExtend, Extend: e}}, &out)
	if e.Codes[0] != task.OK {
		t.Fatalf("extend: %v", e.Codes[0])
	}
	l := &Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1}
	m.Apply(1003, []Command{{Op: OpLease, Lease: l}}, &out)
	if l.Got != 0 {
		t.Fatal("the task was given out beside its holder")
	}
	r := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: old}}, Codes: make([]task.Code, 1)}
	m.Apply(1004, []Command{{Op: OpReport, Report: r}}, &out)
	if r.Codes[0] != task.OK {
		t.Fatalf("complete: %v", r.Codes[0])
	}
	if err := m.Check(); err != nil {
		t.Error(err)
	}
}
