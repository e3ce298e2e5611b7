package queuetest

import (
	"cmp"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Answer reads what the machine wants, as the Store stands now.
func (s *Store) Answer(w queue.Want, m *queue.Machine) *queue.Loaded {
	a := &queue.Loaded{Want: w}
	switch w.What {
	case queue.WantBirths, queue.WantTimed:
		s.answerRefill(a)
	case queue.WantTask:
		s.answerTask(a, m)
	case queue.WantTold:
		s.answerMoved(a, w.Seq, m)
	case queue.WantIdem:
		if x, ok := s.idems[queue.IdemKey{Queue: w.Queue, Hash: w.Hash}]; ok {
			a.Idem = &x
		}
	case queue.WantExpiries:
		s.answerExpiries(a)
	case queue.WantIdemsDue:
		s.answerIdemsDue(a)
	case queue.WantIdemsLive:
		s.answerIdemsLive(a)
	case queue.WantSweepWheres:
		s.answerOrphans(a)
	case queue.WantSweepExpiries, queue.WantSweepDeadlines:
		s.answerExpiryOrphans(a)
	case queue.WantSweepChunks:
		a.End = true // it keeps payloads with their records
	}
	return a
}

func waiting(r *Record) queue.Waiting {
	return queue.Waiting{Place: r.Place, Names: namesOf(r), Enqueued: r.Enqueued, Expires: r.Expires, Deadline: r.Spec.Deadline, After: after(r),
		Policy: r.Spec.Policy, Counts: r.Counts, Flags: r.Flags &^ queue.FlagClaim, Told: r.Told, Size: len(r.Spec.Payload) + 64}
}

func after(r *Record) task.Millis {
	if r.Place.Class == task.ClassCalendar {
		return r.Spec.ExpireAfter
	}
	return 0
}

func namesOf(r *Record) queue.Names {
	return queue.Names{Type: r.Spec.Type, Key: r.Spec.Key, Limits: r.Spec.LimitKeys}
}

func (s *Store) answerRefill(a *queue.Loaded) {
	for _, w := range a.Want.Lanes {
		from := len(a.Waiting)
		t := queue.Stretch{Load: w.Load, From: from, End: true}
		for _, r := range s.lane(laneOf(w.From), w.From.Class) {
			if placeLess(r.Place, w.From) {
				continue
			}
			if len(a.Waiting) == from+w.Limit {
				t.End, t.Next, t.Ready = false, r.Place, waiting(r).Enqueued
				break
			}
			a.Waiting = append(a.Waiting, waiting(r))
		}
		t.To = len(a.Waiting)
		a.Stretches = append(a.Stretches, t)
	}
}

func placeOf(id task.ID) queue.Place {
	return queue.Place{Class: id.Class, Prio: id.Priority, Queue: queue.QueueNum(id.Queue), Lane: queue.LaneNum(id.Lane), Seq: id.Seq, Due: id.Due}
}

func (s *Store) answerTask(a *queue.Loaded, m *queue.Machine) {
	seq := a.Want.ID.Seq
	at := placeOf(a.Want.ID)
	if r := s.live[at]; isNamed(a, r) {
		a.Waiting = []queue.Waiting{waiting(r)}
		s.answerIdemOf(a, r, m)
		return
	}
	s.answerMoved(a, seq, m)
}

func (s *Store) answerMoved(a *queue.Loaded, seq task.Seq, m *queue.Machine) {
	if w, ok := s.wheres[seq]; ok {
		if r := s.live[w.Place]; w.Dead.Queue == 0 && isNamed(a, r) {
			a.Waiting = []queue.Waiting{waiting(r)}
			s.answerIdemOf(a, r, m)
			return
		}
		if r := s.dead[w.Dead]; w.Dead.Queue != 0 && isNamed(a, r) {
			v := revived(r)
			s.answerIdemOf(a, r, m)
			a.Dead = &queue.DeadLetter{Key: w.Dead, Place: r.Birth, Counts: r.Counts, Flags: r.Flags, Reason: r.Reason, Told: r.Told, Size: len(r.Spec.Payload) + 64}
			a.Revived = &v
			return
		}
	}
	s.answerFinished(a, seq, m)
}

// answerIdemOf is the entry of the key that the record names, whoever has it now.
func (s *Store) answerIdemOf(a *queue.Loaded, r *Record, m *queue.Machine) {
	if !a.Want.Idem || r.Idem == "" {
		return
	}
	k := queue.IdemKeyOf(r.Place.Queue, r.Idem)
	if a.Idem = m.Brief(k); a.Idem != nil {
		return
	}
	if x, ok := s.idems[k]; ok {
		a.Idem = &x
	}
}

// isNamed says whether r is the task that the Want names; without an ID any is, and
// that of an expiry entry is where the task stood.
func isNamed(a *queue.Loaded, r *Record) bool {
	return r != nil && (a.Want.ID.IsZero() || a.Want.Until != 0 || r.Birth == placeOf(a.Want.ID))
}

func revived(r *Record) queue.Waiting {
	w := waiting(r)
	w.Place = r.Birth
	return w
}

func (s *Store) answerFinished(a *queue.Loaded, seq task.Seq, m *queue.Machine) {
	for _, g := range m.Holding(seq) {
		k := queue.FinishedKey{Segment: g, Seq: seq}
		if r := s.finished[k]; isNamed(a, r) {
			s.answerIdemOf(a, r, m)
			a.Finished = &queue.Finished{Key: k, State: r.State, Place: r.Place, Flags: r.Flags, KeepBody: r.KeepBody,
				Counts: r.Counts, Token: r.Token, Enqueued: r.Enqueued, Reason: r.Reason}
			if r.KeepBody {
				v := revived(r)
				a.Revived = &v
			}
			return
		}
	}
}

func (s *Store) answerExpiries(a *queue.Loaded) {
	keys := slices.SortedFunc(maps.Keys(s.expiries), func(x, y queue.ExpiryKey) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Seq, y.Seq))
	})
	for _, k := range keys {
		if k.Wall != a.Want.Wall {
			continue
		}
		if k.At > a.Want.Until || len(a.Expiries) == a.Want.Limit {
			a.Next = k.At
			return
		}
		a.Expiries = append(a.Expiries, s.expiries[k])
	}
}

func (s *Store) answerIdemsDue(a *queue.Loaded) {
	from := queue.IdemDueKey{At: a.Want.From.Due, Seq: a.Want.From.Seq}
	for _, k := range slices.SortedFunc(maps.Keys(s.idemDues), compareDues) {
		switch {
		case compareDues(k, from) < 0:
			s.fault("%+v of the index of idempotency entries stands before %+v, where the look begins", k, from)
		case k.At > a.Want.Until || len(a.Idems) == a.Want.Limit:
			a.Next = k.At
			return
		default:
			a.Idems = append(a.Idems, queue.IdemLook{Due: s.idemDues[k]})
		}
	}
}

// compareDues is the order in which idempotency entries end.
func compareDues(x, y queue.IdemDueKey) int {
	return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Seq, y.Seq))
}

func (s *Store) answerIdemsLive(a *queue.Loaded) {
	a.Idems = slices.Clone(a.Want.Idems)
	for i := range a.Idems {
		x := &a.Idems[i]
		_, x.Live = s.places[x.Due.ID.Seq]
		if e, ok := s.idems[x.Due.Idem]; ok {
			x.Idem = &e
		}
	}
}

func (s *Store) answerOrphans(a *queue.Loaded) {
	n := 0
	for _, seq := range slices.Sorted(maps.Keys(s.wheres)) {
		if seq < a.Want.From.Seq {
			continue
		}
		if n++; n > a.Want.Limit {
			a.Behind.Seq = seq
			return
		}
		if w := s.wheres[seq]; w.Dead.Queue == 0 && s.live[w.Place] == nil || w.Dead.Queue != 0 && s.dead[w.Dead] == nil {
			a.Orphans = append(a.Orphans, queue.Place{Seq: seq})
		}
	}
	a.End = true
}

// Snapshot is what a machine is opened with.
func (s *Store) Snapshot() *queue.Snapshot {
	snap := &queue.Snapshot{Meta: s.meta, Found: s.found}
	for _, q := range slices.Sorted(maps.Keys(s.queues)) {
		snap.Queues = append(snap.Queues, s.queues[q])
	}
	snap.Marks = slices.SortedFunc(maps.Values(s.marks), func(a, b queue.Mark) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane))
	})
	for _, g := range slices.Sorted(maps.Keys(s.segments)) {
		snap.Segments = append(snap.Segments, s.segments[g])
	}
	snap.Producers = slices.SortedFunc(maps.Values(s.producers), func(a, b queue.ProducerState) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(a.Producer, b.Producer))
	})
	for i := range snap.Producers {
		snap.Producers[i].Ranges = slices.Clone(snap.Producers[i].Ranges)
	}
	for _, id := range slices.Sorted(maps.Keys(s.sessions)) {
		snap.Sessions = append(snap.Sessions, s.sessions[id])
	}
	for _, seq := range slices.Sorted(maps.Keys(s.claims)) {
		snap.Claims = append(snap.Claims, s.claims[seq])
	}
	snap.Lists = slices.SortedFunc(maps.Values(s.lists), func(a, b queue.List) int {
		return cmp.Or(cmp.Compare(a.Key.Epoch, b.Key.Epoch), cmp.Compare(a.Key.No, b.Key.No))
	})
	for _, f := range snap.MayRun(s.Partition) {
		if r := s.live[f.Claim.Place]; r != nil {
			f.Waiting = waiting(r)
			snap.InFlight = append(snap.InFlight, f)
		}
	}
	s.findLanes(snap)
	for k := range s.idemDues {
		if snap.NextIdem == 0 || k.At < snap.NextIdem {
			snap.NextIdem = k.At
		}
	}
	for _, k := range slices.SortedFunc(maps.Keys(s.briefs), compareDues) {
		snap.Briefs = append(snap.Briefs, s.briefs[k])
	}
	for k := range s.expiries {
		next := &snap.NextExpiry
		if k.Wall {
			next = &snap.NextDeadline
		}
		if *next == 0 || k.At < *next {
			*next = k.At
		}
	}
	return snap
}

// findLanes says where each lane begins, entering those with marks at the marks
// as an engine does: what lies below a mark is lost.
func (s *Store) findLanes(snap *queue.Snapshot) {
	found := map[queue.MarkKey]*queue.LaneFound{}
	for p, r := range s.live {
		l := laneOf(p)
		m, marked := s.marks[l]
		if marked && (p.Class == task.ClassBirth && p.Seq < m.Low || p.Class.Timed() && p.Due < m.TimedLow) {
			s.fault("live record %+v lies below its lane's marks %+v: it would be lost", p, m)
			continue
		}
		f := found[l]
		if f == nil {
			f = &queue.LaneFound{Queue: l.Queue, Prio: l.Prio, Lane: l.Lane, Names: namesOf(r), Calendar: p.Class == task.ClassCalendar}
			found[l] = f
		}
		if g, n := f.Names, namesOf(r); g.Type != n.Type || g.Key != n.Key || !slices.Equal(g.Limits, n.Limits) {
			s.fault("lane %+v holds tasks of two kinds: %+v and %+v", l, g, n)
		}
		if p.Class.Timed() {
			if !f.HasTimed || p.Due < f.Timed || p.Due == f.Timed && p.Seq < f.TimedSeq {
				f.HasTimed, f.Timed, f.TimedSeq = true, p.Due, p.Seq
			}
		} else if !f.HasBirth || p.Seq < f.Birth {
			f.HasBirth, f.Birth, f.Ready = true, p.Seq, r.Enqueued
		}
	}
	lanes := slices.SortedFunc(maps.Keys(found), func(a, b queue.MarkKey) int {
		return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane))
	})
	for _, l := range lanes {
		snap.Lanes = append(snap.Lanes, *found[l])
	}
}

// Check looks for what must never be: counts that are not the count of records,
// entries of an index that lead nowhere, misuse of keys.
func (s *Store) Check() []string {
	faults := s.faults
	s.faults = nil
	fault := func(format string, args ...any) { s.fault(format, args...) }
	type tally struct{ births, timed, dead, idem int64 }
	have := map[queue.QueueNum]*tally{}
	for q := range s.queues {
		have[q] = &tally{}
	}
	for p := range s.live {
		switch t := have[p.Queue]; {
		case t == nil:
			fault("record %+v belongs to a queue without a record", p)
		case p.Class.Timed():
			t.timed++
		default:
			t.births++
		}
	}
	of := func(q queue.QueueNum, what any) *tally {
		t := have[q]
		if t == nil {
			fault("%T %+v is left of a queue that is gone", what, what)
			t = &tally{}
		}
		return t
	}
	for k := range s.dead {
		of(k.Queue, k).dead++
	}
	for k, e := range s.idems {
		of(k.Queue, k).idem += 48 + int64(len(e.Name))
	}
	for _, e := range s.briefs {
		if e.Due != e.Until {
			fault("brief idempotency entry %+v is due at another time than it ends", e)
		}
		if t := have[e.Key.Queue]; t != nil { // of a queue that is gone they go when they are over
			t.idem += 48 + int64(len(e.Name))
		}
	}
	for k := range s.marks {
		of(k.Queue, k)
	}
	for k := range s.producers {
		of(k.Queue, k)
	}
	for q, t := range have {
		if st := s.queues[q]; st.Births != t.births || st.Timed != t.timed || st.Dead != t.dead {
			fault("queue %q counts %d births, %d timed, %d dead; the store has %d, %d, %d", st.Name, st.Births, st.Timed, st.Dead, t.births, t.timed, t.dead)
		}
		if b := s.queues[q].IdemBytes; b != t.idem {
			fault("queue %q counts %d bytes of idempotency keys; the store has %d", s.queues[q].Name, b, t.idem)
		}
	}
	s.checkIndexes()
	faults = append(faults, s.faults...)
	s.faults = nil
	slices.Sort(faults)
	return faults
}

func (s *Store) checkIndexes() {
	for p, r := range s.live {
		w, has := s.wheres[p.Seq]
		switch {
		case r.Flags&queue.FlagMoved == 0 && p != r.Birth:
			s.fault("task %x stands at %+v, was born at %+v and is not marked as moved", uint64(p.Seq), p, r.Birth)
		case r.Flags&queue.FlagMoved != 0 && (!has || w.Place != p):
			s.fault("task %x has moved to %+v; the where record says %+v (%v)", uint64(p.Seq), p, w, has)
		}
	}
	dues := 0
	for _, x := range s.idemDues {
		if _, ok := s.queues[x.Idem.Queue]; ok { // of a queue that is gone they go when they are due
			dues++
		}
	}
	if len(s.idems) != dues {
		s.fault("%d idempotency entries have %d in their index", len(s.idems), dues)
	}
	for k, e := range s.idems {
		x, has := s.idemDues[queue.IdemDueKey{At: e.Due, Seq: e.ID.Seq}]
		if !has || x.Idem != k || x.ID != e.ID || x.NameBytes != len(e.Name) || e.Due < e.Until {
			s.fault("idempotency entry %+v stands in the index as %+v (%v)", e, x, has)
		}
	}
	if s.purged {
		return
	}
	for k, w := range s.wheres {
		if p, ok := s.places[k]; w.Dead.Queue == 0 && (!ok || p != w.Place) {
			s.fault("the where record of task %x leads to %+v, where nothing is", uint64(k), w.Place)
		}
		if w.Dead.Queue != 0 && s.dead[w.Dead] == nil {
			s.fault("the where record of task %x leads to dead letter %+v, which is not there", uint64(k), w.Dead)
		}
	}
	for k := range s.claims {
		if _, ok := s.places[k]; !ok {
			s.fault("a claim is left of task %x, which is not live", uint64(k))
		}
	}
}

func (s *Store) answerExpiryOrphans(a *queue.Loaded) {
	n := 0
	for _, k := range slices.SortedFunc(maps.Keys(s.expiries), func(x, y queue.ExpiryKey) int {
		return cmp.Or(cmp.Compare(x.At, y.At), cmp.Compare(x.Seq, y.Seq))
	}) {
		if k.Wall != (a.Want.What == queue.WantSweepDeadlines) {
			continue
		}
		if from := a.Want.From; cmp.Or(cmp.Compare(k.At, from.Due), cmp.Compare(k.Seq, from.Seq)) < 0 {
			continue
		}
		if n++; n > a.Want.Limit {
			a.Behind = queue.Place{Due: k.At, Seq: k.Seq}
			return
		}
		_, live := s.places[k.Seq]
		if w, moved := s.wheres[k.Seq]; !live && (!moved || s.dead[w.Dead] == nil) {
			a.Orphans = append(a.Orphans, queue.Place{Due: k.At, Seq: k.Seq})
		}
	}
	a.End = true
}
