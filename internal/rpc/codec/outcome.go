package codec

import (
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	outcomesSession = 1
	outcomesSeq     = 2
	outcomesEntries = 3

	outcomeToken      = 1
	outcomeKind       = 2
	outcomeResult     = 3
	outcomeResultType = 4
	outcomeError      = 5
	outcomePermanent  = 6
	outcomeDelay      = 7
	outcomeStarted    = 8
	outcomeLog        = 9

	codesSeq   = 1
	codesError = 2
	codesCodes = 3
)

// OutcomeBytes is about what o takes on the wire; never much less.
func OutcomeBytes(o *task.Outcome) int {
	return task.TokenBytes + len(o.Result) + len(o.ResultType) + len(o.Error) + len(o.Log) + 24
}

// OutcomeWriter appends one group of outcomes to a frame: Begin, Outcome…, End.
type OutcomeWriter struct{ mark, width int }

// Begin starts a group whose outcomes take about guess bytes.
func (w *OutcomeWriter) Begin(b []byte, session uint32, seq uint64, guess int) []byte {
	b, w.mark, w.width = open(b, PartOutcomes, guess+16)
	b = appendNonzero(b, outcomesSession, uint64(session))
	return appendNonzero(b, outcomesSeq, seq)
}

// Outcome appends one outcome.
func (w *OutcomeWriter) Outcome(b []byte, o *task.Outcome) []byte {
	b, mark, width := open(b, outcomesEntries, OutcomeBytes(o))
	b = appendToken(b, outcomeToken, o.Token)
	b = appendNonzero(b, outcomeKind, uint64(o.Kind))
	b = appendBytes(b, outcomeResult, o.Result)
	b = appendString(b, outcomeResultType, valid(o.ResultType))
	b = appendString(b, outcomeError, valid(o.Error))
	b = appendBool(b, outcomePermanent, o.Permanent)
	b = appendNonzero(b, outcomeDelay, protowire.EncodeZigZag(int64(o.Delay)))
	b = appendBool(b, outcomeStarted, o.Started)
	b = appendBytes(b, outcomeLog, o.Log)
	return shut(b, mark, width)
}

// End finishes the group.
func (w *OutcomeWriter) End(b []byte) []byte { return shut(b, w.mark, w.width) }

// DecodeOutcomes reads a group into b, of which only Outcomes' memory is used
// again. Results and logs alias body.
func DecodeOutcomes(body []byte, b *task.OutcomeBatch, names *Names) (session uint32, seq uint64, err error) {
	outs := b.Outcomes[:0]
	*b = task.OutcomeBatch{Codes: b.Codes[:0], Done: b.Done}
	f := fields{b: body}
	for f.next() {
		switch {
		case f.num == outcomesSession && f.is(wireVarint):
			session = uint32(f.v)
		case f.num == outcomesSeq && f.is(wireVarint):
			seq = f.v
		case f.num == outcomesEntries && f.is(wireBytes):
			if len(outs) == task.BatchMax {
				return session, seq, errTooMany
			}
			outs = append(outs, task.Outcome{})
			if err := decodeOutcome(f.p, &outs[len(outs)-1], names); err != nil {
				return session, seq, err
			}
		}
	}
	b.Outcomes = outs
	return session, seq, f.err()
}

func decodeOutcome(b []byte, o *task.Outcome, names *Names) error {
	f := fields{b: b}
	for f.next() {
		if f.wire == wireVarint {
			switch f.num {
			case outcomeKind:
				o.Kind = task.OutcomeKind(min(uint32(f.v), 255))
			case outcomePermanent:
				o.Permanent = f.v != 0
			case outcomeDelay:
				o.Delay = task.Millis(protowire.DecodeZigZag(f.v))
			case outcomeStarted:
				o.Started = f.v != 0
			}
			continue
		}
		switch f.num {
		case outcomeToken:
			t, ok := task.TokenFromBinary(f.p)
			if !ok {
				return errBadToken
			}
			o.Token = t
		case outcomeResult:
			o.Result = f.p
		case outcomeResultType:
			o.ResultType = names.Of(f.p, "")
		case outcomeError:
			o.Error = valid(string(f.p))
		case outcomeLog:
			o.Log = f.p
		}
	}
	return f.err()
}

// AppendOutcomeAnswer appends the answer to a group as a part of a frame.
func AppendOutcomeAnswer(b []byte, seq uint64, e *task.Error, codes []task.Code) []byte {
	b, mark, width := open(b, PartOutcomeAnswers, 16)
	b = appendNonzero(b, codesSeq, seq)
	if e != nil {
		b = appendError(b, codesError, e)
		return shut(b, mark, width)
	}
	for _, c := range codes {
		if c == task.OK {
			continue
		}
		b = appendTag(b, codesCodes, wireBytes)
		b = appendLen(b, len(codes))
		for _, c := range codes {
			b = append(b, byte(c))
		}
		break
	}
	return shut(b, mark, width)
}

// OutcomeAnswer is the answer to one group of outcomes.
type OutcomeAnswer struct {
	Seq   uint64
	Err   *task.Error
	Codes []byte // empty = all OK; aliases the frame
}

// DecodeOutcomeAnswer reads an answer.
func DecodeOutcomeAnswer(body []byte) (OutcomeAnswer, error) {
	var a OutcomeAnswer
	f := fields{b: body}
	for f.next() {
		switch {
		case f.num == codesSeq && f.is(wireVarint):
			a.Seq = f.v
		case f.num == codesError && f.is(wireBytes):
			e, err := decodeError(f.p)
			if err != nil {
				return a, err
			}
			a.Err = e
		case f.num == codesCodes && f.is(wireBytes):
			a.Codes = f.p
		}
	}
	return a, f.err()
}
