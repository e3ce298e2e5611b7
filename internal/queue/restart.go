package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// restart is what a new owner must mind: tasks that may still be running under
// the last one, and a process that keeps dying.
type restart struct {
	unclean bool
	fresh   bool                   // the first Apply is still to come
	away    map[string]*awayWorker // sessions that have tasks here, or are recorded, and are not back
	order   []*awayWorker          // by number - 1, which held tasks have in slot.session
	next    task.Time              // when the first of them lapses; 0 = none is away
	later   []Slot                 // leases without a session that end later than is written
	over    []task.Seq             // tasks that have ended and left a claim
	safe    bool                   // claims durable, one task at a time
	opened  task.Time
	settled bool // it has lived for safeWindow
}

// awayWorker is a session of an earlier owner whose worker may be back, and what
// is held for it until then.
type awayWorker struct {
	state    SessionState // AwayUntil: when it lapses
	recorded bool
	until    task.Time // what is written of that; 0 = nothing
	again    bool      // an earlier start has found it away too: what is left of its time blames nobody
	no       SessionNo
	held     []Slot
}

// loadRestart reads the state of the last owner, and takes the tasks that may be
// running into memory, before anything else and however many lanes they are in:
// they go on, or are held for their worker.
func (m *Machine) loadRestart(snap *Snapshot) {
	r := &m.restart
	r.opened, r.fresh = m.now, true
	r.away = map[string]*awayWorker{}
	r.unclean = snap.Found && !snap.Meta.Clean
	switch {
	case !r.unclean:
		m.meta.UncleanOpens = 0
	case snap.Again:
	case m.meta.LastOpen != 0 && m.now.Sub(m.meta.LastOpen) < safeWindow:
		m.meta.UncleanOpens++
	default:
		m.meta.UncleanOpens = 1
	}
	r.safe = m.meta.UncleanOpens >= 2
	if !snap.Again {
		m.meta.LastOpen = m.now
	}
	m.meta.Clean = false
	for _, s := range snap.Sessions {
		a := m.addAway(s)
		a.recorded = true
		if a.again = s.AwayUntil != 0; a.again {
			a.until, a.state.AwayUntil = m.awayAgain(s.AwayUntil, &snap.Meta)
		} else {
			a.until = m.now.Add(adoptWindow)
			a.state.AwayUntil = a.until
		}
	}
	for _, s := range snap.Here {
		if r.away[s.Session] == nil {
			m.addAway(s).state.AwayUntil = m.now.Add(adoptWindow)
		}
	}
	m.loadInFlight(snap)
	m.nextAway()
}

// awayAgain is when a session lapses that an earlier start has waited for, and what to
// write of that for the next one: until is when it would lapse after adoptWindow,
// were only the time counted in which there was an owner (livedTo). Each start waits for adoptAgain all the same, so that a worker that tries
// again in intervals finds one of them, but not for ever.
func (m *Machine) awayAgain(until task.Time, last *Meta) (next, lapse task.Time) {
	next = m.now.Add(until.Sub(last.livedTo()))
	if next.Add(adoptMost-adoptWindow) <= m.now {
		return next, m.now
	}
	return next, max(next, m.now.Add(adoptAgain))
}

// livedTo is when an owner ended, as far as it is known: of one that ended in order
// that is written; any other lived for a second at least, or holds would never end over
// owners that die young.
func (m *Meta) livedTo() task.Time {
	if m.Clean {
		return m.Now
	}
	return max(m.Now, m.LastOpen.Add(task.Second))
}

func (m *Machine) addAway(s SessionState) *awayWorker {
	a := &awayWorker{state: s, no: SessionNo(len(m.restart.order) + 1)}
	m.restart.away[s.Session] = a
	m.restart.order = append(m.restart.order, a)
	return a
}

// loadInFlight takes in what may be running.
func (m *Machine) loadInFlight(snap *Snapshot) {
	lists := m.loadLists(snap)
	claimed := map[task.Seq]struct{}{}
	for k := range snap.InFlight {
		f := &snap.InFlight[k]
		p, n := f.Claim.Place, f.Waiting.Counts
		// A claim goes as soon as its dispatch is over; one that a worker has taken back
		// is of an earlier attempt.
		if m.numbered[p.Queue] == nil || !f.Claimed && uint32(f.Claim.Token.Attempt) != n.Failures+n.Crashes+1 {
			continue // it has been dispatched, has failed and stands there again
		}
		i := m.takeInFlight(f)
		if f.Claimed {
			m.slab.at(i).flags |= FlagClaim
			claimed[f.Claim.Seq] = struct{}{}
		} else {
			m.enlist(lists[f.List], i)
		}
		if end := m.unaryEnd(&f.Claim, &snap.Meta); end > m.now {
			m.resumeUnary(i, f, end)
		} else {
			m.hold(i, &f.Claim)
		}
	}
	for _, c := range snap.Claims {
		if _, ok := claimed[c.Seq]; !ok {
			m.restart.over = append(m.restart.over, c.Seq)
		}
	}
}

// takeInFlight makes the slot of a task that may be running, with its last
// dispatch. It is in no list yet, and counts as waiting.
func (m *Machine) takeInFlight(f *InFlight) Slot {
	p := f.Waiting.Place
	l := m.findLane(m.numbered[p.Queue], p.Prio, &f.Waiting.Names, p.Class == task.ClassCalendar)
	i := m.slotFor(l, &f.Waiting)
	m.waiting++
	x := m.slab.at(i)
	x.lastLease(&f.Claim.Token)
	x.told = toldNone
	x.started = f.Claim.Started
	if x.expires != 0 && x.expires <= m.now {
		x.flags &^= FlagExpiry // its entry may have gone while it ran: should it wait again, it has one again
	}
	m.enter(l, x) // of births only the refill that comes to it puts it in order
	if p.Class.Timed() {
		l.side.order.push(timedEntry{streamKey{p.Due, p.Seq}, i})
	}
	return i
}

// unaryEnd is until when a lease of earlier owners goes on that has no session: its
// holder could extend it at no owner while there was none. An owner that ended in order
// leaves it the time that was left of it then; and whoever finds it first lets it go on
// for adoptWindow at least. A later start leaves of that what is left (livedTo). What is left then ends without blame.
func (m *Machine) unaryEnd(c *Claim, last *Meta) task.Time {
	if c.LeaseEnd == 0 {
		return 0
	}
	end := c.LeaseEnd
	if last.Clean {
		end = end.Add(m.now.Sub(last.Now))
	}
	first := c.Started >= last.LastOpen || c.LeaseEnd > last.LastOpen.Add(adoptWindow)
	switch left := c.LeaseEnd.Sub(last.livedTo()); {
	case first:
		end = max(end, m.now.Add(adoptWindow))
	case left >= task.Second:
		end = max(end, m.now.Add(left))
	}
	return end
}

// resumeUnary goes on with a lease without a session. Should it end later now, the
// next owner must know.
func (m *Machine) resumeUnary(i Slot, f *InFlight, end task.Time) {
	x := m.slab.at(i)
	started := x.started
	m.waiting--
	m.lease(i, &m.unary, &f.Claim.Token, x.stands())
	x.started, x.leaseEnd, x.long = started, end, f.Claimed
	m.armLease(i)
	if end != f.Claim.LeaseEnd {
		m.restart.later = append(m.restart.later, i)
	}
}

// hold keeps a task at its place in the order from being dispatched, until its
// worker is back or has stayed away for too long. One whose worker can't come back
// is held for no longer than the first Apply.
func (m *Machine) hold(i Slot, c *Claim) {
	r := &m.restart
	a := r.away[c.Session]
	if a == nil {
		a = m.addAway(SessionState{Session: c.Session, AwayUntil: m.now})
	}
	if !a.recorded {
		a.state.Concurrency = max(a.state.Concurrency, c.Concurrency)
	}
	x := m.slab.at(i)
	x.old, x.session = true, a.no
	a.held = append(a.held, i)
	m.pushHeld(m.lanes[x.lane], i)
	m.event(m.lanes[x.lane].queue(), step{kind: EventHeld, from: inStore(x.class), to: task.Blocked}, x)
}

// unhold makes a held task ready, without blame.
func (m *Machine) unhold(i Slot) {
	x := m.slab.at(i)
	l := m.lanes[x.lane]
	m.unready(l, i)
	m.unlist(x)
	m.dropClaim(x)
	x.session = 0
	m.waitsAgain(x)
	m.ripen(l, i)
	m.event(l.queue(), step{kind: EventFreed, from: task.Blocked, to: x.stands()}, x)
}

// takeOver leases a waiting task to s under t, its last dispatch. The attempt goes
// on: it began when that dispatch did.
func (m *Machine) takeOver(i Slot, s *session) {
	x := m.slab.at(i)
	started, list := x.started, x.list
	claimed := x.flags&FlagClaim != 0
	x.list = 0 // it stays in its list
	t := m.token(x)
	from := x.stands()
	m.takeOut(m.lanes[x.lane], i) // in memory it remains
	m.lease(i, s, &t, from)
	x.list, x.started, x.long = list, started, claimed
	m.armLease(i)
}

// takeBack is takeOver by a worker that will go on with it: should this owner die,
// the next must know.
func (m *Machine) takeBack(i Slot, s *session) {
	x := m.slab.at(i)
	known := x.state == slotHeld && m.restart.order[x.session-1].state.Session == s.opts.ID
	m.takeOver(i, s)
	if !known {
		m.unlist(x)
		x.flags |= FlagClaim
		m.putClaim(i, s)
		x.long = true
	}
}

// back notes that a session has returned and has named what it runs. What it did
// not name it never got, or has done with.
func (r *restart) back(m *Machine, id string) {
	a := r.away[id]
	if a == nil {
		return
	}
	for _, i := range a.held {
		if m.slab.at(i).state == slotHeld {
			m.unhold(i)
		}
	}
	a.held = nil
	delete(r.away, id)
	if len(r.away) == 0 { // else r.next may be too early, once
		r.next = 0
	}
}

// nextAway sets when the next session lapses.
func (m *Machine) nextAway() {
	r := &m.restart
	r.next = 0
	for _, a := range r.order {
		if r.away[a.state.Session] == a && (r.next == 0 || a.state.AwayUntil < r.next) {
			r.next = a.state.AwayUntil
		}
	}
}

// lapseAway ends the wait for sessions that have stayed away for too long. What
// ran for them and has a claim crashed with its worker, unless the last owner
// ended in order: then nobody knows. Nor does an owner that has not waited for the
// whole of the time itself.
func (m *Machine) lapseAway() {
	r := &m.restart
	if r.next == 0 || r.next > m.now {
		return
	}
	for _, a := range r.order {
		if r.away[a.state.Session] != a || a.state.AwayUntil > m.now {
			continue
		}
		for _, i := range m.neverBegun(a) {
			m.unhold(i)
		}
		for _, i := range a.held {
			x := m.slab.at(i)
			switch {
			case x.state != slotHeld:
			case a.again:
				m.unhold(i)
			case x.flags&FlagClaim != 0 && r.unclean:
				m.crash(i)
			default:
				m.unhold(i)
			}
		}
		if a.recorded {
			m.dropSession(a.state.Session)
		}
		a.held = nil
		delete(r.away, a.state.Session)
	}
	m.nextAway()
}

// neverBegun is what is held for a session beyond the oldest of it that it can have
// run at once. Without a session nobody is to blame for what is held.
func (m *Machine) neverBegun(a *awayWorker) []Slot {
	held := slices.DeleteFunc(slices.Clone(a.held), func(i Slot) bool { return m.slab.at(i).state != slotHeld })
	if a.state.Session == "" {
		return held
	}
	slices.SortFunc(held, func(i, j Slot) int {
		x, y := m.slab.at(i), m.slab.at(j)
		return cmp.Or(cmp.Compare(x.epoch, y.epoch), cmp.Compare(x.dispatch, y.dispatch))
	})
	return held[min(len(held), max(a.state.Concurrency, 1)):]
}

// firstWork writes down what the start has found: who is away, and what is over.
func (m *Machine) firstWork() {
	r := &m.restart
	if !r.fresh {
		return
	}
	r.fresh = false
	for _, a := range r.order {
		if a.until != 0 {
			s := a.state
			s.AwayUntil = a.until
			m.dirty = true
			m.out.Sessions.put(s)
		}
	}
	for _, seq := range r.over {
		m.out.Claims.drop(seq)
	}
	for _, i := range r.later {
		m.claimUnary(i)
	}
	r.over, r.later = nil, nil
	m.dropEmptyLists()
	m.lapseAway() // those that can't be back
}

// giveTime pushes the time that workers have to be back: the owner stood still. The
// next owner must know.
func (r *restart) giveTime(m *Machine, d task.Millis) {
	for _, a := range r.order {
		if r.away[a.state.Session] != a {
			continue
		}
		a.state.AwayUntil = a.state.AwayUntil.Add(d)
		if a.recorded {
			a.until = a.until.Add(d)
			s := a.state
			s.AwayUntil = a.until
			m.dirty = true
			m.out.Sessions.put(s)
		}
	}
	if r.next != 0 {
		r.next = r.next.Add(d)
	}
}

// settleSafe ends safe mode once this owner has lived for long enough.
func (m *Machine) settleSafe() {
	r := &m.restart
	if !r.settled && m.now >= r.opened.Add(safeWindow) {
		r.settled, r.safe = true, false
		if m.meta.UncleanOpens != 0 {
			m.meta.UncleanOpens = 0
			m.dirty = true
		}
	}
}

// Close hands the partition over in order: leases of sessions that outlive this
// owner are written as claims, and the meta says that nothing else was running.
// Leases of this process's own sessions outlive it if the process stays, as it does
// when a spent epoch gives way to the next. The machine must not be used afterwards.
func (m *Machine) Close(now task.Time, stays bool, out *Output) {
	out.Reset()
	m.out = out
	m.batch++
	m.tell(now, m.meta.Offset)
	out.Batch, out.Now = m.batch, m.now
	for i := m.unary.head; i != NoSlot; i = m.slab.at(i).next {
		m.claim(i, &m.unary)
	}
	for _, s := range m.sessions {
		if s == nil {
			continue
		}
		for i := s.head; i != NoSlot; i = m.slab.at(i).next {
			if s.opts.Remote || stays {
				m.claim(i, s)
			} else {
				m.unlist(m.slab.at(i))
			}
		}
	}
	m.meta.Clean = true
	m.dirty = true
	m.Finish()
	out.Wants = out.Wants[:0]
}
