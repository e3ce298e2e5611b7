package server_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
	"github.com/penstock-io/penstock/server"
)

// childFolder, in the environment, makes the test binary a program that embeds
// a queue (see child).
const childFolder = "PENSTOCK_TEST_CHILD_FOLDER"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childFolder); dir != "" {
		child(dir)
		return
	}
	os.Exit(m.Run())
}

var greet = penstock.Func("greet", func(_ context.Context, name string) (string, error) {
	return "hello " + name, nil
})

func open(t *testing.T, cfg server.Config) *server.Server {
	t.Helper()
	srv, err := server.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return srv
}

func inTime(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

// work runs a worker until the end of the test, or until stop.
func work(t *testing.T, c *penstock.Client, hs ...penstock.Handler) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Work(ctx, hs...) }()
	stop = func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("worker: %v", err)
		}
		done <- nil
	}
	t.Cleanup(stop)
	return stop
}

// TestWholePath is the queue as a library: a folder, no port.
func TestWholePath(t *testing.T) {
	f := func(cfg server.Config) {
		t.Helper()
		srv := open(t, cfg)
		c := srv.Client()
		work(t, c, greet)
		for _, name := range []string{"ada", "grace", "edsger"} {
			out, err := greet.Do(inTime(t), c, name)
			if err != nil || out != "hello "+name {
				t.Errorf("got %q, %v", out, err)
			}
		}
	}
	f(server.Config{Dir: t.TempDir()})
	f(server.Config{Mem: true})
	f(server.Config{Mem: true, Partitions: 4})
}

// TestOverNetwork is the same over a port, with a token.
func TestOverNetwork(t *testing.T) {
	srv := open(t, server.Config{Mem: true, HTTP: "127.0.0.1:0", Token: "a-secret"})
	c, err := penstock.Dial(inTime(t), srv.URL(), penstock.WithToken("a-secret"))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := work(t, c, greet)
	if out, err := greet.Do(inTime(t), c, "ada"); err != nil || out != "hello ada" {
		t.Errorf("got %q, %v", out, err)
	}
	stop()
	if _, err := penstock.Dial(inTime(t), srv.URL(), penstock.WithToken("wrong")); err == nil {
		t.Error("a wrong token is let in")
	}
}

// TestRestart: what was accepted is there after a restart, waiting or finished.
func TestRestart(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir})
	c := srv.Client()
	stop := work(t, c, greet)
	done, err := greet.Enqueue(inTime(t), c, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := done.Wait(inTime(t)); err != nil {
		t.Fatal(err)
	}
	stop()
	var names []string
	for i := range 500 {
		names = append(names, fmt.Sprint("n", i))
	}
	waiting, err := greet.EnqueueMany(inTime(t), c, names)
	if err != nil {
		t.Fatal(err)
	}
	later, err := greet.Enqueue(inTime(t), c, "later", penstock.In(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}

	srv = open(t, server.Config{Dir: dir})
	c = srv.Client()
	in, err := c.Get(inTime(t), done.ID())
	if err != nil || in.State != penstock.Succeeded {
		t.Errorf("the finished task: %+v, %v", in, err)
	}
	in, err = c.Get(inTime(t), later.ID())
	if err != nil || in.State != penstock.Scheduled {
		t.Errorf("the scheduled task: %+v, %v", in, err)
	}
	qs, err := c.Queues(inTime(t), "default")
	if err != nil || len(qs) != 1 || qs[0].Ready != 500 || qs[0].Scheduled != 1 || qs[0].Succeeded != 1 {
		t.Errorf("counts after the restart: %+v, %v", qs, err)
	}
	work(t, c, greet)
	for i, w := range waiting {
		out, err := greet.Task(c, w.Task.ID()).Wait(inTime(t))
		if err != nil || out != "hello "+names[i] {
			t.Fatalf("task %d: %q, %v", i, out, err)
		}
	}
}

// TestCloseHandsBack: a task that is running when the server closes runs again
// after the next opening, and nobody is blamed.
func TestCloseHandsBack(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir})
	c := srv.Client()
	started := make(chan struct{}, 1)
	slow := penstock.Func("slow", func(ctx context.Context, _ int) (int, error) {
		started <- struct{}{}
		<-ctx.Done()
		return 0, context.Cause(ctx)
	})
	ctx, cancel := context.WithCancel(context.Background())
	over := make(chan error, 1)
	go func() { over <- c.Worker(penstock.Worker{DrainTimeout: -1, Concurrency: 1}, slow).Run(ctx) }()
	task, err := slow.Enqueue(inTime(t), c, 1)
	if err != nil {
		t.Fatal(err)
	}
	<-started
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	cancel()
	<-over

	srv = open(t, server.Config{Dir: dir})
	c = srv.Client()
	quick := penstock.Func("slow", func(ctx context.Context, n int) (int, error) {
		a := penstock.Current(ctx)
		if a.Failures() != 0 || a.Crashes() != 0 {
			return 0, fmt.Errorf("%d failures and %d crashes are counted", a.Failures(), a.Crashes())
		}
		return n + 1, nil
	}, penstock.MaxAttempts(1))
	work(t, c, quick)
	if got, err := quick.Task(c, task.ID()).Wait(inTime(t)); err != nil || got != 2 {
		t.Errorf("after the next opening: %d, %v", got, err)
	}
}

// TestTwoServers: a folder has one owner, and the second is told so.
func TestTwoServers(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir})
	if _, err := server.Open(server.Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "in use") || !strings.Contains(err.Error(), dir) {
		t.Errorf("second server: %v", err)
	}
	if _, err := greet.Enqueue(inTime(t), srv.Client(), "ada"); err != nil {
		t.Errorf("the first server after that: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, server.Config{Dir: dir})
}

func TestWontOpen(t *testing.T) {
	f := func(dir string, cfg server.Config, want ...string) {
		t.Helper()
		cfg.Dir = dir
		srv, err := server.Open(cfg)
		if err == nil {
			t.Errorf("it opens: want an error with %q", want)
			srv.Close()
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("got %v, want an error with %q", err, w)
			}
		}
	}
	made := func() string {
		dir := t.TempDir()
		srv := open(t, server.Config{Dir: dir})
		if _, err := greet.Enqueue(inTime(t), srv.Client(), "ada"); err != nil {
			t.Fatal(err)
		}
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		return dir
	}
	dir := made()
	if err := os.WriteFile(filepath.Join(dir, "PENSTOCK"), []byte("penstock data 99\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(dir, server.Config{}, "version 99", "release that wrote it")

	dir = t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "letter.txt"), []byte("dear ada"), 0o644); err != nil {
		t.Fatal(err)
	}
	f(dir, server.Config{}, dir)

	f(made(), server.Config{Partitions: 3}, "1 partitions", "Partitions")

	dir = made()
	damage(t, dir)
	f(dir, server.Config{}, "penstock doctor")

	srv := open(t, server.Config{Mem: true, HTTP: "127.0.0.1:0"})
	f(t.TempDir(), server.Config{HTTP: strings.TrimPrefix(srv.URL(), "http://")}, "listen on", "HTTP")
}

// damage puts a record that no version writes into the queue's class.
func damage(t *testing.T, dir string) {
	t.Helper()
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := st.Acquire(context.Background(), 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	put(t, part, []byte{0, 0, 1, 0, 0, 0, 9}, []byte{1, 2, 3})
	if err := errors.Join(part.Release(), st.Close()); err != nil {
		t.Fatal(err)
	}
}

// child embeds a queue, enqueues without end and prints each ID once it is
// durable. A worker beside it finishes some.
func child(dir string) {
	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		fmt.Println("open:", err)
		os.Exit(1)
	}
	go func() { _ = srv.Client().Work(context.Background(), greet) }()
	out := bufio.NewWriter(os.Stdout)
	for i := 0; ; i++ {
		task, err := greet.Enqueue(context.Background(), srv.Client(), fmt.Sprint(i))
		if err != nil {
			fmt.Println("enqueue:", err)
			os.Exit(1)
		}
		fmt.Fprintln(out, task.ID())
		out.Flush()
	}
}

// TestKill: kill -9 of a program that embeds a queue loses nothing that it was
// told was durable, and it never wrote to stderr.
func TestKill(t *testing.T) {
	dir := t.TempDir()
	ids := map[string]string{} // → its input
	n := 0
	for range 3 {
		for _, id := range runChild(t, dir, 200) {
			ids[id] = fmt.Sprint(n)
			n++
		}
		n = 0
	}
	srv := open(t, server.Config{Dir: dir})
	c := srv.Client()
	work(t, c, greet)
	for text, in := range ids {
		id, err := penstock.ParseID(text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := greet.Task(c, id).Wait(inTime(t))
		if err != nil || out != "hello "+in {
			t.Errorf("task %s: %q, %v", text, out, err)
		}
	}
	if len(ids) < 600 {
		t.Errorf("%d tasks were acknowledged, want at least 600: IDs repeat", len(ids))
	}
}

// runChild kills the child after it has acknowledged so many tasks, and returns
// their IDs.
func runChild(t *testing.T, dir string, count int) []string {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childFolder+"="+dir)
	var noise strings.Builder
	cmd.Stderr = &noise
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []string
	lines := bufio.NewScanner(pipe)
	for lines.Scan() {
		if strings.Contains(lines.Text(), ":") {
			t.Fatalf("child: %s", lines.Text())
		}
		ids = append(ids, lines.Text())
		if len(ids) == count {
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
		}
	}
	_ = cmd.Wait()
	if noise.Len() > 0 {
		t.Errorf("it wrote to stderr: %s", noise.String())
	}
	if len(ids) < count {
		t.Fatalf("child ended after %d tasks", len(ids))
	}
	return ids
}
