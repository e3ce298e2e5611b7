package partition

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// idlers are n workers for whom there is nothing.
var idlers = map[string]func(g *rig, n int){
	"sessions of other queues": func(g *rig, n int) {
		attachIdle(g, n, func(i int) (string, []string) { return fmt.Sprint("q", i), nil })
	},
	"sessions of other types": func(g *rig, n int) {
		attachIdle(g, n, func(i int) (string, []string) { return "q", []string{fmt.Sprint("t", i)} })
	},
	"sessions of another type": func(g *rig, n int) { attachIdle(g, n, func(int) (string, []string) { return "q", []string{"x"} }) },
	"sessions of the same":     func(g *rig, n int) { attachIdle(g, n, func(int) (string, []string) { return "q", nil }) },
	"leases of another type": func(g *rig, n int) {
		for range n {
			c := &Credit{}
			c.Undivided()
			c.Add(1)
			g.r.Poll(&task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Types: []string{"x"}, Max: 1}, c, &worker{}, false, func(*task.Error) {})
		}
		g.run()
	},
}

func attachIdle(g *rig, n int, of func(i int) (queue string, types []string)) {
	for i := range n {
		q, types := of(i)
		w := &worker{}
		w.credit.Add(1)
		o := &task.SessionOptions{ID: fmt.Sprint("idle", i), Queues: []task.QueueWeight{{Queue: q}}, Types: types}
		g.r.Attach(o, 1, &w.credit, w, func(_ []task.Token, err *task.Error) {
			if err != nil {
				g.t.Error(err)
			}
		})
	}
	g.run()
}

// Workers for whom there is nothing are not asked, however many they are; and of
// those that want the same no more than there are tasks.
func TestIdleWorkersAreNotAsked(t *testing.T) {
	for name, idle := range idlers {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, store.MemOptions{}, func(c *Config) { c.Check = false })
			idle(g, 300)
			busy := g.attach("busy", "q")
			for i := range 20 {
				if name != "sessions of the same" {
					busy.credit.Add(1)
				}
				if n := len(g.r.active); n > 1 {
					t.Fatalf("%d crews are active, and there is nothing", n)
				}
				b := batchOf("q", i, 1)
				b.Done = func(*task.EnqueueBatch) {}
				g.r.Enqueue(b)
				given, err := g.r.Begin()
				if !given || err != nil {
					t.Fatal(given, err)
				}
				if n := len(g.r.roused); n > 1 {
					t.Errorf("%d crews were asked for one task", n)
				}
				if n := len(g.r.out.Leased); n != 1 {
					t.Errorf("%d tasks were leased", n)
				}
				g.run()
			}
		})
	}
}

// BenchmarkTurnBeside is a turn with the birth of a task and one with its end,
// beside 5,000 workers for whom there is nothing.
func BenchmarkTurnBeside(b *testing.B) {
	idlers := map[string]func(g *rig, n int){"none": func(*rig, int) {}}
	for name, f := range idlersAnd(idlers) {
		b.Run(name, func(b *testing.B) {
			g := newRig(b, store.MemOptions{}, func(c *Config) { c.Check = false })
			f(g, 5_000)
			busy := g.attach("busy", "q")
			busy.credit.Add(1)
			b.ResetTimer()
			for i := range b.N {
				g.enqueue("q", i, 1)
				if len(busy.got) == 0 { // another of the same crew has it
					continue
				}
				g.report(busy.got, nil)
				busy.got = busy.got[:0]
				busy.credit.Add(1)
			}
		})
	}
}

func idlersAnd(more map[string]func(g *rig, n int)) map[string]func(g *rig, n int) {
	for name, f := range idlers {
		if name != "sessions of the same" {
			more[name] = f
		}
	}
	return more
}
