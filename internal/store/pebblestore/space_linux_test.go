package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

// smallDisk mounts a real file system of 64 MiB and returns a folder on it.
func smallDisk(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root: it mounts a tmpfs of 64 MiB")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=64m"); err != nil {
		t.Skipf("can't mount a tmpfs here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount: %v", err)
		}
	})
	return filepath.Join(dir, "data")
}

// filler takes all but keep bytes of the disk.
func filler(t *testing.T, data string, keep int64) (path string) {
	t.Helper()
	path = filepath.Join(filepath.Dir(data), "filler")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for size := int64(0); ; { // the store still writes and deletes beside us
		var s syscall.Statfs_t
		if err := syscall.Statfs(filepath.Dir(data), &s); err != nil {
			t.Fatal(err)
		}
		more := int64(s.Bavail)*s.Bsize - keep
		if more <= 0 {
			return path
		}
		if err := syscall.Fallocate(int(f.Fd()), 0, size, more); err == nil {
			size += more
		} else if !errors.Is(err, syscall.ENOSPC) {
			t.Fatal(err)
		}
	}
}

// TestDiskMarks: work is refused in time, finishing goes on below the low mark,
// nothing dies, and it goes on by itself when there is space again.
func TestDiskMarks(t *testing.T) {
	dir := smallDisk(t)
	s := mustOpen(t, dir, Options{poll: time.Nanosecond})
	defer s.Close()
	h := holds(t, s, 0)
	if free, low := s.Free(); low || free < 32<<20 {
		t.Fatalf("on an empty disk: %d free, low %v", free, low)
	}
	n := 0
	for _, low := s.Free(); !low; _, low = s.Free() {
		next, err := feed(t, h, n, n+1)
		if err != nil {
			t.Fatalf("batch %d, above the low mark: %v", n, err)
		}
		n = next
	}
	if _, err := feed(t, h, n, n+3); err != nil {
		t.Fatalf("just below the low mark: %v", err)
	}
	n, err := feed(t, h, n+3, 1000)
	if !errors.Is(err, store.ErrFull) || !strings.Contains(err.Error(), "free some space on the disk of "+dir) {
		t.Fatalf("at the hard mark: got %v, want ErrFull and what to do", err)
	}
	if s.Dead() != nil {
		t.Fatalf("at the hard mark the store died: %v", s.Dead())
	}
	h = holds(t, s, n)
	if n, err = feed(t, h, n, 1000); !errors.Is(err, store.ErrFull) { // what was in memory may take less on the disk
		t.Fatalf("again: got %v, want ErrFull", err)
	}
	if s.Metrics().Refused == 0 || !s.Metrics().Low {
		t.Fatalf("metrics: got %+v", s.Metrics())
	}
	if err := syscall.Mount("", filepath.Dir(dir), "", syscall.MS_REMOUNT, "size=74m"); err != nil {
		t.Fatal(err)
	}
	h = holds(t, s, n)
	if n, err = feed(t, h, n, n+20); err != nil {
		t.Fatalf("with space again: %v", err)
	}
	drained(t, s, holds(t, s, n), n, true)
}

// TestDiskDrained: tasks that were done one by one make room for new ones.
func TestDiskDrained(t *testing.T) {
	if testing.Short() {
		t.Skip("fills and drains a disk three times: not in short runs")
	}
	dir := smallDisk(t)
	s := mustOpen(t, dir, Options{poll: time.Nanosecond, again: time.Nanosecond})
	defer s.Close()
	for range 3 {
		h, n := holds(t, s, 0), 0
		var err error
		for _, low := s.Free(); !low; _, low = s.Free() {
			if n, err = feed(t, h, n, n+1); err != nil {
				t.Fatal(err)
			}
		}
		if n < 100 {
			t.Fatalf("the disk was low after %d batches", n)
		}
		drained(t, s, h, n, false)
	}
}

// drained deletes all of n batches and wants the disk's space back.
func drained(t *testing.T, s *Store, h store.Partition, n int, byRange bool) {
	t.Helper()
	var b store.Batch
	for i := 0; i < n; i++ {
		b.Reset()
		for j := range 100 {
			b.SingleDelete(key(1, fmt.Sprintf("%06d%03d", i, j)))
		}
		if byRange {
			b.Reset()
			b.DeleteRange(key(1, ""), key(2, ""))
			i = n
		}
		if err := h.Begin(&b)(); err != nil {
			t.Fatalf("delete batch %d: %v", i, err)
		}
	}
	deadline := time.Now().Add(time.Minute)
	for ; ; runtime.Gosched() {
		if free, low := s.Free(); !low && free > 32<<20 {
			return
		} else if time.Now().After(deadline) {
			t.Fatalf("all is deleted, and %d bytes are free: %+v", free, s.Metrics())
		}
	}
}

// TestDiskBallast: a disk that fills up between two looks costs the ballast, not
// the store.
func TestDiskBallast(t *testing.T) {
	dir := smallDisk(t)
	s := mustOpen(t, dir, Options{MemtableBytes: 256 << 10, poll: time.Hour, step: 1 << 40, BallastBytes: 8 << 20})
	defer s.Close()
	h := holds(t, s, 0)
	ballast := filepath.Join(dir, ballastName)
	if _, err := os.Stat(ballast); err != nil {
		t.Fatal(err)
	}
	filler(t, dir, 0)
	n, err := feed(t, h, 0, 10)
	if err != nil {
		t.Fatalf("batch %d, with the ballast to give: %v", n, err)
	}
	if _, err := os.Stat(ballast); !os.IsNotExist(err) {
		t.Fatalf("the ballast is still there: %v", err)
	}
	holds(t, s, n)
}

// TestDiskFull: without a look in time the store dies, and says so; the process
// lives, and all that was acknowledged is there when there is space again.
func TestDiskFull(t *testing.T) {
	keeps := []int64{0, 100 << 10, 1 << 20, 3 << 20}
	if testing.Short() {
		keeps = keeps[1:2]
	}
	for _, keep := range keeps {
		t.Run(fmt.Sprintf("keep%d", keep), func(t *testing.T) {
			dir := smallDisk(t)
			o := Options{MemtableBytes: 256 << 10, poll: time.Hour, step: 1 << 40, LowBytes: 1, HardBytes: 1, BallastBytes: 1 << 20, pause: time.Millisecond}
			s := mustOpen(t, dir, o)
			h := holds(t, s, 0)
			n, err := feed(t, h, 0, 20)
			if err != nil {
				t.Fatal(err)
			}
			fill := filler(t, dir, keep)
			n, err = feed(t, h, n, 1000)
			if !errors.Is(err, store.ErrUnknown) && !errors.Is(err, store.ErrDead) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("on a full disk: got %v, want ErrUnknown and its cause", err)
			}
			if _, err := s.Acquire(context.Background(), 1, "test"); !errors.Is(err, store.ErrDead) {
				t.Fatalf("acquire on a dead store: got %v", err)
			}
			if _, _, err := store.GetOne(h, key(1, "x"), nil); !errors.Is(err, store.ErrDead) {
				t.Fatalf("get on a dead store: got %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatalf("close of a dead store: %v", err)
			}
			if s, err := Open(dir, o); err == nil {
				s.Close() // a start that found room enough is as good
			} else if !errors.Is(err, syscall.ENOSPC) {
				t.Fatalf("open on a full disk: got %v, want no space left", err)
			}
			if err := os.Remove(fill); err != nil {
				t.Fatal(err)
			}
			if r, err := Verify(dir); err != nil || !r.OK() {
				t.Fatalf("verify: got %+v, %v", r, err)
			}
			s = mustOpen(t, dir, o)
			defer s.Close()
			h = holds(t, s, n)
			if _, err := feed(t, h, 500, 520); err != nil {
				t.Fatalf("with space again: %v", err)
			}
		})
	}
}

// TestDiskFinish: below the low mark there is room for small batches, those that
// finish what runs, whatever the tables are rewritten for meanwhile.
func TestDiskFinish(t *testing.T) {
	dir := smallDisk(t)
	s := mustOpen(t, dir, Options{poll: time.Millisecond, pause: time.Millisecond})
	defer s.Close()
	h := holds(t, s, 0)
	var b store.Batch
	n := 0
	for _, low := s.Free(); !low; _, low = s.Free() { // all over the place: no table can stay as it is
		b.Reset()
		for j := range 100 {
			k, v := b.SetDeferred(16, 1000)
			copy(k, key(1, fmt.Sprintf("%03d%09d", (n*100+j)*7919%1000, n*100+j)))
			copy(v, noise[(n*100+j)*997%(len(noise)-1000):])
		}
		if err := h.Begin(&b)(); err != nil {
			t.Fatalf("batch %d, above the low mark: %v", n, err)
		}
		n++
	}
	s.back.Go(func() { s.compact() })
	for i := range 10_000 {
		b.Reset()
		b.Set(key(1, fmt.Sprintf("z%08d", i)), noise[i:i+100])
		if err := h.Begin(&b)(); err != nil {
			free, _ := s.Free()
			t.Fatalf("small batch %d, %d bytes free: %v", i, free, err)
		}
	}
	if err := s.Dead(); err != nil {
		t.Fatal(err)
	}
}
