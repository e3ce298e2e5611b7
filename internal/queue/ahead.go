package queue

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
	heap heap[ahead, aheadOrder]
	all  *level // the worker serves every type: its groups are found on the way
}

func (k *lookahead) start(q *queueOf, prio uint8, sv *serves) {
	k.heap.items = k.heap.items[:0]
	k.all = nil
	if sv.all {
		k.all = &q.levels[prio]
		k.addGroup(0)
		return
	}
	for g := range q.groups(prio, sv) {
		k.addLane(g, 0)
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
		k.heap.push(ahead{at: l.at, group: g, lane: l, place: place})
	}
}

// next is the lane that follows; nil: there is none.
func (k *lookahead) next() *lane {
	for k.heap.len() > 0 {
		x := k.heap.items[0]
		k.heap.remove(0)
		if x.lane == nil {
			k.addGroup(2*x.place + 1)
			k.addGroup(2*x.place + 2)
			k.addLane(x.group, 0)
			continue
		}
		k.addLane(x.group, 2*x.place+1)
		k.addLane(x.group, 2*x.place+2)
		return x.lane
	}
	return nil
}

// urge has a lane read that is next, however full memory is, and with it those
// that come after it and have to be read too: a worker waits.
func (m *Machine) urge(first *lane, sv *serves) {
	if !m.mayUrge(first) { // it is being read, and those after it too
		return
	}
	first.chunk = min(max(4*first.chunk, laneWindowIdle), laneWindowMax)
	k := &m.lookahead
	k.start(first.queue(), first.prio(), sv)
	left := urgedMax
	for range lookaheadMax {
		l := k.next()
		if l == nil || left == 0 {
			break
		}
		if m.mayUrge(l) {
			m.use(l)
			l.urged = true
			m.urged.push(l)
			left--
		}
	}
	clear(k.heap.items)
}

func (m *Machine) mayUrge(l *lane) bool {
	return l.stored && !l.urged && (m.wantsBirths(l) || m.wantsTimed(l))
}
