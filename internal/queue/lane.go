package queue

import "github.com/penstock-io/penstock/internal/task"

// lane is a set of waiting tasks that every gate treats alike: one queue,
// priority and type. In the store it is two sorted streams, births and timed
// tasks; in memory it is a window at the front of each.
//
//	births  ──gone──│ low … in flight … │ head ▸ window ▸ tail │ cursor ▸ in the store alone
//	timed   ──gone──│ timedLow …        │ in memory            │ horizon ▸ in the store alone
type lane struct {
	no    uint32 // index in Machine.lanes
	queue *queueOf
	prio  uint8
	num   uint32 // number of the type within the queue
	heap  int    // place in the level's heap + 1; 0 = not in it

	tailPos    int    // place in the level's tails + 1
	tailAll    int    // place in the machine's tails + 1
	aloneNow   int    // births that went to the store alone in Apply lastAlone
	timedAlone uint64 // Apply of the last timed task that went to the store alone

	head, tail uint32   // ready births, by sequence
	returned   []uint32 // heap of ready and held tasks that are no fresh births, by (ready, seq)
	waiting    int      // in memory and not running: ready, scheduled or held

	// Births.
	more      bool        // births at or after cursor are in the store alone
	cursor    task.Seq    // while more
	lastAlone uint64      // Apply of the last birth that went to the store alone
	births    *load       // refill under way
	order     fifo        // births in memory in the order of sequence, running ones too
	early     []fifoEntry // births taken in at the start that the refills have not come to

	// Timed.
	timedMore  bool     // timed tasks after horizon may be in the store alone
	horizon    timedKey // while timedMore: everything up to it is in memory
	aloneMin   timedKey // least key put alone since the refill under way began
	aloneSet   bool
	timed      *load
	timedCount int       // timed tasks in memory, running ones too
	timedOrder timedHeap // lazily: timed tasks in memory by key

	window     int       // how many tasks the lane may keep in memory
	sinceMark  int       // dispatches since the marks were written
	lastServed task.Time // when a worker for the type was last here
}

// timedKey orders timed tasks.
type timedKey struct {
	due task.Time
	seq task.Seq
}

func (a timedKey) less(b timedKey) bool { return a.due < b.due || a.due == b.due && a.seq < b.seq }

// before is the greatest key less than a.
func (a timedKey) before() timedKey { return timedKey{a.due, a.seq - 1} }

// load is a refill under way. Tasks that are touched after its view was pinned
// are filtered out of its answer.
type load struct {
	no      uint32
	lane    *lane
	touched map[task.Seq]struct{}
	void    bool // a purge swept the lane meanwhile
}

func (l *load) touch(seq task.Seq) {
	if l == nil {
		return
	}
	if l.touched == nil {
		l.touched = map[task.Seq]struct{}{}
	}
	l.touched[seq] = struct{}{}
}

// first is the task of the lane that is to be dispatched next.
func (m *Machine) first(l *lane) uint32 {
	if len(l.returned) == 0 {
		return l.head
	}
	if l.head == NoSlot {
		return l.returned[0]
	}
	a, b := m.slab.at(l.head), m.slab.at(l.returned[0])
	if b.ready < a.ready || b.ready == a.ready && b.seq < a.seq {
		return l.returned[0]
	}
	return l.head
}

// pushBirth appends a ready birth to the lane; its sequence is above all in it.
func (m *Machine) pushBirth(l *lane, i uint32) {
	s := m.slab.at(i)
	s.state, s.prev, s.next = slotReady, l.tail, NoSlot
	if l.tail == NoSlot {
		l.head = i
	} else {
		m.slab.at(l.tail).next = i
	}
	l.tail = i
	l.waiting++
	l.queue.inReady++
	if l.head == i {
		m.fixLevel(l)
	}
}

// pushReturned makes any other task ready.
func (m *Machine) pushReturned(l *lane, i uint32) {
	l.queue.inReady++
	m.insert(l, i, slotReady)
}

// pushHeld keeps a task at its place in the order.
func (m *Machine) pushHeld(l *lane, i uint32) {
	l.queue.held++
	m.insert(l, i, slotHeld)
}

func (m *Machine) insert(l *lane, i uint32, state slotState) {
	s := m.slab.at(i)
	s.state = state
	l.returned = append(l.returned, i)
	s.pos = uint32(len(l.returned))
	m.returnedUp(l, len(l.returned)-1)
	l.waiting++
	m.fixLevel(l)
}

// unready takes a ready or held task out of its lane.
func (m *Machine) unready(l *lane, i uint32) {
	s := m.slab.at(i)
	if s.pos != 0 {
		m.returnedRemove(l, int(s.pos-1))
	} else {
		if s.prev == NoSlot {
			l.head = s.next
		} else {
			m.slab.at(s.prev).next = s.next
		}
		if s.next == NoSlot {
			l.tail = s.prev
		} else {
			m.slab.at(s.next).prev = s.prev
		}
		s.next, s.prev = NoSlot, NoSlot
	}
	l.waiting--
	if s.state == slotHeld {
		l.queue.held--
	} else {
		l.queue.inReady--
	}
	m.fixLevel(l)
}

func (m *Machine) returnedLess(a, b uint32) bool {
	x, y := m.slab.at(a), m.slab.at(b)
	return x.ready < y.ready || x.ready == y.ready && x.seq < y.seq
}

func (m *Machine) returnedSwap(l *lane, a, b int) {
	h := l.returned
	h[a], h[b] = h[b], h[a]
	m.slab.at(h[a]).pos = uint32(a + 1)
	m.slab.at(h[b]).pos = uint32(b + 1)
}

func (m *Machine) returnedUp(l *lane, p int) {
	for p > 0 {
		q := (p - 1) / 2
		if !m.returnedLess(l.returned[p], l.returned[q]) {
			return
		}
		m.returnedSwap(l, p, q)
		p = q
	}
}

func (m *Machine) returnedRemove(l *lane, p int) {
	h := l.returned
	m.slab.at(h[p]).pos = 0
	last := len(h) - 1
	if p != last {
		h[p] = h[last]
		m.slab.at(h[p]).pos = uint32(p + 1)
	}
	l.returned = h[:last]
	if p == last {
		return
	}
	for q := p; ; {
		c := 2*q + 1
		if c >= last {
			break
		}
		if c+1 < last && m.returnedLess(h[c+1], h[c]) {
			c++
		}
		if !m.returnedLess(h[c], h[q]) {
			break
		}
		m.returnedSwap(l, q, c)
		q = c
	}
	m.returnedUp(l, p)
}

// fifo is a queue of (sequence, slot) pairs in rising order; entries whose slot
// has moved on are dropped when they reach the front.
type fifo struct {
	buf  []fifoEntry
	head int
	n    int
}

type fifoEntry struct {
	seq  task.Seq
	slot uint32
}

func (f *fifo) push(seq task.Seq, slot uint32) {
	if f.n == len(f.buf) {
		size := max(2*len(f.buf), 64)
		buf := make([]fifoEntry, size)
		for i := range f.n {
			buf[i] = f.buf[(f.head+i)&(len(f.buf)-1)]
		}
		f.buf, f.head = buf, 0
	}
	f.buf[(f.head+f.n)&(len(f.buf)-1)] = fifoEntry{seq, slot}
	f.n++
}

// seqEnd is behind every sequence.
const seqEnd = ^task.Seq(0)

// orderEarly puts births that were taken in at the start and lie before to where
// they belong.
func (m *Machine) orderEarly(l *lane, to task.Seq) {
	n := 0
	for ; n < len(l.early) && l.early[n].seq < to; n++ {
		e := l.early[n]
		if s := m.slab.at(e.slot); s.seq == e.seq && s.class == task.ClassBirth {
			l.order.push(e.seq, e.slot)
		}
	}
	l.early = l.early[n:]
}

// trim drops what has left the birth class from the front, and returns the first
// sequence still there.
func (m *Machine) trimOrder(f *fifo) (task.Seq, bool) {
	for f.n > 0 {
		e := f.buf[f.head]
		s := m.slab.at(e.slot)
		if s.seq == e.seq && s.class == task.ClassBirth && s.state != slotFree {
			return e.seq, true
		}
		f.head = (f.head + 1) & (len(f.buf) - 1)
		f.n--
	}
	return 0, false
}

// timedHeap is a heap of timed keys with their slots, lazily cleaned.
type timedHeap []timedEntry

type timedEntry struct {
	key  timedKey
	slot uint32
}

func (h *timedHeap) push(e timedEntry) {
	*h = append(*h, e)
	s := *h
	for p := len(s) - 1; p > 0; {
		q := (p - 1) / 2
		if !s[p].key.less(s[q].key) {
			return
		}
		s[p], s[q] = s[q], s[p]
		p = q
	}
}

func (h *timedHeap) pop() {
	s := *h
	last := len(s) - 1
	s[0] = s[last]
	s = s[:last]
	*h = s
	for p := 0; ; {
		c := 2*p + 1
		if c >= last {
			return
		}
		if c+1 < last && s[c+1].key.less(s[c].key) {
			c++
		}
		if !s[c].key.less(s[p].key) {
			return
		}
		s[p], s[c] = s[c], s[p]
		p = c
	}
}

// trimTimed is the due time of the first timed task of the lane in memory.
func (m *Machine) trimTimed(h *timedHeap) (task.Time, bool) {
	for len(*h) > 0 {
		e := (*h)[0]
		s := m.slab.at(e.slot)
		if s.seq == e.key.seq && s.class == task.ClassTimed && s.due == e.key.due && s.state != slotFree {
			return e.key.due, true
		}
		h.pop()
	}
	return 0, false
}
