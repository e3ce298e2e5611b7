package record

import (
	"bytes"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

func TestPlaceKeys(t *testing.T) {
	f := func(pl queue.Place) {
		t.Helper()
		got, err := ParsePlaceKey(AppendPlaceKey(nil, part, pl))
		if err != nil || got != pl {
			t.Errorf("got %+v, %v; want %+v", got, err, pl)
		}
		id := IDOf(part, pl)
		if PlaceOf(id) != pl {
			t.Errorf("place of %v: got %+v, want %+v", id, PlaceOf(id), pl)
		}
	}
	f(birth)
	f(timed)
	f(queue.Place{Prio: 9, Queue: 1<<32 - 1, Lane: 1<<32 - 1, Seq: 1<<64 - 1})
}

// TestOrder: keys sort by priority, highest first, then as a lane is served.
func TestOrder(t *testing.T) {
	f := func(less, more []byte) {
		t.Helper()
		if bytes.Compare(less, more) >= 0 {
			t.Errorf("%x does not stand before %x", less, more)
		}
	}
	at := func(prio uint8, lane queue.LaneNum, s task.Seq) []byte {
		return AppendPlaceKey(nil, part, queue.Place{Prio: prio, Queue: 2, Lane: lane, Seq: s})
	}
	due := func(d task.Time, s task.Seq) []byte {
		return AppendPlaceKey(nil, part, queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 1, Due: d, Seq: s})
	}
	f(at(9, 5, 5), at(8, 1, 1))
	f(at(5, 1, 9), at(5, 2, 1))
	f(at(5, 1, task.MakeSeq(1, 999)), at(5, 1, task.MakeSeq(2, 1)))
	f(due(10, 9), due(11, 1))
	f(due(10, 1), due(10, 2))
	for i := 1; i < len(Classes); i++ {
		f(AppendPrefix(nil, part, Classes[i-1]), AppendPrefix(nil, part, Classes[i]))
	}
	f(AppendExpiryKey(nil, part, queue.ExpiryKey{At: 1, Seq: 9}), AppendExpiryKey(nil, part, queue.ExpiryKey{At: 2, Seq: 1}))
}

func TestPrefixEnd(t *testing.T) {
	f := func(prefix, want []byte) {
		t.Helper()
		if got := AppendPrefixEnd([]byte{7}, prefix)[1:]; !bytes.Equal(got, want) {
			t.Errorf("end of %x: got %x, want %x", prefix, got, want)
		}
	}
	f([]byte{0, 1, 0x10}, []byte{0, 1, 0x11})
	f([]byte{0, 1, 0xff}, []byte{0, 2})
	f([]byte{0, 0xff, 0xff}, []byte{1})
	f([]byte{0xff, 0xff}, nil)
	lane := AppendLanePrefix(nil, part, ClassBirth, 2, 5, 9)
	if !bytes.HasPrefix(AppendPlaceKey(nil, part, birth), lane) {
		t.Error("a birth key does not begin with its lane's prefix")
	}
	if !bytes.HasPrefix(AppendChunkKey(nil, part, birth, 3), AppendChunkPrefix(nil, part, birth)) {
		t.Error("a chunk key does not begin with its task's prefix")
	}
	born, i, err := ParseChunkKey(AppendChunkKey(nil, part, birth, 3))
	if err != nil || born != birth || i != 3 {
		t.Errorf("chunk key: got %+v, %d, %v", born, i, err)
	}
}

// FuzzKeys: a key that can be parsed is written again as it was.
func FuzzKeys(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.key)
	}
	f.Fuzz(func(t *testing.T, key []byte) {
		p, c, err := ClassOf(key)
		if err != nil {
			return
		}
		var again []byte
		switch c {
		case ClassQueue:
			n, e := ParseQueueKey(key)
			again, err = AppendQueueKey(nil, p, n), e
		case ClassMark:
			k, e := ParseMarkKey(key)
			again, err = AppendMarkKey(nil, p, k), e
		case ClassBirth, ClassTimed, ClassCalendar:
			pl, e := ParsePlaceKey(key)
			again, err = AppendPlaceKey(nil, p, pl), e
		case ClassChunk:
			pl, i, e := ParseChunkKey(key)
			again, err = AppendChunkKey(nil, p, pl, i), e
		case ClassExpiry, ClassDeadline:
			k, e := ParseExpiryKey(key)
			again, err = AppendExpiryKey(nil, p, k), e
		case ClassWhere:
			k, e := ParseWhereKey(key)
			again, err = AppendWhereKey(nil, p, k), e
		case ClassIdem:
			k, e := ParseIdemKey(key)
			again, err = AppendIdemKey(nil, p, k), e
		case ClassIdemDue:
			k, e := ParseIdemDueKey(key)
			again, err = AppendIdemDueKey(nil, p, k), e
		case ClassProducer:
			k, e := ParseProducerKey(key)
			again, err = AppendProducerKey(nil, p, k), e
		case ClassSession:
			name, e := ParseSessionKey(key)
			again, err = AppendSessionKey(nil, p, name), e
		case ClassDead:
			k, e := ParseDeadKey(key)
			again, err = AppendDeadKey(nil, p, k), e
		case ClassFinished:
			k, e := ParseFinishedKey(key)
			again, err = AppendFinishedKey(nil, p, k), e
		case ClassSegment:
			n, e := ParseSegmentKey(key)
			again, err = AppendSegmentKey(nil, p, n), e
		case ClassClaim:
			k, e := ParseClaimKey(key)
			again, err = AppendClaimKey(nil, p, k), e
		case ClassList:
			k, e := ParseListKey(key)
			again, err = AppendListKey(nil, p, k), e
		default:
			return
		}
		if err == nil && !bytes.Equal(again, key) {
			t.Fatalf("%s key %x is written again as %x", c, key, again)
		}
	})
}

// A rank stands behind its lane, rises with what the key is sorted by, and is told
// from what is no key of its class.
func TestSplitRank(t *testing.T) {
	pl := queue.Place{Queue: 7, Prio: 3, Lane: 5, Seq: 9}
	timed := pl
	timed.Class, timed.Due = task.ClassTimed, 1<<40
	dead := AppendDeadKey(nil, 2, queue.DeadKey{Queue: 7, Finished: 4, Seq: 9})
	finished := AppendFinishedKey(nil, 2, queue.FinishedKey{Segment: 6, Seq: 9})
	for _, c := range []struct{ key, lane []byte }{
		{AppendPlaceKey(nil, 2, pl), AppendLanePrefix(nil, 2, ClassBirth, 7, 3, 5)},
		{AppendPlaceKey(nil, 2, timed), AppendLanePrefix(nil, 2, ClassTimed, 7, 3, 5)},
		{dead, AppendQueuePrefix(nil, 2, ClassDead, 7)},
		{finished, AppendPrefix(nil, 2, ClassFinished)},
	} {
		lane, rank, err := SplitRank(c.key)
		if err != nil || !bytes.Equal(lane, c.lane) || !bytes.Equal(append(lane, rank...), c.key) || len(rank) != RankLen(Class(c.key[2])) {
			t.Errorf("key %x: lane %x, rank %x, %v", c.key, lane, rank, err)
		}
		for n := range c.key {
			if _, _, err := SplitRank(c.key[:n]); err == nil {
				t.Errorf("key %x, cut to %d bytes, has a rank", c.key, n)
			}
		}
	}
	for _, c := range []struct {
		key  []byte
		rank Rank
	}{
		{AppendPlaceKey(nil, 2, pl), Rank{Hi: 9}},
		{AppendPlaceKey(nil, 2, timed), Rank{1 << 40, 9}},
		{dead, Rank{4, 9}},
		{finished, Rank{6, 9}},
	} {
		class := Class(c.key[2])
		_, rank, _ := SplitRank(c.key)
		got := ParseRank(class, rank)
		if got != c.rank || !bytes.Equal(AppendRank(nil, class, got), rank) || !got.Less(RankMax) || got.Less(got) || !got.Less(Rank{got.Hi + 1, 0}) {
			t.Errorf("rank %x is read as %x", rank, got)
		}
	}
	if got, same := LaneName(AppendLanePrefix(nil, 2, ClassTimed, 7, 3, 5)), LaneName(AppendLanePrefix(nil, 2, ClassBirth, 7, 3, 5)); !bytes.Equal(got, same) || len(got) == 0 {
		t.Errorf("a lane's name is %x in one class and %x in another", got, same)
	}
}
