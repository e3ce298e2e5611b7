package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// A lease that does not wait has an answer from this partition only once it could
// ask: while another partition holds all of its credit, "nothing here" would be a
// guess, and the lease would come back empty over a task that is ready.
func TestPollWhileCreditIsElsewhere(t *testing.T) {
	for _, fate := range []string{"given back", "used"} {
		t.Run(fate, func(t *testing.T) {
			g := newRig(t, store.MemOptions{PunishSingleDelete: true})
			ids := g.enqueue("q", 0, 1)
			var c Credit
			c.Undivided()
			c.Add(10)
			elsewhere := &tap{wake: func() {}}
			c.join(elsewhere, false)
			if got := c.take(elsewhere, 10); got != 10 {
				t.Fatalf("the other partition drew %d of 10", got)
			}
			w, noes := &worker{}, 0
			q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 10}
			g.r.Poll(q, &c, w, true, func(*task.Error) { noes++ })
			g.run()
			if noes != 0 || len(w.got) != 0 {
				t.Fatalf("without credit: %d noes, %d deliveries", noes, len(w.got))
			}
			if fate == "used" {
				c.Close()
				g.run()
				if noes != 0 || len(w.got) != 0 {
					t.Fatalf("after another's answer: %d noes, %d deliveries", noes, len(w.got))
				}
				return
			}
			c.give(elsewhere, 10)
			g.run()
			if noes != 0 || len(w.got) != 1 || w.got[0].ID != ids[0] {
				t.Fatalf("with the credit back: %d noes, got %v", noes, w.got)
			}
		})
	}
}
