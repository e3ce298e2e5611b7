package client

import (
	"errors"
	"math/rand/v2"
	"strconv"
	"sync"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	groupTasksMax   = 1000      // tasks in one group
	groupBytesMax   = 512 << 10 // bytes in one group, but for a single larger task
	frameBytesMax   = 512 << 10 // a frame that is longer takes no more groups
	windowBytesMax  = 16 << 20  // sent and unanswered,
	windowTasksMax  = 32_768    // and tasks in it: of twice as many a broker can tell which numbers they had
	waitingBytesMax = 256 << 20 // handed over and not sent: a server that is away for long
	specBytesMax    = task.PayloadMax + 128<<10
	spareMax        = 64 // groups' members kept for use again
	perTaskBytes    = 64 // what a task costs in memory beside its bytes
)

// waitingBatch is a batch that was handed over and not sent.
type waitingBatch struct {
	b    *task.EnqueueBatch
	born time.Time // to the second
}

type laneKey struct{ producer, queue string }

// lane is one producer session in one queue: its numbers, and what of them is
// unanswered, in order. The broker may forget every number below the first of
// these, and all of them when the lane was idle for long: such a lane is
// dropped, and the next one has another name.
type lane struct {
	key      laneKey
	producer string // key.producer, or a name of our own
	number   uint64 // last one given to a task, if the name is our own
	known    bool   // the broker has taken a group of it
	lastUse  time.Time
	pending  []*group // unanswered, holes skipped at the front
	head     int
	building *group // of the flush going on
}

// group is tasks of one queue that travel together and are answered together.
type group struct {
	seq     uint64
	ln      *lane
	first   uint64 // number of its first task; 0 = the specs' own
	ackOwn  uint64 // AckBelow as its caller gave it
	n       int
	bytes   int
	members []member
	born    time.Time
	ack     uint64 // as of its last sending
	sent    bool
	done    bool
	repeats int  // answers "try again" so far
	again   bool // it was sent on an earlier link, or answered "try again"
	harmful bool // not numbered: it may not be sent twice
	moved   bool // into a new lane: the broker did not know the first one any more
}

// member is a range of a caller's batch.
type member struct {
	b        *task.EnqueueBatch
	from, to int
	split    *split // the batch is in several groups
}

// split counts the groups of a batch that needs more than one. They may end
// by different goroutines.
type split struct {
	mu      sync.Mutex
	left    int
	refused int // groups that were refused as a whole
	parts   int
}

// Enqueue is task.Broker's. It is coalesced with everything else that is
// pending, and repeated under the same numbers after a lost connection.
func (c *Conn) Enqueue(b *task.EnqueueBatch) {
	b.Err = nil
	n, e := weigh(b)
	if cap(b.Results) >= len(b.Specs) {
		b.Results = b.Results[:len(b.Specs)]
		clear(b.Results)
	} else {
		b.Results = make([]task.Enqueued, len(b.Specs))
	}
	if e == nil {
		c.mu.Lock()
		switch {
		case c.closed:
			e = errClosed()
		case c.waiting+n > waitingBytesMax && c.waiting > 0:
			e = task.Errorf(task.Exhausted, "%d MiB of tasks wait to be sent to %s: the server is away or too slow, slow down and try again", c.waiting>>20, c.addr)
		default:
			c.fresh = append(c.fresh, waitingBatch{b, c.clock})
			c.waiting += n
			c.wake()
		}
		c.mu.Unlock()
	}
	if e != nil {
		b.Err = e
		b.Done(b)
	}
}

// weigh refuses what no server takes, with the words a server would use.
func weigh(b *task.EnqueueBatch) (int, *task.Error) {
	if len(b.Specs) > task.BatchMax {
		return 0, task.Errorf(task.Invalid, "%d tasks in one call, the limit is %d: send several calls", len(b.Specs), task.BatchMax)
	}
	n, payload := 0, 0
	for i := range b.Specs {
		payload += len(b.Specs[i].Payload)
		n += codec.SpecBytes(&b.Specs[i]) + perTaskBytes
	}
	if payload > task.BatchBytesMax && len(b.Specs) > 1 {
		return 0, task.Errorf(task.Invalid, "the call has %d bytes of payload, the limit is %d: send several calls", payload, task.BatchBytesMax)
	}
	return n, nil
}

// gather makes groups of what is fresh, as far as the window has room; mu is
// held. Batches that are answered without a server come back in over.
func (c *Conn) gather() (groups []*group, over []*task.EnqueueBatch) {
	now := time.Now()
	taken := 0
	for _, w := range c.fresh {
		if c.full() {
			break
		}
		taken++
		groups, over = c.place(w.b, now, groups, over)
	}
	rest := copy(c.fresh, c.fresh[taken:])
	clear(c.fresh[rest:])
	c.fresh = c.fresh[:rest]
	for _, g := range groups {
		g.ln.building = nil
		g.ack = g.ackBelow()
	}
	return groups, over
}

// place puts b into the group that its lane is building, or into new ones.
func (c *Conn) place(b *task.EnqueueBatch, now time.Time, groups []*group, over []*task.EnqueueBatch) ([]*group, []*task.EnqueueBatch) {
	ln := c.lane(laneKey{b.Producer, b.Queue}, now)
	n, _ := weigh(b)
	c.waiting -= n
	var sp *split
	if len(b.Specs) > groupTasksMax || n > groupBytesMax {
		sp = &split{}
	}
	placed := false
	add := func(from, to, bytes int) {
		if to == from {
			return
		}
		placed = true
		g := ln.building
		if g == nil || g.n+to-from > groupTasksMax || g.bytes+bytes > groupBytesMax {
			g = c.newGroup(ln, b, now)
			groups = append(groups, g)
		}
		c.join(g, member{b: b, from: from, to: to, split: sp}, bytes)
	}
	if sp == nil {
		add(0, len(b.Specs), n)
	} else {
		splitUp(b, add)
	}
	if !placed {
		over = append(over, b)
	}
	return groups, over
}

// splitUp cuts b into ranges that fit into a group; what no group can hold is
// refused on the spot.
func splitUp(b *task.EnqueueBatch, add func(from, to, bytes int)) {
	from, bytes := 0, 0
	for i := range b.Specs {
		n := codec.SpecBytes(&b.Specs[i]) + perTaskBytes
		if n > specBytesMax {
			add(from, i, bytes)
			b.Results[i].Err = tooLarge(&b.Specs[i])
			from, bytes = i+1, 0
			continue
		}
		if i-from >= groupTasksMax || i > from && bytes+n > groupBytesMax {
			add(from, i, bytes)
			from, bytes = i, 0
		}
		bytes += n
	}
	add(from, len(b.Specs), bytes)
}

func (c *Conn) join(g *group, m member, bytes int) {
	if m.split != nil {
		m.split.left++
		m.split.parts++
	}
	g.members = append(g.members, m)
	n := m.to - m.from
	g.n += n
	g.bytes += bytes
	c.sent += bytes
	c.sentTasks += n
	if g.first != 0 {
		g.ln.number += uint64(n)
	} else {
		g.harmful = g.harmful || unnumbered(m.b.Specs[m.from:m.to])
	}
}

func unnumbered(specs []task.Spec) bool {
	for i := range specs {
		if specs[i].Number == 0 {
			return true
		}
	}
	return false
}

func tooLarge(s *task.Spec) *task.Error {
	if e := s.Check(); e != nil {
		return e
	}
	return task.Errorf(task.Invalid, "the task is over %d bytes with all its names", specBytesMax)
}

// lane is the lane for k; mu is held.
func (c *Conn) lane(k laneKey, now time.Time) *lane {
	ln := c.lanes[k]
	if ln == nil || ln.stale(now, c.repeatFor()) {
		ln = c.newLane(k)
	}
	ln.lastUse = now
	return ln
}

func (c *Conn) newLane(k laneKey) *lane {
	ln := &lane{key: k, producer: k.producer}
	if k.producer == "" {
		c.lastLane++
		ln.producer = c.producer + "." + strconv.FormatUint(c.lastLane, 36)
	}
	c.lanes[k] = ln
	return ln
}

// move puts a group of which nothing was taken into the lane after its own, which
// the broker has forgotten; mu is held. What else is unanswered in the old one
// follows as it is refused, or stays if it is not.
func (c *Conn) move(g *group) {
	old := g.ln
	ln := c.lanes[old.key]
	if ln == nil || ln == old {
		ln = c.newLane(old.key)
	}
	ln.lastUse = time.Now()
	for i := old.head; i < len(old.pending); i++ {
		if old.pending[i] == g {
			old.pending[i] = &group{ln: old, done: true}
			break
		}
	}
	old.skip()
	g.ln, g.first, g.moved = ln, ln.number+1, true
	ln.number += uint64(g.n)
	ln.pending = append(ln.pending, g)
	g.ack = g.ackBelow()
}

// stale says whether the broker may soon forget the lane.
func (ln *lane) stale(now time.Time, idle time.Duration) bool {
	return ln.head == len(ln.pending) && now.Sub(ln.lastUse) > idle
}

func (c *Conn) newGroup(ln *lane, b *task.EnqueueBatch, now time.Time) *group {
	g := &group{ln: ln, born: now}
	if n := len(c.spare); n > 0 {
		g.members, c.spare = c.spare[n-1], c.spare[:n-1]
	}
	if b.Producer == "" {
		g.first = ln.number + 1
		ln.building = g
	} else {
		g.ackOwn = b.AckBelow
	}
	g.seq = c.groups.add(g)
	ln.pending = append(ln.pending, g)
	return g
}

// ackBelow is what the broker may forget; mu is held.
func (g *group) ackBelow() uint64 {
	switch {
	case g.first == 0:
		return g.ackOwn
	case !g.ln.known:
		return 0
	}
	return g.ln.pending[g.ln.head].first
}

// drop takes an answered group out of its lane; mu is held.
func (c *Conn) drop(g *group) {
	g.done = true
	g.ln.skip()
	c.sent -= g.bytes
	c.sentTasks -= g.n
}

// full says whether no more may be sent before some is answered; mu is held.
func (c *Conn) full() bool { return c.sent >= windowBytesMax || c.sentTasks >= windowTasksMax }

// skip leaves behind what is answered at the front.
func (ln *lane) skip() {
	for ln.head < len(ln.pending) && ln.pending[ln.head].done {
		ln.pending[ln.head] = nil
		ln.head++
	}
	if ln.head == len(ln.pending) {
		ln.pending, ln.head = ln.pending[:0], 0
	} else if ln.head > 64 && ln.head > len(ln.pending)/2 {
		n := copy(ln.pending, ln.pending[ln.head:])
		clear(ln.pending[n:])
		ln.pending, ln.head = ln.pending[:n], 0
	}
}

// settle ends a group with one error for all of it, or with results that stand
// in its batches already. It calls Done, so mu is not held.
func (g *group) settle(e *task.Error) {
	for i := range g.members {
		m := &g.members[i]
		if m.split == nil {
			m.b.Err = e
			m.b.Done(m.b)
			continue
		}
		if m.split.end(m, e) {
			m.b.Done(m.b)
		}
	}
}

// end counts one group off and says whether it was the last.
func (sp *split) end(m *member, e *task.Error) bool {
	sp.mu.Lock()
	defer sp.mu.Unlock()
	if e != nil {
		sp.refused++
		for j := m.from; j < m.to; j++ {
			m.b.Results[j].Err = e
		}
	}
	sp.left--
	if sp.left == 0 && sp.refused == sp.parts {
		m.b.Err = e
	}
	return sp.left == 0
}

// answered ends a group by its answer, or has it repeated when the server says
// "try again".
func (c *Conn) answered(body []byte) error {
	a, err := codec.DecodeEnqueueAnswer(body)
	if err != nil {
		return err
	}
	c.mu.Lock()
	g, ok := c.groups.get(a.Seq)
	if !ok { // given up meanwhile
		c.mu.Unlock()
		return nil
	}
	if a.Err != nil && !c.closed && c.anotherTry(g, a.Err.Code) {
		c.mu.Unlock()
		return nil
	}
	if a.Err != nil && a.Err.Code == task.Conflict && g.first != 0 {
		a.Err = unknown("the server has forgotten this client's session")
	}
	g.ln.known = g.ln.known || a.Err == nil
	c.groups.take(a.Seq)
	full := c.full()
	c.drop(g)
	if full && !c.full() || c.link != nil && !c.link.away.IsZero() {
		c.wake()
	}
	if c.closed {
		c.settled.Broadcast()
	}
	c.mu.Unlock()
	if a.Err == nil {
		if err = g.fill(&a); err != nil {
			a.Err = task.Errorf(task.Internal, "the server's answer is malformed: %v", err)
		}
	}
	g.settle(a.Err)
	c.reuse(g)
	return err
}

// reuse keeps the memory of an answered group's members: the answer is proof that
// nobody encodes it any more.
func (c *Conn) reuse(g *group) {
	ms := g.members
	g.members = nil
	clear(ms)
	c.mu.Lock()
	if len(c.spare) < spareMax {
		c.spare = append(c.spare, ms[:0])
	}
	c.mu.Unlock()
}

// anotherTry sends a refused group again, if that may help and can do no harm;
// mu is held.
func (c *Conn) anotherTry(g *group, why task.Code) bool {
	switch {
	case why == task.Unavailable && !g.harmful:
		g.again = true
		c.repeat(g)
	case why == task.Conflict && g.first != 0 && !g.again && !g.moved:
		// The broker does not know the lane any more, so it took nothing.
		c.move(g)
		c.control.again = append(c.control.again, g)
		c.wake()
	default:
		return false
	}
	return true
}

// repeat sends g again a little later; mu is held.
func (c *Conn) repeat(g *group) {
	g.repeats++
	d := min(pauseMin<<min(g.repeats-1, 10), pauseMax)
	time.AfterFunc(d/2+rand.N(d), func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		if !g.done && c.link != nil {
			c.control.again = append(c.control.again, g)
			c.wake()
		}
	})
}

// fill writes an answer's runs into the results of the group's batches.
func (g *group) fill(a *codec.EnqueueAnswer) error {
	mi, at := 0, 0
	if len(g.members) > 0 {
		at = g.members[0].from
	}
	total := 0
	for {
		more, err := a.Next()
		if err != nil {
			return err
		}
		if !more {
			break
		}
		if a.Count < 1 || a.Count > g.n-total {
			return errAnswerCount
		}
		total += a.Count
		id := a.ID
		for range a.Count {
			for at == g.members[mi].to {
				mi++
				at = g.members[mi].from
			}
			g.members[mi].b.Results[at] = task.Enqueued{ID: id, Existing: a.Existing, Err: a.RunErr}
			at++
			id.Seq++
		}
	}
	if total != g.n {
		return errAnswerCount
	}
	return nil
}

var errAnswerCount = errors.New("it does not answer every task once")

// expireFresh takes out what could not even be sent; mu is held.
func (c *Conn) expireFresh(now time.Time, limit time.Duration) (old []*task.EnqueueBatch) {
	for len(c.fresh) > 0 && now.Sub(c.fresh[0].born) > limit {
		b := c.fresh[0].b
		n, _ := weigh(b)
		c.waiting -= n
		c.fresh = c.fresh[1:]
		old = append(old, b)
	}
	return old
}
