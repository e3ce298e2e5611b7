package handler

import (
	"context"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// queues is QueueService.
type queues struct{ insp task.Inspector }

func (s queues) List(ctx context.Context, r *pb.QueueServiceListRequest) (*pb.QueueServiceListResponse, error) {
	qs, err := s.insp.Queues(ctx, r.Queues)
	if err != nil {
		return nil, err
	}
	out := &pb.QueueServiceListResponse{}
	for i := range qs {
		out.Queues = append(out.Queues, codec.QueueToProto(&qs[i]))
	}
	return out, nil
}

func (s queues) Get(ctx context.Context, r *pb.QueueServiceGetRequest) (*pb.QueueServiceGetResponse, error) {
	if e := task.CheckName("queue", r.Queue); e != nil {
		return nil, e
	}
	qs, err := s.insp.Queues(ctx, []string{r.Queue})
	if err != nil {
		return nil, err
	}
	if len(qs) == 0 {
		return nil, task.Errorf(task.NotFound, "there is no queue %q: it comes into being with its first task, or with Set", r.Queue)
	}
	return &pb.QueueServiceGetResponse{Queue: codec.QueueToProto(&qs[0])}, nil
}

func (s queues) Set(ctx context.Context, r *pb.SetRequest) (*pb.SetResponse, error) {
	patch := task.QueuePatch{}
	if r.Config != nil {
		var err error
		if patch, err = codec.PatchFromProto(r.Config); err != nil {
			return nil, err
		}
	}
	q, err := s.set(ctx, r.Queue, patch)
	return &pb.SetResponse{Queue: q}, err
}

func (s queues) Pause(ctx context.Context, r *pb.PauseRequest) (*pb.PauseResponse, error) {
	yes := true
	q, err := s.set(ctx, r.Queue, task.QueuePatch{Paused: &yes})
	return &pb.PauseResponse{Queue: q}, err
}

func (s queues) Resume(ctx context.Context, r *pb.ResumeRequest) (*pb.ResumeResponse, error) {
	no := false
	q, err := s.set(ctx, r.Queue, task.QueuePatch{Paused: &no})
	return &pb.ResumeResponse{Queue: q}, err
}

func (s queues) set(ctx context.Context, name string, p task.QueuePatch) (*pb.Queue, error) {
	if e := task.CheckName("queue", name); e != nil {
		return nil, e
	}
	q, err := s.insp.SetQueue(ctx, name, p)
	if err != nil {
		return nil, err
	}
	return codec.QueueToProto(&q), nil
}

func (s queues) Purge(ctx context.Context, r *pb.PurgeRequest) (*pb.PurgeResponse, error) {
	if e := task.CheckName("queue", r.Queue); e != nil {
		return nil, e
	}
	if len(r.States) == 0 {
		return nil, task.Errorf(task.Invalid, `say what to purge, as it can't be undone: {"states": ["ready", "scheduled", "dead"]} or some of these`)
	}
	states, err := statesOf(r.States)
	if err != nil {
		return nil, err
	}
	n, err := s.insp.Purge(ctx, r.Queue, states)
	return &pb.PurgeResponse{Deleted: n}, err
}

func (s queues) Delete(ctx context.Context, r *pb.QueueServiceDeleteRequest) (*pb.QueueServiceDeleteResponse, error) {
	if e := task.CheckName("queue", r.Queue); e != nil {
		return nil, e
	}
	n, err := s.insp.DeleteQueue(ctx, r.Queue, r.Force)
	return &pb.QueueServiceDeleteResponse{Deleted: n}, err
}

// nodes is NodeService.
type nodes struct{ insp task.Inspector }

func (s nodes) Info(ctx context.Context, _ *pb.InfoRequest) (*pb.InfoResponse, error) {
	n, err := s.insp.Node(ctx)
	if err != nil {
		return nil, err
	}
	return codec.NodeToProto(&n), nil
}
