package pebblestore

import (
	"encoding/binary"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
)

// What is looked for where a purge has deleted large values, each by a range of its
// own, is found without reading what was deleted: a seek would read the whole rest of
// it, again for each key. After a start all of it stands in tables like these.
func TestFindReadsNothingThatWasDeleted(t *testing.T) {
	s := mustOpen(t, "data", Options{fs: vfs.NewMem(), CacheBytes: 1})
	defer s.Close()
	s.compactions.ready.Store(false) // as while a start reads
	h, err := s.Acquire(t.Context(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	const n = 300
	key := func(class byte, i int) []byte {
		return binary.BigEndian.AppendUint32([]byte{0, 1, class}, uint32(i))
	}
	write := func(fill func(b *store.Batch)) {
		t.Helper()
		b := new(store.Batch)
		fill(b)
		if err := h.Begin(b)(); err != nil {
			t.Fatal(err)
		}
		if err := s.db.Flush(); err != nil {
			t.Fatal(err)
		}
	}
	write(func(b *store.Batch) {
		for i := range n {
			b.Set(key(1, i), []byte("birth"))
			b.Set(key(2, i), make([]byte, 50<<10))
		}
	})
	write(func(b *store.Batch) {
		b.DeleteRange(key(1, 0), key(1, n))
		for i := range n {
			b.DeleteRange(key(2, i), key(2, i+1))
		}
		b.Set(key(3, 0), []byte("lives"))
	})
	it := h.Scan(nil, nil)
	for i := range n {
		if it.Find(key(1, i)) || it.Find(key(3, i+1)) {
			t.Fatalf("birth %d was found, or where it has moved", i)
		}
	}
	if !it.Find(key(3, 0)) || string(it.Value()) != "lives" {
		t.Error("what was not deleted is not found")
	}
	if x := it.(*iter).it.Stats().InternalStats; x.PointCount > 2*n || x.ValueBytes > n<<10 {
		t.Errorf("%d finds came by %d records of %d bytes", 2*n, x.PointCount, x.ValueBytes)
	}
	if err := it.Close(); err != nil {
		t.Error(err)
	}
}
