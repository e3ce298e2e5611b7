package queue

import (
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

// pending marks an outcome that waits for what is known of its task.
const pending task.Code = 255

// report takes outcomes. Those whose task is not in memory are put off until the
// finished record has been read: a repeat with the finishing token is OK.
func (m *Machine) report(c *Command) {
	b := c.Report
	first := c.N == 0 // N = 1 marks the second round
	wait := false
	for i := range b.Outcomes {
		if first {
			b.Codes[i] = pending
		}
		if b.Codes[i] == pending {
			b.Codes[i] = m.outcome(&b.Outcomes[i])
			wait = wait || b.Codes[i] == pending
		}
	}
	if wait {
		again := *c
		again.N = 1
		m.later(&again)
	}
}

func (m *Machine) outcome(o *task.Outcome) task.Code {
	if e := o.Check(); e != nil {
		return e.Code
	}
	i, ok := m.findLease(&o.Token)
	if !ok {
		return m.lateOutcome(o)
	}
	m.follow(i, o)
	return task.OK
}

// follow does what the outcome says with a running task.
func (m *Machine) follow(i Slot, o *task.Outcome) {
	switch o.Kind {
	case task.OutcomeComplete:
		m.complete(i, o)
	case task.OutcomeFail:
		m.fail(i, o)
	default:
		m.release(i, o)
	}
}

// findLease finds the running task of a token, every field of which must be right.
func (m *Machine) findLease(t *task.Token) (Slot, bool) {
	i := Slot(t.Slot)
	if t.Epoch != m.cfg.Epoch || !m.slab.valid(i) || m.slab.at(i).seq != t.Seq { // it was taken over
		var ok bool
		if i, ok = m.index.get(t.Seq); !ok {
			return NoSlot, false
		}
	}
	x := m.slab.at(i)
	return i, x.state == slotRunning && m.wasLast(x, t)
}

// complete ends a running task well.
func (m *Machine) complete(i Slot, o *task.Outcome) {
	m.end(i, ending{state: task.Succeeded, outcome: o})
}

// ending is how a live task stops being live.
type ending struct {
	state   task.State
	outcome *task.Outcome
	reason  string
}

// end takes a live task, in whatever state, to a final state other than dead.
func (m *Machine) end(i Slot, e ending) {
	x := m.slab.at(i)
	l := m.lanes[x.lane]
	q, from := l.queue(), x.stands()
	f := Finished{State: e.state, Place: x.placeIn(l), Names: l.names(), Flags: x.flags, Counts: x.counts(), Enqueued: x.enqueued, Started: x.started,
		Ended: m.now, Reason: e.reason, Outcome: e.outcome}
	f.From = x.source(i, f.Place)
	f.Copy = x.flags&FlagMoved != 0
	f.KeepBody = e.state != task.Succeeded
	if x.state == slotRunning {
		if e.outcome != nil { // else nobody's outcome ended it, and none may be repeated
			f.Token = e.outcome.Token
		}
		if x.session != 0 {
			f.Worker = m.sessions[x.session-1].opts.Worker
		}
	}
	m.detach(i)
	m.dropRecord(x, false)
	if h := q.state.Config.History; h == task.HistoryAll || h == task.HistoryFailures && e.state != task.Succeeded {
		size := int64(finishedOverhead + len(e.reason))
		if e.outcome != nil {
			size += int64(len(e.outcome.Result) + len(e.outcome.Log))
		}
		if f.KeepBody {
			size += int64(x.size)
		}
		f.Key = m.history.add(m, q.state.Config.Retention, x.seq, size)
		m.out.Finished.put(f)
	}
	m.event(q, step{EventEnded, from, e.state, x.class}, x)
	m.forget(i)
}

// finishedOverhead is about what a finished record costs beside result and body.
const finishedOverhead = 72

// fail counts a failure and retries or gives up.
func (m *Machine) fail(i Slot, o *task.Outcome) {
	m.slab.at(i).told = toldFail
	m.failed(i, task.AttemptFailed, clip(o.Error), o.Permanent, o.Delay)
}

func (m *Machine) failed(i Slot, how task.AttemptOutcome, text string, permanent bool, delay task.Millis) {
	x := m.slab.at(i)
	r := m.rulesOf(x)
	at := m.attempt(i, how, text)
	x.failures = satAdd(x.failures)
	switch {
	case permanent:
		m.die(i, "failed for good: "+text, at)
	case int32(x.failures) >= r.maxAttempts:
		m.die(i, "failed "+times(int(x.failures))+", the most it may: "+text, at)
	default:
		if delay == task.RetryAfterByBackoff {
			delay = backoff(r.backoff, x.seq, uint32(x.failures))
		}
		m.move(i, m.now.Add(delay), at, EventFailed)
	}
}

// clip keeps head and tail of a text that is too long, and says so between them.
func clip(s string) string {
	if len(s) <= task.ErrorTextMax {
		return s
	}
	gap := " … (" + itoa(len(s)) + " bytes, cut) … "
	head := task.ErrorTextMax / 2
	tail := len(s) - (task.ErrorTextMax - head - len(gap))
	for head > 0 && !utf8.RuneStart(s[head]) {
		head--
	}
	for tail < len(s) && !utf8.RuneStart(s[tail]) {
		tail++
	}
	return s[:head] + gap + s[tail:]
}

func satAdd(x uint16) uint16 {
	if x == 1<<16-1 {
		return x
	}
	return x + 1
}

// attempt is the entry for the attempt that ends now.
func (m *Machine) attempt(i Slot, how task.AttemptOutcome, text string) *task.Attempt {
	x := m.slab.at(i)
	a := &task.Attempt{Number: attemptOf(x), Started: x.started, Ended: m.now, Outcome: how, Error: text}
	if x.state == slotRunning && x.session != 0 {
		a.Worker = m.sessions[x.session-1].opts.Worker
	}
	return a
}

// crash counts a lost lease; the third one quarantines the task.
func (m *Machine) crash(i Slot) {
	x := m.slab.at(i)
	at := m.attempt(i, task.AttemptCrashed, "its lease was lost: the worker died, hung or was cut off")
	x.crashes = satAdd(x.crashes)
	if x.crashes >= task.CrashesMax {
		m.die(i, "quarantined: its lease was lost "+itoa(int(x.crashes))+" times, so it may be what kills the workers", at)
		return
	}
	m.move(i, m.now, at, EventCrashed)
}

// release hands a task back without blame: at once in memory alone, or after a
// delay.
func (m *Machine) release(i Slot, o *task.Outcome) {
	x := m.slab.at(i)
	if o.Started || o.Delay > 0 {
		x.releases = satAdd(x.releases)
	}
	if o.Delay <= 0 {
		last := x.dispatch
		m.giveBack(i)
		x.dispatch, x.told = last, toldRelease
		return
	}
	x.told = toldRelease
	m.move(i, m.now.Add(o.Delay), m.attempt(i, task.AttemptReleased, ""), EventReleased)
}

// giveBack makes a running task ready again as it was, without blame and, unless
// a claim was written, without a write: its record never left.
func (m *Machine) giveBack(i Slot) {
	x := m.slab.at(i)
	l := m.lanes[x.lane]
	m.givenBack(x)
	m.unlease(i)
	x.dispatch = 0
	m.dropClaim(x) // or the next owner would take it for a crash
	m.waitsAgain(x)
	m.waiting++
	m.ripen(l, i)
	m.event(l.queue(), step{kind: EventGivenBack, from: task.Running, to: x.stands()}, x)
}

// move gives a live task a new timed record, due at at, and puts it where that
// says.
func (m *Machine) move(i Slot, at task.Time, a *task.Attempt, why EventKind) {
	x := m.slab.at(i)
	l := m.lanes[x.lane]
	s := step{kind: why, from: x.stands(), was: x.class}
	from := x.source(i, x.placeIn(l))
	wasFresh := x.putBatch == uint32(m.batch)
	if wasFresh {
		from = m.freshSource(x)
	}
	m.detach(i)
	m.dropRecord(x, true)
	if l.calendar { // from here on it waits for lengths of time
		l = m.laneFor(l.queue(), l.prio(), l.names(), false)
		x.lane = l.no
	}
	x.class, x.due, x.ready = task.ClassTimed, at, at
	x.flags |= FlagMoved
	m.waitsAgain(x)
	t := Timed{Type: l.group.typ.name, Place: m.place(x), Slot: i, From: from, Counts: x.counts(), Flags: x.flags, Expires: x.expires, Attempt: a, Told: m.toldBy(x)}
	m.samePlace = m.samePlace || t.Place == from.Place
	m.putTimed(l, i, t, s, 0)
}

// source is where the body of a task's record is found. A slot that a command has
// just loaded the task into holds nothing of it, or what it held of it before.
func (x *slot) source(i Slot, p Place) Source {
	if x.state == slotLoaded {
		i = NoSlot
	}
	return Source{Slot: i, Place: p}
}

// freshSource is where the body comes from of a record put in this very Apply
// and now put again: what that put took it from.
func (m *Machine) freshSource(x *slot) Source {
	if x.flags&FlagMoved != 0 {
		return m.out.Timed[x.putIndex].From
	}
	return Source{Slot: NoSlot, Place: m.place(x)}
}

// putTimed emits the record and keeps the task in memory if there is room. s says
// where the task comes from.
func (m *Machine) putTimed(l *lane, i Slot, t Timed, s step, size int64) {
	x := m.slab.at(i)
	key := streamKey{x.due, x.seq}
	room := m.roomForTimed(l, key)
	if !room {
		t.Slot = NoSlot
	}
	x.putBatch, x.putIndex = uint32(m.batch), uint32(len(m.out.Timed))
	m.out.Timed = append(m.out.Timed, t)
	m.out.Wheres.put(Where{Seq: x.seq, Place: t.Place})
	m.dirty = true
	m.touch(l.queue())
	s.to = task.Scheduled
	if room {
		m.waiting++
		m.enter(l, x)
		m.schedule(l, i, key)
		s.to = x.stands()
	} else {
		m.forget(i)
	}
	m.eventOf(l.queue(), s, subject{slot: t.Slot, place: t.Place, typ: t.Type, size: size})
}

// die takes a live task to the dead letters.
func (m *Machine) die(i Slot, reason string, a *task.Attempt) {
	x := m.slab.at(i)
	l := m.lanes[x.lane]
	q, from := l.queue(), x.stands()
	reason = clip(reason)
	p := x.placeIn(l)
	d := DeadLetter{Key: DeadKey{q.state.Queue, m.now, x.seq}, Place: p, Type: l.group.typ.name, Slot: i, From: x.source(i, p),
		Counts: x.counts(), Flags: (x.flags | FlagMoved) &^ FlagClaim, Reason: reason, Attempt: a, Told: m.toldBy(x), Size: int(x.size)}
	if x.putBatch == uint32(m.batch) {
		d.From = m.freshSource(x)
	}
	m.detach(i)
	large := x.flags & FlagLarge
	x.flags &^= FlagLarge // the chunks stay with the dead letter
	m.dropRecord(x, false)
	d.Flags |= large
	m.out.Dead.put(d)
	m.out.Wheres.put(Where{Seq: x.seq, Dead: d.Key})
	m.event(q, step{EventEnded, from, task.Dead, x.class}, x)
	m.forget(i)
}

// expire ends a task whose time to wait, or whose deadline, has passed.
func (m *Machine) expire(i Slot) {
	x := m.slab.at(i)
	reason := "waited longer than it may"
	if m.isPast(x) {
		reason = "its deadline passed"
	}
	if x.state == slotRunning {
		m.revoke(i, task.Conflict)
	}
	m.end(i, ending{state: task.Expired, reason: reason})
}

// isPast says whether the task's deadline has passed.
func (m *Machine) isPast(x *slot) bool { return x.deadline != 0 && x.deadline <= m.wall }

// leaseTimer handles a running task whose unary lease, timeout or deadline is up.
func (m *Machine) leaseTimer(i Slot) {
	x := m.slab.at(i)
	switch {
	case m.isPast(x):
		m.expire(i)
	case x.leaseEnd != 0 && x.leaseEnd <= m.now:
		m.crash(i)
	default:
		if end := m.timeoutEnd(x); end == 0 || end > m.now {
			m.armLease(i)
			return
		}
		m.revoke(i, task.LeaseLost)
		m.failed(i, task.AttemptTimedOut, "ran longer than its timeout of "+itoa(int(m.rulesOf(x).timeout))+" ms", false, task.RetryAfterByBackoff)
	}
}

// extend renews unary leases.
func (m *Machine) extend(c *Extend) {
	for k := range c.Extensions {
		e := &c.Extensions[k]
		i, ok := m.findLease(&e.Token)
		if !ok && e.TTL >= 0 && e.TTL <= task.LeaseTTLMax {
			i, ok = m.takeUp(&e.Token)
		}
		switch {
		case !ok:
			c.Codes[k] = task.LeaseLost
		case e.TTL < 0 || e.TTL > task.LeaseTTLMax:
			c.Codes[k] = task.Invalid
		default:
			c.Codes[k] = task.OK
			if x := m.slab.at(i); x.session == 0 {
				ttl := e.TTL
				if ttl == 0 {
					ttl = task.DefaultLease
				}
				x.leaseEnd = m.now.Add(ttl)
				m.armLease(i)
				m.claimUnary(i)
			}
		}
	}
}

// takeUp makes a waiting task running again under the token of a lease that ended
// and was not given out again: one who still holds it may go on.
func (m *Machine) takeUp(t *task.Token) (Slot, bool) {
	i, ok := m.index.get(t.Seq)
	if !ok {
		return NoSlot, false
	}
	x := m.slab.at(i)
	if x.state != slotReady && x.state != slotHeld || !m.mayBeEarlier(x, t) {
		return NoSlot, false
	}
	m.takeOver(i, &m.unary)
	return i, true
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return itoa(n) + " times"
}

func itoa(n int) string {
	if n == 0 {
		return "0"
	}
	var b [20]byte
	i := len(b)
	neg := n < 0
	if neg {
		n = -n
	}
	for n > 0 {
		i--
		b[i] = byte('0' + n%10)
		n /= 10
	}
	if neg {
		i--
		b[i] = '-'
	}
	return string(b[i:])
}
