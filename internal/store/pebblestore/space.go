package pebblestore

import (
	"errors"
	"fmt"
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
)

// space watches the free disk: a statfs every freePoll at most, whoever asks.
//
//	free ≥ low            all goes
//	hard ≤ free < low     Free says low: callers take in no new work, finish old
//	free < hard           batches are refused: flushes keep the rest
//	a write finds none    the ballast is given up, and the write repeated
//
// The ballast stays in the folder after Close, for the next start.
type space struct {
	fs                 vfs.FS
	dir                string
	total              uint64 // at Open; 0: not known
	low, hard, ballast uint64
	poll               time.Duration

	free   atomic.Uint64
	failed atomic.Bool  // statfs did: nothing is refused on its account
	asked  atomic.Int64 // now() of the last statfs

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
	s := &space{fs: fs, dir: dir, poll: o.poll}
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

// look returns what is free, and whether it is below the low mark.
func (s *space) look() (free uint64, low bool) {
	t := now()
	if last := s.asked.Load(); t-last >= int64(s.poll) && s.asked.CompareAndSwap(last, t) {
		s.refresh()
	}
	free = s.free.Load()
	return free, free < s.low && !s.failed.Load()
}

// refuses says whether a batch must not be begun.
func (s *space) refuses() bool {
	free, _ := s.look()
	return free < s.hard && !s.failed.Load()
}

func (s *space) refresh() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.measure()
	s.keep()
}

func (s *space) measure() {
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
