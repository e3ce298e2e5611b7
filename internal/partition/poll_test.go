package partition

import (
	"bytes"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// A lease that does not wait has an answer from this partition only once it could
// ask: while another partition holds all of its credit, "nothing here" would be a
// guess, and the lease would come back empty over a task that is ready.
func TestPollWhileCreditIsElsewhere(t *testing.T) {
	for _, fate := range []string{"given back", "used"} {
		t.Run(fate, func(t *testing.T) {
			g := newRig(t, store.MemOptions{PunishSingleDelete: true})
			ids := g.enqueue("q", 0, 1)
			var c Credit
			c.Undivided()
			c.Add(10)
			elsewhere := &tap{wake: func() {}}
			c.join(elsewhere, false)
			if got := c.take(elsewhere, 10); got != 10 {
				t.Fatalf("the other partition drew %d of 10", got)
			}
			w, noes := &worker{}, 0
			q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 10}
			g.r.Poll(q, &c, w, true, func(*task.Error) { noes++ })
			g.run()
			if noes != 0 || len(w.got) != 0 {
				t.Fatalf("without credit: %d noes, %d deliveries", noes, len(w.got))
			}
			if fate == "used" {
				c.Close()
				g.run()
				if noes != 0 || len(w.got) != 0 {
					t.Fatalf("after another's answer: %d noes, %d deliveries", noes, len(w.got))
				}
				return
			}
			c.give(elsewhere, 10)
			g.run()
			if noes != 0 || len(w.got) != 1 || w.got[0].ID != ids[0] {
				t.Fatalf("with the credit back: %d noes, got %v", noes, w.got)
			}
		})
	}
}

// A lease that does not wait came back empty while what was next for it was being
// read, though thousands of tasks were ready.
func TestPollThatDoesNotWaitAwaitsReads(t *testing.T) {
	const n = 2_000
	g := newRig(t, store.MemOptions{PunishSingleDelete: true}, func(c *Config) { c.WindowTasks = 64 })
	for k := 0; k < n; k += 500 { // of more keys than memory holds tasks
		b := batchOf("q", k, 500)
		b.Results, b.Done = make([]task.Enqueued, 500), func(*task.EnqueueBatch) {}
		for i := range b.Specs {
			b.Specs[i].Key = strconv.Itoa((k + i) % 250)
		}
		g.r.Enqueue(b)
		g.run()
	}
	w, noes := &worker{}, 0
	poll := func() {
		var c Credit
		c.Undivided()
		c.Add(50)
		q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 50}
		g.r.Poll(q, &c, w, true, func(*task.Error) { noes++ })
	}
	for len(w.got) < n {
		before := len(w.got)
		poll()
		g.stepOnly() // nothing is read yet
		poll()
		g.stepOnly()
		g.run()
		if noes > 0 && len(w.got) < n || len(w.got) == before {
			t.Fatalf("after %d of %d tasks: %d of two leases came back empty", before, n, noes)
		}
		g.report(w.got[before:], func(_ *task.Delivery, o *task.Outcome) { o.Kind = task.OutcomeComplete })
	}
	noes = 0
	poll()
	if g.run(); noes != 1 || len(w.got) != n {
		t.Errorf("after all of them: %d noes, got %d", noes, len(w.got))
	}
}

// answered is a receiver that counts how often it is called.
type answered struct {
	worker
	calls int
}

func (a *answered) Deliver(ds []task.Delivery) {
	a.calls++
	a.worker.Deliver(ds)
}

// A lease is answered though its only task ended before its large payload was
// read; when it has not ended, the payload is lost, and the partition says so.
func TestPollOfTaskWithoutPayload(t *testing.T) {
	for _, fate := range []string{"ended", "lost"} {
		t.Run(fate, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { pollWithoutPayload(t, fate) })
		})
	}
}

func pollWithoutPayload(t *testing.T, fate string) {
	r, p, end := running(t)
	p.gate <- nil
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t", Payload: bytes.Repeat([]byte("x"), 2*record.ChunkBytes)}}}
	done := make(chan struct{})
	b.Done = func(*task.EnqueueBatch) { close(done) }
	r.Enqueue(b)
	<-done
	var c Credit
	c.Undivided()
	c.Add(1)
	a := &answered{}
	born := record.PlaceOf(b.Results[0].ID)
	drop := &store.Batch{}
	drop.Delete(record.AppendChunkKey(nil, r.p, born, 0))
	if fate == "ended" {
		drop.Delete(record.AppendPlaceKey(nil, r.p, born))
	}
	p.gate <- nil
	p.Begin(drop)()
	for range 10 {
		p.gate <- nil
	}
	q := &task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1}
	r.Poll(q, &c, a, true, func(*task.Error) {})
	synctest.Wait()
	err := end()
	if fate == "ended" && (a.calls != 1 || len(a.got) != 0 || err != nil) {
		t.Errorf("answered %d times with %v; the partition ended with %v", a.calls, a.got, err)
	}
	if fate == "lost" && (err == nil || !strings.Contains(err.Error(), "payload is missing")) {
		t.Errorf("the partition ended with %v", err)
	}
}
