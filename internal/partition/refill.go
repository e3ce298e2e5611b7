package partition

import (
	"fmt"
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// refill is a stretch of a lane on its way into memory. Its view was pinned by
// the loop; it is read beside later turns and handed over through the mailbox.
type refill struct {
	it     store.Iterator
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

	wg    sync.WaitGroup
	loads chan struct{} // refills at work
	looks chan struct{} // other look-ups: they never hold up a refill
	idems chan struct{} // looks at idempotency entries, neither

	mu      sync.Mutex // guards all below
	jobs    []func()   // manual only
	spare   []*refill
	stopped bool
}

func (rs *readers) init() {
	rs.loads, rs.looks, rs.idems = make(chan struct{}, refillsMax), make(chan struct{}, lookupsMax), make(chan struct{}, 1)
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
		rs.jobs = append(rs.jobs, job)
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
		rs.do(rs.loads, job)
	}
}

// next takes the oldest job of a driver that steps.
func (rs *readers) next() func() {
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.jobs) == 0 {
		return nil
	}
	job := rs.jobs[0]
	rs.jobs = append(rs.jobs[:0], rs.jobs[1:]...)
	return job
}

func (rs *readers) stop() {
	rs.mu.Lock()
	rs.stopped = true
	left := rs.jobs
	rs.jobs = nil
	rs.mu.Unlock()
	for _, job := range left { // they close what they hold
		job()
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
	*l = refill{dec: l.dec, loaded: queue.Loaded{Waiting: l.loaded.Waiting[:0]}, recs: l.recs[:0], ends: l.ends[:0]}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	if len(rs.spare) < refillsMax {
		rs.spare = append(rs.spare, l)
	}
}

// Refill reads the oldest refill, or other look-up beside the loop, that Step has
// left, and says whether there was one. The driver decides when, and so how old
// the view is by then.
func (r *Runner) Refill() bool {
	job := r.readers.next()
	if job == nil {
		return false
	}
	job()
	return true
}

// startRefill pins the view: it holds exactly the batches begun by now.
func (r *Runner) startRefill(w *queue.Want) {
	l := r.readers.take()
	l.loaded.Want = *w
	from := record.AppendPlaceKey(nil, r.p, w.Place)
	c := record.ClassBirth
	if w.Place.Class == task.ClassTimed {
		c = record.ClassTimed
	}
	to := record.AppendPrefixEnd(nil, record.AppendLanePrefix(nil, r.p, c, w.Place.Queue, w.Place.Prio, w.Place.Lane))
	l.it = r.part.Scan(from, to)
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

// readRefill reads records and keeps their bytes for the cache.
func (r *Runner) readRefill(l *refill) {
	want := &l.loaded.Want
	waiting := l.loaded.Waiting[:0]
	for len(waiting) < want.Limit {
		if !l.it.Next() {
			l.loaded.End = true
			break
		}
		waiting = append(waiting, queue.Waiting{})
		w := &waiting[len(waiting)-1]
		value := l.it.Value()
		if err := l.dec.Waiting(l.it.Key(), value, w); err != nil {
			l.err = r.unreadable(l.it.Key(), err)
			break
		}
		if w.Cached = len(l.recs)+len(value) <= refillKeepMax && len(value) <= cacheOneMax-cacheHead; w.Cached {
			l.recs = append(l.recs, value...)
		}
		l.ends = append(l.ends, len(l.recs))
	}
	l.loaded.Waiting = waiting
	if err := l.it.Close(); err != nil && l.err == nil {
		l.err = fmt.Errorf("read tasks of partition %d: %w", r.p, err)
	}
	l.it = nil
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
