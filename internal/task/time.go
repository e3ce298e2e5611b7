package task

import "strconv"

// Time is a moment in Unix milliseconds. Zero means "not set".
type Time int64

// Millis is a length of time in milliseconds.
type Millis int64

// Lengths in Millis.
const (
	Second Millis = 1000
	Minute        = 60 * Second
	Hour          = 60 * Minute
	Day           = 24 * Hour
)

// Add returns t moved by d.
func (t Time) Add(d Millis) Time { return t + Time(d) }

// Sub returns the length from u to t.
func (t Time) Sub(u Time) Millis { return Millis(t - u) }

// String renders the raw number; front doors format for people.
func (t Time) String() string { return strconv.FormatInt(int64(t), 10) }

// Seq numbers a task within its partition: epoch<<40 | counter. It rises over
// all owners of the partition without a scan.
type Seq uint64

// SeqCounterBits is how many low bits of a Seq are the counter.
const SeqCounterBits = 40

// MakeSeq joins an epoch and a counter.
func MakeSeq(epoch uint32, counter uint64) Seq {
	return Seq(epoch)<<SeqCounterBits | Seq(counter&(1<<SeqCounterBits-1))
}

// Epoch is the acquisition of the partition under which the task was born.
func (s Seq) Epoch() uint32 { return uint32(s >> SeqCounterBits) }

// Counter is the place within the epoch.
func (s Seq) Counter() uint64 { return uint64(s) & (1<<SeqCounterBits - 1) }
