package task

// BackoffKind is the shape of the waits between attempts.
type BackoffKind uint8

// The kinds of backoff.
const (
	BackoffExponential BackoffKind = iota // Base, 2 Base, 4 Base … up to Max
	BackoffLinear                         // Base, 2 Base, 3 Base … up to Max
	BackoffFixed                          // Base each time
	BackoffList                           // List[i], the last one repeated
)

// Backoff says how long a failed task waits. Exponential and linear waits get
// a jitter of ±10 % drawn from a hash of ID and attempt.
type Backoff struct {
	Kind BackoffKind
	Base Millis // 0 = DefaultBackoffBase
	Max  Millis // 0 = DefaultBackoffMax
	List []Millis
}

// Policy is how a task is tried. A nil *Policy means the queue's own. Fields at
// zero take the queue's value. A Policy is immutable once handed over: many
// specs may share one.
type Policy struct {
	MaxAttempts int32  // failures before the task is dead; 0 = the queue's
	Timeout     Millis // of one attempt; 0 = the queue's, AttemptTimeoutNone = none
	Backoff     *Backoff
}

// Header is one name and value that travel with a task (trace context …).
type Header struct{ Name, Value string }

// Spec is what a producer asks for. Queue stands in EnqueueBatch.
type Spec struct {
	Number         uint64 // of this item within its producer session and queue; 0 = not numbered
	Type           string
	Payload        []byte
	Priority       uint8 // 0–9, higher first. Front doors fill in DefaultPriority
	Delay          Millis
	RunAt          Time   // 0 = now; not together with Delay
	ExpireAfter    Millis // waiting longer than this ends in Expired; 0 = never
	Deadline       Time   // overall end, running or not; 0 = none
	Key            string // the lane's path, such as acme/user42
	LimitKeys      []string
	Idempotency    string // idempotency key; "" = none
	IdempotencyFor Millis // its window; 0 = DefaultIdempotency
	Tags           []string
	Headers        []Header
	ContentType    string // "" = application/json
	Policy         *Policy
}

// Enqueued is the answer to one Spec: an ID, or why it was refused.
type Enqueued struct {
	ID       ID
	Existing bool // the idempotency key, or the number, was known: ID is the earlier task's
	Err      *Error
}

// Attempt is one entry of a task's history.
type Attempt struct {
	Number  uint32
	Started Time
	Ended   Time
	Outcome AttemptOutcome
	Worker  string
	Error   string
}

// AttemptOutcome is how an attempt ended.
type AttemptOutcome uint8

// The outcomes of an attempt.
const (
	AttemptRunning   AttemptOutcome = iota
	AttemptSucceeded                // completed
	AttemptFailed                   // the handler failed
	AttemptTimedOut                 // over its timeout: counts as a failure
	AttemptCrashed                  // its lease was lost
	AttemptReleased                 // handed back without blame
	AttemptCanceled                 // ended by a user or a deadline
)

var attemptNames = [...]string{"running", "succeeded", "failed", "timed_out", "crashed", "released", "canceled"}

// String is the outcome's name on the wire.
func (o AttemptOutcome) String() string {
	if int(o) < len(attemptNames) {
		return attemptNames[o]
	}
	return "unknown"
}

// Counts are the three counters of a task, counted apart.
type Counts struct{ Failures, Crashes, Releases uint32 }

// Delivery is one leased task on its way to a worker. Payload and Headers may
// alias the owner's memory: they are valid until Sink.Deliver returns.
type Delivery struct {
	ID          ID
	Token       Token
	Queue       string
	Type        string
	Key         string
	Payload     []byte
	ContentType string
	Headers     []Header
	Tags        []string
	Priority    uint8
	Attempt     uint32 // 1 for the first; failures + crashes + 1
	MaxAttempts int32
	Counts      Counts
	EnqueuedAt  Time
	Timeout     Millis // of this attempt; 0 = none
	Deadline    Time   // overall; 0 = none
	LeaseEnd    Time   // unary leases only
}

// OutcomeKind is what became of a delivery.
type OutcomeKind uint8

// The kinds of outcome.
const (
	OutcomeComplete OutcomeKind = iota // succeeded, with Result
	OutcomeFail                        // failed, with Error; retried by the policy
	OutcomeRelease                     // handed back without blame, after Delay
)

// Outcome is a worker's report on one lease.
type Outcome struct {
	Token      Token
	Kind       OutcomeKind
	Result     []byte // OutcomeComplete; ≤ PayloadMax
	ResultType string // content type, ≤ NameMax; "" = application/json
	Error      string // OutcomeFail; over ErrorTextMax it keeps its head and tail and says so
	Permanent  bool   // OutcomeFail: dead at once
	Delay      Millis // OutcomeFail: RetryAfterByBackoff or the wait asked for; OutcomeRelease: the wait
	Started    bool   // a handler began it (a release of one that never began costs nothing and shows nothing)
	Log        []byte // tail of the attempt's log, ≤ LogMax
}

// Info is all that is known of a task.
type Info struct {
	ID          ID
	Queue       string
	Type        string
	Key         string
	State       State
	Priority    uint8
	Reason      string // why it is dead, blocked, expired or canceled; or what it waits for
	Payload     []byte
	PayloadKept bool // false once the task is finished: only live tasks and dead letters keep it
	ContentType string
	Headers     []Header
	Tags        []string
	Result      []byte
	ResultType  string
	Error       string
	Counts      Counts
	MaxAttempts int32
	Attempts    []Attempt // newest last, ≤ AttemptsShownMax
	EnqueuedAt  Time
	ReadyAt     Time // when it becomes or became ready
	StartedAt   Time
	FinishedAt  Time
	ExpiresAt   Time
	Deadline    Time
	Worker      string
	Progress    Progress
	Log         []byte
}

// Progress is what a handler last said of itself.
type Progress struct {
	Done, Total int64
	Text        string
}
