package node

import (
	"context"
	"sync"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

// runner is who serves partition p now, or why nobody does.
func (n *Node) runner(p uint16) (*partition.Runner, *task.Error) {
	if n.closed.Load() {
		return nil, errClosed
	}
	if int(p) >= len(n.members) {
		return nil, task.Errorf(task.NotFound, "there is no partition %d: the ID or token is of another server", p)
	}
	if r := n.members[p].runner(); r != nil && n.damaged.Load() == nil {
		return r, nil
	}
	return nil, n.away()
}

// call waits for one answer of one partition.
type call[T any] struct {
	value T
	err   *task.Error
	done  chan struct{}
}

func newCall[T any]() *call[T] { return &call[T]{done: make(chan struct{})} }

func (c *call[T]) answer(v T, err *task.Error) {
	c.value, c.err = v, err
	close(c.done)
}

// ask sends one question to partition p and waits for the answer.
func ask[T any](ctx context.Context, n *Node, p uint16, send func(r *partition.Runner, answer func(T, *task.Error))) (T, error) {
	var none T
	r, err := n.runner(p)
	if err != nil {
		return none, err
	}
	c := newCall[T]()
	send(r, c.answer)
	if err := n.await(ctx, c.done); err != nil {
		return none, err // the call itself goes on; nobody reads its answer
	}
	if c.err != nil {
		return none, c.err
	}
	return c.value, nil
}

// queueInfos asks one partition for queues; nil names all.
func (n *Node) queueInfos(ctx context.Context, p uint16, names []string) ([]task.QueueInfo, error) {
	return ask(ctx, n, p, func(r *partition.Runner, answer func([]task.QueueInfo, *task.Error)) {
		r.QueueInfos(names, answer)
	})
}

// join counts the answers of several partitions and tells when all are in.
type join struct {
	mu   sync.Mutex
	left int
	err  *task.Error // the first
	some bool        // some partition said yes
	done func()
}

// answer notes one; the last calls done.
func (j *join) answer(err *task.Error) {
	j.mu.Lock()
	if err != nil && j.err == nil {
		j.err = err
	}
	j.some = j.some || err == nil
	j.left--
	last := j.left == 0
	j.mu.Unlock()
	if last {
		j.done()
	}
}
