package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// keyed enqueues one task under each key, and returns IDs and whether each was there.
func (b *bench) keyed(window task.Millis, keys ...string) (ids []task.ID, existing int) {
	b.Helper()
	e := &task.EnqueueBatch{Queue: "q", Results: make([]task.Enqueued, len(keys))}
	for _, k := range keys {
		e.Specs = append(e.Specs, task.Spec{Type: "t", Idempotency: k, IdempotencyFor: window})
	}
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
	for _, r := range e.Results {
		if r.Err != nil || e.Err != nil {
			b.Fatal(r.Err, e.Err)
		}
		ids = append(ids, r.ID)
		if r.Existing {
			existing++
		}
	}
	return ids, existing
}

// pass lets time pass in steps, with a tick and a settled store at each.
func (b *bench) pass(d, step task.Millis) {
	b.Helper()
	for end := b.Now.Add(d); b.Now < end; {
		b.Now = b.Now.Add(step)
		b.settle()
	}
}

// TestIdemEnds: entries go soon after window and task are over, whatever became of
// the task, over restarts too, and the count of bytes stays exact (Rig.Check).
func TestIdemEnds(t *testing.T) {
	for _, window := range []int{0, 1} { // with one, most tasks are in the store alone
		b := newBench(t, window)
		left := func() int { return b.Store.IdemEntries() }
		b.keyed(10*task.Second, "done", "dead", "canceled", "deleted", "late", "waits")
		ts := b.lease(5, task.Hour)
		ids, _ := b.keyed(10*task.Second, "done", "dead", "canceled", "deleted", "late", "waits")
		b.report(task.Outcome{Token: ts[0]})
		b.report(task.Outcome{Kind: task.OutcomeFail, Permanent: true, Token: ts[1]})
		b.report(task.Outcome{Kind: task.OutcomeRelease, Delay: task.Hour, Token: ts[3]})
		b.change(task.VerbCancel, ids[2])
		b.change(task.VerbDelete, ids[3])
		if n := left(); n != 5 {
			t.Fatalf("a deleted task leaves %d entries, want 5", n)
		}
		b.pass(9*task.Second, task.Second)
		if n := left(); n != 5 {
			t.Fatalf("before the window is over %d entries are left, want 5", n)
		}
		b.pass(3*task.Second, 200)
		if n := left(); n != 2 {
			t.Fatalf("after it %d entries are left, want those of the two tasks that live", n)
		}
		if _, n := b.keyed(10*task.Second, "late", "waits"); n != 2 {
			t.Fatalf("%d of 2 keys hold while their task lives", n)
		}
		if err := b.Reopen(false); err != nil {
			t.Fatal(err)
		}
		b.settle()
		b.pass(20*task.Second, task.Second)
		if _, n := b.keyed(10*task.Second, "late", "waits"); n != 2 {
			t.Fatalf("%d of 2 keys hold while their task lives, after a crash", n)
		}
		b.change(task.VerbCancel, ids[4], ids[5])
		b.pass(40*task.Second, task.Second)
		if n := left(); n != 0 {
			t.Fatalf("%d entries outlive window and task", n)
		}
	}
}

// TestIdemMeanwhile: what happens to an entry or its task while a look at it is
// under way counts, not what was read.
func TestIdemMeanwhile(t *testing.T) {
	b := newBench(t, 0)
	ids, _ := b.keyed(2*task.Minute, "again", "revived")
	ts := b.lease(2, task.Hour)
	b.report(task.Outcome{Token: ts[0]})
	b.report(task.Outcome{Kind: task.OutcomeFail, Permanent: true, Token: ts[1]})
	b.Now = b.Now.Add(3 * task.Minute)
	b.apply(queue.Command{})
	if b.Refills() != 1 {
		t.Fatalf("%d looks are under way, want one", b.Refills())
	}
	b.keyed(task.Hour, "again")
	b.change(task.VerbRetry, ids[1])
	b.settle()
	if n := b.Store.IdemEntries(); n != 2 {
		t.Fatalf("%d entries are left of one that was put again and one whose task was revived", n)
	}
	if _, n := b.keyed(task.Hour, "again", "revived"); n != 2 {
		t.Fatalf("%d of 2 keys hold", n)
	}
	b.pass(10*task.Second, task.Second)
	if _, n := b.keyed(task.Hour, "again", "revived"); n != 2 {
		t.Fatalf("%d of 2 keys hold later", n)
	}
}

// TestIdemKeepsUp: thousands of keys a second with a short window never come near
// the bound; most of them were refused.
func TestIdemKeepsUp(t *testing.T) {
	const each, window = 400, 2 * task.Second // a tenth of a second's
	m := queue.New(queue.Config{Epoch: 1, IdemBytes: 3 * 10 * each * 70}, &queue.Snapshot{}, 1)
	st := dueStore{}
	var out queue.Output
	now, n := task.Time(1), 0
	for range 300 {
		now += 100
		e := &task.EnqueueBatch{Queue: "q", Results: make([]task.Enqueued, each)}
		for range each {
			n++
			e.Specs = append(e.Specs, task.Spec{Type: "t", Idempotency: fmt.Sprintf("key-%012d", n), IdempotencyFor: window})
		}
		st.apply(m, now, &out, queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		for i := range e.Results {
			if err := e.Results[i].Err; err != nil {
				t.Fatalf("after %d ms: %v", now, err)
			}
		}
		l := &queue.Lease{Queues: []task.QueueWeight{{Queue: "q"}}, Max: each}
		m.Apply(now, []queue.Command{{Op: queue.OpLease, Lease: l}}, &out)
		st.commit(&out)
		r := &task.OutcomeBatch{Codes: make([]task.Code, len(out.Leased))}
		for i := range out.Leased {
			r.Outcomes = append(r.Outcomes, task.Outcome{Token: out.Leased[i].Token})
		}
		st.apply(m, now, &out, queue.Command{Op: queue.OpReport, Report: r})
	}
	if k := len(st.dues); k > 3*10*each {
		t.Errorf("%d entries are left of %d", k, n)
	}
}

// dueStore is the index of idempotency entries alone, in the order of its keys
// as far as this test puts them.
type dueStore struct{ dues []queue.IdemDue }

func (s *dueStore) apply(m *queue.Machine, now task.Time, out *queue.Output, c queue.Command) {
	for cmds := []queue.Command{c}; len(cmds) > 0; {
		m.Apply(now, cmds, out)
		s.commit(out)
		cmds = nil
		for _, w := range out.Wants {
			a := &queue.Loaded{Want: w}
			if w.What == queue.WantIdemsDue {
				for _, x := range s.dues {
					if x.Key.At > w.Until || len(a.Idems) == w.Limit {
						a.Next = x.Key.At
						break
					}
					a.Idems = append(a.Idems, queue.IdemLook{Due: x})
				}
			}
			cmds = append(cmds, queue.Command{Op: queue.OpLoaded, Loaded: a})
		}
		cmds = append(cmds, out.Deferred...)
	}
}

func (s *dueStore) commit(o *queue.Output) {
	gone := map[queue.IdemDueKey]bool{}
	for _, k := range o.IdemDues.Drops {
		gone[k] = true
	}
	left := s.dues[:0]
	for _, x := range s.dues {
		if !gone[x.Key] {
			left = append(left, x)
		}
	}
	s.dues = append(left, o.IdemDues.Puts...)
}
