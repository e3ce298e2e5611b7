package penstock

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// When Run's context ends, what has not started goes back without blame and
// what runs may finish.
func TestShutdownDrains(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		f := Func("t", func(ctx context.Context, _ int) (string, error) {
			pass(10 * time.Second)
			return "done", ctx.Err()
		})
		stop := startWorker(t, c, Worker{Concurrency: 2}, f)
		var tasks []*Task[string]
		for i := range 5 {
			tasks = append(tasks, mustEnqueue(t, c, f.Definition, i))
		}
		synctest.Wait()
		pass(time.Second)
		began := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took < 9*time.Second || took > 10*time.Second {
			t.Errorf("stopping took %v", took)
		}
		for i, tk := range tasks {
			in := mustInfo(t, c, tk.ID())
			if want := map[bool]State{true: Succeeded, false: Ready}[i < 2]; in.State != want || in.Failures+in.Crashes+in.Releases != 0 {
				t.Errorf("task %d is %v after %d failures, %d crashes, %d releases", i, in.State, in.Failures, in.Crashes, in.Releases)
			}
		}
	})
}

func TestShutdownEndsHandlersAfterDrainTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		cause := make(chan error, 1)
		f := Func("t", func(ctx context.Context, _ int) (string, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return "", ctx.Err()
		})
		stop := startWorker(t, c, Worker{DrainTimeout: 3 * time.Second}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		began := time.Now()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(began); took != 3*time.Second {
			t.Errorf("stopping took %v", took)
		}
		if got := <-cause; got != ErrShutdown {
			t.Errorf("cause %v", got)
		}
		if in := mustInfo(t, c, tk.ID()); in.State != Ready || in.Failures+in.Crashes != 0 || in.Releases != 1 {
			t.Errorf("%v after %d failures, %d crashes, %d releases", in.State, in.Failures, in.Crashes, in.Releases)
		}
	})
}

// A handler that does not look at its context is left behind, its task handed
// back, and Run says so.
func TestShutdownWithStuckHandler(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		free := make(chan bool)
		f := Func("t", func(context.Context, int) (string, error) { <-free; return "", nil })
		stop := expectStop(t, c, Worker{DrainTimeout: -1}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "1 handler not returned") {
			t.Errorf("Run: %v", err)
		}
		if in := mustInfo(t, c, tk.ID()); in.State != Ready || in.Failures+in.Crashes != 0 {
			t.Errorf("%v after %d failures, %d crashes", in.State, in.Failures, in.Crashes)
		}
		close(free)
	})
}

// A worker that finishes during an outage keeps the outcome and delivers it
// when the connection is back; the handler that runs all through it is not
// disturbed.
func TestOutcomeSurvivesOutage(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		var runs atomic.Int32
		f := Func("t", func(ctx context.Context, d time.Duration) (string, error) {
			runs.Add(1)
			pass(d)
			return "done", ctx.Err()
		})
		startWorker(t, c, Worker{}, f)
		short, long := mustEnqueue(t, c, f.Definition, 2*time.Second), mustEnqueue(t, c, f.Definition, 20*time.Second)
		synctest.Wait()
		over := outage(q)
		pass(6 * time.Second) // short has ended by now
		over()
		for _, tk := range []*Task[string]{short, long} {
			if out, err := tk.Wait(t.Context()); out != "done" || err != nil {
				t.Errorf("%q, %v", out, err)
			}
			if in := mustInfo(t, c, tk.ID()); in.Failures+in.Crashes+in.Releases != 0 {
				t.Errorf("%d failures, %d crashes, %d releases", in.Failures, in.Crashes, in.Releases)
			}
		}
		if runs.Load() != 2 {
			t.Errorf("%d runs of 2 tasks", runs.Load())
		}
	})
}

// Over many short outages under load each task has one accepted outcome.
func TestManyOutages(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		var runs atomic.Int32
		f := Func("t", func(ctx context.Context, i int) (int, error) {
			runs.Add(1)
			pass(time.Duration(i%50) * time.Millisecond)
			return i, ctx.Err()
		})
		startWorker(t, c, Worker{Concurrency: 20}, f)
		ins := make([]int, 3000)
		for i := range ins {
			ins[i] = i
		}
		out, err := f.EnqueueMany(t.Context(), c, ins)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 10 {
			pass(150 * time.Millisecond)
			if i%2 == 0 {
				q.Inject(func(f *brokertest.Faults) { f.LoseAnswers = 3 })
			}
			over := outage(q)
			pass(100 * time.Millisecond)
			over()
		}
		for i, e := range out {
			if got, err := e.Task.Wait(t.Context()); got != i || err != nil {
				t.Fatalf("task %d: %v, %v", i, got, err)
			}
		}
		if n := runs.Load(); n != 3000 {
			t.Errorf("%d runs of 3000 tasks", n)
		}
	})
}

// A handler's context ends a second before the TTL is over, counted from when
// the last heartbeat that was answered was sent.
func TestLeaseLost(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		type end struct {
			cause error
			after time.Duration
		}
		ends := make(chan end, 1)
		var began time.Time
		var runs atomic.Int32
		f := Func("t", func(ctx context.Context, _ int) (string, error) {
			if runs.Add(1) == 1 {
				<-ctx.Done()
				ends <- end{context.Cause(ctx), time.Since(began)}
				return "", ctx.Err()
			}
			return "second", nil
		})
		began = time.Now()
		startWorker(t, c, Worker{TTL: 6 * time.Second}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		pass(7 * time.Second) // heartbeats every 0.3 s, the last one at 6.9 s
		over := outage(q)
		e := <-ends
		if e.cause != ErrLeaseLost || e.after != 11900*time.Millisecond || !errors.Is(e.cause, task.ErrLeaseLost) {
			t.Errorf("cause %v after %v, want %v after 11.9s", e.cause, e.after, ErrLeaseLost)
		}
		over()
		if out, err := tk.Wait(t.Context()); out != "second" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// A heartbeat's answer that is overtaken by a later one takes nothing back, and a
// timer that was about to fire when the leases were renewed ends nothing.
func TestRenewalsNeverGoBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := newEngine(&Client{}, Worker{TTL: 10 * time.Second}, t.Context())
		defer e.endLife()
		a := &Attempt{e: e}
		e.slots = []*slot{{cur: a}}
		confirm := func(sent time.Time) {
			e.mu.Lock()
			e.confirm(sent)
			e.mu.Unlock()
		}
		early := time.Now()
		pass(3 * time.Second)
		confirm(time.Now())
		confirm(early)
		pass(8500 * time.Millisecond)
		if cause := a.endedBy(); cause != nil {
			t.Fatalf("ended after 8.5 s of 9: %v", cause)
		}
		confirm(time.Now())
		e.leasesOver()
		if cause := a.endedBy(); cause != nil {
			t.Fatalf("ended though renewed: %v", cause)
		}
		pass(9*time.Second + 1)
		if cause := a.endedBy(); cause != ErrLeaseLost {
			t.Fatalf("ended by %v, want %v", cause, ErrLeaseLost)
		}
	})
}

// A worker that could not be reached for longer than its TTL finds its session
// gone. What it finished is accepted if nobody else began the task.
func TestLateOutcome(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		var runs atomic.Int32
		f := Func("t", func(context.Context, int) (string, error) {
			runs.Add(1)
			pass(5 * time.Second)
			return "late", nil
		})
		startWorker(t, c, Worker{Concurrency: 1, TTL: 2 * time.Second}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		over := outage(q)
		pass(20 * time.Second)
		over()
		if out, err := tk.Wait(t.Context()); out != "late" || err != nil || runs.Load() != 1 {
			t.Errorf("%q, %v, %d runs", out, err, runs.Load())
		}
	})
}

// Reports that can't be written for a while are repeated.
func TestReportsAreRepeated(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		f := Func("t", func(context.Context, int) (string, error) {
			pass(time.Second)
			return "done", nil
		})
		startWorker(t, c, Worker{}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		q.Inject(func(f *brokertest.Faults) { f.Refuse = 3; f.LoseAnswers = 2 })
		if out, err := tk.Wait(t.Context()); out != "done" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	})
}

func TestWorkerWaitsForItsServer(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		q.Inject(func(f *brokertest.Faults) { f.Refuse = 5 })
		f := Func("t", func(context.Context, int) (string, error) { return "done", nil })
		startWorker(t, c, Worker{}, f)
		pass(5 * time.Second)
		if out, err := f.Do(t.Context(), c, 1); out != "done" || err != nil {
			t.Errorf("%q, %v", out, err)
		}
	})
}

// A closed queue does not keep a worker from ending.
func TestStopWithoutServer(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		f := Func("t", func(context.Context, int) (string, error) {
			pass(time.Second)
			return "done", nil
		})
		stop := expectStop(t, c, Worker{}, f)
		mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		q.Close()
		pass(2 * time.Second)
		began := time.Now()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "1 outcome not delivered") {
			t.Errorf("Run: %v", err)
		}
		if took := time.Since(began); took > reportGrace+time.Second {
			t.Errorf("stopping took %v", took)
		}
	})
}

// A client that is closed takes its workers with it.
func TestClientClosed(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, q *brokertest.Fake) {
		f := Func("t", func(context.Context, int) (string, error) { return "", nil })
		ended := make(chan error, 1)
		go func() { ended <- c.Worker(quiet(Worker{}), f).Run(t.Context()) }()
		waited := make(chan error, 1)
		tk := mustEnqueue(t, c, f.Definition, 1, In(time.Hour))
		go func() {
			_, err := tk.Wait(t.Context())
			waited <- err
		}()
		synctest.Wait()
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
		q.Close()
		if err := <-ended; !errors.Is(err, ErrUnavailable) {
			t.Errorf("Run: %v", err)
		}
		if err := <-waited; !errors.Is(err, ErrUnavailable) {
			t.Errorf("Wait: %v", err)
		}
	})
}

// Slow handlers keep next to nothing from other workers; fast ones are given
// plenty.
func TestWindow(t *testing.T) {
	bubble(t, func(t *testing.T, _ *Client, q *brokertest.Fake) {
		r := &recording{Fake: q}
		c := NewClient(r, q)
		f := Func("t", func(_ context.Context, d time.Duration) (int, error) {
			pass(d)
			return 0, nil
		})
		ins := make([]time.Duration, 2000)
		for i := range ins {
			ins[i] = time.Second
		}
		if _, err := f.EnqueueMany(t.Context(), c, ins); err != nil {
			t.Fatal(err)
		}
		stop := startWorker(t, c, Worker{Concurrency: 64}, f)
		waitEmpty(t, c, "default")
		if _, most, _, _ := r.snapshot(); most > 2*64 {
			t.Errorf("handlers of 1 s in 64 slots: up to %d deliveries asked for at once", most)
		}
		for i := range ins {
			ins[i] = 100 * time.Microsecond
		}
		for range 10 {
			if _, err := f.EnqueueMany(t.Context(), c, ins); err != nil {
				t.Fatal(err)
			}
		}
		waitEmpty(t, c, "default")
		if _, most, _, _ := r.snapshot(); most < 1000 || most > 64+defaultPrefetch {
			t.Errorf("handlers of 0.1 ms: up to %d deliveries asked for at once", most)
		}
		stop()
	})
}

// When handlers turn slow, what was fetched for fast ones goes back, so that
// other workers may run it, and costs nobody an attempt.
func TestSurplusGoesBack(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		var ran [2]atomic.Int32
		worker := func(i int) *Function[time.Duration, int] {
			return Func("t", func(_ context.Context, d time.Duration) (int, error) {
				pass(d)
				ran[i].Add(1)
				return 0, nil
			})
		}
		a := worker(0)
		startWorker(t, c, Worker{Concurrency: 10}, a)
		fast := make([]time.Duration, 40_000) // fast enough for a wide window
		for i := range fast {
			fast[i] = 50 * time.Microsecond
		}
		if _, err := a.EnqueueMany(t.Context(), c, fast); err != nil {
			t.Fatal(err)
		}
		slow := make([]time.Duration, 600)
		for i := range slow {
			slow[i] = time.Second
		}
		out, err := a.EnqueueMany(t.Context(), c, slow)
		if err != nil {
			t.Fatal(err)
		}
		startWorker(t, c, Worker{Concurrency: 10}, worker(1))
		began := time.Now()
		waitEmpty(t, c, "default")
		if took := time.Since(began); took > 34*time.Second {
			t.Errorf("600 tasks of 1 s in 20 slots took %v", took)
		}
		if n := ran[1].Load(); n < 280 {
			t.Errorf("the second worker ran %d tasks", n)
		}
		for _, e := range out {
			if in := mustInfo(t, c, e.Task.ID()); in.Failures+in.Crashes+in.Releases != 0 {
				t.Fatalf("%d failures, %d crashes, %d releases", in.Failures, in.Crashes, in.Releases)
			}
		}
	})
}

// A refused attach that will not get better ends Run.
func TestFatalAttach(t *testing.T) {
	q := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(q.Close)
	c := NewClient(refusingAttach{q}, q)
	err := c.Worker(quiet(Worker{}), Func("t", func(context.Context, int) (int, error) { return 0, nil })).Run(t.Context())
	if !errors.Is(err, ErrInvalid) {
		t.Errorf("Run: %v", err)
	}
}

type refusingAttach struct{ *brokertest.Fake }

func (refusingAttach) Attach(context.Context, task.SessionOptions, task.Sink) (task.Session, error) {
	return nil, task.Errorf(task.Invalid, "no such thing")
}

func TestContextIsTheStandardOne(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		type key struct{}
		var kept context.Context
		told := make(chan string, 1)
		look := func(ctx context.Context) string {
			if ctx.Value(key{}) != "run" {
				return fmt.Sprintf("the values of Run's context are gone: %v", ctx.Value(key{}))
			}
			if ctx.Err() != nil || context.Cause(ctx) != nil {
				return fmt.Sprintf("ended before it began: %v", ctx.Err())
			}
			child, cancel := context.WithCancel(context.WithValue(ctx, key{}, "child"))
			defer cancel()
			if Current(child) == nil || child.Value(key{}) != "child" {
				return "the child has lost its attempt"
			}
			fired := make(chan bool)
			context.AfterFunc(child, func() { close(fired) })
			<-child.Done()
			<-fired
			return fmt.Sprint(child.Err(), "; ", context.Cause(child))
		}
		f := Func("t", func(ctx context.Context, _ int) (string, error) {
			kept = ctx
			told <- look(ctx)
			return "", Permanent(ctx.Err())
		}, Timeout(time.Second))
		ctx, cancel := context.WithCancel(context.WithValue(t.Context(), key{}, "run"))
		ended := make(chan error, 1)
		go func() { ended <- c.Worker(quiet(Worker{}), f).Run(ctx) }()
		mustEnqueue(t, c, f.Definition, 1)
		if got, want := <-told, context.DeadlineExceeded.Error()+"; "+ErrTimeout.Error(); got != want {
			t.Errorf("the child ended with %q, want %q", got, want)
		}
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if kept.Err() == nil {
			t.Error("the context lives on after the handler")
		}
	})
}

// The context of a handler that never asked for it ends all the same, with the
// cause, for whoever asks later.
func TestContextEndsUnasked(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		var kept context.Context
		wait, told := make(chan bool), make(chan error, 2)
		f := Func("t", func(ctx context.Context, _ int) (string, error) {
			kept = ctx
			<-wait
			told <- ctx.Err()
			told <- context.Cause(ctx)
			return "", nil
		})
		startWorker(t, c, Worker{}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		if err := tk.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		close(wait)
		if err, cause := <-told, <-told; err != context.Canceled || cause != ErrCanceled {
			t.Errorf("Err %v, Cause %v", err, cause)
		}
		synctest.Wait()
		if kept.Err() == nil {
			t.Error("the context lives on after the handler")
		}
	})
}

// again answers as a server does to whom every batch comes a second time.
type again struct{ task.Broker }

func (again) Enqueue(b *task.EnqueueBatch) {
	for i := range b.Specs {
		b.Results[i] = task.Enqueued{ID: task.ID{Seq: task.MakeSeq(1, 1)}, Existing: true}
	}
	b.Done(b)
}

// A task is there before its enqueue by its idempotency key only: an enqueue that
// was sent twice has made it itself.
func TestExisting(t *testing.T) {
	c := NewClient(again{}, nil)
	d := Define[int, int]("t")
	for want, opts := range map[bool][]Option{false: nil, true: {Idempotency("k", time.Hour)}} {
		one, err := d.Enqueue(t.Context(), c, 1, opts...)
		if err != nil || one.Existing() != want {
			t.Errorf("Enqueue: %v, %v; want %v", one.Existing(), err, want)
		}
		many, err := d.EnqueueMany(t.Context(), c, []int{1, 2}, opts...)
		if err != nil || many[1].Task.Existing() != want {
			t.Errorf("EnqueueMany: %v, %v; want %v", many[1].Task.Existing(), err, want)
		}
	}
}

// A handler that runs into the task's deadline hears of that, also when the server
// ends the task first.
func TestDeadlineIsTheCause(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		const n = 20
		causes := make(chan error, n)
		f := Func("t", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			causes <- context.Cause(ctx)
			return 0, ctx.Err()
		})
		startWorker(t, c, Worker{Concurrency: n}, f)
		for i := range n {
			mustEnqueue(t, c, f.Definition, i, Deadline(time.Now().Add(time.Second)))
		}
		for range n {
			if cause := <-causes; cause != ErrTimeout {
				t.Fatalf("the cause is %v", cause)
			}
		}
	})
}
