package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// A lane whose window later tasks fill, at its largest, is read on when its first
// stands in the store alone.
func TestFullWindowIsReadOn(t *testing.T) {
	const window = 64
	b := newBench(t, window)
	o := b.open("w")
	b.enqueue(task.Spec{})
	b.take(o, 1) // a worker takes from the lane: it may have all there is
	later := make([]task.Spec, window)
	for i := range later {
		later[i].Delay = task.Hour
	}
	b.enqueue(later...)
	id := b.enqueue(task.Spec{})[0]
	if v, ok := b.M.Find(id.Seq); ok {
		t.Fatalf("it is in memory: %+v", v)
	}
	for range 3 {
		if ts := b.take(o, 1); len(ts) == 1 && ts[0].Seq == id.Seq {
			return
		}
	}
	t.Errorf("it is ready and not dispatched: %+v", b.info())
}
