package pebblestore

import (
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// scheduler lets Pebble compact, when all tables have been read whole: a damaged
// one is then an error of the start. It is Pebble's own scheduler, which can't be
// reached from outside, with a door before it.
//
// Writers don't wait for the rest of the tables: when they would have to, the door
// is opened. What a compaction reads is checked while it is read, and unreadable
// takes care of what it may find.
type scheduler struct {
	dead   *atomic.Bool // no compaction is begun any more
	ready  atomic.Bool  // the door is open
	wanted atomic.Bool  // a compaction waits before it
	db     pebble.DBForCompaction
	stop   chan struct{}
	wake   chan struct{}
	end    sync.WaitGroup

	heldUntil atomic.Int64 // now() when one may be tried again that found no room
	held      atomic.Int64 // for how long that was; 0: the last one went well

	mu      sync.Mutex
	running int  // guarded by mu
	over    bool // guarded by mu
}

var (
	_ pebble.CompactionScheduler   = (*scheduler)(nil)
	_ pebble.CompactionGrantHandle = (*scheduler)(nil)
)

// grantEvery: how many may run changes with what is to be done, and nobody tells.
const grantEvery = 100 * time.Millisecond

// A compaction that finds no room has written for nothing: the next one has a
// little patience, then more.
const (
	holdMin = 250 * time.Millisecond
	holdMax = 10 * time.Second
)

// hold keeps compactions from being begun for a while from t on, which is now().
// Others that run go on.
func (c *scheduler) hold(t int64) {
	if t < c.heldUntil.Load() {
		return
	}
	d := min(max(2*c.held.Load(), int64(holdMin)), int64(holdMax))
	c.held.Store(d)
	c.heldUntil.Store(t + d)
}

// release ends that: one went well, or writers wait for one.
func (c *scheduler) release() {
	c.held.Store(0)
	c.heldUntil.Store(0)
}

func (c *scheduler) holding(t int64) bool { return t < c.heldUntil.Load() }

func newScheduler(dead *atomic.Bool) *scheduler {
	return &scheduler{dead: dead, stop: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// open opens the door. It may be called with Pebble's locks held.
func (c *scheduler) open() {
	if !c.ready.Swap(true) {
		c.poke()
	}
}

func (c *scheduler) poke() {
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Register implements pebble.CompactionScheduler.
func (c *scheduler) Register(_ int, db pebble.DBForCompaction) {
	c.db = db
	c.end.Go(c.grant)
}

// Unregister implements pebble.CompactionScheduler.
func (c *scheduler) Unregister() {
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	close(c.stop)
	c.end.Wait()
}

// TrySchedule implements pebble.CompactionScheduler. Pebble's locks are held.
func (c *scheduler) TrySchedule() (bool, pebble.CompactionGrantHandle) {
	if !c.ready.Load() {
		c.wanted.Store(true)
		return false, nil
	}
	return c.take(), c
}

// stuck says whether tables pile up: the last compaction found no room.
func (c *scheduler) stuck() bool { return c.held.Load() > 0 }

// take says whether one more may run, and counts it.
func (c *scheduler) take() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over || c.dead.Load() || !c.ready.Load() || c.holding(now()) || c.running >= c.db.GetAllowedWithoutPermission() {
		return false
	}
	c.running++
	return true
}

func (c *scheduler) giveBack() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.running--
}

// grant starts what waits, until Unregister.
func (c *scheduler) grant() {
	ticks := time.NewTicker(grantEvery)
	defer ticks.Stop()
	for {
		select {
		case <-ticks.C:
		case <-c.wake:
		case <-c.stop:
			return
		}
		if c.dead.Load() {
			return
		}
		for c.take() {
			waiting, _ := c.db.GetWaitingCompaction()
			if !waiting || !c.db.Schedule(c) {
				c.giveBack()
				break
			}
		}
	}
}

// UpdateGetAllowedWithoutPermission implements pebble.CompactionScheduler.
func (c *scheduler) UpdateGetAllowedWithoutPermission() { c.poke() }

// Started implements pebble.CompactionGrantHandle.
func (c *scheduler) Started() {}

// MeasureCPU implements pebble.CompactionGrantHandle.
func (c *scheduler) MeasureCPU(pebble.CompactionGoroutineKind) {}

// CumulativeStats implements pebble.CompactionGrantHandle.
func (c *scheduler) CumulativeStats(pebble.CompactionGrantHandleStats) {}

// Done implements pebble.CompactionGrantHandle.
func (c *scheduler) Done() {
	c.giveBack()
	c.poke()
}

// unreadable ends the store for a table that can't be read. A compaction that met
// it does not return from here: Pebble's would panic over the error where it drops
// what a SingleDelete deleted (v2.1.7, compact.Iter.skipDueToSingleDeleteElision),
// in a goroutine of its own, where nothing can catch it and the process ends. The
// goroutine waits for ever, and Pebble is not closed: see docs/decisions/0010.
func (s *Store) unreadable(why error) {
	if !inCompaction() {
		s.guard.kill(why)
		return
	}
	s.wedge() // before kill, which begins to close Pebble
	s.guard.kill(why)
	select {}
}

// wedge says that Pebble's locks are lost, or a goroutine it would wait for.
func (s *Store) wedge() { s.wedgeOnce.Do(func() { close(s.wedged) }) }

// inCompaction says whether the caller's caller is a compaction of Pebble's.
func inCompaction() bool {
	var pcs [128]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(2, pcs[:])])
	for {
		f, more := frames.Next()
		if strings.Contains(f.Function, "/pebble/v2/internal/compact.") {
			return true
		}
		if !more {
			return false
		}
	}
}
