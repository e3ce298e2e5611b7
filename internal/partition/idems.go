package partition

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// idems reads idempotency entries that are due, and whether their tasks live,
// beside the loop. It needs no view: the machine leaves out of the answer what has
// changed since it asked.
type idems struct {
	r        *Runner
	loaded   queue.Loaded
	key, val []byte
}

// startIdems has a look at entries read soon; its answer comes as mail.
func (r *Runner) startIdems(w *queue.Want) {
	l := &idems{r: r, loaded: queue.Loaded{Want: *w}}
	r.readers.do(r.readers.idems, func() {
		read := l.due
		if w := &l.loaded.Want; w.What == queue.WantIdemsLive {
			read = l.live
		}
		if err := read(); err != nil {
			r.die(err)
			return
		}
		m := mail{cmd: queue.Command{Op: queue.OpLoaded, Loaded: &l.loaded}}
		m.tasks = int32(len(l.loaded.Idems))
		_ = r.box.putFinish(m) // a runner that has ended wants it no more
	})
}

// due reads the index.
func (l *idems) due() error {
	r, w := l.r, &l.loaded.Want
	from := record.AppendIdemDueKey(nil, r.p, queue.IdemDueKey{At: w.From.Due, Seq: w.From.Seq})
	it := r.part.Scan(from, record.AppendPrefixEnd(nil, record.AppendPrefix(nil, r.p, record.ClassIdemDue)))
	for it.Next() {
		var x queue.IdemDue
		if err := record.DecodeIdemDue(it.Key(), it.Value(), &x); err != nil {
			err = r.unreadable(it.Key(), err)
			it.Close()
			return err
		}
		if x.Key.At > w.Until || len(l.loaded.Idems) == w.Limit {
			l.loaded.Next = x.Key.At
			break
		}
		l.loaded.Idems = append(l.loaded.Idems, queue.IdemLook{Due: x})
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read the index of idempotency entries: %w", err)
	}
	return nil
}

// live reads the entries asked for and looks for their tasks.
func (l *idems) live() error {
	l.loaded.Idems = l.loaded.Want.Idems
	for i := range l.loaded.Idems {
		x := &l.loaded.Idems[i]
		l.key = record.AppendIdemKey(l.key[:0], l.r.p, x.Due.Idem)
		found, err := l.get()
		if err != nil {
			return err
		}
		if found {
			x.Idem = &queue.Idem{}
			if err := record.DecodeIdem(l.key, l.val, x.Idem); err != nil {
				return l.r.unreadable(l.key, err)
			}
		}
		if x.Live, err = l.isLive(x.Due.ID); err != nil {
			return err
		}
	}
	return nil
}

// isLive says whether a task waits or runs. Its birth key is gone once it has moved
// or ended, and then for good; where it has moved to, it may leave between two
// reads, and then the where record says so.
func (l *idems) isLive(id task.ID) (bool, error) {
	l.key = record.AppendPlaceKey(l.key[:0], l.r.p, record.PlaceOf(id))
	if found, err := l.get(); err != nil || found {
		return found, err
	}
	var was queue.Where
	for {
		l.key = record.AppendWhereKey(l.key[:0], l.r.p, id.Seq)
		found, err := l.get()
		if err != nil || !found {
			return false, err
		}
		var at queue.Where
		if err := record.DecodeWhere(l.key, l.val, &at); err != nil {
			return false, l.r.unreadable(l.key, err)
		}
		if at.Dead.Queue != 0 || at == was { // a purge leaves where records that lead nowhere
			return false, nil
		}
		was = at
		l.key = record.AppendPlaceKey(l.key[:0], l.r.p, at.Place)
		if found, err := l.get(); err != nil || found {
			return found, err
		}
	}
}

func (l *idems) get() (found bool, err error) {
	if l.val, found, err = store.GetOne(l.r.part, l.key, l.val[:0]); err != nil {
		return false, fmt.Errorf("read %x: %w", l.key, err)
	}
	return found, nil
}
