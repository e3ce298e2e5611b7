package penstock

import (
	"context"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// ID names a task for ever. It is comparable; its text is at most 40 letters
// and digits. The zero ID names nothing.
type ID struct{ id task.ID }

// ParseID reads what ID.String wrote; anything else is ErrInvalid.
func ParseID(s string) (ID, error) {
	id, err := task.ParseID(s)
	return ID{id}, err
}

// String is the ID as people and the command line see it.
func (id ID) String() string {
	if id.IsZero() {
		return ""
	}
	return id.id.String()
}

// IsZero says whether the ID names nothing.
func (id ID) IsZero() bool { return id.id.IsZero() }

// AppendText appends the ID's text to b.
func (id ID) AppendText(b []byte) ([]byte, error) {
	if id.IsZero() {
		return b, nil
	}
	return id.id.AppendText(b)
}

// MarshalText makes an ID a string in JSON.
func (id ID) MarshalText() ([]byte, error) { return id.AppendText(nil) }

// UnmarshalText reads what MarshalText wrote.
func (id *ID) UnmarshalText(b []byte) error {
	if len(b) == 0 {
		*id = ID{}
		return nil
	}
	v, err := ParseID(string(b))
	if err == nil {
		*id = v
	}
	return err
}

// State is where a task is in its life. A task that is tried again is Scheduled
// or Ready with failures above zero.
type State uint8

// The states.
const (
	StateUnknown = State(task.StateUnknown)
	Scheduled    = State(task.Scheduled) // waits for its time
	Ready        = State(task.Ready)     // may start
	Blocked      = State(task.Blocked)   // held by a rule
	Running      = State(task.Running)   // a worker has it
	Succeeded    = State(task.Succeeded) // has a result
	Dead         = State(task.Dead)      // gave up; kept until retried, deleted or purged
	Canceled     = State(task.Canceled)  // ended by someone
	Expired      = State(task.Expired)   // its Deadline or ExpireAfter passed first
)

// String is the state's name, in lower case.
func (s State) String() string { return task.State(s).String() }

// Final says whether nothing more will happen by itself.
func (s State) Final() bool { return task.State(s).Final() }

// MarshalText makes a State its name in JSON.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText reads a state's name.
func (s *State) UnmarshalText(b []byte) error {
	v, err := ParseState(string(b))
	if err == nil {
		*s = v
	}
	return err
}

// ParseState reads a state's name; anything else is ErrInvalid.
func ParseState(name string) (State, error) {
	s, ok := task.ParseState(name)
	if !ok {
		return StateUnknown, task.Errorf(task.Invalid, "%q is not a state: use scheduled, ready, blocked, running, succeeded, dead, canceled or expired", name)
	}
	return State(s), nil
}

// ProgressInfo is what a handler last said of itself; see Progress.
type ProgressInfo struct {
	Done  int64  `json:"done"`
	Total int64  `json:"total"`
	Text  string `json:"text,omitempty"`
}

// AttemptInfo is one entry of a task's history.
type AttemptInfo struct {
	Number    int       `json:"number"` // 1 is the first
	StartedAt time.Time `json:"startedAt,omitzero"`
	EndedAt   time.Time `json:"endedAt,omitzero"`
	Outcome   string    `json:"outcome"` // running, succeeded, failed, timed_out, crashed, released or canceled
	Worker    string    `json:"worker,omitempty"`
	Error     string    `json:"error,omitempty"`
}

// Info is all that is known of a task. Times not reached are zero.
type Info struct {
	ID          ID                `json:"id"`
	Queue       string            `json:"queue"`
	Type        string            `json:"type"`
	Key         string            `json:"key,omitempty"`
	State       State             `json:"state"`
	Priority    int               `json:"priority"`
	Reason      string            `json:"reason,omitempty"`      // why it is dead, blocked, expired or canceled; or what it waits for
	Payload     []byte            `json:"-"`                     // nil once the task has succeeded, was canceled or expired
	ContentType string            `json:"contentType,omitempty"` // of Payload
	Headers     map[string]string `json:"headers,omitempty"`
	Tags        []string          `json:"tags,omitempty"`
	Result      []byte            `json:"-"` // of a task that succeeded
	ResultType  string            `json:"resultType,omitempty"`
	Error       string            `json:"error,omitempty"` // of the last failed attempt
	Failures    int               `json:"failures"`
	Crashes     int               `json:"crashes"`
	Releases    int               `json:"releases"`
	MaxAttempts int               `json:"maxAttempts"`
	Attempts    []AttemptInfo     `json:"attempts,omitempty"` // the newest 20, newest last
	EnqueuedAt  time.Time         `json:"enqueuedAt,omitzero"`
	ReadyAt     time.Time         `json:"readyAt,omitzero"`
	StartedAt   time.Time         `json:"startedAt,omitzero"`
	FinishedAt  time.Time         `json:"finishedAt,omitzero"`
	ExpiresAt   time.Time         `json:"expiresAt,omitzero"`
	Deadline    time.Time         `json:"deadline,omitzero"`
	Worker      string            `json:"worker,omitempty"`
	Progress    ProgressInfo      `json:"progress,omitzero"`
	Log         []byte            `json:"-"` // tail of the last attempt's log, at most 8 KiB
}

// Err is nil for a task that succeeded or is not final, and a *TaskError for
// one that ended otherwise.
func (in *Info) Err() error {
	if !in.State.Final() || in.State == Succeeded {
		return nil
	}
	return &TaskError{ID: in.ID, Type: in.Type, State: in.State, Reason: in.Reason, Text: in.Error,
		Failures: in.Failures, Crashes: in.Crashes}
}

func infoOf(t *task.Info) Info {
	in := Info{
		ID: ID{t.ID}, Queue: t.Queue, Type: t.Type, Key: t.Key, State: State(t.State),
		Priority: int(t.Priority), Reason: t.Reason, ContentType: t.ContentType, Tags: t.Tags,
		Result: t.Result, ResultType: t.ResultType, Error: t.Error,
		Failures: int(t.Counts.Failures), Crashes: int(t.Counts.Crashes), Releases: int(t.Counts.Releases),
		MaxAttempts: int(t.MaxAttempts), Headers: headerMap(t.Headers),
		EnqueuedAt: fromTime(t.EnqueuedAt), ReadyAt: fromTime(t.ReadyAt), StartedAt: fromTime(t.StartedAt),
		FinishedAt: fromTime(t.FinishedAt), ExpiresAt: fromTime(t.ExpiresAt), Deadline: fromTime(t.Deadline),
		Worker: t.Worker, Progress: ProgressInfo(t.Progress), Log: t.Log,
	}
	if t.PayloadKept {
		in.Payload = t.Payload
	}
	for _, a := range t.Attempts {
		in.Attempts = append(in.Attempts, AttemptInfo{Number: int(a.Number), StartedAt: fromTime(a.Started),
			EndedAt: fromTime(a.Ended), Outcome: a.Outcome.String(), Worker: a.Worker, Error: a.Error})
	}
	return in
}

func headerMap(hs []task.Header) map[string]string {
	if len(hs) == 0 {
		return nil
	}
	m := make(map[string]string, len(hs))
	for _, h := range hs {
		m[h.Name] = h.Value
	}
	return m
}

// Get tells all that is known of a task: ErrNotFound when it never was, was
// deleted, or finished longer ago than its queue keeps history.
func (c *Client) Get(ctx context.Context, id ID) (Info, error) {
	t, err := c.inspector.Get(ctx, id.id)
	if err != nil {
		return Info{}, err
	}
	return infoOf(&t), nil
}

// Filter picks tasks. Its zero value picks all.
type Filter struct {
	Queue  string
	Type   string
	States []State // none = every state
	Limit  int     // tasks on a page; 0 = 100, at most 1,000
	Cursor string  // Page.Next of the page before
}

// Page is one page of a listing.
type Page struct {
	Tasks   []Info
	Next    string // Filter.Cursor of the next page; "" = the end
	Scanned int64  // records looked at
}

// List pages through tasks, newest first within a state. A page may be short,
// or empty, while Next is set.
func (c *Client) List(ctx context.Context, f Filter) (Page, error) {
	states := make([]task.State, len(f.States))
	for i, s := range f.States {
		states[i] = task.State(s)
	}
	p, err := c.inspector.List(ctx, task.Filter{Queue: f.Queue, Type: f.Type, States: states, Limit: f.Limit, Cursor: f.Cursor})
	if err != nil {
		return Page{}, err
	}
	out := Page{Tasks: make([]Info, len(p.Tasks)), Next: p.Next, Scanned: p.Scanned}
	for i := range p.Tasks {
		out.Tasks[i] = infoOf(&p.Tasks[i])
	}
	return out, nil
}

// Verb is a change to a task.
type Verb uint8

// The verbs.
const (
	VerbCancel = Verb(task.VerbCancel) // end it; a running handler's context ends with ErrCanceled
	VerbRetry  = Verb(task.VerbRetry)  // dead, canceled or expired: wait again; scheduled: run now
	VerbDelete = Verb(task.VerbDelete) // forget it, whatever its state but running
)

// Change does the same to many tasks, at most 10,000. Its answer has an error
// for each ID, nil where it was done: ErrNotFound, or ErrConflict when the
// task's state does not allow it.
func (c *Client) Change(ctx context.Context, v Verb, ids []ID) []error {
	raw := make([]task.ID, len(ids))
	for i, id := range ids {
		raw[i] = id.id
	}
	return c.inspector.Change(ctx, task.Verb(v), raw)
}

func (c *Client) change(ctx context.Context, v Verb, id ID) error {
	errs := c.Change(ctx, v, []ID{id})
	if len(errs) != 1 {
		return fmt.Errorf("change task: %d answers to one question", len(errs))
	}
	return errs[0]
}

// Cancel ends a task. If it is running, its handler's context ends with
// ErrCanceled and what the handler returns is dropped.
func (c *Client) Cancel(ctx context.Context, id ID) error { return c.change(ctx, VerbCancel, id) }

// Retry has a dead, canceled or expired task wait again, and a scheduled one
// run now.
func (c *Client) Retry(ctx context.Context, id ID) error { return c.change(ctx, VerbRetry, id) }

// Delete forgets a task that is not running. Its idempotency key is free at once,
// unless it has succeeded: then the key holds to the end of its window.
func (c *Client) Delete(ctx context.Context, id ID) error { return c.change(ctx, VerbDelete, id) }

// Ping asks whether the queue is there and ready to serve. When it is up but
// not ready, the error says why.
func (c *Client) Ping(ctx context.Context) error {
	n, err := c.inspector.Node(ctx)
	if err != nil {
		return err
	}
	if !n.Ready {
		return task.Errorf(task.Unavailable, "the server is not ready: %s", n.NotReady)
	}
	return nil
}
