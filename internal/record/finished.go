package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A finished record is
//
//	version 1 · state 1 · flags 1 · fields 2 · place · enqueued 6 · ended 6 · type · the fields named
//
// It says of the token only what key and place don't.
const (
	finStarted uint16 = 1 << iota
	finToken
	finCounts
	finWorker
	finReason
	finResult
	finResultType
	finLog
	finBorn
	finAttempts
	finDeadline // these three: kept for a retry
	finPolicy
	finBody
	finKey
	finLimits

	finKnown = 1<<iota - 1
)

// AppendFinished appends the record of a task that has ended. old is the bytes of
// the record that f.From names; it is looked at only with f.Copy or f.KeepBody.
func AppendFinished(b, old []byte, f *queue.Finished) ([]byte, error) {
	var v view
	if f.Copy || f.KeepBody {
		if err := v.from(ClassFinished, &f.From, old); err != nil {
			return b, err
		}
	}
	has := finishedFields(f, &v)
	b = append(b, version, byte(f.State), byte(f.Flags), byte(has>>8), byte(has))
	b = appendPlace(b, f.Place)
	b = appendTime(appendTime(b, f.Enqueued), f.Ended)
	b = appendString(b, f.Names.Type)
	if f.Started != 0 {
		b = appendTime(b, f.Started)
	}
	if has&finToken != 0 {
		b = appendToken(b, &f.Token)
	}
	if has&finCounts != 0 {
		b = appendCounts(b, f.Counts)
	}
	if f.Worker != "" {
		b = appendString(b, f.Worker)
	}
	if f.Reason != "" {
		b = appendString(b, f.Reason)
	}
	if has&finResult != 0 {
		b = appendBytes(b, f.Outcome.Result)
	}
	if has&finResultType != 0 {
		b = appendString(b, f.Outcome.ResultType)
	}
	if has&finLog != 0 {
		b = appendBytes(b, f.Outcome.Log)
	}
	if has < finBorn {
		return b, nil
	}
	b = appendKept(b, has, &v)
	if has&finKey != 0 {
		b = appendString(b, f.Names.Key)
	}
	if has&finLimits != 0 {
		b = appendStrings(b, f.Names.Limits)
	}
	return b, nil
}

func finishedFields(f *queue.Finished, v *view) uint16 {
	var has uint16
	if f.Started != 0 {
		has |= finStarted
	}
	if f.Token != (task.Token{}) {
		has |= finToken
	}
	if f.Counts != (task.Counts{}) {
		has |= finCounts
	}
	if f.Worker != "" {
		has |= finWorker
	}
	if f.Reason != "" {
		has |= finReason
	}
	if o := f.Outcome; o != nil {
		if len(o.Result) > 0 {
			has |= finResult
		}
		if o.ResultType != "" {
			has |= finResultType
		}
		if len(o.Log) > 0 {
			has |= finLog
		}
	}
	if v.moved && (f.Flags&queue.FlagMoved != 0 || v.born != f.Place) {
		has |= finBorn
	}
	if f.Copy && (v.attempts.n > 0 || v.last != nil) {
		has |= finAttempts
	}
	if f.Names.Key != "" {
		has |= finKey
	}
	if f.KeepBody {
		has |= finBody
		if len(f.Names.Limits) > 0 {
			has |= finLimits
		}
		if v.deadline != 0 {
			has |= finDeadline
		}
		if len(v.policy) > 0 {
			has |= finPolicy
		}
	}
	return has
}

func appendKept(b []byte, has uint16, v *view) []byte {
	if has&finBorn != 0 {
		b = appendPlace(b, v.born)
	}
	if has&finAttempts != 0 {
		b = v.attempts.append(b, v.last)
	}
	if has&finDeadline != 0 {
		b = appendTime(b, v.deadline)
	}
	if has&finPolicy != 0 {
		b = appendBytes(b, v.policy)
	}
	if has&finBody != 0 {
		b = appendBytes(b, v.body)
	}
	return b
}

func appendToken(b []byte, t *task.Token) []byte {
	b = binary.BigEndian.AppendUint16(b, t.Attempt)
	b = binary.BigEndian.AppendUint32(b, t.Epoch)
	b = binary.BigEndian.AppendUint32(b, t.Nonce)
	b = binary.BigEndian.AppendUint32(b, t.Slot)
	return binary.BigEndian.AppendUint32(b, t.Dispatch)
}

// readToken fills in what the key and the place say.
func readToken(r *reader, p uint16, queueNum queue.QueueNum, seq task.Seq) task.Token {
	return task.Token{
		Partition: p, Queue: uint32(queueNum), Seq: seq,
		Attempt: r.u16(), Epoch: r.u32(), Nonce: r.u32(), Slot: r.u32(), Dispatch: r.u32(),
	}
}

// finishedView is a finished record with its larger parts still in bytes.
type finishedView struct {
	state                    task.State
	flags                    queue.Flags
	place                    queue.Place // without its Seq
	enqueued, ended, started task.Time
	typ, key, limits         []byte
	hasToken                 bool
	token                    task.Token // without partition and seq
	counts                   task.Counts
	worker, reason           []byte
	result, resultType, log  []byte
	born                     queue.Place
	attempts                 attempts
	deadline                 task.Time
	policy, body             []byte
	moved                    bool
}

func (f *finishedView) parse(value []byte) error {
	r := open(value)
	f.state = task.State(r.u8())
	if f.state > task.Expired {
		r.fail()
		r.high = true
	} else if !f.state.Final() {
		r.fail()
	}
	f.flags = queue.Flags(r.bits8(byte(flagsKnown)))
	has := r.bits16(finKnown)
	f.place = readPlace(&r)
	f.enqueued, f.ended = r.time(), r.time()
	f.typ = r.bytes()
	if has&finStarted != 0 {
		f.started = r.time()
	}
	if has&finToken != 0 {
		f.hasToken, f.token = true, readToken(&r, 0, f.place.Queue, 0)
	}
	if has&finCounts != 0 {
		f.counts = readCounts(&r)
	}
	take := func(bit uint16) []byte {
		if has&bit != 0 {
			return r.bytes()
		}
		return nil
	}
	f.worker, f.reason = take(finWorker), take(finReason)
	f.result, f.resultType, f.log = take(finResult), take(finResultType), take(finLog)
	if f.born = f.place; has&finBorn != 0 {
		f.born, f.moved = readPlace(&r), true
	}
	if has&finAttempts != 0 {
		f.attempts.read(&r)
	}
	if has&finDeadline != 0 {
		f.deadline = r.time()
	}
	f.policy, f.body = take(finPolicy), take(finBody)
	f.key = take(finKey)
	if has&finLimits != 0 {
		f.limits = readStrings(&r)
	}
	if err := r.close(ClassFinished); err != nil || has&finBody == 0 {
		return err
	}
	in := reader{b: f.body}
	return checkBody(&in, ClassFinished)
}

// view is what a retry starts from.
func (f *finishedView) view() view {
	return view{
		flags: f.flags, typ: f.typ, key: f.key, limits: f.limits, enqueued: f.enqueued, deadline: f.deadline, policy: f.policy, counts: f.counts,
		born: f.born, moved: true, attempts: f.attempts, last: f.last(), body: f.body,
	}
}

// last is the attempt that ended with the task, or nil.
func (f *finishedView) last() *task.Attempt {
	if f.started == 0 {
		return nil
	}
	a := &task.Attempt{Number: uint32(f.token.Attempt), Started: f.started, Ended: f.ended, Outcome: task.AttemptCanceled, Worker: string(f.worker)}
	if !f.hasToken {
		a.Number = f.counts.Failures + f.counts.Crashes + 1
	}
	if f.state == task.Succeeded {
		a.Outcome = task.AttemptSucceeded
	}
	return a
}

// Finished reads a finished record for the machine. f.Outcome, f.From, f.Copy are
// left as they are; KeepBody says whether there is a body.
func (d *Decoder) Finished(key, value []byte, f *queue.Finished) error {
	k, err := ParseFinishedKey(key)
	if err != nil {
		return err
	}
	var v finishedView
	if err := v.parse(value); err != nil {
		return err
	}
	v.place.Seq = k.Seq
	f.Key, f.State, f.Place, f.Flags, f.KeepBody, f.Counts = k, v.state, v.place, v.flags, v.body != nil, v.counts
	f.Enqueued, f.Started, f.Ended = v.enqueued, v.started, v.ended
	f.Names = queue.Names{Type: d.shared(v.typ), Key: d.shared(v.key)}
	f.Worker, f.Reason, f.Token = string(v.worker), string(v.reason), task.Token{}
	if v.hasToken {
		f.Token = v.token
		f.Token.Partition, f.Token.Seq = binary.BigEndian.Uint16(key), k.Seq
	}
	return nil
}
