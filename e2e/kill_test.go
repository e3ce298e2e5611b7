package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
)

// In is what a task of the kill test carries; its result is the number again.
type in struct {
	Number int64 `json:"number"`
}

type out struct {
	Number int64  `json:"number"`
	Fence  uint64 `json:"fence"`
}

var numbered = penstock.Define[in, out]("number", penstock.Queue("kill"), penstock.MaxAttempts(1000),
	penstock.Backoff(penstock.Fixed(100*time.Millisecond)))

// runWorker is a worker process. One task in fifty fails, one takes longer, so that
// kills hit every stage of a life.
func runWorker(url string) error {
	ctx := context.Background()
	var c *penstock.Client
	var err error
	for range 600 {
		if c, err = penstock.Dial(ctx, url); err == nil {
			break
		}
		pause(ctx, 50*time.Millisecond)
	}
	if err != nil {
		return err
	}
	w := c.Worker(penstock.Worker{Concurrency: 32, TTL: 2 * time.Second}, numbered.Handle(func(ctx context.Context, i in) (out, error) {
		switch rand.IntN(100) {
		case 0, 1:
			return out{}, errors.New("drawn to fail")
		case 2:
			pause(ctx, time.Duration(rand.IntN(1500))*time.Millisecond)
		}
		return out{Number: i.Number, Fence: penstock.Current(ctx).Fence()}, ctx.Err()
	}))
	return w.Run(ctx)
}

// TestKill kills worker and server at random for at least a minute under load,
// then drains and audits: nothing acknowledged is lost, nothing finished twice,
// every task is final and found by its ID, counts are exact.
func TestKill(t *testing.T) {
	length := time.Minute
	if s, err := strconv.Atoi(os.Getenv("PENSTOCK_E2E_SECONDS")); err == nil {
		length = time.Duration(s) * time.Second
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	rnd := rand.New(rand.NewPCG(seed, 1))

	server, url := newServer(t, t.TempDir())
	server.start()
	worker := newProcess(t, "worker", func() *exec.Cmd {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "PENSTOCK_E2E_ROLE=worker", "PENSTOCK_URL="+url)
		return cmd
	})
	worker.start()
	c := dial(t, url)

	load := &load{c: c, acked: map[penstock.ID]int64{}}
	ctx, stop := context.WithTimeout(t.Context(), length)
	defer stop()
	var producers sync.WaitGroup
	for range 8 {
		producers.Go(func() { load.produce(ctx) })
	}
	kills := 0
	for ctx.Err() == nil {
		pause(ctx, time.Duration(500+rnd.IntN(3000))*time.Millisecond)
		victim := worker
		if rnd.IntN(2) == 0 {
			victim = server
		}
		victim.kill()
		pause(t.Context(), time.Duration(rnd.IntN(700))*time.Millisecond)
		victim.start()
		kills++
	}
	producers.Wait()
	t.Logf("%d kills, %d acknowledged, %d with an outcome not known, %d refused", kills, len(load.acked), load.unknown.Load(), load.refused.Load())
	if len(load.acked) < 1000 {
		t.Fatalf("only %d tasks were acknowledged: the load did not get through", len(load.acked))
	}
	drain(t, c)
	audit(t, c, load)
}

type load struct {
	c       *penstock.Client
	next    atomic.Int64
	unknown atomic.Int64
	refused atomic.Int64

	mu    sync.Mutex
	acked map[penstock.ID]int64
}

func (l *load) produce(ctx context.Context) {
	for ctx.Err() == nil {
		n := l.next.Add(1)
		// The call may outlive ctx: what is acknowledged late counts as well.
		call, cancel := context.WithTimeout(context.WithoutCancel(ctx), 20*time.Second)
		task, err := numbered.Enqueue(call, l.c, in{n})
		cancel()
		if err != nil {
			var e *penstock.Error
			if errors.As(err, &e) && (e.Code != penstock.CodeUnavailable || e.Applied == penstock.AppliedNo) {
				l.refused.Add(1)
			} else {
				l.unknown.Add(1)
			}
			pause(ctx, 20*time.Millisecond)
			continue
		}
		l.mu.Lock()
		l.acked[task.ID()] = n
		l.mu.Unlock()
		pause(ctx, time.Duration(rand.IntN(3))*time.Millisecond)
	}
}

func drain(t *testing.T, c *penstock.Client) {
	t.Helper()
	eventually(t, 2*time.Minute, "drain", func() (bool, string) {
		q, err := queueInfo(t, c, "kill")
		if err != nil {
			return false, err.Error()
		}
		return q.Ready+q.Scheduled+q.Running+q.Blocked == 0, fmt.Sprintf("%+v", q)
	})
}

func queueInfo(t *testing.T, c *penstock.Client, name string) (penstock.QueueInfo, error) {
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	qs, err := c.Queues(ctx, name)
	if err != nil {
		return penstock.QueueInfo{}, err
	}
	if len(qs) != 1 {
		return penstock.QueueInfo{}, fmt.Errorf("%d queues called %q", len(qs), name)
	}
	return qs[0], nil
}

// audit holds the end against what was promised.
func audit(t *testing.T, c *penstock.Client, l *load) {
	q, err := queueInfo(t, c, "kill")
	if err != nil {
		t.Fatal(err)
	}
	seen := map[penstock.ID]penstock.State{}
	for f := (penstock.Filter{Queue: "kill", Limit: 1000}); ; {
		p, err := c.List(t.Context(), f)
		if err != nil {
			t.Fatal(err)
		}
		for _, in := range p.Tasks {
			if was, twice := seen[in.ID]; twice {
				t.Fatalf("task %s is listed twice: %s and %s", in.ID, was, in.State)
			}
			seen[in.ID] = in.State
		}
		if p.Next == "" {
			break
		}
		f.Cursor = p.Next
	}
	lost, numbers := 0, map[int64]penstock.ID{}
	for id, n := range l.acked {
		in, err := c.Get(t.Context(), id)
		if err != nil {
			lost++
			t.Errorf("lost: task %s (number %d) was acknowledged: %v", id, n, err)
			continue
		}
		if in.State != penstock.Succeeded && in.State != penstock.Dead {
			t.Errorf("task %s is %s", id, in.State)
		}
		if in.State == penstock.Succeeded {
			if o, err := numbered.Decode(in.Result); err != nil || o.Number != n {
				t.Errorf("task %s has the result %s, its number is %d", id, in.Result, n)
			}
		}
		if other, twice := numbers[n]; twice {
			t.Errorf("number %d became two tasks, %s and %s", n, other, id)
		}
		numbers[n] = id
		if _, ok := seen[id]; !ok {
			t.Errorf("task %s is found by its ID and by no listing", id)
		}
		if lost > 20 {
			t.Fatal("too many are lost to go on")
		}
	}
	var succeeded, dead int64
	for _, s := range seen {
		switch s {
		case penstock.Succeeded:
			succeeded++
		case penstock.Dead:
			dead++
		}
	}
	// A second accepted completion of a task would be counted and not be listed.
	if q.Succeeded != succeeded || q.Dead != dead || q.Enqueued != int64(len(seen)) {
		t.Errorf("counts: %d enqueued, %d succeeded, %d dead; listed: %d, %d, %d", q.Enqueued, q.Succeeded, q.Dead, len(seen), succeeded, dead)
	}
	if extra := int64(len(seen) - len(l.acked)); extra < 0 || extra > l.unknown.Load() {
		t.Errorf("%d tasks that nobody was told of, with %d enqueues whose outcome was not known", extra, l.unknown.Load())
	}
	t.Logf("%d tasks: %d succeeded, %d dead", len(seen), succeeded, dead)
}
