// Package queuetest tries the machine of internal/queue: a store of plain maps
// (Store), the two together (Rig), a naive Model that says what may happen, a
// random Workload, and transcripts that people can read. It holds no rules of
// its own but the Model's; nothing outside tests may import it.
package queuetest

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Record is a task in the Store, whatever class it stands in.
type Record struct {
	Place    queue.Place // live: where it stands
	Birth    queue.Place // where it was born: the ID
	Spec     *task.Spec
	Idem     string // its idempotency key, which outlives its spec
	Enqueued task.Time
	Expires  task.Time
	Counts   task.Counts
	Flags    queue.Flags
	Attempts []task.Attempt
	State    task.State // Dead, or how it finished
	Reason   string
	KeepBody bool
	Token    task.Token
	Told     queue.Told
}

func laneOf(p queue.Place) queue.MarkKey {
	return queue.MarkKey{Queue: p.Queue, Prio: p.Prio, Lane: p.Lane}
}

// Store is what a partition's bytes mean, as maps. It takes Outputs as batches,
// can take the last one back, and notes what no engine should have to put up
// with: a key deleted that is not there, one written twice that may not be.
type Store struct {
	Partition uint16
	meta      queue.Meta
	found     bool
	queues    map[queue.QueueNum]queue.QueueState
	marks     map[queue.MarkKey]queue.Mark
	live      map[queue.Place]*Record
	dead      map[queue.DeadKey]*Record
	finished  map[queue.FinishedKey]*Record
	wheres    map[task.Seq]queue.Where
	expiries  map[queue.ExpiryKey]queue.Expiry
	idems     map[queue.IdemKey]queue.Idem
	idemDues  map[queue.IdemDueKey]queue.IdemDue
	briefs    map[queue.IdemDueKey]queue.Idem
	claims    map[task.Seq]queue.Claim
	lists     map[queue.ListKey]queue.List
	segments  map[uint32]queue.Segment
	producers map[queue.ProducerKey]queue.ProducerState
	sessions  map[string]queue.SessionState
	ever      map[any]bool // every key that was written of those that may be once: a single delete would bring the first back

	cache  map[queue.Slot]*Record   // what a runner holds under a slot
	places map[task.Seq]queue.Place // of live records, to find two of one task
	purged bool                     // a range was purged: index entries may be left over
	undo   []func()
	faults []string
}

// NewStore is an empty Store.
func NewStore() *Store {
	return &Store{
		queues: map[queue.QueueNum]queue.QueueState{}, marks: map[queue.MarkKey]queue.Mark{},
		live: map[queue.Place]*Record{}, dead: map[queue.DeadKey]*Record{}, finished: map[queue.FinishedKey]*Record{},
		wheres: map[task.Seq]queue.Where{}, expiries: map[queue.ExpiryKey]queue.Expiry{}, idems: map[queue.IdemKey]queue.Idem{}, idemDues: map[queue.IdemDueKey]queue.IdemDue{}, briefs: map[queue.IdemDueKey]queue.Idem{},
		claims: map[task.Seq]queue.Claim{}, segments: map[uint32]queue.Segment{}, producers: map[queue.ProducerKey]queue.ProducerState{},
		sessions: map[string]queue.SessionState{}, ever: map[any]bool{}, places: map[task.Seq]queue.Place{},
		cache: map[queue.Slot]*Record{}, lists: map[queue.ListKey]queue.List{},
	}
}

func (s *Store) fault(format string, args ...any) {
	s.faults = append(s.faults, fmt.Sprintf(format, args...))
}

func put[K comparable, V any](s *Store, m map[K]V, k K, v V) {
	old, had := m[k]
	m[k] = v
	s.undo = append(s.undo, func() {
		if had {
			m[k] = old
		} else {
			delete(m, k)
		}
	})
}

func drop[K comparable, V any](s *Store, m map[K]V, k K) bool {
	old, had := m[k]
	if had {
		delete(m, k)
		s.undo = append(s.undo, func() { m[k] = old })
	}
	return had
}

// dropAll is drop for all keys that a range holds.
func dropAll[K comparable, V any](s *Store, m map[K]V, in func(K) bool) {
	for k := range maps.Clone(m) {
		if in(k) {
			drop(s, m, k)
		}
	}
}

// IdemEntries is how many idempotency entries there are.
func (s *Store) IdemEntries() int { return len(s.idems) + len(s.briefs) }

// TakeBack undoes the last batch: it never became durable.
func (s *Store) TakeBack() {
	for _, fn := range slices.Backward(s.undo) {
		fn()
	}
	s.undo = nil
}

// Commit applies what one Apply decided.
func (s *Store) Commit(o *queue.Output) {
	s.undo = s.undo[:0]
	b := batch{s: s, o: o, before: map[task.Seq]*Record{}, taken: map[task.Seq]*Record{}, named: map[any]bool{}}
	kinds := b.kinds()
	b.sources()
	b.deletes()
	for _, k := range kinds {
		k.drop()
	}
	b.deleteRanges()
	b.puts()
	for _, k := range kinds {
		k.put()
	}
	b.putMeta()
}

// batch is one Output on its way into the Store.
type batch struct {
	s      *Store
	o      *queue.Output
	before map[task.Seq]*Record // records that changes start from, as they stood before
	taken  map[task.Seq]*Record // put and taken back within this batch
	named  map[any]bool         // the keys that it has named
}

// name holds that a batch names a key once: engines may rely on it.
func (b *batch) name(k any) {
	if b.named[k] {
		b.s.fault("one batch names %T %+v twice", k, k)
	}
	b.named[k] = true
}

// putOnce is name for a key that may be written once, ever.
func (b *batch) putOnce(k any) {
	if b.s.ever[k] {
		b.s.fault("%T %+v is written twice: a single delete would bring the first back", k, k)
	}
	put(b.s, b.s.ever, k, true)
}

// sources finds what each change starts from, before anything is deleted.
func (b *batch) sources() {
	for i := range b.o.Births {
		w := &b.o.Births[i]
		if w.Place.Queue == queue.Void {
			b.taken[w.Place.Seq] = birthRecord(w)
		}
	}
	find := func(seq task.Seq, src *queue.Source) {
		if r := b.source(src); r != nil {
			b.before[seq] = r
		} else if b.taken[seq] == nil {
			b.s.fault("task %x: the record it comes from (%+v) is not there", uint64(seq), *src)
			b.before[seq] = &Record{Spec: &task.Spec{}}
		}
	}
	for i := range b.o.Timed {
		find(b.o.Timed[i].Place.Seq, &b.o.Timed[i].From)
	}
	for i := range b.o.Dead.Puts {
		if _, twice := b.before[b.o.Dead.Puts[i].Key.Seq]; !twice {
			find(b.o.Dead.Puts[i].Key.Seq, &b.o.Dead.Puts[i].From)
		}
	}
	for i := range b.o.Finished.Puts {
		w := &b.o.Finished.Puts[i]
		if _, twice := b.before[w.Key.Seq]; !twice && (w.Copy || w.KeepBody) {
			find(w.Key.Seq, &w.From)
		}
	}
}

func birthRecord(w *queue.Birth) *Record {
	spec := *w.Spec
	spec.Deadline = w.Deadline
	return &Record{Place: w.Place, Birth: w.Place, Spec: &spec, Idem: spec.Idempotency, Enqueued: w.Enqueued, Expires: w.Expires, Flags: w.Flags}
}

func (b *batch) source(src *queue.Source) *Record {
	switch {
	case src.Finished.Seq != 0:
		return b.s.finished[src.Finished]
	case src.Dead.Queue != 0:
		return b.s.dead[src.Dead]
	}
	if r := b.taken[src.Place.Seq]; r != nil {
		if r.Birth.Queue == queue.Void { // what was taken back has forgotten its place
			r.Birth, r.Place = src.Place, src.Place
		}
		return r
	}
	r := b.s.live[src.Place]
	if c := b.s.cache[src.Slot]; src.Slot != queue.NoSlot && r != nil && c != nil && c.Place.Seq == r.Place.Seq && c.Place != r.Place {
		b.s.fault("slot %d holds an old record of task %x, of %+v: it stands at %+v", src.Slot, uint64(r.Place.Seq), c.Place, r.Place)
	}
	return r
}

// Cache keeps a record under the slot that the machine gave its task.
func (s *Store) Cache(slot queue.Slot, p queue.Place) {
	if r := s.live[p]; r != nil && slot != queue.NoSlot {
		s.cache[slot] = r
	}
}

// deletes takes away live records.
func (b *batch) deletes() {
	s, o := b.s, b.o
	dropLive := func(what string, p queue.Place) {
		if !drop(s, s.live, p) {
			s.fault("%s %+v is deleted and not there", what, p)
		}
		drop(s, s.places, p.Seq)
	}
	ranges := slices.Concat(o.Purges, o.Covers)
	for _, p := range slices.Concat(o.DropBirths, o.DropTimed) {
		b.name(p)
		dropLive("live record", p)
		for _, g := range ranges {
			if in(p, g) {
				s.fault("one batch drops %+v and the range %+v", p, g)
			}
		}
	}
	s.purged = s.purged || len(o.Purges)+len(o.PurgeDead) > 0
	for _, g := range ranges {
		for p := range maps.Clone(s.live) {
			if in(p, g) {
				dropLive("purged", p)
			}
		}
	}
}

// deleteRanges takes away what is left in ranges of other keys.
func (b *batch) deleteRanges() {
	s, o := b.s, b.o
	for _, q := range o.PurgeDead {
		dropAll(s, s.dead, func(k queue.DeadKey) bool { return k.Queue == q })
	}
	for _, x := range o.BriefSpans {
		dropAll(s, s.briefs, func(k queue.IdemDueKey) bool { return k.At >= x.From && k.At < x.To })
	}
	for _, g := range o.Segments.Drops {
		dropAll(s, s.finished, func(k queue.FinishedKey) bool { return k.Segment == g })
	}
	for _, q := range o.DropQueues {
		b.name(q.Queue)
		if !drop(s, s.queues, q.Queue) {
			s.fault("queue %d is deleted and not there", q.Queue)
		}
		dropAll(s, s.idems, func(k queue.IdemKey) bool { return q.Idems && k.Queue == q.Queue })
		dropAll(s, s.producers, func(k queue.ProducerKey) bool { return q.Producers && k.Queue == q.Queue })
	}
}

// in says whether a range counts for a place.
func in(p queue.Place, g queue.Range) bool {
	return p.Class == g.From.Class && comparePlaces(p, g.From) >= 0 && comparePlaces(p, g.To) < 0
}

// comparePlaces is the order of places in the store, within one class.
func comparePlaces(a, b queue.Place) int {
	return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane),
		cmp.Compare(a.Due, b.Due), cmp.Compare(a.Seq, b.Seq))
}

func placeLess(a, b queue.Place) bool {
	if a.Class.Timed() && a.Due != b.Due {
		return a.Due < b.Due
	}
	return a.Seq < b.Seq
}

func (b *batch) putLive(r *Record, slot queue.Slot) {
	s := b.s
	if p, ok := s.places[r.Place.Seq]; ok && p != r.Place {
		s.fault("task %x has two live records: %+v and %+v", uint64(r.Place.Seq), p, r.Place)
	}
	if slot != queue.NoSlot {
		s.cache[slot] = r
	}
	if m, ok := s.marks[laneOf(r.Place)]; ok {
		if r.Place.Class == task.ClassBirth && r.Place.Seq < m.Low || r.Place.Class.Timed() && r.Place.Due < m.TimedLow {
			s.fault("record %+v is written below its lane's low-water mark %+v", r.Place, m)
		}
	}
	put(s, s.live, r.Place, r)
	put(s, s.places, r.Place.Seq, r.Place)
}

func (b *batch) putTimed(w *queue.Timed) {
	seq := w.Place.Seq
	r := b.recordBefore(seq)
	r.Place, r.Counts, r.Flags, r.Expires, r.State, r.Reason, r.Told = w.Place, w.Counts, w.Flags, w.Expires, task.StateUnknown, "", w.Told
	if w.Reset {
		r.Attempts = nil
	}
	if w.Attempt != nil {
		r.Attempts = append(slices.Clone(r.Attempts), *w.Attempt)
	}
	if w.Place.Queue == queue.Void {
		b.taken[seq] = &r
		return
	}
	if r.Place.Due < b.o.Now {
		b.s.fault("timed record %+v is due before machine time %d", r.Place, b.o.Now)
	}
	b.putLive(&r, w.Slot)
}

func (b *batch) recordBefore(seq task.Seq) Record {
	if r := b.taken[seq]; r != nil {
		return *r
	}
	if r := b.before[seq]; r != nil {
		return *r
	}
	return Record{}
}

func (b *batch) deadRecord(w *queue.DeadLetter) *Record {
	r := b.recordBefore(w.Key.Seq)
	r.Place, r.Counts, r.Flags, r.State, r.Reason, r.Told = w.Place, w.Counts, w.Flags, task.Dead, w.Reason, w.Told
	if w.Attempt != nil {
		r.Attempts = append(slices.Clone(r.Attempts), *w.Attempt)
	}
	return &r
}

func (b *batch) finishedRecord(w *queue.Finished) *Record {
	r := b.recordBefore(w.Key.Seq)
	r.Place, r.Counts, r.Flags, r.State, r.Reason = w.Place, w.Counts, w.Flags, w.State, w.Reason
	r.KeepBody, r.Token, r.Enqueued = w.KeepBody, w.Token, w.Enqueued
	if r.Birth == (queue.Place{}) { // of one that never moved nothing is copied
		r.Birth = w.Place
	}
	return &r
}

// Wheres is how many tasks are said to have moved.
func (s *Store) Wheres() int { return len(s.wheres) }

// SpecOf is what a live task was enqueued as, nil if there is no such task.
func (s *Store) SpecOf(seq task.Seq) *task.Spec {
	if r := s.recordOf(seq); r != nil {
		return r.Spec
	}
	return nil
}

// lane lists the live records of a lane and class, in key order.
func (s *Store) lane(l queue.MarkKey, c task.Class) []*Record {
	var out []*Record
	for p, r := range s.live {
		if laneOf(p) == l && p.Class == c {
			out = append(out, r)
		}
	}
	slices.SortFunc(out, func(a, b *Record) int {
		return cmp.Or(cmp.Compare(a.Place.Due, b.Place.Due), cmp.Compare(a.Place.Seq, b.Place.Seq))
	})
	return out
}
