package penstock_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// overServers runs a test over the real queue, in process and over TCP.
func overServers(t *testing.T, test func(t *testing.T, c *penstock.Client)) {
	t.Run("in process", func(t *testing.T) {
		t.Parallel()
		test(t, openServer(t, server.Config{Mem: true, Check: true}).Client())
	})
	t.Run("over TCP", func(t *testing.T) {
		t.Parallel()
		srv := openServer(t, server.Config{Mem: true, Check: true, HTTP: "127.0.0.1:0"})
		test(t, dial(t, srv.URL()))
	})
}

func openServer(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	srv, err := server.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

func dial(t *testing.T, url string) *penstock.Client {
	t.Helper()
	c, err := penstock.Dial(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

func work(t *testing.T, c *penstock.Client, w penstock.Worker, hs ...penstock.Handler) (stop func() error) {
	t.Helper()
	w.Logger = slog.New(slog.DiscardHandler)
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- c.Worker(w, hs...).Run(ctx) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-ended
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Errorf("worker: %v", err)
		}
	})
	return stop
}

func counts(t *testing.T, c *penstock.Client, queue string) penstock.QueueInfo {
	t.Helper()
	qs, err := c.Queues(context.Background(), queue)
	if err != nil || len(qs) != 1 {
		t.Fatalf("queue %s: %v, %v", queue, qs, err)
	}
	return qs[0]
}

func TestServerRunsEverything(t *testing.T) {
	overServers(t, func(t *testing.T, c *penstock.Client) {
		double := penstock.Func("double", func(_ context.Context, i int) (int, error) { return 2 * i, nil })
		stop := work(t, c, penstock.Worker{}, double)
		ins := make([]int, 5000)
		for i := range ins {
			ins[i] = i
		}
		answers, err := double.EnqueueMany(t.Context(), c, ins)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for g := range 16 {
			wg.Go(func() {
				for i := g; i < len(answers); i += 16 {
					if out, err := answers[i].Task.Wait(t.Context()); out != 2*i || err != nil {
						t.Errorf("task %d: %d, %v", i, out, err)
						return
					}
				}
				for i := range 50 {
					if out, err := double.Do(t.Context(), c, i); out != 2*i || err != nil {
						t.Errorf("Do(%d): %d, %v", i, out, err)
						return
					}
				}
			})
		}
		wg.Wait()
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if q := counts(t, c, "default"); q.Succeeded != 5800 || q.Enqueued != 5800 || q.Ready+q.Running+q.Scheduled+q.Dead != 0 {
			t.Errorf("%+v", q)
		}
	})
}

func TestServerRetriesSnoozesAndCancels(t *testing.T) {
	overServers(t, func(t *testing.T, c *penstock.Client) {
		running, cause := make(chan bool, 1), make(chan error, 1)
		f := penstock.Func("t", func(ctx context.Context, how string) (string, error) {
			a := penstock.Current(ctx)
			penstock.Log(ctx).Debug("at it", "how", how)
			switch {
			case how == "fail" && a.Number() < 3:
				return "", errors.New("not yet")
			case how == "snooze" && a.Releases() == 0:
				return "", penstock.Snooze(10 * time.Millisecond)
			case how == "panic":
				panic("too much")
			case how == "slow":
				<-ctx.Done()
				return "", context.Cause(ctx)
			case how == "canceled":
				running <- true
				<-ctx.Done()
				cause <- context.Cause(ctx)
				return "", ctx.Err()
			}
			return fmt.Sprintf("%d/%d/%d", a.Number(), a.Failures(), a.Releases()), nil
		}, penstock.Backoff(penstock.Fixed(10*time.Millisecond)))
		work(t, c, penstock.Worker{}, f)
		for how, want := range map[string]string{"fail": "3/2/0", "snooze": "1/0/1", "ok": "1/0/0"} {
			if out, err := f.Do(t.Context(), c, how); out != want || err != nil {
				t.Errorf("%s: %q, %v", how, out, err)
			}
		}
		for how, opts := range map[string][]penstock.Option{
			"panic": {penstock.MaxAttempts(2)}, "slow": {penstock.MaxAttempts(1), penstock.Timeout(50 * time.Millisecond)},
		} {
			_, err := f.Do(t.Context(), c, how, opts...)
			var te *penstock.TaskError
			if !errors.As(err, &te) || te.State != penstock.Dead {
				t.Errorf("%s: %v", how, err)
			}
		}
		tk, err := f.Enqueue(t.Context(), c, "canceled")
		if err != nil {
			t.Fatal(err)
		}
		<-running
		if err := tk.Cancel(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := <-cause; err != penstock.ErrCanceled {
			t.Errorf("cause %v", err)
		}
		if _, err := tk.Wait(t.Context()); !errors.Is(err, penstock.ErrCanceled) {
			t.Errorf("Wait: %v", err)
		}
	})
}

// What a handler returns after its Timeout is a failed attempt, success too, and
// its error says once what happened. The server's own clock gives it a second.
func TestServerReturnsAfterTimeout(t *testing.T) {
	c := openServer(t, server.Config{Mem: true, Check: true}).Client()
	f := penstock.Func("t", func(ctx context.Context, how string) (int, error) {
		if how == "ignores its context" {
			<-time.After(100 * time.Millisecond)
			return 0, nil
		}
		<-ctx.Done()
		switch how {
		case "returns its error":
			return 0, ctx.Err()
		case "returns its cause":
			return 0, context.Cause(ctx)
		case "wraps its cause":
			return 0, fmt.Errorf("read page 7: %w", context.Cause(ctx))
		}
		return 0, nil
	}, penstock.Timeout(50*time.Millisecond), penstock.MaxAttempts(1))
	work(t, c, penstock.Worker{}, f)
	const over = "the attempt ran out of time"
	for how, want := range map[string]string{
		"ignores its context": over + ": the handler succeeded, but after 1", // 100 ms and something
		"succeeds late":       over + ": the handler succeeded, but after ",
		"returns its error":   over + ": context deadline exceeded",
		"returns its cause":   over,
		"wraps its cause":     "read page 7: " + over,
	} {
		_, err := f.Do(t.Context(), c, how)
		var te *penstock.TaskError
		if !errors.As(err, &te) || te.State != penstock.Dead || te.Failures != 1 || !strings.HasPrefix(te.Text, want) || strings.Count(te.Text, over) != 1 {
			t.Errorf("%s: got %v, want %q", how, err, want)
		}
	}
}

// What a stopping worker had fetched goes to the next one, without blame.
func TestServerDrain(t *testing.T) {
	overServers(t, func(t *testing.T, c *penstock.Client) {
		begun := make(chan bool, 100)
		handler := func(ctx context.Context, i int) (int, error) {
			begun <- true
			if i >= 0 {
				return i, nil
			}
			<-ctx.Done()
			if context.Cause(ctx) != penstock.ErrShutdown {
				t.Errorf("cause %v", context.Cause(ctx))
			}
			return 0, ctx.Err()
		}
		f := penstock.Func("t", handler)
		stop := work(t, c, penstock.Worker{Concurrency: 2, DrainTimeout: 50 * time.Millisecond}, f)
		answers, err := f.EnqueueMany(t.Context(), c, []int{-1, -2, 1, 2, 3, 4, 5, 6, 7, 8})
		if err != nil {
			t.Fatal(err)
		}
		<-begun
		<-begun
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if q := counts(t, c, "default"); q.Ready != 10 || q.Running != 0 {
			t.Errorf("%d ready, %d running", q.Ready, q.Running)
		}
		for i, a := range answers {
			in, err := a.Task.Info(t.Context())
			if err != nil || in.Failures+in.Crashes != 0 || in.Releases != map[bool]int{true: 1}[i < 2] {
				t.Errorf("task %d: %d failures, %d crashes, %d releases, %v", i, in.Failures, in.Crashes, in.Releases, err)
			}
		}
	})
}

// The server goes away and comes back: what a worker finished meanwhile is
// delivered, what it runs goes on, and a caller's Enqueue and Wait last through.
func TestServerRestart(t *testing.T) {
	dir := t.TempDir()
	srv := openServer(t, server.Config{Dir: dir, HTTP: "127.0.0.1:0"})
	addr := srv.URL()[len("http://"):]
	c := dial(t, srv.URL())

	var runs atomic.Int32
	begun, finish := make(chan bool, 10), map[string]chan bool{"short": make(chan bool), "long": make(chan bool), "new": make(chan bool)}
	f := penstock.Func("t", func(ctx context.Context, s string) (string, error) {
		runs.Add(1)
		begun <- true
		<-finish[s]
		return s, ctx.Err()
	})
	close(finish["new"])
	work(t, c, penstock.Worker{TTL: 30 * time.Second}, f)
	var tasks []*penstock.Task[string]
	for _, s := range []string{"short", "long"} {
		tk, err := f.Enqueue(t.Context(), c, s)
		if err != nil {
			t.Fatal(err)
		}
		tasks = append(tasks, tk)
	}
	<-begun
	<-begun
	waited := make(chan error, 1)
	go func() {
		_, err := tasks[0].Wait(t.Context())
		waited <- err
	}()
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	close(finish["short"])
	enqueued := make(chan error, 1)
	go func() {
		tk, err := f.Enqueue(t.Context(), c, "new")
		if err == nil {
			_, err = tk.Wait(t.Context())
		}
		enqueued <- err
	}()
	select {
	case err := <-waited:
		t.Fatalf("Wait ended with the server: %v", err)
	case err := <-enqueued:
		t.Fatalf("Enqueue ended with the server: %v", err)
	case <-time.After(200 * time.Millisecond):
	}
	openServer(t, server.Config{Dir: dir, HTTP: addr})
	if err := errors.Join(<-waited, <-enqueued); err != nil {
		t.Fatal(err)
	}
	close(finish["long"])
	for i, want := range []string{"short", "long"} {
		if out, err := tasks[i].Wait(t.Context()); out != want || err != nil {
			t.Errorf("%s: %q, %v", want, out, err)
		}
	}
	if n := runs.Load(); n != 3 {
		t.Errorf("%d runs of 3 tasks", n)
	}
}

// A server inside the program that is closed under its worker ends the worker.
func TestServerClosedUnderWorker(t *testing.T) {
	srv := openServer(t, server.Config{Mem: true})
	f := penstock.Func("t", func(_ context.Context, i int) (int, error) { return i, nil })
	c := srv.Client()
	ended := make(chan error, 1)
	w := penstock.Worker{Logger: slog.New(slog.DiscardHandler)}
	go func() { ended <- c.Worker(w, f).Run(context.Background()) }()
	if _, err := f.Do(t.Context(), c, 1); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, penstock.ErrUnavailable) {
		t.Errorf("Run: %v", err)
	}
	if _, err := f.Do(t.Context(), c, 1); !errors.Is(err, penstock.ErrUnavailable) {
		t.Errorf("Do: %v", err)
	}
}

func TestServerShowsProgressAndLog(t *testing.T) {
	overServers(t, func(t *testing.T, c *penstock.Client) {
		said, finish := make(chan bool), make(chan bool)
		f := penstock.Func("t", func(ctx context.Context, _ int) (int, error) {
			penstock.Progress(ctx, 3, 10, "copying")
			penstock.Log(ctx).Info("a line to keep")
			close(said)
			<-finish
			return 0, nil
		})
		work(t, c, penstock.Worker{}, f)
		tk, err := f.Enqueue(t.Context(), c, 1)
		if err != nil {
			t.Fatal(err)
		}
		<-said
		for {
			in, err := tk.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if in.State != penstock.Running {
				t.Fatalf("%v, want running", in.State)
			}
			if in.Progress == (penstock.ProgressInfo{Done: 3, Total: 10, Text: "copying"}) {
				break
			}
		}
		close(finish)
		if _, err := tk.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		if in, err := tk.Info(t.Context()); err != nil || !strings.Contains(string(in.Log), "a line to keep") {
			t.Errorf("log %q, %v", in.Log, err)
		}
	})
}
