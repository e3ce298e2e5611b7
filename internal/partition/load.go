package partition

import (
	"context"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Open reads what the machine must know and makes a Runner over part, which the
// caller has acquired and which the Runner releases from here on. It reads the
// small classes whole; of the tasks only where each lane begins. What can't be
// read whole is not opened at all.
func Open(ctx context.Context, part store.Partition, cfg Config) (*Runner, error) {
	r := newRunner(part, cfg)
	r.readers.manual = true // until it has been opened; Run makes it concurrent
	snap, err := r.load(ctx)
	if err != nil {
		part.Release()
		return nil, fmt.Errorf("open partition %d: %w", r.p, err)
	}
	r.clock.begin(&snap.Meta)
	f := part.Fence()
	r.m = queue.New(queue.Config{
		Partition: cfg.Partition, Epoch: f.Epoch, Nonce: uint32(f.Nonce), First: firstSeq(f.Nonce),
		WindowTasks: cfg.WindowTasks, WindowBytes: r.cfg.CacheBytes / 5 * 4, HistoryBytes: cfg.HistoryBytes, IdemBytes: cfg.IdemBytes,
		QueueIdle: cfg.QueueIdle, EpochMax: cfg.EpochMax,
	}, snap, r.now())
	r.cache.waits = r.m.Waits
	r.due = r.now() // the first turn writes the new owner's meta
	for range openTicksMax {
		if err := ctx.Err(); err != nil {
			return nil, r.end(fmt.Errorf("open partition %d: %w", r.p, err))
		}
		made, err := r.Step()
		if err != nil {
			return nil, fmt.Errorf("open partition %d: %w", r.p, err)
		}
		if !r.readNext(r.readers.loads) && !made { // what tidies up is left to Run: nobody waits for it
			break
		}
	}
	return r, nil
}

// firstSeq is where an owner begins to count: at a place of its own, so that an ID
// of one data folder names nothing in another. Three quarters of the numbers are
// left: 800 billion tasks.
func firstSeq(nonce uint64) uint64 { return nonce >> (64 - task.SeqCounterBits + 2) }

// load reads the Snapshot.
func (r *Runner) load(ctx context.Context) (*queue.Snapshot, error) {
	s := &queue.Snapshot{Again: r.cfg.Again}
	var err error
	key := record.AppendMetaKey(nil, r.p)
	value, found, err := store.GetOne(r.part, key, nil)
	if err != nil {
		return nil, fmt.Errorf("read %x: %w", key, err)
	}
	if found {
		if err := record.DecodeMeta(value, &s.Meta); err != nil {
			return nil, r.unreadable(key, err)
		}
		s.Found = true
	}
	if s.Queues, err = readAll(ctx, r, record.ClassQueue, record.DecodeQueue); err != nil {
		return nil, err
	}
	if s.Marks, err = readAll(ctx, r, record.ClassMark, record.DecodeMark); err != nil {
		return nil, err
	}
	if s.Segments, err = readAll(ctx, r, record.ClassSegment, record.DecodeSegment); err != nil {
		return nil, err
	}
	if s.Producers, err = readAll(ctx, r, record.ClassProducer, record.DecodeProducer); err != nil {
		return nil, err
	}
	if s.Sessions, err = readAll(ctx, r, record.ClassSession, record.DecodeSession); err != nil {
		return nil, err
	}
	for i := range r.cfg.Away {
		if a := &r.cfg.Away[i]; !slices.ContainsFunc(s.Sessions, func(x queue.SessionState) bool { return x.Session == a.ID }) {
			s.Here = append(s.Here, queue.SessionState{Session: a.ID, Worker: a.Worker, Concurrency: a.Concurrency, TTL: a.TTL})
		}
	}
	if s.Claims, err = readAll(ctx, r, record.ClassClaim, record.DecodeClaim); err != nil {
		return nil, err
	}
	if s.Lists, err = readAll(ctx, r, record.ClassList, record.DecodeList); err != nil {
		return nil, err
	}
	if err := r.readInFlight(ctx, s); err != nil {
		return nil, err
	}
	if err := r.findLanes(ctx, s); err != nil {
		return nil, err
	}
	if s.NextExpiry, err = r.firstTime(record.ClassExpiry); err != nil {
		return nil, err
	}
	if s.NextDeadline, err = r.firstTime(record.ClassDeadline); err != nil {
		return nil, err
	}
	if s.NextIdem, err = r.firstTime(record.ClassIdemDue); err != nil {
		return nil, err
	}
	s.Briefs, err = readAll(ctx, r, record.ClassBrief, record.DecodeBrief)
	return s, err
}

// readAll reads every record of a small class.
func readAll[T any](ctx context.Context, r *Runner, c record.Class, decode func(key, value []byte, x *T) error) ([]T, error) {
	from := record.AppendPrefix(nil, r.p, c)
	it := r.part.Scan(from, record.AppendPrefixEnd(nil, from))
	var all []T
	for it.Next() {
		var x T
		err := decode(it.Key(), it.Value(), &x)
		if err != nil {
			err = r.unreadable(it.Key(), err)
		} else {
			err = ctx.Err()
		}
		if err != nil {
			it.Close()
			return nil, err
		}
		all = append(all, x)
	}
	if err := it.Close(); err != nil {
		return nil, fmt.Errorf("read the %s records: %w", c, err)
	}
	return all, nil
}

// readInFlight reads the records of the tasks that may be running, where lists and
// claims say that they stand: many in one call, since there may be as many as
// workers have room for. One that is not there has ended, or moved on.
func (r *Runner) readInFlight(ctx context.Context, s *queue.Snapshot) error {
	var ps points
	for some := range slices.Chunk(s.MayRun(r.p), openPointsMax) {
		ps.reset()
		for i := range some {
			p := ps.add()
			p.Key = record.AppendPlaceKey(p.Key, r.p, some[i].Claim.Place)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := r.read(ps.list); err != nil {
			return err
		}
		for i, f := range some {
			p := &ps.list[i]
			if !p.Found {
				continue
			}
			if err := r.dec.Named(p.Key, p.Value, &f.Waiting); err != nil {
				return r.unreadable(p.Key, err)
			}
			s.InFlight = append(s.InFlight, f)
		}
	}
	return nil
}

// findLanes finds the lanes that have tasks, and where each begins.
func (r *Runner) findLanes(ctx context.Context, s *queue.Snapshot) error {
	lanes := map[laneID]*queue.LaneFound{}
	var order []laneID
	of := func(pl queue.Place) *queue.LaneFound {
		id := laneID{pl.Queue, pl.Prio, pl.Lane}
		f := lanes[id]
		if f == nil {
			f = &queue.LaneFound{Queue: pl.Queue, Prio: pl.Prio, Lane: pl.Lane, Calendar: pl.Class == task.ClassCalendar}
			lanes[id] = f
			order = append(order, id)
		}
		return f
	}
	known := map[queue.QueueNum]bool{}
	for i := range s.Queues {
		known[s.Queues[i].Queue] = true
	}
	found := func(key, value []byte) error {
		var w queue.Waiting
		if err := r.dec.Named(key, value, &w); err != nil {
			return r.unreadable(key, err)
		}
		pl := w.Place
		if !known[pl.Queue] {
			return r.unreadable(key, fmt.Errorf("its queue, number %d, has no record", pl.Queue))
		}
		f := of(pl)
		f.Names = w.Names
		if pl.Class.Timed() {
			f.HasTimed, f.Timed, f.TimedSeq = true, pl.Due, pl.Seq
		} else {
			f.HasBirth, f.Birth, f.Ready = true, pl.Seq, w.Enqueued
		}
		return nil
	}
	for _, c := range []record.Class{record.ClassBirth, record.ClassTimed, record.ClassCalendar} {
		if err := r.skipLanes(ctx, c, s.Marks, found); err != nil {
			return err
		}
	}
	for _, id := range order {
		s.Lanes = append(s.Lanes, *lanes[id])
	}
	return nil
}

type laneID struct {
	queue queue.QueueNum
	prio  uint8
	lane  queue.LaneNum
}

// skipLanes calls found for the first record of every lane of a class. Lanes with
// marks are entered at their marks, and the gaps between them are searched by
// ranges of their own: below a mark lie the tombstones of all that was ever done
// there, and an iterator that came upon them would walk over every one.
//
//	│ gap │ lane: gone … mark ▸ first │ gap │ lane: gone … mark ▸ first │ gap │
func (r *Runner) skipLanes(ctx context.Context, c record.Class, marks []queue.Mark, found func(key, value []byte) error) error {
	at := record.AppendPrefix(nil, r.p, c)
	end := record.AppendPrefixEnd(nil, at)
	for i := range marks { // in key order, which is the order of lanes in any class
		m := &marks[i]
		lane := record.AppendLanePrefix(nil, r.p, c, m.Queue, m.Prio, m.Lane)
		laneEnd := record.AppendPrefixEnd(nil, lane)
		if err := r.skipGap(ctx, at, lane, found); err != nil {
			return err
		}
		first := queue.Place{Queue: m.Queue, Prio: m.Prio, Lane: m.Lane, Seq: m.Low}
		if first.Class = classOf(c); first.Class.Timed() {
			first.Due, first.Seq = m.TimedLow, 0
		}
		if err := r.firstIn(record.AppendPlaceKey(nil, r.p, first), laneEnd, found); err != nil {
			return err
		}
		at = laneEnd
	}
	return r.skipGap(ctx, at, end, found)
}

// classOf is the class of the tasks that stand in c.
func classOf(c record.Class) task.Class {
	switch c {
	case record.ClassTimed:
		return task.ClassTimed
	case record.ClassCalendar:
		return task.ClassCalendar
	}
	return task.ClassBirth
}

// firstIn calls found for the first record in [from, to).
func (r *Runner) firstIn(from, to []byte, found func(key, value []byte) error) error {
	it := r.part.Scan(from, to)
	var err error
	if it.Next() {
		err = found(it.Key(), it.Value())
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("read the first task after %x: %w", from, e)
	}
	return err
}

// skipGap goes from lane to lane in [from, to), none of which has marks.
func (r *Runner) skipGap(ctx context.Context, from, to []byte, found func(key, value []byte) error) error {
	it := r.part.Scan(from, to)
	var err error
	for err == nil && it.Next() {
		if err = found(it.Key(), it.Value()); err != nil {
			break
		}
		pl, _ := record.ParsePlaceKey(it.Key())
		it.SeekGE(record.AppendPrefixEnd(nil, record.AppendLanePrefix(nil, r.p, record.LiveClass(pl.Class), pl.Queue, pl.Prio, pl.Lane)))
		err = ctx.Err()
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("look for lanes after %x: %w", from, e)
	}
	return err
}

// firstTime is the time in the first key of an index by time; 0 when it is empty.
func (r *Runner) firstTime(c record.Class) (task.Time, error) {
	from := record.AppendPrefix(nil, r.p, c)
	it := r.part.Scan(from, record.AppendPrefixEnd(nil, from))
	var at task.Time
	var err error
	if it.Next() {
		if at, err = record.TimeOf(it.Key()); err != nil {
			err = r.unreadable(it.Key(), err)
		}
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("read the %s records: %w", c, e)
	}
	return at, err
}
