package node

import (
	"context"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/placement"
	"github.com/penstock-io/penstock/internal/task"
)

// routes tells which partitions a queue lives in. Queues of one partition, which
// is nearly all, need no entry.
type routes struct {
	partitions int
	lead       func() task.Millis // by how much the steady clock is ahead of the wall clock
	mu         sync.Mutex         // for changes
	wide       atomic.Pointer[map[string]route]
}

// route is the way of a queue that lives, or has lived, in several partitions.
type route struct {
	put     []uint16 // where new tasks go, its home first; nil = its home alone
	serve   []uint16 // where tasks may be
	earlier []former // where new tasks went before, the last first
}

// former is where the tasks of a queue went until its width was changed.
type former struct {
	put   []uint16
	until task.Time // by the node's steady clock
}

func (r *routes) init(partitions int, lead func() task.Millis) {
	r.partitions, r.lead = partitions, lead
	r.wide.Store(&map[string]route{})
}

// home is the partition that holds a queue's settings.
func (r *routes) home(queue string) uint16 {
	if r.partitions == 1 {
		return 0
	}
	return placement.Home(queue, r.partitions)
}

// of is the way of a queue; the zero route of one that has always been in its home.
func (r *routes) of(queue string) route { return (*r.wide.Load())[queue] }

// each calls fn for every partition that may hold tasks of the queue.
func (r *routes) each(queue string, fn func(p uint16)) {
	w, wide := (*r.wide.Load())[queue]
	if !wide {
		fn(r.home(queue))
		return
	}
	for _, p := range w.serve {
		fn(p)
	}
}

// set notes the width of a queue, and those it had, and says whether it may now
// have tasks where it had none. A queue made narrower still has its old tasks
// where they are.
func (r *routes) set(queue string, width int, widths []task.EarlierWidth) bool {
	var put []uint16
	if width > 1 {
		put = placement.Partitions(nil, queue, r.partitions, width)
	}
	serve := slices.Clone(put)
	var before []former
	for _, w := range widths {
		ps := placement.Partitions(nil, queue, r.partitions, w.Width)
		before = append(before, former{ps, w.Until.Add(r.lead())})
		serve = append(serve, ps...)
	}
	return r.change(queue, func(w *route) { w.put, w.earlier = put, before }, serve...)
}

// holds notes that a partition knows the queue.
func (r *routes) holds(queue string, p uint16) {
	if p != r.home(queue) {
		r.change(queue, func(*route) {}, p)
	}
}

// goHome sends new tasks of a queue to its home alone.
func (r *routes) goHome(queue string) {
	r.change(queue, func(w *route) { w.put, w.earlier = nil, nil })
}

// restore sends them where they went.
func (r *routes) restore(queue string, was route) {
	r.change(queue, func(w *route) { w.put, w.earlier = was.put, was.earlier })
}

// forget drops the way of a queue that is deleted.
func (r *routes) forget(queue string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := (*r.wide.Load())[queue]; known {
		wide := maps.Clone(*r.wide.Load())
		delete(wide, queue)
		r.wide.Store(&wide)
	}
}

func (r *routes) change(queue string, fn func(w *route), serve ...uint16) (grew bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := *r.wide.Load()
	w, known := old[queue]
	if !known && len(serve) == 0 {
		return false
	}
	fn(&w)
	all := append([]uint16{r.home(queue)}, w.serve...)
	all = append(all, serve...)
	slices.Sort(all)
	all = slices.Compact(all)
	grew = len(all) > max(1, len(w.serve))
	w.serve = all
	wide := maps.Clone(old)
	wide[queue] = w
	r.wide.Store(&wide)
	return grew
}

// loadRoutes learns the widths of all queues from their homes, and where else they
// have tasks.
func (n *Node) loadRoutes(ctx context.Context) error {
	for _, m := range n.members {
		infos, err := n.queueInfos(ctx, m.id, nil)
		if err != nil {
			return err
		}
		for i := range infos {
			q := &infos[i]
			if n.routes.home(q.Name) == m.id {
				n.routes.set(q.Name, q.Config.Width, q.Earlier)
			}
			n.routes.holds(q.Name, m.id)
		}
	}
	return nil
}
