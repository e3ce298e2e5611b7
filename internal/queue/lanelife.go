package queue

import (
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// laneFor finds the lane of tasks with these names, and makes it if there is
// none.
func (m *Machine) laneFor(q *queueOf, prio uint8, n Names, calendar bool) *lane {
	if l := q.lastLane; l != nil && l.prio() == prio && l.is(&n, calendar) {
		return l
	}
	l := m.findLane(q, prio, &n, calendar)
	if l == nil {
		l = m.makeLane(q, prio, n, calendar)
	}
	q.lastLane = l
	return l
}

// findLane finds a lane by its names.
func (m *Machine) findLane(q *queueOf, prio uint8, n *Names, calendar bool) *lane {
	for l := q.byName[n.hash(prio)]; l != nil; l = l.same {
		if l.prio() == prio && l.is(n, calendar) {
			return l
		}
	}
	return nil
}

// makeLane makes a lane. Numbers rise, so that lanes that were made one after
// another, and are read so, stand beside each other in the store. After two billion
// they begin anew, and from then on those that are in use are passed over.
func (m *Machine) makeLane(q *queueOf, prio uint8, n Names, calendar bool) *lane {
	m.touch(q)
	for again := true; again; {
		next := q.state.NextLane&^lanesWrapped + 1
		if next == lanesWrapped {
			next, q.state.NextLane = 1, lanesWrapped
		}
		q.state.NextLane = q.state.NextLane&lanesWrapped | next
		_, again = q.numbersInUse()[next]
	}
	return m.addLane(q, prio, q.state.NextLane&^lanesWrapped, n, calendar)
}

// lanesWrapped is the bit of QueueState.NextLane that says that lane numbers have
// begun anew.
const lanesWrapped LaneNum = 1 << 31

// numbersInUse are those of the queue's lanes, once they have begun anew.
func (q *queueOf) numbersInUse() map[LaneNum]struct{} {
	if q.state.NextLane&lanesWrapped == 0 {
		return nil
	}
	if q.inUse == nil {
		q.inUse = make(map[LaneNum]struct{}, len(q.lanes))
		for _, l := range q.lanes {
			q.inUse[l.num] = struct{}{}
		}
	}
	return q.inUse
}

// addLane makes the in-memory side of a lane whose number is known.
func (m *Machine) addLane(q *queueOf, prio uint8, num LaneNum, n Names, calendar bool) *lane {
	l := &lane{group: m.groupFor(q, prio, n.Type), key: n.Key, num: num, calendar: calendar, head: NoSlot, tail: NoSlot, oldest: NoSlot, newest: NoSlot,
		window: int32(min(laneWindowMin, m.cfg.WindowTasks))}
	l.group.typ.lanes++
	l.group.held++
	if len(n.Limits) > 0 {
		m.sideOf(l).limits = n.Limits
	}
	if k := len(m.freeLanes); k > 0 {
		l.no, m.freeLanes = m.freeLanes[k-1], m.freeLanes[:k-1]
		m.lanes[l.no] = l
	} else {
		l.no = laneNo(len(m.lanes))
		m.lanes = append(m.lanes, l)
	}
	h := n.hash(prio)
	l.same = q.byName[h]
	q.byName[h] = l
	q.lanes = append(q.lanes, l)
	l.list = int32(len(q.lanes))
	q.lanesTop = max(q.lanesTop, len(q.lanes))
	if q.inUse != nil {
		q.inUse[num] = struct{}{}
	}
	return l
}

// isEmpty says whether the lane has no task anywhere.
func (l *lane) isEmpty() bool {
	return l.tasks == 0 && !l.moreBirths() && !l.moreTimed() &&
		(l.born == nil || l.born.load == nil) && (l.side == nil || l.side.timed.load == nil)
}

// fade notes that the lane may have lost its last task.
func (m *Machine) fade(l *lane) {
	if !l.fading && l.isEmpty() {
		l.fading = true
		m.fading = append(m.fading, l)
	}
}

// dropLanes lets go of lanes without tasks: at each tick, so that one that is
// refilled at once need not be made anew, or before they become many.
func (m *Machine) dropLanes() {
	for _, l := range m.fading {
		switch {
		case l.gone: // with its queue
		case !l.isEmpty():
			l.fading = false
		default:
			m.dropLane(l)
		}
	}
	clear(m.fading)
	m.fading = m.fading[:0]
	if cap(m.fading) > 4*fadingMax {
		m.fading = nil
	}
	m.shrinkLanes()
}

func (m *Machine) dropLane(l *lane) {
	q := l.queue()
	if l.marked {
		m.out.Marks.drop(l.markKey())
		m.cover(l)
		m.dirty = true
	}
	if l.side != nil && l.side.wakePos != 0 {
		m.wakes.remove(l.side.wakePos - 1)
	}
	if l.lowPos != 0 {
		m.low.remove(int(l.lowPos - 1))
	}
	m.unname(q, l)
	last := len(q.lanes) - 1
	q.lanes[l.list-1] = q.lanes[last]
	q.lanes[l.list-1].list = l.list
	q.lanes[last] = nil
	q.lanes = q.lanes[:last]
	if q.lastLane == l {
		q.lastLane = nil
	}
	delete(q.inUse, l.num)
	m.lanes[l.no] = nil
	m.freeLanes = append(m.freeLanes, l.no)
	g := l.group
	l.gone = true
	g.typ.lanes--
	if g.held--; g.held == 0 {
		m.dropGroup(g)
	}
	m.dropType(g.typ)
	m.shrink(q)
}

// cover drops by range what has gone already, of a lane that was busy: so no scan
// that begins before it has to walk over each deletion.
func (m *Machine) cover(l *lane) {
	for _, c := range []task.Class{task.ClassBirth, task.ClassTimed, task.ClassCalendar} {
		if (c == task.ClassCalendar) == l.calendar {
			from := Place{Class: c, Queue: l.queue().state.Queue, Prio: l.prio(), Lane: l.num}
			to := from
			to.Lane++
			m.out.Covers = append(m.out.Covers, Range{from, to})
		}
	}
}

// unname takes the lane out of those that are found by name.
func (m *Machine) unname(q *queueOf, l *lane) {
	n := l.names()
	h := n.hash(l.prio())
	if q.byName[h] != l {
		x := q.byName[h]
		for x.same != l {
			x = x.same
		}
		x.same = l.same
		return
	}
	if l.same == nil {
		delete(q.byName, h)
	} else {
		q.byName[h] = l.same
	}
}

// shrink gives back what a burst of lanes has left in their queue, when a quarter of
// them is left at most: so it costs each lane little, however often it comes.
func (m *Machine) shrink(q *queueOf) {
	if q.lanesTop <= lanesKeepMax || len(q.lanes) > q.lanesTop/4 {
		return
	}
	byName := make(map[uint64]*lane, len(q.lanes))
	maps.Copy(byName, q.byName)
	q.byName, q.lanes, q.lanesTop = byName, slices.Clone(q.lanes), len(q.lanes)
	q.inUse = nil // made again from the lanes, if it is needed
}

// shrinkLanes gives back the numbers above the last lane that there is, if a burst
// has left many. Lanes keep theirs: their tasks name it.
func (m *Machine) shrinkLanes() {
	n := len(m.lanes)
	for n > 0 && m.lanes[n-1] == nil {
		n--
	}
	if n == 0 {
		m.lanes, m.freeLanes = m.lanes[:0], m.freeLanes[:0]
	}
	if cap(m.lanes) <= lanesKeepMax || n > cap(m.lanes)/4 {
		return
	}
	m.lanes = slices.Clone(m.lanes[:n])
	m.freeLanes = slices.Clone(slices.DeleteFunc(m.freeLanes, func(no laneNo) bool { return int(no) >= n }))
}
