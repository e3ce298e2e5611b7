package partition

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// gated is a partition whose commits become durable one by one, when told. After
// one that fails the others do too, as an engine's would.
type gated struct {
	store.Partition
	gate   chan error
	failed error // touched by Wait alone: one at a time
	begun  int
}

func (p *gated) Begin(b *store.Batch) func() error {
	wait := p.Partition.Begin(b)
	p.begun++
	return func() error {
		if p.failed == nil {
			p.failed = <-p.gate
		}
		if p.failed != nil {
			return p.failed
		}
		return wait()
	}
}

// running is a Runner that runs by itself in a bubble, over a gate.
func running(t *testing.T) (*Runner, *gated, func() error) {
	t.Helper()
	mem := store.NewMem(store.MemOptions{Manual: true, PunishSingleDelete: true, Shows: func(uint16, int) int { return 0 }})
	part, err := mem.Acquire(context.Background(), 3, "test")
	if err != nil {
		t.Fatal(err)
	}
	p := &gated{Partition: part, gate: make(chan error, 1_000)}
	for range 10 {
		p.gate <- nil // what opening commits
	}
	now := task.Time(1_790_000_000_000)
	r, err := Open(context.Background(), p, Config{Partition: 3, Now: func() task.Time { return now }, Check: true})
	if err != nil {
		t.Fatal(err)
	}
	for len(p.gate) > 0 {
		<-p.gate
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- r.Run(ctx) }()
	return r, p, func() error {
		cancel()
		for range 100 {
			p.gate <- nil
		}
		return <-ended
	}
}

// seenOf counts what was let out.
type seenOf struct {
	enqueued, reported, watched, looked int
}

// I1: nothing is answered, delivered or shown before its commit is durable.
func TestNothingOutBeforeItIsDurable(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r, p, stop := running(t)
		var s seenOf
		var credit Credit
		credit.Add(10)
		opts := task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1}
		w := &worker{}
		r.Attach(&opts, 1, &credit, w, func([]task.Token, *task.Error) {})
		b := batchOf("q", 0, 3)
		b.Done = func(*task.EnqueueBatch) { s.enqueued++ }
		r.Enqueue(b)
		synctest.Wait()
		if p.begun == 0 || s.enqueued != 0 || len(w.got) != 0 {
			t.Fatalf("begun %d, and out before it is durable: %+v, %d deliveries", p.begun, s, len(w.got))
		}
		r.QueueInfos(nil, func([]task.QueueInfo, *task.Error) { s.looked++ })
		r.Watch(b.Results[0].ID, func(task.Info, *task.Error) { s.watched++ })
		synctest.Wait()
		if s.looked != 0 {
			t.Fatal("counts were shown before they were durable")
		}
		p.gate <- nil
		synctest.Wait()
		for i := 0; (s.enqueued == 0 || len(w.got) < 3) && i < 5; i++ {
			p.gate <- nil
			synctest.Wait()
		}
		if s.enqueued != 1 || len(w.got) != 3 || s.looked != 1 {
			t.Fatalf("after the commit: %+v, %d deliveries", s, len(w.got))
		}
		for len(p.gate) > 0 {
			<-p.gate
		}
		ob := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: w.got[0].Token, Result: []byte("r")}}}
		ob.Done = func(*task.OutcomeBatch) { s.reported++ }
		r.Report(ob)
		synctest.Wait()
		if s.reported != 0 || s.watched != 0 {
			t.Fatalf("an outcome was answered or shown before it was durable: %+v", s)
		}
		p.gate <- nil
		synctest.Wait()
		if s.reported != 1 || s.watched != 1 || ob.Codes[0] != task.OK {
			t.Fatalf("after the commit: %+v", s)
		}
		if err := stop(); err != nil {
			t.Fatalf("stop: %v", err)
		}
	})
}

// A commit that fails ends the runner; everybody is told, once, and whether it
// may have happened.
func TestFailedCommit(t *testing.T) {
	f := func(fault error, begun task.Applied) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			r, p, _ := running(t)
			send := func(n int) *task.EnqueueBatch {
				b := batchOf("q", n, 1)
				b.Done = func(b *task.EnqueueBatch) { b.AckBelow++ }
				r.Enqueue(b)
				synctest.Wait()
				return b
			}
			first, second := send(0), send(1)
			var polled, watched, looked *task.Error
			var credit, pollCredit Credit
			pollCredit.Add(1)
			r.Poll(&task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "empty"}}, Max: 1}, &pollCredit, &worker{}, false, func(err *task.Error) { polled = err })
			opts := task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}}
			w := &worker{}
			var attached *task.Error
			r.Attach(&opts, 1, &credit, w, func(_ []task.Token, err *task.Error) { attached = err })
			r.Watch(task.ID{Partition: 3, Queue: 1, Lane: 1, Seq: 1}, func(_ task.Info, err *task.Error) { watched = err })
			r.QueueInfos(nil, func(_ []task.QueueInfo, err *task.Error) { looked = err })
			p.gate <- fault
			synctest.Wait()
			if first.AckBelow != 1 || first.Err == nil || first.Err.Code != task.Unavailable || first.Err.Applied != begun {
				t.Errorf("%v: the batch that failed: %d answers, %+v, want applied %d", fault, first.AckBelow, first.Err, begun)
			}
			if second.AckBelow != 1 || second.Err == nil || second.Err.Code != task.Unavailable {
				t.Errorf("%v: the batch behind it: %d answers, %+v", fault, second.AckBelow, second.Err)
			}
			for what, err := range map[string]*task.Error{"lease": polled, "attach": attached, "watch": watched, "counts": looked} {
				if err == nil || err.Code != task.Unavailable {
					t.Errorf("%v: %s got %v, want Unavailable", fault, what, err)
				}
			}
			<-r.Done()
			if late := send(2); late.AckBelow != 1 || late.Err == nil || late.Err.Applied != task.AppliedNo {
				t.Errorf("%v: a late batch: %d answers, %+v", fault, late.AckBelow, late.Err)
			}
			if !errors.Is(r.Err(), fault) {
				t.Errorf("the runner ended with %v, want %v", r.Err(), fault)
			}
		})
	}
	f(store.ErrUnknown, task.AppliedUnknown)
	f(store.ErrDead, task.AppliedUnknown)
	f(store.ErrFull, task.AppliedNo)
	f(store.ErrFenced, task.AppliedNo)
}

// tally counts what the store holds, by class.
func (g *rig) tally() map[record.Class]int64 {
	g.t.Helper()
	n := map[record.Class]int64{}
	it := g.r.part.Scan(nil, nil)
	for it.Next() {
		_, c, err := record.ClassOf(it.Key())
		if err == nil {
			err = g.r.dec.Check(it.Key(), it.Value())
		}
		if err != nil {
			g.t.Fatalf("record %x: %v", it.Key(), err)
		}
		n[c]++
	}
	if err := it.Close(); err != nil {
		g.t.Fatal(err)
	}
	return n
}

func (g *rig) infos() []task.QueueInfo {
	g.t.Helper()
	return g.r.m.QueueInfos(nil, nil)
}

// I3: at every commit point the store holds exactly what the machine counts, and
// a new owner sees the same.
func TestMirror(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed=", seed), func(t *testing.T) {
			g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 24 })
			x := newMixer(g, seed)
			for i := range 150 {
				x.step()
				g.mirror(fmt.Sprint("step ", i))
				if i%25 == 24 {
					x.reopen()
					g.mirror(fmt.Sprint("after reopening at step ", i))
				}
			}
			x.finish()
		})
	}
}

// mirror compares what the machine counts with what the store holds.
func (g *rig) mirror(when string) {
	g.t.Helper()
	n := g.tally()
	var births, timed, dead int64
	for _, q := range g.infos() {
		live := q.Scheduled + q.Ready + q.Blocked + q.Running
		births += live
		dead += q.Dead
	}
	timed = n[record.ClassTimed]
	if live := n[record.ClassBirth] + timed; live != births || n[record.ClassDead] != dead {
		g.t.Fatalf("%s: the store holds %d live tasks and %d dead letters, the machine counts %d and %d", when, live, n[record.ClassDead], births, dead)
	}
	var kept int64
	for _, s := range g.r.m.Segments() {
		kept += s.Count
	}
	if n[record.ClassFinished] > kept {
		g.t.Fatalf("%s: the store holds %d finished tasks, the segments count %d", when, n[record.ClassFinished], kept)
	}
	if n[record.ClassWhere] > n[record.ClassTimed]+n[record.ClassDead] {
		g.t.Fatalf("%s: %d tasks are said to have moved, of %d that can have", when, n[record.ClassWhere], n[record.ClassTimed]+n[record.ClassDead])
	}
}
