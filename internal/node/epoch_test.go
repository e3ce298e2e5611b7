package node

import (
	"context"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/task"
)

// A partition whose epoch is spent is opened under the next, and nobody loses by it:
// no task, no lease, no attempt, whether the worker lives in this process or not.
func TestSpentEpochs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const total = 400
		n := openNode(t, func(c *Config) { c.Partitions, c.EpochMax = 2, 60 })
		here, away := newHand(t, n, "here", 10, "q"), &hand{t: t, n: n, completed: map[task.ID]int{}}
		away.opts = here.opts
		away.opts.ID, away.opts.Remote = "away", true
		away.attach()
		away.credit(10)
		ids := enqueueAll(t, n, "q", "p", total)
		epochs, last := map[uint32]bool{}, map[*hand]uint64{}
		for {
			synctest.Wait()
			for _, h := range []*hand{here, away} {
				h.mu.Lock()
				for _, d := range h.held {
					if d.Token.Fence() < last[h] || d.Counts != (task.Counts{}) || d.Attempt != 1 {
						t.Errorf("%s has %+v, after fence %d", h.opts.ID, d, last[h])
					}
					last[h] = d.Token.Fence()
					epochs[d.Token.Epoch] = true
				}
				h.mu.Unlock()
				for h.work() {
					synctest.Wait()
				}
			}
			if qs, err := n.Queues(context.Background(), []string{"q"}); err == nil && qs[0].Succeeded == total {
				break
			}
		}
		once(t, ids, here, away)
		if len(epochs) < 4 {
			t.Errorf("all of it was in %d epochs", len(epochs))
		}
		for _, m := range n.members {
			if m.ills.Load() != nil {
				t.Errorf("partition %d has been blamed: %+v", m.id, m.ills.Load())
			}
		}
	})
}
