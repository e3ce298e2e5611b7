package storetest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

func testEmpty(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	want(t, h, 1, "a", "")
	wantScan(t, h, "", "\xff", "")
	it := h.Scan(nil, nil)
	it.SeekGE(key(1, "x"))
	if it.Next() {
		t.Fatalf("next: got %q in an empty partition", it.Key())
	}
	if it.Next() {
		t.Fatal("next after the end: got true")
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

func testSetGetDelete(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	set(t, h, "a", "1")
	want(t, h, 1, "a", "1")
	set(t, h, "a", "2")
	want(t, h, 1, "a", "2")
	commit(t, h, func(b *store.Batch) { b.Delete(key(1, "a")); b.Delete(key(1, "never")) })
	want(t, h, 1, "a", "")
	commit(t, h, func(b *store.Batch) { b.Set(key(1, "e"), nil) })
	if v, ok, err := store.GetOne(h, key(1, "e"), nil); err != nil || !ok || len(v) != 0 {
		t.Fatalf("get of an empty value: got %q %v %v, want it there", v, ok, err)
	}
	commit(t, h, func(b *store.Batch) {
		k, v := b.SetDeferred(3, 2)
		copy(k, key(1, "d"))
		copy(v, "dv")
	})
	want(t, h, 1, "d", "dv")
	wantScan(t, h, "", "\xff", "d=dv e=")
}

func testAtomic(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	set(t, h, "old", "1")
	commit(t, h, func(b *store.Batch) {
		b.Delete(key(1, "old"))
		for i := range 100 {
			b.Set(key(1, fmt.Sprintf("new%02d", i)), []byte("v"))
		}
	})
	want(t, h, 1, "old", "")
	want(t, h, 1, "new00", "v")
	want(t, h, 1, "new99", "v")
}

func testOrder(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	// Bytes, not letters: 0x00 and 0xff inside, prefixes before what they begin.
	keys := []string{"", "\x00", "\x00\x00", "\x00\xff", "a", "a\x00", "a\x00b", "aa", "b", "\x7f", "\x80", "\xff", "\xff\xff", "\xff\xff\x00"}
	commit(t, h, func(b *store.Batch) {
		for _, i := range rand.New(rand.NewPCG(1, 2)).Perm(len(keys)) {
			b.Set(key(1, keys[i]), []byte{byte(i)})
		}
	})
	slices.Sort(keys)
	it := h.Scan(nil, nil)
	for _, k := range keys {
		if !it.Next() || string(it.Key()[2:]) != k {
			t.Fatalf("next: got %q, want %q", it.Key(), k)
		}
	}
	if it.Next() {
		t.Fatalf("next: got %q after the last key", it.Key())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

func testScanRange(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	commit(t, h, func(b *store.Batch) {
		for _, k := range []string{"a", "b", "c", "d"} {
			b.Set(key(1, k), []byte(k))
		}
	})
	wantScan(t, h, "b", "d", "b=b c=c")
	wantScan(t, h, "aa", "cc", "b=b c=c")
	wantScan(t, h, "b", "b", "")
	wantScan(t, h, "c", "b", "")
	wantScan(t, h, "e", "f", "")
	wantScan(t, h, "", "b", "a=a")
}

// testScanClipped: a scan never shows another partition, whatever it was asked.
func testScanClipped(t *testing.T, e Engine) {
	for _, p := range []uint16{0, 1, 2, store.PartitionMax} {
		h := acquire(t, e.Store, p)
		commit(t, h, func(b *store.Batch) { b.Set(key(p, "k"), fmt.Append(nil, p)) })
	}
	for _, p := range []uint16{0, 1, 2, store.PartitionMax} {
		h := acquire(t, e.Store, p)
		mine := fmt.Sprintf("k=%d", p)
		if got := list(t, h.Scan(nil, nil)); got != mine {
			t.Fatalf("scan of all of partition %d: got %q, want %q", p, got, mine)
		}
		if got := list(t, h.Scan(key(0, ""), key(store.PartitionMax, "z"))); got != mine {
			t.Fatalf("scan of too much from partition %d: got %q, want %q", p, got, mine)
		}
		it := h.Scan(nil, nil)
		it.SeekGE(key(0, ""))
		if got := list(t, it); got != mine {
			t.Fatalf("seek below partition %d: got %q, want %q", p, got, mine)
		}
	}
}

func testSeekGE(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	commit(t, h, func(b *store.Batch) {
		for _, k := range []string{"a", "c", "e", "g", "i"} {
			b.Set(key(1, k), []byte(k))
		}
	})
	it := h.Scan(key(1, "b"), key(1, "h"))
	defer it.Close()
	f := func(seek, want string) {
		t.Helper()
		it.SeekGE(key(1, seek))
		got := "end"
		if it.Next() {
			got = string(it.Key()[2:])
			if string(it.Value()) != got {
				t.Fatalf("seek %q: value %q at key %q", seek, it.Value(), got)
			}
		}
		if got != want {
			t.Fatalf("seek %q: got %q, want %q", seek, got, want)
		}
	}
	f("e", "e")
	if !it.Next() || string(it.Key()[2:]) != "g" {
		t.Fatalf("next after a seek: got %q, want g", it.Key())
	}
	f("d", "e")
	f("a", "c") // below the range: its first
	f("", "c")
	f("h", "end") // above it: nothing
	f("g", "g")   // and back
	f("ga", "end")
	f("c", "c")
	it.SeekGE(key(1, "c"))
	it.SeekGE(key(1, "f"))
	if !it.Next() || string(it.Key()[2:]) != "g" {
		t.Fatalf("the later of two seeks: got %q, want g", it.Key())
	}
}

// testFind: a key is found by itself in a pinned view, and a walk goes on by a seek.
func testFind(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	commit(t, h, func(b *store.Batch) {
		for _, k := range []string{"a", "c", "e", "g"} {
			b.Set(key(1, k), []byte(k))
		}
	})
	if e.Flush != nil {
		e.Flush()
	}
	commit(t, h, func(b *store.Batch) {
		b.DeleteRange(key(1, "b"), key(1, "d"))
		b.Set(key(1, "d"), []byte("d"))
		b.Delete(key(1, "e"))
	})
	it := h.Scan(nil, nil)
	commit(t, h, func(b *store.Batch) { b.Set(key(1, "c"), []byte("later")); b.Delete(key(1, "a")) })
	for range 2 {
		for _, k := range []string{"g", "a", "b", "c", "cc", "d", "dd", "e", "f", "a\x00", "h"} {
			there := strings.Contains("adg", k)
			if it.Find(key(1, k)) != there {
				t.Fatalf("find %q: got %v", k, !there)
			}
			if there && string(it.Value()) != k {
				t.Fatalf("find %q: got its value %q", k, it.Value())
			}
		}
		it.SeekGE(key(1, "b"))
		if !it.Next() || string(it.Key()[2:]) != "d" {
			t.Fatalf("a walk after finds begins at %q, want d", it.Key())
		}
		if !it.Find(key(1, "a")) {
			t.Fatal("find after a walk: got nothing")
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}

func testPinnedView(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	set(t, h, "a", "1")
	set(t, h, "b", "1")
	before, begun := h.Scan(nil, nil), h.Scan(nil, nil)
	if !begun.Next() {
		t.Fatal("next: got nothing")
	}
	commit(t, h, func(b *store.Batch) {
		b.Set(key(1, "a"), []byte("2"))
		b.Delete(key(1, "b"))
		b.Set(key(1, "c"), []byte("2"))
	})
	after := h.Scan(nil, nil)
	commit(t, h, func(b *store.Batch) { b.DeleteRange(key(1, ""), key(1, "z")) })
	if e.Flush != nil {
		e.Flush()
	}
	if got := list(t, before); got != "a=1 b=1" {
		t.Fatalf("view before the batch: got %q, want a=1 b=1", got)
	}
	if got := list(t, begun); got != "b=1" {
		t.Fatalf("view before the batch, half read: got %q, want b=1", got)
	}
	if got := list(t, after); got != "a=2 c=2" {
		t.Fatalf("view after the batch: got %q, want a=2 c=2", got)
	}
}

func testDeleteRange(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	commit(t, h, func(b *store.Batch) {
		for i := range 1000 {
			b.Set(key(1, fmt.Sprintf("k%03d", i)), []byte("v"))
		}
	})
	count := func(want int) {
		t.Helper()
		if n := strings.Count(list(t, h.Scan(nil, nil)), "="); n != want {
			t.Fatalf("keys left: got %d, want %d", n, want)
		}
	}
	del := func(from, to string) {
		t.Helper()
		commit(t, h, func(b *store.Batch) { b.DeleteRange(key(1, from), key(1, to)) })
	}
	del("k100", "k200")
	want(t, h, 1, "k099", "v")
	want(t, h, 1, "k100", "")
	want(t, h, 1, "k199", "")
	want(t, h, 1, "k200", "v")
	count(900)
	del("k5", "k5")
	del("k6", "k5")
	count(900)
	del("x", "y")
	count(900)
	set(t, h, "k150", "again")
	count(901)
	commit(t, h, func(b *store.Batch) {
		b.DeleteRange(key(1, "k"), key(1, "k3"))
		b.DeleteRange(key(1, "k7"), key(1, "k8"))
	})
	count(600)
	commit(t, h, func(b *store.Batch) { b.DeleteRange(key(1, ""), key(2, "")) })
	count(0)
}

// testRangesBeforeSets: a range takes effect before the batch's other
// operations, wherever it stands.
func testRangesBeforeSets(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	set(t, h, "a", "old")
	set(t, h, "b", "old")
	set(t, h, "z", "old")
	commit(t, h, func(b *store.Batch) {
		b.DeleteRange(key(1, "a"), key(1, "c"))
		b.Set(key(1, "a"), []byte("new"))
	})
	wantScan(t, h, "", "\xff", "a=new z=old")
	commit(t, h, func(b *store.Batch) {
		b.Set(key(1, "b"), []byte("newer"))
		b.Delete(key(1, "z"))
		b.DeleteRange(key(1, "a"), key(1, "c"))
		b.Set(key(1, "c"), []byte("newer"))
	})
	wantScan(t, h, "", "\xff", "b=newer c=newer")
}

func testSingleDelete(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	flush := func() {
		if e.Flush != nil {
			e.Flush()
		}
	}
	for i := range 3 { // the same key may live again and again
		set(t, h, "a", fmt.Sprint(i))
		flush()
		want(t, h, 1, "a", fmt.Sprint(i))
		commit(t, h, func(b *store.Batch) { b.SingleDelete(key(1, "a")) })
		want(t, h, 1, "a", "")
		flush()
		want(t, h, 1, "a", "")
	}
	set(t, h, "b", "1")
	commit(t, h, func(b *store.Batch) { b.Delete(key(1, "b")) })
	set(t, h, "b", "2") // once since it was last absent
	commit(t, h, func(b *store.Batch) { b.SingleDelete(key(1, "b")) })
	flush()
	wantScan(t, h, "", "\xff", "")
	h = acquire(t, e.Reopen(), 1)
	wantScan(t, h, "", "\xff", "")
}

func testLargeValue(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	big := bytes.Repeat([]byte("0123456789abcdef"), 1<<16) // 1 MiB
	big = append(big, 'x')
	set(t, h, "big", string(big))
	want(t, h, 1, "big", string(big))
	it := h.Scan(nil, nil)
	if !it.Next() || !bytes.Equal(it.Value(), big) {
		t.Fatal("scan: the large value differs")
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	h = acquire(t, e.Reopen(), 1)
	want(t, h, 1, "big", string(big))
}

// testLargeBatch: 20 MiB in one batch, more than an engine keeps in one table of
// memory, with small batches on both sides of it.
func testLargeBatch(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	n := 2048
	if e.InMemory && testing.Short() {
		n /= 8
	}
	block := bytes.Repeat([]byte{1, 2}, 5120)
	value := func(i int) []byte { // good until the next
		for _, at := range []int{0, 4096, len(block) - 2} {
			binary.LittleEndian.PutUint16(block[at:], uint16(i))
		}
		return block
	}
	b := new(store.Batch)
	w1 := begin(h, func(b *store.Batch) { b.Set(key(1, "before"), []byte("1")) })
	for i := range n {
		b.Set(key(1, fmt.Sprintf("k%04d", i)), value(i))
	}
	w2 := h.Begin(b)
	w3 := begin(h, func(b *store.Batch) { b.Set(key(1, "k0000"), []byte("after")) })
	for i, w := range []func() error{w1, w2, w3} {
		if err := w(); err != nil {
			t.Fatalf("batch %d: %v", i, err)
		}
	}
	check := func(h store.Partition) {
		t.Helper()
		want(t, h, 1, "before", "1")
		want(t, h, 1, "k0000", "after")
		it := h.Scan(key(1, "k0001"), key(1, "l"))
		i := 1
		for ; it.Next(); i++ {
			if !bytes.Equal(it.Value(), value(i)) {
				t.Fatalf("value %d differs", i)
			}
		}
		if err := it.Close(); err != nil || i != n {
			t.Fatalf("scan: got %d keys, error %v; want %d", i, err, n)
		}
	}
	check(h)
	b.Reset() // the batch is the caller's again
	other := make([]byte, len(block))
	for range n {
		b.Set(key(1, "other"), other)
	}
	check(h)
	if e.Crash != nil {
		check(acquire(t, e.Crash(), 1))
	} else {
		check(acquire(t, e.Reopen(), 1))
	}
}

// testManyKeys fills and empties the partition at both ends, as a queue does.
func testManyKeys(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	const n, per = 20000, 500
	k := func(i int) []byte { return key(1, fmt.Sprintf("%08d", i)) }
	for i := 0; i < n; i += per {
		commit(t, h, func(b *store.Batch) {
			for j := i; j < i+per; j++ {
				b.Set(k(j), k(j))
			}
		})
	}
	for i := 0; i < n/2; i += per {
		commit(t, h, func(b *store.Batch) {
			for j := i; j < i+per; j++ {
				b.SingleDelete(k(j))
			}
		})
	}
	it := h.Scan(nil, nil)
	i := n / 2
	for ; it.Next(); i++ {
		if !bytes.Equal(it.Key(), k(i)) || !bytes.Equal(it.Value(), k(i)) {
			t.Fatalf("key %d: got %q=%q", i, it.Key(), it.Value())
		}
	}
	if err := it.Close(); err != nil || i != n {
		t.Fatalf("scan ended at %d with %v, want %d", i, err, n)
	}
	want(t, h, 1, fmt.Sprintf("%08d", n/2-1), "")
	want(t, h, 1, fmt.Sprintf("%08d", n), "")
}

func testBatchReuse(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	b := new(store.Batch)
	for i := range 50 {
		b.Reset()
		b.Set(key(1, fmt.Sprintf("k%02d", i)), fmt.Append(nil, "v", i))
		if err := h.Begin(b)(); err != nil {
			t.Fatal(err)
		}
	}
	for i := range 50 {
		want(t, h, 1, fmt.Sprintf("k%02d", i), fmt.Sprint("v", i))
	}
}

func testEmptyBatch(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	if err := begin(h, func(*store.Batch) {})(); err != nil {
		t.Fatalf("empty batch: %v", err)
	}
	set(t, h, "a", "1")
	if err := begin(h, func(*store.Batch) {})(); err != nil {
		t.Fatalf("empty batch: %v", err)
	}
	want(t, h, 1, "a", "1")
}

// testForeignKey: a batch that reaches into another partition is refused whole.
func testForeignKey(t *testing.T, e Engine) {
	acquire(t, e.Store, 2)
	f := func(name string, fill func(b *store.Batch)) {
		t.Helper()
		h := acquire(t, e.Store, 1)
		err := begin(h, func(b *store.Batch) {
			b.Set(key(1, "mine"), []byte("1"))
			fill(b)
		})()
		if err == nil {
			t.Fatalf("%s: got no error", name)
		}
		want(t, acquire(t, e.Store, 1), 1, "mine", "")
	}
	f("set", func(b *store.Batch) { b.Set(key(2, "k"), nil) })
	f("delete", func(b *store.Batch) { b.Delete(key(0, "k")) })
	f("range", func(b *store.Batch) { b.DeleteRange(key(1, ""), key(2, "a")) })
	f("range from", func(b *store.Batch) { b.DeleteRange(key(0, ""), key(1, "a")) })
	f("short key", func(b *store.Batch) { b.Set([]byte{0}, nil) })
	h := acquire(t, e.Store, 1)
	if _, _, err := store.GetOne(h, key(2, "k"), nil); err == nil {
		t.Fatal("get of another partition's key: got no error")
	}
}
