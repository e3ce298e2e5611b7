package codec

import (
	"math"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// HeadersToProto converts headers.
func HeadersToProto(hs []task.Header) []*pb.Header {
	if len(hs) == 0 {
		return nil
	}
	out := make([]*pb.Header, len(hs))
	for i, h := range hs {
		out[i] = &pb.Header{Name: valid(h.Name), Value: valid(h.Value)}
	}
	return out
}

// HeadersFromProto converts headers.
func HeadersFromProto(ms []*pb.Header) []task.Header {
	if len(ms) == 0 {
		return nil
	}
	out := make([]task.Header, len(ms))
	for i, m := range ms {
		out[i] = task.Header{Name: m.GetName(), Value: m.GetValue()}
	}
	return out
}

// SpecFromProto converts a spec; its queue is the caller's business.
func SpecFromProto(m *pb.TaskSpec) task.Spec {
	s := task.Spec{
		Number: m.Number, Type: m.Type, Payload: m.Payload, Priority: task.DefaultPriority,
		Delay: task.Millis(m.DelayMs), RunAt: task.Time(m.RunAtUnixMs), ExpireAfter: task.Millis(m.ExpireAfterMs),
		Deadline: task.Time(m.DeadlineUnixMs), Key: m.Key, LimitKeys: m.LimitKeys,
		Idempotency: m.IdempotencyKey, IdempotencyFor: task.Millis(m.IdempotencyForMs),
		Tags: m.Tags, Headers: HeadersFromProto(m.Headers), ContentType: m.ContentType,
		Policy: PolicyFromProto(m.Policy),
	}
	if m.Priority != nil {
		s.Priority = uint8(min(*m.Priority, math.MaxUint8))
	}
	return s
}

// InfoToProto converts what is known of a task.
func InfoToProto(i *task.Info) *pb.Task {
	m := &pb.Task{
		Queue: valid(i.Queue), Type: valid(i.Type), Key: valid(i.Key), State: pb.State(i.State), Priority: uint32(i.Priority),
		Reason: valid(i.Reason), Payload: i.Payload, PayloadKept: i.PayloadKept, ContentType: valid(i.ContentType),
		Headers: HeadersToProto(i.Headers), Tags: i.Tags, Result: i.Result, ResultType: valid(i.ResultType), Error: valid(i.Error),
		Failures: i.Counts.Failures, Crashes: i.Counts.Crashes, Releases: i.Counts.Releases, MaxAttempts: i.MaxAttempts,
		EnqueuedAtUnixMs: int64(i.EnqueuedAt), ReadyAtUnixMs: int64(i.ReadyAt), StartedAtUnixMs: int64(i.StartedAt),
		FinishedAtUnixMs: int64(i.FinishedAt), ExpiresAtUnixMs: int64(i.ExpiresAt), DeadlineUnixMs: int64(i.Deadline),
		Worker: valid(i.Worker), Progress: ProgressToProto(i.Progress), Log: i.Log,
	}
	if !i.ID.IsZero() {
		m.Id = i.ID.String()
	}
	for _, a := range i.Attempts {
		m.Attempts = append(m.Attempts, &pb.Attempt{
			Number: a.Number, StartedAtUnixMs: int64(a.Started), EndedAtUnixMs: int64(a.Ended),
			Outcome: pb.AttemptOutcome(a.Outcome), Worker: valid(a.Worker), Error: valid(a.Error),
		})
	}
	return m
}

// InfoFromProto converts what is known of a task.
func InfoFromProto(m *pb.Task) (task.Info, error) {
	i := task.Info{
		Queue: m.GetQueue(), Type: m.GetType(), Key: m.GetKey(), State: task.State(m.GetState()), Priority: uint8(m.GetPriority()),
		Reason: m.GetReason(), Payload: m.GetPayload(), PayloadKept: m.GetPayloadKept(), ContentType: m.GetContentType(),
		Headers: HeadersFromProto(m.GetHeaders()), Tags: m.GetTags(), Result: m.GetResult(), ResultType: m.GetResultType(), Error: m.GetError(),
		Counts:      task.Counts{Failures: m.GetFailures(), Crashes: m.GetCrashes(), Releases: m.GetReleases()},
		MaxAttempts: m.GetMaxAttempts(),
		EnqueuedAt:  task.Time(m.GetEnqueuedAtUnixMs()), ReadyAt: task.Time(m.GetReadyAtUnixMs()), StartedAt: task.Time(m.GetStartedAtUnixMs()),
		FinishedAt: task.Time(m.GetFinishedAtUnixMs()), ExpiresAt: task.Time(m.GetExpiresAtUnixMs()), Deadline: task.Time(m.GetDeadlineUnixMs()),
		Worker: m.GetWorker(), Progress: ProgressFromProto(m.GetProgress()), Log: m.GetLog(),
	}
	if m.GetId() != "" {
		id, err := task.ParseID(m.GetId())
		if err != nil {
			return i, err
		}
		i.ID = id
	}
	for _, a := range m.GetAttempts() {
		i.Attempts = append(i.Attempts, task.Attempt{
			Number: a.GetNumber(), Started: task.Time(a.GetStartedAtUnixMs()), Ended: task.Time(a.GetEndedAtUnixMs()),
			Outcome: task.AttemptOutcome(a.GetOutcome()), Worker: a.GetWorker(), Error: a.GetError(),
		})
	}
	return i, nil
}

// ProgressToProto converts p; nothing said is nil.
func ProgressToProto(p task.Progress) *pb.Progress {
	if p == (task.Progress{}) {
		return nil
	}
	return &pb.Progress{Done: p.Done, Total: p.Total, Text: valid(p.Text)}
}

// ProgressFromProto converts m.
func ProgressFromProto(m *pb.Progress) task.Progress {
	return task.Progress{Done: m.GetDone(), Total: m.GetTotal(), Text: m.GetText()}
}

// LeasedToProto converts a unary delivery.
func LeasedToProto(d *task.Delivery) *pb.LeasedTask {
	return &pb.LeasedTask{
		Id: d.ID.String(), Token: d.Token.String(), Fence: d.Token.Fence(),
		Queue: valid(d.Queue), Type: valid(d.Type), Key: valid(d.Key), Payload: d.Payload, ContentType: valid(d.ContentType),
		Headers: HeadersToProto(d.Headers), Tags: d.Tags, Priority: uint32(d.Priority), Attempt: d.Attempt, MaxAttempts: d.MaxAttempts,
		Failures: d.Counts.Failures, Crashes: d.Counts.Crashes, Releases: d.Counts.Releases,
		EnqueuedAtUnixMs: int64(d.EnqueuedAt), TimeoutMs: int64(d.Timeout), DeadlineUnixMs: int64(d.Deadline), LeaseEndUnixMs: int64(d.LeaseEnd),
	}
}

// LeasedFromProto converts a unary delivery.
func LeasedFromProto(m *pb.LeasedTask) (task.Delivery, error) {
	d := task.Delivery{
		Queue: m.GetQueue(), Type: m.GetType(), Key: m.GetKey(), Payload: m.GetPayload(), ContentType: m.GetContentType(),
		Headers: HeadersFromProto(m.GetHeaders()), Tags: m.GetTags(), Priority: uint8(m.GetPriority()),
		Attempt: m.GetAttempt(), MaxAttempts: m.GetMaxAttempts(),
		Counts:     task.Counts{Failures: m.GetFailures(), Crashes: m.GetCrashes(), Releases: m.GetReleases()},
		EnqueuedAt: task.Time(m.GetEnqueuedAtUnixMs()), Timeout: task.Millis(m.GetTimeoutMs()),
		Deadline: task.Time(m.GetDeadlineUnixMs()), LeaseEnd: task.Time(m.GetLeaseEndUnixMs()),
	}
	var err error
	if d.ID, err = task.ParseID(m.GetId()); err != nil {
		return d, err
	}
	d.Token, err = task.ParseToken(m.GetToken())
	return d, err
}

// WeightsToProto converts queues and their shares.
func WeightsToProto(qs []task.QueueWeight) []*pb.QueueWeight {
	out := make([]*pb.QueueWeight, len(qs))
	for i, q := range qs {
		out[i] = &pb.QueueWeight{Queue: q.Queue, Weight: uint32(max(q.Weight, 0))}
	}
	return out
}

// WeightsFromProto converts queues and their shares.
func WeightsFromProto(ms []*pb.QueueWeight) []task.QueueWeight {
	if len(ms) == 0 {
		return nil
	}
	out := make([]task.QueueWeight, len(ms))
	for i, m := range ms {
		out[i] = task.QueueWeight{Queue: m.GetQueue(), Weight: int(min(m.GetWeight(), math.MaxInt32))}
	}
	return out
}

// SessionToProto converts the options of a worker session.
func SessionToProto(session uint32, o *task.SessionOptions) *pb.Attach {
	m := &pb.Attach{
		Session: session, Id: []byte(o.ID), Queues: WeightsToProto(o.Queues), Types: o.Types,
		Concurrency: uint32(max(o.Concurrency, 0)), TtlMs: int64(o.TTL), Worker: valid(o.Worker), Build: valid(o.Build),
	}
	for _, t := range o.Running {
		m.Running = append(m.Running, t.AppendBinary(nil))
	}
	return m
}

// SessionFromProto converts the options of a worker session over the network.
func SessionFromProto(m *pb.Attach) (task.SessionOptions, error) {
	o := task.SessionOptions{
		ID: string(m.GetId()), Queues: WeightsFromProto(m.GetQueues()), Types: m.GetTypes(),
		Concurrency: int(min(m.GetConcurrency(), math.MaxInt32)), TTL: task.Millis(m.GetTtlMs()),
		Worker: m.GetWorker(), Build: m.GetBuild(), Remote: true,
	}
	for _, b := range m.GetRunning() {
		t, ok := task.TokenFromBinary(b)
		if !ok {
			return o, errBadToken
		}
		o.Running = append(o.Running, t)
	}
	return o, nil
}
