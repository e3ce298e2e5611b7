package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A worker handed a task back, was given it again, and lost the connection before
// either was known to it. Presenting the old lease it kept the new one, which
// nobody ran, for as long as it lived.
func TestOldLeaseKeepsNoNewOne(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	w := b.open("w")
	k := b.take(w, 1)[0]
	b.apply(queue.Command{Op: queue.OpReport, Report: &task.OutcomeBatch{
		Outcomes: []task.Outcome{{Token: k, Kind: task.OutcomeRelease}}, Codes: make([]task.Code, 1)}})
	if again := b.take(w, 1); len(again) != 1 || again[0] == k {
		t.Fatalf("leased again: %v, first %v", again, k)
	}
	if o := b.open("w", k); len(o.Lost) != 1 {
		t.Errorf("lost %v, want %v", o.Lost, k)
	}
	if q := b.info(); q.Running != 0 || q.Ready != 1 {
		t.Errorf("%+v, want one that is ready: its worker knows of no lease of it", q)
	}
}
