package handler

import (
	"context"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const leaseBytesMax = 64 << 20 // of the tasks of one unary lease; the rest stays in the queue

// workers is WorkerService.
type workers struct {
	br   task.Broker
	quit <-chan struct{} // ends long polls early
}

// undo is put into a call's context by front doors that can tell that the
// answer did not reach its caller: they call what Lease left in it.
type undo struct{ leases func() }

type undoKey struct{}

func (s workers) Lease(ctx context.Context, r *pb.LeaseRequest) (*pb.LeaseResponse, error) {
	q, err := leaseRequest(r)
	if err != nil {
		return nil, err
	}
	ds, err := s.poll(ctx, q)
	if err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		s.giveBack(ds)
		return nil, ctx.Err()
	}
	ds = s.fit(ds)
	if u, ok := ctx.Value(undoKey{}).(*undo); ok && len(ds) > 0 {
		u.leases = func() { s.giveBack(ds) }
	}
	out := &pb.LeaseResponse{Tasks: make([]*pb.LeasedTask, len(ds))}
	for i := range ds {
		out.Tasks[i] = codec.LeasedToProto(&ds[i])
	}
	return out, nil
}

// poll is Broker.Lease that comes back with nothing when the server drains.
func (s workers) poll(ctx context.Context, q task.LeaseRequest) ([]task.Delivery, error) {
	if q.Wait == 0 {
		return s.br.Lease(ctx, q)
	}
	pctx, cancel := context.WithCancel(ctx)
	defer cancel()
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-s.quit:
			cancel()
		case <-over:
		}
	}()
	ds, err := s.br.Lease(pctx, q)
	if err != nil && pctx.Err() != nil && ctx.Err() == nil {
		return nil, nil
	}
	return ds, err
}

func leaseRequest(r *pb.LeaseRequest) (task.LeaseRequest, error) {
	q := task.LeaseRequest{
		Queues: codec.WeightsFromProto(r.Queues), Types: r.Types, Max: int(r.Max),
		Wait: task.Millis(r.WaitMs), TTL: task.Millis(r.TtlMs), Worker: r.Worker,
	}
	if q.Max == 0 {
		q.Max = 1
	}
	if r.Queue != "" {
		if len(q.Queues) > 0 {
			return q, task.Errorf(task.Invalid, "both queue and queues are given: use one")
		}
		q.Queues = []task.QueueWeight{{Queue: r.Queue}}
	}
	if len(q.Queues) == 0 {
		q.Queues = []task.QueueWeight{{Queue: task.DefaultQueue}}
	}
	switch {
	case q.Max < 1 || q.Max > task.LeaseMax:
		return q, task.Errorf(task.Invalid, "max is %d: use 1 to %d", q.Max, task.LeaseMax)
	case q.Wait < 0:
		return q, task.Errorf(task.Invalid, "wait of %d ms is negative", q.Wait)
	case q.Wait > task.PollMax:
		return q, errPollMax(q.Wait)
	case q.TTL < 0 || q.TTL > task.LeaseTTLMax:
		return q, task.Errorf(task.Invalid, "ttl of %d ms: use up to 12h, or 0 for 30s", q.TTL)
	case len(r.Queues) > task.SessionQueuesMax:
		return q, task.Errorf(task.Invalid, "%d queues, the most is %d", len(r.Queues), task.SessionQueuesMax)
	case len(r.Types) > task.SessionTypesMax:
		return q, task.Errorf(task.Invalid, "%d types, the most is %d", len(r.Types), task.SessionTypesMax)
	}
	return q, nil
}

// fit keeps as many of ds as one answer may hold and hands back the others.
func (s workers) fit(ds []task.Delivery) []task.Delivery {
	bytes := 0
	for i := range ds {
		bytes += codec.DeliveryBytes(&ds[i])
		if bytes > leaseBytesMax && i > 0 {
			s.giveBack(ds[i:])
			return ds[:i]
		}
	}
	return ds
}

// giveBack hands leases back that their taker never saw.
func (s workers) giveBack(ds []task.Delivery) {
	b := &task.OutcomeBatch{Done: func(*task.OutcomeBatch) {}}
	for i := range ds {
		b.Outcomes = append(b.Outcomes, task.Outcome{Token: ds[i].Token, Kind: task.OutcomeRelease})
	}
	if len(b.Outcomes) > 0 {
		s.br.Report(b)
	}
}

// batch tells whether a request is for one lease or for many, and refuses
// neither and both.
func batch[T any](one *T, many []*T) ([]*T, error) {
	switch {
	case one != nil && len(many) > 0:
		return nil, task.Errorf(task.Invalid, "both one lease and a list of leases are given: use one")
	case one != nil:
		return []*T{one}, nil
	case len(many) == 0:
		return nil, task.Errorf(task.Invalid, "there is no lease: send token, or a list in leases")
	case len(many) > task.BatchMax:
		return nil, task.Errorf(task.Exhausted, "%d leases in one call, the most is %d", len(many), task.BatchMax)
	}
	return many, nil
}

// answer is errs as a call for one lease or for many gives them.
func answer(single bool, errs []error) ([]*pb.ItemResult, error) {
	if single {
		return nil, errs[0]
	}
	return itemResults(errs), nil
}

func (s workers) Extend(ctx context.Context, r *pb.ExtendRequest) (*pb.ExtendResponse, error) {
	items, err := batch(r.Lease, r.Leases)
	if err != nil {
		return nil, err
	}
	errs := make([]error, len(items))
	var exts []task.Extension
	var places []int
	for i, m := range items {
		t, err := task.ParseToken(m.GetToken())
		if err != nil {
			errs[i] = err
			continue
		}
		e := task.Extension{Token: t, TTL: task.Millis(m.GetTtlMs())}
		if e.TTL < 0 || e.TTL > task.LeaseTTLMax {
			errs[i] = task.Errorf(task.Invalid, "ttl of %d ms: use up to 12h, or 0 for 30s", e.TTL)
			continue
		}
		if m.GetProgress() != nil {
			p := codec.ProgressFromProto(m.Progress)
			e.Progress = &p
		}
		exts, places = append(exts, e), append(places, i)
	}
	if len(exts) > 0 {
		for j, err := range s.br.Extend(ctx, exts) {
			errs[places[j]] = err
		}
	}
	res, err := answer(r.Lease != nil, errs)
	return &pb.ExtendResponse{Results: res}, err
}

func (s workers) Complete(ctx context.Context, r *pb.CompleteRequest) (*pb.CompleteResponse, error) {
	items, err := batch(r.Lease, r.Leases)
	if err != nil {
		return nil, err
	}
	res, err := s.report(ctx, r.Lease != nil, len(items), func(i int) (string, task.Outcome) {
		m := items[i]
		return m.GetToken(), task.Outcome{Kind: task.OutcomeComplete, Result: m.GetResult(), ResultType: m.GetResultType(), Log: m.GetLog(), Started: true}
	})
	return &pb.CompleteResponse{Results: res}, err
}

func (s workers) Fail(ctx context.Context, r *pb.FailRequest) (*pb.FailResponse, error) {
	items, err := batch(r.Lease, r.Leases)
	if err != nil {
		return nil, err
	}
	res, err := s.report(ctx, r.Lease != nil, len(items), func(i int) (string, task.Outcome) {
		m := items[i]
		o := task.Outcome{Kind: task.OutcomeFail, Error: m.GetError(), Permanent: m.GetPermanent(), Log: m.GetLog(), Started: true, Delay: task.RetryAfterByBackoff}
		if m != nil && m.RetryAfterMs != nil {
			o.Delay = task.Millis(*m.RetryAfterMs)
		}
		return m.GetToken(), o
	})
	return &pb.FailResponse{Results: res}, err
}

func (s workers) Release(ctx context.Context, r *pb.ReleaseRequest) (*pb.ReleaseResponse, error) {
	items, err := batch(r.Lease, r.Leases)
	if err != nil {
		return nil, err
	}
	res, err := s.report(ctx, r.Lease != nil, len(items), func(i int) (string, task.Outcome) {
		m := items[i]
		return m.GetToken(), task.Outcome{Kind: task.OutcomeRelease, Delay: task.Millis(m.GetDelayMs()), Started: !m.GetNotStarted(), Log: m.GetLog()}
	})
	return &pb.ReleaseResponse{Results: res}, err
}

// report checks n outcomes, hands the good ones to the broker and waits.
func (s workers) report(ctx context.Context, single bool, n int, item func(i int) (string, task.Outcome)) ([]*pb.ItemResult, error) {
	errs := make([]error, n)
	b := &task.OutcomeBatch{}
	var places []int
	for i := range n {
		text, o := item(i)
		t, err := task.ParseToken(text)
		if err != nil {
			errs[i] = err
			continue
		}
		if e := o.Check(); e != nil { // with a text, where the broker has but a code
			errs[i] = e
			continue
		}
		o.Token = t
		b.Outcomes, places = append(b.Outcomes, o), append(places, i)
	}
	if len(b.Outcomes) > 0 {
		if err := task.ReportWait(ctx, s.br, b); err != nil {
			return nil, err
		}
		for j, c := range b.Codes {
			errs[places[j]] = outcomeError(c)
		}
	}
	return answer(single, errs)
}

func outcomeError(c task.Code) error {
	switch c {
	case task.OK:
		return nil
	case task.LeaseLost:
		return task.Errorf(c, "the lease is no longer yours: drop the outcome")
	case task.NotFound:
		return task.Errorf(c, "there is no such task any more: drop the outcome")
	case task.Invalid:
		return task.Errorf(c, "the outcome is not valid: its token, result, log or wait is wrong")
	}
	return task.Errorf(c, "the outcome was not taken")
}
