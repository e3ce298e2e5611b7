package partition

import (
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Clock tells the two times of a partition. Machine time runs by the steady clock
// while the process lives, and never goes back. At a start the time since the
// computer was started tells how much has passed; only if that was started anew, or
// does not tell, is the wall clock asked. The wall clock maps users' moments to
// machine time and may be set either way. A Clock outlives the Runner that uses it,
// so that a partition which is opened anew goes on by the steady clock.
type Clock struct {
	wall   func() task.Time
	steady func() task.Time
	boot   uint64       // the run of the computer since whose beginning steady counts; 0: it counts from anywhere
	set    bool         // begin was called
	base   atomic.Int64 // machine time less the steady clock
	offset atomic.Int64 // machine time less wall time, as far as it was noted
}

// offsetSlack is how far the wall clock may drift before that is noted: a clock that
// is slewed, and readings of two clocks a moment apart, move nothing.
const offsetSlack = 100

// NewClock makes a Clock of a wall clock and one that is never set, whatever it
// counts from.
func NewClock(wall, steady func() task.Time) *Clock { return &Clock{wall: wall, steady: steady} }

// CountsFrom says that the steady clock counts from the beginning of a run of the
// computer, which boot names, and so goes on over a restart of the process.
func (c *Clock) CountsFrom(boot uint64) { c.boot = boot }

// Forward makes a steady clock of one that is moved by hand: what goes back stands
// still.
func Forward(now func() task.Time) func() task.Time {
	var mu sync.Mutex
	last := now()
	sum := last
	return func() task.Time {
		mu.Lock()
		defer mu.Unlock()
		t := now()
		sum += max(0, t-last)
		last = t
		return sum
	}
}

// begin goes on from where the last owner was. If the wall clock says that less time
// than none has passed, none has: lengths of time are right from here on, and the
// offset says by how much the machine's time is ahead.
func (c *Clock) begin(m *queue.Meta) {
	steady, wall := c.steady(), c.wall()
	now := wall.Add(m.Offset)
	switch {
	case c.set:
		now = steady.Add(task.Millis(c.base.Load()))
	case c.boot != 0 && m.Boot == c.boot && steady.Add(m.Base) >= m.Now.Add(-offsetSlack):
		now = steady.Add(m.Base)
	}
	now = max(now, m.Now)
	c.set = true
	c.base.Store(int64(now - steady))
	if m.Boot, m.Base = c.boot, 0; c.boot != 0 {
		m.Base = now.Sub(steady)
	}
	c.offset.Store(int64(m.Offset))
	c.note()
	m.Offset = c.Offset()
}

// Now is machine time.
func (c *Clock) Now() task.Time { return c.steady().Add(task.Millis(c.base.Load())) }

// Offset is by how much machine time is ahead of the wall clock.
func (c *Clock) Offset() task.Millis { return task.Millis(c.offset.Load()) }

// note looks at the wall clock, and says whether it was set.
func (c *Clock) note() bool {
	raw, was := c.Now().Sub(c.wall()), c.Offset()
	if d := raw - was; d >= -offsetSlack && d <= offsetSlack {
		return false
	}
	c.offset.Store(int64(raw))
	return true
}

// out maps machine times to the wall clock, on their way to users.
func (c *Clock) out(ts ...*task.Time) {
	d := c.Offset()
	if d == 0 {
		return
	}
	for _, t := range ts {
		if *t != 0 {
			*t = t.Add(-d)
		}
	}
}

func (c *Clock) outInfo(i *task.Info) {
	c.out(&i.EnqueuedAt, &i.ReadyAt, &i.StartedAt, &i.FinishedAt, &i.ExpiresAt)
	for k := range i.Attempts {
		c.out(&i.Attempts[k].Started, &i.Attempts[k].Ended)
	}
}

func (c *Clock) outDelivery(d *task.Delivery) { c.out(&d.EnqueuedAt, &d.LeaseEnd) }

func (c *Clock) outQueue(q *task.QueueInfo) {
	c.out(&q.OldestReady, &q.HistoryFrom)
	for k := range q.Unserved {
		c.out(&q.Unserved[k].Oldest)
	}
	q.Earlier = append([]task.EarlierWidth(nil), q.Earlier...) // the machine's own
	for k := range q.Earlier {
		c.out(&q.Earlier[k].Until)
	}
}
