package queue

import (
	"math/rand/v2"
	"testing"
)

// TestFingers holds the table against a map, through growth and deletions in runs.
func TestFingers(t *testing.T) {
	f, want := newFingers(), map[uint64]briefAt{}
	r := rand.New(rand.NewPCG(1, 2))
	for n := range 200_000 {
		p := 1 + r.Uint64N(6_000)
		if n/20_000%2 == 1 || r.IntN(3) == 0 {
			f.del(p)
			delete(want, p)
		} else {
			at := briefAt{uint32(n), uint32(p)}
			f.put(p, at)
			want[p] = at
		}
		got, ok := f.get(p)
		if w, there := want[p]; ok != there || got != w {
			t.Fatalf("after %d steps %d is at %v (%v), want %v (%v)", n, p, got, ok, w, there)
		}
	}
	if f.n != len(want) {
		t.Errorf("%d entries counted, want %d", f.n, len(want))
	}
	for p, w := range want {
		if got, ok := f.get(p); !ok || got != w {
			t.Errorf("%d is at %v (%v), want %v", p, got, ok, w)
		}
	}
}

func BenchmarkFingers(b *testing.B) {
	const n = 220_000 // 20,000 keys a second for 11 s
	f, r, ring := newFingers(), rand.New(rand.NewPCG(1, 2)), make([]uint64, n)
	for i := range ring {
		ring[i] = r.Uint64() | 1
		f.put(ring[i], briefAt{})
	}
	for i := 0; b.Loop(); i++ {
		p := r.Uint64() | 1
		if _, ok := f.get(p); !ok {
			f.put(p, briefAt{})
			f.del(ring[i%n])
			ring[i%n] = p
		}
	}
}
