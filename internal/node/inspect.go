package node

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/task"
)

func sortedKeys[V any](m map[uint16]V) []uint16 { return slices.Sorted(maps.Keys(m)) }

// Watch implements task.Broker.
func (n *Node) Watch(w *task.Watch) (stop func()) {
	r, err := n.runner(w.ID.Partition)
	if err != nil {
		w.Err = err
		w.Done(w)
		return func() {}
	}
	return r.Watch(w.ID, func(info task.Info, err *task.Error) {
		w.Info, w.Err = info, err
		w.Done(w)
	})
}

// Get implements task.Inspector.
func (n *Node) Get(ctx context.Context, id task.ID) (task.Info, error) {
	return ask(ctx, n, id.Partition, func(r *partition.Runner, answer func(task.Info, *task.Error)) { r.Get(id, answer) })
}

// Queues implements task.Inspector.
func (n *Node) Queues(ctx context.Context, names []string) ([]task.QueueInfo, error) {
	var all []task.QueueInfo
	for _, m := range n.members {
		infos, err := n.queueInfos(ctx, m.id, names)
		if err != nil {
			return nil, err
		}
		all = append(all, infos...)
	}
	slices.SortStableFunc(all, func(a, b task.QueueInfo) int { return cmp.Compare(a.Name, b.Name) })
	merged := all[:0]
	for _, q := range all {
		if k := len(merged); k > 0 && merged[k-1].Name == q.Name {
			n.merge(&merged[k-1], &q)
			continue
		}
		merged = append(merged, q)
	}
	for _, name := range names {
		if _, found := slices.BinarySearchFunc(merged, name, func(q task.QueueInfo, name string) int { return cmp.Compare(q.Name, name) }); !found {
			return nil, task.Errorf(task.NotFound, "no queue %q: it is made by the first task that is enqueued to it, or by setting it", name)
		}
	}
	return merged, nil
}

// merge adds what another partition knows of the same queue.
func (n *Node) merge(q, o *task.QueueInfo) {
	q.Scheduled += o.Scheduled
	q.Ready += o.Ready
	q.Blocked += o.Blocked
	q.Running += o.Running
	q.Dead += o.Dead
	q.DeadBytes += o.DeadBytes
	q.Enqueued += o.Enqueued
	q.Succeeded += o.Succeeded
	q.Canceled += o.Canceled
	q.Expired += o.Expired
	q.Workers = max(q.Workers, o.Workers) // a session is open in all partitions of the queue
	q.OldestReady = earlier(q.OldestReady, o.OldestReady)
	q.HistoryFrom = max(q.HistoryFrom, o.HistoryFrom)
	for _, u := range o.Unserved {
		if i := slices.IndexFunc(q.Unserved, func(x task.UnservedType) bool { return x.Type == u.Type }); i >= 0 {
			q.Unserved[i].Oldest = earlier(q.Unserved[i].Oldest, u.Oldest)
		} else {
			q.Unserved = append(q.Unserved, u)
		}
	}
}

// earlier is the earlier of two times of which 0 means none.
func earlier(a, b task.Time) task.Time {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// SetQueue implements task.Inspector. The home partition decides; the others that
// hold a part of the queue follow.
func (n *Node) SetQueue(ctx context.Context, name string, p task.QueuePatch) (task.QueueInfo, error) {
	var none task.QueueInfo
	if p.Width != nil && *p.Width > len(n.members) {
		return none, task.Errorf(task.Invalid, "width %d is more than the %d partitions of this server: a folder gets its partitions (--partitions) at its first start", *p.Width, len(n.members))
	}
	home := n.routes.home(name)
	if err := n.setIn(ctx, home, name, p); err != nil {
		return none, err
	}
	infos, err := n.queueInfos(ctx, home, []string{name})
	if err != nil {
		return none, err
	}
	if len(infos) == 0 {
		return none, task.Errorf(task.Internal, "queue %q is not there after it was set", name)
	}
	grew := n.routes.set(name, infos[0].Config.Width, infos[0].Earlier)
	if err := n.follow(ctx, home, infos[0]); err != nil {
		return none, err
	}
	if grew {
		n.widenSessions(name)
	}
	all, err := n.Queues(ctx, []string{name})
	if err != nil {
		return none, err
	}
	return all[0], nil
}

func (n *Node) setIn(ctx context.Context, p uint16, name string, patch task.QueuePatch) error {
	_, err := ask(ctx, n, p, func(r *partition.Runner, answer func(struct{}, *task.Error)) {
		r.SetQueue(name, patch, func(err *task.Error) { answer(struct{}{}, err) })
	})
	return err
}

// follow brings every other partition that holds a part of the queue, or is to
// hold one, to the settings of its home.
func (n *Node) follow(ctx context.Context, home uint16, q task.QueueInfo) error {
	c := q.Config
	whole := task.QueuePatch{MaxAttempts: &c.MaxAttempts, Timeout: &c.Timeout, Backoff: c.Backoff, Retention: &c.Retention,
		History: &c.History, Unserved: &c.Unserved, Claims: &c.Claims, Width: &c.Width, Paused: &q.Paused}
	wide := n.routes.of(q.Name).put
	for _, m := range n.members {
		if m.id == home {
			continue
		}
		if !slices.Contains(wide, m.id) {
			infos, err := n.queueInfos(ctx, m.id, []string{q.Name})
			if err != nil {
				return err
			}
			if len(infos) == 0 {
				continue
			}
		}
		if err := n.setIn(ctx, m.id, q.Name, whole); err != nil {
			return err
		}
	}
	return nil
}

// widenSessions opens sessions that serve the queue in its new partitions.
func (n *Node) widenSessions(queue string) {
	n.mu.Lock()
	var all []*session
	for _, s := range n.sessions {
		if slices.ContainsFunc(s.opts.Queues, func(q task.QueueWeight) bool { return q.Queue == queue }) {
			all = append(all, s)
		}
	}
	n.mu.Unlock()
	for _, s := range all {
		s.widen()
	}
}

// Change implements task.Inspector.
func (n *Node) Change(ctx context.Context, v task.Verb, ids []task.ID) []error {
	errs := make([]error, len(ids))
	by := map[uint16][]int{}
	for i, id := range ids {
		by[id.Partition] = append(by[id.Partition], i)
	}
	for _, p := range sortedKeys(by) {
		at := by[p]
		part := make([]task.ID, len(at))
		for k, i := range at {
			part[k] = ids[i]
		}
		found, err := ask(ctx, n, p, func(r *partition.Runner, answer func([]*task.Error, *task.Error)) { r.Change(v, part, answer) })
		for k, i := range at {
			if errs[i] = err; err == nil && found[k] != nil {
				errs[i] = found[k]
			}
		}
	}
	return errs
}

// Purge implements task.Inspector.
func (n *Node) Purge(ctx context.Context, queue string, states []task.State) (int64, error) {
	infos, err := n.holders(ctx, queue)
	if err != nil {
		return 0, err
	}
	var gone int64
	for _, p := range infos {
		k, err := ask(ctx, n, p, func(r *partition.Runner, answer func(int64, *task.Error)) { r.Purge(queue, states, answer) })
		if err != nil {
			return gone, err
		}
		gone += k
	}
	return gone, nil
}

// holders lists the partitions that know the queue.
func (n *Node) holders(ctx context.Context, queue string) ([]uint16, error) {
	var ps []uint16
	for _, m := range n.members {
		infos, err := n.queueInfos(ctx, m.id, []string{queue})
		if err != nil {
			return nil, err
		}
		if len(infos) > 0 {
			ps = append(ps, m.id)
		}
	}
	if len(ps) == 0 {
		return nil, task.Errorf(task.NotFound, "no queue %q", queue)
	}
	return ps, nil
}

// Node implements task.Inspector.
func (n *Node) Node(ctx context.Context) (task.NodeInfo, error) {
	info := n.partitionsInfo(ctx, true)
	if why := n.Full(); why != "" && info.Ready {
		info.Ready, info.NotReady = false, why
	}
	if n.cfg.StorageFault != nil && n.damaged.Load() == nil {
		if err := n.cfg.StorageFault(); err != nil {
			info.Ready, info.NotReady = false, fmt.Sprintf("the storage takes nothing: %v; it is opened anew with the next write", err)
		}
	}
	if n.closed.Load() {
		info.Ready, info.NotReady = false, "it is being closed"
	}
	return info, nil
}

// Serving says why not every partition is served, "" = they all are.
func (n *Node) Serving(ctx context.Context) string {
	if info := n.partitionsInfo(ctx, false); !info.Ready {
		return info.NotReady
	}
	return ""
}

// partitionsInfo is what the partitions make of the node, with its worker sessions if
// they are asked for.
func (n *Node) partitionsInfo(ctx context.Context, sessions bool) task.NodeInfo {
	now := n.now()
	info := task.NodeInfo{Node: n.cfg.Name, Version: n.cfg.Version, Started: now.Add(n.started.Sub(n.steady())), Now: now, Storage: n.cfg.Storage, Ready: true}
	if n.cfg.StorageBytes != nil {
		info.StorageBytes = n.cfg.StorageBytes()
	}
	if e := n.damaged.Load(); e != nil {
		info.Ready, info.NotReady = false, e.Text
		for _, m := range n.members {
			info.Partitions = append(info.Partitions, task.PartitionInfo{Partition: m.id})
		}
		return info
	}
	workers := map[string]int{}
	for _, m := range n.members {
		d, why := m.describe(ctx, sessions)
		if why != "" {
			info.Ready, info.NotReady = false, why
		}
		info.Partitions = append(info.Partitions, d.info)
		n.mergeWorkers(&info, workers, d.workers)
	}
	slices.SortFunc(info.Workers, func(a, b task.WorkerInfo) int { return cmp.Compare(a.ID, b.ID) })
	return info
}

// describe asks the partition what it is, and says what is wrong with it.
func (m *member) describe(ctx context.Context, sessions bool) (d described, why string) {
	away := described{info: task.PartitionInfo{Partition: m.id}}
	if why := m.why.Load(); why != nil && m.runner() == nil {
		return away, cmp.Or(m.failing(), *why)
	}
	d, err := ask(ctx, m.n, m.id, func(r *partition.Runner, answer func(described, *task.Error)) {
		r.Describe(sessions, func(p task.PartitionInfo, ws []task.WorkerInfo, err *task.Error) { answer(described{p, ws}, err) })
	})
	if err != nil {
		return away, err.Error()
	}
	return d, m.failing()
}

type described struct {
	info    task.PartitionInfo
	workers []task.WorkerInfo
}

// mergeWorkers adds a partition's worker sessions; one may be open in several.
func (n *Node) mergeWorkers(info *task.NodeInfo, at map[string]int, ws []task.WorkerInfo) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, w := range ws {
		if i, known := at[w.ID]; known {
			info.Workers[i].Running += w.Running
			info.Workers[i].LastBeat = max(info.Workers[i].LastBeat, w.LastBeat)
			continue
		}
		if s := n.sessions[w.ID]; s != nil {
			w.Credit = s.credit.Open()
		}
		at[w.ID] = len(info.Workers)
		info.Workers = append(info.Workers, w)
	}
}
