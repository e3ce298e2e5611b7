package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// A loop that stood still for longer than a session's TTL blames no worker: nobody
// could be heard. One that is silent from then on lapses.
func TestGapOfTheOwnBlamesNobody(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.Held = false })
	ids := g.enqueue("q", 0, 5)
	w := g.attach("w", "q")
	w.credit.Add(5)
	g.run()
	if len(w.got) != 5 {
		t.Fatalf("%d deliveries of 5", len(w.got))
	}
	pass := func(d task.Millis) { // as a loop does that is alive
		for end := g.now.Add(d); g.now < end; {
			g.now = min(end, g.now.Add(500))
			g.run()
		}
	}
	pass(3 * task.Second)
	g.now = g.now.Add(15 * task.Second)
	g.run()
	pass(8 * task.Second)
	if w.lost != nil || len(w.revoked) > 0 {
		t.Fatalf("after a gap of 15 s the session is told %v, %d leases are revoked", w.lost, len(w.revoked))
	}
	for _, id := range ids {
		if info, err := g.get(id); err != nil || info.State != task.Running || info.Counts.Crashes != 0 {
			t.Fatalf("after a gap of 15 s: %v with %+v, %v", info.State, info.Counts, err)
		}
	}
	pass(3 * task.Second)
	if w.lost == nil {
		t.Fatal("a session lives that was silent for its TTL")
	}
}

// A clock that is moved by hand has the gaps that it tells of, and no others.
func TestHeldClockTellsItsGaps(t *testing.T) {
	g := newRig(t, store.MemOptions{PunishSingleDelete: true})
	w := g.attach("w", "q")
	g.now = g.now.Add(15 * task.Second)
	g.r.Stall(15 * task.Second)
	g.run()
	if w.lost != nil {
		t.Fatalf("after a gap that was told of: %v", w.lost)
	}
	g.now = g.now.Add(15 * task.Second)
	g.run()
	if w.lost == nil {
		t.Fatal("a session lives that was silent for longer than its TTL")
	}
}
