package task

// Limits that hold everywhere. What is over a limit is refused with a text that
// names the limit; nothing is ever cut short silently.
const (
	PayloadMax       = 1 << 20  // bytes of one payload, and of one result
	ErrorTextMax     = 8 << 10  // bytes of one error text; a longer one keeps its head and tail and says so
	LogMax           = 8 << 10  // bytes of one attempt's log
	AttemptsShownMax = 20       // newest attempts kept with a task
	NameMax          = 256      // bytes of a queue, type, key, tag or limit key
	LimitKeysMax     = 3        // extra limit keys of one task
	TagsMax          = 16       // tags of one task
	HeadersMax       = 32       // headers of one task
	HeaderBytesMax   = 8 << 10  // bytes of all headers of one task
	IdempotencyMax   = 256      // bytes of an idempotency key
	BackoffListMax   = 32       // entries of a backoff list
	BatchMax         = 10_000   // tasks in one enqueue call, outcomes in one report
	BatchBytesMax    = 16 << 20 // payload bytes in one enqueue call
	SessionTypesMax  = 1_000    // types a worker session may announce
	SessionQueuesMax = 1_000    // queues a worker session may name
	CreditMax        = 10_000   // deliveries a worker session may have asked for and not got
	HeldMax          = 20_000   // tasks a worker session may hold, outcomes without an answer among them, and name when it is back
	LeaseMax         = 1_000    // tasks one unary lease may take
	EarlierWidthsMax = 4        // widths of a queue that are remembered beside its own
	ListMax          = 1_000    // tasks on one page of a listing
	WeightMax        = 1 << 20  // share of one queue among those that a worker serves
	PriorityMax      = 9
)

// Defaults, as users see them.
const (
	DefaultQueue        = "default"
	DefaultPriority     = 5
	DefaultMaxAttempts  = 10
	DefaultTimeout      = Hour
	DefaultSessionTTL   = 10 * Second
	SessionTTLMax       = 10 * Minute
	DefaultLease        = 30 * Second
	LeaseTTLMax         = 12 * Hour
	LeaseWaitMax        = 5 * Minute // wait of one unary lease for its first task
	PollMax             = Minute     // one long poll over the wire: proxies cut longer ones
	SessionIDMax        = 32         // bytes of a session's ID
	DefaultRetention    = Day
	DefaultUnserved     = Day // how long a task may wait for a worker that serves its type
	CrashesMax          = 3   // lost leases before a task is quarantined
	DefaultBackoffBase  = Second
	DefaultBackoffMax   = 10 * Minute
	DefaultIdempotency  = Day // window of an idempotency key when none is given
	ProducerIdleMax     = 10 * Minute
	DelayMax            = 10 * 365 * Day
	AttemptTimeoutNone  = -1
	MaxAttemptsNoLimit  = 1<<31 - 1
	RetryAfterByBackoff = -1
)
