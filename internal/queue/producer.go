package queue

import (
	"slices"
	"sort"

	"github.com/penstock-io/penstock/internal/task"
)

// producers makes repeated enqueues harmless: for each producer session and
// queue, which numbers got which tasks, until the producer says it has the
// answers.
type producers struct {
	find  map[producerKey]*producer
	list  []*producer
	dirty []*producer
}

type producerKey struct {
	queue uint32
	name  string
}

type producer struct {
	state ProducerState
	dirty bool
}

func (ps *producers) init(states []ProducerState) {
	ps.find = map[producerKey]*producer{}
	for _, st := range states {
		ps.add(st)
	}
}

func (ps *producers) add(st ProducerState) *producer {
	p := &producer{state: st}
	ps.find[producerKey{st.Queue, st.Producer}] = p
	ps.list = append(ps.list, p)
	return p
}

// of finds the state for a batch, trimmed by what the producer has confirmed.
func (ps *producers) of(m *Machine, b *task.EnqueueBatch, q *queueOf) (*producer, *task.Error) {
	if len(b.Producer) > 64 {
		return nil, task.Errorf(task.Invalid, "a producer session's name has %d bytes, the most is 64", len(b.Producer))
	}
	p := ps.find[producerKey{q.state.Queue, b.Producer}]
	if p == nil {
		if b.AckBelow > 1 && !b.Wide {
			return nil, task.Errorf(task.Conflict, "this producer session is no longer known (it was idle for over 10 minutes): begin a new one; whether numbers sent before were taken can't be told")
		}
		if len(ps.list) >= producersMax {
			return nil, task.Errorf(task.Exhausted, "%d producer sessions are known, the most there can be: keep one client a process", producersMax)
		}
		p = ps.add(ProducerState{Producer: b.Producer, Queue: q.state.Queue})
	}
	st := &p.state
	st.Seen = m.now
	if b.AckBelow > st.Below {
		st.Below = b.AckBelow
		n := 0
		for n < len(st.Ranges) && st.Ranges[n].First+uint64(st.Ranges[n].N) <= st.Below {
			n++
		}
		if n > 0 {
			// A put of this batch may still share the old array: start a new one.
			st.Ranges = append([]NumberRange(nil), st.Ranges[n:]...)
		}
	}
	if len(st.Ranges) >= rangesMax {
		return nil, task.Errorf(task.Exhausted, "this producer session has %d unconfirmed enqueues: confirm answers (ack below) before sending more", len(st.Ranges))
	}
	ps.touch(p)
	m.dirty = true
	return p, nil
}

func (ps *producers) touch(p *producer) {
	if !p.dirty {
		p.dirty = true
		ps.dirty = append(ps.dirty, p)
	}
}

// repeat answers a number that was seen.
func (p *producer) repeat(n uint64, r *task.Enqueued) bool {
	st := &p.state
	if n < st.Below {
		r.Err = task.Errorf(task.Conflict, "number %d was confirmed as answered and can't be repeated", n)
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
		if n < g.First { // out of order: keep the ranges sorted
			i := sort.Search(k, func(i int) bool { return st.Ranges[i].First > n })
			st.Ranges = append(st.Ranges, NumberRange{})
			copy(st.Ranges[i+1:], st.Ranges[i:])
			st.Ranges[i] = NumberRange{First: n, N: 1, ID: id}
			return
		}
	}
	st.Ranges = append(st.Ranges, NumberRange{First: n, N: 1, ID: id})
}

// put writes the sessions touched in this batch.
func (ps *producers) put(m *Machine) {
	for _, p := range ps.dirty {
		p.dirty = false
		m.out.Producers = append(m.out.Producers, p.state)
	}
	ps.dirty = ps.dirty[:0]
}

// evict forgets sessions that were idle too long.
func (ps *producers) evict(m *Machine) {
	kept := ps.list[:0]
	for _, p := range ps.list {
		if p.dirty || p.state.Seen.Add(task.ProducerIdleMax) > m.now {
			kept = append(kept, p)
			continue
		}
		k := producerKey{p.state.Queue, p.state.Producer}
		delete(ps.find, k)
		m.out.DropProducers = append(m.out.DropProducers, p.state)
		m.dirty = true
	}
	clear(ps.list[len(kept):])
	ps.list = kept
}

// dropQueue forgets the sessions of a queue that is deleted, and says whether
// there were any.
func (ps *producers) dropQueue(queue uint32) bool {
	is := func(p *producer) bool { return p.state.Queue == queue }
	n := len(ps.list)
	for _, p := range ps.list {
		if is(p) {
			delete(ps.find, producerKey{queue, p.state.Producer})
		}
	}
	ps.list = slices.DeleteFunc(ps.list, is)
	ps.dirty = slices.DeleteFunc(ps.dirty, is)
	return len(ps.list) < n
}
