package queue

import (
	"encoding/binary"
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// menu is what some workers take of one queue: every type, or those that they
// name. Workers that name the same types share one. Of types that nobody names,
// and of those that have no lanes, it knows nothing.
//
// The types that may have something stand in a heap, each where its first task
// stood when it was last looked at. What stands there now comes no earlier: that a
// lane moves on is seen when it is the type's turn, and costs nobody else anything.
type menu struct {
	queue   *queueOf
	serves  *serves
	uses    int // crews that have it
	workers int // connected sessions that have it
	list    int // in its queue's
	all     []*offer
	offers  heap[*offer, offerOrder] // those whose type may have a lane in turn
	resting []*crewQueue             // those to be told when there is something again
}

// offer is a type on a menu that names it.
type offer struct {
	menu *menu
	typ  *typeOf
	prio uint8
	at   position
	pos  int // in the menu's heap + 1
	of   int // in the menu's all
	list int // in the type's
}

// offerOrder is the order in which a worker takes from its types.
type offerOrder struct{}

func (offerOrder) less(a, b *offer) bool    { return before(a.prio, a.at, b.prio, b.at) }
func (offerOrder) placed(o *offer, pos int) { o.pos = pos }

// before is the order of tasks: strict priority, then who became ready first.
func before(prio uint8, at position, than uint8, thanAt position) bool {
	return prio > than || prio == than && at.less(thanAt)
}

// menuFor finds the queue's menu for workers that take sv, or makes it.
func (m *Machine) menuFor(q *queueOf, sv *serves) *menu {
	if mn := sv.menus[q]; mn != nil {
		return mn
	}
	mn := &menu{queue: q, serves: sv, list: len(q.menus)}
	sv.menus[q] = mn
	q.menus = append(q.menus, mn)
	if sv.all {
		q.full = mn
		return mn
	}
	for _, name := range sv.names {
		if t := q.types[name]; t != nil {
			m.offer(mn, t)
		}
	}
	return mn
}

// dropMenu forgets a menu that no crew has.
func (m *Machine) dropMenu(mn *menu) {
	q := mn.queue
	delete(mn.serves.menus, q)
	q.menus = swapOut(q.menus, mn.list)
	if mn.list < len(q.menus) {
		q.menus[mn.list].list = mn.list
	}
	if mn.serves.all {
		q.full = nil
		return
	}
	for _, o := range mn.all {
		t := o.typ
		if o.pos == 0 {
			t.away--
		}
		t.offers = swapOut(t.offers, o.list)
		if o.list < len(t.offers) {
			t.offers[o.list].list = o.list
		}
	}
}

// swapOut takes out what stands at place p; the last one takes its place.
func swapOut[T any](of []T, p int) []T {
	last := len(of) - 1
	var zero T
	of[p], of[last] = of[last], zero
	if last == 0 {
		return nil
	}
	return of[:last]
}

// offer puts a type on a menu that names it.
func (m *Machine) offer(mn *menu, t *typeOf) {
	o := &offer{menu: mn, typ: t, list: len(t.offers), of: len(mn.all)}
	t.offers, mn.all = append(t.offers, o), append(mn.all, o)
	t.away++
	if mn.workers > 0 {
		t.served++
	}
	m.putUp(t)
}

// withdraw takes a type that has no lanes from all menus.
func (t *typeOf) withdraw() {
	for _, o := range t.offers {
		mn := o.menu
		if o.pos != 0 {
			mn.offers.remove(o.pos - 1)
		}
		mn.all = swapOut(mn.all, o.of)
		if o.of < len(mn.all) {
			mn.all[o.of].of = o.of
		}
	}
	t.offers, t.away, t.served = nil, 0, 0
}

// first is the group of the type from which a task is dispatched next; nil: none
// has a lane in turn.
func (t *typeOf) first() *group {
	var best *group
	for g := t.groups; g != nil; g = g.next {
		if g.lanes.len() > 0 && (best == nil || g.prio > best.prio) {
			best = g
		}
	}
	return best
}

// putUp follows a change of the type's first task on the menus that name it, if
// that may come earlier now than where one of them has it.
func (m *Machine) putUp(t *typeOf) {
	if len(t.offers) == 0 {
		return
	}
	g := t.first()
	if g == nil {
		return
	}
	at := g.lanes.items[0].at
	if t.away == 0 && !before(g.prio, at, t.latestPrio, t.latest) {
		return
	}
	for _, o := range t.offers {
		switch {
		case o.pos == 0:
			o.prio, o.at = g.prio, at
			o.menu.offers.push(o)
		case before(g.prio, at, o.prio, o.at):
			o.prio, o.at = g.prio, at
			o.menu.offers.fix(o.pos - 1)
		}
	}
	t.away, t.latestPrio, t.latest = 0, g.prio, at
}

// putAway takes a type that has no lane in turn out of the heap, until it has one.
func (mn *menu) putAway(i int) {
	mn.offers.items[i].typ.away++
	mn.offers.remove(i)
}

// pick is the lane whose first task is next for a worker that has this menu:
// strict priority, then the task that became ready first. It may be one that has
// to be read, or that a gate holds; nothing behind it may go before that is known.
func (m *Machine) pick(mn *menu) *lane {
	if mn.serves.all {
		for p := task.PriorityMax; p >= 0; p-- {
			if lv := &mn.queue.levels[p]; lv.len() > 0 {
				return lv.items[0].lanes.items[0].lane
			}
		}
		return nil
	}
	for mn.offers.len() > 0 {
		o := mn.offers.items[0]
		g := o.typ.first()
		if g == nil {
			mn.putAway(0)
			continue
		}
		first := g.lanes.items[0]
		if o.prio == g.prio && o.at == first.at {
			return first.lane
		}
		o.prio, o.at = g.prio, first.at
		if t := o.typ; before(t.latestPrio, t.latest, o.prio, o.at) {
			t.latestPrio, t.latest = o.prio, o.at
		}
		mn.offers.fix(0)
	}
	return nil
}

// open is how much could be dispatched to a worker that has this menu, up to most.
func (mn *menu) open(most int) int {
	q := mn.queue
	if q.shut != 0 {
		return 0
	}
	if mn.serves.all || q.open == 0 {
		return min(q.open, most)
	}
	n := 0
	for i := 0; i < mn.offers.len(); {
		o := mn.offers.items[i]
		if o.typ.inTurn == 0 {
			mn.putAway(i)
			continue
		}
		if n += int(o.typ.open); n >= most {
			return most
		}
		i++
	}
	return n
}

// serves is which types workers take. Those who name the same types share one.
type serves struct {
	all   bool
	names []string // in their order
	set   map[string]struct{}
	key   string
	menus map[*queueOf]*menu
	uses  int // crews that have it
}

func (sv *serves) has(name string) bool {
	if sv.all {
		return true
	}
	_, ok := sv.set[name]
	return ok
}

// servesFor finds what workers take that name these types (nil: all), or makes it.
func (m *Machine) servesFor(types []string) *serves {
	if types == nil {
		return m.servesAll
	}
	names := slices.Clone(types)
	slices.Sort(names)
	names = slices.Compact(names)
	key := string(appendNames(nil, names...))
	sv := m.serves[key]
	if sv == nil {
		sv = &serves{names: names, set: make(map[string]struct{}, len(names)), key: key, menus: map[*queueOf]*menu{}}
		for _, n := range names {
			sv.set[n] = struct{}{}
			m.naming[n] = append(m.naming[n], sv)
		}
		m.serves[key] = sv
	}
	return sv
}

// dropServes forgets what no crew takes any more.
func (m *Machine) dropServes(sv *serves) {
	delete(m.serves, sv.key)
	for _, n := range sv.names {
		left := m.naming[n]
		if left = swapOut(left, slices.Index(left, sv)); left == nil {
			delete(m.naming, n)
		} else {
			m.naming[n] = left
		}
	}
}

// appendNames appends names so that no other ones look the same.
func appendNames(b []byte, names ...string) []byte {
	for _, s := range names {
		b = append(binary.AppendUvarint(b, uint64(len(s))), s...)
	}
	return b
}
