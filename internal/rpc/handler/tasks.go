package handler

import (
	"context"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

const (
	waitDefault = 30 * task.Second // of Wait when the caller names none
)

// tasks is TaskService.
type tasks struct {
	br   task.Broker
	insp task.Inspector
	quit <-chan struct{} // ends long polls early
}

func (s tasks) Enqueue(ctx context.Context, r *pb.EnqueueRequest) (*pb.EnqueueResponse, error) {
	specs := r.Tasks
	if r.Task != nil {
		if len(r.Tasks) > 0 {
			return nil, task.Errorf(task.Invalid, "both one task and a list of tasks are given: use one")
		}
		specs = []*pb.TaskSpec{r.Task}
	}
	switch {
	case len(specs) == 0:
		return nil, task.Errorf(task.Invalid, `there is no task: send at least {"type": "…"}, or a list in tasks`)
	case len(specs) > task.BatchMax:
		return nil, task.Errorf(task.Invalid, "%d tasks in one call, the limit is %d: send several calls", len(specs), task.BatchMax)
	}
	if len(r.Producer) > 32 {
		return nil, task.Errorf(task.Invalid, "producer is %d bytes long, the limit is 32", len(r.Producer))
	}
	results, err := s.enqueue(ctx, r, specs)
	if err != nil {
		return nil, err
	}
	if r.Task != nil {
		if e := results[0].Err; e != nil {
			return nil, e
		}
		return &pb.EnqueueResponse{Id: results[0].ID.String(), Existing: results[0].Existing}, nil
	}
	out := &pb.EnqueueResponse{Results: make([]*pb.EnqueueResult, len(results))}
	for i := range results {
		if e := results[i].Err; e != nil {
			out.Results[i] = &pb.EnqueueResult{Error: codec.ErrorToProto(e)}
			continue
		}
		out.Results[i] = &pb.EnqueueResult{Id: results[i].ID.String(), Existing: results[i].Existing}
	}
	return out, nil
}

// queueOf is the queue a spec goes to.
func queueOf(r *pb.EnqueueRequest, m *pb.TaskSpec) string {
	switch {
	case m.GetQueue() != "":
		return m.GetQueue()
	case r.Queue != "":
		return r.Queue
	}
	return task.DefaultQueue
}

// enqueue hands one batch a queue to the broker, all at once, and puts the
// answers back into the order of the request.
func (s tasks) enqueue(ctx context.Context, r *pb.EnqueueRequest, specs []*pb.TaskSpec) ([]task.Enqueued, error) {
	type part struct {
		b      *task.EnqueueBatch
		places []int
		done   chan struct{}
	}
	var parts []*part
	byQueue := map[string]*part{}
	sizes := map[string]int{}
	for _, m := range specs {
		sizes[queueOf(r, m)]++
	}
	for i, m := range specs {
		if m == nil {
			m = &pb.TaskSpec{}
		}
		q := queueOf(r, m)
		p := byQueue[q]
		if p == nil {
			p = &part{b: &task.EnqueueBatch{Queue: q, Producer: r.Producer, AckBelow: r.AckBelow}, done: make(chan struct{})}
			p.b.Done = func(*task.EnqueueBatch) { close(p.done) }
			p.b.Specs, p.places = make([]task.Spec, 0, sizes[q]), make([]int, 0, sizes[q])
			byQueue[q] = p
			parts = append(parts, p)
		}
		p.b.Specs = append(p.b.Specs, codec.SpecFromProto(m))
		p.places = append(p.places, i)
	}
	for _, p := range parts {
		s.br.Enqueue(p.b)
	}
	results := make([]task.Enqueued, len(specs))
	for _, p := range parts {
		select {
		case <-p.done:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if p.b.Err != nil && len(parts) == 1 {
			return nil, p.b.Err
		}
		for j, i := range p.places {
			if p.b.Err != nil {
				results[i].Err = p.b.Err
				continue
			}
			results[i] = p.b.Results[j]
		}
	}
	return results, nil
}

func (s tasks) Get(ctx context.Context, r *pb.GetRequest) (*pb.GetResponse, error) {
	id, err := task.ParseID(r.Id)
	if err != nil {
		return nil, err
	}
	info, err := s.insp.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &pb.GetResponse{Task: codec.InfoToProto(&info)}, nil
}

func (s tasks) Wait(ctx context.Context, r *pb.WaitRequest) (*pb.WaitResponse, error) {
	id, err := task.ParseID(r.Id)
	if err != nil {
		return nil, err
	}
	wait := task.Millis(r.WaitMs)
	switch {
	case wait < 0:
		return nil, task.Errorf(task.Invalid, "wait of %d ms is negative", wait)
	case wait > task.PollMax:
		return nil, errPollMax(wait)
	case wait == 0:
		wait = waitDefault
	}
	done := make(chan struct{})
	w := &task.Watch{ID: id, Done: func(*task.Watch) { close(done) }}
	stop := s.br.Watch(w)
	defer stop()
	timer := time.NewTimer(time.Duration(wait) * time.Millisecond)
	defer timer.Stop()
	select {
	case <-done:
		if w.Err != nil {
			return nil, w.Err
		}
		return &pb.WaitResponse{Done: true, Task: codec.InfoToProto(&w.Info)}, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-timer.C:
	case <-s.quit:
	}
	info, err := s.insp.Get(ctx, id)
	if err != nil {
		return nil, err
	}
	return &pb.WaitResponse{Done: info.State.Final(), Task: codec.InfoToProto(&info)}, nil
}

func errPollMax(wait task.Millis) *task.Error {
	return task.Errorf(task.Invalid, "wait of %d ms is over the limit of 60s: ask again when it is over", wait)
}

func (s tasks) Cancel(ctx context.Context, r *pb.CancelRequest) (*pb.CancelResponse, error) {
	res, err := s.change(ctx, task.VerbCancel, r.Id, r.Ids)
	return &pb.CancelResponse{Results: res}, err
}

func (s tasks) Retry(ctx context.Context, r *pb.RetryRequest) (*pb.RetryResponse, error) {
	res, err := s.change(ctx, task.VerbRetry, r.Id, r.Ids)
	return &pb.RetryResponse{Results: res}, err
}

func (s tasks) Delete(ctx context.Context, r *pb.DeleteRequest) (*pb.DeleteResponse, error) {
	res, err := s.change(ctx, task.VerbDelete, r.Id, r.Ids)
	return &pb.DeleteResponse{Results: res}, err
}

// change does v to one task, whose refusal is the call's, or to many, with an
// answer each.
func (s tasks) change(ctx context.Context, v task.Verb, one string, many []string) ([]*pb.ItemResult, error) {
	texts := many
	switch {
	case one != "" && len(many) > 0:
		return nil, task.Errorf(task.Invalid, "both id and ids are given: use one")
	case one != "":
		texts = []string{one}
	case len(many) == 0:
		return nil, task.Errorf(task.Invalid, "there is no ID: send id, or a list in ids")
	case len(many) > task.BatchMax:
		return nil, task.Errorf(task.Exhausted, "%d IDs in one call, the most is %d", len(many), task.BatchMax)
	}
	errs := make([]error, len(texts))
	var ids []task.ID
	var places []int
	for i, t := range texts {
		id, err := task.ParseID(t)
		if err != nil {
			errs[i] = err
			continue
		}
		ids, places = append(ids, id), append(places, i)
	}
	if len(ids) > 0 {
		for j, err := range s.insp.Change(ctx, v, ids) {
			errs[places[j]] = err
		}
	}
	if one != "" {
		return nil, errs[0]
	}
	return itemResults(errs), nil
}

func itemResults(errs []error) []*pb.ItemResult {
	out := make([]*pb.ItemResult, len(errs))
	for i, err := range errs {
		out[i] = &pb.ItemResult{Error: codec.ErrorToProto(task.AsError(err))}
	}
	return out
}

func (s tasks) List(ctx context.Context, r *pb.ListRequest) (*pb.ListResponse, error) {
	if r.Limit < 0 || r.Limit > task.ListMax {
		return nil, task.Errorf(task.Invalid, "limit is %d: use 1 to %d, or 0 for 100", r.Limit, task.ListMax)
	}
	states, err := statesOf(r.States)
	if err != nil {
		return nil, err
	}
	page, err := s.insp.List(ctx, task.Filter{Queue: r.Queue, Type: r.Type, States: states, Limit: int(r.Limit), Cursor: r.Cursor})
	if err != nil {
		return nil, err
	}
	out := &pb.ListResponse{Next: page.Next, Scanned: page.Scanned}
	for i := range page.Tasks {
		out.Tasks = append(out.Tasks, codec.InfoToProto(&page.Tasks[i]))
	}
	return out, nil
}

func statesOf(ms []pb.State) ([]task.State, error) {
	var out []task.State
	for _, m := range ms {
		if m < 1 || int(m) > int(task.Expired) {
			return nil, task.Errorf(task.Invalid, "state %d is not known: use scheduled, ready, blocked, running, succeeded, dead, canceled or expired", m)
		}
		out = append(out, task.State(m))
	}
	return out, nil
}
