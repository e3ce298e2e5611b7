package partition

import (
	"math"
	"slices"
	"sync"
	"sync/atomic"
)

// Credit is how many more deliveries a worker takes. It belongs to the worker,
// not to a partition: every partition the worker's session is open in draws on
// the same number, and gives back what it could not use. A partition that found
// too little is woken as soon as there is more, whoever freed it: without that
// a drain over several partitions hangs.
type Credit struct {
	n    atomic.Int64 // far below zero: closed
	mu   sync.Mutex   // for changes of taps
	taps atomic.Pointer[[]*tap]
}

// tap is one partition's use of a Credit.
type tap struct {
	hungry atomic.Bool // it has tasks and found too little credit
	wake   func()
}

const creditClosed = math.MinInt64 / 2

// Add allows n more deliveries.
func (c *Credit) Add(n int) {
	if c.n.Add(int64(n)) > 0 {
		c.feed(nil)
	}
}

// Close takes all credit away for good, at once and in every partition.
func (c *Credit) Close() { c.n.Store(creditClosed) }

// Left is how much credit there is.
func (c *Credit) Left() int { return int(max(0, c.n.Load())) }

func (c *Credit) closed() bool { return c.n.Load() < creditClosed/2 }

// take draws up to most. When that is not to be had, t is woken by the next Add.
func (c *Credit) take(t *tap, most int) int {
	for {
		have := c.n.Load()
		if have < int64(most) {
			t.hungry.Store(true)
			if have = c.n.Load(); have <= 0 {
				return 0
			}
		}
		got := min(int64(most), have)
		if c.n.CompareAndSwap(have, have-got) {
			return int(got)
		}
	}
}

// starve marks t as hungry and says whether there is still no credit.
func (t *tap) starve(c *Credit) bool {
	if !t.hungry.Load() {
		t.hungry.Store(true)
	}
	return c.Left() == 0
}

// give returns what t took and did not use.
func (c *Credit) give(t *tap, n int) {
	if c.n.Add(int64(n)) > 0 {
		c.feed(t)
	}
}

// feed wakes every partition but own that is hungry.
func (c *Credit) feed(own *tap) {
	taps := c.taps.Load()
	if taps == nil {
		return
	}
	for _, t := range *taps {
		if t != own && t.hungry.Load() && t.hungry.Swap(false) {
			t.wake()
		}
	}
}

func (c *Credit) join(t *tap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var taps []*tap
	if old := c.taps.Load(); old != nil {
		taps = slices.Clone(*old)
	}
	taps = append(taps, t)
	c.taps.Store(&taps)
}

func (c *Credit) leave(t *tap) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if old := c.taps.Load(); old != nil {
		taps := slices.DeleteFunc(slices.Clone(*old), func(x *tap) bool { return x == t })
		c.taps.Store(&taps)
	}
}
