package queue

import (
	"cmp"
	"maps"
	"slices"
	"sort"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

// producers makes repeated enqueues harmless: for each producer session and
// queue, which numbers got which tasks, until the producer says it has the
// answers. There is room for so many; then the one not heard of for longest goes, of
// the client that wants another if it has many, else of all. One that goes before its time
// leaves its name, so that it is never taken for new.
type producers struct {
	find    map[ProducerKey]*producer
	seen    ring // sessions, the one not heard of for longest first
	evicted ring // what is left of those that went before their time, the first one first
	clients map[string]*ring
	dirty   []*producer
	gone    int64 // evicted since this owner began
	ranges  int   // of all
}

type producer struct {
	state   ProducerState
	loose   map[uint64]task.ID // numbers of this Apply that came out of order: merged at its end
	counted int                // of its ranges, in those of all
	dirty   bool
	all     links // in seen or evicted
	client  links // in its client's ring
}

// clientOf is whose session it is: an SDK begins one for each queue, under its own
// name with a number behind the last point.
func clientOf(producer string) string {
	if i := strings.LastIndexByte(producer, '.'); i >= 0 {
		return producer[:i]
	}
	return producer
}

// init takes over what an earlier owner knew. Nobody could be heard since, and how
// long that was the wall clock may tell wrongly: each session has its time anew.
func (ps *producers) init(states []ProducerState, now task.Time) {
	ps.find, ps.clients = map[ProducerKey]*producer{}, map[string]*ring{}
	ps.seen.of = func(p *producer) *links { return &p.all }
	ps.evicted.of = ps.seen.of
	states = slices.Clone(states)
	slices.SortStableFunc(states, func(a, b ProducerState) int { return cmp.Compare(a.Seen, b.Seen) })
	for _, st := range states {
		st.Seen = max(st.Seen, now)
		ps.add(st)
	}
}

func (ps *producers) add(st ProducerState) *producer {
	p := &producer{state: st}
	ps.find[st.ProducerKey] = p
	if st.Evicted {
		ps.evicted.push(p)
		return p
	}
	ps.seen.push(p)
	ps.count(p)
	name := clientOf(st.Producer)
	c := ps.clients[name]
	if c == nil {
		c = &ring{of: func(p *producer) *links { return &p.client }}
		ps.clients[name] = c
	}
	c.push(p)
	return p
}

// remove takes p out of its rings.
func (ps *producers) remove(p *producer) {
	if p.state.Evicted {
		ps.evicted.remove(p)
		return
	}
	ps.seen.remove(p)
	ps.ranges, p.counted = ps.ranges-p.counted, 0
	name := clientOf(p.state.Producer)
	c := ps.clients[name]
	if c.remove(p); c.n == 0 {
		delete(ps.clients, name)
	}
}

// heard puts p behind all others.
func (ps *producers) heard(m *Machine, p *producer) {
	p.state.Seen = m.now
	ps.seen.remove(p)
	ps.seen.push(p)
	c := ps.clients[clientOf(p.state.Producer)]
	c.remove(p)
	c.push(p)
}

// makeRoom evicts one session if there are as many as may be: the client's own, if
// it has many. Without room for its name there is none for another: a name that was
// forgotten before its time would be taken for new.
func (ps *producers) makeRoom(m *Machine, name string) *task.Error {
	if ps.seen.n < producersMax {
		return nil
	}
	first, room := ps.seen.first, evictedMax
	if c := ps.clients[clientOf(name)]; c != nil && c.n >= producersClientMany {
		first, room = c.first, evictedClientMany
	}
	if ps.evicted.n >= room {
		return task.Errorf(task.Exhausted, "%d producer sessions have given way to newer ones within ten minutes, and no more can be remembered: use one session for many tasks, and try again when some have been forgotten", ps.evicted.n)
	}
	ps.evict(m, first)
	return nil
}

// evict forgets all of p but its name.
func (ps *producers) evict(m *Machine, p *producer) {
	ps.remove(p)
	p.state = ProducerState{ProducerKey: p.state.ProducerKey, Seen: m.now, Evicted: true}
	p.loose = nil
	ps.evicted.push(p)
	ps.gone++
	ps.touch(m, p)
}

// drop forgets p for good.
func (ps *producers) drop(m *Machine, p *producer) {
	ps.remove(p)
	delete(ps.find, p.state.ProducerKey)
	if p.dirty { // it is not put
		ps.dirty = slices.DeleteFunc(ps.dirty, func(x *producer) bool { return x == p })
	}
	m.out.Producers.drop(p.state.ProducerKey)
	m.dirty = true
}

var errProducerGone = task.Errorf(task.Conflict, "this producer session is no longer known (it was idle for over 10 minutes, or gave way to newer ones): begin a new one, under another name; whether numbers sent before were taken can't be told")

// of finds the state for a batch, trimmed by what the producer has confirmed.
func (ps *producers) of(m *Machine, b *task.EnqueueBatch, q *queueOf) (*producer, *task.Error) {
	if len(b.Producer) > 64 {
		return nil, task.Errorf(task.Invalid, "a producer session's name has %d bytes, the most is 64", len(b.Producer))
	}
	key := ProducerKey{q.state.Queue, b.Producer}
	p := ps.find[key]
	if p == nil && b.AckBelow > 1 && !b.Wide || p != nil && p.state.Evicted {
		return nil, errProducerGone
	}
	if p == nil {
		if e := ps.makeRoom(m, b.Producer); e != nil {
			return nil, e
		}
		p = ps.add(ProducerState{ProducerKey: key})
	}
	ps.heard(m, p)
	st := &p.state
	if b.AckBelow > st.Below {
		st.Below = b.AckBelow
		n := 0
		for n < len(st.Ranges) && st.Ranges[n].First+uint64(st.Ranges[n].N) <= st.Below {
			n++
		}
		st.Ranges = st.Ranges[n:]
		ps.count(p) // what is confirmed is so, even if the batch is refused
		ps.touch(m, p)
	}
	switch n := len(st.Ranges) + len(p.loose); {
	case n >= rangesMax:
		return nil, task.Errorf(task.Exhausted, "this producer session has %d unconfirmed enqueues: confirm answers (ack below) before sending more", n)
	case n > 0 && ps.ranges >= rangesAllMax:
		return nil, task.Errorf(task.Exhausted, "all producer sessions together have %d unconfirmed enqueues, and this one %d of them: confirm answers (ack below) before sending more", ps.ranges, n)
	}
	ps.touch(m, p)
	return p, nil
}

// touch has p written with this Apply.
func (ps *producers) touch(m *Machine, p *producer) {
	m.dirty = true
	if !p.dirty {
		p.dirty = true
		ps.dirty = append(ps.dirty, p)
	}
}

// repeat answers a number that was seen.
func (p *producer) repeat(n uint64, r *task.Enqueued) bool {
	st := &p.state
	if st.Evicted {
		r.Err = errProducerGone
		return true
	}
	if n < st.Below {
		r.Err = task.Errorf(task.Conflict, "number %d was confirmed as answered and can't be repeated", n)
		return true
	}
	if id, ok := p.loose[n]; ok {
		r.ID, r.Existing = id, true
		return true
	}
	i := sort.Search(len(st.Ranges), func(i int) bool { return st.Ranges[i].First+uint64(st.Ranges[i].N) > n })
	if i == len(st.Ranges) || n < st.Ranges[i].First {
		return false
	}
	g := &st.Ranges[i]
	r.ID = g.ID
	r.ID.Seq += task.Seq(n - g.First)
	r.Existing = true
	return true
}

// note remembers which task a number got.
func (ps *producers) note(m *Machine, p *producer, n uint64, id task.ID) {
	st := &p.state
	if k := len(st.Ranges); k > 0 {
		g := &st.Ranges[k-1]
		next := g.ID
		next.Seq += task.Seq(g.N)
		if n == g.First+uint64(g.N) && next == id {
			g.N++
			return
		}
		if n < g.First {
			if p.loose == nil {
				p.loose = map[uint64]task.ID{}
			}
			p.loose[n] = id
			return
		}
	}
	st.Ranges = append(st.Ranges, NumberRange{First: n, N: 1, ID: id})
}

// merge puts the loose numbers where they belong among the ranges.
func (p *producer) merge() {
	if len(p.loose) == 0 {
		return
	}
	old := p.state.Ranges
	all := make([]NumberRange, 0, len(old)+len(p.loose))
	add := func(r NumberRange) {
		if k := len(all); k > 0 {
			g := &all[k-1]
			next := g.ID
			next.Seq += task.Seq(g.N)
			if r.First == g.First+uint64(g.N) && r.ID == next {
				g.N += r.N
				return
			}
		}
		all = append(all, r)
	}
	for _, n := range slices.Sorted(maps.Keys(p.loose)) {
		for len(old) > 0 && old[0].First < n {
			add(old[0])
			old = old[1:]
		}
		add(NumberRange{First: n, N: 1, ID: p.loose[n]})
	}
	for _, r := range old {
		add(r)
	}
	p.state.Ranges, p.loose = all, nil
}

// put writes the sessions touched in this batch.
func (ps *producers) put(m *Machine) {
	for _, p := range ps.dirty {
		p.dirty = false
		p.merge()
		ps.count(p)
		m.out.Producers.put(p.state)
	}
	ps.dirty = ps.dirty[:0]
}

// count follows how many ranges p has.
func (ps *producers) count(p *producer) {
	ps.ranges += len(p.state.Ranges) - p.counted
	p.counted = len(p.state.Ranges)
}

// lapse forgets sessions that were idle too long, and the names of those that went
// before their time.
func (ps *producers) lapse(m *Machine) {
	for _, r := range []*ring{&ps.seen, &ps.evicted} {
		for p := r.first; p != nil && p.state.Seen.Add(task.ProducerIdleMax) <= m.now; p = r.first {
			ps.drop(m, p)
		}
	}
}

// ring is a list of producers that is left at any place.
type ring struct {
	of          func(*producer) *links
	first, last *producer
	n           int
}

type links struct{ prev, next *producer }

func (r *ring) push(p *producer) {
	*r.of(p) = links{prev: r.last}
	if r.last == nil {
		r.first = p
	} else {
		r.of(r.last).next = p
	}
	r.last = p
	r.n++
}

func (r *ring) remove(p *producer) {
	l := *r.of(p)
	if l.prev == nil {
		r.first = l.next
	} else {
		r.of(l.prev).next = l.next
	}
	if l.next == nil {
		r.last = l.prev
	} else {
		r.of(l.next).prev = l.prev
	}
	r.n--
}

// dropQueue forgets the sessions of a queue that is deleted, and says whether
// there were any.
func (ps *producers) dropQueue(queue QueueNum) bool {
	gone := false
	for k, p := range ps.find {
		if k.Queue == queue {
			ps.remove(p)
			delete(ps.find, k)
			gone = true
		}
	}
	ps.dirty = slices.DeleteFunc(ps.dirty, func(p *producer) bool { return p.state.Queue == queue })
	return gone
}
