// Package codec turns the session stream's frames into task types and back: a
// hand-written encoding of the same protobuf bytes that the generated code
// reads, without a struct a task. It also converts the cool messages. Its one
// rule: whatever it writes, generated code reads as the same message.
package codec

import (
	"encoding/binary"
	"errors"
	"math/bits"

	"google.golang.org/protobuf/encoding/protowire"
)

const (
	wireVarint = 0
	wireBytes  = 2
)

var errTruncated = errors.New("frame is cut short or not protobuf")

func appendVarint(b []byte, num int, v uint64) []byte {
	b = appendTag(b, num, wireVarint)
	return binary.AppendUvarint(b, v)
}

// appendNonzero leaves out what proto3 leaves out.
func appendNonzero(b []byte, num int, v uint64) []byte {
	if v == 0 {
		return b
	}
	return appendVarint(b, num, v)
}

func appendBool(b []byte, num int, v bool) []byte {
	if !v {
		return b
	}
	return append(appendTag(b, num, wireVarint), 1)
}

func appendString(b []byte, num int, s string) []byte {
	if s == "" {
		return b
	}
	return appendEntry(b, num, s)
}

func appendBytes(b []byte, num int, p []byte) []byte {
	if len(p) == 0 {
		return b
	}
	b = appendTag(b, num, wireBytes)
	b = binary.AppendUvarint(b, uint64(len(p)))
	return append(b, p...)
}

// appendEntry is for entries of a repeated field, where empty ones count.
func appendEntry(b []byte, num int, s string) []byte {
	b = appendTag(b, num, wireBytes)
	b = binary.AppendUvarint(b, uint64(len(s)))
	return append(b, s...)
}

func appendTag(b []byte, num, wire int) []byte {
	if num < 16 {
		return append(b, byte(num<<3|wire))
	}
	return binary.AppendUvarint(b, uint64(num)<<3|uint64(wire))
}

// open begins a nested message and leaves room for its length, as many bytes
// as a length of guess takes. shut fills it in; only a guess of the wrong width
// costs a move.
func open(b []byte, num, guess int) (out []byte, mark, width int) {
	b = appendTag(b, num, wireBytes)
	mark, width = len(b), varintLen(uint64(guess))
	return append(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[:width]...), mark, width
}

func shut(b []byte, mark, width int) []byte {
	n := len(b) - mark - width
	need := varintLen(uint64(n))
	if need != width {
		if need > width {
			b = append(b, "\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"[:need-width]...)
		}
		copy(b[mark+need:], b[mark+width:mark+width+n])
		b = b[:mark+need+n]
	}
	binary.PutUvarint(b[mark:mark+need], uint64(n))
	return b
}

func varintLen(v uint64) int { return (bits.Len64(v|1) + 6) / 7 }

// fields walks over one message. After next says true, num and wire tell the
// field and the value stands in v or p.
type fields struct {
	b    []byte
	num  int
	wire int
	v    uint64
	p    []byte
	bad  bool
}

// next moves to the next field whose wire type is varint or bytes, the only
// ones penstock.v1 uses; others are unknown fields and are skipped.
func (f *fields) next() bool {
	for len(f.b) > 0 {
		tag, n := uvarint(f.b)
		if n <= 0 {
			return f.fail()
		}
		num := tag >> 3
		if num < 1 || num > uint64(protowire.MaxValidNumber) {
			return f.fail()
		}
		f.num, f.wire = int(num), int(tag&7)
		b := f.b[n:]
		switch f.wire {
		case wireVarint:
			f.v, n = uvarint(b)
			if n <= 0 {
				return f.fail()
			}
			f.b = b[n:]
			return true
		case wireBytes:
			l, n := uvarint(b)
			if n <= 0 || l > uint64(len(b)-n) {
				return f.fail()
			}
			end := n + int(l)
			f.p = b[n:end:end]
			f.b = b[end:]
			return true
		}
		n = protowire.ConsumeFieldValue(protowire.Number(num), protowire.Type(f.wire), b)
		if n < 0 {
			return f.fail()
		}
		f.b = b[n:]
	}
	return false
}

func (f *fields) fail() bool {
	f.bad = true
	f.b = nil
	return false
}

func (f *fields) err() error {
	if f.bad {
		return errTruncated
	}
	return nil
}

// is says whether the current field is num with the wire type wanted; known
// fields of another wire type are unknown fields.
func (f *fields) is(wire int) bool { return f.wire == wire }

func uvarint(b []byte) (uint64, int) {
	if len(b) > 0 && b[0] < 0x80 {
		return uint64(b[0]), 1
	}
	return protowire.ConsumeVarint(b)
}

// Parts walks over the parts of a frame: its top-level fields.
type Parts struct{ f fields }

// NewParts begins at the first part of frame.
func NewParts(frame []byte) Parts { return Parts{fields{b: frame}} }

// Next moves to the next part and says whether there is one.
func (p *Parts) Next() bool {
	for p.f.next() {
		if p.f.wire == wireBytes {
			return true
		}
	}
	return false
}

// Num is the part's field number.
func (p *Parts) Num() int { return p.f.num }

// Body is the part's bytes; they alias the frame.
func (p *Parts) Body() []byte { return p.f.p }

// Err says whether the walk ended before the frame's end.
func (p *Parts) Err() error { return p.f.err() }
