package sim

import (
	"context"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// Reads at any moment, held against what is durable when the answer comes.

// read has somebody look at something.
func (w *world) read() {
	ctx := context.Background()
	life := w.life
	switch k := w.more.IntN(10); {
	case k < 7:
		id, ok := w.led.anyID(w.more)
		if !ok {
			return
		}
		if k := w.workers[w.more.IntN(len(w.workers))]; len(k.running) > 0 && !w.led.draining {
			id, w.nudged = k.running[w.more.IntN(len(k.running))].ID, k
		}
		if w.nudged == nil && !w.calm && w.more.IntN(8) == 0 {
			w.meddled = id
		}
		in, err := w.sys.Get(ctx, id)
		w.nudged, w.meddled = nil, task.ID{}
		if !w.died() && w.life == life {
			w.led.note("get", id, in.State, task.CodeOf(err))
			w.got(w.led.tasks[id], &in, err)
		}
	case k < 9:
		q := queueNames[w.more.IntN(2)]
		p, err := w.sys.List(ctx, task.Filter{Queue: q, Limit: 1 + w.more.IntN(20)})
		if w.died() || w.life != life || err != nil {
			return
		}
		for i := range p.Tasks {
			in := &p.Tasks[i]
			if t := w.led.tasks[in.ID]; t != nil && in.Queue == w.led.sent[t.key].queue {
				w.durableEnd(t, in)
			}
		}
	default:
		w.counts()
	}
}

// got judges what Get said of a task.
func (w *world) got(t *known, in *task.Info, err error) {
	x := w.led.sent[t.key]
	switch code := task.CodeOf(err); {
	case code == task.NotFound && (t.deleted > 0 || x.purged || w.mayBeOver(t)):
		return
	case code == task.NotFound:
		w.led.cry("read", "%s (answered %v) is not found: %v", t.key, t.acked, err)
		return
	case err != nil:
		return
	}
	w.durableEnd(t, in)
	if t.retried {
		return
	}
	if t.shown == task.Succeeded && in.State != task.Succeeded {
		w.led.cry("read", "%s was shown as succeeded and is %v", t.key, in.State)
	}
	t.shown = in.State
	h := t.held
	if in.State == task.Running && h != nil && w.promised(h) && in.StartedAt > h.since.Add(w.clocks.skew+clockSlack) && w.keepsStart(h) {
		w.led.cry("read", "%s runs since %d ms ago at %s, and is said to have started %d ms later", t.key, w.now.Sub(h.since), h.who(), in.StartedAt.Sub(h.since))
	}
}

// keepsStart says that the lease was written before anything went wrong.
func (w *world) keepsStart(h *hold) bool {
	return h.known || h.from == h.since && h.life == w.life && w.broken == h.broken
}

// mayBeOver says that a task that has ended may be kept no longer.
func (w *world) mayBeOver(t *known) bool {
	return w.shape.keep != 0 && (t.endedBy == 0 || w.now >= t.endedBy.Add(w.shape.keep) || w.clocks.set > 0)
}

// clockSlack is how far the wall clock may be off before a partition notes it.
const clockSlack = 100

// durableEnd wants the end of a task, and its counts, to be durable once they are
// shown (I1).
func (w *world) durableEnd(t *known, in *task.Info) {
	if t.retried || w.mayBeOver(t) {
		return
	}
	state, counts, found := w.durable(in.ID)
	switch {
	case !in.State.Final() && found && !state.Final() && (in.Counts.Failures > counts.Failures || in.Counts.Crashes > counts.Crashes):
		w.led.cry("durable", "%s is shown with %+v, and %+v is durable", t.key, in.Counts, counts)
	case in.State.Final() && found && !state.Final():
		w.led.cry("durable", "%s is shown as %v, and it is %v after a crash", t.key, in.State, state)
	}
}

// durable is what a crash at this moment would leave of a task that has not ended
// or is dead; of one that has ended otherwise nothing is found on that path.
func (w *world) durable(id task.ID) (state task.State, c task.Counts, found bool) {
	var dec record.Decoder
	var in task.Info
	at := record.PlaceOf(id)
	value, found := w.mem.Durable(record.AppendPlaceKey(nil, id.Partition, at))
	if !found {
		key := record.AppendWhereKey(nil, id.Partition, id.Seq)
		var where queue.Where
		if value, found = w.mem.Durable(key); !found {
			return 0, c, false
		}
		if err := record.DecodeWhere(key, value, &where); err != nil {
			w.led.cry("durable", "where %v is can't be read: %v", id, err)
			return 0, c, false
		}
		if where.Dead.Queue != 0 {
			return task.Dead, c, true
		}
		at = where.Place
		if value, found = w.mem.Durable(record.AppendPlaceKey(nil, id.Partition, at)); !found {
			return 0, c, false
		}
	}
	if _, err := dec.LiveInfo(id.Partition, at, value, &in); err != nil {
		w.led.cry("durable", "the record of %v can't be read: %v", id, err)
	}
	return task.Ready, in.Counts, true
}

// lookOver lets the node come to rest and wants nothing to be late.
func (w *world) lookOver() {
	if !w.restful() {
		return
	}
	w.log("look over")
	w.checkClaims()
	w.checkIdle()
	w.checkSessions()
	for _, q := range queueNames {
		w.eachListed(q, []task.State{task.Running, task.Ready, task.Scheduled}, w.checkLate)
	}
}

// restful lets the node come to rest, with every partition served.
func (w *world) restful() bool {
	for range 3 {
		w.rest()
		if w.died() || len(w.led.cries) > 0 {
			return false
		}
	}
	n, err := w.sys.Node(context.Background())
	if err != nil || !n.Ready {
		return false
	}
	w.rest()
	w.rested = w.now
	return true
}

func (w *world) eachListed(q string, states []task.State, look func(in *task.Info)) {
	f := task.Filter{Queue: q, States: states, Limit: 200}
	for range 1000 {
		p, err := w.sys.List(context.Background(), f)
		if err != nil {
			return
		}
		for i := range p.Tasks {
			look(&p.Tasks[i])
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			return
		}
	}
	w.led.cry("counts", "the list of %v in queue %q does not end", states, q)
}

// checkLate holds a live task against its times.
func (w *world) checkLate(in *task.Info) {
	t := w.led.tasks[in.ID]
	if t == nil || t.retried {
		return
	}
	x := w.led.sent[t.key]
	if d := x.deadline; d != 0 && w.wall() >= d.Add(sweepLate+clockErr) && (w.clocks.set == 0 || w.led.step > w.clocks.last+1) {
		w.led.cry("overdue", "%s is %v, %d ms past its deadline", t.key, in.State, w.wall().Sub(d))
	}
	if w.clocks.set > 0 {
		return
	}
	if in.State == task.Running && in.Worker == lateName && (t.held == nil || !t.held.late || in.StartedAt > t.held.since) {
		w.led.cry("late", "%s is leased for a caller that had gone, and is not handed back", t.key)
	}
	if in.State == task.Running {
		limit := task.DefaultTimeout
		if p := x.spec.Policy; p != nil && p.Timeout != 0 {
			limit = p.Timeout
		}
		back := t.held != nil && t.held.k != nil && t.held.k.beaten == w.now // what it took up again ends in a moment
		if !back && w.now >= in.StartedAt.Add(limit+graceFor+sweepLate+w.clocks.stood) {
			w.led.cry("overdue", "%s runs since %d ms, with a timeout of %d", t.key, w.now.Sub(in.StartedAt), limit)
		}
		return
	}
	// Whose time came while it ran, under an owner that is gone, has its entry again
	// when it is read.
	end := max(max(x.lastSent, t.at).Add(x.spec.Delay), x.spec.RunAt).Add(x.spec.ExpireAfter)
	if x.spec.ExpireAfter != 0 && x.lastSent != 0 && (w.shakes == 0 || w.shookLast < end) && w.now >= end.Add(sweepLate) {
		w.led.cry("overdue", "%s is %v, %d ms past its expiry", t.key, in.State, w.now.Sub(end))
	}
}

// checkSessions wants no session to be known that was not heard of for its TTL, and
// none to be given what its worker has never got: nobody would run that.
func (w *world) checkSessions() {
	n, err := w.sys.Node(context.Background())
	if err != nil || w.clocks.set > 0 {
		return
	}
	for _, x := range n.Workers {
		if end, known := w.sessions[x.ID]; known && w.now >= end.Add(sweepLate) {
			w.led.cry("lapse", "%s is still known, %d ms past its TTL, and has %d tasks", x.ID, w.now.Sub(end), x.Running)
		}
		for _, k := range w.workers {
			if has := len(k.running) + len(k.pending); k.s != nil && k.id() == x.ID && x.Running > has {
				w.led.cry("unowned", "%s is said to run %d tasks, and has %d", x.ID, x.Running, has)
			}
		}
	}
}

// checkIdle wants no task to wait while a worker that serves it has room: the node
// is at rest, nothing more will happen by itself.
func (w *world) checkIdle() {
	if w.shookLast != 0 && w.now < w.shookLast.Add(adoptFor+graceFor) {
		return
	}
	infos, err := w.sys.Queues(context.Background(), nil)
	if err != nil {
		return
	}
	n, err := w.sys.Node(context.Background())
	if err != nil {
		return
	}
	for _, p := range n.Partitions {
		if p.SafeMode {
			return
		}
	}
	for _, q := range infos {
		for _, k := range w.workers {
			if k.s != nil && k.types == nil && k.credit > 0 && !q.Paused && q.Ready > 0 && w.now < k.heard.Add(k.lasts()) {
				w.led.cry("idle", "queue %q has %d ready tasks, and %s has room for %d", q.Name, q.Ready, k.id(), k.credit)
				return
			}
		}
	}
}
