package partition

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// afterTurn reads what the Output asked for. Points are read here, after the
// batch has begun and before the next Apply; refills only pin their view here, and
// looks at idempotency entries need none.
func (r *Runner) afterTurn() error {
	wants := r.out.Wants
	r.out.Wants = wants[:0]
	for i := range wants {
		w := &wants[i]
		switch w.What {
		case queue.WantBirths, queue.WantTimed:
			r.startRefill(w)
		case queue.WantSweepWheres, queue.WantSweepChunks:
			r.startSweep(w)
		case queue.WantIdemsDue, queue.WantIdemsLive:
			r.startIdems(w)
		default:
			a := queue.Loaded{Want: *w}
			if err := r.readWant(w, &a); err != nil {
				return err
			}
			r.loaded = append(r.loaded, a)
			r.again = true
		}
	}
	return nil
}

func (r *Runner) readWant(w *queue.Want, a *queue.Loaded) error {
	switch w.What {
	case queue.WantTask:
		return r.wantTask(w, a)
	case queue.WantTold:
		return r.wantMoved(w.Seq, a)
	case queue.WantIdem:
		return r.wantIdem(w, a)
	case queue.WantExpiries:
		return r.wantExpiries(w, a)
	}
	return fmt.Errorf("the machine wants %d, which the runner of partition %d does not know", w.What, r.p)
}

// get reads one record into the encoder's memory, under the encoder's key.
func (r *Runner) get() (value []byte, found bool, err error) {
	e := &r.enc
	if e.old, found, err = r.part.Get(e.key, e.old[:0]); err != nil {
		return nil, false, fmt.Errorf("read %x: %w", e.key, err)
	}
	return e.old, found, nil
}

// wantTask looks for a task along the path that leads from its ID: birth key,
// where it moved, the dead letters, the finished.
func (r *Runner) wantTask(w *queue.Want, a *queue.Loaded) error {
	found, err := r.wantLive(record.PlaceOf(w.ID), a)
	if err != nil || found {
		return err
	}
	return r.wantMoved(w.ID.Seq, a)
}

// wantMoved looks for a task that has left its birth key.
func (r *Runner) wantMoved(seq task.Seq, a *queue.Loaded) error {
	e := &r.enc
	e.key = record.AppendWhereKey(e.key[:0], r.p, seq)
	value, found, err := r.get()
	if err != nil {
		return err
	}
	if found {
		var at queue.Where
		if err := record.DecodeWhere(e.key, value, &at); err != nil {
			return r.unreadable(e.key, err)
		}
		if at.Dead.Queue == 0 {
			if found, err = r.wantLive(at.Place, a); err != nil || found {
				return err
			}
		} else if found, err = r.wantDead(at.Dead, a); err != nil || found {
			return err
		}
	}
	_, err = r.wantFinished(seq, r.m.Holding(seq), a)
	return err
}

func (r *Runner) wantLive(pl queue.Place, a *queue.Loaded) (bool, error) {
	e := &r.enc
	e.key = record.AppendPlaceKey(e.key[:0], r.p, pl)
	value, found, err := r.get()
	if err != nil || !found {
		return false, err
	}
	if named, err := r.isNamed(a, value); err != nil || !named {
		return false, err
	}
	a.Waiting = make([]queue.Waiting, 1)
	if err := r.dec.Named(e.key, value, &a.Waiting[0]); err != nil {
		return false, r.unreadable(e.key, err)
	}
	return true, r.wantIdemOf(a, pl.Queue, a.Waiting[0].Flags, value)
}

// isNamed says whether the record under the encoder's key is that of the task which
// the Want names, in all that its ID says. A Want without an ID names any, and so
// does one for an expiry entry, whose ID is where the task stood.
func (r *Runner) isNamed(a *queue.Loaded, value []byte) (bool, error) {
	if a.Want.ID.IsZero() || a.Want.Until != 0 {
		return true, nil
	}
	born, err := r.dec.Born(r.enc.key, value)
	if err != nil {
		return false, r.unreadable(r.enc.key, err)
	}
	return record.IDOf(r.p, born) == a.Want.ID, nil
}

// wantIdemOf reads the entry of the idempotency key that a record just read
// names, if it was asked for.
func (r *Runner) wantIdemOf(a *queue.Loaded, queueNum uint32, flags queue.Flags, value []byte) error {
	if !a.Want.Idem || flags&queue.FlagIdem == 0 {
		return nil
	}
	name, err := r.dec.Idempotency(r.enc.key, value)
	if err != nil {
		return r.unreadable(r.enc.key, err)
	}
	k := queue.IdemKeyOf(queueNum, name)
	return r.wantIdem(&queue.Want{Queue: k.Queue, Hash: k.Hash}, a)
}

func (r *Runner) wantDead(k queue.DeadKey, a *queue.Loaded) (bool, error) {
	e := &r.enc
	e.key = record.AppendDeadKey(e.key[:0], r.p, k)
	value, found, err := r.get()
	if err != nil || !found {
		return false, err
	}
	if named, err := r.isNamed(a, value); err != nil || !named {
		return false, err
	}
	a.Dead, a.Revived = &queue.DeadLetter{}, &queue.Waiting{}
	if err = r.dec.Dead(e.key, value, a.Dead); err == nil {
		err = r.dec.Revived(e.key, value, a.Revived)
	}
	if err != nil {
		return false, r.unreadable(e.key, err)
	}
	return true, r.wantIdemOf(a, k.Queue, a.Dead.Flags, value)
}

func (r *Runner) wantFinished(seq task.Seq, segments []uint32, a *queue.Loaded) (bool, error) {
	e := &r.enc
	for _, s := range segments {
		e.key = record.AppendFinishedKey(e.key[:0], r.p, queue.FinishedKey{Segment: s, Seq: seq})
		value, found, err := r.get()
		if err != nil {
			return false, err
		}
		if !found {
			continue
		}
		if named, err := r.isNamed(a, value); err != nil || !named {
			return false, err
		}
		a.Finished = &queue.Finished{}
		if err = r.dec.Finished(e.key, value, a.Finished); err == nil && a.Finished.KeepBody {
			a.Revived = &queue.Waiting{}
			err = r.dec.Revived(e.key, value, a.Revived)
		}
		if err != nil {
			return false, r.unreadable(e.key, err)
		}
		return true, r.wantIdemOf(a, a.Finished.Place.Queue, a.Finished.Flags, value)
	}
	return false, nil
}

func (r *Runner) wantIdem(w *queue.Want, a *queue.Loaded) error {
	e := &r.enc
	e.key = record.AppendIdemKey(e.key[:0], r.p, queue.IdemKey{Queue: w.Queue, Hash: w.Hash})
	value, found, err := r.get()
	if err != nil || !found {
		return err
	}
	a.Idem = &queue.Idem{}
	if err := record.DecodeIdem(e.key, value, a.Idem); err != nil {
		return r.unreadable(e.key, err)
	}
	return nil
}

func (r *Runner) wantExpiries(w *queue.Want, a *queue.Loaded) error {
	from := record.AppendExpiryKey(nil, r.p, queue.ExpiryKey{})
	to := record.AppendPrefixEnd(nil, record.AppendPrefix(nil, r.p, record.ClassExpiry))
	it := r.part.Scan(from, to)
	for it.Next() {
		var x queue.Expiry
		if err := record.DecodeExpiry(it.Key(), it.Value(), &x); err != nil {
			err = r.unreadable(it.Key(), err)
			it.Close()
			return err
		}
		if x.Key.At > w.Until || len(a.Expiries) == w.Limit {
			a.Next = x.Key.At
			break
		}
		a.Expiries = append(a.Expiries, x)
	}
	if err := it.Close(); err != nil {
		return fmt.Errorf("read the expiry index: %w", err)
	}
	return nil
}
