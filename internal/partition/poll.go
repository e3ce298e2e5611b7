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
	reserved int
	short    bool // it could not ask: the credit is in use elsewhere
	joined   bool
}

// Poll asks for tasks outside any session: as many as credit allows, in one
// delivery. With once it is dropped when there are none now, what has to be read
// first included; otherwise it stays until the credit is closed. failed is called when it will come to nothing:
// with nil when once found nothing.
func (r *Runner) Poll(q *task.LeaseRequest, credit *Credit, recv Receiver, once bool, failed func(err *task.Error)) {
	l := queue.Lease{Queues: q.Queues, Types: q.Types, Max: q.Max, TTL: q.TTL, Worker: q.Worker}
	p := &Poll{lease: l, most: q.Max, recv: recv, credit: credit, once: once, failed: failed}
	p.tap.wake = func() {
		r.pollAll.Store(true)
		r.box.ring()
	}
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
	if len(r.polls)+len(r.newPolls) >= pollsMax {
		r.refused = append(r.refused, refusal{p, errPolls})
		return
	}
	r.newPolls = append(r.newPolls, p)
	p.credit.join(&p.tap, false)
	p.joined = true
}

// dispatchPolls adds a command for polls that have not been asked since the
// state last changed, as far as something is ready or may become so by the fresh
// tasks of this turn.
func (r *Runner) dispatchPolls(t *turn, fresh int) {
	if len(r.newPolls) > 0 { // they are asked at once, the others are not asked again for them
		r.pollsDue += len(r.newPolls)
		r.polls = slices.Insert(r.polls, 0, r.newPolls...)
		clear(r.newPolls)
		r.newPolls = r.newPolls[:0]
	}
	if r.pollsNext || r.pollAll.Load() {
		r.pollsNext = false
		r.pollAll.Store(false)
		r.pollsDue = len(r.polls)
	}
	n := min(r.pollsDue, len(r.polls), pollsTurnMax)
	if n == 0 {
		return
	}
	r.asked = append(r.asked[:0], r.polls[:n]...)
	r.polls = append(r.polls[:0], r.polls[n:]...) // those asked go to the end of the line
	for _, p := range r.asked {
		p.lease.Got, p.lease.Read, p.lease.Err, p.short = 0, false, nil, false
		if p.credit.Over() {
			continue
		}
		if !r.m.DemandUnary(&p.lease) {
			if fresh == 0 {
				continue
			}
			fresh-- // one of the tasks that come with this turn may be for it
		}
		if p.reserved = p.credit.take(&p.tap, p.most); p.reserved == 0 {
			p.short = true // its tap is woken when the credit comes back
			continue
		}
		p.lease.Max = p.reserved
		t.add(mail{cmd: queue.Command{Op: queue.OpLease, Lease: &p.lease}})
	}
	r.pollsDue -= n
	if r.pollsDue > 0 {
		r.again = true
	}
}

// settlePolls sorts those asked into answered, waiting and given up.
func (r *Runner) settlePolls(t *turn) {
	for _, p := range r.asked {
		got := p.lease.Got
		switch {
		case p.credit.Over() && got == 0:
			r.endPoll(p)
		case p.reserved > 0 && p.lease.Err != nil:
			p.credit.give(&p.tap, p.reserved)
			r.endPoll(p)
			t.refused = append(t.refused, refusal{p, p.lease.Err})
		case got > 0:
			p.credit.Close()
			r.endPoll(p)
		default:
			if p.reserved > 0 {
				p.credit.give(&p.tap, p.reserved)
			}
			if p.once && !p.short && !p.lease.Read {
				r.endPoll(p)
				t.empty = append(t.empty, p)
			} else {
				r.polls = append(r.polls, p)
			}
		}
		p.reserved = 0
	}
}

func (r *Runner) clearAsked() {
	clear(r.asked)
	r.asked = r.asked[:0]
}

func (r *Runner) endPoll(p *Poll) {
	if p.joined {
		p.credit.leave(&p.tap)
		p.joined = false
	}
}

// dropPolls forgets polls whose credit was closed elsewhere, so that they do not
// wait for the next change to be noticed.
func (r *Runner) dropPolls() {
	r.polls = slices.DeleteFunc(r.polls, func(p *Poll) bool {
		if p.credit.Over() {
			r.endPoll(p)
			return true
		}
		return false
	})
	r.pollsDue = min(r.pollsDue, len(r.polls))
}
