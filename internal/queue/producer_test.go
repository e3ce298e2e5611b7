package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// number enqueues task n of a producer session in queue q.
func number(m *queue.Machine, out *queue.Output, now task.Time, producer string, n, below uint64) (task.Enqueued, *task.Error) {
	e := &task.EnqueueBatch{Queue: "q", Producer: producer, AckBelow: below, Specs: []task.Spec{{Type: "t", Number: n}}, Results: make([]task.Enqueued, 1)}
	m.Apply(now, []queue.Command{{Op: queue.OpEnqueue, Enqueue: e}}, out)
	return e.Results[0], e.Err
}

// TestProducersGiveWay: as many sessions as there is room for lock nobody out. The
// one not heard of for longest gives way, and is never taken for new.
func TestProducersGiveWay(t *testing.T) {
	const room = 10_000
	m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
	var out queue.Output
	states := map[string]queue.ProducerState{}
	ask := func(now task.Time, producer string, n, below uint64) (task.Enqueued, *task.Error) {
		r, err := number(m, &out, now, producer, n, below)
		for _, p := range out.Producers.Drops {
			delete(states, p.Producer)
		}
		for _, p := range out.Producers.Puts {
			states[p.Producer] = p
		}
		return r, err
	}
	ids := map[string]task.ID{}
	for i := range room {
		p := fmt.Sprint("one-shot-", i)
		r, err := ask(task.Time(1+i), p, 1, 0)
		if err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
		ids[p] = r.ID
	}
	if r, err := ask(room+1, "one-shot-0", 1, 0); err != nil || r.ID != ids["one-shot-0"] {
		t.Fatalf("a repeat within the room: %+v, %v", r, err)
	}
	for i := range 100 { // others come
		if r, err := ask(room+2, fmt.Sprint("late-", i), 1, 0); err != nil || r.Err != nil || r.Existing {
			t.Fatalf("one more: %+v, %v", r, err)
		}
	}
	check := func(m *queue.Machine) {
		t.Helper()
		if i := m.Info(); i.Producers != room {
			t.Errorf("got %d sessions, want %d", i.Producers, room)
		}
		now := task.Time(room + 3)
		if r, err := number(m, &out, now, "one-shot-0", 1, 0); err != nil || r.ID != ids["one-shot-0"] {
			t.Errorf("the one just heard of: %+v, %v", r, err)
		}
		if r, err := number(m, &out, now, "one-shot-101", 1, 0); err != nil || r.ID != ids["one-shot-101"] {
			t.Errorf("the oldest that is left: %+v, %v", r, err)
		}
		for _, p := range []string{"one-shot-1", "one-shot-100"} {
			if r, err := number(m, &out, now, p, 1, 0); task.CodeOf(err) != task.Conflict {
				t.Errorf("%s gave way, and its repeat got %+v, %v", p, r, err)
			}
			e := &task.EnqueueBatch{Queue: "q", Producer: p, Known: true, Specs: []task.Spec{{Type: "t", Number: 1}}, Results: make([]task.Enqueued, 1)}
			m.Apply(now, []queue.Command{{Op: queue.OpEnqueue, Enqueue: e}}, &out)
			if task.CodeOf(e.Results[0].Err) != task.Conflict {
				t.Errorf("%s gave way, and is asked for: %v", p, e.Results[0].Err)
			}
		}
	}
	if i := m.Info(); i.ProducersEvicted != 100 {
		t.Errorf("%d gave way, want 100", i.ProducersEvicted)
	}
	check(m)
	snap := &queue.Snapshot{Found: true, Meta: out.Meta, Queues: []queue.QueueState{{Queue: 1, Name: "q"}}}
	for _, p := range states {
		snap.Producers = append(snap.Producers, p)
	}
	check(queue.New(queue.Config{Epoch: 2}, snap, room+3))

	m.Apply(room+4+task.Time(task.ProducerIdleMax), []queue.Command{{Op: queue.OpTick}}, &out)
	if i := m.Info(); i.Producers != 0 || len(out.Producers.Drops) < room {
		t.Errorf("%d sessions outlive their time, %d were dropped", i.Producers, len(out.Producers.Drops))
	}
}

// TestProducersOfOneClient: a client with many sessions gives its own for more.
func TestProducersOfOneClient(t *testing.T) {
	m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
	var out queue.Output
	first, err := number(m, &out, 1, "small.1", 1, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 12_000 {
		if _, err := number(m, &out, 2, fmt.Sprintf("big.%d", i), 1, 0); err != nil {
			t.Fatalf("session %d: %v", i, err)
		}
	}
	if r, err := number(m, &out, 3, "small.1", 1, 0); err != nil || r.ID != first.ID {
		t.Errorf("another client's session gave way: %+v, %v", r, err)
	}
	if _, err := number(m, &out, 3, "big.2000", 2, 0); task.CodeOf(err) != task.Conflict {
		t.Errorf("its own oldest: %v", err)
	}
}

// A start that found the wall clock an hour ahead forgot every producer session as
// idle, while their producers were repeating what was not answered: a queue of many
// partitions, which can't tell a new session from one it has forgotten, took that
// for new.
func TestRepeatAfterAStartThatFindsTheClockAhead(t *testing.T) {
	f := func(wide bool) {
		t.Helper()
		r := queuetest.NewRig(queue.Config{Partition: 1}, 1_000_000)
		send := func(number uint64) task.Enqueued {
			t.Helper()
			b := &task.EnqueueBatch{Queue: "q", Producer: "p.1", AckBelow: number, Wide: wide, Specs: []task.Spec{{Type: "t", Number: number}}, Results: make([]task.Enqueued, 1)}
			if err := r.Apply(queue.Command{Op: queue.OpEnqueue, Enqueue: b}); err != nil {
				t.Fatal(err)
			}
			if b.Err != nil {
				t.Fatalf("number %d: %v", number, b.Err)
			}
			return b.Results[0]
		}
		send(1)
		first := send(2)
		r.Now = r.Now.Add(67 * task.Minute)
		if err := r.Reopen(false); err != nil {
			t.Fatal(err)
		}
		if err := r.Apply(queue.Command{Op: queue.OpTick}); err != nil {
			t.Fatal(err)
		}
		if again := send(2); again.ID != first.ID || !again.Existing {
			t.Errorf("wide %v: number 2 was %v, and its repeat is %+v", wide, first.ID, again)
		}
		r.Now = r.Now.Add(task.ProducerIdleMax + 2*task.Second)
		if err := r.Apply(queue.Command{Op: queue.OpTick}); err != nil {
			t.Fatal(err)
		}
		if n := r.M.Info().Producers; n != 0 {
			t.Errorf("wide %v: %d sessions are known after their time", wide, n)
		}
	}
	f(true)
	f(false)
}

// A session that has given way is known for its time, however many others give way
// behind it: of one client, which is refused first, and of many.
func TestEvictedIsNeverTakenForNew(t *testing.T) {
	m := queue.New(queue.Config{Epoch: 1}, &queue.Snapshot{}, 1)
	var out queue.Output
	if _, err := number(m, &out, 1, "one.first", 1, 0); err != nil {
		t.Fatal(err)
	}
	cmds := make([]queue.Command, 1_000)
	flood := func(name string, n int) (taken int) {
		for k := 0; k < n; k += len(cmds) {
			for i := range cmds {
				cmds[i] = queue.Command{Op: queue.OpEnqueue, Enqueue: &task.EnqueueBatch{Queue: "q", Producer: fmt.Sprintf(name, k+i), Results: make([]task.Enqueued, 1),
					Specs: []task.Spec{{Type: "t", Number: 1}}}}
			}
			m.Apply(2, cmds, &out)
			for i := range cmds {
				switch err := cmds[i].Enqueue.Err; {
				case err == nil:
					taken++
				case task.CodeOf(err) != task.Exhausted:
					t.Fatal(err)
				}
			}
			if k < 20_000 && name == "one.%d" { // it has not given way: asked for it would be heard of
				continue
			}
			if _, err := number(m, &out, 2, "one.first", 1, 0); err == nil || err.Code != task.Conflict {
				t.Fatalf("after %d others of %q the first is taken for new: %v", k, name, err)
			}
		}
		return taken
	}
	if n := flood("one.%d", 150_000); n < 100_000 || n > 120_000 {
		t.Errorf("of one client %d sessions were taken", n)
	}
	if n := flood("many%d", 150_000); n < 50_000 || n > 120_000 {
		t.Errorf("of others behind it %d were taken", n)
	}
	now := task.Time(3 + task.ProducerIdleMax)
	m.Apply(now, []queue.Command{{Op: queue.OpTick}}, &out)
	if _, err := number(m, &out, now, "one.later", 1, 0); err != nil {
		t.Errorf("when their time is over: %v", err)
	}
}

// A producer whose tasks have keys of their own may have as many unanswered as one whose
// tasks have none: each was a range, and five batches of a thousand were refused. What
// it repeats it is answered with the same IDs, after a restart too.
func TestKeyedNumbersInFlight(t *testing.T) {
	b := newBench(t, 100)
	const batches, each = 12, 1_000
	send := func(k int) *task.EnqueueBatch {
		e := &task.EnqueueBatch{Queue: "q", Producer: "p", Specs: make([]task.Spec, each), Results: make([]task.Enqueued, each)}
		for i := range e.Specs {
			n := k*each + i
			e.Specs[i] = task.Spec{Type: "t", Key: fmt.Sprint(n % 7_000), Priority: uint8(n % 10), Delay: task.Millis(n % 3), Number: uint64(n + 1)}
		}
		b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
		if e.Err != nil {
			t.Fatalf("batch %d: %v", k, e.Err)
		}
		return e
	}
	var ids []task.ID
	for k := range batches {
		for i, r := range send(k).Results {
			if r.Err != nil || r.Existing {
				t.Fatalf("task %d: %+v", i, r)
			}
			ids = append(ids, r.ID)
		}
	}
	b.reopen(true)
	for k := range batches {
		for i, r := range send(k).Results {
			if n := k*each + i; r.Err != nil || !r.Existing || r.ID != ids[n] {
				t.Fatalf("task %d again: %+v, want %v", n, r, ids[n])
			}
		}
	}
	if n := b.M.Info().Producers; n != 1 {
		t.Errorf("%d producer sessions", n)
	}
}
