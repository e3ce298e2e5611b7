package partition

import (
	"bytes"
	"container/heap"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
)

// descend merges the lanes of one class from the highest rank down. First it
// finds each lane's head, with at most two seeks and without its value; then it
// reads whichever lane is on top. Nothing is read ahead, so a page costs the lanes
// there are, and at most two reads a record.
//
//	lane a  ──○──○──────────●┐
//	lane b  ────○──●┐        │  rank ▸      ● heads, ○ not looked at yet
//	lane c  ─○───────────●┐  │
type descend struct {
	l     *listing
	c     record.Class
	below []byte // ranks from here on are not asked for; nil = all are
	floor []byte // nor are those below it
	heads heads
	lanes int // met so far
	open  int // heads that keep their iterator
}

// head is a lane with something left to list.
type head struct {
	lane []byte // what its keys begin with
	low  []byte // no key of it that is alive is below
	rank []byte // of the highest that is left
	it   store.Iterator
}

// heads is a heap, the highest rank on top.
type heads []*head

func (h heads) Len() int           { return len(h) }
func (h heads) Less(i, j int) bool { return bytes.Compare(h[i].rank, h[j].rank) > 0 }
func (h heads) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *heads) Push(x any)        { *h = append(*h, x.(*head)) }

func (h *heads) Pop() any {
	n := len(*h) - 1
	x := (*h)[n]
	(*h)[n], *h = nil, (*h)[:n]
	return x
}

// second is the highest rank but for the top's; nil = there is none.
func (h heads) second() []byte {
	switch {
	case len(h) < 2:
		return nil
	case len(h) > 2 && h.Less(2, 1):
		return h[2].rank
	}
	return h[1].rank
}

// find meets every lane in [from, to), the highest first. Lanes with marks are
// looked at from their marks up, and the gaps between them by ranges of their own:
// below a mark lie the tombstones of all that was ever done there.
func (d *descend) find(from, to []byte, marks []queue.Mark) error {
	p := d.l.r.p
	for i := len(marks) - 1; i >= 0; i-- { // in key order, which is the order of lanes in any class
		m := &marks[i]
		lane := record.AppendLanePrefix(nil, p, d.c, m.Queue, m.Prio, m.Lane)
		end := record.AppendPrefixEnd(nil, lane)
		if more, err := d.walk(end, to); err != nil || !more {
			return err
		}
		if d.l.readsLane(m.Queue, m.Lane) {
			if d.below != nil {
				end = slices.Concat(lane, d.below)
			}
			before := d.lanes
			if more, err := d.walk(record.AppendLowKey(nil, p, d.c, m), end); err != nil || !more {
				return err
			}
			if to = lane; d.lanes > before {
				continue
			}
		}
		if to = lane; !d.met(lane) {
			return nil
		}
	}
	_, err := d.walk(from, to)
	return err
}

// met counts a lane. False: they are as many as are merged at once, and this one
// is the lowest of them.
func (d *descend) met(lane []byte) (more bool) {
	d.lanes++
	at := &d.l.at
	if at.rank != nil || d.lanes < d.l.r.listLanes {
		return true
	}
	at.bottom = record.LaneName(lane)
	return false
}

// walk notes the heads of the lanes in [from, to), the highest lane first.
func (d *descend) walk(from, to []byte) (more bool, err error) {
	it := d.l.r.part.Scan(from, to)
	for more = true; more && err == nil && it.Prev(); {
		more, err = d.meet(it, from)
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("look for tasks under %x: %w", from, e)
	}
	return more, err
}

// meet looks at the highest record of a lane, or at its highest below those that
// are not asked for, and moves on below it.
func (d *descend) meet(it store.Iterator, from []byte) (more bool, err error) {
	if err := d.l.ctx.Err(); err != nil {
		return false, err
	}
	key := bytes.Clone(it.Key())
	lane, rank, err := record.SplitRank(key)
	if err != nil {
		return false, d.l.r.unreadable(key, err)
	}
	passes, err := d.l.lanePasses(d.c, key)
	if err != nil {
		return false, err
	}
	if passes && d.below != nil && bytes.Compare(rank, d.below) >= 0 {
		it.SeekLT(slices.Concat(lane, d.below))
		return true, nil
	}
	if passes && bytes.Compare(rank, d.floor) >= 0 {
		h := &head{lane: lane, low: lane, rank: rank}
		if bytes.Compare(from, lane) > 0 {
			h.low = from
		}
		d.heads = append(d.heads, h)
	}
	it.SeekLT(lane)
	return d.met(lane), nil
}

// each takes records in falling order, until the page is full (false) or nothing
// is left of the lanes. Of lanes that have something it takes at least one.
func (d *descend) each(take func(key, value []byte) error) (ended bool, err error) {
	heap.Init(&d.heads)
	full := false
	for len(d.heads) > 0 && err == nil && !full {
		full, err = d.readTop(take)
	}
	for _, h := range d.heads {
		if e := d.shut(h); e != nil && err == nil {
			err = e
		}
	}
	return !full, err
}

// readTop reads the lane on top for as long as it is, and says whether the page is
// full.
func (d *descend) readTop(take func(key, value []byte) error) (full bool, err error) {
	h := d.heads[0]
	if h.it == nil {
		h.it = d.l.r.part.Scan(h.low, slices.Concat(h.lane, h.rank, []byte{0}))
		d.open++
		if !h.it.Prev() {
			return false, d.drop(h)
		}
	}
	second := d.heads.second()
	for {
		key := h.it.Key()
		rank := key[len(h.lane):]
		if bytes.Compare(rank, d.floor) < 0 {
			return false, d.drop(h)
		}
		if second != nil && bytes.Compare(rank, second) < 0 {
			h.rank = append(h.rank[:0], rank...)
			if d.open > listOpenMax {
				err = d.shut(h)
			}
			heap.Fix(&d.heads, 0)
			return false, err
		}
		if err := d.l.ctx.Err(); err != nil {
			return false, err
		}
		d.l.at.rank = append(d.l.at.rank[:0], rank...)
		d.l.read++
		if err := take(key, h.it.Value()); err != nil {
			return false, err
		}
		if d.l.full() {
			return true, nil
		}
		if !h.it.Prev() {
			return false, d.drop(h)
		}
	}
}

// drop forgets the lane on top: nothing is left of it.
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
		err = fmt.Errorf("read tasks under %x: %w", h.lane, err)
	}
	return err
}
