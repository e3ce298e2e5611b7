package node

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

// unary is a lease outside any session, asked of every partition that its queues
// live in. Its credit is shared: the first partition that has tasks answers it.
type unary struct {
	n      *Node
	credit partition.Credit
	until  task.Time // when the wait ends; 0 = it does not wait
	done   chan struct{}

	mu    sync.Mutex // guards all below
	ended bool
	left  int // partitions that have not said no
	got   []task.Delivery
	err   *task.Error
}

// Lease implements task.Broker.
func (n *Node) Lease(ctx context.Context, q task.LeaseRequest) ([]task.Delivery, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if q.Max == 0 {
		q.Max = 1
	}
	q.Queues, q.Types = slices.Clone(q.Queues), slices.Clone(q.Types)
	ps := n.partitions(q.Queues)
	u := &unary{n: n, done: make(chan struct{}), left: len(ps)}
	if q.Wait > 0 {
		u.until = n.steady().Add(q.Wait)
	}
	if err := n.addLease(u); err != nil {
		return nil, err
	}
	defer n.dropLease(u)
	u.credit.Undivided()
	u.credit.Add(q.Max)
	for _, p := range ps {
		r, err := n.runner(p)
		if err != nil {
			u.failed(err)
			continue
		}
		r.Poll(&q, &u.credit, u, q.Wait == 0, u.failed)
	}
	if err := u.wait(ctx, q.Wait); err != nil {
		return nil, err
	}
	return u.got, nil
}

func (n *Node) addLease(u *unary) *task.Error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed.Load() {
		return errClosed
	}
	if len(n.leases) >= leasesMax {
		return task.Errorf(task.Exhausted, "%d leases wait already, the most there can be: lease more tasks at once, or keep a session", leasesMax)
	}
	n.leases[u] = struct{}{}
	return nil
}

func (n *Node) dropLease(u *unary) {
	n.mu.Lock()
	delete(n.leases, u)
	n.mu.Unlock()
}

// wait returns when tasks are there, none will come, the wait is over, or the
// caller has gone. What comes too late for the caller goes back without blame.
func (u *unary) wait(ctx context.Context, wait task.Millis) error {
	n := u.n
	if n.cfg.Manual {
		if err := n.await(ctx, u.done); err != nil {
			u.giveUp(nil)
			if ctx.Err() != nil {
				u.mu.Lock()
				defer u.mu.Unlock()
				n.free(u.got) // it came, and its caller had gone
				u.got = nil
			}
			return ctx.Err()
		}
	} else {
		var over <-chan time.Time
		if wait > 0 && !n.held {
			timer := time.NewTimer(time.Duration(wait) * time.Millisecond)
			defer timer.Stop()
			over = timer.C
		}
		select {
		case <-u.done:
		case <-over:
			u.giveUp(nil)
		case <-ctx.Done():
			u.giveUp(task.AsError(ctx.Err()))
			<-u.done
			u.mu.Lock()
			defer u.mu.Unlock()
			n.free(u.got)
			u.got = nil
			return ctx.Err()
		}
		<-u.done
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.err != nil {
		return u.err
	}
	return nil
}

// Deliver implements partition.Receiver. The deliveries are the caller's own from
// here on.
func (u *unary) Deliver(ds []task.Delivery) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.ended {
		u.n.free(ds)
		return
	}
	for _, d := range ds {
		d.Payload = slices.Clone(d.Payload)
		d.Headers, d.Tags = slices.Clone(d.Headers), slices.Clone(d.Tags)
		u.got = append(u.got, d)
	}
	u.end(nil)
}

// Revoke implements partition.Receiver; a unary lease is never told.
func (u *unary) Revoke([]task.Token, task.Code) {}

// Lost implements partition.Receiver; only sessions are lost.
func (u *unary) Lost(*task.Error) {}

// failed notes that one partition has nothing for it, or is not served.
func (u *unary) failed(err *task.Error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.left--
	if err != nil && u.err == nil {
		u.err = err
	}
	// With the credit closed this is, most likely, the partition that had tasks
	// and could not commit: the others wait no more, and will not answer.
	if !u.ended && (u.left <= 0 || err != nil && u.credit.Over()) {
		u.end(u.err)
	}
}

// giveUp ends the wait. Whoever holds credit of it meanwhile finds nobody, and
// hands the tasks back.
func (u *unary) giveUp(err *task.Error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if !u.ended {
		u.end(err)
	}
}

// end is called once, with mu held.
func (u *unary) end(err *task.Error) {
	u.ended, u.err = true, err
	u.credit.Close()
	close(u.done)
}

// free hands deliveries back without blame.
func (n *Node) free(ds []task.Delivery) {
	by := map[uint16][]task.Token{}
	for i := range ds {
		by[ds[i].Token.Partition] = append(by[ds[i].Token.Partition], ds[i].Token)
	}
	for p, ts := range by {
		if r, err := n.runner(p); err == nil {
			r.Free(ts)
		}
	}
}

// tickLeases ends the waits that a clock moved by hand has passed.
func (n *Node) tickLeases() {
	now := n.steady()
	n.mu.Lock()
	var over []*unary
	for u := range n.leases {
		if u.until != 0 && u.until <= now {
			over = append(over, u)
		}
	}
	n.mu.Unlock()
	for _, u := range over {
		u.giveUp(nil)
	}
}

// Extend implements task.Broker.
func (n *Node) Extend(ctx context.Context, exts []task.Extension) []error {
	errs := make([]error, len(exts))
	by := map[uint16][]int{}
	for i := range exts {
		p := exts[i].Token.Partition
		by[p] = append(by[p], i)
	}
	for _, p := range sortedKeys(by) {
		at := by[p]
		part := make([]task.Extension, len(at))
		for k, i := range at {
			part[k] = exts[i]
		}
		codes, err := ask(ctx, n, p, func(r *partition.Runner, answer func([]task.Code, *task.Error)) { r.Extend(part, answer) })
		for k, i := range at {
			if errs[i] = err; err == nil {
				errs[i] = extendError(codes[k])
			}
		}
	}
	return errs
}

func extendError(c task.Code) error {
	switch c {
	case task.OK:
		return nil
	case task.LeaseLost:
		return task.Errorf(task.LeaseLost, "the lease is no longer yours: drop the task's outcome")
	}
	return task.Errorf(c, "the lease can't be extended so: give a TTL of at most 12 hours")
}
