package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// What may run under sessions is bounded over all of them: one that gets nothing for
// that is asked again when another's tasks have ended, though nothing new comes in.
func TestSessionsWaitForRoom(t *testing.T) {
	const most = task.LeaseMax // with so small a window
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 64 })
	g.enqueue("q", 0, most+100)
	first := g.attach("first", "q")
	first.credit.Add(most + 50)
	g.run()
	if len(first.got) != most {
		t.Fatalf("one session got %d of at most %d", len(first.got), most)
	}
	second := g.attach("second", "q")
	second.credit.Add(10)
	g.run()
	if len(second.got) != 0 {
		t.Fatalf("beyond what may run another got %d", len(second.got))
	}
	g.report(first.got[:500], func(_ *task.Delivery, o *task.Outcome) { o.Kind = task.OutcomeComplete })
	g.run()
	if len(first.got) != most+50 || len(second.got) != 10 {
		t.Errorf("with room for 500 again they got %d and %d, want 50 and 10", len(first.got)-most, len(second.got))
	}
}
