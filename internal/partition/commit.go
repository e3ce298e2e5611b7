package partition

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// encoder is the memory that encoding reuses.
type encoder struct {
	key, end, val []byte
	src           points        // the records that changes start from, those that are not in the cache
	one           []store.Point // one more of them
	// taken holds records that were put and taken back within one Apply: they
	// reach neither store nor cache, but what became of their task starts from
	// them.
	taken map[task.Seq][]byte
}

// encode turns the Output into the turn's batch: all deletes first, then puts by
// class and in key order. The memtable finds its place faster that way.
func (r *Runner) encode(t *turn) error {
	clear(r.enc.taken)
	r.encodeDeletes(t)
	r.encodeState(t)
	r.encodeBirths(t)
	if err := r.fetchSources(); err != nil {
		return err
	}
	if err := r.encodeTimed(t); err != nil {
		return err
	}
	r.encodeIndexes(t)
	if err := r.encodeDead(t); err != nil {
		return err
	}
	if err := r.encodeFinished(t); err != nil {
		return err
	}
	r.encodeLast(t)
	return nil
}

// encodeDeletes relies on the machine to name a key once: what is put anew is not
// dropped as well.
func (r *Runner) encodeDeletes(t *turn) {
	o, e, b := &r.out, &r.enc, &t.batch
	for i := range o.DropMarks {
		e.key = record.AppendMarkKey(e.key[:0], r.p, &o.DropMarks[i])
		b.Delete(e.key)
	}
	sortPlaces(o.DropBirths)
	for i := range o.DropBirths {
		e.key = record.AppendPlaceKey(e.key[:0], r.p, o.DropBirths[i])
		b.SingleDelete(e.key) // a birth key is written once, ever
	}
	for _, pl := range o.DropLarge {
		e.key = record.AppendChunkPrefix(e.key[:0], r.p, pl)
		r.deletePrefix(t)
	}
	sortPlaces(o.DropTimed)
	for i := range o.DropTimed {
		e.key = record.AppendPlaceKey(e.key[:0], r.p, o.DropTimed[i])
		b.Delete(e.key)
	}
	for i := range o.Purges {
		r.deletePurged(t, &o.Purges[i])
	}
	for i := range o.Covers {
		r.deletePurged(t, &o.Covers[i])
	}
	for _, g := range o.PurgeLarge {
		e.key = record.AppendChunkPrefix(e.key[:0], r.p, queue.Place{Queue: g.Queue, Seq: g.From})
		e.end = record.AppendChunkPrefix(e.end[:0], r.p, queue.Place{Queue: g.Queue, Seq: g.To})
		b.DeleteRange(e.key, e.end)
	}
	for _, k := range o.DropExpiries {
		e.key = record.AppendExpiryKey(e.key[:0], r.p, k)
		b.Delete(e.key)
	}
	for _, seq := range o.DropWheres {
		e.key = record.AppendWhereKey(e.key[:0], r.p, seq)
		b.Delete(e.key)
	}
	for _, k := range o.DropIdems {
		e.key = record.AppendIdemKey(e.key[:0], r.p, k)
		b.Delete(e.key)
	}
	for _, k := range o.DropIdemDues {
		e.key = record.AppendIdemDueKey(e.key[:0], r.p, k)
		b.SingleDelete(e.key) // one is written once, ever
	}
	for _, k := range o.DropBriefs {
		e.key = record.AppendBriefKey(e.key[:0], r.p, k)
		b.Delete(e.key)
	}
	for _, s := range o.BriefSpans {
		e.key = record.AppendBriefKey(e.key[:0], r.p, queue.IdemDueKey{At: s.From})
		e.end = record.AppendBriefKey(e.end[:0], r.p, queue.IdemDueKey{At: s.To})
		b.DeleteRange(e.key, e.end)
	}
	r.deleteLast(t)
}

// deleteLast deletes what stands behind the indexes.
func (r *Runner) deleteLast(t *turn) {
	o, e, b := &r.out, &r.enc, &t.batch
	for i := range o.DropProducers { // none of them is put as well
		p := &o.DropProducers[i]
		e.key = record.AppendProducerKey(e.key[:0], r.p, p.Queue, p.Producer)
		b.Delete(e.key)
	}
	for _, s := range o.DropSessions {
		e.key = record.AppendSessionKey(e.key[:0], r.p, s)
		b.Delete(e.key)
	}
	for _, k := range o.DropDead {
		e.key = record.AppendDeadKey(e.key[:0], r.p, k)
		b.Delete(e.key)
	}
	for _, q := range o.PurgeDead {
		e.key = record.AppendQueuePrefix(e.key[:0], r.p, record.ClassDead, q)
		r.deletePrefix(t)
	}
	for i := range o.DropQueues {
		r.deleteQueue(t, &o.DropQueues[i])
	}
	for _, k := range o.DropFinished {
		e.key = record.AppendFinishedKey(e.key[:0], r.p, k)
		b.Delete(e.key)
	}
	for _, s := range o.DropSegments {
		e.key = record.AppendFinishedPrefix(e.key[:0], r.p, s)
		r.deletePrefix(t)
		e.key = record.AppendSegmentKey(e.key[:0], r.p, s)
		b.Delete(e.key)
	}
	for _, seq := range o.DropClaims {
		e.key = record.AppendClaimKey(e.key[:0], r.p, seq)
		b.Delete(e.key)
	}
	for _, k := range o.DropLists {
		e.key = record.AppendListKey(e.key[:0], r.p, k)
		b.SingleDelete(e.key) // written once
	}
}

// deletePrefix deletes every key that begins with the encoder's key.
func (r *Runner) deletePrefix(t *turn) {
	r.enc.end = record.AppendPrefixEnd(r.enc.end[:0], r.enc.key)
	t.batch.DeleteRange(r.enc.key, r.enc.end)
}

// deletePurged deletes a stretch of a queue.
func (r *Runner) deletePurged(t *turn, g *queue.Range) {
	e := &r.enc
	e.key = record.AppendPlaceKey(e.key[:0], r.p, g.From)
	e.end = record.AppendPlaceKey(e.end[:0], r.p, g.To)
	t.batch.DeleteRange(e.key, e.end)
}

// deleteQueue deletes a queue's record and what is left under its number.
func (r *Runner) deleteQueue(t *turn, q *queue.DropQueue) {
	e := &r.enc
	e.key = record.AppendQueueKey(e.key[:0], r.p, q.Queue)
	t.batch.Delete(e.key)
	left := func(c record.Class, any bool) {
		if any {
			e.key = record.AppendQueuePrefix(e.key[:0], r.p, c, q.Queue)
			r.deletePrefix(t)
		}
	}
	left(record.ClassChunk, q.Payloads)
	left(record.ClassIdem, q.Idems)
	left(record.ClassProducer, q.Producers)
}

func sortPlaces(ps []queue.Place) {
	if !slices.IsSortedFunc(ps, comparePlaces) {
		slices.SortFunc(ps, comparePlaces)
	}
}

// comparePlaces is the order of their keys, within one class.
func comparePlaces(a, b queue.Place) int {
	if a.Queue == b.Queue && a.Lane == b.Lane && a.Prio == b.Prio && a.Due == b.Due {
		return cmp.Compare(a.Seq, b.Seq)
	}
	return cmp.Or(cmp.Compare(a.Queue, b.Queue), cmp.Compare(b.Prio, a.Prio), cmp.Compare(a.Lane, b.Lane),
		cmp.Compare(a.Due, b.Due), cmp.Compare(a.Seq, b.Seq))
}

// encodeState puts the small records that come first: meta, queues, marks.
func (r *Runner) encodeState(t *turn) {
	o, e, b := &r.out, &r.enc, &t.batch
	e.key = record.AppendMetaKey(e.key[:0], r.p)
	e.val = record.AppendMeta(e.val[:0], &o.Meta)
	b.Set(e.key, e.val)
	slices.SortFunc(o.Queues, func(a, b queue.QueueState) int { return cmp.Compare(a.Queue, b.Queue) })
	for i := range o.Queues {
		e.key = record.AppendQueueKey(e.key[:0], r.p, o.Queues[i].Queue)
		e.val = record.AppendQueue(e.val[:0], &o.Queues[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Marks {
		e.key = record.AppendMarkKey(e.key[:0], r.p, &o.Marks[i])
		e.val = record.AppendMark(e.val[:0], &o.Marks[i])
		b.Set(e.key, e.val)
	}
}

// encodeBirths puts new tasks: those ready at once, their large payloads, then
// the scheduled ones, which share a class with what encodeTimed puts.
func (r *Runner) encodeBirths(t *turn) {
	births := r.out.Births
	if !slices.IsSortedFunc(births, compareBirths) {
		slices.SortFunc(births, compareBirths)
	}
	timed := len(births)
	for timed > 0 && births[timed-1].Place.Class.Timed() {
		timed--
	}
	large := false
	for i := range births[:timed] {
		r.encodeBirth(t, &births[i])
		large = large || births[i].Flags&queue.FlagLarge != 0
	}
	if large || timed < len(births) {
		for i := range births {
			if w := &births[i]; w.Flags&queue.FlagLarge != 0 && w.Place.Queue != queue.Void {
				r.encodeChunks(t, w)
			}
		}
	}
	for i := range births[timed:] {
		r.encodeBirth(t, &births[timed+i])
	}
	if r.cfg.Observe != nil {
		r.countBirths(t)
	}
}

func compareBirths(a, b queue.Birth) int {
	return cmp.Or(cmp.Compare(a.Place.Class, b.Place.Class), comparePlaces(a.Place, b.Place))
}

func (r *Runner) encodeBirth(t *turn, w *queue.Birth) {
	e := &r.enc
	e.val = record.AppendBirth(e.val[:0], w)
	if w.Place.Queue == queue.Void {
		e.take(w.Place.Seq, e.val)
		return
	}
	e.key = record.AppendPlaceKey(e.key[:0], r.p, w.Place)
	t.batch.Set(e.key, e.val)
	if w.Slot != queue.NoSlot {
		r.cache.put(w.Slot, w.Place.Seq, e.val)
	}
}

func (e *encoder) take(seq task.Seq, rec []byte) {
	if e.taken == nil {
		e.taken = make(map[task.Seq][]byte)
	}
	e.taken[seq] = slices.Clone(rec)
}

func (r *Runner) encodeChunks(t *turn, w *queue.Birth) {
	for i := range record.ChunkCount(len(w.Spec.Payload)) {
		r.enc.key = record.AppendChunkKey(r.enc.key[:0], r.p, w.Place, i)
		t.batch.Set(r.enc.key, record.Chunk(w.Spec.Payload, i))
	}
}

// encodeTimed puts the timed records that moved. Those that were taken back come
// first, in the order in which they came: what then became of their tasks starts
// from them.
func (r *Runner) encodeTimed(t *turn) error {
	puts := r.out.Timed
	for i := range puts {
		if puts[i].Place.Queue == queue.Void {
			if err := r.encodeMoved(t, &puts[i]); err != nil {
				return err
			}
		}
	}
	cmpTimed := func(a, b queue.Timed) int { return comparePlaces(a.Place, b.Place) }
	if !slices.IsSortedFunc(puts, cmpTimed) {
		slices.SortFunc(puts, cmpTimed)
	}
	for i := range puts {
		if puts[i].Place.Queue != queue.Void {
			if err := r.encodeMoved(t, &puts[i]); err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *Runner) encodeMoved(t *turn, w *queue.Timed) error {
	e := &r.enc
	if name := r.unary.take(w.Place.Seq); name != "" && w.Attempt != nil && w.Attempt.Worker == "" {
		w.Attempt.Worker = name
	}
	old, err := r.source(&w.From)
	if err != nil {
		return err
	}
	if e.val, err = record.AppendTimed(e.val[:0], old, w); err != nil {
		return err
	}
	if w.Attempt != nil && r.cfg.Observe != nil {
		q := w.Place.Queue
		if q == queue.Void {
			q = w.From.Place.Queue
		}
		r.countAttempt(t, q, w.Type, w.Attempt)
	}
	if w.Place.Queue == queue.Void {
		e.take(w.Place.Seq, e.val)
		return nil
	}
	e.key = record.AppendPlaceKey(e.key[:0], r.p, w.Place)
	t.batch.Set(e.key, e.val)
	if w.Slot != queue.NoSlot {
		r.cache.put(w.Slot, w.Place.Seq, e.val)
	}
	return nil
}

// inMemory returns the record that a change starts from if it is at hand.
func (r *Runner) inMemory(s *queue.Source) []byte {
	if s.Finished.Seq != 0 || s.Dead.Queue != 0 {
		return nil
	}
	if len(r.enc.taken) > 0 {
		if rec, ok := r.enc.taken[s.Place.Seq]; ok {
			return rec
		}
	}
	if s.Slot != queue.NoSlot {
		return r.cache.get(s.Slot, s.Place.Seq)
	}
	return nil
}

func (r *Runner) appendSourceKey(b []byte, s *queue.Source) []byte {
	switch {
	case s.Finished.Seq != 0:
		return record.AppendFinishedKey(b, r.p, s.Finished)
	case s.Dead.Queue != 0:
		return record.AppendDeadKey(b, r.p, s.Dead)
	}
	return record.AppendPlaceKey(b, r.p, s.Place)
}

// source finds the record that a change starts from.
func (r *Runner) source(s *queue.Source) ([]byte, error) {
	if rec := r.inMemory(s); rec != nil {
		return rec, nil
	}
	e := &r.enc
	e.key = r.appendSourceKey(e.key[:0], s)
	p := e.src.find(e.key)
	if p == nil { // it was in the cache when the others were fetched
		if e.one == nil {
			e.one = make([]store.Point, 1)
		}
		p = &e.one[0]
		p.Key, p.Value = e.key, p.Value[:0]
		if err := r.read(e.one); err != nil {
			return nil, err
		}
	}
	if !p.Found {
		return nil, fmt.Errorf("the record %x is missing: run penstock doctor", e.key)
	}
	return p.Value, nil
}

// fetchSources reads in one go what the Output's changes start from and is not in
// the cache, for source.
func (r *Runner) fetchSources() error {
	o := &r.out
	r.enc.src.reset()
	for i := range o.Timed {
		r.fetch(&o.Timed[i].From)
	}
	for i := range o.Dead {
		r.fetch(&o.Dead[i].From)
	}
	for i := range o.Finished {
		if w := &o.Finished[i]; w.Copy || w.KeepBody {
			r.fetch(&w.From)
		}
	}
	r.enc.src.sort()
	return r.read(r.enc.src.list)
}

// fetchLeased is fetchSources for the deliveries that are missing.
func (r *Runner) fetchLeased(leased []queue.Leased) error {
	r.enc.src.reset()
	for _, at := range r.missed {
		r.fetch(&queue.Source{Slot: queue.NoSlot, Place: leased[at.del].Place})
	}
	r.enc.src.sort()
	return r.read(r.enc.src.list)
}

// fetch notes where source will look, unless it finds the record in memory.
func (r *Runner) fetch(s *queue.Source) {
	e := &r.enc
	if r.inMemory(s) != nil {
		return
	}
	p := e.src.add()
	p.Key = r.appendSourceKey(p.Key, s)
}

// encodeIndexes puts what helps to find tasks: expiries, wheres, idempotency
// entries, producers and sessions.
func (r *Runner) encodeIndexes(t *turn) {
	o, e, b := &r.out, &r.enc, &t.batch
	for i := range o.Expiries {
		e.key = record.AppendExpiryKey(e.key[:0], r.p, o.Expiries[i].Key)
		e.val = record.AppendExpiry(e.val[:0], &o.Expiries[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Wheres {
		e.key = record.AppendWhereKey(e.key[:0], r.p, o.Wheres[i].Seq)
		e.val = record.AppendWhere(e.val[:0], &o.Wheres[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Idems {
		e.key = record.AppendIdemKey(e.key[:0], r.p, o.Idems[i].Key)
		e.val = record.AppendIdem(e.val[:0], &o.Idems[i])
		b.Set(e.key, e.val)
	}
	for i := range o.IdemDues {
		e.key = record.AppendIdemDueKey(e.key[:0], r.p, o.IdemDues[i].Key)
		e.val = record.AppendIdemDue(e.val[:0], &o.IdemDues[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Briefs {
		x := &o.Briefs[i]
		e.key = record.AppendBriefKey(e.key[:0], r.p, queue.IdemDueKey{At: x.Until, Seq: x.ID.Seq})
		e.val = record.AppendBrief(e.val[:0], x)
		b.Set(e.key, e.val)
	}
	for i := range o.Producers {
		e.key = record.AppendProducerKey(e.key[:0], r.p, o.Producers[i].Queue, o.Producers[i].Producer)
		e.val = record.AppendProducer(e.val[:0], &o.Producers[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Sessions {
		e.key = record.AppendSessionKey(e.key[:0], r.p, o.Sessions[i].Session)
		e.val = record.AppendSession(e.val[:0], &o.Sessions[i])
		b.Set(e.key, e.val)
	}
}

func (r *Runner) encodeDead(t *turn) error {
	e := &r.enc
	for i := range r.out.Dead {
		w := &r.out.Dead[i]
		if name := r.unary.take(w.Key.Seq); name != "" && w.Attempt != nil && w.Attempt.Worker == "" {
			w.Attempt.Worker = name
		}
		old, err := r.source(&w.From)
		if err != nil {
			return err
		}
		if e.val, err = record.AppendDead(e.val[:0], old, w); err != nil {
			return err
		}
		e.key = record.AppendDeadKey(e.key[:0], r.p, w.Key)
		t.batch.Set(e.key, e.val)
		r.noteEnded(t, w.Key.Seq, e.key, e.val)
		t.stats.Dead++
		if w.Attempt != nil && r.cfg.Observe != nil {
			r.countAttempt(t, w.Place.Queue, w.Type, w.Attempt)
		}
	}
	return nil
}

func (r *Runner) encodeFinished(t *turn) error {
	e, puts := &r.enc, r.out.Finished
	for i := range puts {
		w := &puts[i]
		if name := r.unary.take(w.Key.Seq); name != "" && w.Started != 0 && w.Worker == "" {
			w.Worker = name
		}
		var old []byte
		var err error
		if w.Copy || w.KeepBody {
			if old, err = r.source(&w.From); err != nil {
				return err
			}
		}
		if e.val, err = record.AppendFinished(e.val[:0], old, w); err != nil {
			return err
		}
		e.key = record.AppendFinishedKey(e.key[:0], r.p, w.Key)
		t.batch.Set(e.key, e.val)
		r.noteEnded(t, w.Key.Seq, e.key, e.val)
		if r.cfg.Observe != nil {
			r.countFinished(t, w)
		}
	}
	return nil
}

func (r *Runner) encodeLast(t *turn) {
	o, e, b := &r.out, &r.enc, &t.batch
	for i := range o.Segments {
		e.key = record.AppendSegmentKey(e.key[:0], r.p, o.Segments[i].Segment)
		e.val = record.AppendSegment(e.val[:0], &o.Segments[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Claims {
		e.key = record.AppendClaimKey(e.key[:0], r.p, o.Claims[i].Seq)
		e.val = record.AppendClaim(e.val[:0], &o.Claims[i])
		b.Set(e.key, e.val)
	}
	for i := range o.Lists {
		e.key = record.AppendListKey(e.key[:0], r.p, o.Lists[i].Key)
		e.val = record.AppendList(e.val[:0], &o.Lists[i])
		b.Set(e.key, e.val)
	}
}
