package sim

import (
	"context"
	"fmt"
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/task"
)

// shape is what a world has beyond what the first ones had. A Narrow run has
// nothing of it.
type shape struct {
	keys     int  // different keys of tasks: each a lane; 0 = none have one
	types    int  // more types
	bursts   bool // scheduled tasks that become due together, more than memory holds
	timeouts bool // attempts with short timeouts
	late     bool // unary leases whose caller goes away, and outcomes that come late
	echoes   bool // idempotency keys that are used again
	reads    bool // people look on, and are judged by what is durable
	handing  bool // workers of a calm world hand tasks back, and end in order
	owners   bool // at times a process that was only paused goes on beside its successor
	flurry   bool // restarts of a calm world follow each other closely at times
	steady   bool // time does nothing strange, so that more can be wanted of it
	keep     task.Millis
}

// drawShape decides by a source of its own, so that what a seed was before stays.
func (w *world) drawShape() {
	w.more = rand.New(rand.NewPCG(w.o.Seed, 0x14057b7ef767814f))
	if w.o.Plain || w.o.Narrow {
		return
	}
	r := w.more
	often := func(percent int) bool { return r.IntN(100) < percent }
	s := &w.shape
	if often(40) {
		s.keys = []int{3, 20, 150}[r.IntN(3)]
	}
	if often(30) {
		s.types = []int{4, 30}[r.IntN(2)]
	}
	s.bursts = often(40)
	s.reads = often(60)
	defer func() {
		s.steady = often(60)
		s.flurry = w.calm && often(50)
	}()
	if w.calm {
		s.handing = often(50)
		return
	}
	s.timeouts, s.late, s.echoes, s.owners = often(30), often(50), often(30), often(30)
	if often(15) {
		s.keep = task.Millis(5000 + r.IntN(20_000))
	}
}

// widen gives a spec what the world's shape adds.
func (w *world) widen(s *task.Spec) {
	r := w.more
	if w.shape.keys > 0 && r.IntN(4) > 0 {
		s.Key = fmt.Sprintf("k%d/%d", r.IntN(3), r.IntN(w.shape.keys))
	}
	if w.shape.types > 0 && r.IntN(3) > 0 {
		s.Type = fmt.Sprint("t", r.IntN(w.shape.types))
	}
	if w.shape.bursts && s.Delay == 0 && s.RunAt == 0 && r.IntN(3) == 0 {
		s.Delay = max(1, task.Millis(w.burst()-w.now)) // many have this time
	}
	if w.shape.timeouts && r.IntN(3) == 0 {
		p := task.Policy{}
		if s.Policy != nil {
			p = *s.Policy
		}
		p.Timeout = task.Millis(300 + r.IntN(5000))
		s.Policy = &p
	}
}

// burst is the next of the times at which scheduled tasks come in crowds.
func (w *world) burst() task.Time {
	const apart = 8000
	return w.now + apart - (w.now-startOfTime)%apart
}

// setUp makes what the shape wants of the queues.
func (w *world) setUp() {
	if w.shape.keep == 0 {
		return
	}
	for _, q := range queueNames {
		if _, err := w.sys.SetQueue(context.Background(), q, task.QueuePatch{Retention: &w.shape.keep}); err != nil {
			w.led.cry("answer", "retention of %q: %v", q, err)
		}
	}
}

// drive makes turns for a call that waits: at times it leaves the last commit
// under way.
func (w *world) drive(n *node.Node) bool {
	busy := false
	if w.nudged != nil && w.more.IntN(2) == 0 { // while somebody reads, others go on
		k := w.nudged
		w.nudged = nil
		if k.s != nil && k.silent <= w.now {
			for range len(k.running) {
				k.finish()
			}
			k.report()
		}
	}
	if id := w.meddled; id != (task.ID{}) && w.more.IntN(2) == 0 {
		w.meddled = task.ID{}
		w.led.changing(id, task.VerbCancel) // who asks for it does not wait
		n.Change(&fading{Context: context.Background(), left: w.more.IntN(2)}, task.VerbCancel, []task.ID{id})
		busy = true
	}
	if w.more.IntN(2) == 0 {
		busy = n.Begin() || busy
	}
	if !busy {
		busy = n.Step()
	}
	if w.more.IntN(3) > 0 || !busy {
		busy = n.Refill() || busy
	}
	return busy
}

// restless is the act of a world of many shapes.
func (w *world) restless() {
	s := &w.shape
	switch k := w.more.IntN(12); {
	case k < 5 && s.reads:
		w.read()
		switch w.more.IntN(12) {
		case 0, 1:
			w.watchOne(w.more)
		case 2:
			if w.deletes && !w.calm {
				w.watchGone()
			}
		}
	case k < 6 && s.reads && w.more.IntN(4) == 0:
		w.calmly(w.lookOver)
	case k < 7 && s.echoes:
		w.calmly(w.echo)
	case k < 8 && s.late:
		w.leaseLate()
	case k < 9 && s.owners && w.more.IntN(3) == 0:
		w.ghost()
	}
}

// driver is drive, for the worlds that look on.
func (w *world) driver() func(*node.Node) bool {
	if !w.shape.reads {
		return nil
	}
	return w.drive
}
