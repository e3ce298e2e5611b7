package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Names of holders of leases outside sessions go with their leases, also where
// nothing is written of the end.
func TestNamesOfHoldersGo(t *testing.T) {
	const n = 500
	g := newRig(t, store.MemOptions{})
	none := task.HistoryNone
	g.r.SetQueue("q", task.QueuePatch{History: &none}, func(*task.Error) {})
	g.enqueue("q", 0, n+1)
	lease := func() *worker {
		c := &Credit{}
		c.Undivided()
		c.Add(1)
		w := &worker{}
		g.r.Poll(&task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, Worker: "curl", TTL: task.Hour}, c, w, true, func(*task.Error) {})
		g.run()
		return w
	}
	stays := lease()
	for range n {
		g.report(lease().got, nil)
	}
	if k := len(g.r.unary); k > 2*unaryLookMin {
		t.Errorf("%d tasks are done, and %d names of their holders are kept", n, k)
	}
	g.now += task.Time(2 * idleAfter)
	g.r.Tick()
	g.run()
	g.now += task.Time(2 * idleAfter)
	g.r.Tick()
	g.run()
	if k := len(g.r.unary); k != 1 {
		t.Errorf("one runs, and when all is quiet %d names are kept", k)
	}
	if info, err := g.get(stays.got[0].ID); err != nil || info.Worker != "curl" {
		t.Errorf("who runs it: %q, %v", info.Worker, err)
	}
}
