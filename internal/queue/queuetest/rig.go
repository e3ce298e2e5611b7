package queuetest

import (
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Rig is a machine over a Store, and does what a runner does: commits Outputs,
// answers Wants, applies again what was put off. Refills may be held up, with
// the view they had when they were asked for.
type Rig struct {
	M     *queue.Machine
	Store *Store
	Cfg   queue.Config
	Now   task.Time
	Wall  task.Millis  // by how much the wall clock is behind Now
	Out   queue.Output // of the last Apply
	Trace func(now task.Time, cmds []queue.Command, o *queue.Output)

	// What the last Apply showed, over all its rounds.
	Leased  []queue.Leased
	Ended   []queue.Ended
	Revoked []queue.Revoke
	Lapsed  []queue.SessionNo
	Events  []queue.Event

	lives   lives
	points  []*queue.Loaded // answers for the next Apply
	refills []*queue.Loaded // answers that wait for Refill
	put     []queue.Command // put off
}

// NewRig opens a machine over an empty Store.
func NewRig(cfg queue.Config, now task.Time) *Rig {
	r := &Rig{Store: NewStore(), Cfg: cfg, Now: now}
	r.Cfg.Epoch, r.Cfg.Events, r.Store.Partition = 1, true, cfg.Partition
	r.open()
	return r
}

func (r *Rig) wall() task.Time { return r.Now.Add(-r.Wall) }

func (r *Rig) open() {
	r.points, r.refills, r.put = nil, nil, nil
	r.Store.cache = map[queue.Slot]*Record{}
	snap := r.Store.Snapshot()
	snap.Meta.Offset = r.Wall
	r.M = queue.New(r.Cfg, snap, r.Now)
	r.lives.begin(r)
}

// Reopen ends the machine, in order or as a crash does, and opens the next over
// what the Store holds.
func (r *Rig) Reopen(clean bool) error {
	if clean {
		r.M.Close(r.Now, false, &r.Out)
		r.Store.Commit(&r.Out)
	}
	r.Store.undo = nil // what the next owner reads is durable
	r.Cfg.Epoch++
	r.Cfg.Nonce++
	r.open()
	return r.Check()
}

// LoseLast takes the last Apply back, as a crash before it was durable does.
// Reopen must follow.
func (r *Rig) LoseLast() { r.Store.TakeBack() }

// Apply applies cmds and all that follows from them, until nothing is put off.
func (r *Rig) Apply(cmds ...queue.Command) error {
	r.Leased, r.Ended, r.Revoked, r.Lapsed, r.Events = r.Leased[:0], r.Ended[:0], r.Revoked[:0], r.Lapsed[:0], r.Events[:0]
	if err := r.once(cmds); err != nil {
		return err
	}
	for n := 0; r.Busy(); n++ {
		if n > 100 {
			return errors.New("the machine asks again and again for the same")
		}
		if err := r.once(nil); err != nil {
			return err
		}
	}
	return nil
}

// Once is one Apply: what was put off, then cmds.
func (r *Rig) Once(cmds ...queue.Command) error { return r.once(cmds) }

// Busy says whether something is put off or was asked for.
func (r *Rig) Busy() bool { return len(r.points) > 0 || len(r.put) > 0 }

// beside says of a Want that it may be answered beside later Applies.
func beside(w queue.WantKind) bool {
	switch w {
	case queue.WantBirths, queue.WantTimed, queue.WantIdemsDue, queue.WantIdemsLive, queue.WantSweepWheres, queue.WantSweepExpiries, queue.WantSweepDeadlines, queue.WantSweepChunks:
		return true
	}
	return false
}

// Refills is how many refills, and other answers that may come late, are held up.
func (r *Rig) Refills() int { return len(r.refills) }

// refillsOfLanes is how many of them bring tasks.
func (r *Rig) refillsOfLanes() (n int) {
	for _, a := range r.refills {
		if a.Want.What == queue.WantBirths || a.Want.What == queue.WantTimed {
			n++
		}
	}
	return n
}

// Refill lets the i-th refill arrive with the next Apply. A runner lets in one
// an Apply.
func (r *Rig) Refill(i int) {
	r.points = append(r.points, r.refills[i])
	r.refills = append(r.refills[:i:i], r.refills[i+1:]...)
}

func (r *Rig) once(cmds []queue.Command) error {
	all := make([]queue.Command, 0, len(r.points)+len(r.put)+len(cmds))
	want := 0
	for _, a := range r.points {
		all = append(all, queue.Command{Op: queue.OpLoaded, Loaded: a})
		if a.Want.What == queue.WantBirths || a.Want.What == queue.WantTimed {
			want += len(a.Waiting)
		}
	}
	all = append(append(all, r.put...), cmds...)
	points := r.points
	r.points, r.put = nil, nil
	r.M.Apply(r.Now, all, &r.Out)
	r.keep(points)
	r.Store.Commit(&r.Out)
	if r.Trace != nil {
		r.Trace(r.Now, all, &r.Out)
	}
	if err := r.lives.follow(&r.Out); err != nil {
		return err
	}
	r.Leased = append(r.Leased, r.Out.Leased...)
	r.Ended = append(r.Ended, r.Out.Ended...)
	r.Revoked = append(r.Revoked, r.Out.Revoked...)
	r.Lapsed = append(r.Lapsed, r.Out.Lapsed...)
	r.Events = append(r.Events, r.Out.Events...)
	if len(r.Out.Taken) != want {
		return fmt.Errorf("a refill of %d tasks was answered with %d slots", want, len(r.Out.Taken))
	}
	if r.Out.Deadline != 0 && r.Out.Deadline <= r.Now {
		return fmt.Errorf("the machine wants a tick at %d, now is %d: a loop would spin", r.Out.Deadline, r.Now)
	}
	for _, w := range r.Out.Wants {
		a := r.Store.Answer(w, r.M)
		if beside(w.What) {
			r.refills = append(r.refills, a)
		} else {
			r.points = append(r.points, a)
		}
	}
	r.put = append(r.put, r.Out.Deferred...)
	return r.Check()
}

// keep puts the records of a refill where the machine took them.
func (r *Rig) keep(points []*queue.Loaded) {
	for _, a := range points {
		if a.Want.What != queue.WantBirths && a.Want.What != queue.WantTimed {
			continue
		}
		for i := range min(len(a.Waiting), len(r.Out.Taken)) {
			r.Store.Cache(r.Out.Taken[i], a.Waiting[i].Place)
		}
	}
}

// Check is every invariant that needs no memory of what went before.
func (r *Rig) Check() error {
	if err := r.M.Check(); err != nil {
		return err
	}
	if faults := r.Store.Check(); len(faults) > 0 {
		return errors.New(strings.Join(faults, "\n"))
	}
	return r.lives.compare(r)
}
