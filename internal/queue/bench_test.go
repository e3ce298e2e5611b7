package queue

import (
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// BenchmarkLife is the life of a task in the machine alone: enqueue, lease,
// complete, 100 a command.
func BenchmarkLife(b *testing.B) { benchLife(b, 0) }

// BenchmarkLifeBehind is the same beside 100,000 waiting tasks of lower priority.
func BenchmarkLifeBehind(b *testing.B) { benchLife(b, 100_000) }

func benchLife(b *testing.B, waiting int) {
	const batch = 100
	m := New(Config{Epoch: 1}, &Snapshot{}, 1)
	var out Output
	payload := make([]byte, 100)
	specs := make([]task.Spec, batch)
	for i := range specs {
		specs[i] = task.Spec{Type: "t", Payload: payload, Priority: 1}
	}
	eb := &task.EnqueueBatch{Queue: "q", Specs: specs, Results: make([]task.Enqueued, batch)}
	for n := 0; n < waiting; n += batch {
		m.Apply(1, []Command{{Op: OpEnqueue, Enqueue: eb}}, &out)
	}
	for i := range specs {
		specs[i].Priority = 5
	}
	o := &Open{Options: &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1}}
	rb := &task.OutcomeBatch{Outcomes: make([]task.Outcome, 0, batch), Codes: make([]task.Code, batch)}
	m.Apply(1, []Command{{Op: OpOpen, Open: o}}, &out)
	cmds := []Command{{Op: OpEnqueue, Enqueue: eb}, {Op: OpDispatch, Session: o.Session, N: batch}}
	fin := []Command{{Op: OpReport, Report: rb}}
	now := task.Time(2)
	b.ReportAllocs()
	b.ResetTimer()
	for n := 0; n < b.N; n += batch {
		now++
		m.Apply(now/1000+1, cmds, &out)
		if len(out.Leased) != batch {
			b.Fatalf("leased %d of %d", len(out.Leased), batch)
		}
		rb.Outcomes = rb.Outcomes[:0]
		for i := range out.Leased {
			rb.Outcomes = append(rb.Outcomes, task.Outcome{Token: out.Leased[i].Token})
		}
		m.Apply(now/1000+1, fin, &out)
		if rb.Codes[0] != task.OK || len(out.Finished.Puts) != batch {
			b.Fatalf("finished %d, code %v", len(out.Finished.Puts), rb.Codes[0])
		}
	}
	b.StopTimer()
	if err := m.Check(); err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
}
