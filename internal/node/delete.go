package node

import (
	"context"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

// DeleteQueue implements task.Inspector. The other partitions that hold a part of
// the queue come first and its home, which has the settings, last; from the
// beginning on new tasks go to the home alone. When a part is found in use after
// all, the queue is made whole again: what has been deleted of it was empty, or
// was to go.
func (n *Node) DeleteQueue(ctx context.Context, queue string, force bool) (int64, error) {
	holders, err := n.holders(ctx, queue)
	if err != nil {
		return 0, err
	}
	infos, err := n.Queues(ctx, []string{queue})
	if err != nil {
		return 0, err
	}
	if e := infos[0].CheckDelete(force); e != nil {
		return 0, e
	}
	home := n.routes.home(queue)
	was := n.routes.of(queue)
	n.routes.goHome(queue)
	var gone int64
	for _, p := range homeLast(holders, home) {
		k, err := ask(ctx, n, p, func(r *partition.Runner, answer func(int64, *task.Error)) { r.DeleteQueue(queue, force, answer) })
		if err != nil && task.CodeOf(err) != task.NotFound { // it may have vanished meanwhile
			n.routes.restore(queue, was)
			return gone, n.deletedInPart(ctx, home, queue, err)
		}
		gone += k
	}
	n.routes.forget(queue)
	for _, m := range n.members { // an enqueue on its way may have made a part anew
		if left, err := n.queueInfos(ctx, m.id, []string{queue}); err == nil && len(left) > 0 {
			n.routes.holds(queue, m.id)
		}
	}
	return gone, nil
}

func homeLast(ps []uint16, home uint16) []uint16 {
	var out, last []uint16
	for _, p := range ps {
		if p == home {
			last = append(last, p)
		} else {
			out = append(out, p)
		}
	}
	return append(out, last...)
}

// deletedInPart gives the parts of a queue that is still there their settings
// again, and returns why it is.
func (n *Node) deletedInPart(ctx context.Context, home uint16, queue string, why error) error {
	infos, err := n.queueInfos(ctx, home, []string{queue})
	if err == nil && len(infos) > 0 {
		err = n.follow(ctx, home, infos[0])
	}
	if err != nil {
		return err
	}
	return why
}
