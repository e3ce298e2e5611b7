package queue_test

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/queue/queuetest"
	"github.com/penstock-io/penstock/internal/task"
)

// However many queues, types and sessions there are, each look of somebody who asks
// for all goes through a bounded number; and what is there all the time is met once,
// though queues are deleted and made meanwhile.
func TestLooksAtAllAreBounded(t *testing.T) {
	const queues, types, sessions, look = 3_000, 3_000, 1_500, 1_024
	r := queuetest.NewRig(queue.Config{Partition: 1}, 1_000_000)
	var cmds []queue.Command
	enqueue := func(name string, specs ...task.Spec) {
		cmds = append(cmds, queue.Command{Op: queue.OpEnqueue, Enqueue: &task.EnqueueBatch{Queue: name, Specs: specs, Results: make([]task.Enqueued, len(specs))}})
	}
	apply := func() {
		t.Helper()
		if err := r.Apply(cmds...); err != nil {
			t.Fatal(err)
		}
		cmds = nil
	}
	for i := range queues {
		enqueue(fmt.Sprint("q", i), task.Spec{Type: "t"})
	}
	for i := range sessions {
		o := &task.SessionOptions{ID: fmt.Sprint("s", i), Queues: []task.QueueWeight{{Queue: "q1"}}, Types: []string{"x"}}
		cmds = append(cmds, queue.Command{Op: queue.OpOpen, Open: &queue.Open{Options: o}})
	}
	apply()
	for i := range types {
		if enqueue("q1500", task.Spec{Type: fmt.Sprint("t", types-i)}); i%1_000 == 0 {
			apply()
			r.Now++
		}
	}
	apply()

	w := &queue.QueueWalk{}
	met := map[string]int{}
	looks := 0
	for more := true; more; looks++ {
		more = r.M.WalkQueues(w)
		some := w.Take()
		if len(some) > look {
			t.Fatalf("%d queues in one look", len(some))
		}
		for _, q := range some {
			met[q.Name]++
			if q.Name != "q1500" {
				continue
			}
			if u := q.Unserved; len(u) != 100 || u[0].Type != "t" || u[1].Type != fmt.Sprint("t", types) || u[0].Oldest > u[99].Oldest {
				t.Errorf("%d types are not served, at first %v", len(u), u[:2])
			}
		}
		for i := range 20 { // some that were met, and some that were not
			cmds = append(cmds, queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: &queue.DeleteQueue{Name: fmt.Sprint("q", 1+2*(i*60+2*looks)), Force: true}})
		}
		enqueue(fmt.Sprint("new", looks), task.Spec{Type: "t"})
		apply()
	}
	if looks < (queues+types)/look {
		t.Errorf("only %d looks", looks)
	}
	for i := 0; i < queues; i += 2 {
		if n := met[fmt.Sprint("q", i)]; n != 1 {
			t.Fatalf("q%d was met %d times", i, n)
		}
	}
	sumsOf(t, r.M, types)
	sessionsOf(t, r.M, sessions)
}

// sumsOf wants sums to be those of all queues.
func sumsOf(t *testing.T, m *queue.Machine, least int64) {
	t.Helper()
	var info task.PartitionInfo
	looks := 0
	for after := queue.QueueNum(0); looks == 0 || after != 0; looks++ {
		after = m.SumQueues(&info, after)
	}
	want := int64(0)
	for _, q := range m.QueueInfos(nil, nil) {
		want += q.Ready
	}
	if info.Waiting != want || want < least || looks < 2 {
		t.Errorf("%d tasks wait, in %d looks, want %d", info.Waiting, looks, want)
	}
}

// sessionsOf wants each session to be met.
func sessionsOf(t *testing.T, m *queue.Machine, want int) {
	t.Helper()
	seen := map[string]bool{}
	for from, first := 0, true; first || from != 0; first = false {
		n := 0
		from = m.EachWorker(from, func(v queue.WorkerView) { n, seen[v.Info.ID] = n+1, true })
		if n > 1_024 {
			t.Errorf("%d sessions in one look", n)
		}
	}
	if len(seen) != want {
		t.Errorf("%d sessions were met", len(seen))
	}
}
