package queue

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// history keeps finished tasks in segments that are dropped whole. There is one
// open segment a retention; the ends of each segment are in memory, so that a
// look-up probes the few that can hold a sequence.
type history struct {
	open   []*Segment
	closed []Segment // oldest first
	bytes  int64
	dirty  []*Segment
	dirt   map[uint32]struct{} // their numbers
}

func (h *history) init(snap *Snapshot) {
	h.dirt = map[uint32]struct{}{}
	for _, s := range snap.Segments {
		h.bytes += s.Bytes
		if s.Closed == 0 {
			h.open = append(h.open, &s)
		} else {
			h.closed = append(h.closed, s)
		}
	}
}

// add counts a finished record into the open segment of its retention.
func (h *history) add(m *Machine, keep task.Millis, seq task.Seq, size int64) FinishedKey {
	s := h.openFor(m, keep)
	if h.full(m, s) { // by this very batch
		h.close(m, s)
		s = h.openFor(m, keep)
	}
	if s.Count == 0 || seq < s.Low {
		s.Low = seq
	}
	s.High = max(s.High, seq)
	s.Count++
	s.Bytes += size
	h.bytes += size
	h.touch(s)
	return FinishedKey{s.Segment, seq}
}

func (h *history) touch(s *Segment) {
	if n := len(h.dirty); n > 0 && h.dirty[n-1] == s {
		return
	}
	if _, twice := h.dirt[s.Segment]; !twice {
		h.dirt[s.Segment] = struct{}{}
		h.dirty = append(h.dirty, s)
	}
}

func (h *history) openFor(m *Machine, keep task.Millis) *Segment {
	if keep == 0 {
		keep = task.DefaultRetention
	}
	var longest *Segment
	for _, s := range h.open {
		if s.Retention == keep {
			return s
		}
		if longest == nil || s.Retention > longest.Retention {
			longest = s
		}
	}
	if len(h.open) >= retentionsMax {
		return longest
	}
	m.meta.NextSegment = max(m.meta.NextSegment, 1)
	s := &Segment{Segment: m.meta.NextSegment, Retention: keep, Opened: m.now}
	m.meta.NextSegment++
	h.open = append(h.open, s)
	return s
}

// put writes the segments touched in this batch, and closes those that are full
// or old: their last put says so. What it closes goes with a later batch at the
// earliest: its records are put by this one.
func (h *history) put(m *Machine) {
	if len(h.dirty) == 0 {
		return
	}
	var fattest *Segment
	if h.bytes > m.cfg.HistoryBytes {
		h.drop(m)
		if h.bytes > m.cfg.HistoryBytes && len(h.closed) == 0 { // many retentions, with an open segment each
			fattest = slices.MaxFunc(h.open, func(a, b *Segment) int { return cmp.Compare(a.Bytes, b.Bytes) })
			h.touch(fattest)
		}
	}
	for _, s := range h.dirty {
		if s.Closed == 0 && (s == fattest || h.full(m, s) || s.Opened.Add(segmentAge) <= m.now) {
			h.close(m, s)
		}
		m.out.Segments.put(*s)
		m.dirty = true
	}
	clear(h.dirty)
	h.dirty = h.dirty[:0]
	clear(h.dirt)
}

// full says whether s is to be closed for its size: an eighth of what history may
// take, so that no more than that is ever kept or dropped too much.
func (h *history) full(m *Machine, s *Segment) bool {
	return s.Bytes >= min(segmentBytes, max(m.cfg.HistoryBytes/segmentsMin, segmentBytesMin))
}

func (h *history) close(m *Machine, s *Segment) {
	s.Closed = m.now
	h.closed = append(h.closed, *s)
	for i, o := range h.open {
		if o == s {
			h.open = append(h.open[:i], h.open[i+1:]...)
			return
		}
	}
}

// retain drops segments past their retention, and the oldest while history takes
// more than its share.
func (h *history) retain(m *Machine) {
	for _, s := range h.open {
		if h.full(m, s) {
			h.touch(s) // the setting is lower than it was
		}
		if s.Count > 0 && s.Opened.Add(min(segmentAge, s.Retention)) <= m.now {
			h.touch(s)
			if s.Opened.Add(segmentAge) > m.now { // a retention shorter than a segment's age
				s.Opened = m.now.Add(-segmentAge)
			}
		}
	}
	h.drop(m)
}

// drop leaves what this batch has closed: it puts its records.
func (h *history) drop(m *Machine) {
	kept := h.closed[:0]
	for _, s := range h.closed {
		if _, fresh := h.dirt[s.Segment]; !fresh && (s.Closed.Add(s.Retention) <= m.now || h.bytes > m.cfg.HistoryBytes) {
			h.bytes -= s.Bytes
			m.out.Segments.drop(s.Segment)
			m.dirty = true
			continue
		}
		kept = append(kept, s)
	}
	h.closed = kept
}

// holding lists the segments that can hold seq, newest first.
func (h *history) holding(seq task.Seq) []uint32 {
	var out []uint32
	for _, s := range h.open {
		if s.Count > 0 && s.Low <= seq && seq <= s.High {
			out = append(out, s.Segment)
		}
	}
	for i := len(h.closed) - 1; i >= 0; i-- {
		if s := &h.closed[i]; s.Low <= seq && seq <= s.High {
			out = append(out, s.Segment)
		}
	}
	return out
}

// from is how far back finished tasks are kept now.
func (h *history) from() task.Time {
	var t task.Time
	for _, s := range h.open {
		if t == 0 || s.Opened < t {
			t = s.Opened
		}
	}
	for i := range h.closed {
		if o := h.closed[i].Opened; t == 0 || o < t {
			t = o
		}
	}
	return t
}
