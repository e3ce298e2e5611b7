package queuetest

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// lives is what Events alone tell of each task: nothing may happen to one that they
// don't say. A start is no Event, so each owner's lives begin with what it has found.
type lives struct {
	of map[task.Seq]life
}

type life struct {
	state task.State
	place queue.Place
	batch uint64 // Apply that put its record last, of this owner
}

// begin takes in what the Store holds, and what the machine has made of it.
func (ls *lives) begin(r *Rig) {
	ls.of = map[task.Seq]life{}
	for p := range r.Store.live {
		ls.of[p.Seq] = life{state: alone(p), place: p}
	}
	for k := range r.Store.dead {
		ls.of[k.Seq] = life{state: task.Dead, place: queue.Place{Queue: k.Queue, Seq: k.Seq}}
	}
	for k, rec := range r.Store.finished {
		ls.of[k.Seq] = life{state: rec.State, place: rec.Place}
	}
	r.M.EachInMemory(0, func(v queue.TaskView) bool {
		ls.of[v.Place.Seq] = life{state: v.State, place: v.Place}
		return true
	})
}

// alone is the state that a task in the Store alone counts in.
func alone(p queue.Place) task.State {
	if p.Class.Timed() {
		return task.Scheduled
	}
	return task.Ready
}

// follow plays the Events of one Apply.
func (ls *lives) follow(o *queue.Output) error {
	for i := range o.Events {
		e := &o.Events[i]
		var err error
		if e.Kind == queue.EventPurged {
			err = ls.purge(e, o.Batch)
		} else {
			err = ls.step(e, o.Batch)
		}
		if err != nil {
			return fmt.Errorf("event %d of %d, %+v: %w", i+1, len(o.Events), *e, err)
		}
	}
	return nil
}

func (ls *lives) step(e *queue.Event, batch uint64) error {
	seq := e.Place.Seq
	was, known := ls.of[seq]
	switch {
	case was.state != e.From || known == (e.Kind == queue.EventBorn):
		return fmt.Errorf("task %x was %v", uint64(seq), was.state)
	case !known || e.From.Final():
	case e.Place.Queue != was.place.Queue:
		return fmt.Errorf("task %x stood in queue %d", uint64(seq), was.place.Queue)
	}
	now := life{e.To, e.Place, was.batch}
	switch e.Kind {
	case queue.EventBorn, queue.EventFailed, queue.EventCrashed, queue.EventReleased, queue.EventRetried, queue.EventEnded:
		now.batch = batch
	default:
		if known && !e.From.Final() && e.Place != was.place {
			return fmt.Errorf("task %x stood at %+v", uint64(seq), was.place)
		}
	}
	if ls.of[seq] = now; e.To == task.StateUnknown {
		delete(ls.of, seq)
	}
	return nil
}

// purge finds what a purge has taken by range: that is what those who hang on tasks
// have to do.
func (ls *lives) purge(e *queue.Event, batch uint64) error {
	n := int64(0)
	for seq, t := range ls.of {
		in := t.place.Queue == e.Place.Queue && t.batch != batch
		if e.From == task.Dead {
			in = in && t.state == task.Dead
		} else {
			in = in && !t.state.Final() && slices.ContainsFunc(e.Purged.Ranges, func(g queue.Range) bool {
				return t.place.Class == g.From.Class && comparePlaces(t.place, g.From) >= 0 && comparePlaces(t.place, g.To) < 0
			})
		}
		if !in {
			continue
		}
		if t.state != e.From {
			return fmt.Errorf("task %x is %v and stands in a range, at %+v", uint64(seq), t.state, t.place)
		}
		delete(ls.of, seq)
		n++
	}
	if n != e.Purged.N {
		return fmt.Errorf("%d tasks are in the ranges", n)
	}
	return nil
}

// compare holds the lives against the machine and the Store.
func (ls *lives) compare(r *Rig) error {
	type count [task.Dead + 1]int64
	live, counts := 0, map[string]*count{}
	for seq, t := range ls.of {
		if t.state.Final() && t.state != task.Dead {
			continue
		}
		name := r.M.QueueName(t.place.Queue)
		if counts[name] == nil {
			counts[name] = &count{}
		}
		counts[name][t.state]++
		if t.state == task.Dead {
			if w := r.Store.wheres[seq]; r.Store.dead[w.Dead] == nil {
				return fmt.Errorf("task %x is dead by its events, and no dead letter", uint64(seq))
			}
			continue
		}
		live++
		now := life{state: alone(t.place)}
		if v, here := r.M.Find(seq); here {
			now.state, now.place = v.State, v.Place
		} else if rec := r.Store.recordOf(seq); rec != nil {
			now.place = rec.Place
		}
		if t.state != now.state || t.place != now.place {
			return fmt.Errorf("task %x is %v at %+v by its events, and %v at %+v", uint64(seq), t.state, t.place, now.state, now.place)
		}
	}
	if live != len(r.Store.live) {
		return fmt.Errorf("%d tasks live by their events, %d in the store", live, len(r.Store.live))
	}
	for _, q := range r.M.QueueInfos(nil, nil) {
		c := counts[q.Name]
		if c == nil {
			c = &count{}
		}
		if got := (count{task.Scheduled: q.Scheduled, task.Ready: q.Ready, task.Blocked: q.Blocked, task.Running: q.Running, task.Dead: q.Dead}); got != *c {
			return fmt.Errorf("queue %q counts by state %v, by events %v", q.Name, got, *c)
		}
	}
	return nil
}
