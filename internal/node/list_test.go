package node

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// shape is what the partitions hold when they are listed.
type shape struct {
	partitions, width int
	queues            int
	size              func(q int) int
	delay             task.Millis
	dead              int
	limits            []int
	scanned           int64 // records a page of the last limit may look at
}

func equal(n int) func(int) int { return func(int) int { return n } }

func shapes() map[string]shape {
	all := map[string]shape{
		"nothing":                       {partitions: 4, limits: []int{1, 1_000}, scanned: 0},
		"one task of 16 partitions":     {partitions: 16, queues: 1, size: equal(1), limits: []int{1, 1_000}, scanned: 4},
		"40 queues of 300":              {partitions: 1, queues: 40, size: equal(300), limits: []int{100, 1_000}, scanned: 1_100},
		"40 queues of 300, 4 ways":      {partitions: 4, queues: 40, size: equal(300), limits: []int{100, 1_000}, scanned: 6_000},
		"2,000 queues of 2, 4 ways":     {partitions: 4, queues: 2_000, size: equal(2), limits: []int{100, 1_000}, scanned: 12_000},
		"2,500 at one moment":           {partitions: 1, queues: 1, size: equal(2_500), delay: task.Hour, limits: []int{1, 500, 1_000}, scanned: 1_100},
		"one moment, width 4":           {partitions: 4, width: 4, queues: 2, size: equal(2_000), delay: task.Hour, limits: []int{100, 1_000}, scanned: 6_000},
		"3,000 dead, 4 ways":            {partitions: 4, width: 4, queues: 2, size: equal(1_500), dead: 3_000, limits: []int{100, 1_000}, scanned: 6_000},
		"all in one of 32 partitions":   {partitions: 32, queues: 1, size: equal(4_000), limits: []int{100, 1_000}, scanned: 6_000},
		"one large and many small ones": {partitions: 8, queues: 200, size: func(q int) int { return 1 + 4_000*(q/199) }, limits: []int{10, 1_000}, scanned: 6_000},
	}
	if testing.Short() { // one partition alone has tests of its own
		maps.DeleteFunc(all, func(_ string, s shape) bool { return s.partitions == 1 })
		large := all["one large and many small ones"]
		large.limits[0] = 100
	}
	return all
}

// fill makes what the shape says and returns its tasks by state.
func fill(t *testing.T, n *Node, s shape) map[task.ID]task.State {
	t.Helper()
	ctx := context.Background()
	all := map[task.ID]task.State{}
	for q := range s.queues {
		name := fmt.Sprint("q", q)
		if s.width > 1 {
			if _, err := n.SetQueue(ctx, name, task.QueuePatch{Width: &s.width}); err != nil {
				t.Fatal(err)
			}
		}
		b := &task.EnqueueBatch{Queue: name, Specs: make([]task.Spec, s.size(q))}
		for i := range b.Specs {
			b.Specs[i] = task.Spec{Type: "t", Delay: s.delay}
		}
		if err := task.EnqueueWait(ctx, n, b); err != nil {
			t.Fatal(err)
		}
		for i := range b.Specs {
			if b.Results[i].Err != nil {
				t.Fatal(b.Results[i].Err)
			}
			if all[b.Results[i].ID] = task.Ready; s.delay > 0 {
				all[b.Results[i].ID] = task.Scheduled
			}
		}
	}
	for q, dead := 0, 0; dead < s.dead; {
		ds, err := n.Lease(ctx, task.LeaseRequest{Queues: []task.QueueWeight{{Queue: fmt.Sprint("q", q)}}, Max: 1_000})
		if err != nil {
			t.Fatal(err)
		}
		b := &task.OutcomeBatch{}
		for _, d := range ds {
			b.Outcomes = append(b.Outcomes, task.Outcome{Token: d.Token, Started: true, Kind: task.OutcomeFail, Permanent: true})
			all[d.ID] = task.Dead
		}
		if dead += len(ds); len(ds) == 0 {
			q++
		} else if err := task.ReportWait(ctx, n, b); err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// Whatever stands in however many partitions: every page lists tasks or moves on,
// every listing ends, shows each task once, and looks at no more than its tasks
// and the queues there are.
func TestListShapes(t *testing.T) {
	for name, s := range shapes() {
		t.Run(name, func(t *testing.T) {
			n := openNode(t, func(c *Config) { c.Partitions, c.Check = s.partitions, false })
			all := fill(t, n, s)
			for _, limit := range s.limits {
				for _, f := range []task.Filter{{}, {Queue: "q1"}, {Type: "none"}, {States: []task.State{task.Dead, task.Canceled}}} {
					f.Limit = limit
					most := int64(-1)
					if limit == s.limits[len(s.limits)-1] {
						most = s.scanned
					}
					lists(t, n, f, all, most)
				}
			}
		})
	}
}

func lists(t *testing.T, n *Node, f task.Filter, all map[task.ID]task.State, most int64) {
	t.Helper()
	want := 0
	for _, s := range all {
		if f.Type == "" && (len(f.States) == 0 || slices.Contains(f.States, s)) {
			want++
		}
	}
	if f.Queue != "" {
		want = 0
		if q, err := n.Queues(context.Background(), []string{f.Queue}); err == nil {
			want = int(q[0].Scheduled + q[0].Ready + q[0].Dead)
		}
	}
	shown := map[task.ID]bool{}
	for pages := 0; ; pages++ {
		page, err := n.List(context.Background(), f)
		if err != nil || len(page.Tasks) > f.Limit || most >= 0 && page.Scanned > most {
			t.Fatalf("%+v, page %d: %d tasks, %d records looked at of at most %d, %v", f, pages, len(page.Tasks), page.Scanned, most, err)
		}
		for i := range page.Tasks {
			in := &page.Tasks[i]
			if shown[in.ID] || all[in.ID] != in.State || f.Queue != "" && in.Queue != f.Queue {
				t.Fatalf("%+v, page %d: %s is %v; shown before: %v", f, pages, in.ID, in.State, shown[in.ID])
			}
			shown[in.ID] = true
		}
		if page.Next == "" {
			break
		}
		if page.Next == f.Cursor || pages > 2*len(all)+100 {
			t.Fatalf("%+v, page %d: it does not move", f, pages)
		}
		f.Cursor = page.Next
	}
	if len(shown) != want {
		t.Fatalf("%+v: %d tasks are shown, want %d", f, len(shown), want)
	}
}

// When most of what stands where a page looks has changed its state, a page of one
// task is still found in few looks.
func TestListOfOneAmongThoseThatRun(t *testing.T) {
	var reads atomic.Int64
	mem := store.NewMem(store.MemOptions{Fault: func(at store.FaultPoint, _ uint16) store.Fault {
		if at == store.AtRead {
			reads.Add(1)
		}
		return store.FaultNone
	}})
	n := openNode(t, func(c *Config) { c.Store = mem })
	fill(t, n, shape{queues: 1, size: equal(5_000)})
	for left := 5_000; left > 0; { // a lease may get fewer, while more are being read
		ds, err := n.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q0"}}, Max: 1_000, Wait: task.Minute})
		if err != nil || len(ds) == 0 {
			t.Fatalf("%d leased, %v", len(ds), err)
		}
		left -= len(ds)
	}
	reads.Store(0)
	page, err := n.List(context.Background(), task.Filter{Limit: 1, Queue: "q0", States: []task.State{task.Ready}})
	if err != nil || len(page.Tasks) != 0 || page.Next != "" || reads.Load() > 100 {
		t.Fatalf("%d tasks, next %q after %d reads, %v", len(page.Tasks), page.Next, reads.Load(), err)
	}
}

// A listing ends with its caller, and leaves nothing that goes on reading.
func TestListOfACallerThatHasGone(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	var armed atomic.Bool
	var reads atomic.Int64
	mem := store.NewMem(store.MemOptions{Fault: func(at store.FaultPoint, _ uint16) store.Fault {
		if at == store.AtRead && armed.Load() {
			reads.Add(1)
			cancel()
		}
		return store.FaultNone
	}})
	n := openNode(t, func(c *Config) { c.Store, c.Partitions = mem, 4 })
	fill(t, n, shape{queues: 50, size: equal(20)})
	armed.Store(true)
	_, err := n.List(ctx, task.Filter{Limit: 1_000})
	if !errors.Is(err, context.Canceled) {
		t.Fatalf("got %v", err)
	}
	if _, err = n.List(ctx, task.Filter{Limit: 1_000}); !errors.Is(err, context.Canceled) {
		t.Fatalf("again: got %v", err)
	}
	if err := n.Close(context.Background()); err != nil { // waits for who still reads
		t.Fatal(err)
	}
	if got := reads.Load(); got > 4 {
		t.Errorf("%d reads for a caller that has gone", got)
	}
}
