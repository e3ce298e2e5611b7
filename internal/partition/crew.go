package partition

import (
	"fmt"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
)

// crew is the sessions and the waiting unary leases of this partition that want the
// same: whether there is something for one is so for all (queue.Machine.Demand). A
// crew for which there is nothing, or whose workers have no credit, is not among
// Runner.active and costs a turn nothing.
type crew struct {
	no     queue.CrewNo
	uses   int               // sessions and leases
	able   lineup[*Attached] // sessions that may have credit, who was served longest ago first
	polls  lineup[*Poll]     // leases that wait, likewise
	hungry []*Attached       // those of able whose credit may be kept from other partitions
	gone   int               // those of able that have left
	active bool
	tried  uint64 // Runner.changes after which nothing came of what seemed to be there
	served uint64 // the turn in which it was given something last
}

// lineup is a line of who is to be asked, in the order of their turns.
type lineup[T any] struct {
	items []T
	head  int
}

func (l *lineup[T]) len() int { return len(l.items) - l.head }

func (l *lineup[T]) push(x T) { l.items = append(l.items, x) }

func (l *lineup[T]) pop() T {
	var zero T
	x := l.items[l.head]
	l.items[l.head] = zero
	if l.head++; 2*l.head >= len(l.items) {
		n := copy(l.items, l.items[l.head:])
		clear(l.items[n:])
		l.items, l.head = l.items[:n], 0
	}
	return x
}

// drop takes out those that fn names.
func (l *lineup[T]) drop(fn func(T) bool) {
	l.items = slices.DeleteFunc(slices.Delete(l.items, 0, l.head), fn)
	l.head = 0
}

// woken is who has been told that there is more credit. Credit tells so from
// whichever goroutine it is given in.
type woken struct {
	mu       sync.Mutex // guards all below
	sessions []*Attached
	polls    []*Poll
}

// wake has the next turn look at one that may have credit: it joins those who have been
// told of some, if it is not among them.
func wake[T any](r *Runner, x T, told *bool, all *[]T) {
	r.woken.mu.Lock()
	if !*told {
		*told = true
		*all = append(*all, x)
	}
	r.woken.mu.Unlock()
	r.box.ring()
}

// crewOf is the loop's side of a crew of the machine's, which has been joined for
// it.
func (r *Runner) crewOf(no queue.CrewNo) *crew {
	c := r.crews[no]
	if c == nil {
		c = &crew{no: no}
		r.crews[no] = c
	} else {
		r.m.Leave(no) // one stays for all
	}
	c.uses++
	return c
}

func (r *Runner) leaveCrew(c *crew) {
	if c.uses--; c.uses == 0 {
		delete(r.crews, c.no)
		r.m.Leave(c.no)
	}
}

// activate has the next dispatch ask for a crew.
func (r *Runner) activate(c *crew) {
	if !c.active {
		c.active = true
		r.active = append(r.active, c)
	}
}

// dispatch adds a command for each session and each unary lease that has credit and
// for which there is something. The credit is drawn now, and the rest given back
// right after the Apply, so that no two partitions promise the same.
func (r *Runner) dispatch(t *turn) {
	r.roused = r.m.Roused(r.roused[:0])
	for _, no := range r.roused {
		if c := r.crews[no]; c != nil {
			r.activate(c)
		}
	}
	r.wakeTakers()
	r.askNew(t)
	room := min(dispatchMax, r.m.HeldLeft())
	n := 0
	for ; n < len(r.active) && len(r.able) < dispatchMax; n++ {
		c := r.active[n]
		demand := 0
		if c.uses > 0 {
			demand = r.m.Demand(c.no, dispatchMax)
		}
		switch {
		case demand == 0:
			c.active = false // until it is roused
			c.sate()
		case c.tried == r.changes:
			c.sate()
		default:
			if room > 0 {
				demand -= r.chooseSessions(c, demand)
			} else {
				c.sate()
			}
			r.askPolls(t, c, demand)
			c.active = c.able.len() > 0 || c.polls.len() > 0
		}
	}
	r.again = r.again || n < len(r.active)
	r.settleActive(n)
	if r.cfg.Check && !r.again {
		r.checkCrews()
	}
	r.drawCredit(t, room)
}

// checkCrews panics if a session is forgotten that could be given something, or that
// keeps others from what it has no use for.
func (r *Runner) checkCrews() {
	for _, a := range r.order {
		if a.num == 0 || a.taking {
			continue
		}
		left, shared := a.credit.state()
		if left == 0 || r.isWoken(a) { // asked last: who changes the credit wakes in the same moment
			continue
		}
		hungry, active := a.tap.hungry.Load(), a.able && a.crew.active
		if hungry && a.able && !active {
			panic(fmt.Sprintf("partition: session %d keeps its credit from others, and there is nothing for it", a.num))
		}
		if hungry && shared || r.m.Room(a.num) == 0 {
			continue
		}
		if n := r.m.Demand(a.crew.no, 1); n > 0 && !active {
			panic(fmt.Sprintf("partition: session %d has credit for what there is, and is not asked: in line %v, crew %d active %v", a.num, a.able, a.crew.no, a.crew.active))
		}
	}
}

func (r *Runner) isWoken(a *Attached) bool {
	r.woken.mu.Lock()
	defer r.woken.mu.Unlock()
	return a.woken
}

// wakeTakers finds those that have been told of credit.
func (r *Runner) wakeTakers() {
	r.woken.mu.Lock()
	r.heard = append(r.heard[:0], r.woken.sessions...)
	r.heardPolls = append(r.heardPolls[:0], r.woken.polls...)
	clear(r.woken.sessions)
	clear(r.woken.polls)
	r.woken.sessions, r.woken.polls = r.woken.sessions[:0], r.woken.polls[:0]
	for _, a := range r.heard {
		a.woken = false
	}
	for _, p := range r.heardPolls {
		p.woken = false
	}
	r.woken.mu.Unlock()
	for _, a := range r.heard {
		if a.num != 0 {
			r.lineUp(a)
			a.crew.heard(a)
		}
	}
	clear(r.heard)
	for _, p := range r.heardPolls {
		switch {
		case !p.joined || !p.short:
		case p.once:
			p.short = false
			r.newPolls = append(r.newPolls, p)
		default:
			p.short = false
			p.crew.polls.push(p)
			r.activate(p.crew)
		}
	}
	clear(r.heardPolls)
}

// lineUp has a session asked that may have credit.
func (r *Runner) lineUp(a *Attached) {
	if !a.able {
		a.able = true
		a.crew.able.push(a)
	}
	r.activate(a.crew)
}

// heard notes that a session has been told of credit: what the partition would draw of
// it is kept from others, until it says that it has no use for it.
func (c *crew) heard(a *Attached) {
	if !a.heard {
		a.heard = true
		c.hungry = append(c.hungry, a)
	}
}

// sate says for a crew for which there is nothing now that it has no use for credit.
func (c *crew) sate() {
	for i, a := range c.hungry {
		c.hungry[i], a.heard = nil, false
		if a.num != 0 && a.able {
			a.credit.want(&a.tap, false)
		}
	}
	c.hungry = c.hungry[:0]
}

// settleActive keeps the crews that are to be asked again: those first that were
// not, and then each in its turn.
func (r *Runner) settleActive(asked int) {
	gone := func(c *crew) bool { return !c.active }
	if asked == len(r.active) && asked > 0 {
		asked = 1
	}
	r.spareCrews = append(r.spareCrews[:0], r.active[:asked]...)
	r.active = append(append(r.active[:0], r.active[asked:]...), r.spareCrews...)
	clear(r.spareCrews)
	r.active = slices.DeleteFunc(r.active, gone)
}

// chooseSessions takes those of a crew that are to be given something: no more than
// there are tasks. It returns how many tasks they have credit for.
func (r *Runner) chooseSessions(c *crew, demand int) int {
	credit := 0
	for tries, chosen := c.able.len(), 0; tries > 0 && chosen < demand; tries-- {
		a := c.able.pop()
		if a.num == 0 {
			c.gone--
			continue
		}
		left := a.credit.Left()
		if left == 0 {
			a.credit.want(&a.tap, true)
			if left = a.credit.Left(); left == 0 { // it is woken when there is more
				a.able = false
				continue
			}
		}
		if a.wants = min(demand, r.m.Room(a.num)); a.wants == 0 {
			a.credit.want(&a.tap, false)
			c.able.push(a)
			continue
		}
		a.taking = true
		r.able = append(r.able, a)
		credit += left
		chosen++
	}
	return min(credit, demand)
}

// drawCredit adds a command for each session that was chosen. What there is is
// split evenly among them, as far as they have credit.
func (r *Runner) drawCredit(t *turn, left int) {
	for i, a := range r.able {
		if left == 0 {
			r.again = true // those before have drawn: not a turn for nothing
			break
		}
		rest := len(r.able) - i
		want := min(a.wants, left)
		a.drawn = true
		if a.reserved = a.credit.take(&a.tap, (want+rest-1)/rest); a.reserved == 0 {
			r.again = true // another one of its crew may have credit: this one is out of the line
			continue
		}
		left -= a.reserved
		t.add(mail{cmd: queue.Command{Op: queue.OpDispatch, Session: a.num, N: a.reserved}})
	}
}

// settleCredit gives back what the Apply left unused.
func (r *Runner) settleCredit() {
	for _, a := range r.able {
		if a.leased > 0 {
			a.crew.served = r.turns
		}
	}
	for _, a := range r.able {
		if a.reserved > 0 && a.crew.served != r.turns {
			a.crew.tried = r.changes
		}
		if rest := a.reserved - a.leased; rest > 0 {
			a.credit.give(&a.tap, rest)
		}
		stays := !a.drawn || !a.tap.hungry.Load() // else it is woken when there is more
		a.reserved, a.leased, a.taking, a.drawn, a.able = 0, 0, false, false, false
		if a.num != 0 && stays {
			r.lineUp(a)
		}
	}
	clear(r.able)
	r.able = r.able[:0]
}
