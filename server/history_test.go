package server_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestHistoryBytes: finished tasks take no more than they may, the oldest go first.
func TestHistoryBytes(t *testing.T) {
	const allowed, rounds = 2 << 20, 12
	many, size := 1000, 4000
	if testing.Short() {
		many, size = many/10, size*10 // as many bytes, of fewer tasks
	}
	srv := open(t, server.Config{Dir: t.TempDir(), HistoryBytes: allowed})
	c := srv.Client()
	blow := penstock.Func("blow", func(_ context.Context, n int) (string, error) { return strings.Repeat("x", size), nil })
	work(t, c, blow)
	began := time.Now()
	var first, last *penstock.Task[string]
	for range rounds {
		tasks, err := blow.EnqueueMany(inTime(t), c, make([]int, many))
		if err != nil {
			t.Fatal(err)
		}
		for i := range tasks {
			if tasks[i].Err != nil {
				t.Fatal(tasks[i].Err)
			}
			if last = tasks[i].Task; first == nil {
				first = last
			}
			if _, err := last.Wait(inTime(t)); err != nil && !errors.Is(err, penstock.ErrNotFound) {
				t.Fatal(err)
			}
		}
	}
	if _, err := first.Info(inTime(t)); !errors.Is(err, penstock.ErrNotFound) {
		t.Errorf("the first task of %d bytes of history, %d allowed: %v", rounds*many*size, allowed, err)
	}
	if _, err := last.Info(inTime(t)); err != nil {
		t.Errorf("the last task: %v", err)
	}
	qs, err := c.Queues(inTime(t), "default")
	if err != nil || len(qs) != 1 {
		t.Fatal(qs, err)
	}
	if !qs[0].HistoryFrom.After(began) {
		t.Errorf("history is said to reach back to %v, the first task was enqueued at %v", qs[0].HistoryFrom, began)
	}
}
