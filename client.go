package penstock

import (
	"context"
	"io"
	"sync"

	"github.com/penstock-io/penstock/internal/task"
)

// Client enqueues tasks, waits for them, runs workers and asks about queues. It
// is safe for concurrent use; one for a program is enough, and calls of many
// goroutines share its batches. Get one with Dial, or from an in-process server
// with server.Server.Client.
type Client struct {
	broker    task.Broker
	inspector task.Inspector
	closer    io.Closer // nil in process
	remote    bool
	closed    chan struct{}
	closeOnce sync.Once
	calls     sync.Pool // of *enqueueCall
}

// NewClient makes a client of an in-process broker. It is how package server
// makes its client; a program has no use for it, for the parameters' types are
// internal.
func NewClient(b task.Broker, i task.Inspector) *Client {
	return &Client{broker: b, inspector: i, closed: make(chan struct{}), calls: sync.Pool{New: newEnqueueCall}}
}

// Close ends the connection and everything that waits on it, with
// ErrUnavailable. Stop the client's workers first: end the context of their
// Run. The client of an in-process server need not be closed.
func (c *Client) Close() error {
	var err error
	c.closeOnce.Do(func() {
		close(c.closed)
		if c.closer != nil {
			err = c.closer.Close()
		}
	})
	return err
}

// Wait waits until a task has ended, however it ended, and tells all about it;
// Info.Err says whether it went well. The error is only about the waiting:
// ErrNotFound when there is no such task, or the context's.
func (c *Client) Wait(ctx context.Context, id ID) (Info, error) {
	t, err := c.wait(ctx, id.id)
	if err != nil {
		return Info{}, err
	}
	return infoOf(t), nil
}

// wait watches the task, over lost connections too, until it ends.
func (c *Client) wait(ctx context.Context, id task.ID) (*task.Info, error) {
	pause := retryPause{}
	for {
		w := &task.Watch{ID: id}
		done := make(chan struct{})
		w.Done = func(*task.Watch) { close(done) }
		stop := c.broker.Watch(w)
		select {
		case <-done:
		case <-ctx.Done():
			stop()
			return nil, ctx.Err()
		case <-c.closed:
			stop()
			return nil, errClosed
		}
		if w.Err == nil {
			return &w.Info, nil
		}
		if w.Err.Code != task.Unavailable || !c.remote {
			return nil, w.Err
		}
		if err := pause.sleep(ctx, c.closed); err != nil {
			return nil, err
		}
	}
}

var errClosed = task.Errorf(task.Unavailable, "the client is closed")
