package e2e

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
)

var steady = penstock.Define[in, out]("steady", penstock.Queue("steady"))

// TestSafeOutage has the server away for a second less than the eight that
// docs/operations.md promises to be safe: what runs goes on and runs once.
// internal/rpc/rpctest holds the promise to its last moment.
func TestSafeOutage(t *testing.T) {
	const away = 7 * time.Second
	again := func(sig syscall.Signal) func(*testing.T, *process) {
		return func(t *testing.T, server *process) {
			server.signal(sig)
			pause(t.Context(), away)
			server.start()
		}
	}
	for how, outage := range map[string]func(*testing.T, *process){
		"killed": again(syscall.SIGKILL), "restarted in order": again(syscall.SIGTERM),
		"stopped": func(t *testing.T, server *process) {
			_ = server.cmd.Process.Signal(syscall.SIGSTOP)
			pause(t.Context(), away)
			_ = server.cmd.Process.Signal(syscall.SIGCONT)
		},
	} {
		t.Run(how, func(t *testing.T) {
			t.Parallel()
			safeOutage(t, outage)
		})
	}
}

func safeOutage(t *testing.T, outage func(*testing.T, *process)) {
	const tasks = 20
	server, url := newServer(t, t.TempDir())
	server.start()
	c := dial(t, url)
	var begun, cut atomic.Int32
	end := make(chan struct{})
	h := steady.Handle(func(ctx context.Context, i in) (out, error) {
		begun.Add(1)
		select {
		case <-end:
		case <-ctx.Done():
			cut.Add(1)
		}
		return out{Number: i.Number}, ctx.Err()
	})
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- c.Worker(penstock.Worker{Concurrency: tasks}, h).Run(ctx) }()
	defer func() {
		stop()
		<-done
	}()
	var ts []*penstock.Task[out]
	for i := range tasks {
		task, err := steady.Enqueue(ctx, c, in{Number: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		ts = append(ts, task)
	}
	eventually(t, 10*time.Second, "all run", func() (bool, string) { return begun.Load() == tasks, "" })
	pause(ctx, 2*time.Second) // each has its claim
	outage(t, server)
	pause(ctx, 6*time.Second) // who is not back within five seconds has lost them
	close(end)
	for _, task := range ts {
		if _, err := task.Wait(ctx); err != nil {
			t.Error(err)
		}
	}
	if begun.Load() != tasks || cut.Load() != 0 {
		t.Errorf("%d runs of %d tasks, %d of them cut", begun.Load(), tasks, cut.Load())
	}
}
