package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// Between two tries. A partition that fails again and again is away for many
// seconds, in which there is nothing to see.
const (
	waitMin = 5 * time.Millisecond
	waitMax = 160 * time.Millisecond
)

// hand is a worker session that completes what it gets, unless told to hold it.
type hand struct {
	t    *testing.T
	n    *Node
	opts task.SessionOptions

	mu        sync.Mutex
	s         task.Session
	held      []task.Delivery
	completed map[task.ID]int // accepted completions
	lost      *task.Error
	given     int // credit handed out and not yet used up
}

func newHand(t *testing.T, n *Node, id string, credit int, queues ...string) *hand {
	t.Helper()
	h := &hand{t: t, n: n, completed: map[task.ID]int{}}
	h.opts = task.SessionOptions{ID: id, Concurrency: 4, TTL: 2 * task.Second}
	for _, q := range queues {
		h.opts.Queues = append(h.opts.Queues, task.QueueWeight{Queue: q})
	}
	h.attach()
	h.credit(credit)
	return h
}

func (h *hand) attach() {
	h.t.Helper()
	for wait := waitMin; ; wait = min(2*wait, waitMax) {
		h.mu.Lock()
		h.lost = nil // it may be set again before Attach returns
		h.mu.Unlock()
		s, err := h.n.Attach(context.Background(), h.opts, h)
		if err == nil {
			h.mu.Lock()
			h.s, h.given = s, 0
			h.mu.Unlock()
			return
		}
		if !errors.Is(err, task.ErrUnavailable) {
			h.t.Fatalf("attach %s: %v", h.opts.ID, err)
		}
		<-time.After(wait) // of the bubble's time
	}
}

func (h *hand) credit(n int) {
	h.mu.Lock()
	h.given += n
	s := h.s
	h.mu.Unlock()
	s.Credit(n)
}

func (h *hand) Deliver(ds []task.Delivery) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.given -= len(ds)
	h.held = append(h.held, ds...)
	if h.given < 0 {
		h.t.Errorf("session %s got %d tasks more than it gave credit for", h.opts.ID, -h.given)
	}
}

func (h *hand) Revoke(ts []task.Token, why task.Code) {}

func (h *hand) Lost(err *task.Error) {
	h.mu.Lock()
	h.lost = err
	h.mu.Unlock()
}

// work completes all that is held and gives as much credit again. It says whether
// there was anything to do.
func (h *hand) work() bool {
	h.mu.Lock()
	ds, s, lost := h.held, h.s, h.lost
	h.held = nil
	h.mu.Unlock()
	if lost != nil {
		h.opts.Running = nil
		for _, d := range ds {
			h.opts.Running = append(h.opts.Running, d.Token)
		}
		h.attach()
		h.credit(50)
		s = h.s
	}
	_ = s.Heartbeat()
	if len(ds) == 0 {
		return lost != nil
	}
	b := &task.OutcomeBatch{}
	for _, d := range ds {
		b.Outcomes = append(b.Outcomes, task.Outcome{Token: d.Token, Started: true})
	}
	if err := task.ReportWait(context.Background(), h.n, b); err != nil {
		h.mu.Lock()
		h.held = append(h.held, ds...) // it is kept, and said again
		h.mu.Unlock()
		return true
	}
	h.mu.Lock()
	for i, d := range ds {
		if b.Codes[i] == task.OK {
			h.completed[d.ID]++
		}
	}
	h.mu.Unlock()
	h.credit(len(ds))
	return true
}

// enqueueAll puts n tasks, repeating what is unavailable under its number.
func enqueueAll(t *testing.T, n *Node, queue, producer string, total int) []task.ID {
	var ids []task.ID
	for first := 1; first <= total; first += 20 {
		b := &task.EnqueueBatch{Queue: queue, Producer: producer}
		for i := first; i < min(first+20, total+1); i++ {
			b.Specs = append(b.Specs, task.Spec{Number: uint64(i), Type: "t", Payload: fmt.Append(nil, i)})
		}
		for wait := waitMin; len(b.Specs) > 0; wait = min(2*wait, waitMax) {
			err := task.EnqueueWait(context.Background(), n, b)
			if err != nil && !errors.Is(err, task.ErrUnavailable) && task.CodeOf(err) != task.Unavailable {
				t.Errorf("enqueue: %v", err)
				return ids
			}
			again := &task.EnqueueBatch{Queue: queue, Producer: producer}
			for i := range b.Specs {
				if err != nil || b.Results[i].Err != nil {
					again.Specs = append(again.Specs, b.Specs[i])
				} else {
					ids = append(ids, b.Results[i].ID)
				}
			}
			if b = again; len(b.Specs) > 0 {
				<-time.After(wait)
			}
		}
	}
	return ids
}

// drainAll lets the hands work until the queue has ended all its tasks.
func drainAll(t *testing.T, n *Node, queue string, total int, hands ...*hand) {
	t.Helper()
	for i := 0; ; i++ {
		for _, h := range hands {
			h.work()
		}
		qs, err := n.Queues(context.Background(), []string{queue})
		if err == nil && qs[0].Succeeded == int64(total) {
			return
		}
		if i > 5_000 {
			t.Fatalf("the drain hangs: %+v, %v", qs, err)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// A queue of width 4 takes and serves every task once, whoever comes and goes.
func TestWideQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions, c.WindowTasks = 4, 64 })
		early := newHand(t, n, "early", 30, "hot") // attached before the queue is widened
		first := enqueueAll(t, n, "hot", "p0", 100)
		four := 4
		if _, err := n.SetQueue(context.Background(), "hot", task.QueuePatch{Width: &four}); err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		var mu sync.Mutex
		all := first
		for p := range 3 {
			wg.Go(func() {
				ids := enqueueAll(t, n, "hot", fmt.Sprint("p", p+1), 300)
				mu.Lock()
				all = append(all, ids...)
				mu.Unlock()
			})
		}
		wg.Wait()
		places := map[uint16]int{}
		for _, id := range all {
			places[id.Partition]++
		}
		if len(places) != 4 {
			t.Fatalf("tasks went to partitions %v, want all four", places)
		}
		late := newHand(t, n, "late", 30, "hot")
		dying := newHand(t, n, "dying", 40, "hot")
		synctest.Wait()
		dying.s.Close() // with all it holds
		drainAll(t, n, "hot", 1_000, early, late)
		once(t, all, early, late, dying)
		qs, err := n.Queues(context.Background(), []string{"hot"})
		if err != nil || qs[0].Enqueued != 1_000 || qs[0].Ready != 0 || qs[0].Running != 0 || qs[0].Config.Width != 4 {
			t.Fatalf("got %+v, %v", qs, err)
		}
		for _, h := range []*hand{early, late} {
			if left := h.s.(*session).credit.Left(); left != h.given {
				t.Errorf("session %s has a credit of %d, want the %d it gave", h.opts.ID, left, h.given)
			}
		}
		if left := dying.s.(*session).credit.Left(); left != 0 {
			t.Errorf("a closed session has a credit of %d", left)
		}
	})
}

// once wants every task completed exactly once by all hands together.
func once(t *testing.T, ids []task.ID, hands ...*hand) {
	t.Helper()
	n := map[task.ID]int{}
	for _, h := range hands {
		h.mu.Lock()
		for id, k := range h.completed {
			n[id] += k
		}
		h.mu.Unlock()
	}
	seen := map[task.ID]bool{}
	for _, id := range ids {
		if seen[id] {
			t.Errorf("two enqueues got the ID %s", id)
		}
		seen[id] = true
		if n[id] != 1 {
			t.Errorf("task %s was completed %d times", id, n[id])
		}
	}
	if len(n) != len(ids) {
		t.Errorf("%d tasks were completed, %d enqueued", len(n), len(ids))
	}
}

// The same enqueue, repeated, gets the same IDs over a wide queue as well.
func TestWideRepeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 4 })
		four := 4
		if _, err := n.SetQueue(context.Background(), "hot", task.QueuePatch{Width: &four}); err != nil {
			t.Fatal(err)
		}
		a, b := enqueueAll(t, n, "hot", "p", 100), enqueueAll(t, n, "hot", "p", 100)
		for i := range a {
			if a[i] != b[i] {
				t.Fatalf("number %d got %s, then %s", i+1, a[i], b[i])
			}
		}
	})
}

// A repeat gets the same task although the queue's width was changed meanwhile, by
// its number and by its idempotency key, over a restart too.
func TestRepeatOverAChangeOfWidth(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		open := func() *Node { return openNode(t, func(c *Config) { c.Partitions, c.Store = 8, st }) }
		n := open()
		keyed := func(key string) task.Enqueued {
			b := &task.EnqueueBatch{Queue: "hot", Specs: []task.Spec{{Type: "t", Idempotency: key, Payload: []byte(key)}}}
			if err := task.EnqueueWait(context.Background(), n, b); err != nil || b.Results[0].Err != nil {
				t.Fatal(err, b.Results)
			}
			return b.Results[0]
		}
		numbered, keys := map[string][]task.ID{}, map[string]task.ID{}
		for round, width := range []int{1, 4, 8, 1, 3} {
			if _, err := n.SetQueue(context.Background(), "hot", task.QueuePatch{Width: &width}); err != nil {
				t.Fatal(err)
			}
			if round == 3 {
				if err := n.Close(context.Background()); err != nil {
					t.Fatal(err)
				}
				n = open()
			}
			name := fmt.Sprint("p", round)
			numbered[name] = enqueueAll(t, n, "hot", name, 40)
			for i := range 40 {
				key := fmt.Sprint(name, "-", i)
				keys[key] = keyed(key).ID
			}
			for name, want := range numbered {
				if got := enqueueAll(t, n, "hot", name, 40); !slices.Equal(got, want) {
					t.Fatalf("width %d: producer %s got %v, want %v", width, name, got, want)
				}
			}
			for key, id := range keys {
				if r := keyed(key); r.ID != id || !r.Existing && !strings.HasPrefix(key, name) {
					t.Fatalf("width %d: key %s got %+v, want %s", width, key, r, id)
				}
			}
		}
		// A batch of which a part is known: the rest is taken, each in its place.
		b := &task.EnqueueBatch{Queue: "hot", Producer: "p0"}
		for i := range 60 {
			b.Specs = append(b.Specs, task.Spec{Type: "t", Number: uint64(i + 1), Payload: fmt.Append(nil, i)})
		}
		if err := task.EnqueueWait(context.Background(), n, b); err != nil {
			t.Fatal(err)
		}
		for i, r := range b.Results {
			if r.Err != nil || r.Existing != (i < 40) || i < 40 && r.ID != numbered["p0"][i] {
				t.Fatalf("number %d: got %+v", i+1, r)
			}
		}
		if qs, err := n.Queues(context.Background(), []string{"hot"}); err != nil || qs[0].Enqueued != 5*80+20 {
			t.Fatalf("got %+v, %v: want %d enqueued", qs, err, 5*80+20)
		}
	})
}

// Partitions that end in a fault are opened again; producers and workers that
// repeat what was unavailable lose nothing and do nothing twice.
func TestPartitionsComeBack(t *testing.T) {
	seeds := uint64(4)
	if testing.Short() {
		seeds = 2
	}
	for seed := range seeds {
		synctest.Test(t, func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(seed, 7))
			var on atomic.Bool
			faults := 0
			var mu sync.Mutex
			mem := store.NewMem(store.MemOptions{PunishSingleDelete: true, Fault: func(at store.FaultPoint, _ uint16) store.Fault {
				mu.Lock()
				defer mu.Unlock()
				often := 8
				if at == store.AtRead {
					often = 200 // opening reads much
				}
				if !on.Load() || rnd.IntN(often) != 0 {
					return store.FaultNone
				}
				faults++
				if at == store.AtBegin {
					return []store.Fault{store.FaultFull, store.FaultError, store.FaultUnknownKept, store.FaultUnknownLost}[rnd.IntN(4)]
				}
				return store.FaultError
			}})
			n := openNode(t, func(c *Config) { c.Partitions, c.Store = 2, mem })
			two := 2
			if _, err := n.SetQueue(context.Background(), "q", task.QueuePatch{Width: &two}); err != nil {
				t.Fatal(err)
			}
			hands := []*hand{newHand(t, n, "one", 20, "q"), newHand(t, n, "two", 20, "q")}
			on.Store(true)
			stop := make(chan struct{})
			var working sync.WaitGroup
			for _, h := range hands {
				working.Go(func() {
					for wait := waitMin; ; wait = min(2*wait, waitMax) {
						select {
						case <-stop:
							return
						case <-time.After(wait):
						}
						if h.work() {
							wait = waitMin
						}
					}
				})
			}
			ids := enqueueAll(t, n, "q", "p", 1_000)
			on.Store(false)
			close(stop)
			working.Wait()
			drainAll(t, n, "q", 1_000, hands...)
			once(t, ids, hands...)
			if faults < 5 {
				t.Errorf("only %d faults: the test tests nothing", faults)
			}
		})
	}
}

// A queue made narrower again is served to its last task, over a restart too.
func TestNarrowAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		n := openNode(t, func(c *Config) { c.Partitions, c.Store = 4, st })
		width := func(w int) {
			if _, err := n.SetQueue(context.Background(), "hot", task.QueuePatch{Width: &w}); err != nil {
				t.Fatal(err)
			}
		}
		width(4)
		ids := enqueueAll(t, n, "hot", "p", 200)
		width(1)
		more := enqueueAll(t, n, "hot", "p2", 50)
		for _, id := range more {
			if id.Partition != n.routes.home("hot") {
				t.Fatalf("task %s went to partition %d, want the queue's home", id, id.Partition)
			}
		}
		ids = append(ids, more...)
		if err := n.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		n = openNode(t, func(c *Config) { c.Partitions, c.Store = 4, st })
		h := newHand(t, n, "w", 20, "hot")
		drainAll(t, n, "hot", 250, h)
		once(t, ids, h)
	})
}
