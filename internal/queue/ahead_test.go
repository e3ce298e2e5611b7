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
