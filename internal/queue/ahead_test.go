package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// turnsToDrain enqueues tasks of as many keys, a round after the other, and counts
// the Applies until a worker that takes up to 64 in each has had all.
func turnsToDrain(t *testing.T, window, lanes, each int) int {
	b := newBench(t, window)
	for range each {
		specs := make([]task.Spec, lanes)
		for i := range specs {
			specs[i].Key = fmt.Sprint("k", i)
		}
		b.enqueue(specs...)
	}
	w := b.open("w")
	turns, had := 0, 0
	for had < lanes*each {
		if turns++; turns > lanes*each {
			t.Fatalf("%d of %d tasks in %d turns", had, lanes*each, turns)
		}
		if b.Refills() > 0 {
			b.Refill(0)
		}
		b.apply(queue.Command{Op: queue.OpDispatch, Session: w.Session, N: 64})
		had += len(b.Leased)
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(b.Leased))}
		for i := range b.Leased {
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: b.Leased[i].Token, Kind: task.OutcomeComplete})
		}
		b.apply(queue.Command{Op: queue.OpReport, Report: r})
	}
	return turns
}

// With more keys than memory holds tasks each turn waited for the read of a few
// lanes: they were read as they stood in the heap, not as they came next.
func TestLanesAreReadAheadOfTheirTurn(t *testing.T) {
	const lanes, each = 1_000, 5
	for _, window := range []int{100, 300, 900, 1_400, 2_400} {
		if turns := turnsToDrain(t, window, lanes, each); turns > 2*lanes*each/64 {
			t.Errorf("a window of %d tasks: %d turns for %d tasks, 64 a turn", window, turns, lanes*each)
		}
	}
}
