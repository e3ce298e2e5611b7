package main

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock"
)

// The work: a typed JSON payload of 100 bytes, a handler that decodes it and
// does nothing.

const (
	queueName    = "bench"
	payloadBytes = 100
	padBytes     = payloadBytes - len(`{"sent":1000000000000,"pad":""}`)
	sentOffset   = 1e12 // keeps the number 13 digits long for two hours
)

// work is the payload.
type work struct {
	Sent int64  `json:"sent"` // nanoseconds since the program began, and sentOffset
	Pad  string `json:"pad"`
}

var (
	began     = time.Now()
	noiseText = string(noise)
	workType  = penstock.Define[work, struct{}]("bench.work", penstock.Queue(queueName))
)

func newWork() work {
	at := cutAt(padBytes)
	return work{Sent: int64(time.Since(began)) + sentOffset, Pad: noiseText[at : at+padBytes]}
}

// age is how long ago the task was made; this process must have made it.
func (w work) age() time.Duration { return time.Since(began) - time.Duration(w.Sent-sentOffset) }

// worker runs the tasks of a system beside a workload.
type worker struct {
	handled atomic.Int64
	ages    *histogram // age at the start of the handler; nil = not wanted
	stop    context.CancelFunc
	ended   chan error
}

// startWorker starts a worker with the default settings of the SDK.
func startWorker(ctx context.Context, c *penstock.Client, ages *histogram) *worker {
	ctx, stop := context.WithCancel(ctx)
	w := &worker{ages: ages, stop: stop, ended: make(chan error, 1)}
	handler := workType.Handle(func(_ context.Context, in work) (struct{}, error) {
		if w.ages != nil {
			w.ages.record(in.age())
		}
		w.handled.Add(1)
		return struct{}{}, nil
	})
	go func() { w.ended <- c.Work(ctx, handler) }()
	return w
}

// close stops the worker and waits until all it did is durable.
func (w *worker) close() error {
	w.stop()
	return <-w.ended
}

// callers are goroutines that do the same until they are told to stop, or one
// of them fails.
type callers struct {
	stop   context.CancelFunc
	wg     sync.WaitGroup
	failed atomic.Pointer[error]
}

func startCallers(ctx context.Context, n int, step func(ctx context.Context) error) *callers {
	ctx, stop := context.WithCancel(ctx)
	c := &callers{stop: stop}
	for range n {
		c.wg.Go(func() {
			for ctx.Err() == nil {
				if err := step(ctx); err != nil {
					if ctx.Err() == nil {
						c.failed.CompareAndSwap(nil, &err)
					}
					stop()
				}
			}
		})
	}
	return c
}

// close stops the callers, waits for them, and returns the first error.
func (c *callers) close() error {
	c.stop()
	c.wg.Wait()
	if p := c.failed.Load(); p != nil {
		return *p
	}
	return nil
}

// enqueueMany enqueues n tasks in one call.
func enqueueMany(ctx context.Context, c *penstock.Client, n int) error {
	ins := make([]work, n)
	for i := range ins {
		ins[i] = newWork()
	}
	_, err := workType.EnqueueMany(ctx, c, ins)
	return err
}
