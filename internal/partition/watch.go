package partition

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// watch waits for the end of one task.
type watch struct {
	id    task.ID
	fn    func(info task.Info, err *task.Error)
	ended atomic.Bool // fn was called, or nobody waits any more
	next  *watch      // of the same task
}

// finish calls fn, once.
func (w *watch) finish(info task.Info, err *task.Error) {
	if !w.ended.Swap(true) {
		w.fn(info, err)
	}
}

// watches are the tasks that somebody waits for. The map is the loop's own.
type watches struct {
	bySeq map[task.Seq]*watch
	n     int

	mu   sync.Mutex
	open map[*watch]struct{} // guarded by mu; all that were not answered, for the end
}

func (ws *watches) init() {
	ws.bySeq = make(map[task.Seq]*watch)
	ws.open = make(map[*watch]struct{})
}

// endedWatch is a task that somebody waits for and that ends with this turn.
type endedWatch struct {
	first      *watch
	state      task.State
	key, value []byte // its record; nil = none was written
	outcome    *task.Outcome
	queue, typ string
}

func (e *endedWatch) fail(err *task.Error) {
	for w := e.first; w != nil; w = w.next {
		w.finish(task.Info{}, err)
	}
}

// Watch calls fn once, when the task is final, gone or not known. stop gives the
// watch up. Registered first, looked up then: an end between the two is seen by
// both, and told once.
func (r *Runner) Watch(id task.ID, fn func(info task.Info, err *task.Error)) (stop func()) {
	w := &watch{id: id, fn: fn}
	known, full := false, false
	err := r.box.putView(view{
		look: func(m *queue.Machine) {
			if r.watches.n >= watchesMax {
				full = true
				return
			}
			r.watches.add(w)
			var v queue.TaskView
			v, known = m.Find(id.Seq)
			known = known && uint32(v.Place.Queue) == id.Queue && uint32(v.Place.Lane) == id.Lane && v.Place.Prio == id.Priority
		},
		done: func(err *task.Error) {
			switch {
			case err != nil:
				w.finish(task.Info{}, err)
			case full:
				w.finish(task.Info{}, errWatches)
			case !known:
				r.lookUp(w)
			}
		},
	})
	if err != nil {
		w.finish(task.Info{}, err)
	}
	return func() {
		if !w.ended.Swap(true) {
			r.unwatch(w)
		}
	}
}

// lookUp answers w if its task has ended or is not known.
func (r *Runner) lookUp(w *watch) {
	r.Get(w.id, func(info task.Info, err *task.Error) {
		if err != nil || info.State.Final() {
			r.unwatch(w)
			w.finish(info, err)
		}
	})
}

var errWatches = task.Errorf(task.Exhausted, "%d tasks are waited for already, the most there can be: wait for fewer at once", watchesMax)

// unwatch forgets w soon.
func (r *Runner) unwatch(w *watch) {
	_ = r.box.putView(view{look: func(*queue.Machine) { r.watches.remove(w) }, done: func(*task.Error) {}})
}

func (ws *watches) add(w *watch) {
	w.next = ws.bySeq[w.id.Seq]
	ws.bySeq[w.id.Seq] = w
	ws.n++
	ws.mu.Lock()
	ws.open[w] = struct{}{}
	ws.mu.Unlock()
}

func (ws *watches) remove(w *watch) {
	for at := ws.bySeq[w.id.Seq]; at != nil; at = at.next {
		if at != w && at.next != w {
			continue
		}
		if at.next == w {
			at.next = w.next
		} else if w.next == nil {
			delete(ws.bySeq, w.id.Seq)
		} else {
			ws.bySeq[w.id.Seq] = w.next
		}
		ws.n--
		ws.close(w)
		return
	}
}

func (ws *watches) close(w *watch) {
	ws.mu.Lock()
	delete(ws.open, w)
	ws.mu.Unlock()
}

// take removes all who wait for seq.
func (ws *watches) take(seq task.Seq) *watch {
	first := ws.bySeq[seq]
	delete(ws.bySeq, seq)
	for w := first; w != nil; w = w.next {
		ws.n--
	}
	return first
}

func (ws *watches) failAll(err *task.Error) {
	ws.mu.Lock()
	open := ws.open
	ws.open = nil
	ws.mu.Unlock()
	for w := range open {
		w.finish(task.Info{}, err)
	}
}

// noteEnded keeps the record of a task that somebody waits for, as it is being
// written.
func (r *Runner) noteEnded(t *turn, seq task.Seq, key, value []byte) {
	if r.watches.n == 0 {
		return
	}
	if w := r.watches.take(seq); w != nil {
		e := endedWatch{first: w, key: t.arena.copyOf(key), value: t.arena.copyOf(value)}
		e.queue = r.m.QueueName(queue.QueueNum(w.id.Queue))
		t.ended = append(t.ended, e)
	}
}

// noteGone finds those who wait for tasks that ended without a record: deleted
// ones, and all of a queue that keeps no history.
func (r *Runner) noteGone(t *turn) {
	if r.watches.n == 0 {
		return
	}
	for i := range r.out.Ended {
		x := &r.out.Ended[i]
		w := r.watches.take(x.Seq)
		if w == nil {
			continue
		}
		e := endedWatch{first: w, state: x.State, outcome: outcomeOf(t, x.Seq), typ: x.Type}
		e.queue = r.m.QueueName(queue.QueueNum(w.id.Queue))
		t.ended = append(t.ended, e)
	}
	if len(r.out.Purges) > 0 {
		r.notePurged(t)
	}
}

// notePurged has everyone looked up who waits for a task of a purged queue that
// is not in memory: of what a purge takes from the store alone it names no task.
func (r *Runner) notePurged(t *turn) {
	for _, seq := range slices.Sorted(maps.Keys(r.watches.bySeq)) {
		w := r.watches.bySeq[seq]
		if _, here := r.m.Find(seq); here || !slices.ContainsFunc(r.out.Purges, func(g queue.Range) bool { return uint32(g.From.Queue) == w.id.Queue }) {
			continue
		}
		for x := w; x != nil; x = x.next {
			t.views = append(t.views, view{look: func(*queue.Machine) {}, done: func(err *task.Error) {
				if err == nil { // otherwise the runner ends, and all are told
					r.lookUp(x)
				}
			}})
		}
	}
}

// outcomeOf finds the outcome that a worker reported for a task in this turn.
func outcomeOf(t *turn, seq task.Seq) *task.Outcome {
	for i := range t.cmds {
		b := t.cmds[i].Report
		if b == nil {
			continue
		}
		for j := range b.Outcomes {
			if b.Outcomes[j].Token.Seq == seq && b.Codes[j] == task.OK {
				return &b.Outcomes[j]
			}
		}
	}
	return nil
}

// finishWatch answers those who wait for a task that has ended. It runs before
// the turn's own batches are handed back, so that outcome is still there.
func (r *Runner) finishWatch(e *endedWatch) {
	info, err := e.info(r)
	info.Queue = e.queue
	for w := e.first; w != nil; w = w.next {
		r.watches.close(w)
		w.finish(info, err)
	}
}

func (e *endedWatch) info(r *Runner) (task.Info, *task.Error) {
	var info task.Info
	if e.value == nil {
		if e.state == task.StateUnknown {
			return info, errGone(e.first.id)
		}
		info.ID, info.Type, info.State, info.Priority = e.first.id, e.typ, e.state, e.first.id.Priority
		if o := e.outcome; o != nil && e.state == task.Succeeded {
			info.Result, info.ResultType, info.Log = append([]byte(nil), o.Result...), o.ResultType, append([]byte(nil), o.Log...)
		}
		return info, nil
	}
	var err error
	if _, c, _ := record.ClassOf(e.key); c == record.ClassDead {
		_, err = r.watchDec.DeadInfo(e.key, e.value, &info)
	} else {
		_, err = r.watchDec.FinishedInfo(e.key, e.value, &info)
	}
	if err != nil {
		return info, r.readError(r.unreadable(e.key, err))
	}
	r.clock.outInfo(&info)
	return info, nil
}

func errGone(id task.ID) *task.Error {
	return task.Errorf(task.NotFound, "no task %s: it was deleted, or its history is over", id)
}
