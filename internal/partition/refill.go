package partition

import (
	"bytes"
	"fmt"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
)

// refill is stretches of lanes on their way into memory. Its view was pinned by
// the loop; it is read beside later turns and handed over through the mailbox.
type refill struct {
	it     store.Iterator
	here   bool // it stands at a record
	loaded queue.Loaded
	dec    record.Decoder
	recs   []byte // the records read, one after another, as far as they are kept
	ends   []int  // where each ends in recs
	err    error
}

// readers reads refills and looks things up beside the loop. Without goroutines
// (a driver that steps) jobs wait until they are asked for.
type readers struct {
	manual bool

	wg     sync.WaitGroup
	loads  chan struct{} // refills at work
	looks  chan struct{} // other look-ups: they never hold up a refill
	idems  chan struct{} // looks at idempotency entries, neither
	sweeps chan struct{} // nor steps of the sweeper

	mu      sync.Mutex // guards all below
	jobs    []readJob  // manual only
	spare   []*refill
	stopped bool
}

// readJob is a read and the room that it needs.
type readJob struct {
	sem chan struct{}
	do  func()
}

func (rs *readers) init() {
	rs.loads, rs.looks = make(chan struct{}, refillsMax), make(chan struct{}, lookupsMax)
	rs.idems, rs.sweeps = make(chan struct{}, 1), make(chan struct{}, 1)
}

// do runs job soon, when there is room in sem. After stop it returns false and
// the job is dropped.
func (rs *readers) do(sem chan struct{}, job func()) bool {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	switch {
	case rs.stopped:
		return false
	case rs.manual:
		rs.jobs = append(rs.jobs, readJob{sem, job})
	default:
		rs.wg.Go(func() {
			sem <- struct{}{}
			defer func() { <-sem }()
			job()
		})
	}
	return true
}

// start makes jobs run by themselves, those left from opening too.
func (rs *readers) start() {
	rs.mu.Lock()
	rs.manual = false
	left := rs.jobs
	rs.jobs = nil
	rs.mu.Unlock()
	for _, job := range left {
		rs.do(job.sem, job.do)
	}
}

// next takes the oldest job of a driver that steps, of some kind or (nil) of any.
func (rs *readers) next(sem chan struct{}) func() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	i := slices.IndexFunc(rs.jobs, func(j readJob) bool { return sem == nil || j.sem == sem })
	if i < 0 {
		return nil
	}
	job := rs.jobs[i].do
	rs.jobs = slices.Delete(rs.jobs, i, i+1)
	return job
}

func (rs *readers) stop() {
	rs.mu.Lock()
	rs.stopped = true
	left := rs.jobs
	rs.jobs = nil
	rs.mu.Unlock()
	for _, job := range left { // they close what they hold
		job.do()
	}
	rs.wg.Wait()
}

func (rs *readers) take() *refill {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if n := len(rs.spare); n > 0 {
		l := rs.spare[n-1]
		rs.spare = rs.spare[:n-1]
		return l
	}
	return &refill{}
}

func (rs *readers) giveBack(l *refill) {
	clear(l.loaded.Waiting)
	*l = refill{dec: l.dec, loaded: queue.Loaded{Waiting: l.loaded.Waiting[:0], Stretches: l.loaded.Stretches[:0], Orphans: l.loaded.Orphans[:0]}, recs: l.recs[:0], ends: l.ends[:0]}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.spare) < refillsMax {
		rs.spare = append(rs.spare, l)
	}
}

// Refill reads the oldest refill, or other look-up beside the loop, that Step has
// left, and says whether there was one. The driver decides when, and so how old
// the view is by then.
func (r *Runner) Refill() bool { return r.readNext(nil) }

func (r *Runner) readNext(sem chan struct{}) bool {
	job := r.readers.next(sem)
	if job == nil {
		return false
	}
	job()
	return true
}

// startRefill pins the view: it holds exactly the batches begun by now. One
// iterator goes over all stretches, which stand in the order of the store.
func (r *Runner) startRefill(w *queue.Want) {
	l := r.readers.take()
	l.loaded.Want = *w
	first, last := &w.Lanes[0].From, &w.Lanes[len(w.Lanes)-1].From
	l.it = r.part.Scan(record.AppendPlaceKey(nil, r.p, *first), r.laneEnd(nil, last))
	job := func() {
		r.readRefill(l)
		if l.err != nil {
			r.die(l.err)
			return
		}
		r.box.putLoad(l)
	}
	if !r.readers.do(r.readers.loads, job) {
		l.it.Close()
	}
}

// laneEnd appends the first key after the lane of a place, in its class.
func (r *Runner) laneEnd(b []byte, pl *queue.Place) []byte {
	return record.AppendPrefixEnd(b, record.AppendLanePrefix(nil, r.p, record.LiveClass(pl.Class), pl.Queue, pl.Prio, pl.Lane))
}

// readRefill reads records and keeps their bytes for the cache.
func (r *Runner) readRefill(l *refill) {
	var key, end []byte
	l.loaded.Waiting = l.loaded.Waiting[:0]
	l.here = l.it.Next()
	for i := range l.loaded.Want.Lanes {
		w := &l.loaded.Want.Lanes[i]
		if i > 0 {
			key = record.AppendPlaceKey(key[:0], r.p, w.From)
			l.advance(key)
		}
		end = r.laneEnd(end[:0], &w.From)
		if !r.readStretch(l, w, end) {
			break
		}
	}
	if err := l.it.Close(); err != nil && l.err == nil {
		l.err = fmt.Errorf("read tasks of partition %d: %w", r.p, err)
	}
	l.it = nil
}

// advance goes on to the first record at or after key, which is not behind where
// the iterator stands. Lanes that are next to each other are often short, and a few
// steps cost less than a seek.
func (l *refill) advance(key []byte) {
	for range refillStepsMax {
		if !l.here || bytes.Compare(l.it.Key(), key) >= 0 {
			return
		}
		l.here = l.it.Next()
	}
	l.it.SeekGE(key)
	l.here = l.it.Next()
}

// readStretch reads the stretch of one lane, and where what follows it stands.
func (r *Runner) readStretch(l *refill, want *queue.LaneWant, end []byte) bool {
	s := queue.Stretch{Load: want.Load, From: len(l.loaded.Waiting), End: true}
	for ; l.here && bytes.Compare(l.it.Key(), end) < 0; l.here = l.it.Next() {
		waiting := append(l.loaded.Waiting, queue.Waiting{})
		w := &waiting[len(waiting)-1]
		value := l.it.Value()
		if err := l.dec.Waiting(l.it.Key(), value, w); err != nil {
			l.err = r.unreadable(l.it.Key(), err)
			return false
		}
		if len(l.loaded.Waiting) == s.From+want.Limit {
			s.End, s.Next, s.Ready = false, w.Place, w.Enqueued
			break
		}
		l.loaded.Waiting = waiting
		if w.Cached = len(l.recs)+len(value) <= refillKeepMax && len(value) <= cacheOneMax-cacheHead; w.Cached {
			l.recs = append(l.recs, value...)
		}
		l.ends = append(l.ends, len(l.recs))
	}
	s.To = len(l.loaded.Waiting)
	l.loaded.Stretches = append(l.loaded.Stretches, s)
	return true
}

// keepLoad moves the records of the tasks that the machine took in to the cache.
func (r *Runner) keepLoad(l *refill) {
	from := 0
	for i, slot := range r.out.Taken {
		w := &l.loaded.Waiting[i]
		if slot != queue.NoSlot {
			if w.Cached {
				r.cache.put(slot, w.Place.Seq, l.recs[from:l.ends[i]])
			} else {
				r.cache.drop(slot)
			}
		}
		from = l.ends[i]
	}
	r.readers.giveBack(l)
}

// trim gives back the memory of refills.
func (rs *readers) trim() {
	rs.mu.Lock()
	rs.spare = nil
	rs.mu.Unlock()
}
