package sim

import (
	"cmp"
	"context"
	"encoding/binary"
	"encoding/hex"
	"slices"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// inspect holds a world at rest against everything that was seen of it.
func (w *world) inspect() {
	w.checkWatches()
	w.checkEnds()
	w.checkOrder()
	w.checkCounts()
	if w.shape != (shape{}) && w.o.Tamper == nil && len(w.led.cries) == 0 {
		w.afterlife()
	} else {
		w.checkLeftovers()
	}
	if n := w.mem.Misused(); n > 0 {
		w.led.cry("resurrected", "%d single deletes brought an old value back", n)
	}
}

// checkEnds looks every known task up: checkers "lost" and "ended".
func (w *world) checkEnds() {
	l := w.led
	for _, k := range l.order {
		in, err := w.sys.Get(context.Background(), k.id)
		switch {
		case k.deleted > 0 && task.CodeOf(err) == task.NotFound:
			continue
		case w.mayBeOver(k) && task.CodeOf(err) == task.NotFound:
			continue
		case l.sent[k.key].purged && task.CodeOf(err) == task.NotFound:
			l.gone[l.sent[k.key].queue]++
			if k.completed != nil {
				l.cry("purged", "%s was completed with %q, and is gone", k.key, k.completed.Result)
			}
			continue
		case k.purged:
			l.cry("purged", "%s was purged and is %v", k.key, in.State)
			continue
		case k.deleted == 2:
			l.cry("ended", "%s was deleted and is %v", k.key, in.State)
			continue
		case err != nil:
			l.cry("lost", "%s (%v, answered %v) is not found at the end: %v", k.key, k.id, k.acked, err)
			continue
		case !in.State.Final():
			l.cry("lost", "%s is %v at the end: %s", k.key, in.State, in.Reason)
			continue
		case in.Queue != l.sent[k.key].queue:
			l.cry("ended", "%s was sent to queue %q and is in queue %q", k.key, l.sent[k.key].queue, in.Queue)
		}
		l.note("end", k.id, in.State)
		k.check(l, &in)
		k.checkHistory(l, &in)
	}
}

// check holds the end of one task against what was reported and asked for.
func (k *known) check(l *ledger, in *task.Info) {
	if k.completed != nil && (in.State != task.Succeeded || string(in.Result) != string(k.completed.Result)) {
		l.cry("ended", "%s was completed with %q and is %v with %q", k.key, k.completed.Result, in.State, in.Result)
	}
	x := l.sent[k.key]
	switch in.State {
	case task.Succeeded:
		if !slices.ContainsFunc(k.outcomes, func(t told) bool {
			return t.Kind == task.OutcomeComplete && string(t.Result) == string(in.Result) && (!t.known || t.code == task.OK)
		}) {
			l.cry("ended", "%s succeeded with %q, which no worker reported to an end", k.key, in.Result)
		}
		if k.canceled == 2 && !k.retried {
			l.cry("ended", "%s was canceled and succeeded", k.key)
		}
	case task.Canceled:
		if k.canceled == 0 {
			l.cry("ended", "%s is canceled, and nobody asked for it", k.key)
		}
	case task.Expired:
		if x.spec.ExpireAfter == 0 && x.spec.Deadline == 0 {
			l.cry("ended", "%s expired, and has no time to: %s", k.key, in.Reason)
		}
		if d := x.spec.Deadline; d != 0 && x.spec.ExpireAfter == 0 && in.FinishedAt < d.Add(-clockErr) && !k.retried && !l.stepped {
			l.cry("ended", "%s expired %d ms before its deadline", k.key, d.Sub(in.FinishedAt))
		}
		if wait := x.firstSent.Add(x.spec.Delay + x.spec.ExpireAfter); x.spec.Deadline == 0 && x.firstSent != 0 && in.FinishedAt < wait && !k.retried && !l.stepped {
			l.cry("ended", "%s expired %d ms before its time", k.key, wait.Sub(in.FinishedAt))
		}
	case task.Dead:
		given := slices.ContainsFunc(k.outcomes, func(t told) bool { return t.Kind == task.OutcomeFail }) ||
			x.spec.Policy != nil && x.spec.Policy.Timeout != 0 && slices.ContainsFunc(in.Attempts, func(a task.Attempt) bool { return a.Outcome == task.AttemptTimedOut })
		if in.Counts.Crashes < task.CrashesMax && !given && !(l.leapt && in.Counts.Failures > 0) { // hours may pass between two processes, says the clock
			l.cry("ended", "%s is dead with %+v, and no worker failed it: %s", k.key, in.Counts, in.Reason)
		}
		if p := x.spec.Policy; p != nil && !k.retried && in.Counts.Crashes < task.CrashesMax && in.Counts.Failures < uint32(p.MaxAttempts) &&
			!slices.ContainsFunc(k.outcomes, func(t told) bool { return t.Permanent }) {
			l.cry("attempts", "%s is dead after %d failures, and may fail %d times: %s", k.key, in.Counts.Failures, p.MaxAttempts, in.Reason)
		}
	}
	if k.canceled == 2 && !k.retried && in.State != task.Canceled && in.State != task.Succeeded {
		l.cry("ended", "%s was canceled and is %v", k.key, in.State)
	}
}

// checkHistory wants the attempts told to be those counted, as far as they are
// kept.
func (k *known) checkHistory(l *ledger, in *task.Info) {
	if k.retried || len(in.Attempts) >= task.AttemptsShownMax {
		return
	}
	var c task.Counts
	for _, a := range in.Attempts {
		switch a.Outcome {
		case task.AttemptFailed, task.AttemptTimedOut:
			c.Failures++
		case task.AttemptCrashed:
			c.Crashes++
		}
	}
	if c.Failures != in.Counts.Failures || c.Crashes != in.Counts.Crashes {
		l.cry("history", "%s is %v, counts %+v and tells %d failures and %d crashes: %+v", k.key, in.State, in.Counts, c.Failures, c.Crashes, in.Attempts)
	}
}

// first holds a first delivery in a calm world against strict priority: nothing
// more urgent that the worker serves may have been there a step before.
func (w *world) first(d task.Delivery, types []string) {
	for _, k := range w.led.order {
		x := w.led.sent[k.key]
		if len(k.seen) == 0 && k.acked && k.ackedAt < w.led.step-1 && x.queue == d.Queue && x.spec.Priority > d.Priority &&
			k.id.Partition == d.ID.Partition && x.spec.Delay == 0 && (types == nil || slices.Contains(types, x.spec.Type)) {
			w.led.cry("order", "%s of priority %d was delivered before %s of priority %d, answered at step %d", keyOf(d.Payload), d.Priority, k.key, x.spec.Priority, k.ackedAt)
			return
		}
	}
}

// checkOrder holds first deliveries of a calm world against first in, first out
// and strict priority. A token's dispatch number is the order of dispatch.
func (w *world) checkOrder() {
	if !w.calm || w.clocks.set > 0 && w.shape.bursts { // the wall clock says nothing of when a task became ready
		return
	}
	type line struct {
		partition uint16
		queue     string
		prio      uint8
		taskType  string
	}
	firsts := slices.Clone(w.led.firsts)
	slices.SortStableFunc(firsts, func(a, b task.Delivery) int {
		if a.Token.Fence() < b.Token.Fence() {
			return -1
		}
		return 1
	})
	last := map[line]task.Delivery{}
	for _, d := range firsts {
		n := line{d.ID.Partition, d.Queue, d.Priority, d.Type}
		if x, ok := last[n]; ok && w.becameReady(&d, &x) < 0 {
			w.led.cry("order", "%s of queue %q, priority %d, ready at %d, was dispatched after %s, ready at %d", keyOf(d.Payload), d.Queue, d.Priority, readyAt(&d)-startOfTime, keyOf(x.Payload), readyAt(&x)-startOfTime)
		}
		last[n] = d
	}
}

// readyAt is when a task became ready for the first time.
func readyAt(d *task.Delivery) task.Time { return max(d.EnqueuedAt, d.ID.Due) }

// becameReady is the order in which tasks become ready. Without bursts a calm world
// delays nothing.
func (w *world) becameReady(a, b *task.Delivery) int {
	if !w.shape.bursts {
		return cmp.Compare(a.ID.Seq, b.ID.Seq)
	}
	return cmp.Or(cmp.Compare(readyAt(a), readyAt(b)), cmp.Compare(a.ID.Seq, b.ID.Seq))
}

// checkCounts wants every count to be the count of what it counts: by the
// listing, and by what is known.
func (w *world) checkCounts() {
	counts, ok := w.counts()
	if !ok {
		w.led.cry("counts", "the counts can't be read at the end")
		return
	}
	for _, name := range queueNames {
		c := counts[name]
		listed := tally{
			succeeded: w.list(name, task.Succeeded), dead: w.list(name, task.Dead),
			canceled: w.list(name, task.Canceled), expired: w.list(name, task.Expired),
		}
		known, gone := w.led.unnamed[name], int64(0)
		for _, k := range w.led.order {
			if w.led.sent[k.key].queue == name {
				known++
				if k.deleted > 0 || w.mayBeOver(k) {
					gone++
				}
			}
		}
		if unknown := c.enqueued - known; w.shape.keep != 0 && unknown > 0 && unknown <= w.led.unheard(name) { // with a short history some ended, and were over, before anybody saw them
			known, gone = known+unknown, gone+unknown
		}
		if w.led.purges[name] > 0 {
			w.checkPurged(name, c, w.led.gone[name], known)
			gone += w.led.gone[name] + c.enqueued - known
			known = c.enqueued
		}
		// What was deleted while it waited is in no count but the first; what was
		// deleted after its end is in no list.
		ended := c.succeeded + c.dead + c.canceled + c.expired
		inLists := listed.succeeded + listed.dead + listed.canceled + listed.expired
		if c.live != 0 || ended > c.enqueued || ended < c.enqueued-gone {
			w.led.cry("counts", "queue %q: %+v do not add up, %d may be deleted", name, c, gone)
		}
		if inLists > ended || inLists < ended-gone || listed.dead != c.dead ||
			gone == 0 && (listed.succeeded != c.succeeded || listed.canceled != c.canceled || listed.expired != c.expired) {
			w.led.cry("counts", "queue %q counts %+v and lists %+v, %d may be deleted", name, c, listed, gone)
		}
		if known != c.enqueued {
			w.led.cry("counts", "queue %q: %d were enqueued, %d are known of", name, c.enqueued, known)
		}
	}
}

// list pages through the tasks of a queue in one state, and learns of those
// whose enqueue was never answered and that ended unseen.
func (w *world) list(queue string, s task.State) int64 {
	f := task.Filter{Queue: queue, States: []task.State{s}, Limit: 50}
	var n int64
	seen := map[task.ID]bool{}
	for range 1000 {
		p, err := w.sys.List(context.Background(), f)
		if err != nil {
			w.led.cry("counts", "list of %v in queue %q: %v", s, queue, err)
			return n
		}
		for _, in := range p.Tasks {
			if in.State != s || in.Queue != queue || seen[in.ID] {
				w.led.cry("counts", "the list of %v in queue %q has task %v, which is %v in %q, or twice", s, queue, in.ID, in.State, in.Queue)
			}
			seen[in.ID] = true
			n++
			if w.led.tasks[in.ID] == nil {
				whole, err := w.sys.Get(context.Background(), in.ID)
				if err != nil {
					w.led.cry("lost", "task %v is in the list of %v in queue %q and is not found: %v", in.ID, s, queue, err)
					continue
				}
				in = whole // a listing leaves large payloads out
				w.led.unseen(in)
			}
		}
		if f.Cursor = p.Next; f.Cursor == "" {
			return n
		}
	}
	w.led.cry("counts", "the list of %v in queue %q does not end", s, queue)
	return n
}

// unseen learns of a task that nobody was told about: its enqueue was never
// answered and it was never delivered. Its payload is gone with it at times.
func (l *ledger) unseen(in task.Info) {
	key := keyOf(in.Payload)
	if x := l.sent[key]; x != nil {
		l.same(in.ID, key)
		l.taskOf(in.ID, key)
		return
	}
	if in.PayloadKept {
		l.cry("unexpected", "task %v with payload %q is in queue %q, and nobody sent it: %+v", in.ID, key, in.Queue, in)
	}
	l.unnamed[in.Queue]++
}

// checkLeftovers closes the node and looks into the store: with no live task
// there is no record of one, no claim or list and no expiry; and without workers
// there is no session.
func (w *world) checkLeftovers() {
	ctx := context.Background()
	if w.rng != nil { // a storm's workers leave by themselves
		w.leave()
	}
	if err := w.sys.Close(ctx); err != nil {
		w.led.cry("leftovers", "close: %v", err)
		return
	}
	for p := range uint16(w.parts) {
		part, err := w.mem.Acquire(ctx, p, "inspector")
		if err != nil {
			w.led.cry("leftovers", "acquire partition %d: %v", p, err)
			return
		}
		count := func(c record.Class) (n int, last []byte) {
			from := record.AppendPrefix(nil, p, c)
			to := record.AppendPrefixEnd(nil, from)
			if c == record.ClassExpiry && w.clocks.set > 0 { // a wait that was moved with the wall clock leaves one behind
				return 0, nil
			}
			if len(w.led.purges) > 0 { // what a purge left goes when its time has come
				switch c {
				case record.ClassExpiry:
					to = binary.BigEndian.AppendUint64(slices.Clone(from), uint64(w.now))
				case record.ClassDeadline:
					to = binary.BigEndian.AppendUint64(slices.Clone(from), uint64(w.wall().Add(-clockErr)))
				}
			}
			it := part.Scan(from, to)
			for it.Next() {
				n++
				last = append(last[:0], it.Key()...)
			}
			if err := it.Close(); err != nil {
				w.led.cry("leftovers", "scan the %s records: %v", c, err)
			}
			return n, last
		}
		for _, c := range []record.Class{record.ClassBirth, record.ClassTimed, record.ClassCalendar, record.ClassExpiry, record.ClassDeadline, record.ClassClaim, record.ClassList, record.ClassSession} {
			if n, key := count(c); n > 0 {
				w.led.cry("leftovers", "%d %s records are left, such as %s", n, c, hex.EncodeToString(key))
			}
		}
		w.checkDeleted(part, p)
		dead, _ := count(record.ClassDead)
		if n, key := count(record.ClassWhere); n != dead {
			w.led.cry("leftovers", "%d tasks are said to have moved, such as %s; %d are dead letters", n, hex.EncodeToString(key), dead)
		}
		if n, key := count(record.ClassChunk); n > 0 && dead == 0 {
			w.led.cry("leftovers", "%d pieces of payloads are left, such as %s", n, hex.EncodeToString(key))
		}
	}
}

// result sums a run up.
func (w *world) result() Result {
	r := Result{Faults: w.led.cries, Sum: w.led.sum, Sent: len(w.led.sent), Restarts: w.restart, Broken: w.broken, Torn: w.torn, Repeats: w.led.repeats}
	for _, q := range queueNames {
		r.Purged += int(w.led.purged[q])
	}
	for _, k := range w.led.order {
		if k.acked {
			r.Answered++
		} else {
			r.Recovered++
		}
		r.Delivered += len(k.seen)
		if k.completed != nil {
			r.Completed++
		}
	}
	return r
}
