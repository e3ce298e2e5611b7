package codec

import (
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// Field numbers of the frames' parts.
const (
	PartHello      = 1 // ClientFrame
	PartAttaches   = 2
	PartOutcomes   = 3
	PartCredits    = 4
	PartHeartbeats = 5
	PartProgress   = 6
	PartEnqueues   = 7
	PartWatches    = 8
	PartUnwatches  = 9
	PartDetaches   = 10

	PartWelcome          = 1 // ServerFrame
	PartAttached         = 2
	PartOutcomeAnswers   = 3
	PartEnqueueAnswers   = 4
	PartDeliveries       = 5
	PartHeartbeatAnswers = 6
	PartRevoked          = 7
	PartLost             = 8
	PartWatchResults     = 9
	PartDetached         = 10
	PartGoAway           = 11
)

const (
	groupSeq         = 1
	groupQueue       = 2
	groupProducer    = 3
	groupFirstNumber = 4
	groupAckBelow    = 5
	groupTasks       = 6

	answerSeq   = 1
	answerError = 2
	answerRuns  = 3

	runCount    = 1
	runFirstID  = 2
	runExisting = 3
	runError    = 4

	errorCode           = 1
	errorText           = 2
	errorAppliedUnknown = 3
)

// EnqueueGroup is the head of an EnqueueGroup on the wire.
type EnqueueGroup struct {
	Seq         uint64
	Queue       string
	Producer    string // "" = the stream's
	FirstNumber uint64 // 0: the specs' own numbers are written
	AckBelow    uint64
}

// EnqueueWriter appends one group to a frame: Begin, Spec…, End.
type EnqueueWriter struct {
	memo        policyMemo
	mark, width int
	own         bool
}

// Begin starts a group whose specs take about guess bytes.
func (w *EnqueueWriter) Begin(b []byte, g *EnqueueGroup, guess int) []byte {
	b, w.mark, w.width = open(b, PartEnqueues, guess+len(g.Queue)+len(g.Producer)+16)
	b = appendNonzero(b, groupSeq, g.Seq)
	b = appendString(b, groupQueue, g.Queue)
	b = appendString(b, groupProducer, g.Producer)
	b = appendNonzero(b, groupFirstNumber, g.FirstNumber)
	b = appendNonzero(b, groupAckBelow, g.AckBelow)
	w.own = g.FirstNumber == 0
	return b
}

// Spec appends one task.
func (w *EnqueueWriter) Spec(b []byte, s *task.Spec) []byte {
	return appendSpec(b, groupTasks, s, w.own, &w.memo)
}

// End finishes the group.
func (w *EnqueueWriter) End(b []byte) []byte { return shut(b, w.mark, w.width) }

// DecodeEnqueue reads a group into b, of which only Specs' memory is used
// again, and returns its seq. Payloads alias body. An empty Producer stays
// empty.
func DecodeEnqueue(body []byte, b *task.EnqueueBatch, names *Names) (seq uint64, err error) {
	specs := b.Specs[:0]
	*b = task.EnqueueBatch{Results: b.Results[:0], Done: b.Done}
	var none task.Spec
	last := &none
	var first uint64
	f := fields{b: body}
	for f.next() {
		if f.wire == wireVarint {
			switch f.num {
			case groupSeq:
				seq = f.v
			case groupFirstNumber:
				first = f.v
			case groupAckBelow:
				b.AckBelow = f.v
			}
			continue
		}
		switch f.num {
		case groupQueue:
			b.Queue = names.Of(f.p, "")
		case groupProducer:
			b.Producer = names.Of(f.p, "")
		case groupTasks:
			if len(specs) == task.BatchMax {
				return seq, errTooMany
			}
			specs = append(specs, task.Spec{})
			s := &specs[len(specs)-1]
			if err := decodeSpec(f.p, s, last, names); err != nil {
				return seq, err
			}
			last = s
		}
	}
	b.Specs = specs
	if first != 0 {
		for i := range specs {
			if specs[i].Number == 0 {
				specs[i].Number = first + uint64(i)
			}
		}
	}
	return seq, f.err()
}

// AppendEnqueueAnswer appends the answer to a group as a part of a frame.
func AppendEnqueueAnswer(b []byte, seq uint64, e *task.Error, results []task.Enqueued) []byte {
	b, mark, width := open(b, PartEnqueueAnswers, 48)
	b = appendNonzero(b, answerSeq, seq)
	if e != nil {
		b = appendError(b, answerError, e)
		return shut(b, mark, width)
	}
	for i := 0; i < len(results); {
		n := runLength(results[i:])
		b = appendRun(b, n, &results[i])
		i += n
	}
	return shut(b, mark, width)
}

// runLength is how many results from the first on one run can tell.
func runLength(rs []task.Enqueued) int {
	first := &rs[0]
	if first.Err != nil {
		n := 1
		for n < len(rs) && rs[n].Err != nil && *rs[n].Err == *first.Err {
			n++
		}
		return n
	}
	want := first.ID
	n := 1
	for n < len(rs) {
		want.Seq++
		r := &rs[n]
		if r.Err != nil || r.Existing != first.Existing || r.ID != want {
			break
		}
		n++
	}
	return n
}

func appendRun(b []byte, n int, r *task.Enqueued) []byte {
	b, mark, width := open(b, answerRuns, 32)
	b = appendNonzero(b, runCount, uint64(n))
	if r.Err != nil {
		b = appendError(b, runError, r.Err)
		return shut(b, mark, width)
	}
	b = appendID(b, runFirstID, r.ID)
	b = appendBool(b, runExisting, r.Existing)
	return shut(b, mark, width)
}

func appendID(b []byte, num int, id task.ID) []byte {
	if id.IsZero() {
		return b
	}
	b, mark, width := open(b, num, 16)
	b = id.AppendBinary(b)
	return shut(b, mark, width)
}

func appendToken(b []byte, num int, t task.Token) []byte {
	b = append(appendTag(b, num, wireBytes), task.TokenBytes)
	return t.AppendBinary(b)
}

func appendError(b []byte, num int, e *task.Error) []byte {
	b, mark, width := open(b, num, len(e.Text)+16)
	b = appendString(b, errorCode, e.Code.String())
	b = appendString(b, errorText, valid(e.Text))
	b = appendBool(b, errorAppliedUnknown, e.Applied == task.AppliedUnknown)
	return shut(b, mark, width)
}

// EnqueueAnswer reads an answer run by run.
type EnqueueAnswer struct {
	Seq uint64
	Err *task.Error // the group as a whole
	f   fields

	Count    int // the run: so many tasks
	ID       task.ID
	Existing bool
	RunErr   *task.Error
}

// DecodeEnqueueAnswer reads the head of an answer; Next walks its runs.
func DecodeEnqueueAnswer(body []byte) (EnqueueAnswer, error) {
	var a EnqueueAnswer
	f := fields{b: body}
	for f.next() {
		switch {
		case f.num == answerSeq && f.is(wireVarint):
			a.Seq = f.v
		case f.num == answerError && f.is(wireBytes):
			e, err := decodeError(f.p)
			if err != nil {
				return a, err
			}
			a.Err = e
		}
	}
	a.f.b = body
	return a, f.err()
}

// Next moves to the next run.
func (a *EnqueueAnswer) Next() (bool, error) {
	for a.f.next() {
		if a.f.num == answerRuns && a.f.is(wireBytes) {
			return true, a.run(a.f.p)
		}
	}
	return false, a.f.err()
}

func (a *EnqueueAnswer) run(b []byte) error {
	a.Count, a.ID, a.Existing, a.RunErr = 0, task.ID{}, false, nil
	f := fields{b: b}
	for f.next() {
		switch {
		case f.num == runCount && f.is(wireVarint):
			a.Count = int(uint32(f.v))
		case f.num == runExisting && f.is(wireVarint):
			a.Existing = f.v != 0
		case f.num == runFirstID && f.is(wireBytes):
			id, ok := task.IDFromBinary(f.p)
			if !ok {
				return errBadID
			}
			a.ID = id
		case f.num == runError && f.is(wireBytes):
			e, err := decodeError(f.p)
			if err != nil {
				return err
			}
			a.RunErr = e
		}
	}
	return f.err()
}

func decodeError(b []byte) (*task.Error, error) {
	var m pb.Error
	if err := proto.Unmarshal(b, &m); err != nil {
		return nil, err
	}
	return ErrorFromProto(&m), nil
}
