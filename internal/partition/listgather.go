package partition

import (
	"bytes"
	"cmp"
	"container/heap"
	"fmt"
	"math"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// gather makes the merge of the stage that the cursor stands in: it asks the loop for
// the lanes, in as many short looks as it takes, and then reads on.
func (l *listing) gather() {
	began := l.r.kept.begin(func() {
		l.making = true
		if l.at.id == 0 {
			l.at.id = l.r.kept.newID()
		}
		l.work = &merge{id: l.at.id, stage: l.at.stage, queue: l.f.Queue, typ: l.f.Type,
			top: l.at.top, bottom: l.at.bottom, from: l.at.below()}
		l.looks = 0
		l.look(-1)
	})
	if !began {
		l.end(Page{}, errListings)
	}
}

var errListings = task.Errorf(task.Exhausted, "%d listings of this partition wait already, the most there can be: list fewer at once, or larger pages", listWaitingMax)

func (l *listing) look(left int) {
	l.looks++
	l.r.look(func(m *queue.Machine) {
		if l.ctx.Err() != nil {
			left = 0
			return
		}
		left = l.lookAt(m, left)
	}, func(err *task.Error) {
		switch {
		case err != nil:
			l.end(Page{}, err)
		case left > 0:
			if l.looks == 1 && l.at.stage != stageMemory { // the others will need about as much room: not to be made in the loop
				l.work.lanes = slices.Grow(l.work.lanes, len(l.work.lanes)*left/queue.LanesLookMax*9/8)
			}
			l.look(left)
		default:
			l.goOn()
		}
	})
}

// lookAt notes a part of the stage's lanes, or running tasks, in the loop.
func (l *listing) lookAt(m *queue.Machine, left int) int {
	w := l.work
	switch l.at.stage {
	case stageMemory:
		return m.EachInFlight(l.queue, left, func(_ task.State, typ string, pl queue.Place) {
			if l.passes(pl.Queue, typ) && (record.Rank{Hi: uint64(pl.Seq)}).Less(w.from) {
				w.running = append(w.running, pl)
			}
		})
	case stageDead:
		return m.EachDead(l.queue, left, func(v queue.LaneView) {
			w.lanes = append(w.lanes, laneLeft{queue: v.Queue, top: record.RankMax})
		})
	case stageFinished: // below the oldest segment lie the tombstones of history
		if l.oldest < math.MaxUint32 {
			w.lanes = append(w.lanes, laneLeft{top: record.RankMax, low: record.Rank{Hi: uint64(l.oldest)}})
		}
		return 0
	}
	return m.EachLane(l.at.stage.tasks(), l.queue, l.f.Type, left, func(v queue.LaneView) {
		x := laneLeft{queue: v.Queue, lane: v.Lane, no: v.No, prio: v.Prio, marked: v.Marked, top: record.RankMax, low: record.Rank{Hi: uint64(v.TimedLow)}}
		if l.at.stage == stageBirths {
			if x.low.Hi = uint64(v.Low); v.Newest != 0 {
				x.top.Hi, x.top.Lo, x.known = uint64(v.Newest), 0, true
			}
		}
		w.lanes = append(w.lanes, x)
	})
}

// made finishes the merge beside the loop: it holds what the cursor is about, and of
// each lane it is known where it stands.
func (l *listing) made() error {
	w := l.work
	if l.at.stage == stageMemory {
		slices.SortFunc(w.running, func(a, b queue.Place) int { return cmp.Compare(b.Seq, a.Seq) })
		w.running = slices.CompactFunc(w.running, func(a, b queue.Place) bool { return a.Seq == b.Seq }) // met twice
		if w.cut = len(w.running) > l.r.listLanes; w.cut {
			w.running = slices.Clone(w.running[:l.r.listLanes])
		}
		if l.begin {
			l.shown = w.running
		}
		return nil
	}
	l.cutLanes()
	if err := l.stand(); err != nil {
		return err
	}
	heap.Init(&w.lanes)
	return nil
}

// cutLanes leaves the lanes that are at work: those that the cursor names, or the
// highest of them, if they are more than are merged at once.
func (l *listing) cutLanes() {
	w, c := l.work, l.at.stage.class()
	if w.top != nil || w.bottom != nil {
		w.lanes = slices.DeleteFunc(w.lanes, func(x laneLeft) bool {
			name := record.LaneName(l.lanePrefix(c, &x))
			return w.top != nil && bytes.Compare(name, w.top) >= 0 || bytes.Compare(name, w.bottom) < 0
		})
	}
	cuts := l.at.rank == nil && len(w.lanes) > l.r.listLanes
	if !cuts && l.looks < 2 {
		return
	}
	slices.SortFunc(w.lanes, func(a, b laneLeft) int { return b.compare(&a) })
	w.lanes = slices.CompactFunc(w.lanes, func(a, b laneLeft) bool { return a.compare(&b) == 0 }) // met twice
	if cuts && len(w.lanes) > l.r.listLanes {
		w.lanes = slices.Clone(w.lanes[:l.r.listLanes])
		l.at.bottom = record.LaneName(l.lanePrefix(c, &w.lanes[len(w.lanes)-1]))
		w.bottom = l.at.bottom
	}
}

// stand finds where those lanes stand of which nothing is known, or only that they
// have something above the cursor: all would have to be looked at for the first task.
// They are met in the order of the store, the highest first, those without marks by
// one iterator; below a mark lie the tombstones of all that was ever done there.
func (l *listing) stand() error {
	w := l.work
	blind := func(x *laneLeft) bool { return !x.known || !x.top.Less(w.from) }
	var some []*laneLeft
	for i := range w.lanes {
		if x := &w.lanes[i]; blind(x) {
			some = append(some, x)
		}
	}
	slices.SortFunc(some, func(a, b *laneLeft) int { return b.compare(a) })
	for len(some) > 0 {
		n := 1
		for n < len(some) && !some[0].marked && !some[n].marked {
			n++
		}
		if err := l.standAmong(some[:n]); err != nil {
			return err
		}
		some = some[n:]
	}
	w.lanes = slices.DeleteFunc(w.lanes, func(x laneLeft) bool { return blind(&x) })
	return nil
}

// standAmong finds where lanes stand that lie beside each other, or one. Of those
// that have nothing below the cursor nothing becomes known.
func (l *listing) standAmong(some []*laneLeft) (err error) {
	w, c := l.work, l.at.stage.class()
	last := some[len(some)-1]
	from := record.AppendRank(l.lanePrefix(c, last), c, last.low)
	to := l.endBelow(c, some[0], w.from)
	if bytes.Compare(from, to) >= 0 {
		some = nil
	}
	var it store.Iterator
	for i, x := range some {
		l.lanes++
		if err = l.ctx.Err(); err != nil {
			break
		}
		if i == 0 {
			it = l.r.part.Scan(from, to)
		} else {
			it.SeekLT(l.endBelow(c, x, w.from))
		}
		x.known = false
		if prefix := l.lanePrefix(c, x); it.Prev() && bytes.HasPrefix(it.Key(), prefix) {
			if rank := record.ParseRank(c, it.Key()[len(prefix):]); !rank.Less(x.low) {
				l.learn(x, rank)
				x.top, x.known = rank, true
			}
		}
	}
	if it == nil {
		return err
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("look for tasks under %x: %w", from, e)
	}
	return err
}

// learn notes the newest birth of a lane that the machine does not know, as it has
// not looked since its start.
func (l *listing) learn(x *laneLeft, rank record.Rank) {
	if l.at.stage == stageBirths && x.top == record.RankMax && l.work.from == record.RankMax {
		l.learned = append(l.learned, queue.LaneView{Queue: x.queue, Prio: x.prio, Lane: x.lane, No: x.no, Newest: task.Seq(rank.Hi)})
	}
}

// teach tells the machine, some at a time, so that the next listing need not look.
func (l *listing) teach() {
	for some := range slices.Chunk(l.learned, queue.LanesLookMax) {
		l.r.look(func(m *queue.Machine) {
			for i := range some {
				m.NoteNewest(&some[i], some[i].Newest)
			}
		}, func(*task.Error) {})
	}
}

// lanePrefix is what the keys of a lane begin with: of a queue for the dead, of the
// class for the finished.
func (l *listing) lanePrefix(c record.Class, x *laneLeft) []byte {
	b := make([]byte, 0, 32)
	switch c {
	case record.ClassFinished:
		return record.AppendPrefix(b, l.r.p, c)
	case record.ClassDead:
		return record.AppendQueuePrefix(b, l.r.p, c, x.queue)
	}
	return record.AppendLanePrefix(b, l.r.p, c, x.queue, x.prio, x.lane)
}

// endBelow is the key that what may be left of a lane below a rank ends before.
func (l *listing) endBelow(c record.Class, x *laneLeft, below record.Rank) []byte {
	b := l.lanePrefix(c, x)
	switch {
	case x.top.Less(below):
		return append(record.AppendRank(b, c, x.top), 0)
	case below == record.RankMax:
		return record.AppendPrefixEnd(nil, b)
	}
	return record.AppendRank(b, c, below)
}
