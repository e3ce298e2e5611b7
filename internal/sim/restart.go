package sim

import (
	"context"

	"github.com/penstock-io/penstock/internal/task"
)

// againMax is less than a start waits for a worker that an earlier one has missed.
const againMax = 1400

// shake restarts the node, once or several times in quick succession, in a world in
// which nobody else misbehaves: in order or by a crash, that may lose what was not
// durable. The workers live through it and are back in time, so that all that was
// promised of a restart must hold: no lease is lost, no crash is counted, order is
// kept, and dispatch goes on at once.
func (w *world) shake() {
	patience, left := 1000, w.unheard
	for w.shape.flurry && w.more.IntN(2) == 0 { // nobody is back in between
		if !w.restarted(w.more.IntN(8000)) {
			return
		}
		w.advance(task.Millis(w.more.IntN(againMax)))
		patience = againMax / len(w.workers)
	}
	if !w.restarted(w.dice.IntN(1000)) {
		return
	}
	if !w.clocks.off() && w.more.IntN(3) == 0 { // who is to be back has as much more time
		w.clocks.stall()
	}
	for _, i := range w.dice.Perm(len(w.workers)) {
		w.turns(w.dice.IntN(3))
		w.advance(task.Millis(w.dice.IntN(patience)))
		if k := w.workers[i]; k.beaten != 0 { // it has been here
			if k.attach(); w.shape.flurry && k.s != nil { // it would take what the others run
				k.allow(1 + w.more.IntN(8))
			}
		}
	}
	if !left { // else one that has gone is waited for
		w.goesOn()
	}
}

// restarted ends the process, one way or another, and begins the next after so many
// milliseconds, if that can be.
func (w *world) restarted(down int) bool {
	w.restart++
	switch w.dice.IntN(3) {
	case 0:
		w.log("restart in order")
		w.fell(true)
		if err := w.sys.Close(context.Background()); err != nil {
			w.led.cry("broke", "close: %v", err)
		}
		w.mem.Sync()
	case 1:
		w.log("the process crashes at rest")
		w.mem.Sync()
		w.mem.Crash(0)
	default:
		w.log("the process crashes")
		w.torn += w.mem.Pending()
		w.mem.Tear()
	}
	w.fell(false)
	w.sys = nil
	for _, k := range w.workers {
		k.cutOff()
	}
	w.now = w.now.Add(task.Millis(down))
	return w.open()
}

// goesOn wants a task to be given out now, if one is ready and a worker is free for
// all: checker "idle".
func (w *world) goesOn() {
	k := w.workers[0]
	if k.s == nil {
		return
	}
	k.allow(1)
	w.rest()
	infos, err := w.sys.Queues(context.Background(), nil)
	if err != nil || k.credit == 0 {
		return
	}
	for _, q := range infos {
		if q.Ready > 0 {
			w.led.cry("idle", "queue %q has %d ready tasks after a restart, all workers are back, and %s gets none", q.Name, q.Ready, k.id())
		}
	}
}

// revoked: a worker hears that a lease is lost. In a calm world none is, unless its
// outcome has already been taken.
func (k *worker) revoked(ts []task.Token) {
	if !k.w.calm || k.w.led.draining {
		return
	}
	for _, d := range k.running {
		for _, t := range ts {
			if d.Token == t {
				k.w.led.cry("lease", "%s lost the lease of %s, which it runs", k.id(), keyOf(d.Payload))
			}
		}
	}
}

// early holds a delivery against the time that its task had to wait for: that of
// its birth, and what the last outcome asked for.
func (l *ledger) early(k *known, d task.Delivery) {
	if !l.held {
		return
	}
	at := d.ID.Due
	if n := len(k.seen); n > 0 && !k.retried {
		for i := range k.outcomes {
			if o := &k.outcomes[i]; o.Token == k.seen[n-1].Token && o.known && o.code == task.OK && o.Delay > 0 {
				at = max(at, o.at.Add(o.Delay))
			}
		}
	}
	if at > l.now() && !k.retried {
		l.cry("early", "%s was delivered at %d, its time is %d", k.key, l.now(), at)
	}
}

// leave has the last worker close its session, and gives those that never came back
// the time that they have.
func (w *world) leave() {
	for _, k := range w.workers {
		if k.s != nil {
			k.s.Close()
			k.cutOff()
		}
	}
	w.advance(task.DefaultSessionTTL + 2*task.Second)
	w.rest()
}
