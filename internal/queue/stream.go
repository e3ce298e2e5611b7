package queue

import "github.com/penstock-io/penstock/internal/task"

// streamKey orders the records of a stream: births by sequence (due is 0), timed
// tasks by due time, then sequence.
type streamKey struct {
	due task.Time
	seq task.Seq
}

func (a streamKey) less(b streamKey) bool { return a.due < b.due || a.due == b.due && a.seq < b.seq }

// stream is one of a lane's two sorted runs of records in the store: its births,
// or its timed tasks. What stands before next is in memory; what stands there or
// behind may be in the store alone.
//
//	──gone──│ low … in memory … │ next ▸ in the store alone
type stream struct {
	next  streamKey
	ready task.Time // since when, at the earliest, the record at next has been ready (births)

	batch uint64    // Apply of the last record that went to the store alone,
	first streamKey // the least that did so in that Apply,
	count int32     // and how many

	more bool  // there may be records in the store alone
	load *load // under way; nil: none
}

// behind says whether a record with this key has to stay in the store alone,
// because others that may come before it do.
func (s *stream) behind(k streamKey) bool { return s.more && !k.less(s.next) }

// leave notes a new record that goes to the store alone.
func (s *stream) leave(k streamKey, ready task.Time, batch uint64) {
	if s.batch != batch {
		s.batch, s.first, s.count = batch, k, 0
	}
	if k.less(s.first) {
		s.first = k
	}
	s.count++
	s.back(k, ready)
}

// back notes that the record at k, new or known, is in the store alone.
func (s *stream) back(k streamKey, ready task.Time) {
	if !s.more || k.less(s.next) {
		s.more, s.next, s.ready = true, k, ready
	}
	if ld := s.load; ld != nil && (!ld.minSet || k.less(ld.min)) {
		ld.min, ld.minReady, ld.minSet = k, ready, true
	}
}

// birthAt is where the birth at next stands, at the earliest.
func (s *stream) birthAt() position { return position{s.ready, s.next.seq} }

// filled takes the end of a load: next is the key of the record behind what it
// brought, and ready since when that is ready; end says that there was none.
func (s *stream) filled(next streamKey, ready task.Time, end bool) {
	ld := s.load
	s.load, s.more = nil, !end
	if s.more {
		s.next, s.ready = next, ready
	}
	if ld.minSet && (!s.more || ld.min.less(s.next)) {
		s.more, s.next, s.ready = true, ld.min, ld.minReady
	}
}

// purged forgets what is in the store alone, but for what this very Apply puts:
// puts come after the range is gone.
func (s *stream) purged(batch uint64) {
	if s.load != nil {
		s.load.void = true
		s.load = nil
	}
	if s.more = s.batch == batch && s.count > 0; s.more {
		s.next = s.first
	}
}

// load is a stretch of a stream on its way into memory. Tasks that are touched
// after its view was pinned are filtered out of its answer.
type load struct {
	no      uint32
	lane    *lane
	class   task.Class
	limit   int
	touched map[task.Seq]struct{}
	void    bool // a purge swept the lane meanwhile

	min      streamKey // least key that went to the store alone since it began,
	minReady task.Time // and since when that is ready
	minSet   bool
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

// timedOrder is a heap of timed keys with their slots. What has moved on is
// dropped when it comes first, or when most of the heap has.
type timedOrder []timedEntry

type timedEntry struct {
	key  streamKey
	slot Slot
}

func (h *timedOrder) push(e timedEntry) {
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

func (h *timedOrder) pop() {
	s := *h
	last := len(s) - 1
	s[0] = s[last]
	*h = s[:last]
	h.down(0)
}

func (h *timedOrder) down(p int) {
	s := *h
	for {
		c := 2*p + 1
		if c >= len(s) {
			return
		}
		if c+1 < len(s) && s[c+1].key.less(s[c].key) {
			c++
		}
		if !s[c].key.less(s[p].key) {
			return
		}
		s[p], s[c] = s[c], s[p]
		p = c
	}
}

// stands says whether the entry's task still stands under its key.
func (e *timedEntry) stands(b *slab) bool {
	s := b.at(e.slot)
	return s.seq == e.key.seq && s.class.Timed() && s.due == e.key.due && s.state != slotFree
}

// shed drops what has moved on once that is the greater part: live is how many
// entries stand.
func (h *timedOrder) shed(b *slab, live int) {
	if len(*h) <= 2*live+orderSlack {
		return
	}
	kept := make(timedOrder, 0, live+1)
	for i := range *h {
		if x := &(*h)[i]; x.stands(b) {
			kept = append(kept, *x)
		}
	}
	for p := len(kept)/2 - 1; p >= 0; p-- {
		kept.down(p)
	}
	*h = kept
}

// orderSlack is how many entries of tasks that have moved on are let be.
const orderSlack = 16

// first is the due time of the first timed task in memory.
func (h *timedOrder) first(b *slab) (task.Time, bool) {
	for len(*h) > 0 {
		if e := &(*h)[0]; e.stands(b) {
			return e.key.due, true
		}
		h.pop()
	}
	return 0, false
}
