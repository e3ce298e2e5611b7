package queue

import (
	"fmt"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// turnLoad is something that n commands of one turn, or one command about n tasks,
// ask of the machine. prepare makes a machine and the turn.
type turnLoad struct {
	name    string
	most    int // n
	prepare func(n int) (*Machine, []Command)
}

var turnLoads = []turnLoad{
	{"idempotency keys", 40_000, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		b := batchOf(n, func(i int, s *task.Spec) { s.Idempotency = fmt.Sprint("k", i) })
		var out Output
		m.Apply(1, []Command{{Op: OpEnqueue, Enqueue: b}}, &out)
		return m, append(answersOf(&out), out.Deferred...)
	}},
	{"types that the worker names", 1_000, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		types := make([]string, n)
		for i := range types {
			types[i] = fmt.Sprint("t", i)
		}
		var out Output
		o := &Open{Options: &task.SessionOptions{ID: "w", Types: types, Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1}}
		m.Apply(1, []Command{{Op: OpOpen, Open: o}, {Op: OpEnqueue, Enqueue: batchOf(10*n, func(i int, s *task.Spec) { s.Type, s.Priority = types[i%n], 0 })}}, &out)
		return m, []Command{{Op: OpDispatch, Session: o.Session, N: 10 * n}}
	}},
	{"claims taken back", 40_000, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		durable := task.ClaimsDurable
		var out Output
		o := &Open{Options: &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1, Remote: true}}
		m.Apply(1, []Command{{Op: OpSetQueue, SetQueue: &SetQueue{Name: "q", Patch: task.QueuePatch{Claims: &durable}}},
			{Op: OpEnqueue, Enqueue: batchOf(n, nil)}, {Op: OpOpen, Open: o}}, &out)
		return m, []Command{{Op: OpDispatch, Session: o.Session, N: n}, {Op: OpClose, Session: o.Session}}
	}},
	{"expiry taken back", 40_000, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		b := batchOf(n, func(_ int, s *task.Spec) { s.ExpireAfter = task.Hour })
		return m, []Command{{Op: OpEnqueue, Enqueue: b}, {Op: OpPurge, Purge: &Purge{Name: "q", States: []task.State{task.Ready}}}}
	}},
	{"sessions opened and closed", sessionsMax, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		var cmds []Command
		for i := range n {
			cmds = append(cmds, Command{Op: OpOpen, Open: &Open{Options: &task.SessionOptions{ID: fmt.Sprint("w", i), Queues: []task.QueueWeight{{Queue: "q"}}, Remote: true}}})
		}
		for i := range n {
			cmds = append(cmds, Command{Op: OpClose, Session: SessionNo(i + 1)})
		}
		return m, cmds
	}},
	{"sessions opened in the room of others", sessionsMax, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		open := func(name string) (cmds []Command) {
			for i := range n {
				cmds = append(cmds, Command{Op: OpOpen, Open: &Open{Options: &task.SessionOptions{ID: fmt.Sprint(name, i), Queues: []task.QueueWeight{{Queue: "q"}}}}})
			}
			return cmds
		}
		var out Output
		m.Apply(1, open("a"), &out)
		var cmds []Command
		for i := range n {
			cmds = append(cmds, Command{Op: OpClose, Session: SessionNo(n - i)})
		}
		m.Apply(1, cmds, &out)
		return m, open("b")
	}},
	{"queues that sessions wait for", sessionsMax, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		var cmds []Command
		for i := range n {
			cmds = append(cmds, Command{Op: OpOpen, Open: &Open{Options: &task.SessionOptions{ID: fmt.Sprint("w", i), Queues: []task.QueueWeight{{Queue: fmt.Sprint("q", i)}}}}})
		}
		var out Output
		m.Apply(1, cmds, &out)
		cmds = nil
		for i := range n {
			cmds = append(cmds, Command{Op: OpSetQueue, SetQueue: &SetQueue{Name: fmt.Sprint("q", i)}})
		}
		return m, cmds
	}},
	{"segments that fill", 40_000, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		m.cfg.HistoryBytes = 1 << 40
		var out Output
		m.Apply(1, []Command{{Op: OpEnqueue, Enqueue: batchOf(n, nil)}}, &out)
		m.Apply(1, []Command{{Op: OpLease, Lease: &Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: n}}}, &out)
		m.cfg.HistoryBytes = 1 // segments are as small as may be
		result := make([]byte, 64<<10)
		r := &task.OutcomeBatch{Codes: make([]task.Code, n)}
		for i := range out.Leased {
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: out.Leased[i].Token, Result: result})
		}
		r.Codes = r.Codes[:len(r.Outcomes)]
		return m, []Command{{Op: OpReport, Report: r}}
	}},
	{"numbers out of order", 40_000, func(n int) (*Machine, []Command) {
		b := batchOf(n, func(i int, s *task.Spec) { s.Number = uint64(2 * (n - i)) })
		b.Producer = "p"
		return newTurnMachine(), []Command{{Op: OpEnqueue, Enqueue: b}}
	}},
	{"confirmations one by one", rangesMax - 1, func(n int) (*Machine, []Command) {
		m := newTurnMachine()
		b := batchOf(n, func(i int, s *task.Spec) { s.Number = uint64(2*i + 1) })
		b.Producer = "p"
		var out Output
		m.Apply(1, []Command{{Op: OpEnqueue, Enqueue: b}}, &out)
		var cmds []Command
		for i := range n {
			cmds = append(cmds, Command{Op: OpEnqueue, Enqueue: &task.EnqueueBatch{Queue: "q", Producer: "p", AckBelow: uint64(2*i + 2)}})
		}
		return m, cmds
	}},
}

func newTurnMachine() *Machine { return New(Config{Epoch: 1, WindowTasks: 1 << 20}, &Snapshot{}, 1) }

func batchOf(n int, each func(i int, s *task.Spec)) *task.EnqueueBatch {
	b := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, n), Results: make([]task.Enqueued, n)}
	for i := range b.Specs {
		b.Specs[i].Type, b.Specs[i].Priority = "t", uint8(i%10) // ten lanes: each has a window of its own
		if each != nil {
			each(i, &b.Specs[i])
		}
	}
	return b
}

// answersOf answers every want with "not there".
func answersOf(o *Output) (cmds []Command) {
	for _, w := range o.Wants {
		cmds = append(cmds, Command{Op: OpLoaded, Loaded: &Loaded{Want: w}})
	}
	return cmds
}

func (l *turnLoad) cost(n int) time.Duration {
	m, cmds := l.prepare(n)
	var out Output
	began := time.Now()
	m.Apply(1, cmds, &out)
	return time.Since(began)
}

// TestTurnIsNotQuadratic: a command costs about as much in the longest turn as in
// one of a twentieth.
func TestTurnIsNotQuadratic(t *testing.T) {
	for _, l := range turnLoads {
		t.Run(l.name, func(t *testing.T) {
			least := func(n int) (d time.Duration) { // a machine that does other things too is no fault
				for i := range 5 {
					if x := l.cost(n); i == 0 || x < d {
						d = x
					}
				}
				return d / time.Duration(n)
			}
			var few, many time.Duration
			for range 4 { // what is quadratic is so each time
				few, many = least(l.most/20), least(l.most)
				if many <= 10*few || many <= 25*time.Microsecond {
					return
				}
			}
			t.Errorf("a command takes %v in a turn of %d, and %v in one of %d", few, l.most/20, many, l.most)
		})
	}
}

// BenchmarkTurn is the time of one command in the longest turn.
func BenchmarkTurn(b *testing.B) {
	for _, l := range turnLoads {
		b.Run(l.name, func(b *testing.B) {
			var took time.Duration
			for range b.N {
				took += l.cost(l.most)
			}
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(float64(took.Nanoseconds())/float64(b.N*l.most), "ns/command")
		})
	}
}
