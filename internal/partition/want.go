package partition

import (
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
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
		case queue.WantSweepWheres, queue.WantSweepExpiries, queue.WantSweepDeadlines, queue.WantSweepChunks:
			r.startSweep(w)
		case queue.WantIdemsDue, queue.WantIdemsLive:
			r.startIdems(w)
		default:
			r.loaded = append(r.loaded, queue.Loaded{Want: *w})
			if err := r.readWant(len(r.loaded) - 1); err != nil {
				return err
			}
			r.again = true
		}
	}
	return r.readRounds()
}

// readWant reads the ranges that the nth answer needs, and asks for its points.
func (r *Runner) readWant(n int) error {
	switch a := &r.loaded[n]; a.Want.What {
	case queue.WantTask:
		r.askPlace(ask{loaded: n, got: (*Runner).gotBirth}, record.PlaceOf(a.Want.ID))
		return nil
	case queue.WantTold:
		r.askWhere(ask{loaded: n, got: (*Runner).gotWhere}, a.Want.Seq)
		return nil
	case queue.WantIdem:
		r.askIdem(n, queue.IdemKey{Queue: a.Want.Queue, Hash: a.Want.Hash})
		return nil
	case queue.WantExpiries:
		return r.wantExpiries(&a.Want, a)
	default:
		return fmt.Errorf("the machine wants %d, which the runner of partition %d does not know", a.Want.What, r.p)
	}
}

// A task is looked for along the path that leads from its ID: birth key, where it
// moved, the dead letters, the finished. Each step is a round of its own:
//
//	birth key ──▶ live
//	    └─ where ──▶ place ──▶ live
//	         │   └─▶ dead letter          each ──▶ its idempotency entry
//	         └────────▶ finished

func (r *Runner) askPlace(a ask, pl queue.Place) {
	p := r.next.ask(a)
	p.Key = record.AppendPlaceKey(p.Key, r.p, pl)
}

func (r *Runner) askWhere(a ask, seq task.Seq) {
	p := r.next.ask(a)
	p.Key = record.AppendWhereKey(p.Key, r.p, seq)
}

// askFinished asks in all segments that may hold the task; one of them does.
func (r *Runner) askFinished(n int, seq task.Seq, segments []uint32) {
	for _, s := range segments {
		p := r.next.ask(ask{loaded: n, got: (*Runner).gotFinished})
		p.Key = record.AppendFinishedKey(p.Key, r.p, queue.FinishedKey{Segment: s, Seq: seq})
	}
}

func (r *Runner) askIdem(n int, k queue.IdemKey) {
	if r.loaded[n].Idem = r.m.Brief(k); r.loaded[n].Idem != nil {
		return
	}
	p := r.next.ask(ask{loaded: n, got: (*Runner).gotIdem})
	p.Key = record.AppendIdemKey(p.Key, r.p, k)
}

func (r *Runner) gotBirth(a ask, p *store.Point) error {
	named, err := r.isNamed(a, p)
	switch {
	case err != nil:
		return err
	case named:
		return r.keepLive(a, p)
	}
	r.askWhere(ask{loaded: a.loaded, got: (*Runner).gotWhere}, r.loaded[a.loaded].Want.ID.Seq)
	return nil
}

func (r *Runner) gotWhere(a ask, p *store.Point) error {
	if !p.Found {
		return r.gotNone(a)
	}
	var at queue.Where
	if err := record.DecodeWhere(p.Key, p.Value, &at); err != nil {
		return r.unreadable(p.Key, err)
	}
	if at.Dead.Queue == 0 {
		r.askPlace(ask{loaded: a.loaded, got: (*Runner).gotLive}, at.Place)
		return nil
	}
	dead := r.next.ask(ask{loaded: a.loaded, got: (*Runner).gotDead})
	dead.Key = record.AppendDeadKey(dead.Key, r.p, at.Dead)
	return nil
}

// gotNone goes on to the finished: the task is nowhere else.
func (r *Runner) gotNone(a ask) error {
	w := &r.loaded[a.loaded].Want
	seq := w.ID.Seq
	if w.What == queue.WantTold {
		seq = w.Seq
	}
	r.askFinished(a.loaded, seq, r.m.Holding(seq))
	return nil
}

func (r *Runner) gotLive(a ask, p *store.Point) error { return r.gotNamed(a, p, r.keepLive) }

func (r *Runner) gotDead(a ask, p *store.Point) error { return r.gotNamed(a, p, r.keepDead) }

// gotNamed keeps a record if it is that of the task wanted, and else goes on.
func (r *Runner) gotNamed(a ask, p *store.Point, keep func(ask, *store.Point) error) error {
	named, err := r.isNamed(a, p)
	switch {
	case err != nil:
		return err
	case !named:
		return r.gotNone(a)
	}
	return keep(a, p)
}

// keepLive notes a waiting task that is the one wanted.
func (r *Runner) keepLive(a ask, p *store.Point) error {
	l := &r.loaded[a.loaded]
	l.Waiting = make([]queue.Waiting, 1)
	w := &l.Waiting[0]
	if err := r.dec.Named(p.Key, p.Value, w); err != nil {
		return r.unreadable(p.Key, err)
	}
	return r.askIdemOf(a, p, w.Place.Queue, w.Flags)
}

// isNamed says whether a point is the record of the task which the Want names, in
// all that its ID says. A Want without an ID names any, and so does one for an
// expiry entry, whose ID is where the task stood.
func (r *Runner) isNamed(a ask, p *store.Point) (bool, error) {
	w := &r.loaded[a.loaded].Want
	if !p.Found || w.ID.IsZero() || w.Until != 0 {
		return p.Found, nil
	}
	born, err := r.dec.Born(p.Key, p.Value)
	if err != nil {
		return false, r.unreadable(p.Key, err)
	}
	return record.IDOf(r.p, born) == w.ID, nil
}

// askIdemOf asks for the entry of the idempotency key that a record just read
// names, if it was wanted.
func (r *Runner) askIdemOf(a ask, p *store.Point, queueNum queue.QueueNum, flags queue.Flags) error {
	if !r.loaded[a.loaded].Want.Idem || flags&queue.FlagIdem == 0 {
		return nil
	}
	name, err := r.dec.Idempotency(p.Key, p.Value)
	if err != nil {
		return r.unreadable(p.Key, err)
	}
	r.askIdem(a.loaded, queue.IdemKeyOf(queueNum, name))
	return nil
}

// keepDead notes a dead letter that is the one wanted.
func (r *Runner) keepDead(a ask, p *store.Point) error {
	l := &r.loaded[a.loaded]
	l.Dead, l.Revived = &queue.DeadLetter{}, &queue.Waiting{}
	err := r.dec.Dead(p.Key, p.Value, l.Dead)
	if err == nil {
		err = r.dec.Revived(p.Key, p.Value, l.Revived)
	}
	if err != nil {
		return r.unreadable(p.Key, err)
	}
	return r.askIdemOf(a, p, l.Dead.Key.Queue, l.Dead.Flags)
}

func (r *Runner) gotFinished(a ask, p *store.Point) error {
	l := &r.loaded[a.loaded]
	if l.Finished != nil {
		return nil
	}
	if named, err := r.isNamed(a, p); err != nil || !named {
		return err
	}
	l.Finished = &queue.Finished{}
	err := r.dec.Finished(p.Key, p.Value, l.Finished)
	if err == nil && l.Finished.KeepBody {
		l.Revived = &queue.Waiting{}
		err = r.dec.Revived(p.Key, p.Value, l.Revived)
	}
	if err != nil {
		return r.unreadable(p.Key, err)
	}
	return r.askIdemOf(a, p, l.Finished.Place.Queue, l.Finished.Flags)
}

func (r *Runner) gotIdem(a ask, p *store.Point) error {
	if !p.Found {
		return nil
	}
	x := &queue.Idem{}
	if err := record.DecodeIdem(p.Key, p.Value, x); err != nil {
		return r.unreadable(p.Key, err)
	}
	r.loaded[a.loaded].Idem = x
	return nil
}

func (r *Runner) wantExpiries(w *queue.Want, a *queue.Loaded) error {
	from := record.AppendExpiryKey(nil, r.p, queue.ExpiryKey{Wall: w.Wall})
	to := record.AppendPrefixEnd(nil, record.AppendPrefix(nil, r.p, record.ExpiryClass(w.Wall)))
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
