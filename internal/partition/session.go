package partition

import (
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Receiver is where a session's deliveries go. Calls come from one goroutine of
// the partition, one at a time, in the order of commits; they must not block.
type Receiver interface {
	// Deliver brings leased tasks; what they point to is valid during the call.
	Deliver(ds []task.Delivery)
	// Revoke says that leases have ended early.
	Revoke(ts []task.Token, why task.Code)
	// Lost says that the partition knows the session no more.
	Lost(err *task.Error)
}

// Attached is a worker session that is open in one partition.
type Attached struct {
	open   queue.Open
	recv   Receiver
	credit *Credit
	tap    tap

	// The loop's own.
	num      queue.SessionNo // the machine's number; 0 = not open
	gone     bool            // detached or closed; by leave, if that was before it was open
	leave    queue.Op
	crew     *crew
	able     bool // in its crew's line, or chosen from there: it may have credit
	taking   bool // chosen for the Apply under way,
	drawn    bool // and its credit was asked for
	heard    bool // in its crew's hungry
	wants    int  // tasks that may be for it
	reserved int  // credit drawn for the Apply under way
	leased   int  // what came of it

	woken bool // guarded by Runner.woken
}

// Attach opens a session, or takes one up again. done is called once the opening
// is durable; until then opts must not be changed. lost are those of
// opts.Running that are gone. weight is that of the partition's queues, against
// those that the session is served by in other partitions.
func (r *Runner) Attach(opts *task.SessionOptions, weight int, credit *Credit, recv Receiver, done func(lost []task.Token, err *task.Error)) *Attached {
	a := &Attached{open: queue.Open{Options: opts}, recv: recv, credit: credit}
	a.tap.weight = weight
	a.tap.wake = func() { wake(r, a, &a.woken, &r.woken.sessions) }
	m := mail{cmd: queue.Command{Op: queue.OpOpen, Open: &a.open}}
	m.from = a
	m.reply = func(err *task.Error) {
		if err == nil {
			err = a.open.Err
		}
		done(a.open.Lost, err)
	}
	if err := r.box.putFinish(m); err != nil {
		done(nil, err)
	}
	return a
}

// Beat renews the session's leases.
func (r *Runner) Beat(a *Attached) *task.Error { return r.putSession(queue.OpBeat, a, nil) }

// Detach stops deliveries to the session; its leases live on until its TTL ends.
func (r *Runner) Detach(a *Attached) { _ = r.putSession(queue.OpDetach, a, nil) }

// CloseSession hands back all that is leased to the session, without blame. done
// may be nil.
func (r *Runner) CloseSession(a *Attached, done func()) {
	reply := func(*task.Error) {
		if done != nil {
			done()
		}
	}
	if err := r.putSession(queue.OpClose, a, reply); err != nil {
		reply(err)
	}
}

func (r *Runner) putSession(op queue.Op, a *Attached, reply func(*task.Error)) *task.Error {
	m := mail{cmd: queue.Command{Op: op}}
	m.from, m.reply = a, reply
	return r.box.putFinish(m)
}

// admitSession fits a session's command to who it comes from. It returns false
// when there is nothing to apply: another connection has taken the session over.
func (r *Runner) admitSession(c *queue.Command, a *Attached) bool {
	switch c.Op {
	case queue.OpOpen:
		return true
	case queue.OpDetach, queue.OpClose:
		a.gone, a.leave = true, c.Op
	}
	if a.num == 0 || r.sessions[a.num] != a {
		return false
	}
	c.Session = a.num
	if a.gone {
		r.forgetSession(a)
	}
	return true
}

// takenOver forgets connections whose sessions others have taken up in this turn: what
// is dispatched in it is no longer theirs.
func (r *Runner) takenOver(t *turn) {
	for i := range t.cmds {
		if o := t.cmds[i].Open; o != nil {
			if old := r.sessions[o.Session]; old != nil {
				r.forgetSession(old)
			}
		}
	}
}

// opened notes what came of an OpOpen that was not put off.
func (r *Runner) opened(t *turn, a *Attached) {
	if a.open.Err != nil {
		return
	}
	a.num = a.open.Session
	if a.gone { // it went while its opening was being looked into
		r.extra = append(r.extra, queue.Command{Op: a.leave, Session: a.num})
		r.again = true
		a.num = 0
		return
	}
	crew := r.m.CrewOf(a.num)
	if crew == 0 { // its predecessor has closed it in the same turn
		a.num = 0
		t.lapsed = append(t.lapsed, a)
		return
	}
	r.sessions[a.num] = a
	if len(r.order) > 2*len(r.sessions)+orderKeepMin {
		r.order = slices.DeleteFunc(r.order, func(a *Attached) bool { return a.num == 0 })
	}
	r.order = append(r.order, a)
	a.crew = r.crewOf(crew)
	a.credit.join(&a.tap, true) // as if it had tasks: the next turn knows better
	a.credit.hold(&a.tap, r.m.Holds(a.num))
	a.tap.wake()
}

func (r *Runner) forgetSession(a *Attached) {
	delete(r.sessions, a.num)
	a.credit.leave(&a.tap)
	a.num = 0
	c := a.crew
	if a.able && !a.taking {
		c.gone++
	}
	r.leaveCrew(c)
	if c.gone > c.uses+orderKeepMin {
		c.able.drop(func(x *Attached) bool { return x.num == 0 })
		c.hungry = slices.DeleteFunc(c.hungry, func(x *Attached) bool { return x.num == 0 })
		c.gone = 0
	}
}
