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
	wants    int  // tasks that may be ready for it
	reserved int  // credit drawn for the Apply under way
	leased   int  // what came of it
	stuck    bool // the last dispatch led to nothing though something seemed ready
}

// Attach opens a session, or takes one up again. done is called once the opening
// is durable; until then opts must not be changed. lost are those of
// opts.Running that are gone. weight is that of the partition's queues, against
// those that the session is served by in other partitions.
func (r *Runner) Attach(opts *task.SessionOptions, weight int, credit *Credit, recv Receiver, done func(lost []task.Token, err *task.Error)) *Attached {
	a := &Attached{open: queue.Open{Options: opts}, recv: recv, credit: credit}
	a.tap.weight = weight
	a.tap.wake = r.box.ring
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

// opened notes what came of an OpOpen that was not put off.
func (r *Runner) opened(a *Attached) {
	if a.open.Err != nil {
		return
	}
	if old := r.sessions[a.open.Session]; old != nil {
		r.forgetSession(old)
	}
	a.num = a.open.Session
	if a.gone { // it went while its opening was being looked into
		r.extra = append(r.extra, queue.Command{Op: a.leave, Session: a.num})
		r.again = true
		a.num = 0
		return
	}
	r.sessions[a.num] = a
	r.order = append(r.order, a)
	a.credit.join(&a.tap, true) // as if it had tasks: the next turn knows better
}

func (r *Runner) forgetSession(a *Attached) {
	delete(r.sessions, a.num)
	r.left = true
	a.credit.leave(&a.tap)
	a.num = 0
}

// attached lists the open sessions, in the order in which they came.
func (r *Runner) attached() []*Attached {
	if r.left {
		r.left = false
		r.order = slices.DeleteFunc(r.order, func(a *Attached) bool { return a.num == 0 })
	}
	return r.order
}

// dispatch adds a command for every session that has credit and for which
// something is ready, or may become ready by the fresh tasks of this turn. The
// credit is drawn before the Apply and the rest given back right after it, so
// that no two partitions promise the same. Sessions take turns at going first.
func (r *Runner) dispatch(t *turn, fresh int) {
	n := len(r.attached())
	if n == 0 {
		return
	}
	r.first = (r.first + 1) % n
	able := r.able[:0]
	for i := range n {
		if a := r.order[(r.first+i)%n]; r.demand(a, fresh) > 0 {
			able = append(able, a)
		}
	}
	r.able = able
	left := dispatchMax
	for i, a := range able {
		if left == 0 {
			r.again = true
			return
		}
		rest := len(able) - i
		want := min(a.wants, left)
		a.reserved = a.credit.take(&a.tap, (want+rest-1)/rest)
		if a.reserved == 0 {
			continue
		}
		left -= a.reserved
		t.add(mail{cmd: queue.Command{Op: queue.OpDispatch, Session: a.num, N: a.reserved}})
	}
}

// demand is how many tasks the session may draw credit for; 0 when it has none to
// draw. Credit that comes later wakes the loop if there is something to give.
func (r *Runner) demand(a *Attached, fresh int) int {
	left := a.credit.Left()
	a.wants = fresh
	if !a.stuck {
		a.wants += r.m.Demand(a.num, min(max(left, 1), dispatchMax))
	}
	if left > 0 && a.wants > 0 {
		return a.wants
	}
	a.credit.want(&a.tap, a.wants > 0)
	if a.wants > 0 && a.credit.Left() > 0 { // it came just now
		return a.wants
	}
	return 0
}

// settleCredit gives back what the Apply left unused.
func (r *Runner) settleCredit() {
	for _, a := range r.able {
		if a.reserved > 0 {
			a.stuck = a.leased == 0
			if rest := a.reserved - a.leased; rest > 0 {
				a.credit.give(&a.tap, rest)
			}
		}
		a.reserved, a.leased = 0, 0
	}
	clear(r.able)
	r.able = r.able[:0]
	for _, a := range r.attached() {
		a.credit.hold(&a.tap, r.m.Holds(a.num))
	}
}

// unstick lets dispatch be tried again: something has happened.
func (r *Runner) unstick() {
	for _, a := range r.attached() {
		a.stuck = false
	}
}
