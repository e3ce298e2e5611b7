package partition

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// counted counts what is asked of a store.
type counted struct {
	store.Partition
	steps  int
	open   int                   // iterators that were not closed
	most   int                   // so many at once
	each   func()                // called before each, if it is set
	walked func(from, to []byte) // told every range that is scanned, if it is set
	walks  func(from, to []byte) // told it at each step of a walk there, and not of a Find
}

type countedIter struct {
	store.Iterator
	c        *counted
	from, to []byte
}

func (it *countedIter) step() {
	it.c.step()
	if it.c.walks != nil {
		it.c.walks(it.from, it.to)
	}
}

func (c *counted) step() {
	c.steps++
	if c.each != nil {
		c.each()
	}
}

func (c *counted) Get(points []store.Point) error {
	for range points {
		c.step()
	}
	return c.Partition.Get(points)
}

func (c *counted) Scan(from, to []byte) store.Iterator {
	c.step()
	c.open++
	c.most = max(c.most, c.open)
	if c.walked != nil {
		c.walked(from, to)
	}
	return &countedIter{c.Partition.Scan(from, to), c, from, to}
}

func (it *countedIter) Next() bool        { it.step(); return it.Iterator.Next() }
func (it *countedIter) Prev() bool        { it.step(); return it.Iterator.Prev() }
func (it *countedIter) SeekGE(key []byte) { it.step(); it.Iterator.SeekGE(key) }
func (it *countedIter) SeekLT(key []byte) { it.step(); it.Iterator.SeekLT(key) }

func (it *countedIter) Find(key []byte) bool { it.c.step(); return it.Iterator.Find(key) }

func (it *countedIter) Close() error {
	it.c.open--
	return it.Iterator.Close()
}

// openCounted opens the partition, and counts from before it is read.
func (g *rig) openCounted() *counted {
	g.t.Helper()
	part, err := g.mem.Acquire(context.Background(), g.cfg.Partition, "test")
	if err != nil {
		g.t.Fatalf("acquire: %v", err)
	}
	c := &counted{Partition: part}
	if g.r, err = Open(context.Background(), c, g.cfg); err != nil {
		g.t.Fatalf("open: %v", err)
	}
	return c
}

func (g *rig) count() *counted {
	c := &counted{Partition: g.r.part}
	g.r.part = c
	return c
}

// shape is what a store holds when it is listed.
type shape struct {
	queues int
	size   func(q int) int // tasks of each queue
	types  int
	keys   int                     // lanes of each queue; 0 = as many as its types
	delay  func(i int) task.Millis // 0: ready at once
	dead   int                     // of the first tasks, so many die
	done   int                     // and so many succeed
	run    int                     // and so many run
	limits []int
}

func equal(n int) func(int) int { return func(int) int { return n } }

// moment has all tasks due at once.
func moment(int) task.Millis { return task.Hour }

func shapes() map[string]shape {
	all := map[string]shape{
		"none":                   {queues: 0, size: equal(0), limits: []int{1, 1_000}},
		"one of one":             {queues: 1, size: equal(1), limits: []int{1, 1_000}},
		"40 of 500":              {queues: 40, size: equal(500), limits: []int{100, 1_000}},
		"2,000 of 3":             {queues: 2_000, size: equal(3), limits: []int{100, 1_000}},
		"600 of 20, one moment":  {queues: 600, size: equal(20), delay: moment, limits: []int{500}},
		"3,000 at one moment":    {queues: 1, size: equal(3_000), delay: moment, limits: []int{1, 500, 1_000}},
		"moments far apart":      {queues: 3, size: equal(200), delay: func(i int) task.Millis { return task.Minute << (i % 20) }, limits: []int{1, 100}},
		"one large, many small":  {queues: 300, size: func(q int) int { return 2 + 6_000*(q/299) }, types: 3, limits: []int{7, 1_000}},
		"thousands dead":         {queues: 4, size: equal(1_000), dead: 3_500, limits: []int{100, 1_000}},
		"thousands done and one": {queues: 2, size: equal(1_500), done: 2_990, dead: 1, limits: []int{50, 1_000}},
		"many run":               {queues: 5, size: equal(500), run: 1_200, limits: []int{100, 1_000}},
		"20,000 keys of 2":       {queues: 1, size: equal(40_000), keys: 20_000, limits: []int{1_000}},
		"20,000 keys, of all kinds": {queues: 2, size: equal(12_000), keys: 10_000, dead: 300, run: 200, delay: func(i int) task.Millis { return task.Millis(i%2) * task.Hour },
			limits: []int{1_000}},
		"all kinds": {queues: 30, size: func(q int) int { return 1 + q*3 }, types: 4, dead: 200, done: 200, run: 100,
			delay: func(i int) task.Millis { return task.Millis(i%3) * task.Hour }, limits: []int{1, 2, 33, 1_000}},
	}
	if !testing.Short() {
		all["40 of 2,000"] = shape{queues: 40, size: equal(2_000), limits: []int{1_000}}
		all["600 of 100"] = shape{queues: 600, size: equal(100), limits: []int{100, 1_000}}
	}
	return all
}

// fill makes a store of that shape and returns what it holds.
func (g *rig) fill(s shape) map[task.ID]task.Info {
	g.t.Helper()
	all := map[task.ID]task.Info{}
	var queues []string
	n := 0
	for q := range s.queues {
		name := fmt.Sprint("q", q)
		queues = append(queues, name)
		b := batchOf(name, 0, s.size(q))
		for i := range b.Specs {
			b.Specs[i].Type, b.Specs[i].Priority = fmt.Sprint("t", n%max(s.types, 1)), uint8(n%max(s.types, 1)/2)
			if s.delay != nil {
				b.Specs[i].Delay = s.delay(n)
			}
			if s.keys > 0 {
				b.Specs[i].Key = fmt.Sprint("k", i%s.keys)
			}
			n++
		}
		b.Done = func(*task.EnqueueBatch) {}
		g.r.Enqueue(b)
		g.run()
		for i := range b.Specs {
			state := task.Ready
			if b.Results[i].Err != nil {
				g.t.Fatal(b.Results[i].Err)
			}
			if b.Specs[i].Delay > 0 {
				state = task.Scheduled
			}
			all[b.Results[i].ID] = task.Info{Queue: name, Type: b.Specs[i].Type, State: state}
		}
	}
	if s.dead+s.done+s.run == 0 {
		return all
	}
	w := g.attach("w", queues[:min(len(queues), 100)]...)
	w.credit.Add(s.dead + s.done + s.run)
	g.run()
	ends := w.got[:min(len(w.got), s.dead+s.done)]
	states := map[task.ID]task.State{}
	for i, d := range ends {
		states[d.ID] = task.Dead
		if i >= s.dead {
			states[d.ID] = task.Succeeded
		}
	}
	g.report(ends, func(d *task.Delivery, o *task.Outcome) {
		if states[d.ID] == task.Dead {
			o.Kind, o.Permanent = task.OutcomeFail, true
		}
	})
	for _, d := range w.got {
		info := all[d.ID]
		if info.State = task.Running; states[d.ID] != 0 {
			info.State = states[d.ID]
		}
		all[d.ID] = info
	}
	return all
}

// lists pages through a listing and holds every page to what is promised: it lists
// tasks or moves, in order, each task once, for a bounded price.
func (g *rig) lists(f task.Filter, budget int, c *counted, all map[task.ID]task.Info, lanes int) {
	g.t.Helper()
	want := 0
	for _, info := range all {
		if passes(f, info) {
			want++
		}
	}
	seen := map[task.ID]bool{}
	var at []byte
	var last Spot
	steps, pages := 0, 0
	for ; ; pages++ {
		var page Page
		var failed *task.Error
		c.steps = 0
		g.r.List(context.Background(), f, at, budget, func(p Page, err *task.Error) { page, failed = p, err })
		g.run()
		if failed != nil || c.open != 0 || c.most > listOpenMax+2 {
			g.t.Fatalf("%+v, page %d: %v; %d iterators are open, %d were at once", f, pages, failed, c.open, c.most)
		}
		reads := f.Limit
		if f.Queue != "" || f.Type != "" || len(f.States) > 0 { // the dead and the finished are looked through
			reads += min(budget, len(all))
		}
		if most := 64 + 3*reads + 6*4*lanes; c.steps > most || len(page.Tasks) > f.Limit { // four kinds of place have lanes
			g.t.Fatalf("%+v, page %d: %d steps for %d tasks, at most %d are fair", f, pages, c.steps, len(page.Tasks), most)
		}
		for i, info := range page.Tasks {
			if want, ok := all[info.ID]; !ok || seen[info.ID] || !passes(f, info) ||
				want.State != info.State || want.Queue != info.Queue || want.Type != info.Type {
				g.t.Fatalf("%+v, page %d: task %s is %+v, want %+v; seen before: %v", f, pages, info.ID, info, want, seen[info.ID])
			}
			seen[info.ID] = true
			spot := page.Spots[i]
			if g.r.listLanes >= lanes && (spot.Stage < last.Stage || spot.Stage == last.Stage && len(seen) > 1 && spot.At > last.At && spot.Stage != uint8(stageFinished)) {
				g.t.Fatalf("%+v, page %d: %v comes after %v", f, pages, spot, last)
			}
			last = spot
		}
		if steps += c.steps; page.Next == nil {
			break
		}
		if bytes.Equal(page.Next, at) || pages > 2*len(all)+10*lanes+100 {
			g.t.Fatalf("%+v, page %d: it does not move", f, pages)
		}
		at = page.Next
	}
	if len(seen) != want {
		g.t.Fatalf("%+v: %d tasks, want %d", f, len(seen), want)
	}
	// Each record is looked at once, and each lane in each kind of place.
	if most := 16*(pages+1) + 4*len(all) + 3*4*lanes; steps > most {
		g.t.Fatalf("%+v: %d steps for all %d pages, at most %d are fair", f, steps, pages+1, most)
	}
}

func passes(f task.Filter, info task.Info) bool {
	return (f.Queue == "" || f.Queue == info.Queue) && (f.Type == "" || f.Type == info.Type) &&
		(len(f.States) == 0 || slices.Contains(f.States, info.State))
}

// Whatever the store holds and whatever is asked: every page lists tasks or moves
// on, every listing ends, shows each task once, and costs no more than its tasks
// and the lanes there are.
func TestListShapes(t *testing.T) {
	for name, s := range shapes() {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks, c.Check = 2_000, false })
			all := g.fill(s)
			c := g.count()
			lanes := s.queues * max(s.types, s.keys, 1)
			for _, limit := range s.limits {
				g.lists(task.Filter{Limit: limit}, 50_000, c, all, lanes)
			}
			most := s.limits[len(s.limits)-1]
			for _, f := range []task.Filter{
				{Queue: "q0"}, {Queue: "q3", Type: "t1"}, {Type: "t0"}, {Queue: "nobody's"}, {Type: "nobody's"},
				{States: []task.State{task.Ready}}, {States: []task.State{task.Scheduled, task.Dead}}, {States: []task.State{task.Running}},
				{States: []task.State{task.Succeeded, task.Expired}}, {States: []task.State{task.Canceled}, Queue: "q1"},
			} {
				f.Limit = most
				g.lists(f, 50_000, c, all, lanes)
			}
		})
	}
}

// A budget of one record, pages of one task, and lanes merged one, two or seven at
// once: a listing that gets the least there is goes on to its end as well.
func TestListOfTheLeast(t *testing.T) {
	s := shape{queues: 9, size: func(q int) int { return 1 + q*2 }, types: 3, dead: 20, done: 15, run: 10,
		delay: func(i int) task.Millis { return task.Millis(i%4/2) * task.Hour }}
	g := newRig(t, store.MemOptions{})
	all := g.fill(s)
	c := g.count()
	lanes := s.queues * s.types
	for _, g.r.listLanes = range []int{1, 2, 7, 100} {
		for _, limit := range []int{1, 3, 1_000} {
			for _, budget := range []int{1, 5, 1_000} {
				for _, f := range []task.Filter{{}, {Queue: "q8"}, {Type: "t2"}, {States: []task.State{task.Scheduled}}, {States: []task.State{task.Dead}, Type: "t0"}} {
					f.Limit = limit
					g.lists(f, budget, c, all, lanes)
				}
			}
		}
	}
}

// Lanes that have marks are merged as others are, and nothing is walked that lies
// below a mark: the tombstones of all that was done there do.
func TestListFromMarks(t *testing.T) {
	s := shape{queues: 4, size: equal(3_000), types: 2, done: 10_000, run: 100}
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.Check = false })
	all := g.fill(s)
	marks, err := readAll(context.Background(), g.r, record.ClassMark, record.DecodeMark)
	if err != nil || len(marks) < 4 {
		t.Fatalf("%d lanes have marks: the test does not test; %v", len(marks), err)
	}
	c := g.count()
	c.walked = func(from, to []byte) {
		for i := range marks {
			m := &marks[i]
			lane := record.AppendLanePrefix(nil, g.r.p, record.ClassBirth, m.Queue, m.Prio, m.Lane)
			if low := record.AppendPlaceKey(nil, g.r.p, queue.Place{Queue: m.Queue, Prio: m.Prio, Lane: m.Lane, Seq: m.Low}); bytes.Compare(from, low) < 0 && bytes.Compare(to, lane) > 0 {
				t.Fatalf("[%x, %x) is walked, where nothing lives below %x", from, to, low)
			}
		}
	}
	for _, g.r.listLanes = range []int{1, 3, 100} {
		for _, f := range []task.Filter{{}, {Queue: "q2"}, {Type: "t1"}, {States: []task.State{task.Ready}}} {
			f.Limit = 150
			g.lists(f, 2_000, c, all, s.queues*s.types)
		}
	}
}

// stirred is a store in which some tasks stand still while others come and go.
type stirred struct {
	*rig
	rnd   *rand.Rand
	w     *worker
	still map[task.ID]int // how often each was listed
}

// put enqueues n tasks of keys and priorities by chance, some of them with a delay.
func (g *stirred) put(queue string, n int) []task.Enqueued {
	b := batchOf(queue, 0, n)
	for i := range b.Specs {
		x := &b.Specs[i]
		if x.Priority = uint8(g.rnd.IntN(task.PriorityMax + 1)); g.rnd.IntN(2) == 0 {
			x.Key = fmt.Sprint("k", g.rnd.IntN(6))
		}
		if g.rnd.IntN(3) == 0 {
			x.Delay = task.Millis(1+g.rnd.IntN(20)) * task.Hour
		}
	}
	b.Done = func(*task.EnqueueBatch) {}
	g.r.Enqueue(b)
	g.run()
	return b.Results
}

// stir has some run, end, come, be purged; now and then what is kept of listings is
// lost, and the partition opened anew.
func (g *stirred) stir() {
	switch g.rnd.IntN(12) {
	case 0:
		g.r.kept = kept{}
	case 1:
		if err := g.r.Close(); err != nil {
			g.t.Fatal(err)
		}
		lanes := g.r.listLanes
		g.open()
		g.r.listLanes = lanes
		g.w = g.attach("w", "busy0", "busy1", "busy2", "busy3", "busy4")
	case 2:
		g.r.Purge(fmt.Sprint("busy", g.rnd.IntN(15)), nil, func(int64, *task.Error) {})
		g.run()
	}
	from := len(g.w.got)
	g.w.credit.Add(g.rnd.IntN(4))
	g.run()
	g.report(g.w.got[from:], func(_ *task.Delivery, o *task.Outcome) {
		if g.rnd.IntN(3) == 0 {
			o.Kind, o.Permanent = task.OutcomeFail, g.rnd.IntN(2) == 0
		}
	})
	g.put(fmt.Sprint("busy", g.rnd.IntN(15)), g.rnd.IntN(3))
	if g.rnd.IntN(4) == 0 {
		g.put(fmt.Sprint("still", g.rnd.IntN(10)), 1)
	}
}

// Lanes that come, go and move their marks between the pages of a listing hide
// nothing that stands still, and show nothing of it twice; nor does a listing that
// goes on within a page, or of which nothing is kept any more.
func TestListWhileLanesComeAndGo(t *testing.T) {
	for seed := range uint64(30) {
		g := &stirred{rig: newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 64 }),
			rnd: rand.New(rand.NewPCG(seed, 7)), still: map[task.ID]int{}}
		if g.r.listLanes = 1 + int(seed)%8; seed%2 == 0 {
			g.r.listLanes = listLanesMax
		}
		for i := range 10 {
			for _, x := range g.put(fmt.Sprint("still", i), 1+g.rnd.IntN(20)) {
				g.still[x.ID] = 0
			}
			g.put(fmt.Sprint("busy", i), 10)
		}
		g.w = g.attach("w", "busy0", "busy1", "busy2", "busy3", "busy4")
		var at []byte
		for pages := 0; ; pages++ {
			var page Page
			g.r.List(context.Background(), task.Filter{Limit: 1 + g.rnd.IntN(9)}, at, 50_000, func(p Page, err *task.Error) {
				if page = p; err != nil {
					t.Fatal(err)
				}
			})
			g.run()
			at = page.Next
			if n := len(page.Tasks); n > 0 && g.rnd.IntN(3) == 0 { // only some of them go into a page of several partitions
				n = 1 + g.rnd.IntN(n)
				at, page.Tasks = page.Spots[n-1].After, page.Tasks[:n]
			}
			for _, info := range page.Tasks {
				if n, ok := g.still[info.ID]; ok {
					g.still[info.ID] = n + 1
				}
			}
			if at == nil {
				break
			}
			if pages > 4_000 {
				t.Fatalf("seed %d: the listing has no end", seed)
			}
			g.stir()
		}
		for id, n := range g.still {
			if n != 1 {
				t.Errorf("seed %d: task %s, which stood still, is listed %d times", seed, id, n)
			}
		}
		if err := g.r.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// Nothing more is read for a caller that has gone, wherever the page is.
func TestListOfACallerThatHasGone(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	s := shapes()["all kinds"]
	g.fill(s)
	c := g.count()
	for after := range 200 {
		ctx, cancel := context.WithCancel(context.Background())
		c.steps = 0
		c.each = func() {
			if c.steps > after {
				cancel()
			}
		}
		var err *task.Error
		g.r.List(ctx, task.Filter{Limit: 1_000}, nil, 50_000, func(_ Page, e *task.Error) { err = e })
		g.run()
		if most := after + s.run + 4; err == nil || c.steps > most || c.open != 0 {
			t.Fatalf("gone at step %d: %d steps, %d iterators open, %v", after, c.steps, c.open, err)
		}
		cancel()
	}
}

// Cursors that nobody made are refused, or list what they like, and do no harm.
func TestListOfStrangeCursors(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	g.fill(shapes()["all kinds"])
	rnd := rand.New(rand.NewPCG(1, 2))
	var cursors [][]byte
	for at := []byte(nil); ; {
		g.r.List(context.Background(), task.Filter{Limit: 40}, at, 50_000, func(p Page, _ *task.Error) { at = p.Next })
		if g.run(); at == nil {
			break
		}
		cursors = append(cursors, at)
	}
	listed := 0
	for range 3_000 {
		at := bytes.Clone(cursors[rnd.IntN(len(cursors))])
		switch rnd.IntN(3) {
		case 0:
			at = at[:rnd.IntN(len(at))]
		case 1:
			at = append(at, byte(rnd.IntN(3)))
		}
		if len(at) > 0 {
			at[rnd.IntN(len(at))] = byte(rnd.IntN(256) >> rnd.IntN(8))
		}
		answered := false
		g.r.List(context.Background(), task.Filter{Limit: 40}, at, 50_000, func(p Page, err *task.Error) {
			if answered = true; err == nil {
				listed++
			} else if err.Code != task.Invalid {
				t.Fatalf("cursor %x: %v", at, err)
			}
		})
		if g.run(); !answered {
			t.Fatalf("cursor %x: no answer", at)
		}
	}
	if listed < 300 {
		t.Errorf("only %d cursors were taken: the test does not test", listed)
	}
}
