package sim

import (
	"context"
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/task"
)

// What people do: change tasks and queues, and wait for ends.

// operate is what people do: cancel, retry, pause, resume, change settings.
func (w *world) operate() {
	ctx := context.Background()
	switch w.rng.IntN(6) {
	case 0, 1:
		if id, ok := w.led.anyID(w.rng); ok {
			v := task.VerbCancel
			switch k := w.rng.IntN(10); {
			case k < 4:
				v = task.VerbRetry
			case k < 6 && w.deletes:
				v = task.VerbDelete
			}
			w.change(id, v)
		}
	case 2, 3:
		paused := w.often(30)
		q := queueNames[w.rng.IntN(2)]
		delete(w.paused, q)
		_, err := w.sys.SetQueue(ctx, q, task.QueuePatch{Paused: &paused})
		w.paused[q] = paused && err == nil && !w.dying
		w.log("paused %v: %v", paused, err)
	case 4:
		claims := task.ClaimsMode(w.rng.IntN(2))
		q := queueNames[w.rng.IntN(2)]
		delete(w.claims, q)
		_, err := w.sys.SetQueue(ctx, q, task.QueuePatch{Claims: &claims})
		w.claims[q] = claims == task.ClaimsDurable && err == nil && !w.dying
		w.log("claims %d: %v", claims, err)
	default:
		n := int32(1 + w.rng.IntN(6))
		_, err := w.sys.SetQueue(ctx, queueNames[w.rng.IntN(2)], task.QueuePatch{MaxAttempts: &n})
		w.log("attempts %d: %v", n, err)
	}
	w.died()
}

// change has somebody change a task, and waits for the answer.
func (w *world) change(id task.ID, v task.Verb) error {
	life := w.life
	told := w.toBeTold(id, v)
	w.led.changing(id, v)
	err := w.sys.Change(context.Background(), v, []task.ID{id})[0]
	w.log("verb %d on %v: %v", v, id, err)
	if w.dying || w.life != life {
		w.led.changed(id, v, task.ErrUnavailable)
		return task.ErrUnavailable
	}
	w.led.changed(id, v, err)
	told(err)
	return err
}

// watching is someone who waits for the end of a task.
type watching struct {
	task.Watch
	life  int
	calls int
}

func (w *world) watch() { w.watchOne(w.rng) }

// watchGone has someone wait for a task that somebody deletes, and wants them to be
// told by the time that is answered, of that or of a fault.
func (w *world) watchGone() {
	x := w.watchOne(w.more)
	if x == nil {
		return
	}
	if w.turns(1); x.calls > 0 || x.life != w.life {
		return
	}
	if err := w.change(x.ID, task.VerbDelete); err != nil || w.died() {
		return
	}
	if w.turns(1); x.calls == 0 && x.life == w.life {
		w.led.cry("watch", "%s was deleted, and who waits for it was not told", w.led.tasks[x.ID].key)
	}
}

// watchOne has someone wait for the end of a task.
func (w *world) watchOne(r *rand.Rand) *watching {
	id, ok := w.led.anyID(r)
	if !ok {
		return nil
	}
	x := &watching{life: w.life}
	x.ID = id
	k := w.led.tasks[id]
	x.Done = func(*task.Watch) {
		x.calls++
		w.log("who waits for %s hears %v %v", k.key, x.Info.State, x.Err) // the order of watches is no promise: not in the sum
		switch {
		case x.calls > 1:
			w.led.cry("watch", "the watch of %s ended %d times", k.key, x.calls)
		case x.Err != nil && x.Err.Code == task.Unavailable:
		case x.Err != nil:
			if k.deleted == 0 && !w.led.sent[k.key].purged && !w.led.forgets {
				w.led.cry("watch", "the watch of %s ended with %v", k.key, x.Err)
			}
		case !x.Info.State.Final() || x.Info.ID != id:
			w.led.cry("watch", "the watch of %s ended with %v of %v", k.key, x.Info.State, x.Info.ID)
		case k.completed != nil && x.Info.State != task.Succeeded:
			w.led.cry("watch", "the watch of %s, which was completed, ended with %v", k.key, x.Info.State)
		case x.Info.State == task.Dead && x.Info.Reason == "":
			w.led.cry("watch", "the watch of %s, which is dead, does not tell why", k.key)
		case w.shape.reads && w.sys != nil:
			w.durableEnd(k, &x.Info)
		}
	}
	w.log("someone waits for %s", k.key)
	w.sys.Watch(&x.Watch)
	w.watches = append(w.watches, x)
	return x
}

// checkWatches wants that everyone who waits for a task has heard of its end.
func (w *world) checkWatches() {
	for _, x := range w.watches {
		if x.life == w.life && x.calls == 0 {
			w.led.cry("watch", "nobody told who waits for %s", w.led.tasks[x.ID].key)
		}
	}
}

// toBeTold wants a worker that runs a task to be told of its cancellation by the
// time that is answered.
func (w *world) toBeTold(id task.ID, v task.Verb) func(err error) {
	h := w.led.tasks[id].held
	if v != task.VerbCancel || h == nil || h.k == nil || h.k.s == nil || !w.promised(h) {
		return func(error) {}
	}
	at, shakes := h.k.at, w.shakes
	return func(err error) {
		if err == nil && !h.over && h.k.at == at && w.shakes == shakes && h.k.silent <= w.now {
			w.led.cry("untold", "%s was canceled, and %s, which runs it, was not told", w.led.tasks[id].key, h.k.id())
		}
	}
}
