package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// turnsToDrain enqueues tasks in batches of 500, and counts the Applies until a
// worker that takes up to 64 in each has had all. It wants them in that order.
func turnsToDrain(t *testing.T, window int, specs []task.Spec) int {
	b := newBench(t, window)
	var ids []task.ID
	for rest := specs; len(rest) > 0; {
		n := min(500, len(rest))
		e := &task.EnqueueBatch{Queue: "q", Specs: rest[:n], Results: make([]task.Enqueued, n)}
		b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		for i := range e.Results {
			ids = append(ids, e.Results[i].ID)
		}
		rest = rest[n:]
		b.Now++
	}
	w := b.open("w")
	turns, had := 0, 0
	for had < len(specs) {
		if turns++; turns > len(specs) {
			t.Fatalf("%d of %d tasks in %d turns", had, len(specs), turns)
		}
		if b.Refills() > 0 {
			b.Refill(0)
		}
		b.apply(queue.Command{Op: queue.OpDispatch, Session: w.Session, N: 64})
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(b.Leased))}
		for i := range b.Leased {
			if k := b.Leased[i].Token; k.Seq != ids[had].Seq {
				t.Fatalf("task %d of the order is %x, want %x", had, uint64(k.Seq), uint64(ids[had].Seq))
			}
			had++
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: b.Leased[i].Token, Kind: task.OutcomeComplete})
		}
		b.apply(queue.Command{Op: queue.OpReport, Report: r})
	}
	return turns
}

// With more keys than memory holds tasks each turn waited for the read of a few
// lanes: they were read as they stood in the heap, not as they came next.
func TestLanesAreReadAheadOfTheirTurn(t *testing.T) {
	const n = 4_000
	shapes := map[string]func(i int) task.Spec{
		"a round over all keys after the other": func(i int) task.Spec { return task.Spec{Type: "t", Key: fmt.Sprint(i % 800)} },
		"key after key":                         func(i int) task.Spec { return task.Spec{Type: "t", Key: fmt.Sprint(i / 5)} },
		"types instead of keys":                 func(i int) task.Spec { return task.Spec{Type: fmt.Sprint("t", i%800)} },
		"every task a key of its own":           func(i int) task.Spec { return task.Spec{Type: "t", Key: fmt.Sprint(i)} },
		"every other task of one key": func(i int) task.Spec {
			return task.Spec{Type: "t", Key: fmt.Sprint(i % 2 * i)}
		},
		"one key first": func(i int) task.Spec { return task.Spec{Type: "t", Key: fmt.Sprint(max(i-n/2, 0))} },
		"one key last":  func(i int) task.Spec { return task.Spec{Type: "t", Key: fmt.Sprint(min(i, n/2))} },
		"one key at the end of each round": func(i int) task.Spec {
			return task.Spec{Type: "t", Key: fmt.Sprint(min(i%1_000, 800))}
		},
	}
	windows := []int{100, 300, 1_000, 2_400}
	if testing.Short() {
		windows = windows[1:2]
	}
	for name, spec := range shapes {
		for _, window := range windows {
			t.Run(fmt.Sprint(name, " ", window), func(t *testing.T) {
				specs := make([]task.Spec, n)
				for i := range specs {
					specs[i] = spec(i)
				}
				if turns := turnsToDrain(t, window, specs); turns > 3*n/64 {
					t.Errorf("%d turns for %d tasks, up to 64 a turn", turns, n)
				}
			})
		}
	}
}

// drainFast counts the turns until a worker of one type has had n tasks. beside is
// what else happens in each turn.
func (b *bench) drainFast(o *queue.Open, n int, beside func(turn int)) int {
	b.Helper()
	turns, had := 0, 0
	for ; had < n && turns < 4*n; turns++ {
		b.Now += 10
		if b.Refills() > 0 {
			b.Refill(0)
		}
		beside(turns)
		b.apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: 64})
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(b.Leased))}
		for i := range b.Leased {
			had++
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: b.Leased[i].Token})
		}
		b.apply(queue.Command{Op: queue.OpReport, Report: r})
	}
	return turns
}

func (b *bench) openType(typ string) *queue.Open {
	b.Helper()
	o := &queue.Open{Options: &task.SessionOptions{ID: typ, Types: []string{typ}, TTL: 10 * task.Minute, Concurrency: 300, Queues: []task.QueueWeight{{Queue: "q"}}}}
	b.apply(queue.Command{Op: queue.OpOpen, Open: o})
	return o
}

// fill enqueues n tasks of a type, over some keys.
func (b *bench) fill(n, keys int, typ string) {
	b.Helper()
	for k := 0; k < n; k += 500 {
		e := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, min(500, n-k)), Results: make([]task.Enqueued, min(500, n-k))}
		for i := range e.Specs {
			e.Specs[i] = task.Spec{Type: typ, Key: fmt.Sprint(i % keys)}
		}
		b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		b.Now++
	}
}

// A slow worker's backlog filled memory, and a fast one beside it got a task a turn.
func TestSlowWorkerLeavesRoom(t *testing.T) {
	const n = 2_000
	b := newBench(t, 300+75) // beside the 75 or so that the slow one runs
	b.fill(n, 50, "slow")
	slow := b.openType("slow")
	for range 50 { // it has looked at every lane of its
		b.apply(queue.Command{Op: queue.OpDispatch, Session: slow.Session, N: 1})
		b.settle()
	}
	b.fill(n, 50, "fast")
	turns := b.drainFast(b.openType("fast"), n, func(turn int) {
		if turn%10 == 0 {
			b.apply(queue.Command{Op: queue.OpDispatch, Session: slow.Session, N: 1})
		}
	})
	if turns > 8*n/64 {
		t.Errorf("%d tasks took %d turns of up to 64", n, turns)
	}
}

// What a worker handed back could not leave memory, however long nobody took it.
func TestHandedBackLeavesRoom(t *testing.T) {
	const n = 4_000
	b := newBench(t, 300)
	b.fill(300, 1, "a")
	b.fill(n, 50, "b")
	a := b.openType("a")
	for range 50 {
		if b.Refills() > 0 {
			b.Refill(0)
		}
		b.apply(queue.Command{Op: queue.OpDispatch, Session: a.Session, N: 300})
	}
	b.apply(queue.Command{Op: queue.OpClose, Session: a.Session})
	b.Now = b.Now.Add(task.Minute)
	b.settle()
	if turns := b.drainFast(b.openType("b"), n, func(int) {}); turns > 5*n/64 {
		t.Errorf("%d tasks took %d turns of up to 64", n, turns)
	}
}

// After a start, tasks of many keys that came due at one moment while the server was
// down: each lane had to be read before the first could go, and what was read was
// let go again, as a lease without a session counted for nobody.
func TestOverdueKeysAreLeasedAtOnce(t *testing.T) {
	const n, keys, window = 4_000, 1_000, 1_500
	b := newBench(t, window)
	for k := 0; k < n; k += 500 {
		e := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, 500), Results: make([]task.Enqueued, 500)}
		for i := range e.Specs {
			e.Specs[i] = task.Spec{Type: "t", Key: fmt.Sprint((k + i) % keys), RunAt: b.Now.Add(task.Hour) - b.Now%1000}
		}
		b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
	}
	b.Now = b.Now.Add(2 * task.Hour)
	if err := b.Reopen(false); err != nil {
		t.Fatal(err)
	}
	turns, had, first := 0, 0, 0
	for ; had < n && turns < n; turns++ {
		if b.Refills() > 0 {
			b.Refill(0)
		}
		b.apply(queue.Command{Op: queue.OpLease, Lease: &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 64, TTL: task.Minute}})
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(b.Leased))}
		for i := range b.Leased {
			had++
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: b.Leased[i].Token})
		}
		if had > 0 && first == 0 {
			first = turns
		}
		b.apply(queue.Command{Op: queue.OpReport, Report: r})
	}
	if first > 5 || turns > 4*n/64 {
		t.Errorf("the first came in turn %d, all in %d turns of up to 64", first, turns)
	}
}

// What a drained backlog had in memory stayed there for good.
func TestTrimGivesMemoryBack(t *testing.T) {
	const n = 6_000 // two pages of slots
	b := newBench(t, n)
	b.fill(n, 1_000, "t")
	grown := b.M.Info().MemoryBytes
	w := b.openType("t")
	b.drainFast(w, n/2, func(int) {})
	if b.M.Trim() {
		t.Error("half of it waits, and its memory is given back")
	}
	b.drainFast(w, n/2, func(int) {})
	b.Now = b.Now.Add(2 * task.Second)
	b.apply(queue.Command{Op: queue.OpBeat, Session: w.Session})
	if got := b.M.Trim(); !got || b.M.Info().MemoryBytes > grown/2 {
		t.Errorf("given back: %v; %d bytes of %d are left", got, b.M.Info().MemoryBytes, grown)
	}
	b.fill(n, 100, "t") // and all goes on
	b.drainFast(w, n, func(int) {})
	if q := b.info(); q.Ready != 0 || q.Running != 0 {
		t.Errorf("%+v", q)
	}
}
