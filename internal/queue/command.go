package queue

import "github.com/penstock-io/penstock/internal/task"

// Op names what a command asks for.
type Op uint8

// The commands. Each uses the fields of Command named beside it.
const (
	OpTick        Op = iota // nothing asked: only time passes
	OpEnqueue               // Enqueue
	OpReport                // Report
	OpDispatch              // Session, N: lease up to N tasks to a session
	OpLease                 // Lease: a unary lease
	OpExtend                // Extend
	OpOpen                  // Open: a worker session opens or is back
	OpBeat                  // Session
	OpDetach                // Session: no deliveries, leases live on
	OpClose                 // Session: hand back everything without blame
	OpChange                // Change: cancel, retry, delete
	OpSetQueue              // SetQueue: settings, pause, resume
	OpPurge                 // Purge
	OpLoaded                // Loaded: the answer to a Want
	OpFree                  // Session, N tasks of Unsent: deliveries that could not be written are released
	OpGap                   // Gap: the owner itself stood still for so long; comes before all else of its Apply
	OpClock                 // Offset: the wall clock was set; likewise
	OpDeleteQueue           // DeleteQueue
)

// Command is one request to the machine. Answers are written into the batches
// it points to; they may be shown only after the Output's changes are durable.
type Command struct {
	Op       Op
	Session  SessionNo
	N        int
	Enqueue  *task.EnqueueBatch
	Report   *task.OutcomeBatch
	Lease    *Lease
	Extend   *Extend
	Open     *Open
	Change   *Change
	SetQueue *SetQueue
	Purge    *Purge
	Loaded   *Loaded
	Unsent   []task.Token
	Gap      task.Millis
	Offset   task.Millis // machine time less wall time

	DeleteQueue *DeleteQueue
}

// Lease is a unary lease. Got is how many tasks were leased; they stand in
// Output.Leased with this Lease. Err says why there can't be any.
type Lease struct {
	Queues []task.QueueWeight
	Types  []string
	Crew   CrewNo // of these queues and types, if the caller has joined it; 0 = it is looked for
	Max    int
	TTL    task.Millis
	Worker string
	Got    int
	Read   bool // what is next for it is being read: it is worth to ask again
	Err    *task.Error
}

// Extend renews unary leases; Codes is filled.
type Extend struct {
	Extensions []task.Extension
	Codes      []task.Code
}

// Open opens a worker session, or takes it up again. Session and Lost are
// filled: the machine's number for it, and which of Options.Running are gone.
type Open struct {
	Options *task.SessionOptions
	Session SessionNo
	Lost    []task.Token
	Err     *task.Error
}

// Change applies a verb to tasks by ID; Errs is filled, one an ID.
type Change struct {
	Verb task.Verb
	IDs  []task.ID
	Errs []*task.Error
}

// SetQueue changes a queue's settings, making it if it is new.
type SetQueue struct {
	Name  string
	Patch task.QueuePatch
	Err   *task.Error
}

// Purge deletes waiting tasks or dead letters of a queue. Gone is filled.
type Purge struct {
	Name   string
	States []task.State // Scheduled, Ready, Dead
	Gone   int64
	Err    *task.Error
}

// DeleteQueue deletes a queue: an empty one, or with Force what waits in it too.
// Gone is filled.
type DeleteQueue struct {
	Name  string
	Force bool
	Gone  int64 // tasks that went with it
	Err   *task.Error
}

// WantKind says what a Want asks to be read.
type WantKind uint8

// The kinds of Want. Refills, and looks at idempotency entries, may be read beside
// later Applies; all others are points, read after this Output's batch has begun and before the
// next Apply.
const (
	WantBirths         WantKind = iota // births of Lanes, from where each says
	WantTimed                          // timed tasks of Lanes
	WantTask                           // the live task with ID (with Until: of its sequence, an expiry entry at that time): birth key, then where, then its place; or the dead letter, or the finished record
	WantIdem                           // idempotency key: Queue, Key
	WantTold                           // what was told last of the task of Seq: its record, if it has moved; the dead letter, or the finished record
	WantExpiries                       // expiry index entries with At ≤ Until, Limit of them; with Wall those of deadlines
	WantSweepWheres                    // where records from From.Seq on, Limit of them, whose task is gone; read beside later Applies
	WantSweepExpiries                  // expiry index entries from (From.Due, From.Seq) on; likewise
	WantSweepDeadlines                 // the same of the index of deadlines
	WantSweepChunks                    // chunks of the queue of From, from there on, of Limit tasks, whose task is gone; likewise
	WantIdemsDue                       // index of idempotency entries, from (From.Due, From.Seq) on, with At ≤ Until, Limit of them; read beside later Applies
	WantIdemsLive                      // of each of Idems: its entry, and whether its task is live; read beside later Applies
)

// Want is what the machine must know before it can go on.
type Want struct {
	What  WantKind
	Lanes []LaneWant // refills: what is to be read, in the order of the store
	From  Place
	ID    task.ID
	Queue QueueNum
	Key   string
	Hash  uint64
	Seq   task.Seq
	Until task.Time
	Wall  bool // Until is of the index of deadlines
	Limit int
	Idem  bool // WantTask: the entry of its idempotency key too
	Idems []IdemLook
	Batch uint64 // refills: the Apply that asked; the view must hold exactly the batches up to it
}

// LaneWant is a stretch of a lane: Limit records from From on.
type LaneWant struct {
	Load  uint32 // number of the load, given back
	From  Place
	Limit int
}

// Stretch is what was read of a LaneWant: Loaded.Waiting[From:To]. Next is the place
// of the record behind them, and Ready since when it is ready if it is a birth; End
// says that the lane has none behind them in this class. Without Next a lane would
// have to be read again only to know when it is next.
type Stretch struct {
	Load     uint32
	From, To int
	End      bool
	Next     Place
	Ready    task.Time
}

// Loaded answers a Want. Exactly one group of fields is used, by Want.What.
type Loaded struct {
	Want      Want
	Waiting   []Waiting // refills; WantTask and WantTold (0 or 1)
	Stretches []Stretch // refills: one a LaneWant
	Idem      *Idem     // WantIdem, and WantTask with Idem; nil: not there
	Dead      *DeadLetter
	Finished  *Finished // result and texts need not be filled
	Revived   *Waiting  // with Dead, or Finished that kept its body: policy and times of its record
	Expiries  []Expiry
	Next      task.Time // WantExpiries, WantIdemsDue: time of the first entry left; 0 = none
	Idems     []IdemLook
	Orphans   []Place // WantSweep…: what leads to no task; of where records only the Seq
	End       bool    // WantSweep…: there are no more …
	Behind    Place   // … or they go on here
}

// IdemLook is one idempotency entry that is due: Idem and Live are filled by the
// answer to WantIdemsLive.
type IdemLook struct {
	Due  IdemDue
	Idem *Idem // nil: it is no longer there
	Live bool
}

// Place is where a live task's record stands in the store.
type Place struct {
	Class task.Class
	Prio  uint8
	Queue QueueNum
	Lane  LaneNum // number of the lane among those of its queue and priority
	Seq   task.Seq
	Due   task.Time // timed only; of a calendar it is wall time
}

// Waiting is a live task's record as the machine needs it.
type Waiting struct {
	Place    Place
	Names    Names // of refills, whose lanes are known, left empty
	Enqueued task.Time
	Expires  task.Time
	Deadline task.Time
	After    task.Millis // of a calendar: how long it may wait from when it is due; 0 = for ever
	Policy   *task.Policy
	Counts   task.Counts
	Flags    Flags
	Told     Told
	Size     int  // bytes of the record
	Cached   bool // the runner holds the record's bytes under Slot once the machine has named it
}

// Flags are facts about a task that the machine must remember.
type Flags uint8

// The flags.
const (
	FlagMoved    Flags = 1 << iota // it has left its birth key: a where record exists
	FlagLarge                      // its payload stands in chunks of its own
	FlagIdem                       // it has an idempotency key
	FlagExpiry                     // it may wait for so long only, and has an entry in the index of that
	FlagClaim                      // a durable claim is written for it
	FlagDeadline                   // it has a deadline, and an entry in the index of these
)
