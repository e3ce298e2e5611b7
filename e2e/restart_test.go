package e2e

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
)

var ordered = penstock.Define[in, out]("ordered", penstock.Queue("order"))

// starts are the tasks that a worker has begun, in order, each once.
type starts struct {
	mu   sync.Mutex
	seen []int64
	at   map[int64]time.Time
}

func (s *starts) note(n int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if _, twice := s.at[n]; !twice {
		s.at[n] = time.Now()
		s.seen = append(s.seen, n)
	}
}

func (s *starts) all() []int64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.seen)
}

// serve works on the queue "order" until the test ends.
func serve(t *testing.T, c *penstock.Client, run time.Duration) *starts {
	s := &starts{at: map[int64]time.Time{}}
	ctx, stop := context.WithCancel(t.Context())
	w := c.Worker(penstock.Worker{Concurrency: 1}, ordered.Handle(func(ctx context.Context, i in) (out, error) {
		s.note(i.Number)
		pause(ctx, run)
		return out{Number: i.Number}, ctx.Err()
	}))
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = w.Run(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
	return s
}

// TestOrderOverKills kills the server every one to three seconds: a queue of one
// partition stays first in, first out, nobody starves, and what is delayed does
// not start early.
func TestOrderOverKills(t *testing.T) {
	server, url := newServer(t, t.TempDir())
	server.start()
	c := dial(t, url)
	s := serve(t, c, 5*time.Millisecond)
	later := map[int64]time.Time{}
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	number := int64(0)
	for round := range 5 {
		for range 40 {
			number++
			if _, err := ordered.Enqueue(ctx, c, in{number}); err != nil {
				t.Fatal(err)
			}
		}
		for i := range 20 {
			n := int64(1_000_000 + 100*round + i)
			wait := time.Duration(i) * 100 * time.Millisecond
			later[n] = time.Now().Add(wait)
			if _, err := ordered.Enqueue(ctx, c, in{n}, penstock.In(wait)); err != nil {
				t.Fatal(err)
			}
		}
		pause(ctx, time.Duration(300+400*(round%3))*time.Millisecond)
		server.kill()
		pause(ctx, 100*time.Millisecond)
		server.start()
		pause(ctx, time.Second)
	}
	want := int(number) + len(later)
	eventually(t, 30*time.Second, "all have started", func() (bool, string) {
		n := len(s.all())
		return n == want, time.Now().Format(time.TimeOnly)
	})
	last := int64(0)
	for _, n := range s.all() {
		if at, delayed := later[n]; delayed {
			if early := at.Sub(s.at[n]); early > 5*time.Millisecond {
				t.Errorf("task %d started %v early", n, early)
			}
			continue
		}
		if n < last {
			t.Errorf("task %d started after task %d", n, last)
		}
		last = n
	}
}

// TestStartGoesOnAtOnce wants tasks that nobody ran to be given out at once after a
// kill -9: with no worker recorded, and with one that was idle and does not come
// back.
func TestStartGoesOnAtOnce(t *testing.T) {
	for _, idle := range []bool{false, true} {
		server, url := newServer(t, t.TempDir())
		server.start()
		c, leave := dial(t, url), func() {}
		if idle {
			gone, err := penstock.Dial(t.Context(), url)
			if err != nil {
				t.Fatal(err)
			}
			ctx, stop := context.WithCancel(t.Context())
			w := gone.Worker(penstock.Worker{Concurrency: 1}, ordered.Handle(func(context.Context, in) (out, error) { return out{}, nil }))
			done := make(chan struct{})
			go func() { defer close(done); _ = w.Run(ctx) }()
			first, err := ordered.Enqueue(t.Context(), c, in{1})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := first.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := c.Pause(t.Context(), "order"); err != nil { // so that it runs nothing more
				t.Fatal(err)
			}
			leave = func() { // it does not say so to the server
				stop()
				<-done
				gone.Close()
			}
		}
		if _, err := ordered.Enqueue(t.Context(), c, in{2}); err != nil {
			t.Fatal(err)
		}
		server.kill()
		leave()
		server.start()
		c = dial(t, url)
		if err := c.Resume(t.Context(), "order"); err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		s := serve(t, c, 0)
		eventually(t, 10*time.Second, "the task has started", func() (bool, string) { return len(s.all()) == 1, "" })
		if took := s.at[2].Sub(began); took > 500*time.Millisecond {
			t.Errorf("idle worker %v: the task started %v after the server was there", idle, took)
		}
	}
}
