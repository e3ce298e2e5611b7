package queue

import "slices"

// ahead is what has to be looked at next on the way through a level in the order
// of its lanes: a group of the level's heap, or a lane of its group's.
type ahead struct {
	at    position
	group *group
	lane  *lane // nil: the group itself
	place int   // in its heap
}

// aheadOrder is the order of dispatch.
type aheadOrder struct{}

func (aheadOrder) less(a, b ahead) bool { return a.at.less(b.at) }
func (aheadOrder) placed(ahead, int)    {}

// lookahead walks the lanes of a level that some worker serves, in the order in
// which they are next, and takes as much time as it finds lanes.
type lookahead struct {
	heap  heap[ahead, aheadOrder]
	all   *level  // the worker serves every type: its groups are found on the way
	found []ahead // lanes to be read, by where that begins
}

func (k *lookahead) start(mn *menu, prio uint8) {
	if mn.serves.all {
		k.all = &mn.queue.levels[prio]
		k.addGroup(0)
		return
	}
	for _, o := range mn.offers.items[:min(mn.offers.len(), urgedMax)] { // the first ones of the heap are the earliest, or nearly
		if g := o.typ.at(prio); g != nil {
			k.addLane(g, 0)
		}
	}
}

func (k *lookahead) addGroup(place int) {
	if place < k.all.len() {
		g := k.all.items[place]
		k.heap.push(ahead{at: g.lanes.items[0].at, group: g, place: place})
	}
}

func (k *lookahead) addLane(g *group, place int) {
	if place < g.lanes.len() {
		l := g.lanes.items[place]
		k.heap.push(ahead{at: l.at, group: g, lane: l.lane, place: place})
	}
}

// next is the lane that follows; nil: there is none.
func (k *lookahead) next() *lane {
	for k.heap.len() > 0 {
		x := k.heap.items[0]
		k.heap.remove(0)
		if x.lane == nil {
			for i := range heapWidth {
				k.addGroup(heapWidth*x.place + 1 + i)
			}
			k.addLane(x.group, 0)
			continue
		}
		for i := range heapWidth {
			k.addLane(x.group, heapWidth*x.place+1+i)
		}
		return x.lane
	}
	return nil
}

// urge has a lane read that is next, however full memory is, and with it those
// that have to be read soon after: a worker waits that has this menu. nil: nobody
// does, and those of the lane's type are read.
func (m *Machine) urge(first *lane, mn *menu) {
	if !m.mayUrge(first) { // it is being read, and those after it too
		return
	}
	if first.chunk > 0 { // too little of it was read
		first.chunk = min(max(4*first.chunk, laneWindowIdle), laneWindowMax)
		m.chunk = min(m.chunk+2, laneWindowTiny)
	}
	k := &m.lookahead
	if k.heap.items, k.all = k.heap.items[:0], nil; mn == nil {
		k.addLane(first.group, 0)
	} else {
		k.start(mn, first.prio())
	}
	k.found = k.found[:0]
	for range lookaheadMax {
		l := k.next()
		if l == nil {
			break
		}
		if m.mayUrge(l) {
			k.found = append(k.found, ahead{at: m.storedAt(l), lane: l})
		}
	}
	slices.SortFunc(k.found, func(a, b ahead) int { return a.at.compare(b.at) })
	first.urged = urgedFirst
	m.urged.push(first)
	for _, x := range k.found[:min(urgedMax, len(k.found))] {
		m.use(x.lane) // or what is read now would make room for the next
		if l := x.lane; l != first {
			l.urged = urgedNext
			m.urged.push(l)
		}
	}
	clear(k.heap.items)
	clear(k.found)
}

// Why a lane is in Machine.urged: a worker waits for it, or it comes soon after.
const (
	urgedNot uint8 = iota
	urgedFirst
	urgedNext
)

func (m *Machine) mayUrge(l *lane) bool {
	return l.urged == urgedNot && (m.wantsBirths(l) || m.wantsTimed(l))
}
