package e2e

import (
	"context"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
)

// TestStoppedServer stops the server's process for longer than a session's TTL, as
// a paused virtual machine is, while tasks run. That is no fault of theirs: each
// runs once and counts no crash.
func TestStoppedServer(t *testing.T) {
	server, url := newServer(t, t.TempDir())
	server.start()
	c := dial(t, url)
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	const n = 5
	var began atomic.Int32
	running := make(chan struct{}, 10*n)
	finish := make(chan struct{})
	slow := penstock.Define[in, out]("slow", penstock.Queue("stop"))
	w := c.Worker(penstock.Worker{Concurrency: n, TTL: 4 * time.Second}, slow.Handle(func(_ context.Context, i in) (out, error) {
		began.Add(1)
		running <- struct{}{}
		<-finish
		return out{Number: i.Number}, nil
	}))
	working, stop := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- w.Run(working) }()
	defer func() { stop(); <-ended }()

	var ids []penstock.ID
	for i := range n {
		task, err := slow.Enqueue(ctx, c, in{Number: int64(i)})
		if err != nil {
			t.Fatal(err)
		}
		ids = append(ids, task.ID())
	}
	for range n {
		<-running
	}
	pause(ctx, 1500*time.Millisecond) // their claims are written
	server.stopFor(ctx, 8*time.Second)
	pause(ctx, 2*time.Second) // whoever is to blame is blamed within a second
	close(finish)
	for _, id := range ids {
		info, err := c.Wait(ctx, id)
		if err != nil {
			t.Fatal(err)
		}
		if info.State != penstock.Succeeded || info.Crashes != 0 || len(info.Attempts) > 1 {
			t.Errorf("task %s is %v with %d crashes and %d attempts", id, info.State, info.Crashes, len(info.Attempts))
		}
	}
	if got := began.Load(); got != n {
		t.Errorf("%d tasks began %d times", n, got)
	}
}

// stopFor stops the process for a while and lets it go on.
func (p *process) stopFor(ctx context.Context, d time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	_ = p.cmd.Process.Signal(syscall.SIGSTOP)
	pause(ctx, d)
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
}
