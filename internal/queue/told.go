package queue

import "github.com/penstock-io/penstock/internal/task"

// Told is the outcome that was last acknowledged for a task that it did not
// complete, and the lease it came under. It stands: a repeat of it is OK, another
// one under that lease comes too late. The zero Told: there is none, or the task
// has been leased since its record was written.
type Told struct {
	Kind  task.OutcomeKind
	Token task.Token
}

// Set says whether there is one.
func (t *Told) Set() bool { return t.Token != task.Token{} }

// told is a Told's kind as a slot has it.
type told uint8

const (
	toldNone told = iota
	toldFail
	toldRelease
	toldComplete // never in a slot
)

func toldOf(k task.OutcomeKind) told {
	switch k {
	case task.OutcomeComplete:
		return toldComplete
	case task.OutcomeFail:
		return toldFail
	}
	return toldRelease
}

// toldBy is what goes into the task's record.
func (m *Machine) toldBy(x *slot) Told {
	switch x.told {
	case toldFail:
		return Told{task.OutcomeFail, m.token(x)}
	case toldRelease:
		return Told{task.OutcomeRelease, m.token(x)}
	}
	return Told{}
}

// lateOutcome judges an outcome whose lease is not running.
func (m *Machine) lateOutcome(o *task.Outcome) task.Code {
	t := &o.Token
	if t.Partition != m.cfg.Partition {
		return task.LeaseLost
	}
	if i, ok := m.index.get(t.Seq); ok {
		return m.lateOutcomeHere(i, o)
	}
	got, asked := m.gotTold[t.Seq]
	if !asked {
		m.want(Want{What: WantTold, Seq: t.Seq})
		return pending
	}
	var last Told
	switch {
	case len(got.Waiting) > 0:
		last = got.Waiting[0].Told
	case got.Dead != nil:
		last = got.Dead.Told
	case got.Finished != nil && got.Finished.State == task.Succeeded:
		last = Told{task.OutcomeComplete, got.Finished.Token}
	}
	if last.Set() && last == (Told{o.Kind, *t}) {
		return task.OK
	}
	return task.LeaseLost
}

// lateOutcomeHere is lateOutcome for a task in memory. What was acknowledged
// stands. A lease that nothing was told of lapsed: its completion is accepted if
// the task was not dispatched again since.
func (m *Machine) lateOutcomeHere(i Slot, o *task.Outcome) task.Code {
	t := &o.Token
	x := m.slab.at(i)
	switch {
	case x.state == slotRunning:
		return task.LeaseLost
	case m.mayBeEarlier(x, t):
	case !m.wasLast(x, t):
		return task.LeaseLost
	case x.told != toldNone:
		if x.told == toldOf(o.Kind) {
			return task.OK
		}
		return task.LeaseLost
	case o.Kind != task.OutcomeComplete:
		return task.LeaseLost
	}
	m.takeOver(i, &m.unary)
	m.follow(i, o)
	return task.OK
}

// wasLast says whether t is the token of the task's last dispatch, in every field.
func (m *Machine) wasLast(x *slot, t *task.Token) bool { return t.Dispatch != 0 && m.token(x) == *t }

// mayBeEarlier says whether t is the last dispatch of a waiting task, by an earlier
// owner, and the task stands as that has left it.
func (m *Machine) mayBeEarlier(x *slot, t *task.Token) bool {
	return x.old && x.told == toldNone && m.wasLast(x, t) && uint32(t.Attempt) == attemptOf(x)
}
