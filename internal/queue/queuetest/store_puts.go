package queuetest

import (
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
)

func (b *batch) puts() {
	s, o := b.s, b.o
	for _, x := range o.Marks {
		put(s, s.marks, markOf(&x), x)
	}
	for i := range o.Births {
		if w := &o.Births[i]; w.Place.Queue != queue.Void {
			b.putLive(birthRecord(w), w.Slot)
			if s.born[w.Place] {
				s.fault("birth key %+v is written twice: a single delete would bring the first back", w.Place)
			}
			put(s, s.born, w.Place, true)
		}
	}
	for i := range o.Timed {
		b.putTimed(&o.Timed[i])
	}
	for i := range o.Dead {
		b.putDead(&o.Dead[i])
	}
	for i := range o.Finished {
		b.putFinished(&o.Finished[i])
	}
	b.putIndexes()
	for _, x := range o.Queues {
		put(s, s.queues, x.Queue, x)
	}
	for _, x := range o.Segments {
		put(s, s.segments, x.Segment, x)
	}
	for _, x := range o.Producers {
		x.Ranges = slices.Clone(x.Ranges)
		put(s, s.producers, producerKey{x.Queue, x.Producer}, x)
	}
	for _, x := range o.Sessions {
		put(s, s.sessions, x.Session, x)
	}
	if o.MetaSet {
		meta, found := s.meta, s.found
		s.undo = append(s.undo, func() { s.meta, s.found = meta, found })
		if o.Meta.Now < s.meta.Now {
			s.fault("machine time goes back from %d to %d", s.meta.Now, o.Meta.Now)
		}
		s.meta, s.found = o.Meta, true
	} else if len(s.undo) > 0 {
		s.fault("a batch with %d changes does not put the meta record", len(s.undo))
	}
}

func (b *batch) putIndexes() {
	s, o := b.s, b.o
	for _, w := range o.Wheres {
		put(s, s.wheres, w.Seq, w)
	}
	for _, x := range o.Expiries {
		put(s, s.expiries, x.Key, x.ID)
	}
	for _, x := range o.Idems {
		put(s, s.idems, x.Key, x)
	}
	for _, x := range o.IdemDues {
		if s.dueOnce[x.Key] {
			s.fault("%+v of the index of idempotency entries is written twice: a single delete would bring the first back", x.Key)
		}
		put(s, s.dueOnce, x.Key, true)
		put(s, s.idemDues, x.Key, x)
	}
	for _, x := range o.Briefs {
		k := queue.IdemDueKey{At: x.Until, Seq: x.ID.Seq}
		if _, there := s.briefs[k]; there || x.Due != x.Until {
			s.fault("brief idempotency entry %+v is there, or due at another time than it ends", x)
		}
		put(s, s.briefs, k, x)
	}
	for _, x := range o.Claims {
		put(s, s.claims, x.Seq, x)
	}
	for _, x := range o.Lists {
		if s.listed[x.Key] {
			s.fault("dispatch list %+v is written twice: a single delete would bring the first back", x.Key)
		}
		x.Tasks = slices.Clone(x.Tasks)
		put(s, s.lists, x.Key, x)
		put(s, s.listed, x.Key, true)
	}
}
