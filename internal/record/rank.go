package record

import (
	"encoding/binary"
	"math"
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
// the class in its keys, nil for a class that has none. It is the same in births and
// timed tasks.
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

// Rank is a rank of any class: its bytes are in the order of Hi, then Lo.
type Rank struct{ Hi, Lo uint64 }

// RankMax is above all ranks.
var RankMax = Rank{math.MaxUint64, math.MaxUint64}

// Less says whether a comes before b.
func (a Rank) Less(b Rank) bool { return a.Hi < b.Hi || a.Hi == b.Hi && a.Lo < b.Lo }

// ParseRank reads the bytes of a rank, which are as many as RankLen says.
func ParseRank(c Class, b []byte) Rank {
	switch c {
	case ClassBirth:
		return Rank{Hi: binary.BigEndian.Uint64(b)}
	case ClassFinished:
		return Rank{uint64(binary.BigEndian.Uint32(b)), binary.BigEndian.Uint64(b[4:])}
	}
	return Rank{binary.BigEndian.Uint64(b), binary.BigEndian.Uint64(b[8:])}
}

// AppendRank appends the bytes of a rank.
func AppendRank(b []byte, c Class, r Rank) []byte {
	switch c {
	case ClassBirth:
		return binary.BigEndian.AppendUint64(b, r.Hi)
	case ClassFinished:
		b = binary.BigEndian.AppendUint32(b, uint32(r.Hi))
	default:
		b = binary.BigEndian.AppendUint64(b, r.Hi)
	}
	return binary.BigEndian.AppendUint64(b, r.Lo)
}
