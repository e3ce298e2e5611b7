package penstock

import (
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// A worker asks for no more than it may present when it has lost its session: what
// runs or waits in it, and what has ended and is not known to be durable.
func TestWindowAsksForWhatCanBePresented(t *testing.T) {
	w := newWindow(5_000, 5_000)
	w.rate = 1e9
	now := time.Now()
	if n := w.grant(now, 0, 0); n != 10_000 {
		t.Fatalf("asks for %d at first", n)
	}
	w.delivered(10_000)
	for _, outcomes := range []int{0, 10_000, 15_000, task.HeldMax, task.HeldMax + 10} {
		w.open = 0
		n := w.grant(now, 3_000, outcomes)
		if want := max(0, min(7_000, task.HeldMax-outcomes-3_000)); n != want {
			t.Errorf("%d outcomes are under way: asks for %d, want %d", outcomes, n, want)
		}
	}
}
