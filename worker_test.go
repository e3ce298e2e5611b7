package penstock

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

func TestConcurrency(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		var now, most atomic.Int32
		f := Func("t", func(ctx context.Context, _ int) (int, error) {
			most.Store(max(most.Load(), now.Add(1)))
			defer now.Add(-1)
			pass(time.Second)
			return 0, nil
		})
		for i := range 100 {
			mustEnqueue(t, c, f.Definition, i)
		}
		startWorker(t, c, Worker{Concurrency: 5}, f)
		synctest.Wait()
		if n := now.Load(); n != 5 {
			t.Errorf("%d handlers run, want 5", n)
		}
		began := time.Now()
		waitEmpty(t, c, "default")
		if most.Load() != 5 {
			t.Errorf("%d handlers ran at once, want 5", most.Load())
		}
		if took := time.Since(began); took > 21*time.Second {
			t.Errorf("100 tasks of 1 s in 5 slots took %v", took)
		}
	})
}

// waitEmpty waits, in a bubble, until a queue has nothing left to do.
func waitEmpty(t testing.TB, c *Client, queue string) {
	t.Helper()
	for range 1_000_000 {
		qs, err := c.Queues(context.Background(), queue)
		if err != nil {
			t.Fatal(err)
		}
		if q := qs[0]; q.Ready+q.Running+q.Scheduled == 0 {
			return
		}
		<-time.After(50 * time.Millisecond)
	}
	t.Fatal("the queue does not get empty")
}

func TestDeliveriesStartInOrder(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		var got []int
		f := Func("t", func(_ context.Context, i int) (int, error) {
			got = append(got, i)
			return i, nil
		})
		for i := range 500 {
			mustEnqueue(t, c, f.Definition, i)
		}
		startWorker(t, c, Worker{Concurrency: 1}, f)
		waitEmpty(t, c, "default")
		if len(got) != 500 || !slices.IsSorted(got) {
			t.Errorf("%d tasks, in order: %v", len(got), slices.IsSorted(got))
		}
	})
}

func TestTimeout(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		causes := make(chan [2]error, 1)
		f := Func("t", func(ctx context.Context, _ int) (int, error) {
			if _, ok := ctx.Deadline(); !ok {
				return 0, errors.New("no deadline")
			}
			<-ctx.Done()
			causes <- [2]error{ctx.Err(), context.Cause(ctx)}
			return 0, ctx.Err()
		}, Timeout(3*time.Second), MaxAttempts(1))
		startWorker(t, c, Worker{}, f)
		began := time.Now()
		te := taskError(t, mustEnqueue(t, c, f.Definition, 1))
		if took := time.Since(began); took < 3*time.Second || took > 4*time.Second {
			t.Errorf("ended after %v", took)
		}
		if te.State != Dead || te.Failures != 1 {
			t.Errorf("%+v", te)
		}
		got := <-causes
		if got[0] != context.DeadlineExceeded || got[1] != ErrTimeout {
			t.Errorf("Err %v, Cause %v", got[0], got[1])
		}
	})
}

func TestPanicIsAFailureWithItsStack(t *testing.T) {
	c, _ := newClient(t)
	f := Func("t", func(context.Context, int) (int, error) { return explode(), nil }, MaxAttempts(1))
	startWorker(t, c, Worker{Concurrency: 1}, f)
	te := taskError(t, mustEnqueue(t, c, f.Definition, 1))
	if !strings.Contains(te.Text, "panic: boom") || !strings.Contains(te.Text, "penstock.explode") || len(te.Text) > task.ErrorTextMax {
		t.Errorf("error text: %s", te.Text)
	}
}

func explode() int { panic("boom") }

// A handler that takes its goroutine with it costs its task an attempt and the
// worker nothing.
func TestGoexit(t *testing.T) {
	c, _ := newClient(t)
	f := Func("t", func(_ context.Context, i int) (int, error) {
		if i == 1 {
			runtime.Goexit()
		}
		return i, nil
	}, MaxAttempts(1))
	startWorker(t, c, Worker{Concurrency: 1}, f)
	for range 3 {
		if te := taskError(t, mustEnqueue(t, c, f.Definition, 1)); !strings.Contains(te.Text, "Goexit") {
			t.Errorf("%v", te)
		}
	}
	if out, err := f.Do(t.Context(), c, 2); out != 2 || err != nil {
		t.Errorf("%v, %v", out, err)
	}
}

func TestMiddleware(t *testing.T) {
	c, _ := newClient(t)
	type key struct{}
	var steps []string
	note := func(name string) Middleware {
		return func(ctx context.Context, a *Attempt, next func(context.Context) error) error {
			steps = append(steps, name+" in "+a.Type())
			err := next(context.WithValue(ctx, key{}, name))
			steps = append(steps, name+" out "+fmt.Sprint(err))
			if name == "outer" && err != nil {
				return Permanent(fmt.Errorf("wrapped: %w", err))
			}
			return err
		}
	}
	f := Func("t", func(ctx context.Context, i int) (string, error) {
		if i < 0 {
			return "", errors.New("negative")
		}
		return ctx.Value(key{}).(string), nil
	})
	startWorker(t, c, Worker{Concurrency: 1, Middleware: []Middleware{note("outer"), note("inner")}}, f)
	if out, err := f.Do(t.Context(), c, 1); out != "inner" || err != nil {
		t.Errorf("%q, %v", out, err)
	}
	if want := []string{"outer in t", "inner in t", "inner out <nil>", "outer out <nil>"}; !slices.Equal(steps, want) {
		t.Errorf("steps %v, want %v", steps, want)
	}
	if te := taskError(t, mustEnqueue(t, c, f.Definition, -1)); te.Text != "wrapped: negative" || te.Failures != 1 {
		t.Errorf("%+v", te)
	}
}

type rateLimited struct{ wait time.Duration }

func (e *rateLimited) Error() string { return "rate limited" }

type badImage struct{}

func (badImage) Error() string { return "bad image" }

func TestRetryByErrorType(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		var starts []time.Duration
		began := time.Now()
		f := Func("t", func(ctx context.Context, i int) (int, error) {
			starts = append(starts, time.Since(began))
			switch n := Current(ctx).Number(); {
			case i == 1 && n == 1:
				return 0, fmt.Errorf("fetch: %w", &rateLimited{7 * time.Second})
			case i == 1 && n == 2:
				return 0, errors.New("plain")
			case i == 2:
				return 0, badImage{}
			}
			return i, nil
		}, Backoff(Fixed(30*time.Second)),
			RetryOn(func(e *rateLimited) Decision { return After(e.wait) }),
			RetryOn(func(badImage) Decision { return Stop() }),
			RetryOn(func(error) Decision { return Retry() }))
		startWorker(t, c, Worker{Concurrency: 1}, f)
		if out, err := f.Do(t.Context(), c, 1); out != 1 || err != nil {
			t.Fatalf("%v, %v", out, err)
		}
		for i, want := range []time.Duration{0, 7 * time.Second, 37 * time.Second} {
			if got := starts[i]; got < want || got > want+time.Second {
				t.Errorf("attempt %d began after %v, want %v", i+1, got, want)
			}
		}
		if te := taskError(t, mustEnqueue(t, c, f.Definition, 2)); te.Failures != 1 || te.State != Dead {
			t.Errorf("%+v", te)
		}
	})
}

func TestErrorsThatDecide(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		rules := 0
		f := Func("t", func(ctx context.Context, how string) (string, error) {
			if Current(ctx).Failures()+Current(ctx).Releases() > 0 {
				return "done", nil
			}
			switch how {
			case "permanent":
				return "", fmt.Errorf("outer: %w", Permanent(errors.New("never")))
			case "after":
				return "", RetryAfter(errors.New("later"), 5*time.Second)
			}
			return "", Snooze(9 * time.Second)
		}, Backoff(Fixed(time.Minute)), RetryOn(func(error) Decision { rules++; return Retry() }))
		startWorker(t, c, Worker{}, f)

		if te := taskError(t, mustEnqueue(t, c, f.Definition, "permanent")); te.Failures != 1 || te.Text != "outer: never" {
			t.Errorf("permanent: %+v", te)
		}
		after := func(how string, d time.Duration, failures, releases int) {
			t.Helper()
			began := time.Now()
			tk := mustEnqueue(t, c, f.Definition, how)
			if out, err := tk.Wait(t.Context()); out != "done" || err != nil {
				t.Fatalf("%s: %v, %v", how, out, err)
			}
			if took := time.Since(began); took < d || took > d+time.Second {
				t.Errorf("%s: took %v", how, took)
			}
			if in := mustInfo(t, c, tk.ID()); in.Failures != failures || in.Releases != releases || in.Crashes != 0 {
				t.Errorf("%s: %d failures, %d releases", how, in.Failures, in.Releases)
			}
		}
		after("after", 5*time.Second, 1, 0)
		after("snooze", 9*time.Second, 0, 1)
		if rules != 0 {
			t.Error("a rule was asked about an error that had decided")
		}
		if Permanent(nil) != nil || RetryAfter(nil, 1) != nil {
			t.Error("nil errors are wrapped")
		}
	})
}

// A rule that panics must not take the program down.
func TestRuleThatPanics(t *testing.T) {
	c, _ := newClient(t)
	f := Func("t", func(context.Context, int) (int, error) { return 0, errors.New("x") }, MaxAttempts(1),
		RetryOn(func(error) Decision { panic("bad rule") }))
	startWorker(t, c, Worker{}, f)
	if te := taskError(t, mustEnqueue(t, c, f.Definition, 1)); !strings.Contains(te.Text, "x") || !strings.Contains(te.Text, "bad rule") {
		t.Errorf("%v", te)
	}
}

type hollow struct{ why string }

func (h *hollow) Error() string { return h.why }

// Nor must an error that can't be read: a nil pointer in an error's clothes.
func TestErrorThatPanics(t *testing.T) {
	c, _ := newClient(t)
	f := Func("t", func(context.Context, int) (int, error) { return 0, (*hollow)(nil) }, MaxAttempts(1))
	startWorker(t, c, Worker{}, f)
	if te := taskError(t, mustEnqueue(t, c, f.Definition, 1)); !strings.Contains(te.Text, "can't be read") {
		t.Errorf("%v", te)
	}
}

func TestBadPayloadsAndResults(t *testing.T) {
	c, _ := newClient(t)
	f := Func("t", func(_ context.Context, i int) (any, error) {
		if i == 1 {
			return make(chan int), nil
		}
		return strings.Repeat("x", task.PayloadMax), nil
	})
	startWorker(t, c, Worker{}, f)
	check := func(tk *Task[any], want string) {
		t.Helper()
		if te := taskError(t, tk); te.Failures != 1 || !strings.Contains(te.Text, want) {
			t.Errorf("got %v, want %q", te, want)
		}
	}
	check(mustEnqueue(t, c, f.Definition, 1), "encode result")
	check(mustEnqueue(t, c, f.Definition, 2), "the limit is 1048576")
	raw, err := c.Enqueue(t.Context(), Raw{Type: "t", Payload: []byte(`{"not":"a number"}`)})
	if err != nil {
		t.Fatal(err)
	}
	check(f.Task(c, raw.ID()), "decode payload")
}

func TestProgressLogAndCurrent(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		step := make(chan bool)
		var onward bytes.Buffer
		f := Func("t", func(ctx context.Context, _ int) (int, error) {
			a := Current(ctx)
			if a.Number() != 1 || a.MaxAttempts() != 4 || a.Key() != "k" || a.Header("h") != "v" || a.Priority() != 8 || a.Fence() == 0 || len(a.Tags()) != 1 {
				return 0, fmt.Errorf("attempt %d of %d, key %q, header %q", a.Number(), a.MaxAttempts(), a.Key(), a.Header("h"))
			}
			for i := range int64(1000) {
				Progress(ctx, i+1, 1000, "copying")
			}
			Log(ctx).Info("first line", "n", 1)
			for i := range 1000 {
				Log(ctx).Debug("filler", "i", i)
			}
			Log(ctx).With("x", "y").Warn("last line")
			<-step
			return 0, nil
		}, MaxAttempts(4), Key("k"), Headers(map[string]string{"h": "v"}), Tags("tag"), Priority(8))
		ctx, cancel := context.WithCancel(t.Context())
		w := Worker{Logger: slog.New(slog.NewTextHandler(&onward, nil))}
		ended := make(chan error, 1)
		go func() { ended <- c.Worker(w, f).Run(ctx) }()
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		pass(time.Second)
		synctest.Wait()
		if in := mustInfo(t, c, tk.ID()); in.Progress != (ProgressInfo{1000, 1000, "copying"}) {
			t.Errorf("progress %+v", in.Progress)
		}
		close(step)
		if _, err := tk.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		log := string(mustInfo(t, c, tk.ID()).Log)
		if len(log) > task.LogMax || !strings.Contains(log, `msg="last line" x=y`) || strings.Contains(log, "first line") || !strings.HasPrefix(log, logCutNote+"time=") {
			t.Errorf("%d bytes of log:\n%s", len(log), log)
		}
		cancel()
		<-ended
		if s := onward.String(); !strings.Contains(s, "first line") || strings.Contains(s, "filler") || !strings.Contains(s, "task="+tk.ID().String()) {
			t.Errorf("the worker's logger got:\n%s", s)
		}
		if Current(t.Context()) != nil {
			t.Error("an attempt outside a handler")
		}
		Progress(t.Context(), 1, 1, "")
		Log(t.Context()).Debug("outside")
	})
}

func TestCancelReachesTheHandler(t *testing.T) {
	bubble(t, func(t *testing.T, c *Client, _ *brokertest.Fake) {
		cause := make(chan error, 1)
		f := Func("t", func(ctx context.Context, _ int) (int, error) {
			<-ctx.Done()
			cause <- context.Cause(ctx)
			return 0, ctx.Err()
		})
		startWorker(t, c, Worker{}, f)
		tk := mustEnqueue(t, c, f.Definition, 1)
		synctest.Wait()
		if err := tk.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if got := <-cause; got != ErrCanceled {
			t.Errorf("cause %v", got)
		}
		if _, err := tk.Wait(t.Context()); !errors.Is(err, ErrCanceled) {
			t.Errorf("Wait: %v", err)
		}
	})
}

func TestWorkersRefuse(t *testing.T) {
	c, _ := newClient(t)
	ok := Func("t", func(context.Context, int) (int, error) { return 0, nil })
	f := func(want string, w Worker, hs ...Handler) {
		t.Helper()
		if err := c.Worker(quiet(w), hs...).Run(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	f("no handlers", Worker{})
	f("two handlers for task type \"t\"", Worker{}, ok, ok)
	f("handler is nil", Worker{}, nil)
	f("is nil", Worker{}, Define[int, int]("t").Handle(nil))
	f("is nil", Worker{}, HandleRaw("t", nil))
	f("max attempts of 0", Worker{}, Func("t", func(context.Context, int) (int, error) { return 0, nil }, MaxAttempts(0)))
	f("concurrency of -1", Worker{Concurrency: -1}, ok)
	f("prefetch of 6000", Worker{Prefetch: 6000}, ok)
	f("TTL of 1ms", Worker{TTL: time.Millisecond}, ok)
	f("middleware is nil", Worker{Middleware: []Middleware{nil}}, ok)
	f("weight -1", Worker{Queues: map[string]int{"q": -1}}, ok)
	f("queue is empty", Worker{Queues: map[string]int{"": 1}}, ok)
	if err := (&Worker{}).Run(t.Context()); err == nil {
		t.Error("a worker without a client ran")
	}
}

func TestQueuesAndTypesServed(t *testing.T) {
	f := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(f.Close)
	r := &recording{Fake: f}
	c := NewClient(r, f)
	nop := func(context.Context, int) (int, error) { return 0, nil }
	attach := func(w Worker, hs ...Handler) task.SessionOptions {
		t.Helper()
		stop := startWorker(t, c, w, hs...)
		for {
			if _, _, _, as := r.snapshot(); len(as) > 0 {
				stop()
				r.attaches = nil
				return as[0]
			}
			runtime.Gosched()
		}
	}
	o := attach(Worker{Concurrency: 3, TTL: 20 * time.Second, Name: "me", Build: "9f3"}, Func("b", nop, Queue("q2")), Func("a", nop, Queue("q1")))
	if dump(o.Types) != dump([]string{"a", "b"}) || dump(o.Queues) != dump([]task.QueueWeight{{Queue: "q1", Weight: 1}, {Queue: "q2", Weight: 1}}) {
		t.Errorf("%+v", o)
	}
	if o.Concurrency != 3 || o.TTL != 20_000 || o.Worker != "me" || o.Build != "9f3" || len(o.ID) != 32 || o.Remote {
		t.Errorf("%+v", o)
	}
	o = attach(Worker{Queues: map[string]int{"z": 3, "y": 1}}, HandleRaw(AnyType, func(context.Context, *Attempt) (Content, error) { return Content{}, nil }), Func("a", nop))
	if o.Types != nil || dump(o.Queues) != dump([]task.QueueWeight{{Queue: "y", Weight: 1}, {Queue: "z", Weight: 3}}) {
		t.Errorf("%+v", o)
	}
}

// Attempts own what they show: the session's memory is scribbled over once the
// delivery is done (Options.Scribble).
func TestPayloadsAreOwned(t *testing.T) {
	c, _ := newClient(t)
	var mu sync.Mutex
	sum := map[string]int{}
	f := Func("t", func(_ context.Context, s string) (string, error) {
		mu.Lock()
		sum[s]++
		mu.Unlock()
		return s, nil
	})
	startWorker(t, c, Worker{}, f)
	ins := make([]string, 2000)
	for i := range ins {
		ins[i] = fmt.Sprintf("payload number %d", i)
	}
	out, err := f.EnqueueMany(t.Context(), c, ins)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range out {
		if got, err := e.Task.Wait(t.Context()); got != ins[i] || err != nil {
			t.Fatalf("task %d: %q, %v", i, got, err)
		}
	}
	if len(sum) != len(ins) {
		t.Errorf("%d payloads seen, want %d", len(sum), len(ins))
	}
}
