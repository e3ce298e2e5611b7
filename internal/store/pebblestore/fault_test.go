package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/penstock-io/penstock/internal/store"
)

// breaker fails writing operations from the nth on, as often as it is told.
type breaker struct {
	seen  atomic.Int64
	from  int64 // 0: never
	times int64
	err   error
	match func(op errorfs.Op) bool
	last  atomic.Pointer[string]
}

func (b *breaker) String() string { return "breaker" }

func (b *breaker) MaybeError(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() != errorfs.OpIsWrite || (b.match != nil && !b.match(op)) {
		return nil
	}
	n := b.seen.Add(1)
	if b.from == 0 || n < b.from || n >= b.from+b.times {
		return nil
	}
	s := fmt.Sprintf("op %d: %v %s", n, op.Kind, op.Path)
	b.last.Store(&s)
	return b.err
}

func key(p uint16, s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, p), s...)
}

// load writes batches into two partitions, each with one under way while the
// next is begun, until something fails; it returns how many of each were
// acknowledged and how many were begun.
func load(t *testing.T, s *Store, batches int) (acked, begun [2]int, errs [2]error) {
	t.Helper()
	var wg sync.WaitGroup
	for p := range 2 {
		h, err := s.Acquire(context.Background(), uint16(p), "test")
		if err != nil {
			errs[p] = err
			continue
		}
		wg.Go(func() {
			wait := func() error { return nil }
			b := [2]store.Batch{}
			for i := range batches {
				nb := &b[i%2]
				nb.Reset()
				for j := range 4 {
					nb.Set(key(uint16(p), fmt.Sprintf("%06d-%d", i, j)), bytes.Repeat([]byte{byte(i)}, 1000))
				}
				next := h.Begin(nb)
				begun[p] = i + 1
				if errs[p] = wait(); errs[p] != nil {
					return
				}
				acked[p] = i
				wait = next
			}
			if errs[p] = wait(); errs[p] == nil {
				acked[p] = batches
			}
		})
	}
	wg.Wait()
	return acked, begun, errs
}

// check wants every acknowledged batch, and of the others a prefix of whole ones.
func check(t *testing.T, s *Store, acked, begun [2]int) {
	t.Helper()
	for p := range 2 {
		h, err := s.Acquire(context.Background(), uint16(p), "test")
		if err != nil {
			t.Fatal(err)
		}
		it := h.Scan(nil, nil)
		n := 0
		for ; it.Next(); n++ {
			if w := fmt.Sprintf("%06d-%d", n/4, n%4); string(it.Key()[2:]) != w {
				t.Fatalf("partition %d: got key %q, want %q", p, it.Key()[2:], w)
			}
			if !bytes.Equal(it.Value(), bytes.Repeat([]byte{byte(n / 4)}, 1000)) {
				t.Fatalf("partition %d: value of key %d differs", p, n)
			}
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		if n%4 != 0 || n/4 < acked[p] || n/4 > begun[p] {
			t.Fatalf("partition %d: %d keys are left of %d batches acknowledged and %d begun, 4 keys each", p, n, acked[p], begun[p])
		}
	}
}

// TestFaultSweep fails every single writing operation of a store's life in turn:
// once, or for good; with an input/output error, or a full disk. The process must
// live, whoever waits must be told, and what was acknowledged must be there.
func TestFaultSweep(t *testing.T) {
	const batches = 120 // × 2 × 4 KB through memtables of 64 KiB: log changes, flushes, compactions
	step := 1
	if testing.Short() {
		step = 29
	}
	for _, c := range []struct {
		err   error
		times int64
	}{{syscall.EIO, 1}, {syscall.EIO, 1 << 40}, {syscall.ENOSPC, 1 << 40}, {syscall.ENOSPC, 1}} {
		t.Run(fmt.Sprintf("%v×%d", c.err, min(c.times, 99)), func(t *testing.T) {
			t.Parallel()
			for n := 1; ; n += step {
				if !sweepOne(t, batches, int64(n), c.times, c.err) {
					t.Logf("%d operations swept", n)
					return
				}
			}
		})
	}
}

// sweepOne says whether the fault was met.
func sweepOne(t *testing.T, batches int, n, times int64, cause error) bool {
	t.Helper()
	mem := vfs.NewCrashableMem()
	br := &breaker{err: cause, times: times}
	s := mustOpen(t, "data", Options{fs: errorfs.Wrap(mem, br), MemtableBytes: 64 << 10, pause: time.Millisecond})
	br.from = br.seen.Load() + n
	acked, begun, errs := load(t, s, batches)
	hit := br.last.Load()
	for p, err := range errs {
		switch {
		case err == nil:
		case hit == nil:
			t.Fatalf("no fault was injected, got error %v", err)
		case errors.Is(err, store.ErrUnknown) || errors.Is(err, store.ErrDead):
			if !errors.Is(err, cause) {
				t.Fatalf("%s: partition %d: error %q does not name its cause %v", *hit, p, err, cause)
			}
		default:
			t.Fatalf("%s: partition %d: got %v, want ErrUnknown or ErrDead", *hit, p, err)
		}
	}
	if dead := s.Dead(); dead != nil {
		if _, err := s.Acquire(context.Background(), 1, "test"); !errors.Is(err, store.ErrDead) {
			t.Fatalf("acquire on a dead store: got %v, want ErrDead", err)
		}
	} else if errs[0] != nil || errs[1] != nil {
		t.Fatalf("%s: errors %v without a dead store", *hit, errs)
	}
	left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(n % 101), RNG: rand.New(rand.NewPCG(uint64(n), 1))})
	s.Close()
	for _, fs := range []vfs.FS{left, mem} { // after a power cut, and after a clean exit
		again, err := Open("data", Options{fs: fs, MemtableBytes: 64 << 10})
		if err != nil {
			t.Fatalf("fault %v at write %d: open again: %v", cause, n, err)
		}
		check(t, again, acked, begun)
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return hit != nil
}

// TestOpenSweep fails every writing operation of Open in turn, of a new folder
// and of one with a log to replay: Open ends, with an error that names the cause
// or a store, and the next Open finds all there was.
func TestOpenSweep(t *testing.T) {
	step := int64(1)
	if testing.Short() {
		step = 11
	}
	for _, fresh := range []bool{true, false} {
		for _, times := range []int64{1, 1 << 40} {
			for _, cause := range []error{syscall.EIO, syscall.ENOSPC} {
				t.Run(fmt.Sprintf("fresh=%v×%d/%v", fresh, min(times, 99), cause), func(t *testing.T) {
					t.Parallel()
					for n := int64(1); openOne(t, fresh, n, times, cause); n += step {
					}
				})
			}
		}
	}
}

func openOne(t *testing.T, fresh bool, n, times int64, cause error) (hit bool) {
	t.Helper()
	mem := vfs.NewCrashableMem()
	var acked, begun [2]int
	if !fresh {
		s := mustOpen(t, "data", Options{fs: mem, MemtableBytes: 64 << 10})
		acked, begun, _ = load(t, s, 30)
		mem = mem.CrashClone(vfs.CrashCloneCfg{})
		s.Close()
	}
	br := &breaker{err: cause, times: times, from: n}
	s, err := Open("data", Options{fs: errorfs.Wrap(mem, br), MemtableBytes: 64 << 10, pause: time.Microsecond})
	switch {
	case err == nil:
		s.Close()
	case br.last.Load() == nil:
		t.Fatalf("no fault was injected, got %v", err)
	case !errors.Is(err, cause):
		t.Fatalf("%s: open: got %v, want its cause %v", *br.last.Load(), err, cause)
	}
	left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: int(n*13) % 101, RNG: rand.New(rand.NewPCG(uint64(n), 1))})
	for _, fs := range []vfs.FS{left, mem} {
		s, err := Open("data", Options{fs: fs, MemtableBytes: 64 << 10})
		if err != nil {
			t.Fatalf("fault %v at write %d: open again: %v", cause, n, err)
		}
		check(t, s, acked, begun)
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return br.last.Load() != nil
}
