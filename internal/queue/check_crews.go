package queue

import (
	"fmt"
	"slices"
)

// crews verifies menus and crews: what may be dispatched is where those look who
// take it, and nobody rests who could have something.
func (c *checker) crews() error {
	m := c.m
	here, uses := map[*menu]int{}, map[*menu]int{}
	for _, cr := range m.crews {
		if cr == nil {
			continue
		}
		for _, cq := range cr.queues {
			here[cq.menu] += cr.here
			uses[cq.menu]++
			live := slices.Contains(cr.live, cq)
			if live != cq.live || live == slices.Contains(cq.menu.resting, cq) {
				return fmt.Errorf("crew %d, queue %q: live %v, noted as %v, or not where it should rest", cr.no, cq.menu.queue.state.Name, live, cq.live)
			}
			if n := c.open(cq.menu); !live && n > 0 {
				return fmt.Errorf("crew %d rests at queue %q, where %d tasks could be dispatched to it", cr.no, cq.menu.queue.state.Name, n)
			}
		}
		if cr.resting && len(cr.live) > 0 {
			return fmt.Errorf("crew %d rests, and has %d queues with something", cr.no, len(cr.live))
		}
	}
	for _, q := range m.queues {
		for _, mn := range q.menus {
			if mn.uses != uses[mn] || mn.workers != here[mn] {
				return fmt.Errorf("queue %q: a menu of %d crews and %d workers counts %d and %d", q.state.Name, uses[mn], here[mn], mn.uses, mn.workers)
			}
		}
		for _, t := range q.typeList {
			if err := c.offers(t); err != nil {
				return fmt.Errorf("queue %q type %q: %w", q.state.Name, t.name, err)
			}
		}
	}
	return nil
}

// open counts what could be dispatched of a menu.
func (c *checker) open(mn *menu) int {
	n := 0
	for _, t := range mn.queue.typeList {
		if mn.queue.shut == 0 && mn.serves.has(t.name) {
			n += int(t.open)
		}
	}
	return n
}

// offers verifies a type on the menus that name it.
func (c *checker) offers(t *typeOf) error {
	served, away, first := 0, 0, t.first()
	for _, mn := range t.queue.menus {
		if mn.serves.all || !mn.serves.has(t.name) {
			continue
		}
		served += btoi(mn.workers > 0)
		i := slices.IndexFunc(t.offers, func(o *offer) bool { return o.menu == mn })
		if i < 0 {
			return fmt.Errorf("a menu names it and does not have it")
		}
		o := t.offers[i]
		if o.list != i || mn.all[o.of] != o {
			return fmt.Errorf("an offer is not where it says")
		}
		switch {
		case o.pos == 0:
			if away++; first != nil {
				return fmt.Errorf("it has a lane in turn, and a menu that names it does not know")
			}
		case first != nil && before(first.prio, first.lanes.items[0].at, o.prio, o.at):
			return fmt.Errorf("it stands later on a menu (%d, %+v) than it does (%d, %+v)", o.prio, o.at, first.prio, first.lanes.items[0].at)
		case before(t.latestPrio, t.latest, o.prio, o.at):
			return fmt.Errorf("it stands later on a menu than is known")
		}
	}
	if served != int(t.served) || away != int(t.away) {
		return fmt.Errorf("served by %d menus and away from %d; %d and %d counted", served, away, t.served, t.away)
	}
	if int(t.run) != c.running[t] {
		return fmt.Errorf("%d tasks run, %d counted", c.running[t], t.run)
	}
	return nil
}
