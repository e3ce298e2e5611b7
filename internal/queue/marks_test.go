package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// markBlock is after how many dispatches of a lane its marks are written.
const markBlock = 1_024

// What stands below a lane's mark is not looked for at a start: not what runs while
// later ones go, nor what waits in memory.
func TestNothingLivesBelowAMark(t *testing.T) {
	const later = 300
	f := func(window int, delay task.Millis) {
		t.Helper()
		b := newBench(t, window)
		specs := make([]task.Spec, markBlock+later)
		for i := range specs {
			specs[i].Delay = delay
		}
		b.enqueue(specs...)
		b.Now = b.Now.Add(delay)
		first := b.lease(1, task.Hour)[0]
		b.Now += 10
		for left := markBlock - 1; left > 0; {
			r := &task.OutcomeBatch{}
			for _, k := range b.lease(min(left, 250), task.Hour) {
				r.Outcomes = append(r.Outcomes, task.Outcome{Token: k})
			}
			r.Codes = make([]task.Code, len(r.Outcomes))
			b.apply(queue.Command{Op: queue.OpReport, Report: r})
			left -= len(r.Outcomes)
		}
		b.reopen(false)
		if c := b.report(task.Outcome{Token: first}); c != task.OK {
			t.Errorf("window %d, delay %d: the first, which runs, got %v", window, delay, c)
		}
		if got := len(b.lease(later, task.Hour)); got != later {
			t.Errorf("window %d, delay %d: %d of %d are there after a start", window, delay, got, later)
		}
		if q := b.info(); q.Running != later || q.Ready+q.Scheduled != 0 {
			t.Errorf("window %d, delay %d: %+v", window, delay, q)
		}
	}
	for _, window := range []int{8, 0} {
		f(window, 0)
		f(window, task.Minute)
	}
}
