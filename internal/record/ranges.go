package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What of a range of numbers is not as the one before would have it, did it go on:
// its first number, how many there are (1), and what its first task's ID says.
const (
	rangeFirst = 1 << iota
	rangeMany
	rangeClass
	rangeLane
	rangeDue
	rangeSeq
	rangeKnown = 1<<iota - 1
)

// appendRanges appends ranges of one queue and partition. Tasks with keys of their own
// are a range each, most often of the next number and sequence in a lane nearby: that
// is three bytes.
func appendRanges(b []byte, rs []queue.NumberRange) []byte {
	b = binary.AppendUvarint(b, uint64(len(rs)))
	if len(rs) == 0 {
		return b
	}
	b = appendID(b, rs[0].ID)
	next := queue.NumberRange{ID: rs[0].ID}
	for i := range rs {
		n := &rs[i]
		at := len(b)
		b = append(b, 0)
		note := func(differs bool, bit byte) bool {
			if differs {
				b[at] |= bit
			}
			return differs
		}
		if note(n.First != next.First, rangeFirst) {
			b = binary.AppendUvarint(b, n.First-next.First)
		}
		if note(n.N != 1, rangeMany) {
			b = binary.AppendUvarint(b, uint64(n.N))
		}
		id, was := &n.ID, &next.ID
		if note(id.Class != was.Class || id.Priority != was.Priority, rangeClass) {
			b = append(b, byte(id.Class), id.Priority)
		}
		if note(id.Lane != was.Lane, rangeLane) {
			b = binary.AppendVarint(b, int64(id.Lane)-int64(was.Lane))
		}
		if note(id.Due != was.Due, rangeDue) {
			b = binary.AppendVarint(b, int64(id.Due-was.Due))
		}
		if note(id.Seq != was.Seq, rangeSeq) {
			b = binary.AppendVarint(b, int64(id.Seq-was.Seq))
		}
		next = behind(n)
	}
	return b
}

// behind is what the range after n is, if it goes on.
func behind(n *queue.NumberRange) queue.NumberRange {
	next := queue.NumberRange{First: n.First + uint64(n.N), ID: n.ID}
	next.ID.Seq += task.Seq(n.N)
	return next
}

func readRanges(r *reader) []queue.NumberRange {
	count := r.number(uint64(len(r.b)))
	if count == 0 {
		return nil
	}
	rs := make([]queue.NumberRange, count)
	next := queue.NumberRange{ID: readID(r)}
	for i := range rs {
		n := &rs[i]
		*n = next
		n.N = 1
		flags := r.bits8(rangeKnown)
		if flags&rangeFirst != 0 {
			n.First += r.uvarint()
		}
		if flags&rangeMany != 0 {
			n.N = readU32(r)
		}
		if flags&rangeClass != 0 {
			n.ID.Class, n.ID.Priority = task.Class(r.u8()), r.u8()
		}
		if flags&rangeLane != 0 {
			n.ID.Lane = uint32(int64(n.ID.Lane) + r.varint())
		}
		if flags&rangeDue != 0 {
			n.ID.Due += task.Time(r.varint())
		}
		if flags&rangeSeq != 0 {
			n.ID.Seq += task.Seq(r.varint())
		}
		next = behind(n)
	}
	return rs
}
