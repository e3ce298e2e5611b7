package node

import (
	"bytes"
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// clocked is a node whose two clocks the test holds.
type clocked struct {
	t      *testing.T
	mem    *store.Mem
	n      *Node
	wall   task.Time
	steady task.Time
	log    bytes.Buffer
}

func newClocked(t *testing.T) *clocked {
	c := &clocked{t: t, mem: store.NewMem(store.MemOptions{PunishSingleDelete: true}), wall: 1_790_000_000_000, steady: 5_000}
	c.open()
	return c
}

func (c *clocked) open() {
	c.t.Helper()
	c.log.Reset()
	var err error
	c.n, err = Open(context.Background(), Config{Store: c.mem, Manual: true, Check: true, Log: slog.New(slog.NewTextHandler(&c.log, nil)),
		Now: func() task.Time { return c.wall }, Steady: func() task.Time { return c.steady }})
	if err != nil {
		c.t.Fatal(err)
	}
	c.run()
}

// again is a restart, during which the clock is set.
func (c *clocked) again(set task.Millis) {
	c.t.Helper()
	if err := c.n.Close(context.Background()); err != nil {
		c.t.Fatal(err)
	}
	c.wall, c.steady = c.wall.Add(set), 77
	c.open()
}

func (c *clocked) run() {
	for c.n.Step() || c.n.Refill() {
	}
}

func (c *clocked) pass(d task.Millis) {
	for left := d; left > 0; left -= 500 {
		c.wall, c.steady = c.wall.Add(min(left, 500)), c.steady.Add(min(left, 500))
		c.run()
	}
}

func (c *clocked) enqueue(s task.Spec) task.ID {
	c.t.Helper()
	s.Type = "t"
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{s}, Done: func(*task.EnqueueBatch) {}}
	c.n.Enqueue(b)
	c.run()
	if b.Err != nil || b.Results[0].Err != nil {
		c.t.Fatal(b.Err, b.Results)
	}
	return b.Results[0].ID
}

func (c *clocked) want(id task.ID, s task.State) task.Info {
	c.t.Helper()
	in, err := c.n.Get(context.Background(), id)
	if err != nil || in.State != s {
		c.t.Fatalf("got %v, %v, want %v", in.State, err, s)
	}
	return in
}

// A clock that was two hours ahead and is put right costs nobody two hours.
func TestClockPutRight(t *testing.T) {
	c := newClocked(t)
	c.enqueue(task.Spec{})
	c.again(-2 * task.Hour)
	if s := c.log.String(); !strings.Contains(s, "ahead=2h0m0s") {
		t.Errorf("the log says %q", s)
	}
	id := c.enqueue(task.Spec{Delay: 1000})
	if in := c.want(id, task.Scheduled); in.ReadyAt != c.wall.Add(1000) || in.EnqueuedAt != c.wall {
		t.Errorf("ready at %d, enqueued at %d, now is %d", in.ReadyAt, in.EnqueuedAt, c.wall)
	}
	at := c.enqueue(task.Spec{RunAt: c.wall.Add(3000)})
	c.pass(1000)
	c.want(id, task.Ready)
	if in := c.want(at, task.Scheduled); in.ReadyAt != c.wall.Add(2000) {
		t.Errorf("ready at %d, now is %d", in.ReadyAt, c.wall)
	}
	c.pass(2000)
	c.want(at, task.Ready)
	if n, err := c.n.Node(context.Background()); err != nil || n.Partitions[0].ClockOffset != 2*task.Hour {
		t.Errorf("the node says %+v, %v", n.Partitions, err)
	}
	c.again(0) // it is known by now
	c.want(c.enqueue(task.Spec{Delay: 1000}), task.Scheduled)
}

// A reading ten years ahead is no harm once it is over, under a process as between
// two.
func TestClockWild(t *testing.T) {
	const years = 10 * 365 * task.Day
	c := newClocked(t)
	id := c.enqueue(task.Spec{Delay: 60_000})
	c.wall = c.wall.Add(years)
	c.pass(1000)
	c.want(id, task.Scheduled)
	c.wall = c.wall.Add(-years)
	c.pass(1000)
	if in := c.want(id, task.Scheduled); in.ReadyAt != c.wall.Add(58_000) {
		t.Errorf("ready at %d, now is %d", in.ReadyAt, c.wall)
	}
	c.again(years) // a start believes it: ten years have passed
	c.want(id, task.Ready)
	c.again(-years)
	id = c.enqueue(task.Spec{Delay: 1000})
	c.pass(1000)
	c.want(id, task.Ready)
	at := c.enqueue(task.Spec{RunAt: c.wall.Add(1000), Deadline: c.wall.Add(5000)})
	if in := c.want(at, task.Scheduled); in.Deadline != c.wall.Add(5000) {
		t.Errorf("deadline %d, now is %d", in.Deadline, c.wall)
	}
	c.pass(1000)
	c.want(at, task.Ready)
	c.pass(4500)
	if in := c.want(at, task.Expired); in.FinishedAt > c.wall || in.FinishedAt < c.wall.Add(-1000) {
		t.Errorf("ended at %d, now is %d", in.FinishedAt, c.wall)
	}
}

// What is to run at a moment follows a clock that is set, in memory and in the store
// alone, and is listed behind what waits for a length.
func TestCalendarFollowsTheClock(t *testing.T) {
	c := newClocked(t)
	const hop = 45 * task.Minute // more than lies between the length and the moments around it
	later := c.enqueue(task.Spec{RunAt: c.wall.Add(2 * task.Hour)})
	sooner := c.enqueue(task.Spec{RunAt: c.wall.Add(30 * task.Minute)})
	length := c.enqueue(task.Spec{Delay: task.Hour})
	listed := func(want ...task.ID) {
		t.Helper()
		p, err := c.n.List(context.Background(), task.Filter{Queue: "q", States: []task.State{task.Scheduled}, Limit: 10})
		if err != nil {
			t.Fatal(err)
		}
		var got []task.ID
		for _, in := range p.Tasks {
			got = append(got, in.ID)
		}
		if len(got) != len(want) {
			t.Fatalf("%d tasks are listed of %d", len(got), len(want))
		}
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("listed %v, want %v", got, want)
			}
		}
	}
	listed(length, later, sooner)
	c.wall = c.wall.Add(-hop)
	c.pass(1000)
	listed(length, later, sooner)
	c.wall = c.wall.Add(2 * hop)
	c.pass(1000)
	listed(length, later)
	c.want(sooner, task.Ready)
	c.again(2 * task.Hour)
	c.want(later, task.Ready)
	c.want(length, task.Ready)
}
