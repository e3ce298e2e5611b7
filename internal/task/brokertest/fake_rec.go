package brokertest

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// rec is one task, in any state.
type rec struct {
	id       task.ID
	queue    *queue
	spec     task.Spec // Payload is the Fake's own copy
	state    task.State
	counts   task.Counts
	version  uint32 // of its place in a lane: an entry with another version is stale
	timerPos int    // in Fake.timers; -1 = not there

	enqueuedAt, readyAt, startedAt, finishedAt, expiresAt task.Time

	token     task.Token       // of the last dispatch; zero = no outcome is welcome
	answered  bool             // an outcome under token was accepted,
	told      task.OutcomeKind // of this kind
	finishing task.Token       // the outcome that ended it
	holder    *session         // nil = a unary lease, or not running
	timeoutAt task.Time        // of the running attempt
	leaseEnd  task.Time        // of a unary lease
	worker    string

	attempts   []task.Attempt
	firstRoom  [1]task.Attempt // most tasks have one attempt: room without an allocation
	result     []byte
	resultType string
	errText    string
	reason     string
	progress   task.Progress
	log        []byte
	watches    []*task.Watch
}

// queue is one queue: its settings, its counts and its lanes.
type queue struct {
	name   string
	number uint32
	cfg    task.QueueConfig
	paused bool

	byState   [task.Expired + 1]int64 // of tasks known now
	since     [task.Expired + 1]int64 // ended so since ever
	enqueued  int64
	deadBytes int64
	readyBy   [task.PriorityMax + 1]int

	lanes     map[string]*lane // by type
	laneOrder []*lane
	consumers []*consumer
	turn      int // whose turn it is among consumers
}

// lane is the waiting tasks of one type, a heap a priority.
type lane struct {
	taskType     string
	ready        [task.PriorityMax + 1]laneHeap
	waiting      int       // ready tasks
	lastServed   task.Time // when a worker that serves the type was last there
	lastServedOK bool
}

func (f *Fake) queueNamed(name string) *queue {
	if q := f.queues[name]; q != nil {
		return q
	}
	q := f.parted[name]
	delete(f.parted, name)
	if q == nil {
		q = &queue{}
	}
	f.numbers++
	*q = queue{name: name, number: f.numbers, lanes: map[string]*lane{}, consumers: q.consumers}
	f.queues[name] = q
	return q
}

func (q *queue) laneOf(taskType string) *lane {
	l := q.lanes[taskType]
	if l == nil {
		l = &lane{taskType: taskType}
		q.lanes[taskType] = l
		q.laneOrder = append(q.laneOrder, l)
	}
	return l
}

// head is the task that l would give next at priority p, stale entries dropped.
func (l *lane) head(p int) *rec {
	h := &l.ready[p]
	for len(*h) > 0 {
		e := (*h)[0]
		if e.rec.state == task.Ready && e.rec.version == e.version {
			return e.rec
		}
		h.pop()
	}
	return nil
}

func (f *Fake) setState(r *rec, s task.State) {
	q := r.queue
	if r.state != task.StateUnknown {
		q.byState[r.state]--
		if r.state == task.Ready {
			q.readyBy[r.spec.Priority]--
			q.laneOf(r.spec.Type).waiting--
		}
		if r.state == task.Dead {
			q.deadBytes -= int64(len(r.spec.Payload))
		}
	}
	r.state = s
	r.version++
	if s == task.StateUnknown {
		return
	}
	q.byState[s]++
	switch {
	case s == task.Ready:
		q.readyBy[r.spec.Priority]++
		l := q.laneOf(r.spec.Type)
		l.waiting++
		l.ready[r.spec.Priority].push(laneEntry{ready: r.readyAt, seq: r.id.Seq, version: r.version, rec: r})
	case s == task.Dead:
		q.deadBytes += int64(len(r.spec.Payload))
	}
	if s.Final() {
		q.since[s]++
	}
}

// wait makes r scheduled or ready, from at on.
func (f *Fake) wait(r *rec, at task.Time) {
	r.readyAt = max(at, f.now)
	r.holder, r.timeoutAt, r.leaseEnd = nil, 0, 0
	if at > f.now {
		f.setState(r, task.Scheduled)
		f.retime(r)
		return
	}
	f.setState(r, task.Ready)
	f.retime(r)
	f.dispatch(r.queue)
}

// finish makes r final, tells those who watch, and lets history go.
func (f *Fake) finish(r *rec, s task.State, reason string) {
	r.reason = reason
	r.finishedAt = f.now
	r.holder, r.timeoutAt, r.leaseEnd = nil, 0, 0
	f.setState(r, s)
	if s == task.Succeeded {
		r.spec.Payload = nil
	}
	f.tellWatches(r)
	keep := r.queue.cfg.History
	if s != task.Dead && (keep == task.HistoryNone || keep == task.HistoryFailures && s == task.Succeeded) {
		f.forget(r)
		return
	}
	f.retime(r)
	f.finished = append(f.finished, r)
	for len(f.finished) > f.opts.HistoryMax {
		old := f.finished[0]
		f.finished = f.finished[1:]
		if old.state.Final() && old.state != task.Dead {
			f.forget(old)
		}
	}
}

// forget drops all knowledge of r.
func (f *Fake) forget(r *rec) {
	if f.recs[r.id.Seq] != r {
		return
	}
	delete(f.recs, r.id.Seq)
	f.setState(r, task.StateUnknown)
	f.retime(r)
	f.tellWatches(r)
}

func (f *Fake) tellWatches(r *rec) {
	for _, w := range r.watches {
		if r.state == task.StateUnknown {
			w.Err = task.Errorf(task.NotFound, "task %s was deleted", r.id)
		} else {
			w.Info = f.info(r)
		}
		f.call(func() { w.Done(w) })
	}
	r.watches = nil
}

// endAttempt closes the running attempt in the history of r.
func (f *Fake) endAttempt(r *rec, o task.AttemptOutcome, text string) {
	if n := len(r.attempts); n > 0 && r.attempts[n-1].Outcome == task.AttemptRunning {
		a := &r.attempts[n-1]
		a.Ended, a.Outcome, a.Error = f.now, o, text
	}
	if s := r.holder; s != nil {
		delete(s.leases, r.id.Seq)
	}
}

func (r *rec) policy() (maxAttempts int32, timeout task.Millis, b task.Backoff) {
	q := r.queue.cfg
	maxAttempts, timeout = q.MaxAttempts, q.Timeout
	backoff := q.Backoff
	if p := r.spec.Policy; p != nil {
		if p.MaxAttempts != 0 {
			maxAttempts = p.MaxAttempts
		}
		if p.Timeout != 0 {
			timeout = p.Timeout
		}
		if p.Backoff != nil {
			backoff = p.Backoff
		}
	}
	if maxAttempts == 0 {
		maxAttempts = task.DefaultMaxAttempts
	}
	if timeout == 0 {
		timeout = task.DefaultTimeout
	}
	if timeout == task.AttemptTimeoutNone {
		timeout = 0
	}
	if backoff != nil {
		b = *backoff
	}
	if b.Base == 0 {
		b.Base = task.DefaultBackoffBase
	}
	if b.Max == 0 {
		b.Max = task.DefaultBackoffMax
	}
	return maxAttempts, timeout, b
}

// retryWait is how long r waits after its nth failure.
func (r *rec) retryWait(n uint32) task.Millis {
	_, _, b := r.policy()
	var d task.Millis
	switch b.Kind {
	case task.BackoffFixed:
		return b.Base
	case task.BackoffList:
		return b.List[min(int(n), len(b.List))-1]
	case task.BackoffLinear:
		d = min(b.Base*task.Millis(n), b.Max)
	default:
		d = b.Base
		for i := uint32(1); i < n && d < b.Max; i++ {
			d *= 2
		}
		d = min(d, b.Max)
	}
	// A fifth of d, spread by a hash of the task and the attempt, round d.
	h := (uint64(r.id.Seq)*0x9e3779b97f4a7c15 + uint64(n)) * 0xbf58476d1ce4e5b9
	return d - d/10 + task.Millis(uint64(d/5+1)*(h>>32)>>32)
}

// info is what Get says of r.
func (f *Fake) info(r *rec) task.Info {
	maxAttempts, _, _ := r.policy()
	in := task.Info{
		ID: r.id, Queue: r.queue.name, Type: r.spec.Type, Key: r.spec.Key, State: r.state, Priority: r.spec.Priority,
		Reason: r.reason, ContentType: r.spec.ContentType, Headers: r.spec.Headers, Tags: r.spec.Tags,
		Result: r.result, ResultType: r.resultType, Error: r.errText, Counts: r.counts, MaxAttempts: maxAttempts,
		Attempts: slices.Clone(r.attempts), EnqueuedAt: r.enqueuedAt, ReadyAt: r.readyAt, StartedAt: r.startedAt,
		FinishedAt: r.finishedAt, ExpiresAt: r.expiresAt, Deadline: r.spec.Deadline, Worker: r.worker,
		Progress: r.progress, Log: r.log,
	}
	if r.state != task.Succeeded {
		in.Payload, in.PayloadKept = slices.Clone(r.spec.Payload), true
	}
	if r.state == task.Ready {
		switch {
		case r.queue.paused:
			in.Reason = "the queue is paused"
		case !f.served(r.queue, r.spec.Type):
			in.Reason = "no worker serves this type"
		}
	}
	return in
}
