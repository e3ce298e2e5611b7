package queue

import (
	"fmt"
	"sort"

	"github.com/penstock-io/penstock/internal/task"
)

// briefs are the idempotency entries with short windows. They are in memory as well
// as in the store, where they stand by the time they end: one that is looked for, or
// that ends, is not read, and many that end are one range. One whose task may live on
// becomes an entry like others, and so does one for which there is no room.
type briefs struct {
	find    fingers
	buckets []*briefBucket // in the order of time
	bytes   int64
}

// briefAt is where an entry is: its bucket's time in spans, and its place there.
type briefAt struct{ span, i uint32 }

// briefBucket is all that ends within a briefSpan from a moment on.
type briefBucket struct {
	from  task.Time
	all   []brief
	names []byte
	seen  int // so many have been looked at, once the time was over
	left  int // were not dropped
}

// brief is an entry without pointers.
type brief struct {
	id            task.ID
	hash, payload uint64
	until         task.Time
	name, nameEnd uint32
	dropped       bool
	behind        bool // another stands under its key
}

const briefBytes = 104 // of memory beside the name

func (x *briefBucket) span() uint32 { return uint32(x.from / task.Time(briefSpan)) }

func (x *briefBucket) over() task.Time { return x.from.Add(briefSpan) }

func (e *brief) key() IdemKey { return IdemKey{QueueNum(e.id.Queue), e.hash} }

func (e *brief) bytes() int64 { return idemOverhead + int64(e.nameEnd-e.name) }

// load takes in what the store has. Of two under one key the first is over, and was
// about to go.
func (b *briefs) load(m *Machine, all []Idem) {
	b.find = newFingers()
	for _, q := range m.queues {
		q.idemBytes = q.state.IdemBytes
	}
	for i := range all {
		e := &all[i]
		if at, twice := b.find.get(e.Key.print()); twice {
			b.at(at).behind = true
		}
		b.add(e)
		if q := m.numbered[e.Key.Queue]; q != nil {
			q.idemBytes -= e.bytes()
		}
	}
}

// takes says whether a new entry is brief.
func (b *briefs) takes(m *Machine, e *Idem) bool {
	if _, taken := b.find.get(e.Key.print()); taken { // by a key of another queue
		return false
	}
	return e.Due == e.Until && e.Until <= m.now.Add(briefWindow) && b.bytes+briefBytes+int64(len(e.Name)) <= briefShare*m.cfg.WindowBytes
}

func (b *briefs) add(e *Idem) {
	x := b.bucket(e.Until - e.Until%task.Time(briefSpan))
	b.find.put(e.Key.print(), briefAt{x.span(), uint32(len(x.all))})
	from := uint32(len(x.names))
	x.names = append(x.names, e.Name...)
	x.all = append(x.all, brief{id: e.ID, hash: e.Key.Hash, payload: e.Payload, until: e.Until, name: from, nameEnd: uint32(len(x.names))})
	x.left++
	b.bytes += briefBytes + int64(len(e.Name))
}

// bucket is the one from a moment on, made if there is none.
func (b *briefs) bucket(from task.Time) *briefBucket {
	i := sort.Search(len(b.buckets), func(i int) bool { return b.buckets[i].from >= from })
	if i == len(b.buckets) || b.buckets[i].from != from {
		b.buckets = append(b.buckets, nil)
		copy(b.buckets[i+1:], b.buckets[i:])
		b.buckets[i] = &briefBucket{from: from}
	}
	return b.buckets[i]
}

func (b *briefs) at(at briefAt) *brief { return &b.bucket(at.from()).all[at.i] }

func (at briefAt) from() task.Time { return task.Time(at.span) * task.Time(briefSpan) }

// get is the entry under a key, or nil.
func (b *briefs) get(k IdemKey) *Idem {
	at, ok := b.find.get(k.print())
	if !ok {
		return nil
	}
	x := b.bucket(at.from())
	e := &x.all[at.i]
	if e.key() != k {
		return nil
	}
	return &Idem{Key: k, Name: string(x.names[e.name:e.nameEnd]), ID: e.id, Payload: e.payload, Until: e.until, Due: e.until}
}

// drop takes one away alone.
func (b *briefs) drop(m *Machine, k IdemKey) {
	at, _ := b.find.get(k.print())
	x := b.bucket(at.from())
	e := &x.all[at.i]
	e.dropped = true
	x.left--
	b.find.del(k.print())
	m.out.Briefs.drop(IdemDueKey{e.until, e.id.Seq})
	m.dirty = true
}

// next is when the first bucket is over; 0 = never.
func (b *briefs) next() task.Time {
	if len(b.buckets) == 0 {
		return 0
	}
	return b.buckets[0].over()
}

// end looks at what is over, a bounded number in one Apply. A bucket goes whole, in
// the Apply that has looked at the last of it.
func (b *briefs) end(m *Machine) {
	for n := 0; len(b.buckets) > 0 && b.buckets[0].over() <= m.now; {
		x := b.buckets[0]
		for ; x.seen < len(x.all); x.seen++ {
			if n++; n > briefsEndMax {
				return
			}
			if e := &x.all[x.seen]; !e.dropped && !e.behind {
				b.endOne(m, e)
			}
		}
		b.dropBucket(m, x)
		copy(b.buckets, b.buckets[1:])
		b.buckets[len(b.buckets)-1] = nil
		b.buckets = b.buckets[:len(b.buckets)-1]
	}
}

// endOne forgets an entry, or has it stay for its task under the index of the others.
func (b *briefs) endOne(m *Machine, e *brief) {
	k := e.key()
	_, here := m.index.get(e.id.Seq)
	n := m.idems.got[k]
	switch {
	case n != nil && n.changed:
		m.idems.unbrief(m, n) // another has taken its place in this Apply
	case m.numbered[k.Queue] == nil || !here && m.surelyGone(e.id):
		b.find.del(k.print())
	default:
		if n == nil {
			is := b.get(k)
			n = &idemNow{was: is, is: is, brief: true}
			m.idems.got[k] = n
		}
		is := *n.is
		is.Due = m.now.Add(1) // its task's records must tell, soon
		if here {
			is.Due = m.now.Add(idemLaterMin)
		}
		m.idems.unbrief(m, n)
		m.idems.set(m, k, &is)
	}
}

// dropBucket takes away all that is left of a bucket.
func (b *briefs) dropBucket(m *Machine, x *briefBucket) {
	var q *queueOf
	for i := range x.all {
		e := &x.all[i]
		b.bytes -= briefBytes + int64(e.nameEnd-e.name)
		if e.dropped {
			continue
		}
		if q == nil || uint32(q.state.Queue) != e.id.Queue {
			if q = m.numbered[QueueNum(e.id.Queue)]; q != nil {
				m.touch(q)
			}
		}
		if q != nil {
			q.state.IdemBytes -= e.bytes()
		}
		if x.left < briefSpanMin {
			m.out.Briefs.drop(IdemDueKey{e.until, e.id.Seq})
		}
	}
	if x.left >= briefSpanMin {
		m.out.BriefSpans = append(m.out.BriefSpans, BriefSpan{x.from, x.over()})
	}
	m.dirty = true
}

// Brief is the entry of a key if it is one of those that are in memory; nil: ask the
// store.
func (m *Machine) Brief(k IdemKey) *Idem { return m.idems.brief.get(k) }

// check verifies that what is in memory is what the queues count, and that each
// entry is found that may be.
func (b *briefs) check(m *Machine) error {
	byQueue := map[QueueNum]int64{}
	found := 0
	for _, x := range b.buckets {
		left := 0
		for i := range x.all {
			e := &x.all[i]
			if e.dropped {
				continue
			}
			left++
			byQueue[QueueNum(e.id.Queue)] += e.bytes()
			at, ok := b.find.get(e.key().print())
			if ok && at == (briefAt{x.span(), uint32(i)}) {
				found++
			} else if i >= x.seen && !e.behind {
				return fmt.Errorf("brief idempotency entry of task %x is not found", uint64(e.id.Seq))
			}
		}
		if left != x.left {
			return fmt.Errorf("%d brief idempotency entries end in the second from %d, counted %d", left, x.from, x.left)
		}
	}
	if found != b.find.n {
		return fmt.Errorf("%d brief idempotency entries, %d are found", b.find.n, found)
	}
	for _, q := range m.queues {
		if all, brief := q.state.IdemBytes, byQueue[q.state.Queue]; q.idemBytes != all-brief {
			return fmt.Errorf("queue %q: %d of %d bytes of idempotency keys are brief, the others are counted as %d", q.state.Name, brief, all, q.idemBytes)
		}
	}
	return nil
}
