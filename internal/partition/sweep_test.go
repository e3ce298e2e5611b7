package partition

import (
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// recordsOf is how many records of a class the partition has.
func (g *rig) recordsOf(c record.Class) int {
	g.t.Helper()
	from := record.AppendPrefix(nil, g.cfg.Partition, c)
	it := g.r.part.Scan(from, record.AppendPrefixEnd(nil, from))
	n := 0
	for it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *rig) purge(queue string, states ...task.State) int64 {
	g.t.Helper()
	var gone int64
	var err *task.Error
	g.r.Purge(queue, states, func(n int64, e *task.Error) { gone, err = n, e })
	g.stepOnly() // the sweep is asked for, and not read
	if err != nil {
		g.t.Fatal(err)
	}
	return gone
}

// enqueueLarge puts tasks whose payloads stand in chunks.
func (g *rig) enqueueLarge(queue string, n int, spec task.Spec) {
	g.t.Helper()
	spec.Type, spec.Priority, spec.Payload = "t", 5, make([]byte, 2*record.InlineMax)
	b := &task.EnqueueBatch{Queue: queue, Specs: slices.Repeat([]task.Spec{spec}, n), Results: make([]task.Enqueued, n), Done: func(*task.EnqueueBatch) {}}
	g.r.Enqueue(b)
	g.run()
	if b.Err != nil || b.Results[n-1].Err != nil {
		g.t.Fatal(b.Err, b.Results[n-1].Err)
	}
}

// What a purge by range leaves elsewhere, chunks of large payloads and where
// records, stayed for ever. A restart in the middle begins the sweep anew.
func TestPurgeLeavesNothing(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 64 })
	w := g.attach("w", "q", "kept")
	die := func(queue string, n int) {
		g.enqueueLarge(queue, n, task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		from := len(w.got)
		w.credit.Add(n)
		g.run()
		g.report(w.got[from:], func(_ *task.Delivery, o *task.Outcome) { o.Kind, o.Error = task.OutcomeFail, "no" })
	}
	die("q", 700)
	die("kept", 3)
	g.enqueueLarge("q", 600, task.Spec{})
	g.enqueueLarge("q", 500, task.Spec{Delay: task.Hour})
	g.enqueueLarge("kept", 4, task.Spec{Delay: task.Hour})
	w.credit.Add(90) // retries, of which the store alone has most
	g.run()
	g.report(w.got[len(w.got)-90:], func(_ *task.Delivery, o *task.Outcome) { o.Kind, o.Error, o.Delay = task.OutcomeFail, "no", task.Hour })
	if n := g.purge("q", task.Dead); n != 700 {
		t.Fatalf("%d dead letters purged", n)
	}
	g.r.Refill() // one step of the sweep
	g.stepOnly()
	if err := g.r.Close(); err != nil {
		t.Fatal(err)
	}
	g.open()
	g.run()
	if wheres, chunks := g.recordsOf(record.ClassWhere), g.recordsOf(record.ClassChunk); wheres != 93 || chunks != 600+500+7 {
		t.Errorf("after the dead letters: %d where records and %d chunks are left", wheres, chunks)
	}
	if n := g.purge("q", task.Ready, task.Scheduled); n != 600+500 {
		t.Fatalf("%d tasks purged", n)
	}
	g.run()
	if wheres, chunks := g.recordsOf(record.ClassWhere), g.recordsOf(record.ClassChunk); wheres != 3 || chunks != 7 {
		t.Errorf("after all: %d where records and %d chunks are left, want those of the other queue", wheres, chunks)
	}
}

// Entries of the expiry index of tasks that a purge, or the end of their queue, took by
// range stayed until their time: a year, here.
func TestPurgeLeavesNoExpiries(t *testing.T) {
	for _, del := range []bool{false, true} {
		g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 64 })
		for i, name := range []string{"kept", "q"} {
			b := batchOf(name, 0, 1_500-1_200*(1-i))
			for k := range b.Specs {
				b.Specs[k].ExpireAfter, b.Specs[k].Deadline = 365*task.Day, g.now.Add(400*task.Day)
				if k%3 == 0 {
					b.Specs[k].Delay = task.Day
				}
			}
			b.Done = func(*task.EnqueueBatch) {}
			g.r.Enqueue(b)
			g.run()
		}
		if n, d := g.recordsOf(record.ClassExpiry), g.recordsOf(record.ClassDeadline); n != 1_800 || d != 1_800 {
			t.Fatalf("%d and %d entries before", n, d)
		}
		var gone int64
		done := func(n int64, e *task.Error) {
			if gone = n; e != nil {
				t.Error(e)
			}
		}
		if del {
			g.r.DeleteQueue("q", true, done)
		} else {
			g.r.Purge("q", []task.State{task.Ready, task.Scheduled}, done)
		}
		g.stepOnly()
		g.open() // a restart in the middle begins the sweep anew
		g.run()
		for range 5 {
			g.now += task.Time(task.Second)
			g.r.Tick()
			g.run()
		}
		if n, d := g.recordsOf(record.ClassExpiry), g.recordsOf(record.ClassDeadline); n != 300 || d != 300 || gone != 1_500 {
			t.Errorf("deleted %v: %d tasks are gone, and %d expiry entries and %d deadlines are left, want those of 300 that stay", del, gone, n, d)
		}
	}
}

// A start does not wait for the sweeper, and what the sweeper asks of the store grows
// with what it looks over alone: it never walks from a task that is not there over
// what was purged behind it.
func TestSweepDoesNotHoldUpAStart(t *testing.T) {
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.WindowTasks = 64 })
	var asked [2]int // by a start
	var swept [2]int // by the sweep after it
	total := 0
	for i, n := range []int{100, 900} {
		w := g.attach("w", "q")
		g.enqueueLarge("q", n, task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
		w.credit.Add(n)
		g.run()
		g.report(w.got, func(_ *task.Delivery, o *task.Outcome) { o.Kind, o.Error = task.OutcomeFail, "no" })
		if gone := g.purge("q", task.Dead); gone != int64(n) {
			t.Fatalf("%d of %d purged", gone, n)
		}
		g.r.CloseSession(w.a, nil)
		g.stepOnly()
		if err := g.r.Close(); err != nil {
			t.Fatal(err)
		}
		c := g.openCounted()
		asked[i] = c.steps
		c.walks = func(from, to []byte) {
			if from[2] != to[2] && from[2]+1 != to[2] {
				t.Errorf("a walk from %x to %x", from, to)
			}
		}
		g.run()
		swept[i] = c.steps - asked[i]
		total += n
		if left := g.recordsOf(record.ClassChunk) + g.recordsOf(record.ClassWhere); left != 0 {
			t.Errorf("%d records are left", left)
		}
	}
	if asked[1] > asked[0]+20 {
		t.Errorf("a start after a purge of 100 tasks asks for %d records, after one of 900 for %d", asked[0], asked[1])
	}
	if swept[1] > 12*swept[0] {
		t.Errorf("sweeping 100 tasks takes %d steps, and 900 %d", swept[0], swept[1])
	}
}
