package sim

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/task"
)

// sent is a task that a producer asked for, under the key that is its payload.
type sent struct {
	key   string
	queue string
	spec  task.Spec
	times int

	purged bool // perhaps
	echo   bool // its key is used again: there may be several tasks of it

	at                  task.Time // when it was made
	lost                int       // clocks.lost at that time
	firstSent, lastSent task.Time
	deadline            task.Time // the last one asked for
}

// known is what has been seen of one task.
type known struct {
	id        task.ID
	key       string
	acked     bool
	ackedAt   int             // step
	at        task.Time       // likewise
	seen      []task.Delivery // in the order of arrival
	outcomes  []told
	canceled  int  // 1 = perhaps, 2 = surely
	deleted   int  // likewise
	purged    bool // surely; see sent
	retried   bool
	completed *told      // the first completion that was accepted
	held      *hold      // the last lease
	shakes    int        // when that was given
	saidUnder task.Token // the lease under which an outcome was sent last,
	saidAt    task.Time  // and when the first under it was
	notBefore task.Time  // when a retry that was asked for may come
	shown     task.State // by the last read
	endedBy   task.Time  // when an end that was accepted was on its way; 0 = none is known
}

// told is an outcome that was reported, and what came back.
type told struct {
	task.Outcome
	code   task.Code
	known  bool      // an answer came
	answer int       // number of the event
	at     task.Time // when it was decided
}

// ledger is all that could be seen from outside, and what checkers cried.
type ledger struct {
	step     int
	events   int
	sent     map[string]*sent
	tasks    map[task.ID]*known
	order    []*known
	byKey    map[string]task.ID
	bySeq    map[uint64]*known // partition and sequence, for tokens
	firsts   []task.Delivery   // first deliveries before the drain, for the order
	repeats  int               // enqueues that were answered to a repeat
	unnamed  map[string]int64  // by queue: tasks that nobody was told of and that have no payload any more
	purges   map[string]int    // by queue
	purged   map[string]int64  // by queue, what the purges counted
	gone     map[string]int64  // by queue, tasks known that are missing at the end for a purge
	unsure   map[string]bool   // by queue: a purge was not answered, or deletes took part of it
	forgets  bool              // what has ended is not kept for long
	leapt    bool              // a start could not know how much time had passed
	stepped  bool              // the clock on the wall was set
	draining bool              // those who had tasks before it are gone
	held     bool              // the clock is moved by the world alone, and never set
	calm     bool
	cries    []string
	sum      uint64
	log      func(format string, args ...any)
	now      func() task.Time
}

func newLedger() *ledger {
	return &ledger{sent: map[string]*sent{}, tasks: map[task.ID]*known{}, byKey: map[string]task.ID{}, bySeq: map[uint64]*known{}, unnamed: map[string]int64{},
		purges: map[string]int{}, purged: map[string]int64{}, gone: map[string]int64{}, unsure: map[string]bool{},
		now: func() task.Time { return 0 }}
}

// cry notes a broken promise under the name of the checker that saw it.
func (l *ledger) cry(checker, format string, args ...any) {
	if len(l.cries) < 20 {
		l.cries = append(l.cries, fmt.Sprintf("%s: step %d: ", checker, l.step)+fmt.Sprintf(format, args...))
	}
}

// note adds an event to the sum, so that two runs can be compared.
func (l *ledger) note(args ...any) {
	l.events++
	l.log("  %v", args)
	h := fnv.New64a()
	fmt.Fprint(h, l.sum, l.step)
	fmt.Fprintln(h, args...)
	l.sum = h.Sum64()
}

func seqKey(partition uint16, s task.Seq) uint64 { return uint64(partition)<<48 ^ uint64(s) }

// taskOf finds what is known of a task, beginning it when it is new.
func (l *ledger) taskOf(id task.ID, key string) *known {
	k := l.tasks[id]
	if k == nil {
		k = &known{id: id, key: key}
		l.tasks[id] = k
		l.order = append(l.order, k)
		l.bySeq[seqKey(id.Partition, id.Seq)] = k
	}
	return k
}

// acked: a producer was told that x is task r.ID, durably.
func (l *ledger) acked(x *sent, r task.Enqueued) {
	l.note("acked", x.key, r.ID, r.Existing)
	l.same(r.ID, x.key)
	k := l.taskOf(r.ID, x.key)
	if !k.acked {
		k.acked, k.ackedAt, k.at = true, l.step, l.now()
	}
	if r.Existing {
		l.repeats++
	}
}

// same holds that one key is one task: checker "duplicated".
func (l *ledger) same(id task.ID, key string) {
	if other, ok := l.byKey[key]; ok && other != id && !l.sent[key].echo {
		l.cry("duplicated", "%s is both %v and %v", key, other, id)
	}
	l.byKey[key] = id
	if k := l.tasks[id]; k != nil && k.key != key {
		l.cry("duplicated", "%v is both %s and %s", id, k.key, key)
	}
}

// delivered: a worker got d.
func (l *ledger) delivered(d task.Delivery, who string) {
	key := keyOf(d.Payload)
	l.note("delivered", d.ID, d.Token, who)
	x := l.sent[key]
	if x == nil || len(x.spec.Payload) != len(d.Payload) || x.queue != d.Queue || x.spec.Type != d.Type || x.spec.Priority != d.Priority {
		l.cry("unexpected", "%s got task %v of queue %q with payload %q, which nobody sent", who, d.ID, d.Queue, key)
		return
	}
	l.same(d.ID, key)
	k := l.taskOf(d.ID, key)
	if k.completed != nil {
		l.cry("twice", "%s got %s after it was completed under fence %d", who, key, k.completed.Token.Fence())
	}
	if k.purged {
		l.cry("purged", "%s got %s after it was purged", who, key)
	}
	if n := len(k.seen); n > 0 && k.seen[n-1].Token.Fence() >= d.Token.Fence() {
		l.cry("fence", "%s: the fencing number does not rise: %d after %d", key, d.Token.Fence(), k.seen[n-1].Token.Fence())
	}
	if d.Attempt != d.Counts.Failures+d.Counts.Crashes+1 {
		l.cry("fence", "%s: attempt %d with %+v", key, d.Attempt, d.Counts)
	}
	if l.calm && !l.draining && d.Counts.Crashes > 0 {
		l.cry("crash", "%s: %d crashes are counted, and no worker has crashed", key, d.Counts.Crashes)
	}
	l.early(k, d)
	if len(k.seen) == 0 && !l.draining {
		l.firsts = append(l.firsts, d)
	}
	k.seen = append(k.seen, d)
}

// decided: a worker will report o for d.
func (l *ledger) decided(d task.Delivery, o task.Outcome) {
	k := l.tasks[d.ID]
	t := told{Outcome: o}
	if l.held {
		t.at = l.now()
	}
	k.outcomes = append(k.outcomes, t)
}

// reported: a report was answered.
func (l *ledger) reported(b *task.OutcomeBatch) {
	l.events++
	for i := range b.Outcomes {
		o := &b.Outcomes[i]
		k := l.bySeq[seqKey(o.Token.Partition, o.Token.Seq)]
		if b.Err != nil || k == nil {
			continue
		}
		l.note("reported", o.Token, o.Kind, b.Codes[i])
		l.answered(k, o, b.Codes[i])
	}
}

func (l *ledger) answered(k *known, o *task.Outcome, code task.Code) {
	for i := range k.outcomes {
		t := &k.outcomes[i]
		if t.Token != o.Token || t.Kind != o.Kind {
			continue
		}
		t.known, t.code, t.answer = true, code, l.events
		k.stands(l, t)
		if code != task.OK || o.Kind != task.OutcomeComplete {
			continue
		}
		if k.completed == nil {
			k.completed = t
		} else if k.completed.Token != t.Token {
			l.cry("twice", "%s was completed under fence %d and again under fence %d", k.key, k.completed.Token.Fence(), t.Token.Fence())
		}
	}
}

// stands holds that what was acknowledged under a lease is the last that is: checker
// "stands". A release without a delay is nowhere written, and a retry begins anew.
func (k *known) stands(l *ledger, t *told) {
	for i := range k.outcomes {
		o := &k.outcomes[i]
		if o.Token == t.Token && o.Kind != t.Kind && o.known && o.code == task.OK && t.code == task.OK && !k.retried &&
			!(o.Kind == task.OutcomeRelease && o.Delay == 0) {
			l.cry("stands", "%s: kind %d was acknowledged under fence %d, and then kind %d", k.key, o.Kind, o.Token.Fence(), t.Kind)
		}
	}
}

// anyID is one of the tasks known.
func (l *ledger) anyID(r *rand.Rand) (task.ID, bool) {
	if len(l.order) == 0 {
		return task.ID{}, false
	}
	return l.order[r.IntN(len(l.order))].id, true
}

// changing: a change is on its way. It may take effect whatever is heard of it.
func (l *ledger) changing(id task.ID, v task.Verb) {
	k := l.tasks[id]
	switch v {
	case task.VerbRetry:
		k.retried = true
	case task.VerbCancel:
		k.canceled = max(k.canceled, 1)
	default:
		k.deleted = max(k.deleted, 1)
	}
}

// changed: a change was answered.
func (l *ledger) changed(id task.ID, v task.Verb, err error) {
	k := l.tasks[id]
	l.note("changed", id, v, task.CodeOf(err))
	switch code := task.CodeOf(err); {
	case v == task.VerbCancel && code == task.OK:
		k.canceled = 2
		if k.completed != nil {
			l.cry("ended", "%s was canceled after it was completed", k.key)
		}
	case v == task.VerbDelete && code == task.OK:
		k.deleted = 2
	case code == task.NotFound && (k.deleted > 0 || l.sent[k.key].purged || l.forgets):
	case code == task.NotFound:
		l.cry("lost", "%s (%v) is not found by a change", k.key, id)
	case code != task.OK && code != task.Conflict && code != task.Unavailable:
		l.cry("answer", "a change of %s got %v", k.key, err)
	}
}
