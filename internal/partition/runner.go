// Package partition is the loop round one machine: it gathers commands, applies
// them, commits what follows and only then lets answers out (I1). It decides
// nothing about tasks. Its rule: a commit that failed ends the loop; whoever
// owns it opens the partition anew.
package partition

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/overlay"
	"github.com/penstock-io/penstock/internal/task"
)

// Config is what a Runner needs of its surroundings. Now or Clock is required.
type Config struct {
	Partition    uint16
	Now          func() task.Time      // of a runner without a Clock: moved by hand
	Clock        *Clock                // nil = one that Now moves
	WindowTasks  int                   // tasks in memory; 0 = the machine's default
	HistoryBytes int64                 // finished records; 0 = the machine's default
	IdemBytes    int64                 // idempotency entries; 0 = the machine's default
	EpochMax     uint64                // tests: dispatches or births of an epoch; 0 = the machine's default
	QueueIdle    task.Millis           // empty queues that nobody has set go after it; 0 = never
	CacheBytes   int64                 // records kept in memory; 0 = 24 MiB
	Away         []task.SessionOptions // sessions of this process that will be back: waited for as the recorded ones are
	Again        bool                  // a fault ended the last owner, and not its process: the store's, like a full disk
	Damaged      *task.Error           // what callers hear once the data have proved to be damaged; nil = a text that names no folder
	Observe      func(Stats)           // called once a durable turn; nil = no one looks
	Held         bool                  // the clock is moved by hand, and Tick called then: no timers are used
	Check        bool                  // tests: the machine's invariants are checked after every Apply
}

// Runner owns one partition.
//
//	callers ──▶ mailbox ──▶ gather ▸ Apply ▸ encode ▸ Begin ▸ build deliveries ──▶ waiter: wait ▸ answers out
//	                          ▲        │                └─ the next turn overlaps with the fsync
//	                          └─ Wants ┘
//
// The loop is one goroutine, the waiter another; a turn passes from one to the
// other and back through free. Step does the same in the caller's goroutine.
type Runner struct {
	cfg   Config
	clock *Clock
	part  store.Partition
	p     uint16
	box   mailbox

	// From here to broken: the loop's own.
	m       *queue.Machine
	out     queue.Output
	stored  []kind // of out, for encode
	cache   *cache
	enc     encoder
	dec     record.Decoder
	due     task.Time // the machine's deadline
	last    task.Time // what the clock said last
	alive   task.Time // when the loop last made a turn
	again   bool      // there is more to do at once
	ending  bool      // nothing is dispatched any more
	spent   bool      // the machine's epoch is
	busy    task.Time // when mail last came
	trimmed bool      // since then
	bare    bool      // since then memory of tasks too: there are none

	// What is to be applied: mail that was taken, and the loop's own.
	finish, admit        intake
	usedTasks, usedBytes int // of admit, since the boxes were last looked into
	views                []view
	deferred             []mail
	loaded               []queue.Loaded // answers to point wants
	next, spare          *round         // what these need read next, and memory for what then follows
	taken                *refill        // the refill applied in this turn
	extra                []queue.Command
	unsent               []task.Token
	missed               []spotOf // deliveries whose records are not in the cache
	unary                unaryWorkers
	unaryLook            int // when there are so many, those that have ended are looked for

	// Who is to be given something, and who may be.
	crews      map[queue.CrewNo]*crew
	active     []*crew // those to be asked in the next turn
	spareCrews []*crew
	roused     []queue.CrewNo
	changes    uint64 // turns in which something came in, or was due
	turns      uint64 // all turns
	woken      woken
	heard      []*Attached // those of woken that this turn looks at
	heardPolls []*Poll

	sessions map[queue.SessionNo]*Attached
	order    []*Attached // in the order in which they came; some have left
	able     []*Attached // those that this turn draws credit of

	polls      []*Poll // unary leases that wait, in the order in which they came; some are over
	pollsNow   int     // those that are not
	pollsCheck int     // when there are so many, those given up are looked for,
	droppedAt  uint64  // and in this turn, as there is no room for more
	newPolls   []*Poll // to be asked in the next turn
	onces      []*Poll // those that do not wait, but for what is being read for them
	oncesAt    uint64  // of changes, when these were asked
	asked      []*Poll // in this turn
	refused    []refusal

	watches  watches
	watchDec record.Decoder // of the one who gives answers
	progress progress
	readers  readers
	stalled  atomic.Int64 // milliseconds of Stall that no turn has seen yet

	listLanes int  // that a listing merges at once
	kept      kept // of listings

	free     chan *turn
	begun    chan *turn
	alone    bool          // driven by Begin and Await: no waiter
	settled  chan struct{} // rung by the waiter; holds one
	rejoin   rejoin
	inflight atomic.Int32 // commits begun and not yet known to be durable
	broken   atomic.Pointer[fault]
	done     chan struct{} // closed when the runner has ended
	closing  sync.Once
}

// fault is why a runner ended.
type fault struct{ err error }

// ErrClosed is what a runner that was closed in order ends with.
var ErrClosed = errors.New("partition: closed")

// ErrSpent is what a runner ends with that has handed over in order because its
// epoch's numbers were nearly used up: the partition is to be opened again at once.
var ErrSpent = errors.New("partition: the numbers of its epoch are used up")

func newRunner(part store.Partition, cfg Config) *Runner {
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = cacheBytes
	}
	if cfg.Clock == nil {
		cfg.Clock = NewClock(cfg.Now, Forward(cfg.Now))
	}
	if cfg.Damaged == nil {
		cfg.Damaged = errDamaged
	}
	r := &Runner{
		cfg: cfg, part: overlay.Over(part), p: cfg.Partition, clock: cfg.Clock,
		cache:    newCache(cfg.CacheBytes),
		sessions: make(map[queue.SessionNo]*Attached),
		crews:    make(map[queue.CrewNo]*crew),
		changes:  1,
		free:     make(chan *turn, turnsMax),
		begun:    make(chan *turn, turnsMax),
		settled:  make(chan struct{}, 1),
		next:     &round{},
		spare:    &round{},
		done:     make(chan struct{}),

		listLanes: listLanesMax,
		rejoin:    newRejoin(),
	}
	r.stored = r.kinds()
	r.box.wake = make(chan struct{}, 1)
	r.watches.init()
	r.readers.init()
	for range turnsMax {
		r.free <- &turn{}
	}
	return r
}

// Done is closed when the runner has ended and everybody who waited was told.
func (r *Runner) Done() <-chan struct{} { return r.done }

// Err is why the runner ended: nil while it runs, ErrClosed after an orderly end.
func (r *Runner) Err() error {
	if f := r.broken.Load(); f != nil {
		return f.err
	}
	return nil
}

// Tick makes the loop look at its clock. A clock that is moved by hand must call
// it.
func (r *Runner) Tick() { r.box.ring() }

// Run serves the partition until ctx ends, then hands it over in order and
// returns nil; or until a fault, which it returns. Either way the partition is
// released and nothing that was asked stays unanswered.
func (r *Runner) Run(ctx context.Context) error {
	r.alone = false
	var waiter sync.WaitGroup
	waiter.Go(func() {
		for t := range r.begun {
			r.settle(t)
			r.free <- t
		}
	})
	r.readers.start()
	err := r.serve(ctx)
	close(r.begun)
	waiter.Wait()
	return r.end(err)
}

// serve makes turns until ctx ends or something breaks.
func (r *Runner) serve(ctx context.Context) error {
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if f := r.broken.Load(); f != nil {
			return f.err
		}
		if ctx.Err() != nil {
			return r.handOver(ErrClosed, r.passOn)
		}
		if r.spent {
			return r.handOver(ErrSpent, r.passOn)
		}
		if r.inflight.Load() >= pipelineDepth && r.box.quiet(overlapMin) {
			// Little has come in: it gains more by what joins it until the disk
			// is ready than by a head start.
			select {
			case <-r.settled:
			case <-r.box.wake:
			}
			continue
		}
		r.rejoin.wait(&r.box)
		t := <-r.free
		made, err := r.turn(t)
		if err != nil {
			return err
		}
		if made {
			if err := r.passOn(t); err != nil {
				return err
			}
			continue
		}
		r.free <- t
		if r.again {
			continue
		}
		r.sleep(ctx, timer)
	}
}

// passOn hands a turn to the waiter and reads what the machine asked for.
func (r *Runner) passOn(t *turn) error {
	r.begun <- t
	return r.afterTurn()
}

// sleep waits for mail, an answered commit, the machine's deadline or ctx.
func (r *Runner) sleep(ctx context.Context, timer *time.Timer) {
	wait := time.Hour
	if r.due != 0 {
		wait = time.Duration(max(0, r.due.Sub(r.now()))) * time.Millisecond
	}
	expired := timer.C
	if r.cfg.Held {
		expired = nil
	} else {
		timer.Reset(wait)
	}
	select {
	case <-r.box.wake:
	case <-expired:
	case <-r.settled:
	case <-ctx.Done():
	}
}

// now is machine time; it never goes back.
func (r *Runner) now() task.Time {
	r.last = max(r.last, r.clock.Now())
	return r.last
}

// Step does one whole turn in the caller's goroutine, with its commit and its
// answers, and says whether there was anything to do. Refills it starts are read
// by Refill. It is for those who own time and order themselves, and not to be
// mixed with Run. After an error the runner has ended.
func (r *Runner) Step() (bool, error) {
	made, err := r.Begin()
	if err == nil {
		err = r.Await()
	}
	return made, err
}

// Begin is Step up to where the commit has begun. What it stands before is let
// out by Await, or when a later turn must wait for it: so a crash may come
// between, as it may beside Run.
func (r *Runner) Begin() (bool, error) {
	r.alone = true
	if f := r.broken.Load(); f != nil { // a read beside the loop found it broken
		r.settleBegun()
		return false, r.end(f.err)
	}
	if len(r.free) == 0 {
		r.settleBegun()
	}
	if r.spent {
		r.settleBegun()
		return true, r.end(r.handOver(ErrSpent, r.passAlone))
	}
	t := <-r.free
	made, err := r.turn(t)
	if err == nil && made {
		err = r.passOn(t)
	} else {
		r.free <- t
	}
	if err != nil {
		r.settleBegun() // what has begun is answered, come what may
		return made, r.end(err)
	}
	return made || r.again, nil
}

// Await waits for what Begin has begun, and lets out what stood behind it.
func (r *Runner) Await() error {
	r.settleBegun()
	if err := r.Err(); err != nil {
		return r.end(err)
	}
	return nil
}

func (r *Runner) settleBegun() {
	for len(r.begun) > 0 {
		t := <-r.begun
		r.settle(t)
		r.free <- t
	}
}

// Close ends a runner that was driven by Step, in order.
func (r *Runner) Close() error {
	if r.Err() != nil {
		return nil
	}
	r.settleBegun()
	return r.end(r.handOver(ErrClosed, r.passAlone))
}

// passAlone is passOn where nobody else settles the turn.
func (r *Runner) passAlone(t *turn) error {
	err := r.passOn(t)
	r.settleBegun()
	if err == nil {
		err = r.Err()
	}
	return err
}

// Due is when the machine wants its next turn; 0 = when something comes.
func (r *Runner) Due() task.Time { return r.due }

// die notes the first fault. Later mail is refused from here on.
func (r *Runner) die(err error) {
	if r.broken.CompareAndSwap(nil, &fault{err}) {
		select {
		case r.settled <- struct{}{}:
		default:
		}
		r.box.ring()
	}
}

// handOver takes no more mail, answers what has come in, and writes the claims of
// what runs, so that the next owner knows. pass takes each turn that is made. It
// returns why, unless it meets a fault.
func (r *Runner) handOver(why error, pass func(t *turn) error) error {
	stays := errors.Is(why, ErrSpent)
	if stays {
		r.box.stop(task.ErrReopening)
	} else {
		r.box.stop(task.Errorf(task.Unavailable, "the queue is being closed: try again"))
	}
	r.ending = true
	for {
		t := <-r.free
		made, err := r.turn(t)
		if err != nil {
			return err
		}
		if !made {
			r.free <- t
			if r.again {
				continue
			}
			break
		}
		if err := pass(t); err != nil {
			return err
		}
	}
	t := <-r.free
	t.reset()
	r.m.Close(r.now(), stays, &r.out)
	if err := r.commit(t); err != nil {
		return err
	}
	if t.wait != nil {
		if err := t.wait(); err != nil {
			return fmt.Errorf("hand over partition %d: %w", r.p, err)
		}
	}
	return why
}

// end tells everybody who still waits, and releases the partition.
func (r *Runner) end(err error) error {
	r.die(err)
	err = r.Err()
	r.closing.Do(func() {
		why := r.refusal()
		if errors.Is(err, ErrClosed) {
			why = task.Errorf(task.Unavailable, "the queue was closed: try again")
		}
		r.refuseMail(why, task.AppliedNo)
		r.readers.stop()
		r.watches.failAll(why)
		for _, p := range r.polls {
			if p.joined {
				r.endPoll(p)
				p.failed(why)
			}
		}
		r.polls, r.newPolls, r.onces = nil, nil, nil
		for _, a := range r.order {
			if a.num != 0 {
				a.credit.leave(&a.tap)
				a.recv.Lost(why)
			}
		}
		r.order, r.sessions, r.crews, r.active = nil, nil, nil, nil
		if e := r.part.Release(); e != nil && errors.Is(err, ErrClosed) {
			r.broken.Store(&fault{fmt.Errorf("release partition %d: %w", r.p, e)})
		}
		close(r.done)
	})
	if err = r.Err(); errors.Is(err, ErrClosed) {
		return nil
	}
	return err
}

// refuseMail closes the mailbox and answers what was in it, in the loop's hands
// and put off.
func (r *Runner) refuseMail(why *task.Error, applied task.Applied) {
	left, views, loads := r.box.close(why)
	for _, m := range r.deferred {
		failMail(&m.cmd, &m.errand, why, applied)
	}
	r.deferred = nil
	for _, in := range []*intake{&r.finish, &r.admit} {
		for !in.empty() {
			m := in.take()
			failMail(&m.cmd, &m.errand, why, applied)
		}
	}
	for i := range left {
		failMail(&left[i].cmd, &left[i].errand, why, applied)
	}
	for _, v := range append(r.views, views...) {
		v.done(why)
	}
	r.views = nil
	for _, l := range loads {
		r.readers.giveBack(l)
	}
}
