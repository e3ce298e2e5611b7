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

type laneID struct {
	queue queue.QueueNum
	prio  uint8
	lane  queue.LaneNum
}

func laneOf(p queue.Place) laneID {
	return laneID{p.Queue, p.Prio, p.Lane}
}

func markOf(m *queue.Mark) laneID { return laneID{m.Queue, m.Prio, m.Lane} }

type producerKey struct {
	queue queue.QueueNum
	name  string
}

// Store is what a partition's bytes mean, as maps. It takes Outputs as batches,
// can take the last one back, and notes what no engine should have to put up
// with: a key deleted that is not there, one written twice that may not be.
type Store struct {
	Partition uint16
	meta      queue.Meta
	found     bool
	queues    map[queue.QueueNum]queue.QueueState
	marks     map[laneID]queue.Mark
	live      map[queue.Place]*Record
	dead      map[queue.DeadKey]*Record
	finished  map[queue.FinishedKey]*Record
	wheres    map[task.Seq]queue.Where
	expiries  map[queue.ExpiryKey]task.ID
	idems     map[queue.IdemKey]queue.Idem
	idemDues  map[queue.IdemDueKey]queue.IdemDue
	briefs    map[queue.IdemDueKey]queue.Idem
	claims    map[task.Seq]queue.Claim
	lists     map[queue.ListKey]queue.List
	segments  map[uint32]queue.Segment
	producers map[producerKey]queue.ProducerState
	sessions  map[string]queue.SessionState
	born      map[queue.Place]bool      // every birth key that was ever written
	listed    map[queue.ListKey]bool    // every list likewise
	dueOnce   map[queue.IdemDueKey]bool // and every key of the index of idempotency entries

	cache  map[queue.Slot]*Record   // what a runner holds under a slot
	places map[task.Seq]queue.Place // of live records, to find two of one task
	purged bool                     // a range was purged: index entries may be left over
	undo   []func()
	faults []string
}

// NewStore is an empty Store.
func NewStore() *Store {
	return &Store{
		queues: map[queue.QueueNum]queue.QueueState{}, marks: map[laneID]queue.Mark{},
		live: map[queue.Place]*Record{}, dead: map[queue.DeadKey]*Record{}, finished: map[queue.FinishedKey]*Record{},
		wheres: map[task.Seq]queue.Where{}, expiries: map[queue.ExpiryKey]task.ID{}, idems: map[queue.IdemKey]queue.Idem{}, idemDues: map[queue.IdemDueKey]queue.IdemDue{}, briefs: map[queue.IdemDueKey]queue.Idem{},
		claims: map[task.Seq]queue.Claim{}, segments: map[uint32]queue.Segment{}, producers: map[producerKey]queue.ProducerState{},
		sessions: map[string]queue.SessionState{}, born: map[queue.Place]bool{}, places: map[task.Seq]queue.Place{},
		cache: map[queue.Slot]*Record{}, lists: map[queue.ListKey]queue.List{}, listed: map[queue.ListKey]bool{}, dueOnce: map[queue.IdemDueKey]bool{},
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
	b := batch{s: s, o: o, before: map[task.Seq]*Record{}, taken: map[task.Seq]*Record{}}
	b.sources()
	b.deletes()
	b.puts()
	b.once()
}

// batch is one Output on its way into the Store.
type batch struct {
	s      *Store
	o      *queue.Output
	before map[task.Seq]*Record // records that changes start from, as they stood before
	taken  map[task.Seq]*Record // put and taken back within this batch
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
	for i := range b.o.Dead {
		if _, twice := b.before[b.o.Dead[i].Key.Seq]; !twice {
			find(b.o.Dead[i].Key.Seq, &b.o.Dead[i].From)
		}
	}
	for i := range b.o.Finished {
		w := &b.o.Finished[i]
		if _, twice := b.before[w.Key.Seq]; !twice && (w.Copy || w.KeepBody) {
			find(w.Key.Seq, &w.From)
		}
	}
}

func birthRecord(w *queue.Birth) *Record {
	spec := *w.Spec
	spec.Deadline = w.Deadline
	return &Record{Place: w.Place, Birth: w.Place, Spec: &spec, Enqueued: w.Enqueued, Expires: w.Expires, Flags: w.Flags}
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

func (b *batch) deletes() {
	s, o := b.s, b.o
	dropLive := func(what string, p queue.Place) {
		if !drop(s, s.live, p) {
			s.fault("%s %+v is deleted and not there", what, p)
		}
		drop(s, s.places, p.Seq)
	}
	for _, p := range o.DropBirths {
		dropLive("birth", p)
	}
	for _, p := range o.DropTimed {
		dropLive("timed task", p)
	}
	for _, g := range o.Purges {
		s.purged = true
		for p := range maps.Clone(s.live) {
			if in(p, g) {
				dropLive("purged", p)
			}
		}
	}
	for _, g := range o.Covers {
		for p := range maps.Clone(s.live) {
			if in(p, g) {
				dropLive("covered", p)
			}
		}
	}
	for _, k := range o.DropDead {
		if !drop(s, s.dead, k) {
			s.fault("dead letter %+v is deleted and not there", k)
		}
	}
	for _, q := range o.PurgeDead {
		s.purged = true
		for k := range maps.Clone(s.dead) {
			if k.Queue == q {
				drop(s, s.dead, k)
			}
		}
	}
	b.deleteRest()
}

func (b *batch) deleteRest() {
	s, o := b.s, b.o
	for _, k := range o.DropFinished {
		if !drop(s, s.finished, k) {
			s.fault("finished record %+v is deleted and not there", k)
		}
	}
	for _, seq := range o.DropWheres {
		drop(s, s.wheres, seq)
	}
	for _, k := range o.DropExpiries {
		drop(s, s.expiries, k)
	}
	b.deleteIdems()
	b.dropLeases()
	for _, g := range o.DropSegments {
		drop(s, s.segments, g)
		for k := range maps.Clone(s.finished) {
			if k.Segment == g {
				drop(s, s.finished, k)
			}
		}
	}
	for _, p := range o.DropProducers {
		drop(s, s.producers, producerKey{p.Queue, p.Producer})
	}
	for _, id := range o.DropSessions {
		drop(s, s.sessions, id)
	}
	for _, m := range o.DropMarks {
		drop(s, s.marks, markOf(&m))
	}
	for i := range o.DropQueues {
		s.dropQueue(&o.DropQueues[i])
	}
}

func (s *Store) dropQueue(q *queue.DropQueue) {
	if !drop(s, s.queues, q.Queue) {
		s.fault("queue %d is deleted and not there", q.Queue)
	}
	for k := range maps.Clone(s.idems) {
		if q.Idems && k.Queue == q.Queue {
			drop(s, s.idems, k)
		}
	}
	for k := range maps.Clone(s.producers) {
		if q.Producers && k.queue == q.Queue {
			drop(s, s.producers, k)
		}
	}
}

// comparePlaces is the order of places in the store, within one class.
func comparePlaces(a, b queue.Place) int {
	return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane),
		cmp.Compare(a.Due, b.Due), cmp.Compare(a.Seq, b.Seq))
}

func (b *batch) dropLeases() {
	for _, seq := range b.o.DropClaims {
		drop(b.s, b.s.claims, seq)
	}
	for _, k := range b.o.DropLists {
		if !drop(b.s, b.s.lists, k) {
			b.s.fault("dispatch list %+v is deleted and not there", k)
		}
	}
}

func (b *batch) deleteIdems() {
	s, o := b.s, b.o
	for _, k := range o.DropIdems {
		if !drop(s, s.idems, k) {
			s.fault("idempotency entry %+v is deleted and not there", k)
		}
	}
	for _, k := range o.DropIdemDues {
		if !drop(s, s.idemDues, k) {
			s.fault("%+v of the index of idempotency entries is deleted and not there", k)
		}
	}
	for _, k := range o.DropBriefs {
		if !drop(s, s.briefs, k) {
			s.fault("brief idempotency entry %+v is deleted and not there", k)
		}
	}
	for _, x := range o.BriefSpans {
		for k := range maps.Clone(s.briefs) {
			if k.At >= x.From && k.At < x.To {
				drop(s, s.briefs, k)
			}
		}
	}
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

func (b *batch) putDead(w *queue.DeadLetter) {
	r := b.recordBefore(w.Key.Seq)
	r.Place, r.Counts, r.Flags, r.State, r.Reason, r.Told = w.Place, w.Counts, w.Flags, task.Dead, w.Reason, w.Told
	if w.Attempt != nil {
		r.Attempts = append(slices.Clone(r.Attempts), *w.Attempt)
	}
	put(b.s, b.s.dead, w.Key, &r)
}

func (b *batch) putFinished(w *queue.Finished) {
	r := b.recordBefore(w.Key.Seq)
	r.Place, r.Counts, r.Flags, r.State, r.Reason = w.Place, w.Counts, w.Flags, w.State, w.Reason
	r.KeepBody, r.Token, r.Enqueued = w.KeepBody, w.Token, w.Enqueued
	if r.Birth == (queue.Place{}) { // of one that never moved nothing is copied
		r.Birth = w.Place
	}
	put(b.s, b.s.finished, w.Key, &r)
}

// once holds that a batch names a key once: engines may rely on it.
func (b *batch) once() {
	n := names{s: b.s, seen: map[any]bool{}}
	n.tasks(b.o)
	n.indexes(b.o)
}

// names are the keys that a batch has named.
type names struct {
	s    *Store
	seen map[any]bool
}

func (n *names) add(k any) {
	if n.seen[k] {
		n.s.fault("one batch names %T %+v twice", k, k)
	}
	n.seen[k] = true
}

// in says whether a range counts for a place.
func in(p queue.Place, g queue.Range) bool {
	return p.Class == g.From.Class && comparePlaces(p, g.From) >= 0 && comparePlaces(p, g.To) < 0
}

func (n *names) tasks(o *queue.Output) {
	for _, p := range append(slices.Clone(o.DropBirths), o.DropTimed...) {
		n.add(p)
		for _, g := range append(slices.Clone(o.Purges), o.Covers...) {
			if in(p, g) {
				n.s.fault("one batch drops %+v and the range %+v", p, g)
			}
		}
	}
	for i := range o.Births {
		if o.Births[i].Place.Queue != queue.Void {
			n.add(o.Births[i].Place)
		}
	}
	for i := range o.Timed {
		if o.Timed[i].Place.Queue != queue.Void {
			n.add(o.Timed[i].Place)
		}
	}
	for _, k := range o.DropDead {
		n.add(k)
	}
	for i := range o.Dead {
		n.add(o.Dead[i].Key)
	}
	for _, k := range o.DropFinished {
		n.add(k)
	}
	for i := range o.Finished {
		n.add(o.Finished[i].Key)
	}
}

func (n *names) idems(o *queue.Output) {
	type brief queue.IdemDueKey
	for _, k := range o.DropIdems {
		n.add(k)
	}
	for _, x := range o.Idems {
		n.add(x.Key)
	}
	for _, k := range o.DropIdemDues {
		n.add(k)
	}
	for _, x := range o.IdemDues {
		n.add(x.Key)
	}
	for _, k := range o.DropBriefs {
		n.add(brief(k))
	}
	for i := range o.Briefs {
		n.add(brief{o.Briefs[i].Until, o.Briefs[i].ID.Seq})
	}
}

func (n *names) indexes(o *queue.Output) {
	type where task.Seq
	type claim task.Seq
	type session string
	type mark laneID
	for _, k := range o.DropWheres {
		n.add(where(k))
	}
	for _, w := range o.Wheres {
		n.add(where(w.Seq))
	}
	for _, k := range o.DropExpiries {
		n.add(k)
	}
	for _, x := range o.Expiries {
		n.add(x.Key)
	}
	n.idems(o)
	for _, k := range o.DropClaims {
		n.add(claim(k))
	}
	for _, x := range o.Claims {
		n.add(claim(x.Seq))
	}
	for _, k := range o.DropLists {
		n.add(k)
	}
	for i := range o.Lists {
		n.add(o.Lists[i].Key)
	}
	for _, x := range o.DropSessions {
		n.add(session(x))
	}
	for _, x := range o.Sessions {
		n.add(session(x.Session))
	}
	for _, p := range append(slices.Clone(o.DropProducers), o.Producers...) {
		n.add(producerKey{p.Queue, p.Producer})
	}
	for _, k := range o.DropMarks {
		n.add(mark{k.Queue, k.Prio, k.Lane})
	}
	for i := range o.DropQueues {
		n.add(o.DropQueues[i].Queue)
	}
	for i := range o.Queues {
		n.add(o.Queues[i].Queue)
	}
	for i := range o.Marks {
		n.add(mark(markOf(&o.Marks[i])))
	}
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
func (s *Store) lane(l laneID, c task.Class) []*Record {
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
