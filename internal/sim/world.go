// Package sim runs a whole node in one goroutine, under a clock it holds, over a
// store that fails on purpose, among producers and workers that misbehave, and
// then asks whether every promise was kept. A seed decides everything: the same
// seed is the same run.
package sim

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// System is what the simulator drives: a node, or one that was tampered with to
// see a checker cry.
type System interface {
	task.Broker
	task.Inspector
	Step() bool
	Begin() bool
	Refill() bool
	Close(context.Context) error
}

// Options of a run. The zero value but for Seed is a run with everything.
type Options struct {
	Seed   uint64
	Steps  int                              // 0 = 500
	Calm   bool                             // no faults and nobody misbehaves, so that order is exact
	Plain  bool                             // no purge, no change of width, nothing under way in a crash: as the first seeds were run
	Steady bool                             // time does nothing strange: as seeds were run after that
	Narrow bool                             // nothing of a shape: likewise
	Tamper func(System, *store.Mem) System  // tests of the checkers
	Torn   bool                             // likewise: the store keeps half of a torn batch
	Prompt bool                             // reads show what has begun; else they hide some of it in every other seed
	Log    func(format string, args ...any) // nil = no one listens
}

// Result is what a run came to.
type Result struct {
	Faults    []string // what a checker cried; empty = all promises were kept
	Sum       uint64   // of all that was seen: the same seed gives the same
	Sent      int      // tasks producers asked for
	Answered  int      // of these, answered
	Recovered int      // never answered, and there all the same
	Repeats   int      // answered to a repeat: the first answer had been lost
	Delivered int
	Completed int
	Restarts  int
	Broken    int // faults of the store
	Torn      int // batches that were under way in a crash
	Purged    int
}

const (
	stepsDefault = 500
	drainMax     = 6000 // rounds of the drain before it counts as stuck
	openMax      = 50   // tries to open the node
	startOfTime  = 1_790_000_000_000
)

var queueNames = []string{"a", "b"}

var typeNames = []string{"x", "y"}

// world is one run.
type world struct {
	o       Options
	rng     *rand.Rand
	dice    *rand.Rand // for what a Plain run has not
	now     task.Time
	mem     *store.Mem
	sys     System
	node    *node.Node // what sys is, or has been made of
	clocks  clocks
	calm    bool
	shaken  bool // calm, and restarted now and then
	faulty  bool // the store may fail
	dying   bool // a crash of the store took the process with it
	broken  int
	torn    int // batches that were under way in a crash
	restart int
	life    int // counts processes: answers to callers of an earlier one never come

	parts, window int
	epochMax      uint64 // dispatches or births of an epoch; 0 = as many as there are numbers for
	deletes       bool   // people delete tasks
	wide          int    // partitions of the first queue

	shape     shape
	more      *rand.Rand      // for what only shapes have
	old       System          // an earlier owner that was paused
	shakes    int             // faults and restarts
	shookLast task.Time       // when the last one was
	unheard   bool            // a worker has closed since the node was at rest: it may not know
	quiet     task.Time       // when no commit was under way
	rested    task.Time       // when the node was last seen at rest
	paused    map[string]bool // queues that are paused for sure
	claims    map[string]bool // queues that write each lease first, for sure
	last      []task.State    // what was purged last
	meddled   task.ID         // is canceled while a call waits
	nudged    *worker         // reports while a call waits
	echoed    []*echoKey
	sessions  map[string]task.Time // by ID, when its TTL is over

	led       *ledger
	watches   []*watching
	producers []*producer
	workers   []*worker
	curls     []*curl
}

// Run makes one run.
func Run(o Options) Result {
	if o.Steps == 0 {
		o.Steps = stepsDefault
	}
	w := &world{o: o, rng: rand.New(rand.NewPCG(o.Seed, 0x5851f42d4c957f2d)), now: startOfTime, led: newLedger()}
	w.dice = rand.New(rand.NewPCG(o.Seed, 0x2545f4914f6cdd1d))
	w.clocks = clocks{w: w, dice: rand.New(rand.NewPCG(o.Seed, 0x9fb21c651e98df25))}
	w.paused, w.claims, w.sessions = map[string]bool{}, map[string]bool{}, map[string]task.Time{}
	w.calm = o.Calm || w.rng.IntN(5) == 0
	w.parts = []int{1, 1, 1, 2, 3}[w.rng.IntN(5)]
	w.window = []int{16, 60, 400, 100_000}[w.rng.IntN(4)]
	w.deletes = w.often(25)
	w.wide = 1 + w.rng.IntN(w.parts)
	if o.Seed%8 == 3 && !o.Narrow { // an epoch is soon spent
		w.epochMax = 80
	}
	w.drawShape()
	w.led.forgets = w.shape.keep != 0
	w.led.log, w.led.now, w.led.held = w.log, func() task.Time { return w.now }, w.clocks.off()
	mo := store.MemOptions{Manual: true, PunishSingleDelete: true, Nonce: w.rng.Uint64, Fault: w.fault,
		Keep: func(_ uint16, pending int) int { return w.dice.IntN(pending + 1) }, KeepTorn: o.Torn}
	if o.Seed%2 == 0 && !o.Prompt {
		veil := rand.New(rand.NewPCG(o.Seed, 0x9e3779b97f4a7c15))
		mo.Shows = func(_ uint16, pending int) int { return veil.IntN(pending + 1) }
	}
	w.mem = store.NewMem(mo)
	w.led.calm = w.calm
	w.shaken = w.calm && !o.Plain && w.dice.IntN(3) > 0
	for i := range 1 + w.rng.IntN(3) {
		w.producers = append(w.producers, newProducer(w, i))
	}
	for i := range 1 + w.rng.IntN(4) {
		w.workers = append(w.workers, newWorker(w, i))
	}
	if !w.calm {
		w.curls = append(w.curls, &curl{w: w})
	}
	w.log("seed %d: calm %v, %d partitions, window %d, %d producers, %d workers, %+v", o.Seed, w.calm, w.parts, w.window, len(w.producers), len(w.workers), w.shape)
	w.play()
	return w.result()
}

func (w *world) play() {
	if !w.open() {
		return
	}
	for _, q := range queueNames {
		if durable := task.ClaimsDurable; !w.calm && w.often(25) {
			if _, err := w.sys.SetQueue(context.Background(), q, task.QueuePatch{Claims: &durable}); err != nil {
				w.led.cry("answer", "claims of %q: %v", q, err)
			}
			w.claims[q] = true
		}
	}
	if w.wide > 1 && !w.calm {
		if _, err := w.sys.SetQueue(context.Background(), queueNames[0], task.QueuePatch{Width: &w.wide}); err != nil {
			w.led.cry("answer", "width %d: %v", w.wide, err)
		}
	}
	w.setUp()
	w.faulty = !w.calm
	for i := 0; i < w.o.Steps && len(w.led.cries) == 0; i++ {
		w.led.step++
		w.act()
		w.clocks.act()
		if w.shape != (shape{}) && w.sys != nil && len(w.led.cries) == 0 {
			w.restless()
		}
		w.turns(w.rng.IntN(4))
	}
	w.faulty = false
	if len(w.led.cries) == 0 && w.drain() {
		w.inspect()
	}
}

func (w *world) log(format string, args ...any) {
	if w.o.Log != nil {
		w.o.Log(fmt.Sprintf("%d @%d ", w.led.step, w.now-startOfTime)+format, args...)
	}
}

// often is true in percent of a hundred draws.
func (w *world) often(percent int) bool { return w.rng.IntN(100) < percent }

// act lets one of those in the world do something, or time pass.
func (w *world) act() {
	switch k := w.rng.IntN(100); {
	case k < 25:
		w.producers[w.rng.IntN(len(w.producers))].act()
	case k < 75:
		w.workers[w.rng.IntN(len(w.workers))].act()
	case k < 82:
		if len(w.curls) > 0 {
			w.curls[0].act()
		}
	case k < 94:
		w.pass()
	case k < 96:
		w.watch()
	case k < 98:
		if !w.calm {
			if !w.o.Plain && w.dice.IntN(3) == 0 {
				w.reshape()
			} else {
				w.operate()
			}
		}
	default:
		if w.shaken {
			w.shake()
		} else if !w.calm && w.often(40) {
			w.crash()
		}
	}
}

func (w *world) pass() {
	switch k := w.rng.IntN(10); {
	case k < 6:
		w.advance(task.Millis(w.rng.IntN(50)))
	case k < 9:
		w.advance(task.Millis(w.rng.IntN(1500)))
	default:
		if w.calm {
			w.advance(task.Millis(w.rng.IntN(1500)))
		} else {
			w.advance(task.Millis(w.rng.IntN(15_000)))
		}
	}
}

// advance moves the clock, in steps that let heartbeats through.
func (w *world) advance(d task.Millis) {
	for d > 0 {
		s := min(d, task.Second)
		w.now = w.now.Add(s)
		d -= s
		for _, k := range w.workers {
			k.beat()
		}
		w.turns(2)
	}
}

// turns gives the node turns, and sees whether it lived through them.
func (w *world) turns(n int) {
	for range n {
		if w.sys == nil {
			return
		}
		if w.mem.Pending() == 0 {
			w.quiet = w.now
		}
		busy := false
		if !w.o.Plain && w.dice.IntN(2) == 0 {
			busy = w.sys.Begin()
		} else {
			busy = w.sys.Step()
		}
		if w.often(60) {
			busy = w.sys.Refill() || busy
		}
		if w.died() || !busy {
			return
		}
	}
}

// rest lets the node do all there is to do.
func (w *world) rest() {
	idle := 0 // an answer that a step lets out may be a question to a partition that had its step
	for range 10_000 {
		busy := w.sys.Step()
		if w.sys.Refill() || busy {
			idle = 0
		} else if idle++; idle == 2 {
			w.unheard = false
			return
		}
	}
	w.led.cry("stuck", "the node does not come to rest")
}

// fault is the store's: it decides what goes wrong.
func (w *world) fault(at store.FaultPoint, _ uint16) store.Fault {
	if !w.faulty {
		return store.FaultNone
	}
	switch {
	case at == store.AtBegin && w.rng.IntN(150) == 0:
	case at == store.AtRead && w.rng.IntN(3000) == 0:
	case at == store.AtAcquire && w.rng.IntN(30) == 0:
	default:
		return store.FaultNone
	}
	w.broken++
	w.fell(false)
	if at != store.AtBegin {
		w.log("the store fails at point %d", at)
		return store.FaultError
	}
	f := []store.Fault{store.FaultFull, store.FaultError, store.FaultUnknownLost, store.FaultUnknownKept, store.FaultCrash, store.FaultCrashKept}[w.rng.IntN(6)]
	if f == store.FaultCrash || f == store.FaultCrashKept {
		w.dying = true
		if !w.o.Plain && w.dice.IntN(2) == 0 {
			f = store.FaultTear
		}
	}
	w.log("the store fails a commit: %v", f)
	return f
}

// listener hears what a node logs: a partition that ends for another reason than
// its store broke an invariant.
type listener struct {
	slog.Handler
	mu    sync.Mutex
	led   *ledger
	spent func() // an epoch was, and its partition ends in order
}

// Enabled is slog.Handler's.
func (*listener) Enabled(context.Context, slog.Level) bool { return true }

// Handle is slog.Handler's.
func (h *listener) Handle(_ context.Context, r slog.Record) error {
	if r.Level == slog.LevelInfo && h.spent != nil {
		h.spent()
	}
	r.Attrs(func(a slog.Attr) bool {
		if err, ok := a.Value.Any().(error); ok && !fromStore(err) {
			h.mu.Lock()
			h.led.cry("broke", "%s: %v", r.Message, err)
			h.mu.Unlock()
		}
		return true
	})
	return nil
}

func fromStore(err error) bool {
	for _, e := range []error{store.ErrDead, store.ErrUnknown, store.ErrFull, store.ErrFenced, store.ErrClosed} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// open opens a node over what the store holds.
func (w *world) open() bool {
	w.life++
	w.dying = false
	for range openMax {
		n, err := node.Open(context.Background(), node.Config{
			Store: w.mem, Name: "sim", Partitions: w.parts, Now: w.wall, Steady: func() task.Time { return w.now }, WindowTasks: w.window, EpochMax: w.epochMax,
			Manual: true, Check: true, Log: slog.New(&listener{led: w.led, spent: func() { w.fell(true) }}), Drive: w.driver(),
		})
		if err == nil {
			if w.sys, w.node = System(n), n; w.shookLast != 0 { // who is to be back has time from now on
				w.shookLast = w.now
			}
			if w.o.Tamper != nil {
				w.sys = w.o.Tamper(w.sys, w.mem)
			}
			return true
		}
		w.log("open: %v", err)
		if !fromStore(err) {
			w.led.cry("broke", "the node can't be opened: %v", err)
			return false
		}
		w.mem.Reopen()
		w.fell(true) // partitions that could be opened were closed again
		w.now++
	}
	w.led.cry("stuck", "the node could not be opened in %d tries", openMax)
	return false
}

// crash ends the process, with some of what was begun and not yet durable, and
// starts the next. At times it looks first whether the next knows as much.
func (w *world) crash() {
	if w.often(20) {
		w.log("restart in order")
		w.fell(true)
		if err := w.sys.Close(context.Background()); err != nil {
			w.log("close: %v", err)
		}
		w.mem.Sync()
		w.reborn("")
		return
	}
	if w.often(50) {
		w.mirror()
		return
	}
	w.fell(false)
	if w.shape.owners && w.more.IntN(2) == 0 {
		w.takeOver()
		return
	}
	if w.o.Plain {
		w.mem.Crash(w.rng.IntN(w.mem.Pending() + 1))
	} else {
		w.torn += w.mem.Pending()
		w.mem.Tear()
	}
	w.reborn("the process crashes")
}

// died sees to it that a process does not outlive the crash of its store.
func (w *world) died() bool {
	if w.dying {
		w.reborn("the store's crash took the process along")
		return true
	}
	return false
}

// reborn starts the next process. Nobody hears from the last one.
func (w *world) reborn(why string) {
	if why != "" {
		w.log("%s", why)
	}
	w.restart++
	w.fell(false)
	w.sys = nil
	for _, k := range w.workers {
		k.cutOff()
	}
	if w.often(50) {
		w.now = w.now.Add(task.Millis(w.rng.IntN(3000)))
	}
	w.clocks.between()
	w.open()
}

// mirror crashes a node that is at rest, with all that it wrote, and wants the
// next to count as it did (I3).
func (w *world) mirror() {
	was := w.faulty
	w.faulty = false
	defer func() { w.faulty = was }()
	w.rest()
	before, ok := w.counts()
	if !ok {
		return
	}
	if !w.o.Plain && !w.o.Narrow && w.restful() {
		w.checkClaims()
		if before, ok = w.counts(); !ok {
			return
		}
	}
	w.mem.Sync()
	w.fell(false)
	w.log("crash at rest: %v", before)
	w.restart++
	w.mem.Crash(0)
	w.sys = nil
	for _, k := range w.workers {
		k.cutOff()
	}
	if !w.open() {
		return
	}
	after, ok := w.counts()
	if !ok {
		w.led.cry("mirror", "the counts can't be read after a restart")
		return
	}
	for name, b := range before {
		a := after[name]
		// A restart may end tasks that ran: one crashed for the third time, or was past
		// its expiry and waits again.
		if a.live+a.dead+a.expired != b.live+b.dead+b.expired || a.enqueued != b.enqueued || a.succeeded != b.succeeded || a.canceled != b.canceled ||
			a.live > b.live || a.expired < b.expired {
			w.led.cry("mirror", "queue %q counted %+v before a restart and %+v after it", name, b, a)
		}
	}
}

// tally is the counts of one queue.
type tally struct{ live, dead, enqueued, succeeded, canceled, expired int64 }

func (w *world) counts() (map[string]tally, bool) {
	infos, err := w.sys.Queues(context.Background(), nil)
	if w.died() {
		return nil, false
	}
	if err != nil {
		w.log("queues: %v", err)
		return nil, false
	}
	out := map[string]tally{}
	for _, q := range infos {
		out[q.Name] = tally{live: q.Scheduled + q.Ready + q.Blocked + q.Running, dead: q.Dead, enqueued: q.Enqueued,
			succeeded: q.Succeeded, canceled: q.Canceled, expired: q.Expired}
	}
	return out, true
}

// drain heals the world and lets it come to rest: every number is answered, every
// task ends.
func (w *world) drain() bool {
	w.log("drain")
	if c := &w.clocks; c.skew < c.most { // what was to run at a moment then need not wait for it
		c.to(c.most, "for the drain")
	}
	w.led.draining = true
	clear(w.paused)
	w.old = nil
	for _, k := range w.workers {
		k.cutOff()
	}
	honest := newWorker(w, 99)
	honest.honest = true
	w.workers = []*worker{honest}
	w.curls = nil
	paused := false
	for _, q := range queueNames {
		for range openMax {
			_, err := w.sys.SetQueue(context.Background(), q, task.QueuePatch{Paused: &paused})
			if err == nil {
				break
			}
			w.log("resume %s: %v", q, err)
			w.advance(10)
		}
	}
	for i := range drainMax {
		w.led.step++
		for _, p := range w.producers {
			p.resend()
		}
		honest.act()
		w.turns(20)
		if len(w.led.cries) > 0 {
			return false
		}
		w.advance(task.Millis(1 + w.rng.IntN(20)))
		if i%10 != 9 {
			continue
		}
		c, ok := w.counts()
		live := int64(0)
		for _, t := range c {
			live += t.live
		}
		if ok && live == 0 && !slices.ContainsFunc(w.producers, func(p *producer) bool { return len(p.open) > 0 }) && honest.idle() {
			return true
		}
		w.advance(5 * task.Second)
	}
	c, _ := w.counts()
	w.led.cry("stuck", "after %d rounds the world is not at rest: %+v, %d numbers unanswered", drainMax, c, len(w.producers[0].open))
	return false
}
