// Package node serves partitions in this process: it implements task.Broker and
// task.Inspector by sending each call to the partitions it concerns and joining
// their answers. It decides nothing about tasks and knows no network.
// Its rule: a session's credit is the node's, never a partition's.
package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Stats is what one turn of one partition did.
type Stats = partition.Stats

// Config of a Node. Store is required; the budgets are for the whole node.
type Config struct {
	Store        store.Store
	Name         string // what the node calls itself
	Version      string
	Storage      string           // engine and folder, to be shown
	StorageBytes func() int64     // size of the storage; nil = not known
	Partitions   int              // 0 = 1; fixed for the life of the data
	Now          func() task.Time // the wall clock; nil = the system's. With another, Tick must be called when it moves
	Steady       func() task.Time // how time passes, whatever the wall clock is set to; nil = the system's, or as Now is moved forward
	WindowTasks  int              // tasks in memory; 0 = 200,000
	CacheBytes   int64            // records in memory; 0 = 24 MiB
	HistoryBytes int64            // finished tasks kept; 0 = 2 GiB
	IdemBytes    int64            // idempotency keys a queue and partition; 0 = the machine's default
	QueueIdle    task.Millis      // empty queues that nobody has set go when nothing happened in them for so long; 0 = never
	StorageFault func() error     // why nothing can be written now, nil = it can; nil = not known
	Damaged      func(error)      // called once, when the data prove to be damaged; nothing is served from then on. nil = it is logged
	Doctor       string           // the command that says what is wrong with damaged data; "" = penstock doctor
	Observe      func(Stats)      // called from the partitions' goroutines; must not block
	Log          *slog.Logger     // nil = slog.Default
	Manual       bool             // no goroutines: the caller drives everything by Step
	Drive        func(*Node) bool // of a Manual node: how a call that waits makes turns, false = there is nothing to do; nil = Step and Refill
	Check        bool             // tests: invariants are checked all the time
	EpochMax     uint64           // tests: dispatches or births of an epoch; 0 = as many as there are numbers for
}

// Node is one process's part of the queue.
type Node struct {
	cfg     Config
	now     func() task.Time // the wall clock
	steady  func() task.Time // runs evenly, from anywhere,
	boot    uint64           // or from the beginning of this run of the computer
	held    bool             // the clock is a test's
	space   space
	members []*member
	routes  routes
	started task.Time     // by the steady clock
	turn    atomic.Uint64 // of tasks without a key in queues of more than one partition

	stop    context.CancelFunc
	running sync.WaitGroup
	closed  atomic.Bool

	toldAhead atomic.Bool                // a partition's clock is ahead of the wall clock
	damaged   atomic.Pointer[task.Error] // what calls hear once the data have proved to be damaged

	mu       sync.Mutex // guards all below
	sessions map[string]*session
	leases   map[*unary]struct{} // those that wait
}

var (
	_ task.Broker    = (*Node)(nil)
	_ task.Inspector = (*Node)(nil)
)

// Open acquires every partition, reads what must be known, and serves. It fails
// when any partition can't be read whole.
func Open(ctx context.Context, cfg Config) (*Node, error) {
	if err := cfg.fill(); err != nil {
		return nil, err
	}
	n := &Node{cfg: cfg, sessions: make(map[string]*session), leases: make(map[*unary]struct{})}
	n.setClocks()
	n.space.n = n
	n.space.full, _ = cfg.Store.(store.Fullness)
	n.started = n.steady()
	n.routes.init(cfg.Partitions, func() task.Millis { return n.steady().Sub(n.now()) })
	for p := range cfg.Partitions {
		c := partition.NewClock(n.now, n.steady)
		c.CountsFrom(n.boot)
		n.members = append(n.members, &member{n: n, id: uint16(p), clock: c})
	}
	if err := n.openAll(ctx); err != nil {
		return nil, err
	}
	serving, stop := context.WithCancel(context.Background())
	n.stop = stop
	if !cfg.Manual {
		for _, m := range n.members {
			n.running.Go(func() { m.serve(serving) })
		}
	}
	if err := n.loadRoutes(ctx); err != nil {
		return nil, errors.Join(err, n.Close(ctx))
	}
	return n, nil
}

func (c *Config) fill() error {
	if c.Store == nil {
		return errors.New("open a node: Config.Store is not set")
	}
	if c.Partitions == 0 {
		c.Partitions = 1
	}
	if c.Partitions < 0 || c.Partitions > partitionsMax {
		return fmt.Errorf("open a node: %d partitions: use 1 to %d", c.Partitions, partitionsMax)
	}
	if c.WindowTasks == 0 {
		c.WindowTasks = windowTasks
	}
	if c.CacheBytes == 0 {
		c.CacheBytes = cacheBytes
	}
	if c.HistoryBytes == 0 {
		c.HistoryBytes = historyBytes
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	if c.Doctor == "" {
		c.Doctor = "penstock doctor"
	}
	if c.Damaged == nil {
		c.Damaged = func(err error) {
			c.Log.Error("the data are damaged: nothing is served any more; stop this program and run "+c.Doctor, "error", err)
		}
	}
	return nil
}

// setClocks makes the two clocks of the node: the system's, or those it was given.
func (n *Node) setClocks() {
	n.now, n.steady = n.cfg.Now, n.cfg.Steady
	n.held = n.now != nil
	if !n.held {
		began, up, boot := uptime() // what follows is told by the monotonic clock
		n.boot = boot
		n.now = func() task.Time { return task.Time(time.Now().UnixMilli()) }
		n.steady = func() task.Time { return task.Time((up + time.Since(began)).Milliseconds()) }
	} else if n.steady == nil {
		n.steady = partition.Forward(n.now)
	}
}

// openAll opens the partitions one after another; when one fails the others are
// given up again.
func (n *Node) openAll(ctx context.Context) error {
	for i, m := range n.members {
		if err := m.open(ctx); err != nil {
			for _, o := range n.members[:i] {
				err = errors.Join(err, o.runner().Close())
			}
			return err
		}
	}
	return nil
}

// Tick makes everything look at a clock that was moved by hand.
func (n *Node) Tick() {
	for _, m := range n.members {
		if r := m.runner(); r != nil {
			r.Tick()
		}
	}
	n.tickLeases()
}

// Stall tells a node whose clock is moved by hand that its process has stood still
// for the last d.
func (n *Node) Stall(d task.Millis) {
	for _, m := range n.members {
		if r := m.runner(); r != nil {
			r.Stall(d)
		}
	}
}

// Step gives every partition one turn, and opens again those that have ended;
// only for a Manual node. It says whether anything was done.
func (n *Node) Step() bool {
	busy := false
	for _, m := range n.members {
		if m.step((*partition.Runner).Step) {
			busy = true
		}
	}
	return busy
}

// Begin is Step that leaves commits under way, of several partitions at once: see
// partition.Runner.Begin.
func (n *Node) Begin() bool {
	busy := false
	for _, m := range n.members {
		if m.step((*partition.Runner).Begin) {
			busy = true
		}
	}
	return busy
}

// Refill reads what Step has left to be read beside the loops; only for a Manual
// node.
func (n *Node) Refill() bool {
	busy := false
	for _, m := range n.members {
		if r := m.runner(); r != nil && r.Refill() {
			busy = true
		}
	}
	return busy
}

// Close stops taking calls, tells sessions, and hands every partition over in
// order: what runs in workers of other processes is written down for the next
// owner. It waits until ctx ends, if need be.
func (n *Node) Close(ctx context.Context) error {
	if n.closed.Swap(true) {
		return nil
	}
	n.closeSessions()
	if n.cfg.Manual {
		var err error
		for _, m := range n.members {
			if r := m.runner(); r != nil {
				err = errors.Join(err, r.Close())
			}
		}
		return err
	}
	n.stop()
	done := make(chan struct{})
	go func() {
		n.running.Wait()
		close(done)
	}()
	if _, limited := ctx.Deadline(); !limited {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, closeWaitMax)
		defer cancel()
	}
	select {
	case <-done:
	case <-ctx.Done():
		return fmt.Errorf("close the node: partitions did not end in time: %w", ctx.Err())
	}
	var err error
	for _, m := range n.members {
		err = errors.Join(err, m.ended())
	}
	return err
}

// drive makes a turn for a call that waits.
func (n *Node) drive() bool {
	if n.cfg.Drive != nil {
		return n.cfg.Drive(n)
	}
	stepped := n.Step()
	return n.Refill() || stepped
}

// errDamaged refuses all calls once the data have proved to be damaged.
func (c *Config) errDamaged() *task.Error {
	return task.Errorf(task.Unavailable, "the data are damaged, so nothing is served any more: stop the server and run %s", c.Doctor)
}

// condemn ends the service for good. What is there can't be trusted any more, and
// what was added to it might be lost with it.
func (n *Node) condemn(err error) {
	n.Condemn(err, store.Remedy(err, n.cfg.errDamaged().Text))
}

// Condemn does so for who owns the store and has found its data damaged, or gone,
// while no partition came by. Calls hear text from then on, if nothing before it.
func (n *Node) Condemn(err error, text string) {
	if n.damaged.CompareAndSwap(nil, task.Errorf(task.Unavailable, "%s", text)) {
		n.cfg.Damaged(err)
		if n.stop != nil {
			n.stop()
		}
	}
}

// away is what calls hear of a partition that is not served.
func (n *Node) away() *task.Error {
	if e := n.damaged.Load(); e != nil {
		return e
	}
	return task.ErrReopening
}

// errClosed refuses calls after Close.
var errClosed = task.Errorf(task.Unavailable, "the queue is closed: open it again")

// await waits for done. A Manual node makes its steps meanwhile: there is nobody
// else to make them.
func (n *Node) await(ctx context.Context, done <-chan struct{}) error {
	if !n.cfg.Manual {
		select {
		case <-done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for idle := false; ; {
		select {
		case <-done:
			return nil
		default:
		}
		switch moved := n.drive(); {
		case moved:
			idle = false
		case !idle:
			idle = true // what was let out may ask for more
		default:
			select {
			case <-done:
				return nil
			default:
				return task.Errorf(task.Unavailable, "nothing more happens until the clock moves: try again")
			}
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
}
