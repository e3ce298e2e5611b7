package penstock

import (
	"context"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// QueueConfig is a queue's settings. A zero field is the product's default.
type QueueConfig struct {
	MaxAttempts int           // 0 = 10
	Timeout     time.Duration // of one attempt; 0 = 1 h, NoTimeout = none
	Backoff     Waits         // between attempts; zero = Exponential(time.Second, 10*time.Minute)
	Retention   time.Duration // of finished tasks; 0 = 24 h
	History     HistoryMode   // which finished tasks are kept
	Unserved    time.Duration // a task that no worker serves is dead after it; 0 = 24 h
	Width       int           // partitions; 0 = 1
	// DurableClaims has each lease written before its task is handed out: a task
	// that was running when the server died is known to have been, at the price
	// of one more durable write a task.
	DurableClaims bool
}

// HistoryMode says which finished tasks a queue keeps. Dead letters stay in any
// case until they are retried, deleted or purged.
type HistoryMode uint8

// The history modes.
const (
	HistoryAll      = HistoryMode(task.HistoryAll)      // all, for the queue's Retention
	HistoryFailures = HistoryMode(task.HistoryFailures) // all but those that succeeded
	HistoryNone     = HistoryMode(task.HistoryNone)     // none: who waits too late gets ErrNotFound, even for a success
)

// QueuePatch changes a queue's settings; nil fields stay as they are.
type QueuePatch struct {
	MaxAttempts *int
	Timeout     *time.Duration
	Backoff     *Waits
	Retention   *time.Duration
	History     *HistoryMode
	Unserved    *time.Duration
	Width       *int
	Paused      *bool

	DurableClaims *bool
}

// UnservedType is a type with waiting tasks that no worker serves.
type UnservedType struct {
	Type   string
	Oldest time.Time // when the oldest of them was ready
}

// QueueInfo is what is known of a queue. Counts are exact.
type QueueInfo struct {
	Name        string
	Config      QueueConfig
	Paused      bool
	Scheduled   int64
	Ready       int64
	Blocked     int64
	Running     int64
	Dead        int64
	DeadBytes   int64
	Enqueued    int64     // since ever, as are the next three
	Succeeded   int64     //
	Canceled    int64     //
	Expired     int64     //
	OldestReady time.Time // since when the oldest task that could run has been waiting; zero = none
	Workers     int       // worker sessions that serve the queue
	Unserved    []UnservedType
	HistoryFrom time.Time // how far back finished tasks are kept now
}

func queueInfoOf(q *task.QueueInfo) QueueInfo {
	out := QueueInfo{
		Name: q.Name, Paused: q.Paused,
		Config: QueueConfig{
			MaxAttempts: int(q.Config.MaxAttempts), Timeout: fromMillis(q.Config.Timeout),
			Retention: fromMillis(q.Config.Retention), Unserved: fromMillis(q.Config.Unserved), Width: q.Config.Width,
		},
		Scheduled: q.Scheduled, Ready: q.Ready, Blocked: q.Blocked, Running: q.Running, Dead: q.Dead,
		DeadBytes: q.DeadBytes, Enqueued: q.Enqueued, Succeeded: q.Succeeded, Canceled: q.Canceled, Expired: q.Expired,
		OldestReady: fromTime(q.OldestReady), Workers: q.Workers, HistoryFrom: fromTime(q.HistoryFrom),
	}
	out.Config.History = HistoryMode(q.Config.History)
	out.Config.DurableClaims = q.Config.Claims == task.ClaimsDurable
	if q.Config.Backoff != nil {
		out.Config.Backoff = Waits{b: *q.Config.Backoff}
	}
	if q.Config.Timeout == task.AttemptTimeoutNone {
		out.Config.Timeout = NoTimeout
	}
	for _, u := range q.Unserved {
		out.Unserved = append(out.Unserved, UnservedType{u.Type, fromTime(u.Oldest)})
	}
	return out
}

// Queues tells settings, counts and ages of the queues named, or of all.
func (c *Client) Queues(ctx context.Context, names ...string) ([]QueueInfo, error) {
	qs, err := c.inspector.Queues(ctx, names)
	if err != nil {
		return nil, err
	}
	out := make([]QueueInfo, len(qs))
	for i := range qs {
		out[i] = queueInfoOf(&qs[i])
	}
	return out, nil
}

// SetQueue changes settings of a queue, and makes it if it is new.
func (c *Client) SetQueue(ctx context.Context, name string, p QueuePatch) (QueueInfo, error) {
	raw := task.QueuePatch{Width: p.Width, Paused: p.Paused}
	if p.MaxAttempts != nil {
		if *p.MaxAttempts < 0 || *p.MaxAttempts > Unlimited {
			return QueueInfo{}, task.Errorf(task.Invalid, "max attempts of %d: use 1 or more, or 0 for the default", *p.MaxAttempts)
		}
		n := int32(*p.MaxAttempts)
		raw.MaxAttempts = &n
	}
	if p.Timeout != nil {
		d := millis(*p.Timeout)
		if *p.Timeout == NoTimeout {
			d = task.AttemptTimeoutNone
		}
		raw.Timeout = &d
	}
	if p.Backoff != nil {
		if p.Backoff.err != nil {
			return QueueInfo{}, p.Backoff.err
		}
		raw.Backoff = &p.Backoff.b
	}
	if p.History != nil {
		mode := task.HistoryMode(*p.History)
		raw.History = &mode
	}
	if p.DurableClaims != nil {
		mode := task.ClaimsDeferred
		if *p.DurableClaims {
			mode = task.ClaimsDurable
		}
		raw.Claims = &mode
	}
	raw.Retention, raw.Unserved = millisPtr(p.Retention), millisPtr(p.Unserved)
	q, err := c.inspector.SetQueue(ctx, name, raw)
	if err != nil {
		return QueueInfo{}, err
	}
	return queueInfoOf(&q), nil
}

func millisPtr(d *time.Duration) *task.Millis {
	if d == nil {
		return nil
	}
	m := millis(*d)
	return &m
}

// Pause has a queue hand out no more tasks. Running ones go on.
func (c *Client) Pause(ctx context.Context, queue string) error { return c.setPaused(ctx, queue, true) }

// Resume ends a Pause.
func (c *Client) Resume(ctx context.Context, queue string) error {
	return c.setPaused(ctx, queue, false)
}

func (c *Client) setPaused(ctx context.Context, queue string, paused bool) error {
	_, err := c.inspector.SetQueue(ctx, queue, task.QueuePatch{Paused: &paused})
	return err
}

// Purge deletes a queue's waiting tasks and dead letters in the states given
// (Scheduled, Ready, Dead …) and returns how many there were.
func (c *Client) Purge(ctx context.Context, queue string, states ...State) (int64, error) {
	if len(states) == 0 {
		return 0, task.Errorf(task.Invalid, "purge of queue %q without a state: name the states whose tasks are to be deleted", queue)
	}
	raw := make([]task.State, len(states))
	for i, s := range states {
		raw[i] = task.State(s)
	}
	return c.inspector.Purge(ctx, queue, raw)
}

// DeleteQueueOptions say what DeleteQueue may delete.
type DeleteQueueOptions struct {
	Force bool // what waits in the queue and its dead letters too; else it must be empty
}

// DeleteQueue deletes a queue with its settings and counts, and returns how many
// tasks went with it. A queue that has tasks is an ErrConflict, unless by force;
// one whose tasks run is so even then: pause it and let them end, or cancel them.
// Finished tasks are no longer found, and idempotency keys are free. Who enqueues
// to the name again makes a new queue.
func (c *Client) DeleteQueue(ctx context.Context, name string, o DeleteQueueOptions) (int64, error) {
	return c.inspector.DeleteQueue(ctx, name, o.Force)
}
