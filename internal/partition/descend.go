package partition

import (
	"bytes"
	"container/heap"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
)

// descend takes what a page lists from a merge, the highest rank first. A lane is
// looked at only once nothing else can come before what it may have, so a page costs
// its tasks, and the lanes that the page before has read.
//
//	lane a  ──○──○──────────●┐
//	lane b  ────○──●┐        │  rank ▸      ● heads, ○ not looked at yet
//	lane c  ─ ─ ─ ─ ─ ─ ┤             ┤ nothing of it is above: not looked at
type descend struct {
	l     *listing
	m     *merge
	c     record.Class
	below record.Rank // ranks from here on are not asked for
	floor record.Rank // nor are those below it
	heads heads
	met   []*head // all that were looked at for this page
	open  int     // heads that keep their iterator
}

// head is a lane that is read for a page.
type head struct {
	lane   laneLeft // as it was before
	prefix []byte   // what its keys begin with
	rank   record.Rank
	first  record.Rank // that was taken of it for this page
	taken  bool
	gone   bool // there is nothing of it below where the page begins,
	over   bool // or below what was taken
	it     store.Iterator
}

// heads is a heap, the highest rank on top.
type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return h[j].rank.Less(h[i].rank) }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(*head)) }

func (h *heads) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n], *h = nil, (*h)[:n]
	return x
}

// second is the highest rank but for the top's; the lowest there can be if there is
// none.
func (h heads) second() record.Rank {
	switch {
	case len(h) < 2:
		return record.Rank{}
	case len(h) > 2 && h.Less(2, 1):
		return h[2].rank
	}
	return h[1].rank
}

// each takes records in falling order, until the page is full (false) or nothing
// is left of the lanes. Of lanes that have something it takes at least one. The merge
// notes what was read of: the next page may begin anywhere in this one.
func (d *descend) each(take func(key, value []byte) error) (ended bool, err error) {
	d.m.resume(d.below)
	full := false
	for err == nil && !full && !ended {
		switch {
		case d.meets():
			err = d.meet()
		case len(d.heads) > 0:
			full, err = d.readTop(take)
		default:
			ended = true
		}
	}
	for _, h := range d.met {
		if e := d.shut(h); e != nil && err == nil {
			err = e
		}
		if h.taken || !h.gone {
			x := laneMet{lane: h.lane, now: h.rank, over: h.over}
			if x.lane.top, x.lane.known = h.rank, true; h.taken {
				x.lane.top = h.first
			}
			d.m.met = append(d.m.met, x)
		}
	}
	d.m.from, d.m.to = d.below, d.l.at.below()
	return ended && err == nil, err
}

// meets says whether a lane that was not looked at may be next.
func (d *descend) meets() bool {
	if len(d.m.lanes) == 0 {
		return false
	}
	top := d.m.lanes[0].top
	return !top.Less(d.floor) && (len(d.heads) == 0 || !top.Less(d.heads[0].rank))
}

// meet looks where the lane that may be next really stands.
func (d *descend) meet() error {
	if err := d.l.ctx.Err(); err != nil {
		return err
	}
	d.l.lanes++
	h := &head{lane: heap.Pop(&d.m.lanes).(laneLeft)}
	h.rank = h.lane.top
	h.prefix = d.l.lanePrefix(d.c, &h.lane)
	d.met = append(d.met, h)
	from := record.AppendRank(slices.Clip(h.prefix), d.c, h.lane.low)
	to := d.l.endBelow(d.c, &h.lane, d.below)
	if h.gone = bytes.Compare(from, to) >= 0; h.gone {
		return nil
	}
	h.it = d.l.r.part.Scan(from, to)
	d.open++
	if !h.it.Prev() {
		err := d.shut(h)
		h.gone = err == nil
		return err
	}
	h.rank = record.ParseRank(d.c, h.it.Key()[len(h.prefix):])
	heap.Push(&d.heads, h)
	if d.open > listOpenMax && (d.heads[0] != h || d.meets()) {
		return d.shut(h)
	}
	return nil
}

// readTop reads the lane on top for as long as it is, and says whether the page is
// full.
func (d *descend) readTop(take func(key, value []byte) error) (full bool, err error) {
	h := d.heads[0]
	if h.it == nil {
		from := record.AppendRank(slices.Clip(h.prefix), d.c, h.lane.low)
		h.it = d.l.r.part.Scan(from, append(record.AppendRank(slices.Clip(h.prefix), d.c, h.rank), 0))
		d.open++
		if !h.it.Prev() {
			return false, d.end(h)
		}
	}
	second := d.heads.second()
	if len(d.m.lanes) > 0 && second.Less(d.m.lanes[0].top) {
		second = d.m.lanes[0].top
	}
	for {
		key := h.it.Key()
		h.rank = record.ParseRank(d.c, key[len(h.prefix):])
		if h.rank.Less(d.floor) {
			return false, d.drop(h)
		}
		if h.rank.Less(second) {
			if d.open > listOpenMax {
				err = d.shut(h)
			}
			heap.Fix(&d.heads, 0)
			return false, err
		}
		if err := d.l.ctx.Err(); err != nil {
			return false, err
		}
		if !h.taken {
			h.taken, h.first = true, h.rank
		}
		d.l.at.rank = append(d.l.at.rank[:0], key[len(h.prefix):]...)
		d.l.read++
		if err := take(key, h.it.Value()); err != nil {
			return false, err
		}
		if d.l.full() {
			return true, nil
		}
		if !h.it.Prev() {
			return false, d.end(h)
		}
	}
}

// end drops a lane whose iterator has come to its end.
func (d *descend) end(h *head) error {
	err := d.drop(h)
	h.over = err == nil
	return err
}

// drop forgets the lane on top for this page.
func (d *descend) drop(h *head) error {
	heap.Pop(&d.heads)
	return d.shut(h)
}

func (d *descend) shut(h *head) error {
	if h.it == nil {
		return nil
	}
	err := h.it.Close()
	h.it = nil
	d.open--
	if err != nil {
		err = fmt.Errorf("read tasks under %x: %w", h.prefix, err)
	}
	return err
}
