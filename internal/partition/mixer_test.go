package partition

import (
	"fmt"
	"math/rand/v2"

	"github.com/penstock-io/penstock/internal/task"
)

// mixer does everything that can be done to tasks, at random, and remembers what
// must come of it.
type mixer struct {
	g    *rig
	rnd  *rand.Rand
	w    *worker
	next int
	ids  []task.ID
	held []task.Delivery
	n    int // deliveries taken from the worker
	done map[task.ID]task.State
	gone map[task.ID]bool // deleted
}

func newMixer(g *rig, seed uint64) *mixer {
	x := &mixer{g: g, rnd: rand.New(rand.NewPCG(seed, 1)), done: map[task.ID]task.State{}, gone: map[task.ID]bool{}}
	x.w = g.attach("w", "a", "b")
	return x
}

func (x *mixer) pickQueue() string { return []string{"a", "b"}[x.rnd.IntN(2)] }

func (x *mixer) step() {
	switch x.rnd.IntN(12) {
	case 0, 1, 2:
		x.enqueue(1 + x.rnd.IntN(12))
	case 3, 4:
		x.w.credit.Add(1 + x.rnd.IntN(6))
		x.g.run()
	case 5, 6, 7:
		x.report(1 + x.rnd.IntN(6))
	case 8:
		x.g.now = x.g.now.Add(task.Millis(x.rnd.IntN(3_000)))
		x.g.run()
	case 9:
		x.change(task.VerbCancel)
	case 10:
		x.change(task.VerbRetry)
	case 11:
		x.change(task.VerbDelete)
	}
	if e := x.g.r.Beat(x.w.a); e != nil {
		x.g.t.Fatal(e)
	}
	x.g.run()
	x.collect()
}

func (x *mixer) collect() {
	x.held = append(x.held, x.w.got[x.n:]...)
	x.n = len(x.w.got)
}

func (x *mixer) enqueue(n int) {
	b := batchOf(x.pickQueue(), x.next, n)
	x.next += n
	for i := range b.Specs {
		s := &b.Specs[i]
		s.Type = fmt.Sprint("t", x.rnd.IntN(3))
		s.Priority = uint8(x.rnd.IntN(3))
		switch x.rnd.IntN(8) {
		case 0:
			s.Delay = task.Millis(1 + x.rnd.IntN(5_000))
		case 1:
			s.ExpireAfter = task.Millis(1 + x.rnd.IntN(9_000))
		case 2:
			s.Idempotency = fmt.Sprint("k", x.rnd.IntN(40))
			s.Payload = nil
		case 3:
			s.Payload = make([]byte, 4<<10+1+x.rnd.IntN(100<<10))
		case 4:
			s.Policy = &task.Policy{MaxAttempts: 2, Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 500}}
		}
	}
	b.Done = func(*task.EnqueueBatch) {}
	x.g.r.Enqueue(b)
	x.g.run()
	for i := range b.Results {
		if r := &b.Results[i]; r.Err == nil && !r.Existing {
			x.ids = append(x.ids, r.ID)
		}
	}
}

func (x *mixer) report(n int) {
	for ; n > 0 && len(x.held) > 0; n-- {
		i := x.rnd.IntN(len(x.held))
		d := x.held[i]
		x.held = append(x.held[:i], x.held[i+1:]...)
		kind := x.rnd.IntN(6)
		code := x.g.report([]task.Delivery{d}, func(_ *task.Delivery, o *task.Outcome) {
			switch kind {
			case 0:
				o.Kind, o.Error, o.Delay = task.OutcomeFail, "boom", task.RetryAfterByBackoff
			case 1:
				o.Kind, o.Error, o.Permanent = task.OutcomeFail, "bad", true
			case 2:
				o.Kind, o.Delay = task.OutcomeRelease, task.Millis(x.rnd.IntN(2)*700)
			default:
				o.Result = d.Payload
			}
		})[0]
		if kind > 2 && code == task.OK {
			if s, twice := x.done[d.ID]; twice {
				x.g.t.Fatalf("task %s completed twice, it was %v", d.ID, s)
			}
			x.done[d.ID] = task.Succeeded
		}
	}
}

func (x *mixer) change(v task.Verb) {
	if len(x.ids) == 0 {
		return
	}
	ids := []task.ID{x.ids[x.rnd.IntN(len(x.ids))], x.ids[x.rnd.IntN(len(x.ids))]}
	if ids[0] == ids[1] {
		ids = ids[:1]
	}
	var errs []*task.Error
	x.g.r.Change(v, ids, func(e []*task.Error, err *task.Error) { errs = e })
	x.g.run()
	for i, id := range ids {
		if errs[i] == nil && v == task.VerbDelete {
			x.gone[id] = true
			delete(x.done, id)
		}
		if errs[i] == nil && v == task.VerbCancel {
			x.done[id] = task.Canceled
		}
		if errs[i] == nil && v == task.VerbRetry {
			delete(x.done, id)
		}
	}
}

// reopen crashes the process and starts it again; the worker comes back with what
// it runs.
func (x *mixer) reopen() {
	x.g.mem.Crash(x.g.mem.Pending())
	x.g.open()
	x.w.opts.Running = nil
	for _, d := range x.held {
		x.w.opts.Running = append(x.w.opts.Running, d.Token)
	}
	x.w.credit = Credit{}
	var lost []task.Token
	x.w.a = x.g.r.Attach(&x.w.opts, 1, &x.w.credit, x.w, func(l []task.Token, err *task.Error) {
		if err != nil {
			x.g.t.Fatal(err)
		}
		lost = l
	})
	x.g.run()
	x.collect()
	kept := x.held[:0]
	for _, d := range x.held {
		is := false
		for _, t := range lost {
			is = is || t == d.Token
		}
		if !is {
			kept = append(kept, d)
		}
	}
	x.held = kept
}

// finish drains the queue and looks every task up.
func (x *mixer) finish() {
	for i := 0; ; i++ {
		var live int64
		for _, q := range x.g.infos() {
			live += q.Scheduled + q.Ready + q.Blocked + q.Running
		}
		if live == 0 {
			break
		}
		if i > 2_000 {
			x.g.t.Fatalf("the drain hangs with %d tasks left: %+v", live, x.g.infos())
		}
		x.w.credit.Add(10)
		x.g.now = x.g.now.Add(500)
		if e := x.g.r.Beat(x.w.a); e != nil {
			x.g.t.Fatal(e)
		}
		x.g.run()
		x.collect()
		x.report(len(x.held))
	}
	for _, id := range x.ids {
		info, err := x.g.get(id)
		if x.gone[id] {
			if err == nil || err.Code != task.NotFound {
				x.g.t.Fatalf("deleted task %s: got %v, %v", id, info.State, err)
			}
			continue
		}
		if err != nil || !info.State.Final() {
			x.g.t.Fatalf("task %s: got %v, %v, want a final state", id, info.State, err)
		}
		if want, known := x.done[id]; known && info.State != want {
			x.g.t.Fatalf("task %s is %v, want %v", id, info.State, want)
		}
	}
}
