package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// SplitRank cuts a key of a class that listings go through where they do: lane is
// what all keys of its lane begin with (of its queue for a dead letter, of its
// class for a finished task), rank is the rest. A rank is unique in its class and
// rises with what a listing goes by: the sequence, when a task is due or died, the
// segment.
func SplitRank(key []byte) (lane, rank []byte, err error) {
	if len(key) < headLen {
		return nil, nil, badKey(ClassMeta, key)
	}
	c := Class(key[2])
	at := headLen
	switch c {
	case ClassBirth, ClassTimed, ClassCalendar:
		at = laneLen
	case ClassDead:
		at = headLen + 4
	}
	if n := RankLen(c); n == 0 || len(key) != at+n {
		return nil, nil, badKey(c, key)
	}
	return key[:at:at], key[at:], nil
}

// LaneName copies what tells a lane from others of its class: what stands behind
// the class in its keys, nil for a class that has none. It is the same in births,
// timed tasks and marks.
func LaneName(lane []byte) []byte { return append([]byte(nil), lane[headLen:]...) }

// RankLen is the length of the ranks of a class; 0 = none that is listed.
func RankLen(c Class) int {
	switch c {
	case ClassBirth:
		return 8
	case ClassTimed, ClassCalendar, ClassDead:
		return 16
	case ClassFinished:
		return 12
	}
	return 0
}

// AppendSeqRank appends the rank of a birth.
func AppendSeqRank(b []byte, seq task.Seq) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(seq))
}

// AppendDueRank appends what no rank of a timed task that is due at that time, or
// later, is less than.
func AppendDueRank(b []byte, due task.Time) []byte {
	return binary.BigEndian.AppendUint64(b, uint64(due))
}

// AppendLowKey appends the key that no live record of the mark's lane is below, in
// ClassBirth or ClassTimed.
func AppendLowKey(b []byte, p uint16, c Class, m *queue.Mark) []byte {
	pl := queue.Place{Queue: m.Queue, Prio: m.Prio, Lane: m.Lane, Seq: m.Low}
	switch c {
	case ClassTimed:
		pl.Class, pl.Due, pl.Seq = task.ClassTimed, m.TimedLow, 0
	case ClassCalendar:
		pl.Class, pl.Due, pl.Seq = task.ClassCalendar, m.TimedLow, 0
	}
	return AppendPlaceKey(b, p, pl)
}
