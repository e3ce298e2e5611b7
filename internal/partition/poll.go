package partition

import (
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Poll is a unary lease that waits in one partition. Its Credit may be shared
// with the same lease's polls in other partitions: whoever finds tasks first
// closes it.
type Poll struct {
	lease  queue.Lease
	most   int // tasks at most
	recv   Receiver
	credit *Credit
	tap    tap
	once   bool // it does not wait
	failed func(err *task.Error)

	// The loop's own.
	crew     *crew
	reserved int
	short    bool // it could not ask: the credit is in use elsewhere
	joined   bool

	woken bool // guarded by Runner.woken
}

// Poll asks for tasks outside any session: as many as credit allows, in one
// delivery. With once it is dropped when there are none now, what has to be read
// first included; otherwise it stays until the credit is closed. failed is called when it will come to nothing:
// with nil when once found nothing.
func (r *Runner) Poll(q *task.LeaseRequest, credit *Credit, recv Receiver, once bool, failed func(err *task.Error)) {
	l := queue.Lease{Queues: q.Queues, Types: q.Types, Max: q.Max, TTL: q.TTL, Worker: q.Worker}
	p := &Poll{lease: l, most: q.Max, recv: recv, credit: credit, once: once, failed: failed}
	p.tap.wake = func() { wake(r, p, &p.woken, &r.woken.polls) }
	m := mail{cmd: queue.Command{Op: queue.OpLease}}
	m.poll, m.tasks = p, 1
	if err := r.box.putAdmit(m); err != nil {
		failed(err)
	}
}

// admitPoll takes a new poll in.
func (r *Runner) admitPoll(p *Poll) {
	if len(r.polls) >= r.pollsCheck {
		r.dropPolls()
		r.pollsCheck = max(64, 2*len(r.polls))
	}
	if r.pollsNow >= pollsMax && r.droppedAt != r.turns {
		r.droppedAt = r.turns
		r.dropPolls()
	}
	if r.pollsNow >= pollsMax {
		r.refused = append(r.refused, refusal{p, errPolls})
		return
	}
	p.joined = true
	p.crew = r.crewOf(r.m.Join(p.lease.Queues, p.lease.Types))
	p.lease.Crew = p.crew.no
	p.credit.join(&p.tap, false)
	r.pollsNow++
	r.polls = append(r.polls, p)
	r.newPolls = append(r.newPolls, p)
}

// askNew asks for leases that have come in, and again for those that do not wait
// but for what was being read for them: something has happened since.
func (r *Runner) askNew(t *turn) {
	if r.oncesAt != r.changes {
		r.oncesAt = r.changes
		r.newPolls = append(r.newPolls, r.onces...)
		clear(r.onces)
		r.onces = r.onces[:0]
	}
	n := 0
	for ; n < len(r.newPolls) && len(r.asked) < pollsTurnMax; n++ {
		p := r.newPolls[n]
		switch {
		case !p.joined:
		case r.m.Demand(p.crew.no, 1) > 0:
			r.askPoll(t, p)
		case p.once:
			r.endPoll(p)
			t.empty = append(t.empty, p)
		default: // its crew is roused when there is something
			p.crew.polls.push(p)
		}
	}
	r.newPolls = slices.Delete(r.newPolls, 0, n)
	r.again = r.again || len(r.newPolls) > 0
}

// askPolls asks for those of a crew that wait, as many as there are tasks.
func (r *Runner) askPolls(t *turn, c *crew, demand int) {
	for tries := c.polls.len(); tries > 0 && demand > 0; tries-- {
		if len(r.asked) == pollsTurnMax {
			r.again = true
			return
		}
		p := c.polls.pop()
		if p.joined && r.askPoll(t, p) {
			demand -= p.reserved
		}
	}
}

// askPoll adds a command for a lease, if it still waits and its credit is not in
// use elsewhere.
func (r *Runner) askPoll(t *turn, p *Poll) bool {
	p.lease.Got, p.lease.Read, p.lease.Err, p.short = 0, false, nil, false
	if p.credit.Over() {
		r.endPoll(p)
		return false
	}
	if p.reserved = p.credit.take(&p.tap, p.most); p.reserved == 0 {
		p.short = true // its tap is woken when the credit comes back
		return false
	}
	p.lease.Max = p.reserved
	r.asked = append(r.asked, p)
	t.add(mail{cmd: queue.Command{Op: queue.OpLease, Lease: &p.lease}})
	return true
}

// settlePolls sorts those asked into answered, waiting and given up.
func (r *Runner) settlePolls(t *turn) {
	for _, p := range r.asked {
		if p.lease.Got > 0 {
			p.crew.served = r.turns
		}
	}
	for _, p := range r.asked {
		switch {
		case p.lease.Got > 0:
			p.credit.Close()
			r.endPoll(p)
		case p.credit.Over():
			r.endPoll(p)
		case p.lease.Err != nil:
			p.credit.give(&p.tap, p.reserved)
			r.endPoll(p)
			t.refused = append(t.refused, refusal{p, p.lease.Err})
		default:
			p.credit.give(&p.tap, p.reserved)
			r.waitOn(t, p)
		}
		p.reserved = 0
	}
}

// waitOn keeps a lease that was given nothing, if it waits for more than what there
// is now.
func (r *Runner) waitOn(t *turn, p *Poll) {
	c := p.crew
	switch {
	case !p.once:
		if c.served != r.turns {
			c.tried = r.changes
		}
		c.polls.push(p)
		r.activate(c)
	case p.lease.Read:
		r.onces = append(r.onces, p)
	default:
		r.endPoll(p)
		t.empty = append(t.empty, p)
	}
}

func (r *Runner) clearAsked() {
	clear(r.asked)
	r.asked = r.asked[:0]
}

func (r *Runner) endPoll(p *Poll) {
	if p.joined {
		p.joined = false
		r.pollsNow--
		p.credit.leave(&p.tap)
		r.leaveCrew(p.crew)
	}
}

// dropPolls forgets leases that are over, those too whose credit was closed
// elsewhere.
func (r *Runner) dropPolls() {
	crews := map[*crew]struct{}{}
	over := func(p *Poll) bool { return !p.joined }
	r.polls = slices.DeleteFunc(r.polls, func(p *Poll) bool {
		if p.joined && p.credit.Over() && p.reserved == 0 {
			r.endPoll(p)
		}
		if over(p) {
			crews[p.crew] = struct{}{}
		}
		return over(p)
	})
	for c := range crews {
		c.polls.drop(over)
	}
	r.newPolls = slices.DeleteFunc(r.newPolls, over)
	r.onces = slices.DeleteFunc(r.onces, over)
}
