package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/task"
)

// version is the first byte of every value. A record changes by adding bits to
// its sets of fields, which readers check; version changes only when that is
// not enough.
const version = 2

const timeMax = 1<<48 - 1

// appendTime writes a moment in six bytes: enough for nine thousand years.
func appendTime(b []byte, t task.Time) []byte {
	x := uint64(max(0, min(t, timeMax)))
	return append(b, byte(x>>40), byte(x>>32), byte(x>>24), byte(x>>16), byte(x>>8), byte(x))
}

func appendString(b []byte, s string) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

func appendBytes(b, s []byte) []byte {
	return append(binary.AppendUvarint(b, uint64(len(s))), s...)
}

// reader takes a value apart. After the first fault all it gives is zeros.
type reader struct {
	b    []byte
	bad  bool
	high bool // a bit or version that only a newer Penstock knows
	low  bool // a version that only an older one wrote
}

// open checks the version byte.
func open(value []byte) reader {
	r := reader{b: value}
	if v := r.u8(); !r.bad && v != version {
		r.bad, r.high, r.low = true, v > version, 0 < v && v < version
	}
	return r
}

func (r *reader) fail() {
	r.bad, r.b = true, nil
}

func (r *reader) u8() byte {
	if len(r.b) < 1 {
		r.fail()
		return 0
	}
	x := r.b[0]
	r.b = r.b[1:]
	return x
}

// bits16 reads a set of fields and refuses bits that this version doesn't know.
func (r *reader) bits16(known uint16) uint16 {
	if len(r.b) < 2 {
		r.fail()
		return 0
	}
	x := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	if x&^known != 0 {
		r.fail()
		r.high = true
		return 0
	}
	return x
}

// bits8 is bits16 for a set of one byte.
func (r *reader) bits8(known byte) byte {
	x := r.u8()
	if x&^known != 0 {
		r.fail()
		r.high = true
		return 0
	}
	return x
}

func (r *reader) u16() uint16 {
	if len(r.b) < 2 {
		r.fail()
		return 0
	}
	x := binary.BigEndian.Uint16(r.b)
	r.b = r.b[2:]
	return x
}

func (r *reader) u32() uint32 {
	if len(r.b) < 4 {
		r.fail()
		return 0
	}
	x := binary.BigEndian.Uint32(r.b)
	r.b = r.b[4:]
	return x
}

func (r *reader) u64() uint64 {
	if len(r.b) < 8 {
		r.fail()
		return 0
	}
	x := binary.BigEndian.Uint64(r.b)
	r.b = r.b[8:]
	return x
}

func (r *reader) time() task.Time {
	if len(r.b) < 6 {
		r.fail()
		return 0
	}
	x := uint64(r.b[0])<<40 | uint64(binary.BigEndian.Uint32(r.b[1:]))<<8 | uint64(r.b[5])
	r.b = r.b[6:]
	return task.Time(x)
}

func (r *reader) uvarint() uint64 {
	if len(r.b) > 0 && r.b[0] < 0x80 {
		x := r.b[0]
		r.b = r.b[1:]
		return uint64(x)
	}
	x, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

// number reads a uvarint that must fit below limit.
func (r *reader) number(limit uint64) uint64 {
	x := r.uvarint()
	if x > limit {
		r.fail()
		return 0
	}
	return x
}

func (r *reader) varint() int64 {
	x, n := binary.Varint(r.b)
	if n <= 0 {
		r.fail()
		return 0
	}
	r.b = r.b[n:]
	return x
}

func (r *reader) bytes() []byte {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.fail()
		return nil
	}
	x := r.b[:n:n]
	r.b = r.b[n:]
	return x
}

// text reads a string into memory of its own.
func (r *reader) text() string { return string(r.bytes()) }

// close reports what went wrong, or bytes left over.
func (r *reader) close(c Class) error {
	switch {
	case r.high:
		return &Error{Class: c, Kind: ErrNewer}
	case r.low:
		return &Error{Class: c, Kind: ErrOlder}
	case r.bad:
		return &Error{Class: c, Why: "the value is cut short or out of range", Kind: ErrCorrupt}
	case len(r.b) > 0:
		return &Error{Class: c, Why: "the value has bytes left over", Kind: ErrCorrupt}
	}
	return nil
}
