package partition

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
)

// sweep looks, beside the loop, for records that lead to no task. Both iterators
// show the same view: what has no task there will never have one again.
type sweep struct {
	r     *Runner
	over  store.Iterator // the records that are looked over
	tasks store.Iterator // the whole partition
	a     *queue.Loaded
	key   []byte
}

// startSweep pins the view.
func (r *Runner) startSweep(w *queue.Want) {
	l := r.readers.take()
	l.loaded.Want = *w
	all := record.AppendPrefix(nil, r.p, record.ClassMeta)
	s := &sweep{r: r, a: &l.loaded, tasks: r.part.Scan(all[:2], record.AppendPrefixEnd(nil, all[:2]))}
	var step func() error
	end := func(c record.Class) []byte { return record.AppendPrefixEnd(nil, record.AppendPrefix(nil, r.p, c)) }
	switch w.What {
	case queue.WantSweepWheres:
		s.over = r.part.Scan(record.AppendWhereKey(nil, r.p, w.From.Seq), end(record.ClassWhere))
		step = s.wheres
	case queue.WantSweepExpiries, queue.WantSweepDeadlines:
		wall := w.What == queue.WantSweepDeadlines
		s.over = r.part.Scan(record.AppendExpiryKey(nil, r.p, queue.ExpiryKey{At: w.From.Due, Seq: w.From.Seq, Wall: wall}), end(record.ExpiryClass(wall)))
		step = s.expiries
	default:
		to := record.AppendPrefixEnd(nil, record.AppendQueuePrefix(nil, r.p, record.ClassChunk, w.From.Queue))
		s.over = r.part.Scan(record.AppendChunkPrefix(nil, r.p, w.From), to)
		step = s.chunks
	}
	job := func() {
		err := step()
		for _, it := range []store.Iterator{s.over, s.tasks} {
			if e := it.Close(); e != nil && err == nil {
				err = fmt.Errorf("sweep partition %d: %w", r.p, e)
			}
		}
		if err != nil {
			r.die(err)
			return
		}
		r.box.putLoad(l)
	}
	if !r.readers.do(r.readers.sweeps, job) {
		s.over.Close()
		s.tasks.Close()
	}
}

// has says whether there is a record under the key. A purge has left most of these
// keys before long stretches of what it has deleted.
func (s *sweep) has(key []byte) bool {
	return s.tasks.Find(key)
}

// leads says whether a where record leads to a task.
func (s *sweep) leads(w *queue.Where) bool {
	if w.Dead.Queue != 0 {
		s.key = record.AppendDeadKey(s.key[:0], s.r.p, w.Dead)
	} else {
		s.key = record.AppendPlaceKey(s.key[:0], s.r.p, w.Place)
	}
	return s.has(s.key)
}

func (s *sweep) wheres() error {
	for n := 0; s.over.Next(); n++ {
		var w queue.Where
		if err := record.DecodeWhere(s.over.Key(), s.over.Value(), &w); err != nil {
			return s.r.unreadable(s.over.Key(), err)
		}
		if n == s.a.Want.Limit {
			s.a.Behind.Seq = w.Seq
			return nil
		}
		if !s.leads(&w) {
			s.a.Orphans = append(s.a.Orphans, queue.Place{Seq: w.Seq})
		}
	}
	s.a.End = true
	return nil
}

func (s *sweep) expiries() error {
	for n := 0; s.over.Next(); n++ {
		var x queue.Expiry
		if err := record.DecodeExpiry(s.over.Key(), s.over.Value(), &x); err != nil {
			return s.r.unreadable(s.over.Key(), err)
		}
		at := queue.Place{Due: x.Key.At, Seq: x.Key.Seq}
		if n == s.a.Want.Limit {
			s.a.Behind = at
			return nil
		}
		lives, err := s.lives(record.PlaceOf(x.ID))
		if err != nil {
			return err
		}
		if !lives {
			s.a.Orphans = append(s.a.Orphans, at)
		}
	}
	s.a.End = true
	return nil
}

// chunks goes from task to task.
func (s *sweep) chunks() error {
	var end []byte
	for n := 0; s.over.Next(); n++ {
		born, _, err := record.ParseChunkKey(s.over.Key())
		if err != nil {
			return s.r.unreadable(s.over.Key(), err)
		}
		if n == s.a.Want.Limit {
			s.a.Behind = born
			return nil
		}
		lives, err := s.lives(born)
		if err != nil {
			return err
		}
		if !lives {
			s.a.Orphans = append(s.a.Orphans, born)
		}
		end = record.AppendPrefixEnd(end[:0], record.AppendChunkPrefix(nil, s.r.p, born))
		s.over.SeekGE(end)
	}
	s.a.End = true
	return nil
}

// lives says whether the task that was born there, or stood there, stands there, or
// has moved and can be found.
func (s *sweep) lives(born queue.Place) (bool, error) {
	s.key = record.AppendPlaceKey(s.key[:0], s.r.p, born)
	if s.has(s.key) {
		return true, nil
	}
	s.key = record.AppendWhereKey(s.key[:0], s.r.p, born.Seq)
	if !s.has(s.key) {
		return false, nil
	}
	var w queue.Where
	if err := record.DecodeWhere(s.key, s.tasks.Value(), &w); err != nil {
		return false, s.r.unreadable(s.key, err)
	}
	return s.leads(&w), nil
}
