package storetest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// testGetMany: a Get of any number of points answers each in its place, in
// whatever order they stand, named twice or not there at all.
func testGetMany(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	if err := h.Get(nil); err != nil {
		t.Fatalf("get of no points: %v", err)
	}
	const n = 3000
	name := func(i int) string { return fmt.Sprintf("k%04d", i) }
	there := func(i int) bool { return i%3 != 1 && (i < 500 || i >= 900) }
	acquire(t, e.Store, 2)
	commit(t, h, func(b *store.Batch) {
		for i := range n {
			b.Set(key(1, name(i)), []byte(name(i)))
		}
	})
	if e.Flush != nil {
		e.Flush() // some in tables, some not
	}
	commit(t, h, func(b *store.Batch) {
		b.DeleteRange(key(1, name(500)), key(1, name(900)))
		for i := range n {
			if i%3 == 1 && (i < 500 || i >= 900) {
				b.SingleDelete(key(1, name(i)))
			}
		}
	})
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, count := range []int{1, 2, 7, 8, 9, 64, 1000, 5000} {
		for _, sorted := range []bool{true, false} {
			var is []int
			points := make([]store.Point, count)
			for j := range points {
				i := rnd.IntN(n)
				if sorted {
					i = j * n / count // named twice where there are more than keys
				}
				is = append(is, i)
				points[j] = store.Point{Key: key(1, name(i)), Value: []byte("buf:"), Found: rnd.IntN(2) == 0}
			}
			if err := h.Get(points); err != nil {
				t.Fatalf("get of %d points: %v", count, err)
			}
			for j, i := range is {
				want := "buf:"
				if there(i) {
					want += name(i)
				}
				p := &points[j]
				if string(p.Key[2:]) != name(i) || p.Found != there(i) || string(p.Value) != want {
					t.Fatalf("point %d of %d, sorted %v: got %q=%q %v, want %q", j, count, sorted, p.Key[2:], p.Value, p.Found, want)
				}
			}
		}
	}
}

// testGetLarge: large values are put where the caller has room for them.
func testGetLarge(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	const n, size = 12, 300_000
	part := func(i int) []byte { return bytes.Repeat([]byte{byte('a' + i)}, size) }
	commit(t, h, func(b *store.Batch) {
		for i := range n {
			b.Set(key(1, fmt.Sprintf("k%02d", i)), part(i))
		}
	})
	whole := make([]byte, n*size)
	points := make([]store.Point, n)
	for i := range points {
		points[i] = store.Point{Key: key(1, fmt.Sprintf("k%02d", i)), Value: whole[i*size : i*size : (i+1)*size]}
	}
	if err := h.Get(points); err != nil {
		t.Fatal(err)
	}
	for i := range points {
		if !points[i].Found || !bytes.Equal(whole[i*size:(i+1)*size], part(i)) {
			t.Fatalf("large value %d is not where there was room for it", i)
		}
	}
}

// testGetOver: a Get that may not be is refused whole.
func testGetOver(t *testing.T, e Engine) {
	acquire(t, e.Store, 2)
	h := acquire(t, e.Store, 1)
	set(t, h, "k", "v")
	for _, count := range []int{2, 200} {
		points := make([]store.Point, count)
		for i := range points {
			points[i].Key = key(1, "k")
		}
		points[count-1].Key = key(2, "k")
		if err := h.Get(points); err == nil {
			t.Fatal("get of another partition's key: got no error")
		}
		points[count-1].Key = []byte{0}
		if err := h.Get(points); err == nil {
			t.Fatal("get of a short key: got no error")
		}
		points = points[:count-1]
		if err := h.Get(points); err != nil || !points[0].Found {
			t.Fatalf("get after one that was refused: %v %v", points[0].Found, err)
		}
	}
	next := acquire(t, e.Store, 1)
	wantErr(t, "get of the old owner", h.Get([]store.Point{{Key: key(1, "k")}}), store.ErrFenced)
	if err := next.Release(); err != nil {
		t.Fatal(err)
	}
	wantErr(t, "get after release", next.Get(make([]store.Point, 0)), store.ErrClosed)
	many := make([]store.Point, 50)
	for i := range many {
		many[i].Key = key(1, "k")
	}
	wantErr(t, "get after release", next.Get(many), store.ErrClosed)
}
