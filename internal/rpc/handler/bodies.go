package handler

import (
	"cmp"
	"context"
	"runtime"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	bodiesDefault  = 256 << 20
	freeBytes      = 64 << 10               // of each request: never waited for, so that small calls pass
	seniorBytesMax = 2*bodyBytesMax + 1<<20 // kept for one request: enough for most; for more it waits until others give theirs back
	bodyWaitMax    = 5 * time.Second        // for room; well below what makes a client think that its connection is dead
	largeBytes     = 256 << 10              // of memory: from here on a request stands in line with others of its kind
	lineBeside     = 1                      // so many more than processors are served at once: they also wait for the disk

	burstBytes = 16 << 20 // a peak that is worth giving memory back for
	calmMax    = 10 * time.Second
)

// bodies is the memory that requests may take, over all connections: their
// bytes as they come in and are unpacked, and what they are decoded into, which is
// weighed before it is made.
//
// A request takes its share as it grows and waits when there is no room. Two
// half-read bodies that wait for each other would wait for ever: so a part is
// kept for one at a time, the oldest that waits, and is enough for it to end. Who
// waits too long is refused, and what it held goes to the others.
type bodies struct {
	max  int64
	wait time.Duration
	last atomic.Uint64 // numbers claims
	full atomic.Bool   // nobody but the senior gets more
	line chan struct{} // large requests that are decoded, or being carried out
	ends chan struct{} // those that finish tasks: they never stand behind what admits new ones

	mu      sync.Mutex
	held    int64
	refused int64
	waiting []*claim // oldest first
	senior  *claim   // may use the part that is kept

	peak int64     // since memory was given back
	calm time.Time // since when far less than the peak is held
	free func()    // gives memory back
}

// claim is what one request, stream or connection has taken.
type claim struct {
	b       *bodies
	born    uint64
	n       int64         // guarded by b.mu
	want    int64         // while it waits; guarded by b.mu
	granted chan struct{} // closed when it has waited long enough
	over    bool          // guarded by b.mu
}

func newBodies(limit int64) *bodies {
	if limit == 0 {
		limit = bodiesDefault
	}
	most := runtime.GOMAXPROCS(0) + lineBeside
	return &bodies{max: limit, wait: bodyWaitMax, free: freeMemory, line: make(chan struct{}, most), ends: make(chan struct{}, most)}
}

func (b *bodies) claim() *claim { return &claim{b: b, born: b.last.Add(1)} }

// take adds n bytes, which need not be there yet. It waits for room, but not for
// long.
func (c *claim) take(ctx context.Context, n int) error {
	b := c.b
	b.mu.Lock()
	if c.over || c.n+int64(n) <= freeBytes || b.fits(c, int64(n)) && (len(b.waiting) == 0 || c == b.senior) {
		b.add(c, int64(n))
		b.mu.Unlock()
		return nil
	}
	c.want, c.granted = int64(n), make(chan struct{})
	at, _ := slices.BinarySearchFunc(b.waiting, c, func(a, b *claim) int { return cmp.Compare(a.born, b.born) })
	b.waiting = slices.Insert(b.waiting, at, c)
	b.serve()
	b.mu.Unlock()
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case <-c.granted:
		return nil
	case <-t.C:
	case <-ctx.Done():
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.leave(c) {
		return nil // it has been granted meanwhile
	}
	b.serve()
	if err := ctx.Err(); err != nil {
		return err
	}
	b.refused++
	return task.Errorf(task.Exhausted, "the requests that are being received take all of the %d MiB that they may (--body-bytes): "+
		"send this one again in a moment, send fewer large ones at a time, or raise the limit", b.max>>20)
}

// decode has a request decoded that takes weight bytes from then on, when there is
// room for them. Large ones are decoded, and carried out, a few at a time: all at
// once they would take the processors, and the queue's own line, from small ones. Who
// calls leave, at the latest at the request's end, lets the next one in.
func (c *claim) decode(ctx context.Context, line chan struct{}, weight int, read func() error) (leave func(), err error) {
	if most := c.b.max / 2; int64(weight) > most {
		return nil, task.Errorf(task.Invalid, "decoded, the request would take some %d MiB of memory, and one may take %d (half of --body-bytes): "+
			"send fewer tasks in one call", weight>>20, most>>20)
	}
	if err := c.take(ctx, weight); err != nil {
		return nil, err
	}
	leave = func() {}
	if weight > largeBytes {
		if leave, err = c.b.enter(ctx, line); err != nil {
			return nil, err
		}
	}
	if err := read(); err != nil {
		leave()
		return nil, err
	}
	return leave, nil
}

// enter waits for a place in a line of large requests.
func (b *bodies) enter(ctx context.Context, line chan struct{}) (leave func(), err error) {
	t := time.NewTimer(b.wait)
	defer t.Stop()
	select {
	case line <- struct{}{}:
		return sync.OnceFunc(func() { <-line }), nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-t.C:
	}
	b.mu.Lock()
	b.refused++
	b.mu.Unlock()
	return nil, task.Errorf(task.Exhausted, "large requests come in faster than they are carried out: send this one again in a moment, or fewer at a time")
}

// lineOf is the line in which large requests of a method stand.
func (b *bodies) lineOf(m *method) chan struct{} {
	if m.ends {
		return b.ends
	}
	return b.line
}

// force adds n bytes that are there already.
func (c *claim) force(n int) {
	c.b.mu.Lock()
	c.b.add(c, int64(n))
	c.b.mu.Unlock()
}

// give takes n bytes off.
func (c *claim) give(n int) {
	b := c.b
	b.mu.Lock()
	b.add(c, -min(int64(n), c.n))
	b.serve()
	b.mu.Unlock()
}

// end gives everything back; what comes later does not count.
func (c *claim) end() {
	b := c.b
	b.mu.Lock()
	defer b.mu.Unlock()
	if c.over {
		return
	}
	b.add(c, -c.n)
	c.over = true
	if b.senior == c {
		b.senior = nil
	}
	if b.leave(c) {
		close(c.granted)
	}
	b.serve()
}

// add changes what c has; mu is held.
func (b *bodies) add(c *claim, n int64) {
	if c.over {
		return
	}
	c.n += n
	b.held += n
	b.peak = max(b.peak, b.held)
	if b.held > b.peak/4 {
		b.calm = time.Time{}
	}
	b.full.Store(len(b.waiting) > 0 || b.held > b.max-seniorBytesMax)
}

// fits says whether c may have n more; mu is held.
func (b *bodies) fits(c *claim, n int64) bool {
	return b.held+n <= b.max-seniorBytesMax || c == b.senior && (c.n+n <= seniorBytesMax || b.held+n <= b.max)
}

// serve grants what now fits, in the order of age; mu is held.
func (b *bodies) serve() {
	for len(b.waiting) > 0 {
		c := b.waiting[0]
		if b.senior == nil && !b.fits(c, c.want) {
			b.senior = c
		}
		if !b.fits(c, c.want) {
			return
		}
		b.leave(c)
		b.add(c, c.want)
		close(c.granted)
	}
}

// leave takes c out of those who wait; false when it is not among them. mu is
// held.
func (b *bodies) leave(c *claim) bool {
	i := slices.Index(b.waiting, c)
	if i < 0 {
		return false
	}
	b.waiting = slices.Delete(b.waiting, i, i+1)
	b.full.Store(len(b.waiting) > 0 || b.held > b.max-seniorBytesMax)
	return true
}

// settle gives memory back to the system when a burst has been over for a while.
// Go's own collector would first look at it minutes later: it runs by what is
// allocated, and after a burst that is next to nothing.
func (b *bodies) settle(now time.Time) {
	b.mu.Lock()
	if b.peak < burstBytes || b.held > b.peak/4 {
		b.mu.Unlock()
		return
	}
	if b.calm.IsZero() {
		b.calm = now
	}
	if now.Sub(b.calm) < calmMax {
		b.mu.Unlock()
		return
	}
	b.peak, b.calm = b.held, time.Time{}
	b.mu.Unlock()
	b.free()
}

// freeMemory collects twice: buffers in a sync.Pool outlive the first one.
func freeMemory() {
	runtime.GC()
	debug.FreeOSMemory()
}

// Bodies is how many bytes of memory requests take now, and how many requests
// were refused because there was no room.
func (s *Server) Bodies() (held, refused int64) {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	return s.bodies.held, s.bodies.refused
}
