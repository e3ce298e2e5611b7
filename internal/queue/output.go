package queue

import "github.com/penstock-io/penstock/internal/task"

// Output is everything that one Apply decided. The runner makes the changes
// durable as one batch — deletes and purges first, then puts by class — and only
// then shows answers, deliveries and ends. Slices are reused: the runner is done
// with an Output when its changes are encoded and its deliveries built.
type Output struct {
	Batch    uint64 // number of this Apply, from 1
	Now      task.Time
	Deadline task.Time // tick no later than this; 0 = no need
	Spent    bool      // the epoch's numbers will be used up: the partition is to be opened anew

	// To be stored, kind by kind.
	Meta       Meta
	MetaSet    bool
	Queues     []QueueState
	DropQueues []DropQueue
	Marks      Changes[MarkKey, Mark]
	Births     []Birth
	DropBirths []Place
	Timed      []Timed
	DropTimed  []Place
	DropLarge  []Place    // chunks of large payloads, by place of birth
	PurgeLarge []SeqRange // whose chunks of large payloads all go
	Purges     []Range
	Covers     []Range // of lanes that are gone: nothing is left there
	Expiries   Changes[ExpiryKey, Expiry]
	Wheres     Changes[task.Seq, Where]
	Idems      Changes[IdemKey, Idem]
	IdemDues   Changes[IdemDueKey, IdemDue]
	Briefs     Changes[IdemDueKey, Idem] // idempotency entries that stand by the time they end, and in no index
	BriefSpans []BriefSpan               // they all go
	Producers  Changes[ProducerKey, ProducerState]
	Sessions   Changes[string, SessionState]
	Dead       Changes[DeadKey, DeadLetter]
	PurgeDead  []QueueNum // queues whose dead letters of earlier batches all go
	Finished   Changes[FinishedKey, Finished]
	Segments   Changes[uint32, Segment]
	Claims     Changes[task.Seq, Claim]
	Lists      Changes[ListKey, List]

	// To be shown once durable.
	Leased  []Leased
	Ended   []Ended
	Revoked []Revoke
	Lapsed  []SessionNo // sessions whose TTL has passed
	Held    []SessionNo // those that have come to hold more leases, or less
	Events  []Event     // every change of state of a task, in order; with Config.Events only

	// To be read.
	Wants    []Want
	Deferred []Command // to be applied again, in this order, after the point wants' answers

	// Loads of tasks that the machine took into memory, so that the runner can
	// keep their bytes: Taken[i] is the slot of the i-th Waiting of the refill
	// applied in this turn, NoSlot where it was filtered out.
	Taken []Slot
}

// stored counts what o changes in the store beside the meta record, and forgets it
// if asked to. Each kind has its one line here: Changes, with what names a record, or
// a plain list, where what each task does may cost no look into a map. Births and
// timed records know where their put stands (slot.putIndex).
func (o *Output) stored(forget bool) int {
	n := 0
	n += plain(&o.Queues, forget)
	n += plain(&o.DropQueues, forget)
	n += putAgain(&o.Marks, forget, func(k *Mark) MarkKey { return k.MarkKey })
	n += plain(&o.Births, forget)
	n += plain(&o.DropBirths, forget)
	n += plain(&o.Timed, forget)
	n += plain(&o.DropTimed, forget)
	n += plain(&o.DropLarge, forget)
	n += plain(&o.PurgeLarge, forget)
	n += plain(&o.Purges, forget)
	n += plain(&o.Covers, forget)
	n += putAgain(&o.Expiries, forget, func(x *Expiry) ExpiryKey { return x.Key })
	n += putAgain(&o.Wheres, forget, func(w *Where) task.Seq { return w.Seq })
	n += putOnce(&o.Idems, forget, func(e *Idem) IdemKey { return e.Key })
	n += putOnce(&o.IdemDues, forget, func(x *IdemDue) IdemDueKey { return x.Key })
	n += putOnce(&o.Briefs, forget, (*Idem).dueKey)
	n += plain(&o.BriefSpans, forget)
	n += putOnce(&o.Producers, forget, func(p *ProducerState) ProducerKey { return p.ProducerKey })
	n += putAgain(&o.Sessions, forget, func(s *SessionState) string { return s.Session })
	n += putOnce(&o.Dead, forget, func(d *DeadLetter) DeadKey { return d.Key })
	n += plain(&o.PurgeDead, forget)
	n += putOnce(&o.Finished, forget, func(f *Finished) FinishedKey { return f.Key })
	n += putOnce(&o.Segments, forget, func(s *Segment) uint32 { return s.Segment })
	n += putAgain(&o.Claims, forget, func(c *Claim) task.Seq { return c.Seq })
	n += putOnce(&o.Lists, forget, func(l *List) ListKey { return l.Key })
	return n
}

// Durable says whether there is anything to commit.
func (o *Output) Durable() bool { return o.MetaSet }

// Changed is how many records o puts and drops beside the meta record. If there are
// any, that is put too.
func (o *Output) Changed() int { return o.stored(false) }

// Reset empties o and keeps its memory.
func (o *Output) Reset() {
	o.stored(true)
	o.Batch, o.Now, o.Deadline, o.Spent, o.Meta, o.MetaSet = 0, 0, 0, false, Meta{}, false
	o.Leased, o.Ended, o.Revoked, o.Lapsed, o.Events = o.Leased[:0], o.Ended[:0], o.Revoked[:0], o.Lapsed[:0], o.Events[:0]
	o.Held = o.Held[:0]
	o.Wants, o.Deferred, o.Taken = o.Wants[:0], o.Deferred[:0], o.Taken[:0]
}

// Birth puts a new task's record at its birth key; a class of ClassTimed means
// it was born scheduled.
type Birth struct {
	Place    Place // Queue == Void: skip
	Slot     Slot
	Spec     *task.Spec
	Enqueued task.Time
	Expires  task.Time
	Deadline task.Time // the Spec's, by the wall clock
	Flags    Flags
}

// Source is where the immutable part of a task's record is found: the slot's
// cached bytes, or the record at Place, or a dead letter, or a finished record.
type Source struct {
	Slot     Slot
	Place    Place
	Dead     DeadKey     // Dead.Queue != 0: a dead letter
	Finished FinishedKey // Finished.Seq != 0: a finished record that kept its body
}

// Timed puts a task's record under a new timed key: a retry, a release with
// delay, a return. The body is copied from From and Attempt is appended.
type Timed struct {
	Place   Place // Queue == Void: skip
	Type    string
	Slot    Slot
	From    Source
	Counts  task.Counts
	Flags   Flags
	Expires task.Time
	Attempt *task.Attempt // nil: nothing to add
	Reset   bool          // forget earlier attempts
	Told    Told
}

// DeadKey names a dead letter.
type DeadKey struct {
	Queue    QueueNum
	Finished task.Time
	Seq      task.Seq
}

// DeadLetter puts a task among the dead letters, with its body.
type DeadLetter struct {
	Key     DeadKey
	Place   Place // where it stood; for a loaded one, its birth place
	Type    string
	Slot    Slot
	From    Source
	Counts  task.Counts
	Flags   Flags
	Reason  string
	Attempt *task.Attempt
	Told    Told
	Size    int // filled by the loader
}

// FinishedKey names a finished record.
type FinishedKey struct {
	Segment uint32
	Seq     task.Seq
}

// Finished puts the record of a task that has ended in a state other than dead.
type Finished struct {
	Key      FinishedKey
	State    task.State
	Place    Place // where it last stood
	Names    Names
	From     Source
	Flags    Flags
	Copy     bool // copy earlier attempts (and the birth place of a moved task) from From
	KeepBody bool // keep the body too, so that the task can be retried
	Counts   task.Counts
	Token    task.Token // finishing token; zero when no worker ended it
	Enqueued task.Time
	Started  task.Time
	Ended    task.Time
	Worker   string
	Reason   string
	Outcome  *task.Outcome // result, log; nil when no worker ended it
}

// Where tells where a moved task is now.
type Where struct {
	Seq   task.Seq
	Place Place   // live: a timed place
	Dead  DeadKey // Dead.Queue != 0: among the dead letters
}

// ExpiryKey names an entry of the index of how long tasks may wait, by machine time,
// or of the index of their deadlines, by the wall clock.
type ExpiryKey struct {
	At   task.Time
	Seq  task.Seq
	Wall bool // a deadline
}

// Expiry is an entry of one of these indexes; ID finds the task.
type Expiry struct {
	Key ExpiryKey
	ID  task.ID
}

// IdemKey names an idempotency entry.
type IdemKey struct {
	Queue QueueNum
	Hash  uint64
}

// Idem is an idempotency entry.
type Idem struct {
	Key     IdemKey
	Name    string // the whole key
	ID      task.ID
	Payload uint64 // hash of type and payload
	Until   task.Time
	Due     task.Time // when it is looked at: at Until, and later while its task lives
}

// IdemDueKey names an entry of the index by which idempotency entries end. No key
// is ever put twice.
type IdemDueKey struct {
	At  task.Time
	Seq task.Seq
}

// IdemDue is an entry of that index: which idempotency entry it is, and its task.
type IdemDue struct {
	Key       IdemDueKey
	Idem      IdemKey
	ID        task.ID
	NameBytes int // length of the idempotency key
}

// BriefSpan is all entries of Briefs that end from a moment on and before another.
type BriefSpan struct{ From, To task.Time }

// Claim is a durable lease: the task was running under this token.
type Claim struct {
	Seq         task.Seq
	Place       Place
	Token       task.Token
	Session     string
	Worker      string
	Concurrency int // of the session: of what it was given so many can have begun
	Started     task.Time
	LeaseEnd    task.Time // of a unary lease (Session is ""); 0 = a session's
}

// ListKey names a dispatch list: its writer's epoch, and which it was of his.
type ListKey struct{ Epoch, No uint32 }

// List tells what was dispatched and has no claim: by one Apply, or, in the place
// of earlier lists, what of them was still running.
type List struct {
	Key   ListKey
	Epoch uint32 // of the leases
	Nonce uint32
	At    task.Time
	Tasks []Dispatched
}

// Dispatched is one lease in a List. With the List's epoch and nonce it tells the
// whole token.
type Dispatched struct {
	Place    Place
	Dispatch uint32
	Slot     Slot
	Attempt  uint16
	Session  string // "" = none
	Started  task.Time
	LeaseEnd task.Time // of a lease without a session
}

// QueueState is a queue's record: settings and exact durable counts.
type QueueState struct {
	Queue     QueueNum
	Name      string
	Paused    bool
	Config    task.QueueConfig
	Births    int64 // live records in the birth class (waiting or running)
	Timed     int64 // live records in the timed class
	Dead      int64
	DeadBytes int64
	Enqueued  int64
	Succeeded int64
	DeadTotal int64
	Canceled  int64
	Expired   int64
	IdemBytes int64
	Earlier   []task.EarlierWidth // the last one first; never changed in place
	NextLane  LaneNum             // the number that a lane was given last; and lanesWrapped
	Sweep     bool                // chunks of large payloads may be left of tasks that are gone
	Used      task.Time           // when this record was put last; 0: before that was noted
	Set       bool                // somebody has set it, if only to what new queues have
}

// DropQueue deletes a queue's record. The flags say what else may stand under its
// number and goes too: idempotency entries, producer sessions, large payloads.
type DropQueue struct {
	Queue     QueueNum
	Idems     bool
	Producers bool
	Payloads  bool
}

// MarkKey names a lane's low-water marks.
type MarkKey struct {
	Queue QueueNum
	Prio  uint8
	Lane  LaneNum
}

// Mark is a lane's low-water marks: nothing live below them, and nothing is ever
// written below them.
type Mark struct {
	MarkKey
	Low      task.Seq
	TimedLow task.Time
}

// Segment is one stretch of history.
type Segment struct {
	Segment   uint32
	Retention task.Millis
	Low       task.Seq
	High      task.Seq
	Count     int64
	Bytes     int64
	Opened    task.Time
	Closed    task.Time // 0 = open
}

// NumberRange maps producer numbers to tasks: numbers First … First+N-1 got the
// IDs of ID with rising sequences.
type NumberRange struct {
	First uint64
	N     uint32
	ID    task.ID
}

// ProducerKey names a producer session in one queue.
type ProducerKey struct {
	Queue    QueueNum
	Producer string
}

// ProducerState is a producer session in one queue: the numbers it may repeat.
type ProducerState struct {
	ProducerKey
	Below   uint64 // numbers below are answered and never repeated
	Seen    task.Time
	Ranges  []NumberRange
	Evicted bool // it gave way to newer ones: only its name is left
}

// SessionState is an open worker session that outlives its connection.
type SessionState struct {
	Session     string
	Worker      string
	Concurrency int
	TTL         task.Millis
	AwayUntil   task.Time // a start found it away: until then its tasks are held; 0 = it is here
}

// Meta is the partition's own record.
type Meta struct {
	Now          task.Time   // machine time
	Offset       task.Millis // machine time less wall time
	Clean        bool        // the last owner handed over in order
	UncleanOpens int         // in a row within a minute of each other
	LastOpen     task.Time
	NextQueue    QueueNum
	NextSegment  uint32
	NextLoad     uint32
	Sweep        bool // where records may be left of tasks that are gone

	// Boot is the run of the computer under which Base is machine time less the time
	// since it was started; 0: not known.
	Boot uint64
	Base task.Millis
}

// Range is a stretch of a queue's records in one class: [From, To).
type Range struct {
	From Place
	To   Place
}

// SeqRange is a stretch of a queue's tasks by sequence: [From, To).
type SeqRange struct {
	Queue    QueueNum
	From, To task.Seq
}

// Leased is one dispatch. Exactly one of Lease (unary) and Session (a session's
// number, never 0) is set.
type Leased struct {
	Session     SessionNo
	Lease       *Lease
	Slot        Slot
	Place       Place
	Type        string
	Key         string
	Token       task.Token
	Attempt     uint32
	MaxAttempts int32
	Counts      task.Counts
	Flags       Flags
	Enqueued    task.Time
	Timeout     task.Millis
	Deadline    task.Time
	LeaseEnd    task.Time
}

// Ended says that a task is final or gone (StateUnknown), for those who watch.
type Ended struct {
	Seq   task.Seq
	State task.State
	Type  string
}

// Revoke tells a session that a lease has ended early.
type Revoke struct {
	Session SessionNo
	Token   task.Token
	Why     task.Code // Conflict: canceled; LeaseLost: lost
}
