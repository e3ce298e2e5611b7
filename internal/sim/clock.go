package sim

import (
	"context"
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	stallMax  = 20 * task.Second // the longest that a process stands still: twice the longest TTL
	stepFresh = 20               // steps for which a crash may lose what was noted of a clock that was set
	clockErr  = task.Second      // how exact times are
)

// clocks is what goes wrong with time: the process stands still, and the wall clock
// is set either way, under a process that runs or between two.
type clocks struct {
	w     *world
	dice  *rand.Rand
	skew  task.Millis // the wall clock less the world's time
	most  task.Millis // how far it ever was ahead
	set   int         // how often it was set
	last  int         // step of the last time
	stood task.Millis // all the time that the process stood still
	lost  int         // how often a start could not know how much time had passed
}

func (w *world) wall() task.Time { return w.now.Add(w.clocks.skew) }

func (c *clocks) off() bool { return c.w == nil || c.w.o.Plain || c.w.o.Steady || c.w.shape.steady }

// act lets something go wrong now and then, and looks at a task that waits.
func (c *clocks) act() {
	if c.off() || c.w.sys == nil {
		return
	}
	switch k := c.dice.IntN(200); {
	case k < 3:
		c.stall()
	case k < 5:
		c.step("under the process")
		c.w.turns(4)
	case k < 30:
		c.look()
	}
}

// stall is a process that is stopped and goes on. The world does not wait for it; of
// what workers send meanwhile nothing has arrived when it is back.
func (c *clocks) stall() {
	w := c.w
	d := task.Millis(c.dice.IntN(int(stallMax)))
	w.log("the process stands still for %d ms", d)
	before := w.now
	w.now = w.now.Add(d)
	c.stood += d
	w.giveTime(before, d)
	if w.shookLast != 0 { // who is to be back has as much more
		w.shookLast = w.shookLast.Add(d)
	}
	for id, end := range w.sessions { // each has its TTL anew
		w.sessions[id] = max(end, w.now.Add(task.DefaultSessionTTL))
	}
	w.node.Stall(d)
	w.turns(2)
}

// giveTime notes that everybody who depends on the owner has the time back for which
// it stood still.
func (w *world) giveTime(before task.Time, d task.Millis) {
	for _, k := range w.workers {
		if before < k.heard.Add(k.lasts()) {
			if k.heard = k.heard.Add(d); !k.spared {
				k.heard, k.spared = w.now, true
			}
		}
		if k.shaken != 0 && before < k.shaken.Add(adoptFor) {
			k.shaken = k.shaken.Add(d)
		}
	}
	for _, t := range w.led.order {
		if h := t.held; h != nil && !h.over && h.shaken == 0 {
			h.stood += d
			if h.end != 0 {
				h.end = h.end.Add(d)
			}
		}
	}
}

// step sets the wall clock.
func (c *clocks) step(when string) {
	most := int([]task.Millis{3 * task.Second, 2 * task.Minute, 3 * task.Hour}[c.dice.IntN(3)])
	c.to(c.skew+task.Millis(c.dice.IntN(2*most)-most), when)
}

func (c *clocks) to(skew task.Millis, when string) {
	c.w.log("the wall clock is set %s: it is ahead by %d ms, and was by %d", when, skew, c.skew)
	c.skew, c.most = skew, max(c.most, skew)
	c.set++
	c.w.led.stepped = true
	c.last = c.w.led.step
}

// between is what happens to the clock while no process runs. What a crash may have
// lost counts for that.
func (c *clocks) between() {
	if c.off() {
		return
	}
	if c.set > 0 && c.w.led.step-c.last < stepFresh {
		c.leap()
	}
	if c.dice.IntN(10) == 0 {
		c.step("between two processes")
		c.leap()
	}
}

func (c *clocks) leap() {
	c.lost++
	c.w.led.leapt = true
}

// runAt has a task run at a moment.
func (c *clocks) runAt(s *task.Spec) {
	if !c.off() && s.Delay == 0 && c.dice.IntN(6) == 0 {
		s.RunAt = c.w.wall().Add(task.Millis(c.dice.IntN(90_000)))
	}
}

// delivered holds a first delivery against the time before which it may not be. What
// was due when it came in is no matter of the calendar.
func (c *clocks) delivered(k *known, x *sent) {
	w := c.w
	switch {
	case c.off() || w.led.draining || k.canceled > 0 || k.retried || x.echo:
	case x.spec.Delay > 0 && x.lost == c.lost && w.now < x.at.Add(x.spec.Delay-clockErr):
		w.led.cry("early", "%s was delivered %d ms after it was sent, its delay is %d", k.key, w.now.Sub(x.at), x.spec.Delay)
	case k.id.Class == task.ClassCalendar && x.spec.RunAt > w.wall().Add(clockErr) && w.led.step > c.last+1:
		w.led.cry("early", "%s was delivered %d ms before its time", k.key, x.spec.RunAt.Sub(w.wall()))
	}
}

// look asks for a task that has not been delivered, and wants its time to be right.
func (c *clocks) look() {
	w := c.w
	id, ok := w.led.anyID(c.dice)
	if !ok {
		return
	}
	k := w.led.tasks[id]
	x := w.led.sent[k.key]
	if !k.acked || len(k.seen) > 0 || k.canceled+k.deleted > 0 || k.retried || x.purged || x.echo {
		return
	}
	w.turns(3) // a wall clock that was set is noticed by the next turn
	in, err := w.sys.Get(context.Background(), id)
	if w.died() || err != nil || len(in.Attempts) > 0 {
		return
	}
	switch {
	case in.State == task.Scheduled && k.id.Class == task.ClassCalendar:
		if in.ReadyAt != x.spec.RunAt || in.ReadyAt.Add(clockErr) < w.wall() {
			w.led.cry("late", "%s is to run at %d and will at %d, now is %d", k.key, x.spec.RunAt, in.ReadyAt, w.wall())
		}
	case in.State == task.Ready && k.id.Class == task.ClassCalendar && x.spec.RunAt > w.wall().Add(clockErr):
		w.led.cry("early", "%s is ready %d ms before its time", k.key, x.spec.RunAt.Sub(w.wall()))
	case in.State == task.Scheduled && x.spec.Delay != 0 && x.lost == c.lost:
		due := in.ReadyAt.Add(-c.skew)
		if due < x.at.Add(x.spec.Delay-clockErr) || due > k.at.Add(x.spec.Delay+clockErr) {
			w.led.cry("late", "%s was sent at %d and answered at %d with a delay of %d: it will run at %d", k.key, x.at, k.at, x.spec.Delay, due)
		}
	}
}
