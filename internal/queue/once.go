package queue

import (
	"slices"

	"github.com/penstock-io/penstock/internal/task"
)

// keyOnce makes every key stand once in the batch, as engines may ask: what is put
// is not dropped as well, and nothing is dropped twice. Puts win: one that a later
// command of the same Apply took back is no longer among them.
func (m *Machine) keyOnce() {
	o := m.out
	if m.samePlace {
		m.samePlace = false
		o.DropTimed = dropsLeft(o.DropTimed, len(o.Timed), func(i int) Place { return o.Timed[i].Place })
	}
	if len(o.DropMarks) > 0 {
		type mark struct {
			queue QueueNum
			prio  uint8
			lane  LaneNum
		}
		named := make(map[mark]bool, len(o.Marks))
		for i := range o.Marks {
			named[mark{o.Marks[i].Queue, o.Marks[i].Prio, o.Marks[i].Lane}] = true
		}
		o.DropMarks = slices.DeleteFunc(o.DropMarks, func(k Mark) bool {
			twice := named[mark{k.Queue, k.Prio, k.Lane}]
			named[mark{k.Queue, k.Prio, k.Lane}] = true
			return twice
		})
	}
	if len(o.Covers) > 0 {
		m.keyOnceCovered()
	}
	if len(o.DropIdems) > 0 {
		o.DropIdems = dropsLeft(o.DropIdems, len(o.Idems), func(i int) IdemKey { return o.Idems[i].Key })
	}
	if len(o.DropExpiries) > 0 {
		o.DropExpiries = dropsLeft(o.DropExpiries, len(o.Expiries), func(i int) ExpiryKey { return o.Expiries[i].Key })
	}
	if len(o.DropClaims) > 0 {
		o.DropClaims = dropsLeft(o.DropClaims, len(o.Claims), func(i int) task.Seq { return o.Claims[i].Seq })
	}
	if len(o.DropSessions) > 0 {
		o.DropSessions = dropsLeft(o.DropSessions, len(o.Sessions), func(i int) string { return o.Sessions[i].Session })
	}
	if len(o.DropFinished) > 0 {
		o.DropFinished = dropsLeft(o.DropFinished, len(o.Finished), func(i int) FinishedKey { return o.Finished[i].Key })
	}
	if len(o.DropDead) > 0 {
		o.DropDead = dropsLeft(o.DropDead, len(o.Dead), func(i int) DeadKey { return o.Dead[i].Key })
	}
	if len(o.DropWheres) > 0 {
		o.DropWheres = dropsLeft(o.DropWheres, len(o.Wheres), func(i int) task.Seq { return o.Wheres[i].Seq })
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

// dropsLeft is drops without those that are put, each once.
func dropsLeft[K comparable](drops []K, puts int, put func(i int) K) []K {
	named := make(map[K]struct{}, len(drops)+puts)
	for i := range puts {
		named[put(i)] = struct{}{}
	}
	left := drops[:0]
	for _, k := range drops {
		if _, twice := named[k]; !twice {
			named[k] = struct{}{}
			left = append(left, k)
		}
	}
	return left
}
