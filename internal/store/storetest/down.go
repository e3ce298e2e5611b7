package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// testDown: Prev and SeekLT are Next and SeekGE the other way round.
func testDown(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	commit(t, h, func(b *store.Batch) {
		for _, k := range []string{"a", "c", "e", "g", "i"} {
			b.Set(key(1, k), []byte(k))
		}
	})
	for _, c := range []struct{ from, to, want string }{
		{"b", "h", "gec"}, {"a", "i", "geca"}, {"", "z", "igeca"}, {"j", "z", ""}, {"c", "c", ""}, {"d", "e", ""},
	} {
		it := h.Scan(key(1, c.from), key(1, c.to))
		got := ""
		for it.Prev() {
			got += string(it.Value())
		}
		if it.Prev() || it.Close() != nil || got != c.want {
			t.Fatalf("down [%q, %q): got %q, want %q", c.from, c.to, got, c.want)
		}
	}
	it := h.Scan(key(1, "b"), key(1, "h"))
	defer it.Close()
	f := func(seek, want string) {
		t.Helper()
		it.SeekLT(key(1, seek))
		got := "end"
		if it.Prev() {
			got = string(it.Key()[2:])
		}
		if got != want {
			t.Fatalf("seek below %q: got %q, want %q", seek, got, want)
		}
	}
	f("e", "c")
	f("f", "e")
	if !it.Prev() || string(it.Key()[2:]) != "c" {
		t.Fatalf("prev after a seek: got %q, want c", it.Key())
	}
	f("z", "g") // above the range: its last
	f("c", "end")
	f("", "end") // below it: nothing
	f("g", "e")  // and back
	it.SeekGE(key(1, "d"))
	if !it.Next() || string(it.Key()[2:]) != "e" {
		t.Fatalf("up again: got %q, want e", it.Key())
	}
}

// testDownRandom: what stands in a range is the same from both ends, whatever was
// deleted from it.
func testDownRandom(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	rnd := rand.New(rand.NewPCG(3, 5))
	name := func() []byte { return key(1, fmt.Sprintf("%03d", rnd.IntN(600))) }
	for round := range 40 {
		commit(t, h, func(b *store.Batch) {
			if from, to := name(), name(); round%7 == 6 && bytes.Compare(from, to) < 0 {
				b.DeleteRange(from, to)
				return
			}
			named := map[string]bool{}
			for range 40 {
				k := name()
				switch {
				case named[string(k)]:
				case rnd.IntN(3) == 0:
					b.Delete(k)
				default:
					b.Set(k, k[2:])
				}
				named[string(k)] = true
			}
		})
		if round == 20 && e.Flush != nil {
			e.Flush()
		}
		from, to := name(), name()
		up, down := h.Scan(from, to), h.Scan(from, to)
		var rising, falling []string
		for up.Next() {
			rising = append(rising, string(up.Key()))
		}
		for down.Prev() {
			if at := string(down.Key()); rnd.IntN(4) == 0 {
				down.SeekLT(append(down.Key()[:5:5], 0)) // to where it is
				if !down.Prev() || string(down.Key()) != at {
					t.Fatalf("a seek to behind %q does not find it", at)
				}
			}
			falling = append(falling, string(down.Key()))
		}
		if up.Close() != nil || down.Close() != nil || len(rising) != len(falling) {
			t.Fatalf("round %d: %d keys up, %d down", round, len(rising), len(falling))
		}
		for i := range rising {
			if rising[i] != falling[len(falling)-1-i] {
				t.Fatalf("round %d: key %d is %q up and %q down", round, i, rising[i], falling[len(falling)-1-i])
			}
		}
	}
}
