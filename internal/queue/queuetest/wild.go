package queuetest

import (
	"fmt"
	"hash/fnv"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// TryWild lets a Workload loose without the Model: several commands share an
// Apply, refills come late and in any order, time jumps. It holds what needs no
// prediction: the machine's and the Store's invariants, no task completed twice,
// none leased while it is leased, counts that add up.
func TryWild(d *Draw, window, steps int, log func(string)) error {
	rig := NewRig(queue.Config{Partition: 1, WindowTasks: window, QueueIdle: 3 * task.Hour}, 1_000_000)
	if log != nil {
		rig.Trace = traceTo(log)
	}
	return wild(rig, d, steps, log)
}

// Sum is a hash over all Outputs of a wild run.
func Sum(d *Draw, window, steps int) (uint64, error) {
	rig := NewRig(queue.Config{Partition: 1, WindowTasks: window, Nonce: 7, QueueIdle: 3 * task.Hour}, 1_000_000)
	h := fnv.New64a()
	rig.Trace = func(now task.Time, _ []queue.Command, o *queue.Output) {
		// What points into caller's memory is not part of what was decided.
		c := *o
		c.Deferred = nil
		c.Births = slices.Clone(o.Births)
		for i := range c.Births {
			c.Births[i].Spec = nil
		}
		c.Finished.Puts = slices.Clone(o.Finished.Puts)
		for i := range c.Finished.Puts {
			c.Finished.Puts[i].Outcome = nil
		}
		c.Timed, c.Dead.Puts, c.Leased = slices.Clone(o.Timed), slices.Clone(o.Dead.Puts), slices.Clone(o.Leased)
		for i := range c.Timed {
			c.Timed[i].Attempt = nil
		}
		for i := range c.Dead.Puts {
			c.Dead.Puts[i].Attempt = nil
		}
		for i := range c.Leased {
			c.Leased[i].Lease = nil
		}
		c.Queues = slices.Clone(o.Queues)
		for i := range c.Queues {
			c.Queues[i].Config.Backoff = nil
		}
		fmt.Fprintf(h, "%d %+v\n", now, c)
	}
	err := wild(rig, d, steps, nil)
	return h.Sum64(), err
}

func wild(rig *Rig, d *Draw, steps int, log func(string)) error {
	w := &Workload{D: d, Rig: rig}
	var l ledger
	l.reset()
	for i := 0; i < steps && !d.Done(); i++ {
		if d.Often(2) {
			clean := d.Often(30)
			if !clean && d.Often(50) {
				rig.LoseLast()
				l.lose()
			}
			w.sessions = nil
			rig.Now = rig.Now.Add(task.Millis(d.N(3000)))
			if err := rig.Reopen(clean); err != nil {
				return fmt.Errorf("step %d: reopen: %w", i, err)
			}
			l.reopened()
			continue
		}
		if n := rig.Refills(); n > 0 && d.Often(60) {
			rig.Refill(d.N(n))
		}
		var cmds []queue.Command
		for range 1 + d.N(4) {
			pause, c := w.Next()
			rig.Now = rig.Now.Add(pause)
			cmds = append(cmds, c)
			if log != nil {
				log(fmt.Sprintf("%d: +%d %s", i, pause, describe(&c)))
			}
		}
		if d.Often(3) {
			rig.Wall += task.Millis(d.N(20_000)) - 10_000
			cmds = append(cmds, queue.Command{Op: queue.OpClock, Offset: rig.Wall})
		}
		rig.Leased, rig.Ended = rig.Leased[:0], rig.Ended[:0]
		if err := rig.Once(cmds...); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
		for k := range cmds {
			if log != nil {
				log("     " + answered(rig, &cmds[k]))
			}
		}
		// A batch that was put off is answered by a later Apply: its IDs are known then.
		for k := range cmds {
			if !slices.ContainsFunc(rig.Out.Deferred, func(c queue.Command) bool { return c.Enqueue != nil && c.Enqueue == cmds[k].Enqueue }) {
				w.Saw(&cmds[k])
			}
		}
		if err := l.follow(rig); err != nil {
			return fmt.Errorf("step %d: %w", i, err)
		}
	}
	return nil
}

// ledger follows who holds which task.
type ledger struct {
	ended map[task.Seq]task.State
	last  []task.Seq // ended by the last Apply
	fence map[task.Seq]uint64
}

func (l *ledger) reset() {
	l.ended, l.fence = map[task.Seq]task.State{}, map[task.Seq]uint64{}
}

func (l *ledger) reopened() { l.last = nil }

// lose forgets what the last Apply said: it never became durable.
func (l *ledger) lose() {
	for _, s := range l.last {
		delete(l.ended, s)
	}
}

func (l *ledger) follow(r *Rig) error {
	l.last = l.last[:0]
	for i := range r.Out.Leased {
		t := r.Out.Leased[i].Token
		if l.ended[t.Seq] == task.Succeeded {
			return fmt.Errorf("task %x succeeded and is leased again", uint64(t.Seq))
		}
		if f := t.Fence(); f <= l.fence[t.Seq] {
			return fmt.Errorf("task %x: the fencing number does not rise: %d after %d", uint64(t.Seq), f, l.fence[t.Seq])
		} else {
			l.fence[t.Seq] = f
		}
	}
	for _, e := range r.Out.Ended {
		if was, twice := l.ended[e.Seq]; twice && was == task.Succeeded && e.State != task.StateUnknown {
			return fmt.Errorf("task %x succeeded and then ended again as %v", uint64(e.Seq), e.State)
		}
		l.ended[e.Seq] = e.State
		l.last = append(l.last, e.Seq)
	}
	for _, q := range r.M.QueueInfos(nil, nil) {
		if q.Scheduled < 0 || q.Ready < 0 || q.Running < 0 || q.Blocked < 0 || q.Dead < 0 || q.DeadBytes < 0 || q.Canceled < 0 || q.Expired < 0 {
			return fmt.Errorf("queue %q: counts below zero: %+v", q.Name, q)
		}
	}
	return nil
}
