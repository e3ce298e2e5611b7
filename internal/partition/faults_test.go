package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// A finished task is found in whichever segment it is: their ranges overlap where
// queues keep theirs for different times.
func TestFinishedIsFoundInAnySegment(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	for name, d := range map[string]task.Millis{"a": task.Hour, "b": 2 * task.Hour} {
		g.r.SetQueue(name, task.QueuePatch{Retention: &d}, func(*task.Error) {})
	}
	w := g.attach("w", "a", "b")
	w.credit.Add(4)
	for i := range 4 {
		g.enqueue([]string{"a", "b"}[i%2], i, 1)
	}
	if len(w.got) != 4 {
		t.Fatalf("got %d of 4", len(w.got))
	}
	for again := range 2 {
		for i, code := range g.report(w.got, nil) {
			if code != task.OK {
				t.Errorf("report %d of task %d: %v", again+1, i+1, code)
			}
		}
	}
	if n := len(g.r.m.Segments()); n != 2 {
		t.Errorf("%d segments: the test tests nothing", n)
	}
}

// A listing of what is due, or is not yet, is cut where the clock stands, to the
// millisecond.
func TestListIsCutAtTheClock(t *testing.T) {
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks = 16 })
	const n = 20
	b := batchOf("q", 0, 2*n)
	for i := range b.Specs {
		if d := task.Millis(100 * (i/2 + 1)); i%2 == 0 {
			b.Specs[i].Delay = d
		} else {
			b.Specs[i].RunAt = g.now.Add(d)
		}
	}
	b.Done = func(*task.EnqueueBatch) {}
	g.r.Enqueue(b)
	g.run()
	for due := range n + 1 {
		scheduled := g.listAll(task.Filter{Limit: 1_000, States: []task.State{task.Scheduled}})
		ready := g.listAll(task.Filter{Limit: 1_000, States: []task.State{task.Ready}})
		if len(scheduled) != 2*(n-due) || len(ready) != 2*due {
			t.Errorf("after %d ms %d are scheduled and %d ready, want %d and %d", 100*due, len(scheduled), len(ready), 2*(n-due), 2*due)
		}
		g.now += 100
		g.r.Tick()
		g.run()
	}
}

// Progress is shown of who holds the lease, whatever others say under a token that
// looks like it, before or after.
func TestProgressOfAnotherIsNotShown(t *testing.T) {
	g := newRig(t, store.MemOptions{})
	w := g.attach("w", "q")
	w.credit.Add(1)
	id := g.enqueue("q", 0, 1)[0]
	shown := func() string {
		info, err := g.get(id)
		if err != nil {
			t.Fatal(err)
		}
		return info.Progress.Text
	}
	own := w.got[0].Token
	forge := func(change func(k *task.Token)) {
		k := own
		change(&k)
		g.r.Progress(k, task.Progress{Text: "forged"})
	}
	all := func() {
		forge(func(k *task.Token) { k.Dispatch += 77 })
		forge(func(k *task.Token) { k.Attempt++ })
		forge(func(k *task.Token) { k.Epoch++ })
		forge(func(k *task.Token) { k.Nonce++ })
		forge(func(k *task.Token) { k.Slot++ })
	}
	all()
	if s := shown(); s != "" {
		t.Errorf("shown is %q", s)
	}
	g.r.Progress(own, task.Progress{Text: "mine"})
	all()
	if s := shown(); s != "mine" {
		t.Errorf("shown is %q", s)
	}
	w.credit.Add(1)
	g.report(w.got[:1], func(_ *task.Delivery, o *task.Outcome) { o.Kind = task.OutcomeRelease })
	if s := shown(); len(w.got) != 2 || s != "" {
		t.Errorf("another attempt begins with %q (%d deliveries)", s, len(w.got))
	}
	g.r.Progress(own, task.Progress{Text: "late"})
	if s := shown(); s != "" {
		t.Errorf("shown is %q, of who held it before", s)
	}
}
