package client

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// refusal is what err, of a unary call, means to the caller.
func (c *Conn) refusal(err error) error {
	c.mu.Lock()
	closed, away := c.closed, c.link == nil
	c.mu.Unlock()
	err = codec.FromStatus(err)
	code := task.CodeOf(err)
	switch {
	case closed && (code == task.Unavailable || errors.Is(err, context.Canceled)):
		return errClosed()
	case away && code == task.Unavailable:
		return c.explain(err)
	}
	return err
}

// Lease is task.Broker's.
func (c *Conn) Lease(ctx context.Context, r task.LeaseRequest) ([]task.Delivery, error) {
	if err := r.Check(); err != nil { // the wire takes no queue for the default one
		return nil, err
	}
	m := &pb.LeaseRequest{
		Queues: codec.WeightsToProto(r.Queues), Types: r.Types, Max: int32(r.Max), WaitMs: int64(min(r.Wait, task.PollMax)), TtlMs: int64(r.TTL), Worker: r.Worker,
	}
	end := time.Now().Add(time.Duration(r.Wait) * time.Millisecond)
	for {
		out, err := c.workers.Lease(ctx, m)
		if err != nil {
			return nil, c.refusal(err)
		}
		left := time.Until(end)
		if len(out.Tasks) > 0 || left <= 0 { // the server's polls are shorter than callers may wish
			return leased(out.Tasks)
		}
		m.WaitMs = min(left.Milliseconds()+1, int64(task.PollMax))
	}
}

func leased(ms []*pb.LeasedTask) ([]task.Delivery, error) {
	ds := make([]task.Delivery, len(ms))
	for i, m := range ms {
		var err error
		if ds[i], err = codec.LeasedFromProto(m); err != nil {
			return nil, task.Errorf(task.Internal, "the server's answer is malformed: %v", err)
		}
	}
	return ds, nil
}

// Extend is task.Broker's.
func (c *Conn) Extend(ctx context.Context, exts []task.Extension) []error {
	r := &pb.ExtendRequest{}
	for i := range exts {
		e := &pb.Extension{Token: exts[i].Token.String(), TtlMs: int64(exts[i].TTL)}
		if p := exts[i].Progress; p != nil {
			e.Progress = &pb.Progress{Done: p.Done, Total: p.Total, Text: p.Text}
		}
		r.Leases = append(r.Leases, e)
	}
	if len(exts) == 0 {
		return nil
	}
	out, err := c.workers.Extend(ctx, r)
	return c.itemErrors(len(exts), out.GetResults(), err)
}

// itemErrors spreads a call's failure over its items.
func (c *Conn) itemErrors(n int, items []*pb.ItemResult, err error) []error {
	if err != nil {
		err = c.refusal(err)
	} else if len(items) != n {
		err = task.Errorf(task.Internal, "the server's answer is malformed: %v", errAnswerCount)
	}
	errs := make([]error, n)
	for i := range errs {
		errs[i] = err
		if err == nil && items[i].GetError() != nil {
			errs[i] = codec.ErrorFromProto(items[i].Error)
		}
	}
	return errs
}

// Get is task.Inspector's.
func (c *Conn) Get(ctx context.Context, id task.ID) (task.Info, error) {
	out, err := c.tasks.Get(ctx, &pb.GetRequest{Id: id.String()})
	if err != nil {
		return task.Info{}, c.refusal(err)
	}
	return codec.InfoFromProto(out.GetTask())
}

// List is task.Inspector's.
func (c *Conn) List(ctx context.Context, f task.Filter) (task.Page, error) {
	r := &pb.ListRequest{Queue: f.Queue, Type: f.Type, States: states(f.States), Limit: int32(min(f.Limit, math.MaxInt32)), Cursor: f.Cursor}
	out, err := c.tasks.List(ctx, r)
	if err != nil {
		return task.Page{}, c.refusal(err)
	}
	p := task.Page{Next: out.Next, Scanned: out.Scanned}
	for _, t := range out.Tasks {
		info, err := codec.InfoFromProto(t)
		if err != nil {
			return task.Page{}, err
		}
		p.Tasks = append(p.Tasks, info)
	}
	return p, nil
}

func states(ss []task.State) []pb.State {
	out := make([]pb.State, len(ss))
	for i, s := range ss {
		out[i] = pb.State(s)
	}
	return out
}

// Queues is task.Inspector's.
func (c *Conn) Queues(ctx context.Context, names []string) ([]task.QueueInfo, error) {
	out, err := c.queues.List(ctx, &pb.QueueServiceListRequest{Queues: names})
	if err != nil {
		return nil, c.refusal(err)
	}
	qs := make([]task.QueueInfo, len(out.Queues))
	for i, q := range out.Queues {
		qs[i] = codec.QueueFromProto(q)
	}
	return qs, nil
}

// SetQueue is task.Inspector's.
func (c *Conn) SetQueue(ctx context.Context, name string, p task.QueuePatch) (task.QueueInfo, error) {
	out, err := c.queues.Set(ctx, &pb.SetRequest{Queue: name, Config: codec.PatchToProto(&p)})
	if err != nil {
		return task.QueueInfo{}, c.refusal(err)
	}
	return codec.QueueFromProto(out.GetQueue()), nil
}

// Change is task.Inspector's.
func (c *Conn) Change(ctx context.Context, v task.Verb, ids []task.ID) []error {
	if len(ids) == 0 {
		return nil
	}
	texts := make([]string, len(ids))
	for i, id := range ids {
		texts[i] = id.String()
	}
	var items []*pb.ItemResult
	var err error
	switch v {
	case task.VerbCancel:
		var out *pb.CancelResponse
		out, err = c.tasks.Cancel(ctx, &pb.CancelRequest{Ids: texts})
		items = out.GetResults()
	case task.VerbRetry:
		var out *pb.RetryResponse
		out, err = c.tasks.Retry(ctx, &pb.RetryRequest{Ids: texts})
		items = out.GetResults()
	case task.VerbDelete:
		var out *pb.DeleteResponse
		out, err = c.tasks.Delete(ctx, &pb.DeleteRequest{Ids: texts})
		items = out.GetResults()
	default:
		err = codec.ToStatus(task.Errorf(task.Invalid, "verb %d is not known", v))
	}
	return c.itemErrors(len(ids), items, err)
}

// Purge is task.Inspector's.
func (c *Conn) Purge(ctx context.Context, queue string, ss []task.State) (int64, error) {
	out, err := c.queues.Purge(ctx, &pb.PurgeRequest{Queue: queue, States: states(ss)})
	if err != nil {
		return 0, c.refusal(err)
	}
	return out.Deleted, nil
}

// DeleteQueue is task.Inspector's.
func (c *Conn) DeleteQueue(ctx context.Context, queue string, force bool) (int64, error) {
	out, err := c.queues.Delete(ctx, &pb.QueueServiceDeleteRequest{Queue: queue, Force: force})
	if err != nil {
		return 0, c.refusal(err)
	}
	return out.Deleted, nil
}

// Node is task.Inspector's.
func (c *Conn) Node(ctx context.Context) (task.NodeInfo, error) {
	out, err := c.nodes.Info(ctx, &pb.InfoRequest{})
	if err != nil {
		return task.NodeInfo{}, c.refusal(err)
	}
	return codec.NodeFromProto(out), nil
}
