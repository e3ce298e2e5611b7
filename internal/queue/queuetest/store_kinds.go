package queuetest

import (
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
)

// kind takes what an Output does to the records of one kind.
type kind struct{ drop, put func() }

// rule is what must hold of a kind's keys; each holds more than the one before.
type rule int

const (
	loose rule = iota // what is dropped need not be there
	there             // it must
	anew              // and what is put must not
	once              // nor have been, ever
)

// kinds are those that say all by themselves: a new one has its line here.
func (b *batch) kinds() []kind {
	s, o := b.s, b.o
	return []kind{
		records(b, &o.Marks, s.marks, loose, same),
		records(b, &o.Dead, s.dead, there, b.deadRecord),
		records(b, &o.Finished, s.finished, there, b.finishedRecord),
		records(b, &o.Wheres, s.wheres, loose, same),
		records(b, &o.Expiries, s.expiries, loose, same),
		records(b, &o.Idems, s.idems, there, same),
		records(b, &o.IdemDues, s.idemDues, once, same),
		records(b, &o.Briefs, s.briefs, anew, same),
		records(b, &o.Claims, s.claims, loose, same),
		records(b, &o.Segments, s.segments, loose, same),
		records(b, &o.Producers, s.producers, loose, func(p *queue.ProducerState) queue.ProducerState {
			c := *p
			c.Ranges = slices.Clone(p.Ranges)
			return c
		}),
		records(b, &o.Sessions, s.sessions, loose, same),
		records(b, &o.Lists, s.lists, once, func(l *queue.List) queue.List {
			c := *l
			c.Tasks = slices.Clone(l.Tasks)
			return c
		}),
	}
}

func same[V any](v *V) V { return *v }

// records takes the changes of a kind into m, as it keeps them.
func records[K comparable, V, R any](b *batch, c *queue.Changes[K, V], m map[K]R, must rule, keep func(*V) R) kind {
	drops := func() {
		for _, k := range c.Drops {
			b.name(named[K, V]{k})
			if !drop(b.s, m, k) && must >= there {
				b.s.fault("%T %+v is deleted and not there", *new(V), k)
			}
		}
	}
	puts := func() {
		for i := range c.Puts {
			v := &c.Puts[i]
			k := c.Key(v)
			b.name(named[K, V]{k})
			if _, is := m[k]; is && must >= anew {
				b.s.fault("%T %+v is put and there", *v, k)
			}
			if must >= once {
				b.putOnce(named[K, V]{k})
			}
			put(b.s, m, k, keep(v))
		}
	}
	return kind{drops, puts}
}

// named is a key of one kind.
type named[K comparable, V any] struct{ Key K }

// puts puts live records and queues.
func (b *batch) puts() {
	s, o := b.s, b.o
	for i := range o.Births {
		if w := &o.Births[i]; w.Place.Queue != queue.Void {
			b.name(w.Place)
			b.putOnce(w.Place)
			b.putLive(birthRecord(w), w.Slot)
		}
	}
	for i := range o.Timed {
		if p := o.Timed[i].Place; p.Queue != queue.Void {
			b.name(p)
		}
		b.putTimed(&o.Timed[i])
	}
	for _, x := range o.Queues {
		b.name(x.Queue)
		put(s, s.queues, x.Queue, x)
	}
}

func (b *batch) putMeta() {
	s, o := b.s, b.o
	if !o.MetaSet {
		if n := o.Changed(); n > 0 {
			s.fault("a batch with %d changes does not put the meta record", n)
		}
		return
	}
	meta, found := s.meta, s.found
	s.undo = append(s.undo, func() { s.meta, s.found = meta, found })
	if o.Meta.Now < s.meta.Now {
		s.fault("machine time goes back from %d to %d", s.meta.Now, o.Meta.Now)
	}
	s.meta, s.found = o.Meta, true
}
