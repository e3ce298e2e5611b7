package codec

import (
	"math"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// QueueToProto converts what is known of a queue.
func QueueToProto(q *task.QueueInfo) *pb.Queue {
	m := &pb.Queue{
		Queue: valid(q.Name),
		Config: &pb.QueueConfig{
			MaxAttempts: q.Config.MaxAttempts, TimeoutMs: int64(q.Config.Timeout), Backoff: BackoffToProto(q.Config.Backoff),
			RetentionMs: int64(q.Config.Retention), History: pb.History(q.Config.History), UnservedMs: int64(q.Config.Unserved),
			Claims: pb.Claims(q.Config.Claims), Width: int32(q.Config.Width),
		},
		Paused: q.Paused, Scheduled: q.Scheduled, Ready: q.Ready, Blocked: q.Blocked, Running: q.Running,
		Dead: q.Dead, DeadBytes: q.DeadBytes, Enqueued: q.Enqueued, Succeeded: q.Succeeded, Canceled: q.Canceled, Expired: q.Expired,
		OldestReadyAtUnixMs: int64(q.OldestReady), Workers: int32(q.Workers), HistoryFromUnixMs: int64(q.HistoryFrom),
	}
	for _, u := range q.Unserved {
		m.Unserved = append(m.Unserved, &pb.UnservedType{Type: valid(u.Type), OldestAtUnixMs: int64(u.Oldest)})
	}
	return m
}

// QueueFromProto converts what is known of a queue.
func QueueFromProto(m *pb.Queue) task.QueueInfo {
	c := m.GetConfig()
	q := task.QueueInfo{
		Name: m.GetQueue(),
		Config: task.QueueConfig{
			MaxAttempts: c.GetMaxAttempts(), Timeout: task.Millis(c.GetTimeoutMs()), Backoff: BackoffFromProto(c.GetBackoff()),
			Retention: task.Millis(c.GetRetentionMs()), History: task.HistoryMode(c.GetHistory()), Unserved: task.Millis(c.GetUnservedMs()),
			Claims: task.ClaimsMode(c.GetClaims()), Width: int(c.GetWidth()),
		},
		Paused: m.GetPaused(), Scheduled: m.GetScheduled(), Ready: m.GetReady(), Blocked: m.GetBlocked(), Running: m.GetRunning(),
		Dead: m.GetDead(), DeadBytes: m.GetDeadBytes(), Enqueued: m.GetEnqueued(), Succeeded: m.GetSucceeded(),
		Canceled: m.GetCanceled(), Expired: m.GetExpired(), OldestReady: task.Time(m.GetOldestReadyAtUnixMs()),
		Workers: int(m.GetWorkers()), HistoryFrom: task.Time(m.GetHistoryFromUnixMs()),
	}
	for _, u := range m.GetUnserved() {
		q.Unserved = append(q.Unserved, task.UnservedType{Type: u.GetType(), Oldest: task.Time(u.GetOldestAtUnixMs())})
	}
	return q
}

// PatchToProto converts a change of settings.
func PatchToProto(p *task.QueuePatch) *pb.QueuePatch {
	m := &pb.QueuePatch{
		MaxAttempts: p.MaxAttempts, TimeoutMs: (*int64)(p.Timeout), Backoff: BackoffToProto(p.Backoff),
		RetentionMs: (*int64)(p.Retention), UnservedMs: (*int64)(p.Unserved), Paused: p.Paused,
	}
	if p.History != nil {
		m.History = pb.History(*p.History).Enum()
	}
	if p.Claims != nil {
		m.Claims = pb.Claims(*p.Claims).Enum()
	}
	if p.Width != nil {
		w := int32(min(*p.Width, math.MaxInt32))
		m.Width = &w
	}
	return m
}

// PatchFromProto converts a change of settings; what it does not know it
// refuses.
func PatchFromProto(m *pb.QueuePatch) (task.QueuePatch, error) {
	p := task.QueuePatch{
		MaxAttempts: m.MaxAttempts, Timeout: (*task.Millis)(m.TimeoutMs), Backoff: BackoffFromProto(m.Backoff),
		Retention: (*task.Millis)(m.RetentionMs), Unserved: (*task.Millis)(m.UnservedMs), Paused: m.Paused,
	}
	if m.History != nil {
		if _, ok := pb.History_name[int32(*m.History)]; !ok {
			return p, task.Errorf(task.Invalid, "history %d is not known: use all, failures or none", *m.History)
		}
		h := task.HistoryMode(*m.History)
		p.History = &h
	}
	if m.Claims != nil {
		if _, ok := pb.Claims_name[int32(*m.Claims)]; !ok {
			return p, task.Errorf(task.Invalid, "claims %d is not known: use deferred or durable", *m.Claims)
		}
		c := task.ClaimsMode(*m.Claims)
		p.Claims = &c
	}
	if m.Width != nil {
		w := int(*m.Width)
		p.Width = &w
	}
	return p, nil
}

// NodeToProto converts what a node is and does.
func NodeToProto(n *task.NodeInfo) *pb.InfoResponse {
	m := &pb.InfoResponse{
		Node: valid(n.Node), Version: valid(n.Version), StartedAtUnixMs: int64(n.Started), NowUnixMs: int64(n.Now),
		Storage: valid(n.Storage), StorageBytes: n.StorageBytes, Ready: n.Ready, NotReady: valid(n.NotReady), Protocol: Protocol,
	}
	for _, p := range n.Partitions {
		m.Partitions = append(m.Partitions, &pb.PartitionInfo{
			Partition: uint32(p.Partition), Epoch: p.Epoch, Waiting: p.Waiting, InMemory: p.InMemory, Running: p.Running,
			MemoryBytes: p.MemoryBytes, Serving: p.Serving, SafeMode: p.SafeMode, UncleanOpens: int32(p.UncleanOpens),
			ClockOffsetMs: int64(p.ClockOffset),
			Producers:     p.Producers, ProducersEvicted: p.ProducersEvicted,
		})
	}
	for _, w := range n.Workers {
		m.Workers = append(m.Workers, &pb.WorkerInfo{
			Id: valid(w.ID), Worker: valid(w.Worker), Build: valid(w.Build), Queues: w.Queues, Types: w.Types,
			Concurrency: int32(w.Concurrency), Running: int32(w.Running), Credit: int32(w.Credit),
			SinceUnixMs: int64(w.Since), LastBeatUnixMs: int64(w.LastBeat),
		})
	}
	return m
}

// NodeFromProto converts what a node is and does.
func NodeFromProto(m *pb.InfoResponse) task.NodeInfo {
	n := task.NodeInfo{
		Node: m.GetNode(), Version: m.GetVersion(), Started: task.Time(m.GetStartedAtUnixMs()), Now: task.Time(m.GetNowUnixMs()),
		Storage: m.GetStorage(), StorageBytes: m.GetStorageBytes(), Ready: m.GetReady(), NotReady: m.GetNotReady(),
	}
	for _, p := range m.GetPartitions() {
		n.Partitions = append(n.Partitions, task.PartitionInfo{
			Partition: uint16(p.GetPartition()), Epoch: p.GetEpoch(), Waiting: p.GetWaiting(), InMemory: p.GetInMemory(), Running: p.GetRunning(),
			MemoryBytes: p.GetMemoryBytes(), Serving: p.GetServing(), SafeMode: p.GetSafeMode(), UncleanOpens: int(p.GetUncleanOpens()),
			ClockOffset: task.Millis(p.GetClockOffsetMs()),
			Producers:   p.GetProducers(), ProducersEvicted: p.GetProducersEvicted(),
		})
	}
	for _, w := range m.GetWorkers() {
		n.Workers = append(n.Workers, task.WorkerInfo{
			ID: w.GetId(), Worker: w.GetWorker(), Build: w.GetBuild(), Queues: w.GetQueues(), Types: w.GetTypes(),
			Concurrency: int(w.GetConcurrency()), Running: int(w.GetRunning()), Credit: int(w.GetCredit()),
			Since: task.Time(w.GetSinceUnixMs()), LastBeat: task.Time(w.GetLastBeatUnixMs()),
		})
	}
	return n
}
