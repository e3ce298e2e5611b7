package partition

import (
	"context"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// fillLanes enqueues each tasks for every one of so many keys, one key after
// another, again and again: so every lane has old tasks and new ones.
func (g *rig) fillLanes(queue string, lanes, each int) {
	g.t.Helper()
	const most = 5_000
	for n := 0; n < lanes*each; {
		b := batchOf(queue, n, min(most, lanes*each-n))
		for i := range b.Specs {
			b.Specs[i].Key = fmt.Sprint("k", n%lanes)
			n++
		}
		b.Done = func(*task.EnqueueBatch) {}
		g.r.Enqueue(b)
		g.run()
	}
}

// page reads one page, and counts the steps that it takes.
func (g *rig) page(c *counted, f task.Filter, at []byte) (p Page, steps int) {
	g.t.Helper()
	c.steps = 0
	g.r.List(context.Background(), f, at, 50_000, func(got Page, err *task.Error) {
		if p = got; err != nil {
			g.t.Fatal(err)
		}
	})
	g.run()
	return p, c.steps
}

// BenchmarkListSteps shows what pages cost in seeks and steps of the store, by how
// many lanes there are: the first, the tenth, the mean of all, and one that the
// filter leaves empty.
func BenchmarkListSteps(b *testing.B) {
	for _, lanes := range []int{1, 1_000, 100_000} {
		b.Run(fmt.Sprint("lanes=", lanes), func(b *testing.B) {
			g := newRig(b, store.MemOptions{}, func(c *Config) { c.WindowTasks, c.Check = 20_000, false })
			g.fillLanes("q", lanes, max(3, 30_000/lanes))
			c := g.count()
			f := task.Filter{Limit: 500}
			for b.Loop() {
				var at []byte
				all, pages := 0, 0
				for {
					p, steps := g.page(c, f, at)
					all += steps
					switch pages++; pages {
					case 1:
						b.ReportMetric(float64(steps), "first")
					case 10:
						b.ReportMetric(float64(steps), "tenth")
					}
					if at = p.Next; at == nil {
						break
					}
				}
				b.ReportMetric(float64(all)/float64(pages), "mean")
				_, none := g.page(c, task.Filter{Limit: 500, Type: "none"}, nil)
				b.ReportMetric(float64(none), "none")
			}
		})
	}
}
