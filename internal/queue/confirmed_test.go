package queue

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// What a producer has confirmed is confirmed even if the batch that says so is
// refused: it takes no more room, here or in the store.
func TestRefusedBatchConfirms(t *testing.T) {
	m := New(Config{Epoch: 1}, &Snapshot{}, 1)
	var out Output
	stored := map[string]ProducerState{}
	send := func(p string, below, first uint64, n int) *task.Error {
		b := &task.EnqueueBatch{Queue: "q", Producer: p, AckBelow: below, Specs: make([]task.Spec, n), Results: make([]task.Enqueued, n)}
		for i := range b.Specs {
			b.Specs[i] = task.Spec{Type: "t", Number: first + 2*uint64(i)} // a gap after each: a range of its own
		}
		m.Apply(m.now+1, []Command{{Op: OpEnqueue, Enqueue: b}}, &out)
		for _, s := range out.Producers.Puts {
			stored[s.Producer] = s
		}
		return b.Err
	}
	const batch = 10_000
	last := map[string]uint64{}
	for full := false; !full; {
		p := fmt.Sprint("p", len(last))
		for next := uint64(1); !full && next < 2*rangesMax; next += 2 * batch {
			if full = send(p, 0, next, batch) != nil; !full {
				last[p] = next + 2*(batch-1)
			}
		}
	}
	if m.producers.ranges < rangesAllMax {
		t.Fatalf("refused with %d ranges", m.producers.ranges)
	}
	if err := send("p0", 11, last["p0"]+2, 1); err == nil || stored["p0"].Below != 11 {
		t.Errorf("a few are confirmed of too many: %v, and stored is %d", err, stored["p0"].Below)
	}
	for i := range len(last) {
		p := fmt.Sprint("p", i)
		_ = send(p, last[p], last[p]+2, 1) // all but the last is confirmed
		if got := stored[p].Below; got != last[p] {
			t.Errorf("%s has confirmed up to %d, stored is %d", p, last[p], got)
		}
	}
	for i := range len(last) {
		p := fmt.Sprint("p", i)
		if err := send(p, last[p], last[p]+4, 1); err != nil {
			t.Errorf("%s has one unconfirmed enqueue: %v", p, err)
		}
	}
	if most := 4 * len(last); m.producers.ranges > most {
		t.Errorf("%d ranges are counted, and there are %d at most", m.producers.ranges, most)
	}
}
