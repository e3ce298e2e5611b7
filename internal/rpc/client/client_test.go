package client

import (
	"math/rand/v2"
	"testing"
)

// TestTableAgainstAMap takes numbers out in any order.
func TestTableAgainstAMap(t *testing.T) {
	var tab table[int]
	want := map[uint64]int{}
	r := rand.New(rand.NewPCG(1, 2))
	last := uint64(0)
	for i := range 20_000 {
		if r.IntN(2) == 0 || len(want) == 0 {
			seq := tab.add(i)
			if seq != last+1 {
				t.Fatalf("number %d after %d", seq, last)
			}
			last = seq
			want[seq] = i
			continue
		}
		seq := last - uint64(r.IntN(200))
		v, ok := want[seq]
		if got, has := tab.get(seq); got != v || has != ok {
			t.Fatalf("get %d: %d, %v, want %d, %v", seq, got, has, v, ok)
		}
		if got, has := tab.take(seq); got != v || has != ok {
			t.Fatalf("take %d: %d, %v, want %d, %v", seq, got, has, v, ok)
		}
		delete(want, seq)
		if tab.n != len(want) || len(tab.all()) != len(want) {
			t.Fatalf("%d and %d in the table, want %d", tab.n, len(tab.all()), len(want))
		}
	}
	if len(tab.items) > 40_000 {
		t.Errorf("%d slots for %d entries", len(tab.items), tab.n)
	}
}

func TestAddresses(t *testing.T) {
	f := func(url, addr string, secure bool) {
		t.Helper()
		got, sec, err := parseURL(url)
		if err != nil || got != addr || sec != secure {
			t.Errorf("%q is %s, %v, %v, want %s, %v", url, got, sec, err, addr, secure)
		}
	}
	f("http://localhost:7070", "localhost:7070", false)
	f("http://localhost:7070/", "localhost:7070", false)
	f("localhost:7070", "localhost:7070", false)
	f("localhost", "localhost:7070", false)
	f("http://host", "host:80", false)
	f("https://host", "host:443", true)
	f("https://[::1]:7070", "[::1]:7070", true)
	for _, bad := range []string{"", "ftp://x", "http://", "http://x/y", "http://u:p@x", "http://x?y", "http://x:port", ":7070"} {
		if addr, _, err := parseURL(bad); err == nil {
			t.Errorf("%q is taken as %s", bad, addr)
		}
	}
}
