package queue

import "slices"

// keyOnce makes each place of a live record stand once in the batch, as Changes do
// for other keys: what is put is not dropped as well. A put that a later command of
// the same Apply took back is no longer at its place.
func (m *Machine) keyOnce() {
	o := m.out
	if m.samePlace {
		m.samePlace = false
		put := make(map[Place]struct{}, len(o.Timed))
		for i := range o.Timed {
			put[o.Timed[i].Place] = struct{}{}
		}
		o.DropTimed = slices.DeleteFunc(o.DropTimed, func(p Place) bool {
			_, twice := put[p]
			return twice
		})
	}
	if len(o.Covers) > 0 {
		m.keyOnceCovered()
	}
}

// keyOnceCovered leaves to the ranges over lanes that are gone what this very Apply
// has taken from them: a range counts for all keys in it.
func (m *Machine) keyOnceCovered() {
	o := m.out
	lanes := make(map[Place]struct{}, len(o.Covers))
	for i := range o.Covers {
		lanes[o.Covers[i].From] = struct{}{}
	}
	covered := func(p Place) bool {
		_, yes := lanes[Place{Class: p.Class, Prio: p.Prio, Queue: p.Queue, Lane: p.Lane}]
		return yes
	}
	o.DropBirths = slices.DeleteFunc(o.DropBirths, covered)
	o.DropTimed = slices.DeleteFunc(o.DropTimed, covered)
}
