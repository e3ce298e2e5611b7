package brokertest

import (
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// wake is the next moment at which something happens to r by itself; 0 = never.
func (r *rec) wake() task.Time {
	var at task.Time
	sooner := func(t task.Time) {
		if t != 0 && (at == 0 || t < at) {
			at = t
		}
	}
	switch r.state {
	case task.Scheduled:
		sooner(r.readyAt)
		sooner(r.expiresAt)
		sooner(r.spec.Deadline)
	case task.Ready:
		sooner(r.expiresAt)
		sooner(r.spec.Deadline)
	case task.Running:
		sooner(r.timeoutAt)
		sooner(r.leaseEnd)
		sooner(r.spec.Deadline)
	case task.Succeeded, task.Canceled, task.Expired:
		keep := r.queue.cfg.Retention
		if keep == 0 {
			keep = task.DefaultRetention
		}
		sooner(r.finishedAt.Add(keep))
	}
	return at
}

// retime puts r where it belongs among the timers.
func (f *Fake) retime(r *rec) { f.timers.set(r, r.wake()) }

func (f *Fake) nextWake() task.Time {
	at := f.checkAt
	if len(f.timers) > 0 && (at == 0 || f.timers[0].at < at) {
		at = f.timers[0].at
	}
	return at
}

// fireTimers does all that is due.
func (f *Fake) fireTimers() {
	for len(f.timers) > 0 && f.timers[0].at <= f.now {
		f.fire(f.timers[0].rec)
	}
	if f.checkAt != 0 && f.checkAt <= f.now {
		f.checkSlow()
	}
}

func (f *Fake) fire(r *rec) {
	switch {
	case r.state.Final():
		f.forget(r)
	case r.spec.Deadline != 0 && r.spec.Deadline <= f.now:
		if r.state == task.Running {
			f.revoke(r, task.LeaseLost)
			f.endAttempt(r, task.AttemptCanceled, "the task's deadline has passed")
		}
		f.finish(r, task.Expired, "its deadline has passed")
	case r.state == task.Running && r.timeoutAt != 0 && r.timeoutAt <= f.now:
		f.revoke(r, task.LeaseLost)
		r.token = task.Token{}
		f.fail(r, task.AttemptTimedOut, "the attempt took longer than its timeout", task.RetryAfterByBackoff, false)
	case r.state == task.Running:
		f.crash(r, "its lease ran out")
	case r.expiresAt != 0 && r.expiresAt <= f.now:
		f.finish(r, task.Expired, "it waited longer than it was allowed to")
	default:
		f.setState(r, task.Ready)
		f.retime(r)
		f.dispatch(r.queue)
	}
}

// soon makes sure that checkSlow is called at t.
func (f *Fake) soon(t task.Time) {
	if f.checkAt == 0 || t < f.checkAt {
		f.checkAt = t
	}
}

// checkSlow looks at what has no timer of its own: sessions, waits of unary
// leases, types that nobody serves, idle producers, idempotency windows.
func (f *Fake) checkSlow() {
	f.checkAt = 0
	for _, s := range f.sessionsInOrder() {
		if end := s.lastBeat.Add(s.ttl); end <= f.now {
			f.loseSession(s, task.Errorf(task.Unavailable, "no heartbeat came within the session's TTL: attach again"))
		} else {
			f.soon(end)
		}
	}
	for c, w := range f.waiters {
		if w.until <= f.now {
			f.endWait(c, w)
		} else {
			f.soon(w.until)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.queues)) {
		f.checkUnserved(f.queues[name])
	}
	for k, p := range f.producers {
		if end := p.lastUse.Add(task.ProducerIdleMax); end <= f.now {
			delete(f.producers, k)
			f.evicted[k] = true
		} else {
			f.soon(end)
		}
	}
	for k, e := range f.idem {
		if !e.holds(f.now) {
			delete(f.idem, k)
		}
	}
}

func (f *Fake) checkUnserved(q *queue) {
	limit := q.cfg.Unserved
	if limit == 0 {
		limit = task.DefaultUnserved
	}
	for _, l := range q.laneOrder {
		if f.served(q, l.taskType) {
			l.lastServed, l.lastServedOK = f.now, true
			continue
		}
		for p := range l.ready {
			for r := l.head(p); r != nil; r = l.head(p) {
				from := r.readyAt
				if l.lastServedOK {
					from = max(from, l.lastServed)
				}
				if end := from.Add(limit); end > f.now {
					f.soon(end)
					break
				}
				f.finish(r, task.Dead, "no worker serves this type")
			}
		}
	}
}

func (f *Fake) served(q *queue, taskType string) bool {
	for _, c := range q.consumers {
		if c.serves(taskType) {
			return true
		}
	}
	return false
}

func (f *Fake) sessionsInOrder() []*session {
	out := make([]*session, 0, len(f.sessions))
	for _, s := range f.sessions {
		out = append(out, s)
	}
	slices.SortFunc(out, func(a, b *session) int { return int(a.number) - int(b.number) })
	return out
}

// laneEntry is a task's place in a lane.
type laneEntry struct {
	ready   task.Time
	seq     task.Seq
	version uint32
	rec     *rec
}

// laneHeap is a heap of entries, the first to be dispatched on top.
type laneHeap []laneEntry

func (h laneHeap) less(i, j int) bool {
	if h[i].ready != h[j].ready {
		return h[i].ready < h[j].ready
	}
	return h[i].seq < h[j].seq
}

func (h *laneHeap) push(e laneEntry) {
	*h = append(*h, e)
	s := *h
	for i := len(s) - 1; i > 0; {
		up := (i - 1) / 2
		if !s.less(i, up) {
			return
		}
		s[i], s[up] = s[up], s[i]
		i = up
	}
}

func (h *laneHeap) pop() {
	s := *h
	n := len(s) - 1
	s[0] = s[n]
	s[n] = laneEntry{}
	s = s[:n]
	*h = s
	for i := 0; ; {
		c := 2*i + 1
		if c >= n {
			return
		}
		if c+1 < n && s.less(c+1, c) {
			c++
		}
		if !s.less(c, i) {
			return
		}
		s[i], s[c] = s[c], s[i]
		i = c
	}
}

type timerEntry struct {
	at  task.Time
	rec *rec
}

// timerHeap is a heap of tasks by their next moment; each knows its place.
type timerHeap []timerEntry

// set puts r at moment at, or takes it out when at is 0.
func (h *timerHeap) set(r *rec, at task.Time) {
	s := *h
	i := r.timerPos
	switch {
	case i < 0 && at == 0:
		return
	case i < 0:
		*h = append(s, timerEntry{at, r})
		r.timerPos = len(s)
		h.up(r.timerPos)
		return
	case at != 0:
		s[i].at = at
	default:
		n := len(s) - 1
		s.swap(i, n)
		s[n] = timerEntry{}
		*h = s[:n]
		r.timerPos = -1
		if i == n {
			return
		}
	}
	h.down(i)
	h.up(i)
}

func (h timerHeap) less(i, j int) bool {
	if h[i].at != h[j].at {
		return h[i].at < h[j].at
	}
	return h[i].rec.id.Seq < h[j].rec.id.Seq
}

func (h timerHeap) swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].rec.timerPos, h[j].rec.timerPos = i, j
}

func (h timerHeap) up(i int) {
	for i > 0 {
		up := (i - 1) / 2
		if !h.less(i, up) {
			return
		}
		h.swap(i, up)
		i = up
	}
}

func (h timerHeap) down(i int) {
	for {
		c := 2*i + 1
		if c >= len(h) {
			return
		}
		if c+1 < len(h) && h.less(c+1, c) {
			c++
		}
		if !h.less(c, i) {
			return
		}
		h.swap(i, c)
		i = c
	}
}
