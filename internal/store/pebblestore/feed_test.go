package pebblestore

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// noise does not compress.
var noise = func() []byte {
	b := make([]byte, 4<<20)
	rand.NewChaCha8([32]byte{1}).Read(b)
	return b
}()

// feed commits batches of 100 keys of 1 KB until an error or the limit, and
// returns how many went through. The values don't compress.
func feed(t *testing.T, h store.Partition, from, limit int) (int, error) {
	t.Helper()
	var b store.Batch
	for i := from; i < limit; i++ {
		b.Reset()
		for j := range 100 {
			k, v := b.SetDeferred(11, 1000)
			copy(k, key(1, fmt.Sprintf("%06d%03d", i, j)))
			copy(v, noise[(i*100+j)*997%(len(noise)-1000):])
		}
		if err := h.Begin(&b)(); err != nil {
			return i, err
		}
	}
	return limit, nil
}

// holds wants at least the first n batches of feed, and of each all keys.
func holds(t *testing.T, s *Store, n int) store.Partition {
	t.Helper()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	var want []byte
	it, keys := h.Scan(nil, nil), 0
	for ; it.Next(); keys++ {
		if want = fmt.Appendf(want[:0], "%06d%03d", keys/100, keys%100); !bytes.HasSuffix(it.Key(), want) {
			t.Fatalf("key %d: got %q, want %q", keys, it.Key(), want)
		}
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if keys < n*100 || keys%100 != 0 {
		t.Fatalf("got %d keys, want at least %d, in hundreds", keys, n*100)
	}
	return h
}
