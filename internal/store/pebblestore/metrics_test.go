package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/penstock-io/penstock/internal/store"
)

func TestMetrics(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	defer s.Close()
	before := s.Metrics()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	for range 5 {
		var b store.Batch
		b.Set(key(1, "a"), make([]byte, 3000))
		b.Set(key(1, "b"), nil)
		if err := h.Begin(&b)(); err != nil {
			t.Fatal(err)
		}
	}
	m := s.Metrics()
	if m.Commits != 5 || m.Ops != 10 || m.BatchBytes < 15000 || m.BatchSizes[2] != 5 {
		t.Fatalf("commits: got %+v", m)
	}
	if n := m.Fsyncs - before.Fsyncs; n != 6 || m.FsyncTotal <= 0 || m.FsyncMax <= 0 || m.LogBytes < 15000 {
		t.Fatalf("fsyncs: got %d of 6 (5 batches, 1 epoch): %+v", n, m)
	}
	if m.MemtableBytes == 0 || m.DiskBytes == 0 || m.FreeBytes == 0 {
		t.Fatalf("sizes: got %+v", m)
	}
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if m := s.Metrics(); m.Flushes != before.Flushes+1 || m.Tables != 1 {
		t.Fatalf("after a flush: got %+v", m)
	}
	s.Close()
	if m := s.Metrics(); m.Commits != 5 {
		t.Fatalf("after close: got %+v", m)
	}
}

// TestAbsentReadsNothing: points that are not there are told by filters, of the
// last level too: no block is read for them.
func TestAbsentReadsNothing(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	defer s.Close()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	for i := range 10_000 {
		b.Set(key(1, fmt.Sprintf("key-%05d", 2*i)), make([]byte, 50))
	}
	if err := h.Begin(&b)(); err != nil {
		t.Fatal(err)
	}
	if err := s.db.Compact(t.Context(), key(0, ""), key(2, ""), false); err != nil {
		t.Fatal(err)
	}
	points := make([]store.Point, 200)
	for i := range points {
		points[i].Key = key(1, fmt.Sprintf("key-%05d", 50*i+1))
	}
	before := s.db.Metrics().Filter
	if err := h.Get(points); err != nil {
		t.Fatal(err)
	}
	for _, p := range points {
		if p.Found {
			t.Fatalf("%q is found and was never put", p.Key)
		}
	}
	if n := s.db.Metrics().Filter.Hits - before.Hits; n < 180 { // a few are taken for others
		t.Errorf("filters have told of %d of %d absent points", n, len(points))
	}
}

// TestMisuse: Pebble tells of a SingleDelete that our contract forbids, and we
// count it. (storetest.Engine's callers find it in Mem at once.)
func TestMisuse(t *testing.T) {
	s := mustOpen(t, "data", Options{fs: vfs.NewMem()})
	defer s.Close()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	do := func(fill func(b *store.Batch)) {
		t.Helper()
		var b store.Batch
		fill(&b)
		if err := h.Begin(&b)(); err != nil {
			t.Fatal(err)
		}
	}
	do(func(b *store.Batch) { b.Set(key(1, "a"), []byte("1")) })
	do(func(b *store.Batch) { b.SingleDelete(key(1, "a")) })
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := s.Metrics().Misuses; n != 0 {
		t.Fatalf("rightly used: %d misuses", n)
	}
	do(func(b *store.Batch) { b.Set(key(1, "a"), []byte("1")) })
	do(func(b *store.Batch) { b.Set(key(1, "a"), []byte("2")) })
	do(func(b *store.Batch) { b.SingleDelete(key(1, "a")) })
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	if n := s.Metrics().Misuses; n == 0 {
		t.Fatal("a misuse was not counted")
	}
}

// TestLogger: what an embedding program reads when the store dies, in one line
// and without stack traces.
func TestLogger(t *testing.T) {
	var text bytes.Buffer
	br := &breaker{err: syscall.EIO, times: 1 << 40, match: func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }}
	s := mustOpen(t, "data", Options{fs: errorfs.Wrap(vfs.NewCrashableMem(), br), Log: slog.New(slog.NewTextHandler(&text, nil))})
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	br.from = br.seen.Load() + 1
	var b store.Batch
	b.Set(key(1, "a"), nil)
	if err := h.Begin(&b)(); !errors.Is(err, store.ErrUnknown) || !errors.Is(err, syscall.EIO) {
		t.Fatalf("commit: got %v", err)
	}
	if err := h.Begin(&b)(); !errors.Is(err, store.ErrDead) {
		t.Fatalf("second commit: got %v, want ErrDead", err)
	}
	it := h.Scan(nil, nil)
	if it.Next() || !errors.Is(it.Close(), store.ErrDead) {
		t.Fatal("scan on a dead store: want ErrDead")
	}
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	got := text.String()
	if !strings.Contains(got, "no more writes until the data folder is opened anew") || !strings.Contains(got, "input/output error") || strings.Contains(got, "stack trace") {
		t.Fatalf("log: got %q", got)
	}
}

// TestIteratorsEnd: a view that is being read when the store is closed ends with
// an error, and Close waits for its owner.
func TestIteratorsEnd(t *testing.T) {
	s := mustOpen(t, t.TempDir(), Options{})
	putKey(t, s, 1, "a", "1")
	putKey(t, s, 1, "b", "1")
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	it := h.Scan(nil, nil)
	if !it.Next() {
		t.Fatal("next: got nothing")
	}
	closed := make(chan error)
	go func() { closed <- s.Close() }()
	for it.Next() || !s.closing.Load() { // until Close has told it
		it.SeekGE(nil)
	}
	select {
	case err := <-closed:
		t.Fatalf("close returned %v while a view was open", err)
	default:
	}
	if it.Next() {
		t.Fatal("next after close: got a key")
	}
	if err := it.Close(); !errors.Is(err, store.ErrClosed) {
		t.Fatalf("close of the view: got %v, want ErrClosed", err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}
}

// TestPanic: a Pebble that panics takes the store with it, not the process, and
// the folder can be opened again.
func TestPanic(t *testing.T) {
	f := func(name string, call func(h store.Partition) error) {
		t.Helper()
		dir := t.TempDir()
		s := mustOpen(t, dir, Options{})
		putKey(t, s, 1, "a", "1")
		h, err := s.Acquire(context.Background(), 1, "test")
		if err != nil {
			t.Fatal(err)
		}
		if err := s.db.Close(); err != nil { // every call panics from here
			t.Fatal(err)
		}
		if err := call(h); !errors.Is(err, store.ErrDead) {
			t.Fatalf("%s: got %v, want ErrDead", name, err)
		}
		if err := h.Begin(new(store.Batch))(); !errors.Is(err, store.ErrDead) {
			t.Fatalf("%s: begin afterwards: got %v, want ErrDead", name, err)
		}
		if err := s.Close(); err != nil {
			t.Fatalf("%s: close: %v", name, err)
		}
		s = mustOpen(t, dir, Options{})
		defer s.Close()
		if got := getKey(t, s, 1, "a"); got != "1" {
			t.Fatalf("%s: after reopening: got %q", name, got)
		}
	}
	f("begin", func(h store.Partition) error {
		var b store.Batch
		b.Set(key(1, "b"), nil)
		return h.Begin(&b)()
	})
	f("get", func(h store.Partition) error { _, _, err := store.GetOne(h, key(1, "a"), nil); return err })
	f("scan", func(h store.Partition) error { return h.Scan(nil, nil).Close() })
	f("acquire", func(h store.Partition) error {
		_, err := h.(*hold).s.Acquire(context.Background(), 2, "test")
		return err
	})
}
