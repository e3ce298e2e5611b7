package task

import (
	"encoding/base32"
	"encoding/binary"
)

// Class says in which stream a task was born.
type Class uint8

// The classes of birth.
const (
	ClassBirth    Class = iota // ready at once
	ClassTimed                 // after a length of time, by the machine's clock
	ClassCalendar              // at a moment of the wall clock
)

// Timed says whether tasks of the class wait for a time: their keys hold it.
func (c Class) Timed() bool { return c != ClassBirth }

// ID names a task for ever: it holds the store key under which the task was
// born, so that finding a task needs no index. After a move its digits are
// history. Its text is base32 (lower case, no padding): at most 32 letters while
// a partition has fewer than 256 queues and 65,536 acquisitions, 40 at worst.
type ID struct {
	Partition uint16
	Class     Class
	Priority  uint8
	Queue     uint32 // number of the queue within the partition
	Lane      uint32
	Seq       Seq
	Due       Time // only for classes that are Timed
}

var idText = base32.NewEncoding("0123456789abcdefghjkmnpqrstvwxyz").WithPadding(base32.NoPadding)

const (
	idBytesMax = 25
	idTextMax  = 40

	calendarBit = 1 << 47 // in the six bytes of Due: moments reach to the year 6429
)

// IsZero says whether the ID names nothing.
func (id ID) IsZero() bool { return id == ID{} }

// AppendBinary appends the packed form: a head byte (class, priority, widths),
// then each number in as few whole bytes as it needs.
func (id ID) AppendBinary(b []byte) []byte {
	pw := widthOf(uint64(id.Partition), 1, 2)
	qw := widthOf(uint64(id.Queue), 1, 3)
	ew := widthOf(uint64(id.Seq.Epoch()), 2, 3)
	head := (id.Priority&15)<<3 | byte(pw-1)<<2
	if id.Class.Timed() {
		head |= 1 << 7
	}
	if ew == 3 {
		head |= 2
	}
	if qw > 1 {
		head |= 1
	}
	if head&1 != 0 {
		qw = 3
	}
	b = append(b, head)
	b = appendBig(b, uint64(id.Partition), pw)
	b = appendBig(b, uint64(id.Queue), qw)
	b = appendBig(b, uint64(id.Lane), 4)
	b = appendBig(b, uint64(id.Seq.Epoch()), ew)
	b = appendBig(b, id.Seq.Counter(), 5)
	switch id.Class {
	case ClassTimed:
		b = appendBig(b, uint64(id.Due), 6)
	case ClassCalendar:
		b = appendBig(b, uint64(id.Due)|calendarBit, 6)
	}
	return b
}

// IDFromBinary is the inverse of ID.AppendBinary.
func IDFromBinary(b []byte) (ID, bool) {
	if len(b) < 1 {
		return ID{}, false
	}
	head := b[0]
	pw, qw, ew := int(head>>2&1)+1, 1, 2
	if head&1 != 0 {
		qw = 3
	}
	if head&2 != 0 {
		ew = 3
	}
	id := ID{Class: Class(head >> 7), Priority: head >> 3 & 15}
	want := 1 + pw + qw + 4 + ew + 5
	if id.Class.Timed() {
		want += 6
	}
	if len(b) != want || id.Priority > PriorityMax {
		return ID{}, false
	}
	b = b[1:]
	take := func(n int) uint64 {
		var x [8]byte
		copy(x[8-n:], b[:n])
		b = b[n:]
		return binary.BigEndian.Uint64(x[:])
	}
	id.Partition = uint16(take(pw))
	id.Queue = uint32(take(qw))
	id.Lane = uint32(take(4))
	epoch := uint32(take(ew))
	id.Seq = MakeSeq(epoch, take(5))
	if id.Class.Timed() {
		due := take(6)
		if due&calendarBit != 0 {
			id.Class = ClassCalendar
		}
		id.Due = Time(due &^ calendarBit)
	}
	return id, true
}

// AppendText appends the ID as users see it.
func (id ID) AppendText(b []byte) ([]byte, error) {
	var raw [idBytesMax]byte
	return idText.AppendEncode(b, id.AppendBinary(raw[:0])), nil
}

// String is the ID as users see it.
func (id ID) String() string {
	var buf [idTextMax]byte
	b, _ := id.AppendText(buf[:0])
	return string(b)
}

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var raw [idBytesMax]byte
	if len(s) == 0 || len(s) > idTextMax {
		return ID{}, badID(s)
	}
	n, err := idText.Decode(raw[:], []byte(s))
	if err != nil {
		return ID{}, badID(s)
	}
	id, ok := IDFromBinary(raw[:n])
	if !ok || id.String() != s {
		return ID{}, badID(s)
	}
	return id, nil
}

func badID(s string) error {
	if len(s) > 64 {
		s = s[:64] + "…"
	}
	return Errorf(Invalid, "%q is not a task ID: copy it whole from what enqueue printed", s)
}

func widthOf(x uint64, lo, hi int) int {
	for w := lo; w < hi; w++ {
		if x < 1<<(8*w) {
			return w
		}
	}
	return hi
}

func appendBig(b []byte, x uint64, n int) []byte {
	for i := n - 1; i >= 0; i-- {
		b = append(b, byte(x>>(8*i)))
	}
	return b
}
