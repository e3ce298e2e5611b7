package queue

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// What a burst of lanes took is given back though one of them, of before, is left.
func TestLanesGiveMemoryBackBesideOne(t *testing.T) {
	const n = 20 * lanesKeepMax
	m := New(Config{Epoch: 1}, &Snapshot{}, 1)
	var out Output
	now := task.Time(1)
	put := func(keys ...string) {
		e := &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, len(keys)), Results: make([]task.Enqueued, len(keys))}
		for i, k := range keys {
			e.Specs[i] = task.Spec{Type: "t", Key: k, Priority: 5}
		}
		m.Apply(now, []Command{{Op: OpEnqueue, Enqueue: e}}, &out)
	}
	put("stays", "goes")
	for k := 0; k < n; k += 1_024 {
		keys := make([]string, 1_024)
		for i := range keys {
			keys[i] = fmt.Sprint(k + i)
		}
		put(keys...)
	}
	o := &Open{Options: &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1}}
	m.Apply(now, []Command{{Op: OpOpen, Open: o}}, &out)
	var stays Leased
	for done := 0; done < n+1; {
		m.Apply(now, []Command{{Op: OpDispatch, Session: o.Session, N: 1_000}}, &out)
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(out.Leased))}
		for _, l := range out.Leased {
			if l.Key == "stays" { // and runs on
				stays = l
				continue
			}
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: l.Token})
		}
		if len(r.Outcomes) == 0 {
			t.Fatalf("%d of %d were dispatched", done, n+1)
		}
		done += len(r.Outcomes)
		m.Apply(now, []Command{{Op: OpReport, Report: r}}, &out)
	}
	for range 3 {
		now = now.Add(2 * task.Second)
		m.Apply(now, []Command{{Op: OpBeat, Session: o.Session}}, &out)
	}
	q := m.byName["q"]
	if len(q.lanes) != 1 || cap(q.lanes) > lanesKeepMax || q.lanesTop > lanesKeepMax || cap(m.lanes) > lanesKeepMax || cap(m.freeLanes) > lanesKeepMax {
		t.Errorf("%d lanes are left of %d: room for %d in the queue, which had %d, %d numbers, of which %d are free",
			len(q.lanes), n, cap(q.lanes), q.lanesTop, cap(m.lanes), cap(m.freeLanes))
	}
	put("new", "stays") // and all goes on
	r := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: stays.Token}}, Codes: make([]task.Code, 1)}
	m.Apply(now, []Command{{Op: OpReport, Report: r}, {Op: OpDispatch, Session: o.Session, N: 10}}, &out)
	if err := m.Check(); err != nil || r.Codes[0] != task.OK || len(out.Leased) != 2 {
		t.Errorf("%v, %v, %d leased", err, r.Codes[0], len(out.Leased))
	}
}
