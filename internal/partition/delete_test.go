package partition

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

func (g *rig) deleteQueue(name string, force bool) (int64, *task.Error) {
	g.t.Helper()
	var gone int64
	var err *task.Error
	done := false
	g.r.DeleteQueue(name, force, func(n int64, e *task.Error) { gone, err, done = n, e, true })
	g.run()
	if !done {
		g.t.Fatal("a deletion was never answered")
	}
	return gone, err
}

func (g *rig) change(v task.Verb, id task.ID) *task.Error {
	g.t.Helper()
	var got *task.Error
	g.r.Change(v, []task.ID{id}, func(errs []*task.Error, err *task.Error) {
		if got = err; err == nil {
			got = errs[0]
		}
	})
	g.run()
	return got
}

// Nothing is left under the number of a queue that was deleted, and nothing that
// is still kept of its tasks is shown.
func TestNothingIsLeftOfADeletedQueue(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 16 })
	w := g.attach("w", "q", "other")
	g.enqueueAllKinds("q")
	kept := g.enqueue("other", 0, 1)
	w.credit.Add(6)
	g.run()
	if len(w.got) == 0 {
		t.Fatal("nothing was delivered")
	}
	if _, err := g.deleteQueue("q", true); task.CodeOf(err) != task.Conflict {
		t.Fatalf("while tasks run: %v", err)
	}
	g.report(w.got, func(d *task.Delivery, o *task.Outcome) {
		if d.ID.Seq%2 == 0 {
			o.Kind, o.Permanent = task.OutcomeFail, true
		}
	})
	ended := w.got[0].ID
	if _, err := g.deleteQueue("q", false); task.CodeOf(err) != task.Conflict {
		t.Fatalf("while tasks wait: %v", err)
	}
	if n, err := g.deleteQueue("q", true); err != nil || n < 50 {
		t.Fatalf("by force: %d, %v", n, err)
	}
	g.noneLeft(queue.QueueNum(ended.Queue))
	for _, restart := range []bool{false, true} {
		if restart {
			if err := g.r.Close(); err != nil {
				t.Fatal(err)
			}
			g.open()
		}
		for _, d := range w.got {
			if _, err := g.get(d.ID); d.Queue == "q" && task.CodeOf(err) != task.NotFound {
				t.Errorf("a task of the deleted queue: %v", err)
			}
			if err := g.change(task.VerbDelete, d.ID); d.Queue == "q" && task.CodeOf(err) != task.NotFound {
				t.Errorf("deletion of a task of the deleted queue: %v", err)
			}
		}
		var p Page
		g.r.List(t.Context(), task.Filter{Limit: 100}, nil, 1000, func(got Page, err *task.Error) {
			if p = got; err != nil {
				t.Error(err)
			}
		})
		g.run()
		for _, in := range p.Tasks {
			if in.ID != kept[0] {
				t.Errorf("%v of queue %q is listed", in.ID, in.Queue)
			}
		}
		if infos := g.infos(); len(infos) != 1 || infos[0].Name != "other" {
			t.Errorf("queues: %+v", infos)
		}
	}
	g.enqueue("q", 0, 1)
	if in := g.infos()[1]; in.Name != "q" || in.Enqueued != 1 || in.Ready != 1 {
		t.Errorf("made again: %+v", in)
	}
}

// enqueueAllKinds puts tasks of every kind: with and without idempotency keys, in
// several lanes, large, delayed, and all numbered.
func (g *rig) enqueueAllKinds(queue string) {
	b := batchOf(queue, 0, 60)
	b.Producer, b.Done = "p", func(*task.EnqueueBatch) {}
	for i := range b.Specs {
		s := &b.Specs[i]
		s.Number, s.Type = uint64(i+1), fmt.Sprint("t", i%5)
		switch i % 5 {
		case 4:
			s.RunAt = g.now.Add(task.Hour)
		case 0:
			s.Idempotency = fmt.Sprint("k", i)
		case 1:
			s.Payload = make([]byte, 70<<10)
		case 2:
			s.Delay = task.Hour
		}
	}
	g.r.Enqueue(b)
	g.run()
}

// noneLeft wants no record under a queue's number.
func (g *rig) noneLeft(num queue.QueueNum) {
	g.t.Helper()
	for _, c := range []record.Class{record.ClassQueue, record.ClassMark, record.ClassBirth, record.ClassChunk, record.ClassTimed, record.ClassCalendar, record.ClassIdem, record.ClassProducer, record.ClassDead} {
		from := record.AppendQueuePrefix(nil, g.r.p, c, num)
		it := g.r.part.Scan(from, record.AppendPrefixEnd(nil, from))
		for it.Next() {
			g.t.Errorf("a %s record is left: %x", c, it.Key())
		}
		if err := it.Close(); err != nil {
			g.t.Fatal(err)
		}
	}
}

// Producers that made up the names of queues filled a partition for good: the
// 65,536th was refused, and nothing could be done.
func TestGeneratedQueueNames(t *testing.T) {
	names, atOnce := 200_000, 200
	if testing.Short() {
		names /= 5 // five days of them instead of four weeks
	}
	g := newRig(t, store.MemOptions{}, func(c *Config) { c.Check, c.QueueIdle, c.CacheBytes = false, task.Day, 1<<20 })
	g.attach("w", "served")
	g.enqueue("served", 0, 1)
	var heap, keys uint64
	for i := 0; i < names; i += atOnce {
		g.generatedNames(i, i+atOnce)
		for range 4 {
			g.now = g.now.Add(10 * task.Minute)
			g.run()
		}
		if i == names/2 {
			heap, keys = heapNow(), g.keys()
		}
	}
	if h, k := heapNow(), g.keys(); h > heap+heap/2 || k > keys+keys/4 {
		t.Errorf("half way: %d bytes of memory and %d records; at the end: %d and %d", heap, keys, h, k)
	}
	if n := len(g.infos()); n > 4*atOnce*24*60/40 {
		t.Errorf("%d queues are left", n)
	}
}

// generatedNames makes queues: of three, one is deleted by force, one once it is
// empty, and one is left to vanish.
func (g *rig) generatedNames(from, to int) {
	g.t.Helper()
	var made []*task.EnqueueBatch
	for i := from; i < to; i++ {
		b := batchOf(fmt.Sprintf("reply-%d", i), 0, 1)
		b.Producer, b.Done = "p", func(*task.EnqueueBatch) {}
		b.Specs[0].Number, b.Specs[0].Idempotency, b.Specs[0].IdempotencyFor = 1, "k", task.Hour
		made = append(made, b)
		g.r.Enqueue(b)
	}
	g.run()
	answers := 0
	for i, b := range made {
		if b.Err != nil {
			g.t.Fatalf("queue %s: %v", b.Queue, b.Err)
		}
		if i%3 != 0 {
			g.r.Change(task.VerbCancel, []task.ID{b.Results[0].ID}, func([]*task.Error, *task.Error) { answers++ })
		}
	}
	g.run()
	for i, b := range made {
		if i%3 == 2 {
			continue
		}
		g.r.DeleteQueue(b.Queue, i%3 == 0, func(n int64, err *task.Error) {
			if answers++; err != nil || n != int64((i%3+2)%3/2) {
				g.t.Fatalf("delete queue %s: %d, %v", b.Queue, n, err)
			}
		})
	}
	g.run()
	if want := (len(made)-len(made)/3)*2 - 1; answers < want-1 || answers > want+1 {
		g.t.Fatalf("%d answers, want about %d", answers, want)
	}
}

func heapNow() uint64 {
	runtime.GC()
	var s runtime.MemStats
	runtime.ReadMemStats(&s)
	return s.HeapAlloc
}

func (g *rig) keys() uint64 {
	from := record.AppendPrefix(nil, g.r.p, record.ClassMeta)
	it := g.r.part.Scan(from, []byte{byte(g.r.p >> 8), byte(g.r.p), 0xff})
	n := uint64(0)
	for it.Next() {
		n++
	}
	if err := it.Close(); err != nil {
		g.t.Fatal(err)
	}
	return n
}
