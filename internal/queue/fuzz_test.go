package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue/queuetest"
)

// FuzzMachine lets the fuzzer choose the commands. The first byte picks the
// budget of tasks in memory and whether the Model looks on; without it, several
// commands and refills share an Apply, and only the invariants are held.
func FuzzMachine(f *testing.F) {
	f.Add([]byte("\x00one queue, some tasks, a worker and a crash in between"))
	f.Add([]byte("\x07\x50\x1e\x01\x00\x02\x33\x12\x62\x08\x40\x4f\x99\xa0\x11\x00\xff\x21\x20\x61\x44"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 1500 {
			return
		}
		d := queuetest.FromBytes(data[1:])
		window := windows[int(data[0])%len(windows)]
		try := queuetest.Try
		if data[0]&0x80 != 0 {
			try = queuetest.TryWild
		}
		if err := try(d, window, 200, nil); err != nil {
			t.Fatal(err)
		}
	})
}

// TestWild puts several commands and a refill into one Apply and holds the
// invariants that need no prediction; then it runs the same again and wants the
// same Outputs, bit for bit (I4).
func TestWild(t *testing.T) {
	for s := uint64(1); s <= uint64(*seeds); s++ {
		if *seed != 0 {
			s = *seed
		}
		var log func(string)
		if *seed != 0 {
			log = func(x string) { t.Log(x) }
		}
		if err := queuetest.TryWild(queuetest.Seeded(s), windows[s%uint64(len(windows))], *steps, log); err != nil {
			t.Fatalf("seed %d: go test ./internal/queue -run TestWild -v -seed=%d -steps=%d\n%v", s, s, *steps, err)
		}
		if *seed != 0 {
			return
		}
	}
}

// TestSameAgain: same commands and times, same Outputs.
func TestSameAgain(t *testing.T) {
	for s := uint64(1); s <= 10; s++ {
		var sums [2]uint64
		for i := range sums {
			sum, err := queuetest.Sum(queuetest.Seeded(s), windows[s%uint64(len(windows))], *steps)
			if err != nil {
				t.Fatalf("seed %d: %v", s, err)
			}
			sums[i] = sum
		}
		if sums[0] != sums[1] {
			t.Errorf("seed %d: the same commands led to other Outputs", s)
		}
	}
}
