package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/task"
)

// attempts are past attempts in bytes: each with its length before it, oldest
// first.
type attempts struct {
	n   int
	raw []byte
}

// read takes the section: length in bytes, count, entries.
func (a *attempts) read(r *reader) {
	in := reader{b: r.bytes()}
	a.n = int(in.number(task.AttemptsShownMax))
	a.raw = in.b
	for range a.n {
		in.bytes()
	}
	if r.bad || in.bad || len(in.b) > 0 {
		*a = attempts{}
		r.fail()
	}
}

// append writes the section with up to two more attempts; the oldest go when
// there are too many.
func (a *attempts) append(b []byte, more ...*task.Attempt) []byte {
	var tail []byte
	n := a.n
	for _, m := range more {
		if m != nil {
			tail = appendBytes(tail, appendAttempt(nil, m))
			n++
		}
	}
	old := reader{b: a.raw}
	for ; n > task.AttemptsShownMax; n-- {
		old.bytes()
	}
	b = binary.AppendUvarint(b, uint64(1+len(old.b)+len(tail)))
	b = append(b, byte(n))
	return append(append(b, old.b...), tail...)
}

func (a *attempts) appendTo(c Class, out []task.Attempt) ([]task.Attempt, error) {
	r := reader{b: a.raw}
	for range a.n {
		in := reader{b: r.bytes()}
		at := readAttempt(&in)
		if err := in.close(c); err != nil {
			return out, err
		}
		out = append(out, at)
	}
	return out, r.close(c)
}

func appendAttempt(b []byte, a *task.Attempt) []byte {
	b = append(b, 0, byte(a.Outcome)) // the first byte is a set of fields to come
	b = binary.AppendUvarint(b, uint64(a.Number))
	b = appendTime(appendTime(b, a.Started), a.Ended)
	return appendString(appendString(b, a.Worker), a.Error)
}

func readAttempt(r *reader) task.Attempt {
	r.bits8(0)
	a := task.Attempt{Outcome: task.AttemptOutcome(r.u8()), Number: uint32(r.number(1<<32 - 1))}
	if a.Outcome > task.AttemptCanceled {
		r.fail()
		r.high = true
	}
	a.Started, a.Ended = r.time(), r.time()
	a.Worker, a.Error = r.text(), r.text()
	return a
}
