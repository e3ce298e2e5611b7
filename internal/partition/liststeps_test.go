package partition

import (
	"context"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// fillLanes enqueues each tasks for every one of so many keys, one key after
// another, again and again: so every lane has old tasks and new ones.
func (g *rig) fillLanes(queue string, lanes, each int) {
	g.t.Helper()
	const most = 5_000
	for n := 0; n < lanes*each; {
		b := batchOf(queue, n, min(most, lanes*each-n))
		for i := range b.Specs {
			b.Specs[i].Key = fmt.Sprint("k", n%lanes)
			n++
		}
		b.Done = func(*task.EnqueueBatch) {}
		g.r.Enqueue(b)
		g.run()
	}
}

// page reads one page, and counts the steps that it takes.
func (g *rig) page(c *counted, f task.Filter, at []byte) (p Page, steps int) {
	g.t.Helper()
	c.steps = 0
	g.r.List(context.Background(), f, at, 50_000, func(got Page, err *task.Error) {
		if p = got; err != nil {
			g.t.Fatal(err)
		}
	})
	g.run()
	return p, c.steps
}

// However many lanes there are, a page costs its tasks: the first one, a later one, one
// that the filter leaves empty. Only where nothing is known of lanes, as at the first
// listing after a start, or of a listing, as when it was not gone on with for long,
// are all looked at.
func TestListSteps(t *testing.T) {
	const lanes, each, limit = 20_000, 3, 500
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks, c.Check = 5_000, false })
	g.fillLanes("q", lanes, each)
	g.enqueue("other", 0, 40)
	c := g.count()
	const page, all = 3*limit + 16, 2*lanes + 3*limit + 16
	list := func(f task.Filter, at []byte, most int) []byte {
		t.Helper()
		p, steps := g.page(c, f, at)
		if steps > most {
			t.Fatalf("%d steps for %d tasks of %+v, at most %d are fair", steps, len(p.Tasks), f, most)
		}
		return p.Next
	}
	whole := task.Filter{Limit: limit}
	var middle []byte
	pages := 1
	for at := list(whole, nil, page); at != nil; pages++ {
		if pages == 10 {
			middle = at
		}
		at = list(whole, at, page)
	}
	if pages > lanes*each/limit+2 {
		t.Errorf("%d pages", pages)
	}
	list(task.Filter{Limit: limit, Type: "none"}, nil, 16)
	list(task.Filter{Limit: limit, Queue: "other"}, nil, 3*40+16)
	list(task.Filter{Limit: limit, Queue: "other", States: []task.State{task.Scheduled, task.Dead, task.Running}}, nil, 16)
	next := list(whole, middle, all)
	list(whole, next, page)
	g.now = g.now.Add(listKeptFor)
	g.run()
	if g.r.kept.size != 0 || len(g.r.kept.all) != 0 {
		t.Errorf("%d lanes of %d listings are kept for ever", g.r.kept.size, len(g.r.kept.all))
	}
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	g.open()
	g.run()
	c = g.count()
	list(whole, middle, all)
	list(whole, nil, all)
	list(whole, list(whole, nil, page), page)
}

// A cursor tells the same page whenever it comes, and whatever was kept last: here all
// of a listing's cursors, those within its pages too, come again by chance, and under
// other filters.
func TestListRepeatsPages(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	s := shapes()["all kinds"]
	s.keys = 7
	all := g.fill(s)
	filters := []task.Filter{{Limit: 40}, {Limit: 7, Type: "t1"}, {Limit: 9, Queue: "q20"}}
	after := make([][]task.ID, len(filters)) // the whole listing under each filter
	places := map[string][]int{}             // how far a cursor is in each of them
	list := func(f int, at []byte) (page Page) {
		g.r.List(context.Background(), filters[f], at, 50_000, func(p Page, err *task.Error) {
			if page = p; err != nil {
				t.Fatal(err)
			}
		})
		g.run()
		return page
	}
	var cursors []string
	for at := []byte(nil); ; {
		page := list(0, at)
		for i, info := range page.Tasks {
			for f := range filters {
				if passes(filters[f], all[info.ID]) {
					after[f] = append(after[f], info.ID)
				}
			}
			at := string(page.Spots[i].After)
			places[at] = []int{len(after[0]), len(after[1]), len(after[2])}
			cursors = append(cursors, at)
		}
		if at = page.Next; at == nil {
			break
		}
	}
	rnd := rand.New(rand.NewPCG(3, 4))
	for range 3_000 {
		f, at := rnd.IntN(len(filters)), cursors[rnd.IntN(len(cursors))]
		for i, info := range list(f, []byte(at)).Tasks {
			if want := after[f][places[at][f]+i]; info.ID != want {
				t.Fatalf("%+v: task %d behind %x is %v, want %v", filters[f], i, at, info.ID, want)
			}
		}
	}
}

// What a listing has found of a lane is not noted once something was born there.
func TestListNotesNothingStale(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	g.enqueue("q", 0, 3)
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	g.open()
	view := func() (v queue.LaneView) {
		g.r.m.EachLane(task.ClassBirth, 0, "", -1, func(x queue.LaneView) { v = x })
		return v
	}
	found := view()
	if found.Newest != 0 || found.Lane == 0 {
		t.Fatalf("after a start the lane is %+v", found)
	}
	last := g.enqueue("q", 3, 1)[0].Seq
	g.r.m.NoteNewest(&found, last-1)
	if v := view(); v.Newest != last {
		t.Errorf("its newest birth is %d, want %d", v.Newest, last)
	}
}

// What is kept of listings is bounded; the one that was used last is kept.
func TestKeptListingsAreBounded(t *testing.T) {
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.Check = false })
	const lanes = 8_000
	g.fillLanes("q", lanes, 1)
	g.enqueue("small", 0, 20)
	c := g.count()
	var cursors [][]byte
	for i := range 2 * listsKeptMax {
		f := task.Filter{Limit: 10}
		if i > listKeptMax/lanes+5 {
			f.Queue = "small"
		}
		p, _ := g.page(c, f, nil)
		cursors = append(cursors, p.Next)
		size := 0
		for _, m := range g.r.kept.all {
			size += m.size()
		}
		if k := &g.r.kept; size != k.size || size > listKeptMax || len(k.all) > listsKeptMax || k.making != 0 {
			t.Fatalf("%d lanes, counted as %d, of %d listings are kept; %d are being made", size, k.size, len(k.all), k.making)
		}
	}
	if p, steps := g.page(c, task.Filter{Limit: 10, Queue: "small"}, cursors[len(cursors)-1]); steps > 16 || len(p.Tasks) != 10 {
		t.Errorf("%d steps for the %d tasks of the listing that was last", steps, len(p.Tasks))
	}
	if p, _ := g.page(c, task.Filter{Limit: 10}, cursors[0]); len(p.Tasks) != 10 {
		t.Errorf("%d tasks of a listing that is kept no more", len(p.Tasks))
	}
}

// BenchmarkListSteps shows what pages cost in seeks and steps of the store, by how
// many lanes there are: the first, the tenth, the mean of all, and one that the
// filter leaves empty.
func BenchmarkListSteps(b *testing.B) {
	for _, lanes := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprint("lanes=", lanes), func(b *testing.B) {
			g := newRig(b, store.MemOptions{}, func(c *Config) { c.WindowTasks, c.Check = 20_000, false })
			g.fillLanes("q", lanes, max(3, 30_000/lanes))
			c := g.count()
			f := task.Filter{Limit: 500}
			for b.Loop() {
				var at []byte
				all, pages := 0, 0
				for {
					p, steps := g.page(c, f, at)
					all += steps
					switch pages++; pages {
					case 1:
						b.ReportMetric(float64(steps), "first")
					case 10:
						b.ReportMetric(float64(steps), "tenth")
					}
					if at = p.Next; at == nil {
						break
					}
				}
				b.ReportMetric(float64(all)/float64(pages), "mean")
				_, none := g.page(c, task.Filter{Limit: 500, Type: "none"}, nil)
				b.ReportMetric(float64(none), "none")
			}
		})
	}
}
