package partition

import (
	"slices"
	"sync"
	"sync/atomic"
)

// Credit is how many more deliveries a worker takes. It belongs to the worker,
// not to a partition: every partition the worker's session is open in draws on
// the same number, and gives back what it could not use. A partition that found
// too little is hungry, and is woken as soon as there is more, whoever freed it:
// without that a drain over several partitions hangs. While several are hungry
// each may draw its share only, by the weights of the queues it holds; else the
// first to wake would take all. What the worker holds, in all of them, may be bounded
// as well (Bound).
type Credit struct {
	left atomic.Int64 // what may be drawn, for those who only look; 0 when closed

	mu     sync.Mutex // guards all below
	n      int
	most   int // deliveries that the worker may hold; 0 = any number
	held   int // those that it holds, or that credit has been drawn for
	closed bool
	first  bool // no shares: who comes first may take all (unary leases)
	taps   []*tap
	starve int // how many taps are hungry
}

// tap is one partition's use of a Credit.
type tap struct {
	weight int
	wake   func()

	// Guarded by the Credit's mu, but for hungry, which may be read without it.
	hungry atomic.Bool // it has tasks and found too little credit
	share  int         // what it may draw while others are hungry too,
	before int         // and what it might before that was split anew
	pass   float64     // how much it has drawn by shares, over its weight
	held   int         // its part of held; only its own loop changes it
}

// Add allows n more deliveries.
func (c *Credit) Add(n int) {
	c.mu.Lock()
	if !c.closed {
		c.n += n
		c.note()
		c.feed(nil)
	}
	c.mu.Unlock()
}

// Bound has the worker hold no more than most deliveries at once, over all
// partitions. It is called before any credit is given.
func (c *Credit) Bound(most int) { c.most = most }

// Open is how much credit there is, drawn or not yet.
func (c *Credit) Open() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n
}

// room is how much may be drawn now; with mu held.
func (c *Credit) room() int {
	if c.most == 0 {
		return c.n
	}
	return max(min(c.n, c.most-c.held), 0)
}

func (c *Credit) note() { c.left.Store(int64(c.room())) }

// hold notes how many deliveries of t's partition the worker holds.
func (c *Credit) hold(t *tap, n int) {
	if t.held == n {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	less := n < t.held
	c.held += n - t.held
	t.held = n
	if c.closed {
		return
	}
	if c.note(); less { // t itself may have been kept from drawing by what it held
		c.feed(nil)
	}
}

// Undivided lets whoever comes first take all: for what is answered once. It is
// called before any credit is given.
func (c *Credit) Undivided() { c.first = true }

// Close takes all credit away for good, at once and in every partition.
func (c *Credit) Close() {
	c.mu.Lock()
	c.closed, c.n = true, 0
	c.left.Store(0)
	c.mu.Unlock()
}

// Left is how much credit may be drawn.
func (c *Credit) Left() int { return int(c.left.Load()) }

// Over says whether the credit was closed.
func (c *Credit) Over() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.closed
}

// take draws up to most. When that is not to be had, t is hungry: it is woken by
// the next Add.
func (c *Credit) take(t *tap, most int) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return 0
	}
	others := c.starve
	if t.hungry.Load() {
		others--
	}
	got := min(most, c.room())
	if others > 0 && !c.first {
		if !t.hungry.Load() {
			c.setHungry(t, true)
		}
		got = min(most, t.share, c.room()) // the worker may hold more since the shares were made
		t.share -= got
		t.pass += float64(got) / float64(t.weight)
	}
	c.n -= got
	c.held += got
	t.held += got
	c.note()
	if hungry := got < most; hungry != t.hungry.Load() {
		c.setHungry(t, hungry)
		c.feed(t)
	}
	return got
}

// give returns what t took and did not use. It has no more use for any.
func (c *Credit) give(t *tap, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return
	}
	c.n += n
	c.held -= n
	t.held -= n
	c.note()
	if t.hungry.Load() {
		c.setHungry(t, false)
	}
	c.feed(t)
}

// state is how much credit may be drawn, and whether several partitions are hungry, so
// that each has its share only. It is for tests.
func (c *Credit) state() (left int, shared bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Left(), c.starve > 1
}

// want says whether t could use credit, when it draws none.
func (c *Credit) want(t *tap, hungry bool) {
	if t.hungry.Load() == hungry {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		c.setHungry(t, hungry)
		c.feed(t)
	}
}

// setHungry is called with mu held.
func (c *Credit) setHungry(t *tap, hungry bool) {
	t.hungry.Store(hungry)
	if hungry {
		c.starve++
		for _, o := range c.taps { // it begins level with the others
			if o != t && o.hungry.Load() {
				t.pass = max(t.pass, o.pass)
			}
		}
	} else {
		c.starve--
	}
	c.shareOut()
}

// shareOut splits what there is among the hungry, by weight. What can't be split
// goes to who had least so far. Whoever comes to have a share is woken: it may have
// looked when that was another's.
func (c *Credit) shareOut() {
	if c.starve < 2 || c.first {
		return
	}
	total := 0
	for _, t := range c.taps {
		if t.hungry.Load() {
			total += t.weight
		}
	}
	all := c.room()
	left := all
	for _, t := range c.taps {
		if t.hungry.Load() {
			t.before, t.share = t.share, all*t.weight/total
			left -= t.share
		}
	}
	for ; left > 0; left-- {
		var least *tap
		for _, t := range c.taps {
			if t.hungry.Load() && (least == nil || t.next() < least.next()) {
				least = t
			}
		}
		least.share++
	}
	for _, t := range c.taps {
		if t.hungry.Load() && t.before == 0 && t.share > 0 {
			t.wake()
		}
	}
}

// next is what pass will be when the whole share and one more has been drawn.
func (t *tap) next() float64 { return t.pass + float64(t.share+1)/float64(t.weight) }

// feed wakes every hungry partition but own that may draw; with mu held.
func (c *Credit) feed(own *tap) {
	if c.room() == 0 || c.starve == 0 {
		return
	}
	c.shareOut()
	for _, t := range c.taps {
		if t != own && t.hungry.Load() && (c.starve == 1 || c.first || t.share > 0) {
			t.wake()
		}
	}
}

// join adds t. A hungry one has its share of whatever is added from now on, until
// it says that it has no use for it.
func (c *Credit) join(t *tap, hungry bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t.weight = max(t.weight, 1)
	c.taps = append(c.taps, t)
	if hungry {
		c.setHungry(t, true)
	}
}

func (c *Credit) leave(t *tap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t.hungry.Load() {
		c.setHungry(t, false)
	}
	c.taps = slices.DeleteFunc(c.taps, func(x *tap) bool { return x == t })
	c.held -= t.held
	t.held = 0
	if !c.closed {
		c.note()
	}
	c.feed(nil)
}
