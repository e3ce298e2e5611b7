package client

import (
	"math/rand/v2"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	outcomeBytesMax = task.PayloadMax + 256<<10 // of one outcome: its result, error and log
	outcomeKeepMax  = time.Hour                 // a finished outcome is kept so long for a server that is away
)

// report is a caller's OutcomeBatch on its way.
type report struct {
	s    *session // nil: outside any session
	b    *task.OutcomeBatch
	mu   sync.Mutex
	left int         // groups unanswered
	err  *task.Error // of a group
}

// outcomeGroup is outcomes of one session that travel together.
type outcomeGroup struct {
	seq     uint64
	s       *session
	members []outcomeMember
	n       int
	bytes   int
	born    time.Time
	repeats int
}

type outcomeMember struct {
	r        *report
	from, to int
}

// Report is task.Broker's. Outcomes are kept over a lost connection and sent
// again.
func (c *Conn) Report(b *task.OutcomeBatch) { c.report(nil, b) }

func (c *Conn) report(s *session, b *task.OutcomeBatch) {
	b.Err = nil
	if cap(b.Codes) >= len(b.Outcomes) {
		b.Codes = b.Codes[:len(b.Outcomes)]
		clear(b.Codes)
	} else {
		b.Codes = make([]task.Code, len(b.Outcomes))
	}
	if len(b.Outcomes) > task.BatchMax {
		b.Err = task.Errorf(task.Invalid, "%d outcomes in one report, the limit is %d", len(b.Outcomes), task.BatchMax)
		b.Done(b)
		return
	}
	c.mu.Lock()
	if c.ending || c.closed && s == nil {
		c.mu.Unlock()
		b.Err = errClosed()
		b.Done(b)
		return
	}
	c.outcomes = append(c.outcomes, &report{s: s, b: b})
	c.wake()
	c.mu.Unlock()
}

// sendable says whether outcomes of s may go now: a session that is being
// attached must present its leases first.
func (s *session) sendable() bool { return s == nil || s.attachedNow || s.gone }

func (c *Conn) outcomesSendable() bool {
	for _, r := range c.outcomes {
		if r.s.sendable() {
			return true
		}
	}
	for _, g := range c.parked {
		if g.s.sendable() {
			return true
		}
	}
	return false
}

// gatherOutcomes makes groups of what may be sent, parked ones first; mu is
// held.
func (c *Conn) gatherOutcomes() []*outcomeGroup {
	if len(c.outcomes) == 0 && len(c.parked) == 0 {
		return nil
	}
	var out []*outcomeGroup
	keep := c.parked[:0]
	for _, g := range c.parked {
		if _, ok := c.reports.get(g.seq); !ok {
			continue // given up
		}
		if g.s.sendable() {
			out = append(out, g)
		} else {
			keep = append(keep, g)
		}
	}
	clear(c.parked[len(keep):])
	c.parked = keep
	building := map[*session]*outcomeGroup{}
	rest := c.outcomes[:0]
	for _, r := range c.outcomes {
		if !r.s.sendable() {
			rest = append(rest, r)
			continue
		}
		out = c.placeOutcomes(r, building, out)
	}
	clear(c.outcomes[len(rest):])
	c.outcomes = rest
	return out
}

func (c *Conn) placeOutcomes(r *report, building map[*session]*outcomeGroup, out []*outcomeGroup) []*outcomeGroup {
	add := func(from, to, bytes int) {
		if to == from {
			return
		}
		g := building[r.s]
		if g == nil || g.n+to-from > groupTasksMax || g.bytes+bytes > groupBytesMax {
			g = &outcomeGroup{s: r.s, born: c.clock}
			g.seq = c.reports.add(g)
			building[r.s] = g
			out = append(out, g)
		}
		g.members = append(g.members, outcomeMember{r, from, to})
		g.n += to - from
		g.bytes += bytes
		r.left++
	}
	from, bytes := 0, 0
	for i := range r.b.Outcomes {
		n := codec.OutcomeBytes(&r.b.Outcomes[i])
		if n > outcomeBytesMax {
			add(from, i, bytes)
			r.b.Codes[i] = task.Invalid
			from, bytes = i+1, 0
			continue
		}
		if i-from >= groupTasksMax || i > from && bytes+n > groupBytesMax {
			add(from, i, bytes)
			from, bytes = i, 0
		}
		bytes += n
	}
	add(from, len(r.b.Outcomes), bytes)
	if r.left == 0 { // nothing that a server could take
		c.wg.Go(func() { r.b.Done(r.b) })
	}
	return out
}

func (c *Conn) writeOutcomes(f *framer, gs []*outcomeGroup) {
	var w codec.OutcomeWriter
	for _, g := range gs {
		b := f.open()
		num := uint32(0)
		if g.s != nil && !g.s.isGone() {
			num = g.s.num
		}
		*b = w.Begin(*b, num, g.seq, g.bytes)
		for _, m := range g.members {
			for i := m.from; i < m.to; i++ {
				*b = w.Outcome(*b, &m.r.b.Outcomes[i])
			}
		}
		*b = w.End(*b)
	}
}

// reported ends a group of outcomes by its answer.
func (c *Conn) reported(body []byte) error {
	a, err := codec.DecodeOutcomeAnswer(body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	g, ok := c.reports.get(a.Seq)
	if !ok {
		c.mu.Unlock()
		return nil
	}
	if a.Err != nil && a.Err.Code == task.Unavailable && !c.ending {
		c.repeatOutcomes(g)
		c.mu.Unlock()
		return nil
	}
	c.reports.take(a.Seq)
	if c.closed {
		c.settled.Broadcast()
	}
	c.mu.Unlock()
	if len(a.Codes) != 0 && len(a.Codes) != g.n {
		err = errAnswerCount
		a.Err = task.Errorf(task.Internal, "the server's answer is malformed: %v", err)
	}
	g.settle(a.Err, a.Codes)
	return err
}

func (c *Conn) repeatOutcomes(g *outcomeGroup) {
	g.repeats++
	d := min(pauseMin<<min(g.repeats-1, 10), pauseMax)
	time.AfterFunc(d/2+rand.N(d), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.link != nil {
			c.parked = append(c.parked, g)
			c.wake()
		}
	})
}

// settle gives a group's answer to its callers: one error, or codes, of which
// none means that all went well.
func (g *outcomeGroup) settle(e *task.Error, codes []byte) {
	at := 0
	for _, m := range g.members {
		n := m.to - m.from
		m.r.mu.Lock()
		for i := range n {
			switch {
			case e != nil:
				m.r.b.Codes[m.from+i] = e.Code
			case len(codes) > 0:
				m.r.b.Codes[m.from+i] = task.Code(codes[at+i])
			}
		}
		if e != nil {
			m.r.err = e
		}
		m.r.left--
		last := m.r.left == 0
		m.r.mu.Unlock()
		at += n
		if last {
			m.r.b.Err = m.r.err
			m.r.b.Done(m.r.b)
		}
	}
}

// expireOutcomes takes out what nobody will hear any more; mu is held.
func (c *Conn) expireOutcomes(now time.Time) (old []*outcomeGroup) {
	for _, g := range c.reports.all() {
		if now.Sub(g.born) > outcomeKeepMax {
			c.reports.take(g.seq)
			old = append(old, g)
		}
	}
	return old
}

func unknownOutcome(addr string) *task.Error {
	return &task.Error{Code: task.Unavailable, Applied: task.AppliedUnknown,
		Text: "the outcome could not be delivered to " + addr + ": the task may run again"}
}

// failWork takes all that is left of outcomes, sessions and watches; mu is
// held. What it returns is to be called without it.
func (c *Conn) failWork() (ends []func(), sessions []*session, watches []*watching) {
	for _, g := range c.reports.all() {
		c.reports.take(g.seq)
		ends = append(ends, func() { g.settle(unknownOutcome(c.addr), nil) })
	}
	for _, r := range c.outcomes {
		ends = append(ends, func() {
			r.b.Err = errClosed()
			r.b.Done(r.b)
		})
	}
	c.outcomes, c.parked = nil, nil
	for _, s := range c.sessions {
		sessions = append(sessions, s)
	}
	for _, w := range c.watches {
		watches = append(watches, w)
	}
	clear(c.sessions)
	clear(c.watches)
	return ends, sessions, watches
}
