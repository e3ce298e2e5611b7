package task

import (
	"context"
	"time"
)

// Broker is the hot half of the driving port: enqueue, work, report, watch.
// The node implements it; the rpc client implements it over the network. It is
// batch first, and what waits for a disk or a network is answered by callback,
// so that no goroutine has to stand behind a batch. Callbacks come from the
// owner's goroutines: they must not block and must not call back into the
// Broker while holding a lock that a callback takes.
type Broker interface {
	// Enqueue hands over b and returns at once. b.Done is called exactly once,
	// after every accepted spec is durable; until then b and all it points to
	// belong to the Broker. It may be called before Enqueue returns.
	Enqueue(b *EnqueueBatch)

	// Attach opens a worker session, or opens it again after a lost connection
	// (same opts.ID): leases of opts.Running that are still good go on, and are
	// listed in no error; the others are announced through sink.Revoke. ctx only
	// bounds the opening.
	Attach(ctx context.Context, opts SessionOptions, sink Sink) (Session, error)

	// Lease takes up to r.Max tasks outside any session, waiting up to r.Wait
	// for the first. Deliveries are the caller's own.
	Lease(ctx context.Context, r LeaseRequest) ([]Delivery, error)

	// Extend moves the end of unary leases to now + ttl. One error a token, nil
	// where it was good. It also carries progress.
	Extend(ctx context.Context, exts []Extension) []error

	// Report hands over outcomes; b.Done is called exactly once, after they are
	// durable. The same rules as for Enqueue.
	Report(b *OutcomeBatch)

	// Watch calls w.Done once, when the task is final, is gone or is not known.
	// The function returned gives up the watch.
	Watch(w *Watch) (stop func())
}

// EnqueueBatch is specs for one queue from one producer session, and their
// answers. Items with a Number are harmless to repeat: the same Producer, Queue
// and Number get the same task.
type EnqueueBatch struct {
	Queue    string
	Producer string // producer session, ≤ 32 bytes; "" = none, numbers are ignored
	AckBelow uint64 // every Number below it is answered and will not be repeated
	Wide     bool   // set by the node: a part of a batch for a queue that lives, or lived a short time ago, in several partitions: one may see only some of a producer's numbers
	Known    bool   // set by the node: answer what is known already and take nothing; all else gets ErrUnseen
	Specs    []Spec
	Results  []Enqueued // len(Specs); the Broker fills it before Done
	Err      *Error     // the batch as a whole: set, Results mean nothing
	Done     func(*EnqueueBatch)
}

// EnqueueWait is Broker.Enqueue for a caller that waits. When ctx ends first
// the batch still belongs to the Broker, and the error is ctx's.
func EnqueueWait(ctx context.Context, br Broker, b *EnqueueBatch) error {
	done := make(chan struct{})
	b.Done = func(*EnqueueBatch) { close(done) }
	br.Enqueue(b)
	select {
	case <-done:
		if b.Err != nil {
			return b.Err
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// OutcomeBatch is outcomes and their answers.
type OutcomeBatch struct {
	Outcomes []Outcome
	Codes    []Code // len(Outcomes); filled before Done: OK, LeaseLost, Invalid, NotFound
	Err      *Error // the batch as a whole
	Done     func(*OutcomeBatch)
}

// ReportWait is Broker.Report for a caller that waits.
func ReportWait(ctx context.Context, br Broker, b *OutcomeBatch) error {
	done := make(chan struct{})
	b.Done = func(*OutcomeBatch) { close(done) }
	br.Report(b)
	select {
	case <-done:
		if b.Err != nil {
			return b.Err
		}
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// QueueWeight names a queue that a worker serves, and its share.
type QueueWeight struct {
	Queue  string
	Weight int // 0 counts as 1; ≤ WeightMax
}

// SessionOptions describe a worker session.
type SessionOptions struct {
	ID          string // chosen by the worker, ≤ 32 bytes, kept over reconnects
	Queues      []QueueWeight
	Types       []string // types served; nil = every type
	Concurrency int      // handlers at once: at a crash only the oldest so many deliveries are blamed
	TTL         Millis   // 0 = DefaultSessionTTL
	Worker      string   // shown to people: host, pid, name
	Build       string
	Remote      bool    // over the network: the session outlives its connection and is recorded
	Running     []Token // leases held from before a reconnect, at most HeldMax
}

// Session is an open worker session.
type Session interface {
	// Credit allows n more deliveries. What would make it more than CreditMax open
	// ones does not count.
	Credit(n int)
	// Report is Broker.Report within the session; outcomes go ahead of admission.
	Report(b *OutcomeBatch)
	// Heartbeat renews all leases of the session; it fails with LeaseLost when
	// the session is gone and must be attached anew.
	Heartbeat() error
	// Progress says how far a running task is; it is shown, and kept only with
	// the outcome.
	Progress(t Token, p Progress)
	// Detach is for a lost connection: no more deliveries, leases live on until
	// the TTL ends.
	Detach()
	// Close hands back what is still leased, without blame.
	Close()
}

// Sink is the worker's end of a session. Calls come one at a time and must not
// block.
type Sink interface {
	// Deliver brings leased tasks. What they point to is valid only during the
	// call, but for strings: these may be kept.
	Deliver(ds []Delivery)
	// Revoke says that leases have ended early: the task was canceled or
	// deleted (ErrCanceled) or the lease was lost.
	Revoke(ts []Token, why Code)
	// Lost says that the session is gone (Unavailable: attach again).
	Lost(err *Error)
}

// Renewer is a Sink that wants to know when its session was attached by whoever
// carries it over lost connections: the leases that were not revoked are good for
// a TTL from at, when they were presented. It comes before any delivery of the
// new connection.
type Renewer interface {
	Renewed(at time.Time)
}

// LeaseRequest is a unary lease.
type LeaseRequest struct {
	Queues []QueueWeight
	Types  []string
	Max    int    // 0 = 1, ≤ LeaseMax
	Wait   Millis // for the first task; ≤ LeaseWaitMax
	TTL    Millis // 0 = DefaultLease, ≤ LeaseTTLMax
	Worker string
}

// Extension renews one unary lease.
type Extension struct {
	Token    Token
	TTL      Millis // 0 = DefaultLease
	Progress *Progress
}

// Watch waits for the end of one task.
type Watch struct {
	ID   ID
	Done func(*Watch)
	Info Info   // final state and result; filled before Done
	Err  *Error // NotFound, Unavailable
}

// Inspector is the cool half of the driving port: what people and pages ask.
type Inspector interface {
	// Get finds one task, wherever it is in its life.
	Get(ctx context.Context, id ID) (Info, error)
	// List pages through tasks, newest first within a state.
	List(ctx context.Context, f Filter) (Page, error)
	// Queues tells settings, counts and ages of the queues named, or of all.
	Queues(ctx context.Context, names []string) ([]QueueInfo, error)
	// SetQueue changes settings of a queue and makes it if it is new.
	SetQueue(ctx context.Context, name string, p QueuePatch) (QueueInfo, error)
	// Change cancels, retries or deletes tasks; one error an ID.
	Change(ctx context.Context, v Verb, ids []ID) []error
	// Purge deletes a queue's waiting tasks or dead letters and returns how many.
	Purge(ctx context.Context, queue string, states []State) (int64, error)
	// DeleteQueue deletes a queue and returns how many tasks went with it. One that
	// has tasks is kept, unless by force; running ones keep it even then.
	DeleteQueue(ctx context.Context, queue string, force bool) (int64, error)
	// Node tells what this node is and does.
	Node(ctx context.Context) (NodeInfo, error)
}

// Verb is a change to a task.
type Verb uint8

// The verbs.
const (
	VerbCancel Verb = iota // end it; running handlers are told
	VerbRetry              // dead, canceled or expired: wait again; scheduled: run now
	VerbDelete             // forget it, whatever its state but running
)

// Filter picks tasks.
type Filter struct {
	Queue  string
	Type   string
	States []State // empty = every state
	Limit  int     // 0 = 100, ≤ ListMax
	Cursor string
}

// Page is one page of a listing.
type Page struct {
	Tasks   []Info
	Next    string // cursor of the next page; "" = the end
	Scanned int64  // records looked at
}

// QueueConfig is a queue's settings. Zero fields mean the product's defaults.
type QueueConfig struct {
	MaxAttempts int32
	Timeout     Millis
	Backoff     *Backoff
	Retention   Millis // of finished tasks; 0 = DefaultRetention
	History     HistoryMode
	Unserved    Millis // a task that no worker serves is dead after it; 0 = DefaultUnserved
	Claims      ClaimsMode
	Width       int // partitions; 0 = 1
}

// HistoryMode is what a queue keeps of finished tasks.
type HistoryMode uint8

// The history modes.
const (
	HistoryAll HistoryMode = iota
	HistoryFailures
	HistoryNone
)

// ClaimsMode says when a lease is written.
type ClaimsMode uint8

// The claims modes.
const (
	ClaimsDeferred ClaimsMode = iota // with the next batch, once it has run for a second
	ClaimsDurable                    // before the task is dispatched
)

// QueuePatch changes a queue; nil fields stay.
type QueuePatch struct {
	MaxAttempts *int32
	Timeout     *Millis
	Backoff     *Backoff
	Retention   *Millis
	History     *HistoryMode
	Unserved    *Millis
	Claims      *ClaimsMode
	Width       *int
	Paused      *bool
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
	Enqueued    int64 // since ever
	Succeeded   int64
	Canceled    int64
	Expired     int64
	OldestReady Time // ready time of the oldest task that could run; 0 = none
	Workers     int  // sessions that serve the queue
	Unserved    []UnservedType
	HistoryFrom Time // how far back finished tasks are kept now
	Earlier     []EarlierWidth
}

// EarlierWidth is a width that a queue had before, the last one first: what was
// enqueued then may be repeated now.
type EarlierWidth struct {
	Width int
	Until Time // when it was changed
}

// UnservedType is a type with waiting tasks that no worker serves.
type UnservedType struct {
	Type   string
	Oldest Time
}

// WorkerInfo is one worker session.
type WorkerInfo struct {
	ID          string
	Worker      string
	Build       string
	Queues      []string
	Types       []string
	Concurrency int
	Running     int
	Credit      int
	Since       Time
	LastBeat    Time
}

// NodeInfo is what this node is and does.
type NodeInfo struct {
	Node         string
	Version      string
	Started      Time
	Now          Time
	Storage      string // engine and folder
	StorageBytes int64
	Partitions   []PartitionInfo
	Workers      []WorkerInfo
	Ready        bool
	NotReady     string // why not
}

// PartitionInfo is one partition of the node.
type PartitionInfo struct {
	Partition        uint16
	Epoch            uint32
	ClockOffset      Millis // by how much its time is ahead of the wall clock
	Waiting          int64
	InMemory         int64
	Running          int64
	MemoryBytes      int64
	Serving          bool
	SafeMode         bool // two unclean opens within a minute: claims durable, one task at a time
	UncleanOpens     int
	Producers        int64 // producer sessions known
	ProducersEvicted int64 // … that gave way to newer ones, since the partition was opened
}
