package partition

import (
	"time"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Stats is what one durable turn did, for those who count. The slices are valid
// during the call of Observe.
type Stats struct {
	Partition uint16
	Commit    time.Duration // from the beginning of the commit until it was durable; 0 = nothing was committed
	Ops       int           // of the batch
	Bytes     int
	Enqueued  []EnqueuedCount
	Attempts  []AttemptCount
	Samples   []Sample
	Expired   int // leases whose end came before an outcome
	Dead      int
}

// EnqueuedCount is how many tasks of a type were born.
type EnqueuedCount struct {
	Queue, Type string
	N           int
}

// AttemptCount is how many attempts at tasks of a type ended so.
type AttemptCount struct {
	Queue, Type string
	Outcome     task.AttemptOutcome
	N           int
}

// Sample is how long one task waited, or ran. Of a large turn only some are
// taken, evenly; each stands for Of tasks.
type Sample struct {
	Queue, Type string
	Ran         bool // false: it waited so long for its first attempt
	Took        task.Millis
	Of          int
}

func (s *Stats) reset() {
	s.Enqueued, s.Attempts, s.Samples = s.Enqueued[:0], s.Attempts[:0], s.Samples[:0]
	s.Commit, s.Ops, s.Bytes, s.Expired, s.Dead = 0, 0, 0, 0, 0
}

func (s *Stats) empty() bool {
	return s.Ops == 0 && len(s.Enqueued) == 0 && len(s.Attempts) == 0 && len(s.Samples) == 0
}

func (r *Runner) countBirths(t *turn) {
	births := r.out.Births
	for i := 0; i < len(births); {
		q, typ := births[i].Place.Queue, births[i].Spec.Type
		j := i + 1
		for j < len(births) && births[j].Place.Queue == q && births[j].Spec.Type == typ {
			j++
		}
		if q != queue.Void {
			t.stats.Enqueued = append(t.stats.Enqueued, EnqueuedCount{r.m.QueueName(q), typ, j - i})
		}
		i = j
	}
}

func (r *Runner) countAttempt(t *turn, num queue.QueueNum, typ string, a *task.Attempt) {
	r.addAttempt(t, num, typ, a.Outcome)
	if a.Outcome == task.AttemptCrashed {
		t.stats.Expired++
	}
	if n := len(t.stats.Samples); n < samplesTurnMax && a.Started != 0 {
		t.stats.Samples = append(t.stats.Samples, Sample{r.m.QueueName(num), typ, true, a.Ended.Sub(a.Started), 1})
	}
}

func (r *Runner) addAttempt(t *turn, num queue.QueueNum, typ string, o task.AttemptOutcome) {
	q := r.m.QueueName(num)
	for i := len(t.stats.Attempts) - 1; i >= 0 && i >= len(t.stats.Attempts)-8; i-- {
		if c := &t.stats.Attempts[i]; c.Outcome == o && c.Queue == q && c.Type == typ {
			c.N++
			return
		}
	}
	t.stats.Attempts = append(t.stats.Attempts, AttemptCount{q, typ, o, 1})
}

func (r *Runner) countFinished(t *turn, w *queue.Finished) {
	if w.Started == 0 {
		return
	}
	o := task.AttemptSucceeded
	if w.State != task.Succeeded {
		o = task.AttemptCanceled
	}
	r.addAttempt(t, w.Place.Queue, w.Names.Type, o)
	every := len(r.out.Finished.Puts)/samplesTurnMax + 1
	if t.ran++; t.ran%every == 0 {
		t.stats.Samples = append(t.stats.Samples, Sample{r.m.QueueName(w.Place.Queue), w.Names.Type, true, w.Ended.Sub(w.Started), every})
	}
}

// sampleWaits notes how long tasks waited for their first attempt.
func (r *Runner) sampleWaits(t *turn) {
	leased := r.out.Leased
	every := len(leased)/samplesTurnMax + 1
	for i := 0; i < len(leased); i += every {
		if l := &leased[i]; l.Attempt == 1 {
			t.stats.Samples = append(t.stats.Samples, Sample{r.m.QueueName(l.Place.Queue), l.Type, false, r.out.Now.Sub(l.Enqueued), every})
		}
	}
}

// Sizes is how much a Runner holds: its machine, and what is its own.
type Sizes struct {
	Machine                       queue.Sizes
	Sessions, Polls, Deferred     int
	Crews                         int
	Watches, Watched, OpenWatches int
	Holders                       int
}

// Sizes counts, for tests that drive the Runner by Step.
func (r *Runner) Sizes() Sizes {
	r.watches.mu.Lock()
	defer r.watches.mu.Unlock()
	return Sizes{
		Machine: r.m.Sizes(), Sessions: len(r.sessions), Polls: r.pollsNow, Crews: len(r.crews), Deferred: len(r.deferred),
		Watches: r.watches.n, Watched: len(r.watches.bySeq), OpenWatches: len(r.watches.open), Holders: len(r.unary),
	}
}
