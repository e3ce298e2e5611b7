package brokertest

import (
	"context"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

// Get is task.Inspector's.
func (f *Fake) Get(_ context.Context, id task.ID) (task.Info, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return task.Info{}, e
	}
	r := f.find(id)
	if r == nil {
		return task.Info{}, notFound(id)
	}
	return f.info(r), nil
}

// List is task.Inspector's. It looks at every task: the Fake has no index.
func (f *Fake) List(_ context.Context, q task.Filter) (task.Page, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return task.Page{}, e
	}
	if q.Limit < 0 || q.Limit > task.ListMax {
		return task.Page{}, task.Errorf(task.Invalid, "limit %d is out of range: the most is %d", q.Limit, task.ListMax)
	}
	limit := q.Limit
	if limit == 0 {
		limit = 100
	}
	after, e := parseCursor(q.Cursor)
	if e != nil {
		return task.Page{}, e
	}
	var hits []*rec
	for _, r := range f.recs {
		if (q.Queue == "" || q.Queue == r.queue.name) && (q.Type == "" || q.Type == r.spec.Type) &&
			(len(q.States) == 0 || slices.Contains(q.States, r.state)) && (q.Cursor == "" || after.less(r)) {
			hits = append(hits, r)
		}
	}
	slices.SortFunc(hits, func(a, b *rec) int {
		if (cursor{a.state, a.id.Seq}).less(b) {
			return -1
		}
		return 1
	})
	page := task.Page{Scanned: int64(len(f.recs))}
	for i, r := range hits {
		if i == limit {
			last := hits[i-1]
			page.Next = strconv.Itoa(int(last.state)) + "." + strconv.FormatUint(uint64(last.id.Seq), 10)
			break
		}
		page.Tasks = append(page.Tasks, f.info(r))
	}
	return page, nil
}

// cursor is a place in a listing: states in order, newest first within one.
type cursor struct {
	state task.State
	seq   task.Seq
}

func (c cursor) less(r *rec) bool {
	if c.state != r.state {
		return c.state < r.state
	}
	return c.seq > r.id.Seq
}

func parseCursor(s string) (cursor, *task.Error) {
	if s == "" {
		return cursor{}, nil
	}
	a, b, _ := strings.Cut(s, ".")
	state, err1 := strconv.Atoi(a)
	seq, err2 := strconv.ParseUint(b, 10, 64)
	if err1 != nil || err2 != nil {
		return cursor{}, task.Errorf(task.Invalid, "not a cursor: pass on the one that the last page gave")
	}
	return cursor{task.State(state), task.Seq(seq)}, nil
}

// Queues is task.Inspector's.
func (f *Fake) Queues(_ context.Context, names []string) ([]task.QueueInfo, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return nil, e
	}
	if len(names) == 0 {
		names = slices.Sorted(maps.Keys(f.queues))
	}
	var out []task.QueueInfo
	for _, n := range names {
		q := f.queues[n]
		if q == nil {
			return nil, task.Errorf(task.NotFound, "no queue %q: it is made by its first task", n)
		}
		out = append(out, f.queueInfo(q))
	}
	return out, nil
}

func (f *Fake) queueInfo(q *queue) task.QueueInfo {
	in := task.QueueInfo{
		Name: q.name, Config: q.cfg, Paused: q.paused,
		Scheduled: q.byState[task.Scheduled], Ready: q.byState[task.Ready], Blocked: q.byState[task.Blocked],
		Running: q.byState[task.Running], Dead: q.byState[task.Dead], DeadBytes: q.deadBytes,
		Enqueued: q.enqueued, Succeeded: q.since[task.Succeeded], Canceled: q.since[task.Canceled], Expired: q.since[task.Expired],
	}
	for _, s := range f.sessions {
		if s.attached && slices.Contains(q.consumers, s.c) {
			in.Workers++
		}
	}
	for _, l := range q.laneOrder {
		var oldest task.Time
		for p := range l.ready {
			if r := l.head(p); r != nil && (oldest == 0 || r.readyAt < oldest) {
				oldest = r.readyAt
			}
		}
		if oldest == 0 {
			continue
		}
		if in.OldestReady == 0 || oldest < in.OldestReady {
			in.OldestReady = oldest
		}
		if !f.served(q, l.taskType) {
			in.Unserved = append(in.Unserved, task.UnservedType{Type: l.taskType, Oldest: oldest})
		}
	}
	return in
}

// SetQueue is task.Inspector's.
func (f *Fake) SetQueue(_ context.Context, name string, p task.QueuePatch) (task.QueueInfo, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return task.QueueInfo{}, e
	}
	if e := task.CheckName("queue", name); e != nil {
		return task.QueueInfo{}, e
	}
	var cfg task.QueueConfig
	if q := f.queues[name]; q != nil {
		cfg = q.cfg
	}
	set(&cfg.MaxAttempts, p.MaxAttempts)
	set(&cfg.Timeout, p.Timeout)
	set(&cfg.Retention, p.Retention)
	set(&cfg.History, p.History)
	set(&cfg.Unserved, p.Unserved)
	set(&cfg.Claims, p.Claims)
	set(&cfg.Width, p.Width)
	if p.Backoff != nil {
		b := *p.Backoff
		cfg.Backoff = &b
	}
	if e := (&task.Policy{MaxAttempts: cfg.MaxAttempts, Timeout: cfg.Timeout, Backoff: cfg.Backoff}).Check(); e != nil {
		return task.QueueInfo{}, e
	}
	if cfg.Retention < 0 || cfg.Unserved < 0 || cfg.Width < 0 || cfg.History > task.HistoryNone || cfg.Claims > task.ClaimsDurable {
		return task.QueueInfo{}, task.Errorf(task.Invalid, "a setting of queue %q is out of range", name)
	}
	q := f.queueNamed(name)
	q.cfg = cfg
	set(&q.paused, p.Paused)
	f.dispatch(q)
	f.soon(f.now.Add(1))
	return f.queueInfo(q), nil
}

func set[T any](field *T, v *T) {
	if v != nil {
		*field = *v
	}
}

// Change is task.Inspector's.
func (f *Fake) Change(_ context.Context, v task.Verb, ids []task.ID) []error {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	errs := make([]error, len(ids))
	for i, id := range ids {
		if e := f.change(v, id); e != nil {
			errs[i] = e
		}
	}
	return errs
}

func (f *Fake) change(v task.Verb, id task.ID) *task.Error {
	if e := f.refusal(); e != nil {
		return e
	}
	r := f.find(id)
	if r == nil {
		return notFound(id)
	}
	conflict := task.Errorf(task.Conflict, "task %s is %s", id, r.state)
	switch v {
	case task.VerbCancel:
		if r.state.Final() {
			return conflict
		}
		if r.state == task.Running {
			f.revoke(r, task.Conflict)
			f.endAttempt(r, task.AttemptCanceled, "canceled")
		}
		r.token = task.Token{}
		f.finish(r, task.Canceled, "canceled by a user")
	case task.VerbRetry:
		switch r.state {
		case task.Dead, task.Canceled, task.Expired:
			// What ended it is forgotten, or it would end it again.
			r.counts, r.spec.Deadline = task.Counts{}, 0
			r.reason, r.finishedAt, r.finishing, r.token, r.expiresAt = "", 0, task.Token{}, task.Token{}, 0
			f.wait(r, f.now)
		case task.Scheduled:
			f.wait(r, f.now)
		default:
			return conflict
		}
	case task.VerbDelete:
		if r.state == task.Running {
			return conflict
		}
		if ik := (idemKey{r.queue.name, r.spec.Idempotency}); r.state != task.Succeeded && f.idem[ik] != nil && f.idem[ik].rec == r {
			delete(f.idem, ik)
		}
		f.forget(r)
	default:
		return task.Errorf(task.Invalid, "unknown verb %d", v)
	}
	return nil
}

// Purge is task.Inspector's.
func (f *Fake) Purge(_ context.Context, name string, states []task.State) (int64, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return 0, e
	}
	q := f.queues[name]
	if q == nil {
		return 0, task.Errorf(task.NotFound, "no queue %q", name)
	}
	for _, s := range states {
		if s != task.Scheduled && s != task.Ready && s != task.Blocked && s != task.Dead {
			return 0, task.Errorf(task.Invalid, "%s tasks can't be purged: name scheduled, ready, blocked or dead", s)
		}
	}
	var n int64
	for _, r := range f.recs {
		if r.queue == q && slices.Contains(states, r.state) {
			f.forget(r)
			n++
		}
	}
	return n, nil
}

// DeleteQueue is task.Inspector's.
func (f *Fake) DeleteQueue(_ context.Context, name string, force bool) (int64, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	if e := f.refusal(); e != nil {
		return 0, e
	}
	q := f.queues[name]
	if q == nil {
		return 0, task.Errorf(task.NotFound, "no queue %q", name)
	}
	info := f.queueInfo(q)
	if e := info.CheckDelete(force); e != nil {
		return 0, e
	}
	for _, r := range f.recs {
		if r.queue == q {
			f.forget(r)
		}
	}
	maps.DeleteFunc(f.idem, func(k idemKey, _ *idemEntry) bool { return k.queue == name })
	maps.DeleteFunc(f.producers, func(k producerKey, _ *producer) bool { return k.queue == name })
	delete(f.queues, name)
	f.parted[name] = q
	return info.Scheduled + info.Ready + info.Blocked + info.Dead, nil
}

// Node is task.Inspector's.
func (f *Fake) Node(context.Context) (task.NodeInfo, error) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	in := task.NodeInfo{
		Node: "fake", Started: f.started, Now: f.now, Storage: "memory", Ready: !f.closed,
	}
	p := task.PartitionInfo{Partition: fakePartition, Epoch: fakeEpoch, Serving: !f.closed}
	for _, q := range f.queues {
		p.Waiting += q.byState[task.Scheduled] + q.byState[task.Ready]
		p.Running += q.byState[task.Running]
	}
	p.InMemory = p.Waiting
	in.Partitions = []task.PartitionInfo{p}
	for _, s := range f.sessionsInOrder() {
		w := task.WorkerInfo{
			ID: s.opts.ID, Worker: s.opts.Worker, Build: s.opts.Build, Types: s.opts.Types, Concurrency: s.opts.Concurrency,
			Running: len(s.leases), Credit: s.c.credit, Since: s.since, LastBeat: s.lastBeat,
		}
		for _, q := range s.opts.Queues {
			w.Queues = append(w.Queues, q.Queue)
		}
		in.Workers = append(in.Workers, w)
	}
	return in, nil
}
