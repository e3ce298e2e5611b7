package pebblestore

import (
	"errors"
	"fmt"
	"math"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	freePoll      = 100 * time.Millisecond
	ballastName   = "BALLAST"
	givenUpGrace  = time.Second // others that hit the full disk at the same moment may try again too
	lowBytesMin   = 64 << 20
	lowBytesMax   = 4 << 30
	lowShareOf    = 50       // 2 % of the disk
	lowShareSmall = 4        // but never more than a quarter
	hardBytesMax  = 64 << 20 // two looks apart at a fast disk's pace, and the flushes
	ballastMax    = 16 << 20
	spareShareOf  = 4  // of what is between the marks compactions leave so much
	lookShareOf   = 16 // so much of it is written between two looks, at most
)

// space watches the free disk: a statfs every freePoll at most, whoever asks, or
// when much has been written since the last. What is in memtables counts as used:
// it is written later, whatever is refused by then.
//
//	free ≥ low             all goes
//	spare ≤ free < low     Free says low: callers take in no new work, finish old
//	hard ≤ free < spare    no compaction writes: the rest is for finishing
//	free < hard            batches are refused: flushes keep the rest
//	a write finds none     the ballast is given up, and the write repeated
//
// Compactions need room for what they write until what they read can go, as much
// as all tables take if need be. One that finds none is given up, and its room
// comes back.
//
// The ballast stays in the folder after Close, for the next start.
type space struct {
	fs                 vfs.FS
	dir                string
	total              uint64 // at Open; 0: not known
	low, hard, ballast uint64
	near               uint64 // above this it does not matter what is in memtables
	poll               time.Duration
	step               uint64                           // bytes between two looks, at most
	backlog            func() (bytes uint64, piled int) // of an open database
	stuck              func() bool                      // the last compaction found no room

	free    atomic.Uint64
	pending atomic.Uint64 // in memtables, when the disk is nearly full
	piled   atomic.Int64  // levels of tables that wait for a compaction that has no room
	written atomic.Int64  // since the last statfs
	failed  atomic.Bool   // statfs did: nothing is refused on its account
	asked   atomic.Int64  // now() of the last statfs

	mu      sync.Mutex
	kept    bool      // the ballast is there; guarded by mu
	givenUp time.Time // guarded by mu
}

// marks derives the marks that were not set from the size of the disk.
func marks(o Options, total uint64) (low, hard, ballast uint64) {
	low, hard, ballast = o.LowBytes, o.HardBytes, o.BallastBytes
	if low == 0 {
		low = min(max(lowBytesMin, total/lowShareOf), lowBytesMax, total/lowShareSmall)
	}
	if hard == 0 {
		hard = min(low/4, hardBytesMax)
	}
	if ballast == 0 {
		ballast = min(hard, ballastMax)
	}
	return low, hard, ballast
}

func newSpace(o Options, fs vfs.FS, dir string) (*space, error) {
	s := &space{fs: fs, dir: dir, poll: o.poll, step: o.step}
	u, err := fs.GetDiskUsage(dir)
	if errors.Is(err, vfs.ErrUnsupported) {
		s.failed.Store(true)
		return s, nil
	}
	if err != nil {
		return nil, fmt.Errorf("ask for the free disk space: %w", err)
	}
	s.total = u.TotalBytes
	s.low, s.hard, s.ballast = marks(o, u.TotalBytes)
	memtable := o.MemtableBytes
	if memtable == 0 {
		memtable = memtableFor(s.total)
	}
	if s.step == 0 {
		s.step = (s.low - s.hard) / lookShareOf
	}
	s.near = s.low + (memtablesMax+1)*memtable
	if s.hard > s.low {
		return nil, fmt.Errorf("hard mark of %d bytes free is above the low mark of %d", s.hard, s.low)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err = s.fs.Stat(s.path())
	s.kept = err == nil
	s.measure()
	s.keep()
	return s, nil
}

func (s *space) path() string { return s.fs.PathJoin(s.dir, ballastName) }

// look returns what is free, and whether no new work is to be taken in: the disk
// is low, or tables pile up for want of room. The database must be open.
func (s *space) look() (free uint64, low bool) {
	if s.due() {
		var pending uint64
		var piled int
		if s.free.Load() < s.near || s.stuck() {
			pending, piled = s.backlog()
		}
		s.pending.Store(pending)
		s.piled.Store(int64(piled))
		s.refresh()
	}
	return s.left(), s.tight(s.low, l0Low)
}

// due says whether it is time for a statfs, to one of those who ask.
func (s *space) due() bool {
	t := now()
	last := s.asked.Load()
	return (t-last >= int64(s.poll) || s.written.Load() > int64(s.step)) && s.asked.CompareAndSwap(last, t)
}

// left is what is free and not promised to what is in memory.
func (s *space) left() uint64 {
	free := s.free.Load()
	return free - min(free, s.pending.Load())
}

func (s *space) tight(mark uint64, piledMax int64) bool {
	return !s.failed.Load() && (s.left() < mark || s.piled.Load() >= piledMax)
}

// refuses says whether a batch of so many bytes must not be begun.
func (s *space) refuses(bytes int) bool {
	s.written.Add(int64(bytes))
	s.look()
	return s.tight(s.hard, l0Hard)
}

// spare says whether a compaction may write so many bytes. It may be called with
// Pebble's locks held.
func (s *space) spare(bytes int) bool {
	if s.written.Add(int64(bytes)) > int64(s.step) {
		s.refresh()
	}
	return !s.tight(s.hard+(s.low-s.hard)/spareShareOf, math.MaxInt64)
}

func (s *space) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measure()
	s.keep()
}

func (s *space) measure() {
	s.written.Store(0)
	u, err := s.fs.GetDiskUsage(s.dir)
	s.failed.Store(err != nil)
	if err == nil {
		s.free.Store(u.AvailBytes)
	}
}

// keep lays the ballast down when there is room for it above the low mark.
func (s *space) keep() {
	if s.kept || s.failed.Load() || s.free.Load() < s.low+2*s.ballast {
		return
	}
	f, err := s.fs.Create(s.path(), vfs.WriteCategoryUnspecified)
	if err != nil {
		return
	}
	err = errors.Join(f.Preallocate(0, int64(s.ballast)), f.Close())
	if err != nil {
		s.fs.Remove(s.path())
		return
	}
	s.kept = true
}

// giveUp makes room by the ballast, and says whether it is worth to write again.
func (s *space) giveUp() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.kept {
		return time.Since(s.givenUp) < givenUpGrace
	}
	if err := s.fs.Remove(s.path()); err != nil && !errors.Is(err, os.ErrNotExist) {
		return false
	}
	s.kept, s.givenUp = false, time.Now()
	s.measure()
	return true
}
