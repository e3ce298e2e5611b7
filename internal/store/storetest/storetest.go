// Package storetest is the contract of store.Store as tests. Every engine runs
// it; what it does not ask for, no caller may rely on.
package storetest

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// Engine is one fresh store and what may be done to it.
type Engine struct {
	Store store.Store
	// Reopen closes the store and opens what it left.
	Reopen func() store.Store
	// Crash ends the store as kill -9 and a power cut do, and opens what was
	// durable. nil: this engine can't.
	Crash func() store.Store
	// Flush pushes what is in memory to tables, where an engine has such. nil:
	// nothing to do.
	Flush func()
	// InMemory says that it has no tables: no batch is too large for one.
	InMemory bool
}

// Open makes a fresh engine and closes it at the test's cleanup.
type Open func(tb testing.TB) Engine

// Run runs the whole contract.
func Run(t *testing.T, open Open) {
	for _, c := range []struct {
		name string
		fn   func(t *testing.T, e Engine)
	}{
		{"Empty", testEmpty},
		{"SetGetDelete", testSetGetDelete},
		{"GetMany", testGetMany},
		{"GetLarge", testGetLarge},
		{"GetOver", testGetOver},
		{"Atomic", testAtomic},
		{"Order", testOrder},
		{"ScanRange", testScanRange},
		{"ScanClipped", testScanClipped},
		{"SeekGE", testSeekGE},
		{"Find", testFind},
		{"Down", testDown},
		{"DownRandom", testDownRandom},
		{"PinnedView", testPinnedView},
		{"DurableShown", testDurableShown},
		{"BegunShown", testBegunShown},
		{"BegunShownWhole", testBegunShownWhole},
		{"DeleteRange", testDeleteRange},
		{"RangesBeforeSets", testRangesBeforeSets},
		{"SingleDelete", testSingleDelete},
		{"LargeValue", testLargeValue},
		{"LargeBatch", testLargeBatch},
		{"ManyKeys", testManyKeys},
		{"BatchReuse", testBatchReuse},
		{"EmptyBatch", testEmptyBatch},
		{"ForeignKey", testForeignKey},
		{"Fencing", testFencing},
		{"FenceInFlight", testFenceInFlight},
		{"EpochRises", testEpochRises},
		{"AcquireChecks", testAcquireChecks},
		{"Partitions", testPartitions},
		{"GroupCommit", testGroupCommit},
		{"Release", testRelease},
		{"Close", testClose},
		{"Reopen", testReopen},
		{"CrashDurable", testCrashDurable},
		{"CrashPrefix", testCrashPrefix},
		{"Random", testRandom},
	} {
		t.Run(c.name, func(t *testing.T) { c.fn(t, open(t)) })
	}
}

// key is a key of partition p.
func key(p uint16, s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, p), s...)
}

func acquire(t testing.TB, s store.Store, p uint16) store.Partition {
	t.Helper()
	h, err := s.Acquire(context.Background(), p, "storetest")
	if err != nil {
		t.Fatalf("acquire partition %d: %v", p, err)
	}
	return h
}

func begin(h store.Partition, fill func(b *store.Batch)) func() error {
	b := new(store.Batch)
	fill(b)
	return h.Begin(b)
}

func commit(t testing.TB, h store.Partition, fill func(b *store.Batch)) {
	t.Helper()
	if err := begin(h, fill)(); err != nil {
		t.Fatalf("commit: %v", err)
	}
}

func set(t testing.TB, h store.Partition, k, v string) {
	t.Helper()
	commit(t, h, func(b *store.Batch) { b.Set(key(1, k), []byte(v)) })
}

// want checks what Get says; "" means that the key is absent.
func want(t testing.TB, h store.Partition, p uint16, k, v string) {
	t.Helper()
	got, ok, err := store.GetOne(h, key(p, k), []byte("buf:"))
	if err != nil {
		t.Fatalf("get %q: %v", k, err)
	}
	if !bytes.HasPrefix(got, []byte("buf:")) {
		t.Fatalf("get %q: got %q, want it appended to the buffer", k, got)
	}
	if got := string(got[4:]); ok != (v != "") || got != v {
		t.Fatalf("get %q: got %q %v, want %q", k, got, ok, v)
	}
}

// list reads an iterator to its end: "a=1 b=2".
func list(t testing.TB, it store.Iterator) string {
	t.Helper()
	var out []byte
	for it.Next() {
		if len(out) > 0 {
			out = append(out, ' ')
		}
		out = fmt.Appendf(out, "%s=%s", it.Key()[2:], it.Value())
	}
	if err := it.Close(); err != nil {
		t.Fatalf("scan: %v", err)
	}
	return string(out)
}

func wantScan(t testing.TB, h store.Partition, from, to, want string) {
	t.Helper()
	if got := list(t, h.Scan(key(1, from), key(1, to))); got != want {
		t.Fatalf("scan [%q, %q): got %q, want %q", from, to, got, want)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}
