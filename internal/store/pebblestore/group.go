package pebblestore

import (
	"runtime"
	"sync"
	"time"

	"github.com/cockroachdb/pebble/v2"
)

// group gives the partitions of a node one fsync for all of them.
//
// One partition alone needs none of this: its batch asks for the sync itself.
// With several, Pebble's log writer would sync for whoever comes first, and the
// others' batches would wait for the next sync while the first one's callers
// come back: the partitions take turns, and each fsync serves one of them. Here
// batches go into the log without asking, and one goroutine asks for all that
// have joined a round. Who has just been answered is likely to come again at
// once, so it yields until all of the last round and all who waited have joined,
// or nobody comes any more: no timer is fine enough, and a fixed delay hurts
// light load.
type group struct {
	s    *Store
	once sync.Once // starts run
	end  sync.WaitGroup
	stop chan struct{}
	wake chan struct{}

	mu      sync.Mutex
	next    *round // being joined; guarded by mu
	last    *hold  // who began last; guarded by mu
	lastAt  int64  // now() of that; guarded by mu
	otherAt int64  // now() when somebody else last did; guarded by mu
	begun   bool   // somebody else ever did; guarded by mu
}

type round struct {
	joined int
	done   chan struct{}
}

const (
	quietMax   = 3                    // yields without a newcomer
	aloneAfter = 5 * time.Millisecond // without a batch of another partition
)

func newGroup(s *Store) *group {
	return &group{s: s, stop: make(chan struct{}), wake: make(chan struct{}, 1)}
}

// several says whether another partition than h's has begun a batch just now.
func (g *group) several(h *hold) bool {
	t := now()
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.last != h {
		g.otherAt, g.begun = g.lastAt, g.last != nil
		g.last = h
	}
	g.lastAt = t
	return g.begun && t-g.otherAt < int64(aloneAfter)
}

// join adds a batch that is in the log's buffer to the next round. The gate is
// held.
func (g *group) join() *round {
	g.once.Do(func() { g.end.Go(g.run) })
	g.mu.Lock()
	r := g.next
	if r == nil {
		r = &round{done: make(chan struct{})}
		g.next = r
	}
	r.joined++
	g.mu.Unlock()
	select {
	case g.wake <- struct{}{}:
	default:
	}
	return r
}

func (g *group) joined() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.next == nil {
		return 0
	}
	return g.next.joined
}

func (g *group) take() *round {
	g.mu.Lock()
	defer g.mu.Unlock()
	r := g.next
	g.next = nil
	return r
}

// run syncs rounds until stop is closed, and then what is left.
func (g *group) run() {
	last := 0
	for {
		g.gather(last)
		r := g.take()
		if r != nil {
			last = r.joined
			g.sync(r)
			continue
		}
		last = 0
		select {
		case <-g.wake:
		case <-g.stop:
			if r = g.take(); r == nil {
				return
			}
			g.sync(r)
		}
	}
}

// gather yields until the last round's are back.
func (g *group) gather(last int) {
	if last == 0 {
		return
	}
	before := g.joined()
	want := last + before // those just answered, and those who waited for their turn
	for quiet := 0; quiet < quietMax && before < want; {
		runtime.Gosched()
		if n := g.joined(); n > before {
			before, quiet = n, 0
		} else {
			quiet++
		}
	}
}

// sync makes durable all that is in the log's buffer. Whether that went well is
// for the waiters to ask the guard.
func (g *group) sync(r *round) {
	defer close(r.done)
	if g.s.guard.dead.Load() {
		return
	}
	if err := g.s.barrier(); err != nil {
		g.s.guard.kill(err)
	}
}

func (s *Store) barrier() (err error) {
	defer s.caught(&err)
	b := s.db.NewBatch()
	if err := b.LogData(nil, nil); err != nil {
		return err
	}
	if err := s.db.Apply(b, pebble.Sync); err != nil {
		return err
	}
	return b.Close()
}
