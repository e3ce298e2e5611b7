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
// class and in key order. The memtable finds its place faster that way. It relies on
// the machine to name a key once: what is put anew is not dropped as well.
func (r *Runner) encode(t *turn) error {
	clear(r.enc.taken)
	for _, k := range r.stored {
		if k.drop != nil {
			k.drop(t)
		}
	}
	for _, k := range r.stored {
		if k.put == nil {
			continue
		}
		if err := k.put(t); err != nil {
			return err
		}
	}
	return nil
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

// encodeBirths puts new tasks: those ready at once, their large payloads, then
// the scheduled ones, which share a class with what encodeTimed puts.
func (r *Runner) encodeBirths(t *turn) error {
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
	return nil
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

// encodeTimed puts the timed records that moved, of the first kind whose records
// are made from others. Those that were taken back come first, in the order in which
// they came: what then became of their tasks starts from them.
func (r *Runner) encodeTimed(t *turn) error {
	if err := r.fetchSources(); err != nil {
		return err
	}
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
	for i := range o.Dead.Puts {
		r.fetch(&o.Dead.Puts[i].From)
	}
	for i := range o.Finished.Puts {
		if w := &o.Finished.Puts[i]; w.Copy || w.KeepBody {
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

func (r *Runner) encodeDead(t *turn) error {
	e := &r.enc
	for i := range r.out.Dead.Puts {
		w := &r.out.Dead.Puts[i]
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
	e, puts := &r.enc, r.out.Finished.Puts
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
