package node

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/placement"
)

// routes tells which partitions a queue lives in. Queues of one partition, which
// is nearly all, need no entry.
type routes struct {
	partitions int
	mu         sync.Mutex // for changes
	wide       atomic.Pointer[map[string][]uint16]
}

func (r *routes) init(partitions int) {
	r.partitions = partitions
	r.wide.Store(&map[string][]uint16{})
}

// home is the partition that holds a queue's settings.
func (r *routes) home(queue string) uint16 {
	if r.partitions == 1 {
		return 0
	}
	return placement.Home(queue, r.partitions)
}

// of is the partitions of a queue, its home first; nil means its home alone.
func (r *routes) of(queue string) []uint16 {
	return (*r.wide.Load())[queue]
}

// each calls fn for every partition of the queue.
func (r *routes) each(queue string, fn func(p uint16)) {
	ps := r.of(queue)
	if ps == nil {
		fn(r.home(queue))
		return
	}
	for _, p := range ps {
		fn(p)
	}
}

// set notes the width of a queue and says whether it grew.
func (r *routes) set(queue string, width int) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.wide.Load()
	before := max(1, len(old[queue]))
	if max(1, width) == before {
		return false
	}
	wide := make(map[string][]uint16, len(old)+1)
	for q, ps := range old {
		wide[q] = ps
	}
	if width > 1 {
		wide[queue] = placement.Partitions(nil, queue, r.partitions, width)
	} else {
		delete(wide, queue)
	}
	r.wide.Store(&wide)
	return max(1, len(wide[queue])) > before
}

// loadRoutes learns the widths of all queues from their homes.
func (n *Node) loadRoutes(ctx context.Context) error {
	for _, m := range n.members {
		infos, err := n.queueInfos(ctx, m.id, nil)
		if err != nil {
			return err
		}
		for i := range infos {
			if q := &infos[i]; n.routes.home(q.Name) == m.id {
				n.routes.set(q.Name, q.Config.Width)
			}
		}
	}
	return nil
}
