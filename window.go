package penstock

import (
	"math"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	aheadFor   = 30 * time.Millisecond  // how much work, at the measured rate, may wait in the worker
	rateOver   = 20 * time.Millisecond  // the rate is measured over at least this
	rateMemory = 100 * time.Millisecond // how slowly a fall of the rate is believed
)

// window says how many deliveries to ask for. A fast handler needs many on the
// way, or it waits for the network after each; a slow one must not sit on tasks
// that other workers could run. So: as many as can run at once, and what the
// handlers got through lately in aheadFor plus two round trips, up to a cap.
type window struct {
	concurrency int
	prefetch    int
	open        int // asked for and not delivered
	done        int // attempts since
	since       time.Time
	rate        float64 // attempts a second
	trip        time.Duration
}

func newWindow(concurrency, prefetch int) window {
	return window{concurrency: concurrency, prefetch: prefetch}
}

func (w *window) delivered(n int) { w.open = max(w.open-n, 0) }

func (w *window) finished() { w.done++ }

// ahead is how many deliveries may wait for a slot.
func (w *window) ahead(now time.Time) int {
	w.measure(now)
	n := w.rate * (aheadFor + 2*w.trip).Seconds()
	return int(min(n, float64(w.prefetch)))
}

func (w *window) measure(now time.Time) {
	if w.since.IsZero() {
		w.since = now
		return
	}
	dt := now.Sub(w.since)
	if dt < rateOver {
		return
	}
	lately := float64(w.done) / dt.Seconds()
	weight := 0.5
	if lately < w.rate {
		weight = 1 - math.Exp(-float64(dt)/float64(rateMemory))
	}
	w.rate += weight * (lately - w.rate)
	w.done, w.since = 0, now
}

// grant is how many more to ask for while the worker holds held deliveries, and
// outcomes of others that are not known to be durable: all of them together are what
// it has to present should it lose its session.
func (w *window) grant(now time.Time, held, outcomes int) int {
	n := min(w.concurrency+w.ahead(now), task.HeldMax-outcomes) - w.open - held
	if n <= 0 {
		return 0
	}
	w.open += n
	return n
}
