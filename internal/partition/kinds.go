package partition

import (
	"cmp"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
)

// kind is how one kind of what an Output changes goes into the turn's batch.
type kind struct {
	drop func(*turn)
	put  func(*turn) error
}

// How the records of a kind are deleted: by SingleDelete only where each key is
// written once, ever.
var (
	rewritten   = (*store.Batch).Delete
	writtenOnce = (*store.Batch).SingleDelete
)

// kinds are all there are, in the order in which a batch puts them: by class.
func (r *Runner) kinds() []kind {
	o := &r.out
	return []kind{
		{nil, r.encodeMeta},
		{r.deleteQueues, r.encodeQueues},
		records(r, &o.Marks, rewritten, record.AppendMarkKey, record.AppendMark),
		{r.deleteBirths, r.encodeBirths},
		{r.deleteTimed, r.encodeTimed},
		{r.deleteRanges, nil},
		records(r, &o.Expiries, rewritten, record.AppendExpiryKey, record.AppendExpiry),
		records(r, &o.Wheres, rewritten, record.AppendWhereKey, record.AppendWhere),
		records(r, &o.Idems, rewritten, record.AppendIdemKey, record.AppendIdem),
		records(r, &o.IdemDues, writtenOnce, record.AppendIdemDueKey, record.AppendIdemDue),
		records(r, &o.Briefs, rewritten, record.AppendBriefKey, record.AppendBrief),
		{r.deleteBriefSpans, nil},
		records(r, &o.Producers, rewritten, record.AppendProducerKey, record.AppendProducer),
		records(r, &o.Sessions, rewritten, record.AppendSessionKey, record.AppendSession),
		{drops(r, &o.Dead.Drops, rewritten, record.AppendDeadKey), r.encodeDead},
		{r.deleteDead, nil},
		{drops(r, &o.Finished.Drops, rewritten, record.AppendFinishedKey), r.encodeFinished},
		{r.deleteFinished, nil},
		records(r, &o.Segments, rewritten, record.AppendSegmentKey, record.AppendSegment),
		records(r, &o.Claims, rewritten, record.AppendClaimKey, record.AppendClaim),
		records(r, &o.Lists, writtenOnce, record.AppendListKey, record.AppendList),
	}
}

// records is a kind whose records say all by themselves.
func records[K comparable, V any](r *Runner, c *queue.Changes[K, V], del func(*store.Batch, []byte),
	key func([]byte, uint16, K) []byte, val func([]byte, *V) []byte) kind {
	put := func(t *turn) error {
		e := &r.enc
		for i := range c.Puts {
			v := &c.Puts[i]
			e.key = key(e.key[:0], r.p, c.Key(v))
			e.val = val(e.val[:0], v)
			t.batch.Set(e.key, e.val)
		}
		return nil
	}
	return kind{drops(r, &c.Drops, del, key), put}
}

func drops[K any](r *Runner, keys *[]K, del func(*store.Batch, []byte), key func([]byte, uint16, K) []byte) func(*turn) {
	return func(t *turn) {
		e := &r.enc
		for _, k := range *keys {
			e.key = key(e.key[:0], r.p, k)
			del(&t.batch, e.key)
		}
	}
}

func (r *Runner) encodeMeta(t *turn) error {
	e := &r.enc
	e.key = record.AppendMetaKey(e.key[:0], r.p)
	e.val = record.AppendMeta(e.val[:0], &r.out.Meta)
	t.batch.Set(e.key, e.val)
	return nil
}

func (r *Runner) encodeQueues(t *turn) error {
	e, puts := &r.enc, r.out.Queues
	slices.SortFunc(puts, func(a, b queue.QueueState) int { return cmp.Compare(a.Queue, b.Queue) })
	for i := range puts {
		e.key = record.AppendQueueKey(e.key[:0], r.p, puts[i].Queue)
		e.val = record.AppendQueue(e.val[:0], &puts[i])
		t.batch.Set(e.key, e.val)
	}
	return nil
}

// deleteQueues deletes records of queues and what is left under their numbers.
func (r *Runner) deleteQueues(t *turn) {
	e := &r.enc
	for _, q := range r.out.DropQueues {
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
}

// deleteBirths deletes births, and chunks of large payloads.
func (r *Runner) deleteBirths(t *turn) {
	o, e := &r.out, &r.enc
	sortPlaces(o.DropBirths)
	for _, pl := range o.DropBirths {
		e.key = record.AppendPlaceKey(e.key[:0], r.p, pl)
		t.batch.SingleDelete(e.key) // a birth key is written once, ever
	}
	for _, pl := range o.DropLarge {
		e.key = record.AppendChunkPrefix(e.key[:0], r.p, pl)
		r.deletePrefix(t)
	}
	for _, g := range o.PurgeLarge {
		e.key = record.AppendChunkPrefix(e.key[:0], r.p, queue.Place{Queue: g.Queue, Seq: g.From})
		e.end = record.AppendChunkPrefix(e.end[:0], r.p, queue.Place{Queue: g.Queue, Seq: g.To})
		t.batch.DeleteRange(e.key, e.end)
	}
}

func (r *Runner) deleteTimed(t *turn) {
	e := &r.enc
	sortPlaces(r.out.DropTimed)
	for _, pl := range r.out.DropTimed {
		e.key = record.AppendPlaceKey(e.key[:0], r.p, pl)
		t.batch.Delete(e.key)
	}
}

// deleteRanges deletes stretches of queues.
func (r *Runner) deleteRanges(t *turn) {
	e := &r.enc
	for _, gs := range [...][]queue.Range{r.out.Purges, r.out.Covers} {
		for i := range gs {
			e.key = record.AppendPlaceKey(e.key[:0], r.p, gs[i].From)
			e.end = record.AppendPlaceKey(e.end[:0], r.p, gs[i].To)
			t.batch.DeleteRange(e.key, e.end)
		}
	}
}

func (r *Runner) deleteBriefSpans(t *turn) {
	e := &r.enc
	for _, s := range r.out.BriefSpans {
		e.key = record.AppendBriefKey(e.key[:0], r.p, queue.IdemDueKey{At: s.From})
		e.end = record.AppendBriefKey(e.end[:0], r.p, queue.IdemDueKey{At: s.To})
		t.batch.DeleteRange(e.key, e.end)
	}
}

// deleteDead deletes the dead letters of whole queues.
func (r *Runner) deleteDead(t *turn) {
	for _, q := range r.out.PurgeDead {
		r.enc.key = record.AppendQueuePrefix(r.enc.key[:0], r.p, record.ClassDead, q)
		r.deletePrefix(t)
	}
}

// deleteFinished deletes the finished records of segments that go.
func (r *Runner) deleteFinished(t *turn) {
	for _, s := range r.out.Segments.Drops {
		r.enc.key = record.AppendFinishedPrefix(r.enc.key[:0], r.p, s)
		r.deletePrefix(t)
	}
}

// deletePrefix deletes every key that begins with the encoder's key.
func (r *Runner) deletePrefix(t *turn) {
	r.enc.end = record.AppendPrefixEnd(r.enc.end[:0], r.enc.key)
	t.batch.DeleteRange(r.enc.key, r.enc.end)
}
