package sim

import (
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/task"
)

// stallMax is the longest that a process stands still: twice the longest TTL.
const stallMax = 20 * task.Second

// clocks is what goes wrong with time: the process stands still.
type clocks struct {
	w    *world
	dice *rand.Rand
}

// act lets something go wrong now and then.
func (c *clocks) act() {
	if c.w.o.Plain || c.w.o.Steady || c.w.sys == nil {
		return
	}
	if c.dice.IntN(80) == 0 {
		c.stall()
	}
}

// stall is a process that is stopped and goes on. The world does not wait for it; of
// what workers send meanwhile nothing has arrived when it is back.
func (c *clocks) stall() {
	w := c.w
	d := task.Millis(c.dice.IntN(int(stallMax)))
	w.log("the process stands still for %d ms", d)
	w.now = w.now.Add(d)
	w.node.Stall(d)
	w.turns(2)
}
