package server_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"testing"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestCloseUnderLoad: callers and workers are at it when the server closes. What
// was acknowledged is there, what was refused is not, and every task ends once.
func TestCloseUnderLoad(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	acked := map[penstock.ID]string{}
	for life := range 4 {
		srv := open(t, server.Config{Dir: dir, Partitions: 2})
		c := srv.Client()
		worker := make(chan error, 1)
		go func() {
			quiet := penstock.Worker{Logger: slog.New(slog.DiscardHandler), Queues: map[string]int{"q0": 1, "q1": 1}}
			worker <- c.Worker(quiet, greet).Run(context.Background())
		}()
		enough := make(chan struct{})
		var once sync.Once
		var callers sync.WaitGroup
		for caller := range 8 {
			callers.Go(func() {
				queue := penstock.Queue(fmt.Sprint("q", caller%3))
				for i := 0; ; i++ {
					name := fmt.Sprintf("%d-%d-%d", life, caller, i)
					task, err := greet.Enqueue(context.Background(), c, name, queue)
					if err != nil {
						if !errors.Is(err, penstock.ErrUnavailable) {
							t.Errorf("enqueue while the server closes: %v", err)
						}
						return
					}
					mu.Lock()
					acked[task.ID()] = name
					mu.Unlock()
					if i == 100 {
						once.Do(func() { close(enough) })
					}
				}
			})
		}
		<-enough
		if err := srv.Close(); err != nil {
			t.Fatal(err)
		}
		callers.Wait()
		if err := <-worker; !errors.Is(err, penstock.ErrUnavailable) {
			t.Errorf("a worker whose server has closed: %v", err)
		}
	}
	found, err := server.Examine(context.Background(), dir)
	if err != nil || found.Faulty != 0 {
		t.Fatalf("after four closings: %+v, %v", found, err)
	}
	finishAll(t, open(t, server.Config{Dir: dir, Check: true}).Client(), acked)
}

// finishAll runs every task to its end and holds the counts against acked.
func finishAll(t *testing.T, c *penstock.Client, acked map[penstock.ID]string) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	worker := make(chan error, 1)
	go func() {
		worker <- c.Worker(penstock.Worker{Queues: map[string]int{"q0": 1, "q1": 1, "q2": 1}}, greet).Run(ctx)
	}()
	for id, name := range acked {
		if out, err := greet.Task(c, id).Wait(inTime(t)); err != nil || out != "hello "+name {
			t.Fatalf("task %s: %q, %v", id, out, err)
		}
	}
	cancel()
	if err := <-worker; err != nil {
		t.Errorf("worker: %v", err)
	}
	qs, err := c.Queues(inTime(t))
	if err != nil {
		t.Fatal(err)
	}
	var enqueued, succeeded, left int64
	for _, q := range qs {
		enqueued, succeeded = enqueued+q.Enqueued, succeeded+q.Succeeded
		left += q.Ready + q.Scheduled + q.Running + q.Dead
	}
	if n := int64(len(acked)); enqueued != n || succeeded != n || left != 0 {
		t.Errorf("%d tasks were acknowledged; counted are %d enqueued, %d succeeded, %d left", n, enqueued, succeeded, left)
	}
}
