package queue

import "github.com/penstock-io/penstock/internal/task"

// EventKind says what has happened to a task.
type EventKind uint8

// The kinds of Event. What is in the store alone counts there as it was born: as
// ready, or as scheduled, even past its time. Those before EventBorn leave a task's
// record as it is.
const (
	EventReady     EventKind = iota // scheduled → ready: its time has come, and it is in memory
	EventWaits                      // ready → scheduled: the wall clock was set back, or it has left memory
	EventLeased                     // → running, under a new lease or one that goes on
	EventGivenBack                  // running → as it was before, without blame
	EventHeld                       // → blocked: a start has found that it may be running
	EventFreed                      // blocked → as it was before: whoever may have run it does not
	EventBorn                       // it is new: ready or scheduled
	EventFailed                     // an attempt has failed: it waits for the next
	EventCrashed                    // its worker was lost: likewise
	EventReleased                   // its worker has put it off: likewise
	EventRetried                    // somebody wants it now, be it scheduled or at its end
	EventEnded                      // → succeeded, dead, canceled or expired
	EventGone                       // deleted, without a trace
	EventPurged                     // by range: all of Purged, in the store alone
)

// Event is one change of state of a task, or of those that a purge takes by range.
// History that is dropped is none: what has ended stays as it has ended.
type Event struct {
	Kind   EventKind
	From   task.State // StateUnknown: it was not there
	To     task.State // StateUnknown: it is gone
	Slot   Slot       // that it has, or had until now; NoSlot: none
	Place  Place      // where its record stands now, or stood last; of a purge only the Queue
	Type   string     // "": not known any more
	Purged Purged     // zero: it is one task
}

// Purged is what a purge takes by range: N tasks, which stood in the ranges before
// this Apply; no ranges are all dead letters of the queue.
type Purged struct {
	N      int64
	Ranges []Range
}

// step is a change of state itself.
type step struct {
	kind EventKind
	from task.State
	to   task.State
	was  task.Class // of the record that goes or moves, or is new
}

// subject is what an event is about when no slot can tell.
type subject struct {
	slot   Slot
	place  Place
	typ    string
	size   int64 // bytes of dead letters
	purged Purged
}

// event is what every change of state of a task goes through, once it is made; x is
// its slot, or was until now. The counts of tasks by state are kept from here and
// nowhere else, and who waits for the end of a task hears of it from here. What else
// is to follow tasks through their lives has its place here too.
func (m *Machine) event(q *queueOf, s step, x *slot) {
	if m.cfg.Events {
		m.tellEvent(s, x)
	}
	q.tasks[s.from]--
	q.tasks[s.to]++
	switch {
	case s.kind < EventBorn: // its record is as it was
	case s.kind == EventBorn:
		q.state.Enqueued++
		*q.state.records(s.was)++
	case s.kind == EventEnded || s.kind == EventGone:
		m.ended(q, s, x)
	default:
		m.recount(q, s)
	}
}

// eventOf is event for what is not in memory, or only since this very event.
func (m *Machine) eventOf(q *queueOf, s step, of subject) {
	m.subject = of
	m.event(q, s, nil)
	m.subject = subject{}
}

// ended counts how a task has ended, and tells those who wait for that.
func (m *Machine) ended(q *queueOf, s step, x *slot) {
	var e Ended
	var size int64
	if x != nil {
		e, size = Ended{x.seq, s.to, m.lanes[x.lane].group.typ.name}, int64(x.size)
	} else {
		e, size = Ended{m.subject.place.Seq, s.to, m.subject.typ}, m.subject.size
	}
	m.out.Ended = append(m.out.Ended, e)
	q.state.countOut(s, 1, size)
	switch st := &q.state; s.to {
	case task.Succeeded:
		st.Succeeded++
	case task.Canceled:
		st.Canceled++
	case task.Expired:
		st.Expired++
	case task.Dead:
		st.Dead++
		st.DeadTotal++
		st.DeadBytes += size
	}
}

// recount counts records that move, or that a purge takes.
func (m *Machine) recount(q *queueOf, s step) {
	of, st := &m.subject, &q.state
	if s.kind != EventPurged {
		st.countOut(s, 1, of.size)
		st.Timed++
		return
	}
	q.tasks[s.from] -= of.purged.N - 1
	st.countOut(s, of.purged.N, of.size)
}

// tellEvent makes the Event for those who listen. What a start finds is no news.
func (m *Machine) tellEvent(s step, x *slot) {
	if m.out == nil {
		return
	}
	of := &m.subject
	e := Event{Kind: s.kind, From: s.from, To: s.to, Slot: of.slot, Place: of.place, Type: of.typ, Purged: of.purged}
	if x != nil {
		e.Slot, _ = m.index.get(x.seq)
		e.Place, e.Type = m.place(x), m.lanes[x.lane].group.typ.name
	}
	m.out.Events = append(m.out.Events, e)
}

// countOut counts records that go. How many were canceled or expired tells of the
// past: it goes back only when one of them is brought back.
func (st *QueueState) countOut(s step, n, size int64) {
	switch {
	case !s.from.Final():
		*st.records(s.was) -= n
	case s.from == task.Dead:
		st.Dead -= n
		st.DeadBytes = max(0, st.DeadBytes-size)
	case s.kind != EventRetried:
	case s.from == task.Canceled:
		st.Canceled--
	default:
		st.Expired--
	}
}

// records is the count of live records of a class.
func (st *QueueState) records(c task.Class) *int64 {
	if c.Timed() {
		return &st.Timed
	}
	return &st.Births
}

// stands is the state that a task in memory counts in. One that a command has just
// loaded counts as it does in the store alone.
func (s *slot) stands() task.State {
	switch s.state {
	case slotReady:
		return task.Ready
	case slotScheduled:
		return task.Scheduled
	case slotHeld:
		return task.Blocked
	case slotRunning:
		return task.Running
	}
	return inStore(s.class)
}

// inStore is the state that a task in the store alone counts in, by the class of
// its record: those past their time are not told apart there.
func inStore(c task.Class) task.State {
	if c.Timed() {
		return task.Scheduled
	}
	return task.Ready
}
