package sim

import (
	"context"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// broken is a system with one fault; each field replaces one call.
type broken struct {
	System
	enqueue func(*task.EnqueueBatch)
	report  func(*task.OutcomeBatch)
	sink    func(task.Sink) task.Sink
	session func(task.Session) task.Session
	queues  func([]task.QueueInfo)
	get     func(*task.Info)
	watch   func(*task.Watch)
	purge   func(int64) int64
	keep    bool // queues that are to be deleted
	close   func()
}

func (b *broken) Enqueue(x *task.EnqueueBatch) {
	if b.enqueue != nil {
		b.enqueue(x)
		return
	}
	b.System.Enqueue(x)
}

func (b *broken) Report(x *task.OutcomeBatch) {
	if b.report != nil {
		b.report(x)
		return
	}
	b.System.Report(x)
}

func (b *broken) Attach(ctx context.Context, o task.SessionOptions, s task.Sink) (task.Session, error) {
	if b.sink != nil {
		s = b.sink(s)
	}
	out, err := b.System.Attach(ctx, o, s)
	if err == nil {
		out = &brokenSession{Session: out, b: b}
		if b.session != nil {
			out = b.session(out)
		}
	}
	return out, err
}

// brokenSession reports by the broken system.
type brokenSession struct {
	task.Session
	b *broken
}

func (s *brokenSession) Report(x *task.OutcomeBatch) { s.b.Report(x) }

func (b *broken) Queues(ctx context.Context, names []string) ([]task.QueueInfo, error) {
	qs, err := b.System.Queues(ctx, names)
	if err == nil && b.queues != nil {
		b.queues(qs)
	}
	return qs, err
}

func (b *broken) Get(ctx context.Context, id task.ID) (task.Info, error) {
	in, err := b.System.Get(ctx, id)
	if b.get != nil {
		b.get(&in)
	}
	return in, err
}

func (b *broken) Watch(w *task.Watch) func() {
	if b.watch != nil {
		b.watch(w)
		return func() {}
	}
	return b.System.Watch(w)
}

func (b *broken) Purge(ctx context.Context, queue string, states []task.State) (int64, error) {
	n, err := b.System.Purge(ctx, queue, states)
	if err == nil && b.purge != nil {
		n = b.purge(n)
	}
	return n, err
}

func (b *broken) DeleteQueue(ctx context.Context, queue string, force bool) (int64, error) {
	if !b.keep || !force {
		return b.System.DeleteQueue(ctx, queue, force)
	}
	return b.System.Purge(ctx, queue, []task.State{task.Ready, task.Scheduled, task.Dead})
}

func (b *broken) Close(ctx context.Context) error {
	err := b.System.Close(ctx)
	if b.close != nil {
		b.close()
	}
	return err
}

// sinkOf changes deliveries on their way.
type sinkOf struct {
	task.Sink
	deliver func(to task.Sink, ds []task.Delivery)
}

func (s sinkOf) Deliver(ds []task.Delivery) { s.deliver(s.Sink, ds) }

// generous gives more credit than it was asked for.
type generous struct{ task.Session }

func (g generous) Credit(n int) { g.Session.Credit(n + 100) }

// faults are what each checker is there for. A checker that sleeps through its
// fault would sleep through the real one.
var faults = []struct {
	checker string
	calm    bool
	make    func(b *broken, mem *store.Mem, life int)
}{
	{"lost", false, loseOne},
	{"duplicated", false, forgetNumbers},
	{"unexpected", false, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				ds[0].Payload = []byte("from nowhere")
				to.Deliver(ds)
			}}
		}
	}},
	{"twice", false, acceptAll},
	{"stands", false, acceptAll},
	{"fence", true, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				to.Deliver(ds)
				to.Deliver(ds[:1])
			}}
		}
	}},
	{"blamed", true, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				ds[0].Counts.Crashes, ds[0].Attempt = 1, ds[0].Attempt+1
				to.Deliver(ds)
			}}
		}
	}},
	{"early", false, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			for i := range x.Specs {
				x.Specs[i].Delay /= 3
			}
			b.System.Enqueue(x)
		}
	}},
	{"late", false, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			for i := range x.Specs {
				x.Specs[i].Delay *= 2
				if x.Specs[i].RunAt != 0 {
					x.Specs[i].RunAt += 60_000
				}
			}
			b.System.Enqueue(x)
		}
	}},
	{"credit", true, func(b *broken, _ *store.Mem, _ int) {
		b.session = func(s task.Session) task.Session { return generous{s} }
	}},
	{"ended", false, changeResults},
	{"order", true, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			for i := range x.Specs {
				if len(x.Specs[i].Payload)%2 == 0 {
					x.Specs[i].Delay = 2000
				}
			}
			b.System.Enqueue(x)
		}
	}},
	{"lease", true, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				to.Deliver(ds)
				to.Revoke([]task.Token{ds[0].Token}, task.LeaseLost)
			}}
		}
	}},
	{"crash", true, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				ds[0].Counts.Crashes++
				ds[0].Attempt++
				to.Deliver(ds)
			}}
		}
	}},
	{"early", false, func(b *broken, _ *store.Mem, _ int) { // what is to wait does not
		b.report = func(x *task.OutcomeBatch) {
			for i := range x.Outcomes {
				x.Outcomes[i].Delay = min(x.Outcomes[i].Delay, 0)
			}
			b.System.Report(x)
		}
	}},
	{"idle", true, func(b *broken, _ *store.Mem, life int) { // after a restart there is more than is given out
		b.queues = func(qs []task.QueueInfo) {
			for i := range qs {
				qs[i].Ready += int64(life - 1)
			}
		}
	}},
	{"history", false, func(b *broken, _ *store.Mem, _ int) {
		b.get = func(in *task.Info) {
			if n := len(in.Attempts); in.Counts.Failures > 0 && n > 0 {
				in.Attempts = in.Attempts[1:]
			}
		}
	}},
	{"counts", true, func(b *broken, _ *store.Mem, _ int) {
		b.queues = func(qs []task.QueueInfo) {
			for i := range qs {
				qs[i].Enqueued++
			}
		}
	}},
	{"mirror", false, func(b *broken, _ *store.Mem, life int) {
		b.queues = func(qs []task.QueueInfo) {
			for i := range qs {
				qs[i].Succeeded += int64(life)
			}
		}
	}},
	{"purged", false, func(b *broken, _ *store.Mem, _ int) {
		b.purge = func(n int64) int64 { return n + 1 }
	}},
	{"deleted", false, func(b *broken, _ *store.Mem, _ int) { b.keep = true }},
	{"watch", true, func(b *broken, _ *store.Mem, _ int) {
		b.watch = func(*task.Watch) {}
	}},
	{"leftovers", true, func(b *broken, mem *store.Mem, _ int) {
		b.close = func() {
			key := append(record.AppendPrefix(nil, 0, record.ClassTimed), 1, 2, 3)
			write(mem, func(x *store.Batch) { x.Set(key, []byte("x")) })
		}
	}},
	{"broke", false, func(b *broken, mem *store.Mem, _ int) {
		b.close = func() {
			key := append(record.AppendPrefix(nil, 0, record.ClassQueue), 0, 0, 9)
			write(mem, func(x *store.Batch) { x.Set(key, []byte("not a record")) })
		}
	}},
	{"resurrected", true, func(b *broken, mem *store.Mem, _ int) {
		b.close = func() {
			key := append(record.AppendPrefix(nil, 0, record.ClassMeta), 9)
			write(mem, func(x *store.Batch) { x.Set(key, []byte("1")) })
			write(mem, func(x *store.Batch) { x.Set(key, []byte("2")) })
			write(mem, func(x *store.Batch) { x.SingleDelete(key) })
		}
	}},
	{"stuck", true, func(b *broken, _ *store.Mem, _ int) {
		n := 0
		b.enqueue = func(x *task.EnqueueBatch) { // never answered
			if n++; n < 20 {
				b.System.Enqueue(x)
			}
		}
	}},
	{"answer", true, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			x.Err = task.Errorf(task.Internal, "broken")
			x.Done(x)
		}
	}},
}

// acceptAll calls accepted what is refused.
func acceptAll(b *broken, _ *store.Mem, _ int) {
	b.report = func(x *task.OutcomeBatch) {
		done := x.Done
		x.Done = func(x *task.OutcomeBatch) {
			for i := range x.Codes {
				x.Codes[i] = task.OK
			}
			done(x)
		}
		b.System.Report(x)
	}
}

// loseOne answers a batch and does nothing about it.
func loseOne(b *broken, _ *store.Mem, life int) {
	n := 0
	b.enqueue = func(x *task.EnqueueBatch) {
		if n++; n != 5 || life > 1 {
			b.System.Enqueue(x)
			return
		}
		x.Results = make([]task.Enqueued, len(x.Specs))
		for i := range x.Results {
			x.Results[i].ID = task.ID{Queue: 1, Lane: 1, Priority: 5, Seq: task.MakeSeq(77, uint64(i))}
		}
		x.Done(x)
	}
}

// forgetNumbers takes every repeat for new, and loses answers.
func forgetNumbers(b *broken, _ *store.Mem, _ int) {
	b.enqueue = func(x *task.EnqueueBatch) {
		x.Producer = ""
		for i := range x.Specs {
			x.Specs[i].Idempotency = ""
		}
		done := x.Done
		x.Done = func(x *task.EnqueueBatch) {
			if x.Err == nil && len(x.Specs)%3 == 0 {
				for i := range x.Results {
					x.Results[i].Err = task.Errorf(task.Unavailable, "lost")
				}
			}
			done(x)
		}
		b.System.Enqueue(x)
	}
}

// changeResults stores another result than was reported.
func changeResults(b *broken, _ *store.Mem, _ int) {
	b.report = func(x *task.OutcomeBatch) {
		orig := x.Outcomes
		x.Outcomes = append([]task.Outcome(nil), orig...)
		for i := range x.Outcomes {
			if x.Outcomes[i].Kind == task.OutcomeComplete {
				x.Outcomes[i].Result = []byte("something else")
			}
		}
		done := x.Done
		x.Done = func(x *task.OutcomeBatch) {
			x.Outcomes = orig
			done(x)
		}
		b.System.Report(x)
	}
}

// write commits a batch behind the node's back, once it is closed.
func write(mem *store.Mem, fill func(*store.Batch)) {
	part, err := mem.Acquire(context.Background(), 0, "test")
	if err != nil {
		panic(err)
	}
	var x store.Batch
	fill(&x)
	if err := part.Begin(&x)(); err != nil {
		panic(err)
	}
}

// A store that keeps half of a torn batch is noticed, whichever checker sees it
// first.
func TestTornBatchIsNoticed(t *testing.T) {
	for s := uint64(1); s <= 60; s++ {
		if r := run(Options{Seed: s, Steps: 300, Torn: true}); len(r.Faults) > 0 {
			t.Logf("seed %d: %s", s, r.Faults[0])
			return
		}
	}
	t.Error("no seed noticed a torn batch")
}

func TestCheckersCry(t *testing.T) {
	for _, f := range faults {
		t.Run(f.checker, func(t *testing.T) {
			for s := uint64(1); s <= 100; s++ {
				life := 0
				r := Run(Options{Seed: s, Steps: 300, Calm: f.calm, Steady: s%2 == 0, Tamper: func(sys System, mem *store.Mem) System {
					life++
					b := &broken{System: sys}
					f.make(b, mem, life)
					return b
				}})
				for _, c := range r.Faults {
					if strings.HasPrefix(c, f.checker+":") {
						t.Log(c)
						return
					}
				}
			}
			t.Errorf("no seed made %q cry", f.checker)
		})
	}
}
