package pebblestore

import (
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// diskFS is a disk with so many bytes free.
type diskFS struct {
	vfs.FS
	free, asked atomic.Int64
}

func (d *diskFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	d.asked.Add(1)
	return vfs.DiskUsage{AvailBytes: uint64(d.free.Load()), TotalBytes: 1 << 30}, nil
}

// TestSpacePromised: what has still to be written counts as used, and so do tables
// that pile up for want of room. A compaction leaves room for finishing.
func TestSpacePromised(t *testing.T) {
	disk := &diskFS{FS: vfs.NewMem()}
	disk.free.Store(1 << 30)
	s, err := newSpace(Options{poll: time.Nanosecond, MemtableBytes: 1 << 20, LowBytes: 64 << 20, HardBytes: 16 << 20, BallastBytes: 1}, disk, "")
	if err != nil {
		t.Fatal(err)
	}
	var pending uint64
	var piled int
	s.backlog = func() (uint64, int) { return pending, piled }
	s.stuck = func() bool { return piled > 0 }
	f := func(free int64, mem uint64, levels int, low, refused, spare bool) {
		t.Helper()
		disk.free.Store(free << 20)
		pending, piled = mem<<20, levels
		_, gotLow := s.look()
		if got := s.refuses(1); gotLow != low || got != refused || s.spare(1) != spare {
			t.Fatalf("%d MiB free, %d in memory, %d levels: low %v, refused %v, spare %v", free, mem, levels, gotLow, got, !spare)
		}
	}
	f(500, 0, 0, false, false, true)
	f(68, 0, 0, false, false, true)
	f(68, 4, 0, false, false, true)
	f(67, 4, 0, true, false, true)
	f(31, 4, 0, true, false, false) // a quarter of what is between the marks
	f(19, 4, 0, true, true, false)
	f(3, 4, 0, true, true, false)
	f(500, 0, l0Low-1, false, false, true)
	f(500, 0, l0Low, true, false, true)
	f(500, 0, l0Hard, true, true, true)
	s.poll = time.Hour
	s.refresh()
	before := disk.asked.Load()
	for range 47 { // 3 MiB are a sixteenth of what is between the marks
		s.spare(64 << 10)
	}
	if got := disk.asked.Load(); got != before {
		t.Fatalf("%d looks for 2.9 MiB", got-before)
	}
	if s.refuses(128 << 10); disk.asked.Load() != before+1 {
		t.Fatal("much was written, and nobody looked")
	}
}

// TestCompactionsHeld: one that found no room is tried again after a while, each
// time a longer one, and at once when one went well.
func TestCompactionsHeld(t *testing.T) {
	c := newScheduler(new(atomic.Bool))
	at := int64(time.Hour)
	for want := int64(holdMin); want < 4*int64(holdMax); want *= 2 {
		c.hold(at)
		c.hold(at) // others that ran beside it
		at += min(want, int64(holdMax))
		if !c.holding(at-1) || c.holding(at) || !c.stuck() {
			t.Fatalf("not held for %v", time.Duration(want))
		}
	}
	c.hold(at)
	if c.release(); c.holding(at) || c.stuck() {
		t.Fatal("still held")
	}
}
