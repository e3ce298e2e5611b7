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

// TestCheckersCry seeds each checker with the fault it is there for. A checker
// that sleeps through it would sleep through the real one.
func TestCheckersCry(t *testing.T) {
	f := func(checker string, calm bool, fault func(b *broken, mem *store.Mem, life int)) {
		t.Helper()
		t.Run(checker, func(t *testing.T) {
			for s := uint64(1); s <= 12; s++ {
				life := 0
				r := Run(Options{Seed: s, Steps: 300, Calm: calm, Tamper: func(sys System, mem *store.Mem) System {
					life++
					b := &broken{System: sys}
					fault(b, mem, life)
					return b
				}})
				for _, c := range r.Faults {
					if strings.HasPrefix(c, checker+":") {
						t.Log(c)
						return
					}
				}
			}
			t.Errorf("no seed made %q cry", checker)
		})
	}
	once := func(fn func()) func() {
		done := false
		return func() {
			if !done {
				done = true
				fn()
			}
		}
	}

	f("lost", false, func(b *broken, _ *store.Mem, life int) {
		n := 0
		b.enqueue = func(x *task.EnqueueBatch) {
			if n++; n != 5 || life > 1 {
				b.System.Enqueue(x)
				return
			}
			x.Results = make([]task.Enqueued, len(x.Specs)) // answered, and never done
			for i := range x.Results {
				x.Results[i].ID = task.ID{Queue: 1, Lane: 1, Priority: 5, Seq: task.MakeSeq(77, uint64(i))}
			}
			x.Done(x)
		}
	})
	f("duplicated", false, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) { // numbers are forgotten, answers get lost
			x.Producer = ""
			done := x.Done
			x.Done = func(x *task.EnqueueBatch) {
				if x.Err == nil && x.Specs[0].Number%3 == 0 {
					for i := range x.Results {
						x.Results[i].Err = task.Errorf(task.Unavailable, "lost")
					}
				}
				done(x)
			}
			b.System.Enqueue(x)
		}
	})
	f("unexpected", false, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				ds[0].Payload = []byte("from nowhere")
				to.Deliver(ds)
			}}
		}
	})
	f("twice", false, func(b *broken, _ *store.Mem, _ int) {
		b.report = func(x *task.OutcomeBatch) { // what is refused is called accepted
			done := x.Done
			x.Done = func(x *task.OutcomeBatch) {
				for i := range x.Codes {
					x.Codes[i] = task.OK
				}
				done(x)
			}
			b.System.Report(x)
		}
	})
	f("fence", true, func(b *broken, _ *store.Mem, _ int) {
		b.sink = func(s task.Sink) task.Sink {
			return sinkOf{s, func(to task.Sink, ds []task.Delivery) {
				to.Deliver(ds)
				to.Deliver(ds[:1])
			}}
		}
	})
	f("credit", true, func(b *broken, _ *store.Mem, _ int) {
		b.session = func(s task.Session) task.Session { return generous{s} }
	})
	f("ended", false, func(b *broken, _ *store.Mem, _ int) {
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
	})
	f("order", true, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			for i := range x.Specs {
				if x.Specs[i].Number%4 == 0 {
					x.Specs[i].Delay = 2000
				}
			}
			b.System.Enqueue(x)
		}
	})
	f("history", false, func(b *broken, _ *store.Mem, _ int) {
		b.get = func(in *task.Info) {
			if n := len(in.Attempts); in.Counts.Failures > 0 && n > 0 {
				in.Attempts = in.Attempts[1:]
			}
		}
	})
	f("counts", true, func(b *broken, _ *store.Mem, _ int) {
		b.queues = func(qs []task.QueueInfo) {
			for i := range qs {
				qs[i].Enqueued++
			}
		}
	})
	f("mirror", false, func(b *broken, _ *store.Mem, life int) {
		b.queues = func(qs []task.QueueInfo) {
			for i := range qs {
				qs[i].Succeeded += int64(life)
			}
		}
	})
	f("leftovers", true, func(b *broken, mem *store.Mem, _ int) {
		b.close = once(func() {
			part, err := mem.Acquire(context.Background(), 0, "test")
			if err != nil {
				t.Fatal(err)
			}
			var x store.Batch
			x.Set(append(record.AppendPrefix(nil, 0, record.ClassTimed), 1, 2, 3), []byte("x"))
			if err := part.Begin(&x)(); err != nil {
				t.Fatal(err)
			}
		})
	})
	f("resurrected", true, func(b *broken, mem *store.Mem, _ int) {
		b.close = once(func() {
			part, err := mem.Acquire(context.Background(), 0, "test")
			if err != nil {
				t.Fatal(err)
			}
			key := append(record.AppendPrefix(nil, 0, record.ClassMeta), 9)
			for i := range 3 {
				var x store.Batch
				if i < 2 {
					x.Set(key, []byte{byte(i)})
				} else {
					x.SingleDelete(key)
				}
				if err := part.Begin(&x)(); err != nil {
					t.Fatal(err)
				}
			}
		})
	})
	f("stuck", true, func(b *broken, _ *store.Mem, _ int) {
		n := 0
		b.enqueue = func(x *task.EnqueueBatch) { // never answered
			if n++; n < 20 {
				b.System.Enqueue(x)
			}
		}
	})
	f("answer", true, func(b *broken, _ *store.Mem, _ int) {
		b.enqueue = func(x *task.EnqueueBatch) {
			x.Err = task.Errorf(task.Internal, "broken")
			x.Done(x)
		}
	})
}
