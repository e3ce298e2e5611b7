package record

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Ranges come back as they were, whatever differs from one to the next.
func TestRanges(t *testing.T) {
	for seed := range uint64(500) {
		rng := rand.New(rand.NewPCG(seed, 1))
		some := func(n int) bool { return rng.IntN(n) == 0 }
		s := queue.ProducerState{ProducerKey: queue.ProducerKey{Queue: 2, Producer: "p"}, Below: rng.Uint64() >> rng.IntN(64), Seen: 5}
		next := queue.NumberRange{First: s.Below, ID: task.ID{Partition: 3, Class: task.ClassBirth, Priority: 5, Queue: 2, Lane: 1, Seq: task.MakeSeq(7, 9)}}
		for range rng.IntN(20) {
			n := next
			if n.N = 1; some(3) {
				n.N = rng.Uint32() >> rng.IntN(32)
			}
			if some(4) {
				n.First += rng.Uint64() >> rng.IntN(64)
			}
			if some(4) {
				n.ID.Class, n.ID.Priority = task.ClassTimed, uint8(rng.IntN(10))
			}
			if some(2) {
				n.ID.Lane = rng.Uint32() >> rng.IntN(32)
			}
			if n.ID.Class.Timed() {
				n.ID.Due = task.Time(rng.Int64N(1 << 41))
			}
			if some(3) {
				n.ID.Seq = task.Seq(rng.Uint64() >> rng.IntN(64))
			}
			s.Ranges = append(s.Ranges, n)
			next = behind(&n)
		}
		key, value := AppendProducerKey(nil, 3, s.ProducerKey), AppendProducer(nil, &s)
		var got queue.ProducerState
		if err := DecodeProducer(key, value, &got); err != nil {
			t.Fatalf("seed %d: %v", seed, err)
		}
		if !reflect.DeepEqual(got, s) {
			t.Fatalf("seed %d: %+v\nwant %+v", seed, got, s)
		}
		for n := range value {
			_ = DecodeProducer(key, value[:n], &got) // it may be an error, and no panic
		}
	}
}

// A range that only goes on in the next lane takes three bytes.
func TestRangesAreShort(t *testing.T) {
	s := queue.ProducerState{ProducerKey: queue.ProducerKey{Queue: 2, Producer: "p"}, Below: 1}
	for i := range uint32(1_000) {
		s.Ranges = append(s.Ranges, queue.NumberRange{First: uint64(i) + 1, N: 1, ID: task.ID{Partition: 3, Queue: 2, Lane: 70 + i, Seq: task.MakeSeq(7, uint64(i))}})
	}
	if n := len(AppendProducer(nil, &s)); n > 2_100 {
		t.Errorf("1,000 tasks of keys of their own take %d bytes", n)
	}
}
