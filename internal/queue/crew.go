package queue

import (
	"cmp"
	"encoding/binary"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// CrewNo is the number of a crew, from 1.
type CrewNo uint32

// crew is all workers that name the same queues, with the same weights, and the
// same types: whether there is something for one is so for all. A crew for which
// there is nothing costs nothing, however many workers it has, until there is:
// then Roused names it.
//
// Rejected: to ask each session and each lease that waits at each turn, which is
// most of a turn's time once there are some thousands.
type crew struct {
	no      CrewNo
	key     string
	serves  *serves
	names   []task.QueueWeight // by queue name; weights of 1 at least
	queues  []*crewQueue       // those that there are, by number
	live    []*crewQueue       // those that may have something
	uses    int                // sessions, and those outside that hold it
	opened  int                // sessions,
	here    int                // and those of them that are connected
	resting bool               // nothing is live, and who asks knows
}

// crewQueue is a queue that a crew names.
type crewQueue struct {
	crew   *crew
	menu   *menu
	weight int
	live   bool // in the crew's live; else in the menu's resting
}

func byQueue(cq *crewQueue, n QueueNum) int { return cmp.Compare(cq.menu.queue.state.Queue, n) }

// Join makes the caller one of the crew of those who take these types (nil: all)
// from these queues, until it leaves.
func (m *Machine) Join(queues []task.QueueWeight, types []string) CrewNo {
	c := m.crewFor(queues, types)
	c.uses++
	return c.no
}

// CrewOf is the crew of an open session, which the caller joins too; 0: it is not
// open.
func (m *Machine) CrewOf(session SessionNo) CrewNo {
	s := m.sessionOf(session)
	if s == nil {
		return 0
	}
	s.crew.uses++
	return s.crew.no
}

// Leave takes back one Join.
func (m *Machine) Leave(no CrewNo) { m.leaveCrew(m.crews[no-1]) }

func (m *Machine) leaveCrew(c *crew) {
	if c.uses--; c.uses > 0 {
		return
	}
	for _, cq := range c.queues {
		m.dropCrewQueue(cq)
	}
	for _, w := range c.names {
		if of := m.awaited[w.Queue]; of != nil {
			if delete(of, c.no); len(of) == 0 {
				delete(m.awaited, w.Queue)
			}
		}
	}
	if sv := c.serves; !sv.all {
		if sv.uses--; sv.uses == 0 {
			m.dropServes(sv)
		}
	}
	delete(m.crewByKey, c.key)
	m.crews[c.no-1] = nil
	m.freeCrews = append(m.freeCrews, c.no)
	m.roused = slices.DeleteFunc(m.roused, func(no CrewNo) bool { return no == c.no })
}

// dropCrewQueue takes a queue from a crew.
func (m *Machine) dropCrewQueue(cq *crewQueue) {
	mn := cq.menu
	if !cq.live {
		mn.resting = slices.DeleteFunc(mn.resting, func(x *crewQueue) bool { return x == cq })
	}
	if mn.uses--; mn.uses == 0 {
		m.dropMenu(mn)
	}
}

// crewFor finds a crew, or makes it.
func (m *Machine) crewFor(queues []task.QueueWeight, types []string) *crew {
	names := slices.Clone(queues)
	slices.SortFunc(names, func(a, b task.QueueWeight) int { return cmp.Compare(a.Queue, b.Queue) })
	kept := names[:0]
	for _, w := range names {
		w.Weight = max(w.Weight, 1)
		if n := len(kept); n > 0 && kept[n-1].Queue == w.Queue {
			kept[n-1].Weight += w.Weight
			continue
		}
		kept = append(kept, w)
	}
	sv := m.servesFor(types)
	key := crewKey(kept, sv)
	if c := m.crewByKey[key]; c != nil {
		return c
	}
	c := &crew{key: key, serves: sv, names: kept}
	sv.uses++
	if n := len(m.freeCrews); n > 0 {
		c.no, m.freeCrews = m.freeCrews[n-1], m.freeCrews[:n-1]
		m.crews[c.no-1] = c
	} else {
		m.crews = append(m.crews, c)
		c.no = CrewNo(len(m.crews))
	}
	m.crewByKey[key] = c
	for _, w := range kept {
		if q := m.byName[w.Queue]; q != nil {
			m.addCrewQueue(c, q, w.Weight)
		} else {
			m.await(c, w.Queue)
		}
	}
	return c
}

func crewKey(names []task.QueueWeight, sv *serves) string {
	b := []byte{byte(btoi(sv.all))}
	b = binary.AppendUvarint(b, uint64(len(names)))
	for _, w := range names {
		b = binary.AppendUvarint(appendNames(b, w.Queue), uint64(w.Weight))
	}
	return string(b) + sv.key
}

// await notes that c names a queue that does not exist.
func (m *Machine) await(c *crew, name string) {
	of := m.awaited[name]
	if of == nil {
		of = map[CrewNo]struct{}{}
		m.awaited[name] = of
	}
	of[c.no] = struct{}{}
}

// addCrewQueue gives a crew a queue that it names.
func (m *Machine) addCrewQueue(c *crew, q *queueOf, weight int) *crewQueue {
	mn := m.menuFor(q, c.serves)
	mn.uses++
	cq := &crewQueue{crew: c, menu: mn, weight: weight}
	at, _ := slices.BinarySearchFunc(c.queues, q.state.Queue, byQueue)
	c.queues = slices.Insert(c.queues, at, cq)
	if mn.open(1) > 0 {
		m.enliven(cq)
	} else {
		mn.resting = append(mn.resting, cq)
	}
	return cq
}

// adoptQueue gives a new queue to the crews that name it, in the order of their
// numbers.
func (m *Machine) adoptQueue(q *queueOf) {
	name := q.state.Name
	for _, no := range slices.Sorted(maps.Keys(m.awaited[name])) {
		c := m.crews[no-1]
		at, _ := slices.BinarySearchFunc(c.names, name, func(w task.QueueWeight, n string) int { return cmp.Compare(w.Queue, n) })
		cq := m.addCrewQueue(c, q, c.names[at].Weight)
		q.named += c.opened
		m.countServing(cq.menu, c.here)
	}
	delete(m.awaited, name)
}

// dropFromCrews takes a queue that is deleted from those that name it: they wait for
// the next one of that name.
func (m *Machine) dropFromCrews(q *queueOf) {
	for _, c := range m.crews {
		if c == nil {
			continue
		}
		at, ok := slices.BinarySearchFunc(c.queues, q.state.Queue, byQueue)
		if !ok {
			continue
		}
		cq := c.queues[at]
		c.queues = slices.Delete(c.queues, at, at+1)
		c.live = slices.DeleteFunc(c.live, func(x *crewQueue) bool { return x == cq })
		m.countServing(cq.menu, -c.here)
		m.dropCrewQueue(cq)
		m.await(c, q.state.Name)
	}
	q.named = 0
}

// countServing counts sessions in, or out, of those that are connected and have
// the menu.
func (m *Machine) countServing(mn *menu, n int) {
	q := mn.queue
	q.workers += n
	m.noteServed(mn)
	m.inTurn -= q.servedInTurn()
	was := btoi(mn.workers > 0)
	mn.workers += n
	if is := btoi(mn.workers > 0); is != was {
		for _, o := range mn.all {
			t := o.typ
			q.inNamed -= int(t.inTurn) * btoi(t.served > 0)
			t.served += int32(is - was)
			q.inNamed += int(t.inTurn) * btoi(t.served > 0)
		}
	}
	m.inTurn += q.servedInTurn()
}

// noteServed notes that a worker with this menu is here, or was until now.
func (m *Machine) noteServed(mn *menu) {
	if mn.serves.all {
		mn.queue.lastAll = m.now
		return
	}
	for _, o := range mn.all {
		o.typ.last = m.now
	}
}

// rouse tells those who rest until there is something on this menu.
func (m *Machine) rouse(mn *menu) {
	for i, cq := range mn.resting {
		mn.resting[i] = nil
		m.enliven(cq)
	}
	mn.resting = mn.resting[:0]
}

// enliven notes that there may be something in a crew's queue.
func (m *Machine) enliven(cq *crewQueue) {
	c := cq.crew
	cq.live = true
	at, _ := slices.BinarySearchFunc(c.live, cq.menu.queue.state.Queue, byQueue)
	c.live = slices.Insert(c.live, at, cq)
	if c.resting {
		c.resting = false
		m.roused = append(m.roused, c.no)
	}
}

// rouseType tells those who take this type that there is something of it.
func (m *Machine) rouseType(t *typeOf) {
	for _, o := range t.offers {
		if len(o.menu.resting) > 0 {
			m.rouse(o.menu)
		}
	}
}

// Roused appends the crews for which there may be something again, since Demand
// has said that there is nothing; and forgets them.
func (m *Machine) Roused(into []CrewNo) []CrewNo {
	into = append(into, m.roused...)
	m.roused = m.roused[:0]
	return into
}

// Demand is how many tasks could be dispatched to a crew now, up to most. A lane
// whose first task has to be read counts as one. After 0 Roused tells when to ask
// again: of what is found to have nothing it keeps no longer track until then. It
// changes nothing of what is decided.
func (m *Machine) Demand(no CrewNo, most int) int {
	c := m.crews[no-1]
	n, kept := 0, c.live[:0]
	for i, cq := range c.live {
		if n >= most {
			kept = append(kept, c.live[i:]...)
			break
		}
		got := cq.menu.open(most - n)
		if n += got; got > 0 {
			kept = append(kept, cq)
			continue
		}
		cq.live = false
		cq.menu.resting = append(cq.menu.resting, cq)
	}
	clear(c.live[len(kept):])
	c.live = kept
	c.resting = len(kept) == 0
	return n
}

// Room is how many tasks the session may be given now, beside what its crew's
// demand is.
func (m *Machine) Room(session SessionNo) int {
	s := m.sessionOf(session)
	switch {
	case s == nil, s.detached, s.beat.Add(s.ttl) <= m.now, m.careful(s) && s.running > 0:
		return 0
	}
	return m.heldRoom(s)
}
