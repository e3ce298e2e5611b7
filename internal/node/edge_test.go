package node

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// nearlyFull is a store whose disk is low when told.
type nearlyFull struct {
	*store.Mem
	low atomic.Bool
}

func (s *nearlyFull) Free() (uint64, bool) { return 1 << 20, s.low.Load() }

// With the disk nearly full new tasks are refused with a text that says so, and
// what is there can be finished.
func TestDiskNearlyFull(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := &nearlyFull{Mem: store.NewMem(store.MemOptions{})}
		n := openNode(t, func(c *Config) { c.Store = st })
		ids := enqueueAll(t, n, "q", "p", 10)
		h := newHand(t, n, "w", 10, "q")
		synctest.Wait()
		st.low.Store(true)
		b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
		if err := task.EnqueueWait(context.Background(), n, b); task.CodeOf(err) != task.Exhausted {
			t.Fatalf("got %v, want Exhausted", err)
		}
		h.work()
		once(t, ids, h)
		st.low.Store(false)
		enqueueAll(t, n, "q", "p2", 1)
	})
}

// A unary lease whose caller has gone takes nothing, whenever it goes: before,
// while or after tasks are found.
func TestLeaseOfOneWhoLeft(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 3 })
		queues := []task.QueueWeight{{Queue: "a"}, {Queue: "b"}, {Queue: "c"}, {Queue: "d"}}
		taken := 0
		total := 0
		for i := range 200 {
			ctx, cancel := context.WithCancel(context.Background())
			got := make(chan []task.Delivery, 1)
			go func() {
				ds, _ := n.Lease(ctx, task.LeaseRequest{Queues: queues, Max: 3, Wait: task.Minute})
				got <- ds
			}()
			if i%3 == 0 {
				synctest.Wait()
			}
			go cancel()
			enqueueAll(t, n, queues[i%4].Queue, fmt.Sprint("p", i), 2)
			total += 2
			for range i % 7 {
				runtime.Gosched()
			}
			ds := <-got
			cancel()
			taken += len(ds)
		}
		synctest.Wait()
		qs, err := n.Queues(context.Background(), nil)
		if err != nil {
			t.Fatal(err)
		}
		var ready, running int64
		for _, q := range qs {
			ready += q.Ready
			running += q.Running
		}
		if running != int64(taken) || ready != int64(total-taken) {
			t.Fatalf("%d tasks are running and %d ready; %d were taken of %d", running, ready, taken, total)
		}
		page, err := n.List(context.Background(), task.Filter{Limit: 1000, States: []task.State{task.Ready}})
		if err != nil {
			t.Fatal(err)
		}
		for _, info := range page.Tasks {
			if info.Counts != (task.Counts{}) {
				t.Fatalf("a task was blamed: %+v", info)
			}
		}
	})
}

// Many long polls on an idle queue each get one task when tasks come, and those
// who waited in vain leave nothing behind.
func TestManyLongPolls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 2 })
		const polls = 600
		var wg sync.WaitGroup
		var got, none atomic.Int64
		for range polls {
			wg.Go(func() {
				ds, err := n.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}, {Queue: "r"}}, Max: 1, Wait: 20 * task.Second}) // less than the leases last
				if err != nil {
					t.Error(err)
				}
				got.Add(int64(len(ds)))
				if len(ds) == 0 {
					none.Add(1)
				}
			})
		}
		synctest.Wait()
		enqueueAll(t, n, "q", "p", 300)
		enqueueAll(t, n, "r", "p", 250)
		synctest.Wait()
		if got.Load() != 550 {
			t.Fatalf("%d of 550 tasks were leased", got.Load())
		}
		wg.Wait()
		if none.Load() != 50 {
			t.Fatalf("%d came back empty, want 50", none.Load())
		}
	})
}

// After Close in order a remote worker finds what it runs; nothing is blamed, and
// late calls are refused.
func TestCloseInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		st := store.NewMem(store.MemOptions{PunishSingleDelete: true})
		n := openNode(t, func(c *Config) { c.Store = st })
		ids := enqueueAll(t, n, "q", "p", 20)
		remote := newHand(t, n, "remote", 0, "q")
		remote.opts.Remote = true
		remote.attach()
		remote.credit(5)
		local := newHand(t, n, "local", 5, "q")
		synctest.Wait()
		<-time.After(1500 * time.Millisecond)
		if err := n.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if remote.lost == nil || local.lost == nil {
			t.Fatalf("sessions were not told: %v, %v", remote.lost, local.lost)
		}
		b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
		if err := task.EnqueueWait(context.Background(), n, b); !errors.Is(err, task.ErrUnavailable) && task.CodeOf(err) != task.Unavailable {
			t.Fatalf("after Close: %v", err)
		}
		m := openNode(t, func(c *Config) { c.Store = st })
		remote.n, local.n = m, m
		for _, d := range remote.held {
			info, err := m.Get(context.Background(), d.ID)
			if err != nil || info.Counts != (task.Counts{}) {
				t.Fatalf("got %+v, %v", info, err)
			}
		}
		local.held = nil // its process is another
		drainAll(t, m, "q", 20, remote, local)
		once(t, ids, remote, local)
		for _, id := range ids {
			info, err := m.Get(context.Background(), id)
			if err != nil || info.Counts != (task.Counts{}) {
				t.Fatalf("got %+v, %v", info, err)
			}
		}
	})
}

// What is observed adds up.
func TestObserve(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		enqueued, succeeded, sampled, commits := 0, 0, map[bool]int{}, 0
		n := openNode(t, func(c *Config) {
			c.Observe = func(s Stats) {
				mu.Lock()
				defer mu.Unlock()
				if s.Ops > 0 {
					commits++
				}
				for _, e := range s.Enqueued {
					enqueued += e.N
				}
				for _, a := range s.Attempts {
					if a.Outcome == task.AttemptSucceeded && a.Queue == "q" && a.Type == "t" {
						succeeded += a.N
					}
				}
				for _, x := range s.Samples {
					sampled[x.Ran] += x.Of
				}
			}
		})
		enqueueAll(t, n, "q", "p", 500)
		h := newHand(t, n, "w", 100, "q")
		drainAll(t, n, "q", 500, h)
		mu.Lock()
		defer mu.Unlock()
		if enqueued != 500 || succeeded != 500 || commits == 0 || sampled[true] < 400 || sampled[false] < 400 {
			t.Fatalf("enqueued %d, succeeded %d, %d commits, samples stand for %v", enqueued, succeeded, commits, sampled)
		}
	})
}

// A node that its caller drives by steps answers blocking calls as well.
func TestManual(t *testing.T) {
	clock := task.Time(1_790_000_000_000)
	n := openNode(t, func(c *Config) { c.Manual, c.Partitions, c.Now = true, 2, func() task.Time { return clock } })
	ctx := context.Background()
	done := false
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}, {Type: "t", Delay: task.Second}}, Done: func(*task.EnqueueBatch) { done = true }}
	n.Enqueue(b)
	for n.Step() || n.Refill() {
	}
	if !done || b.Err != nil {
		t.Fatalf("enqueue: %v, %v", done, b.Err)
	}
	ds, err := n.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 5})
	if err != nil || len(ds) != 1 {
		t.Fatalf("lease: %v, %v", ds, err)
	}
	clock = clock.Add(2 * task.Second)
	if ds, err = n.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 5, Wait: task.Second}); err != nil || len(ds) != 1 {
		t.Fatalf("lease: %v, %v", ds, err)
	}
	if ds, err = n.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 5, Wait: task.Second}); err != nil || len(ds) != 0 {
		t.Fatalf("lease of nothing: %v, %v", ds, err)
	}
	if info, err := n.Get(ctx, b.Results[1].ID); err != nil || info.State != task.Running {
		t.Fatalf("get: %v, %v", info.State, err)
	}
}

// A lease whose partition found tasks and then broke is answered, though other
// partitions were asked as well.
func TestLeaseOverBrokenCommit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := store.NewMem(store.MemOptions{})
		n := openNode(t, func(c *Config) { c.Partitions, c.Store = 2, mem })
		a, b := "a", "b"
		for i := 0; n.routes.home(b) == n.routes.home(a); i++ {
			b = fmt.Sprint("b", i)
		}
		enqueueAll(t, n, a, "p", 3)
		for _, wait := range []task.Millis{0, task.Minute} {
			mem.Fail(store.FaultError)
			start := time.Now()
			ds, err := n.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: a}, {Queue: b}}, Max: 1, Wait: wait})
			if task.CodeOf(err) != task.Unavailable || len(ds) != 0 || time.Since(start) > 10*time.Second {
				t.Fatalf("wait %d: got %v, %v after %v", wait, ds, err, time.Since(start))
			}
			<-time.After(2 * time.Second) // the partition is back
		}
		ds, err := n.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: a}, {Queue: b}}, Max: 5})
		if err != nil || len(ds) != 3 {
			t.Fatalf("afterwards: %v, %v", ds, err)
		}
	})
}

// A partition that is opened anew because its disk was full, or failed once, has
// not crashed: the process lives, and no task of it can be to blame.
func TestReopeningIsNoCrash(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		mem := store.NewMem(store.MemOptions{})
		n := openNode(t, func(c *Config) { c.Store = mem })
		for _, fault := range []store.Fault{store.FaultFull, store.FaultError, store.FaultFull, store.FaultUnknownLost} {
			mem.Fail(fault)
			if err := task.EnqueueWait(context.Background(), n, &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}); err == nil {
				t.Fatalf("fault %q: the enqueue went through", fault)
			}
			<-time.After(2 * time.Second) // the partition is back
			info, err := n.Node(context.Background())
			if err != nil || len(info.Partitions) != 1 || !info.Partitions[0].Serving {
				t.Fatalf("fault %q: %+v, %v", fault, info, err)
			}
			if p := info.Partitions[0]; p.SafeMode || p.UncleanOpens != 0 {
				t.Fatalf("fault %q: %d unclean openings, safe mode %v", fault, p.UncleanOpens, p.SafeMode)
			}
		}
	})
}

// A listing over partitions of which each may look at few records only goes on to
// its end, and shows every task once.
func TestListOfFewAmongMany(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := openNode(t, func(c *Config) { c.Partitions = 8 })
		want := map[task.ID]bool{}
		for q := range 8 {
			b := &task.EnqueueBatch{Queue: fmt.Sprint("q", q)}
			for i := range 9_000 {
				typ := "many"
				if i%3_000 == q {
					typ = "few"
				}
				b.Specs = append(b.Specs, task.Spec{Type: typ, Delay: task.Hour})
			}
			if err := task.EnqueueWait(context.Background(), n, b); err != nil {
				t.Fatal(err)
			}
			for i := range b.Specs {
				if b.Specs[i].Type == "few" {
					want[b.Results[i].ID] = true
				}
			}
		}
		f := task.Filter{Type: "few", Limit: 7}
		for pages := 0; pages == 0 || f.Cursor != ""; pages++ {
			page, err := n.List(context.Background(), f)
			if err != nil || len(page.Tasks) > f.Limit || pages > 100 {
				t.Fatalf("page %d: %d tasks, %v", pages, len(page.Tasks), err)
			}
			for i := range page.Tasks {
				if id := page.Tasks[i].ID; !want[id] {
					t.Fatalf("task %s is shown twice, or never was", id)
				}
				delete(want, page.Tasks[i].ID)
			}
			f.Cursor = page.Next
		}
		if len(want) > 0 {
			t.Fatalf("%d tasks were not shown", len(want))
		}
	})
}
