package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/partition"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// member is one partition of the node: the runner that serves it now, and how it
// is opened again when that ends.
type member struct {
	n     *Node
	id    uint16
	clock *partition.Clock                 // of all its runners: time goes on between them
	now   atomic.Pointer[partition.Runner] // nil while it is being opened anew
	why   atomic.Pointer[string]           // why it is not served
	fail  atomic.Pointer[error]            // how the last runner ended, if not in order

	ills atomic.Pointer[ills] // its faults, if there were any of late

	mu       sync.Mutex
	away     map[string]awaySession // guarded by mu; sessions of this process that the fault has cut off
	awayLook int                    // guarded by mu; when there are so many, those that have lapsed are looked for

	told  bool // whether the clock is ahead
	again bool // a runner of this process ended in a fault of the store

	// Of a Manual node.
	waited int
}

// runner is who serves the partition, or nil.
func (m *member) runner() *partition.Runner { return m.now.Load() }

// awaySession is a session that has left, until it lapses.
type awaySession struct {
	opts  task.SessionOptions
	until task.Time
}

// noteAway remembers a session of this process when its partition ends in a fault,
// and when it leaves, since that may come right after. Such sessions are recorded
// nowhere; the next runner waits for them all the same, since the process that they
// live in has not died.
func (m *member) noteAway(o *task.SessionOptions) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.away == nil {
		m.away = make(map[string]awaySession)
	}
	m.away[o.ID] = awaySession{*o, m.clock.Now().Add(cmp.Or(o.TTL, task.DefaultSessionTTL))}
	if len(m.away) >= m.awayLook {
		m.lapseAway()
		m.awayLook = max(awayLookMin, 2*len(m.away))
	}
}

// lapseAway forgets sessions that the partition knows no longer either; while it is
// not served they may not lapse. It is called with mu held.
func (m *member) lapseAway() {
	if r := m.runner(); r == nil || r.Err() != nil {
		return
	}
	now := m.clock.Now()
	maps.DeleteFunc(m.away, func(_ string, a awaySession) bool { return a.until <= now })
}

// isBack forgets a session that has attached again.
func (m *member) isBack(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.away, id)
}

// takeAway lists those sessions, by ID, and forgets them.
func (m *member) takeAway() []task.SessionOptions {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all []task.SessionOptions
	for _, id := range slices.Sorted(maps.Keys(m.away)) {
		all = append(all, m.away[id].opts)
	}
	m.away = nil
	return all
}

// open acquires the partition and reads what must be known.
func (m *member) open(ctx context.Context) error {
	cfg := &m.n.cfg
	part, err := cfg.Store.Acquire(ctx, m.id, cfg.Name)
	if err != nil {
		return fmt.Errorf("acquire partition %d: %w", m.id, err)
	}
	share := len(m.n.members)
	if share == 0 {
		share = cfg.Partitions
	}
	away := m.takeAway()
	r, err := partition.Open(ctx, part, partition.Config{
		Away: away, Again: m.again, Damaged: cfg.errDamaged(),
		Partition: m.id, Clock: m.clock, Observe: cfg.Observe, Held: m.n.held, Check: cfg.Check,
		WindowTasks: max(cfg.WindowTasks/share, 16), CacheBytes: cfg.CacheBytes / int64(share),
		HistoryBytes: cfg.HistoryBytes / int64(share), IdemBytes: cfg.IdemBytes, QueueIdle: cfg.QueueIdle, EpochMax: cfg.EpochMax,
	})
	if err != nil {
		for i := range away {
			m.noteAway(&away[i])
		}
		return err
	}
	m.why.Store(nil)
	m.tellAhead()
	m.now.Store(r)
	return nil
}

// tellAhead says at the first start that the data come from a time that the wall
// clock has not reached: it was wrong then, or is now.
func (m *member) tellAhead() {
	d := m.clock.Offset()
	first := !m.told
	m.told = true
	if !first || d < offsetSayMin || m.n.toldAhead.Swap(true) {
		return
	}
	m.n.cfg.Log.Warn("the data's clock is ahead of this machine's clock, which was or is set wrong: delays, leases and timeouts keep their lengths, and run-at times go by this machine's clock",
		"partition", m.id, "ahead", (time.Duration(d) * time.Millisecond).String())
}

// serve runs the partition, and opens it again whenever that ends in a fault that
// this can mend.
func (m *member) serve(ctx context.Context) {
	wait := reopenWaitMin
	for {
		spent := false
		if r := m.runner(); r != nil {
			began := time.Now()
			err := r.Run(ctx)
			m.now.Store(nil)
			if err == nil || ctx.Err() != nil {
				m.end(err)
				return
			}
			if m.lost(err) {
				return
			}
			if time.Since(began) > reopenFreshMax {
				wait = reopenWaitMin
			}
			spent = errors.Is(err, partition.ErrSpent)
		}
		if !spent {
			select {
			case <-ctx.Done():
				return
			case <-time.After(wait + rand.N(wait)): // jitter: many partitions end together
			}
			wait = min(2*wait, reopenWaitMax)
		}
		if err := m.open(ctx); err != nil && m.lost(err) {
			return
		}
	}
}

// ills are faults of a partition that came close to one another.
type ills struct {
	count int
	last  time.Time
	text  string // of the last
}

// failing says that the partition fails again and again, and why; "" = it does
// not. Between two faults it may well be serving.
func (m *member) failing() string {
	i := m.ills.Load()
	if i == nil || i.count < illsMin || time.Since(i.last) > illsFreshMax {
		return ""
	}
	return fmt.Sprintf("partition %d has failed %d times in a row, each time soon after it was opened: %s", m.id, i.count, i.text)
}

// lost notes why the partition is not served, and says whether that is final.
func (m *member) lost(err error) bool {
	text := err.Error()
	m.why.Store(&text)
	m.again = !errors.Is(err, store.ErrFenced) // or another process may have had it since
	if errors.Is(err, partition.ErrSpent) {    // no fault
		m.n.cfg.Log.Info("a partition has used the numbers of its epoch: opening it under the next", "partition", m.id)
		return false
	}
	now := &ills{1, time.Now(), text}
	if i := m.ills.Load(); i != nil && now.last.Sub(i.last) < illsFreshMax {
		now.count += i.count
	}
	m.ills.Store(now)
	if errors.Is(err, store.ErrDamaged) {
		m.n.condemn(err)
		return true
	}
	m.n.cfg.Log.Error("a partition is not served: opening it again", "partition", m.id, "error", err)
	return false
}

// end notes how the service ended. Damage was told when it was found.
func (m *member) end(err error) {
	if err != nil && m.n.damaged.Load() == nil {
		m.fail.Store(&err)
	}
}

// ended is how the partition's service ended, nil for in order.
func (m *member) ended() error {
	if err := m.fail.Load(); err != nil {
		return *err
	}
	return nil
}

// step is one turn of a Manual node's partition.
func (m *member) step(turn func(*partition.Runner) (bool, error)) bool {
	r := m.runner()
	if r == nil {
		if m.waited++; m.waited < 3 { // let others see that it is away
			return true
		}
		m.waited = 0
		if m.n.damaged.Load() != nil {
			return false
		}
		if err := m.open(context.Background()); err != nil {
			m.lost(err)
			return false
		}
		return true
	}
	made, err := turn(r)
	if err != nil {
		m.now.Store(nil)
		m.lost(err)
		return true
	}
	return made
}
