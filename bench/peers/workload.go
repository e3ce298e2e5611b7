package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The same workloads as Penstock's own: 100-byte JSON payloads that the handler
// decodes, 64 callers one task at a time, 4 callers in thousands, 200 a second.

const (
	callers      = 64
	bulkCallers  = 4
	bulkBatch    = 1000
	loneCallers  = 128 // fill a queue that has no call for many tasks
	lightEvery   = 5 * time.Millisecond
	payloadBytes = 100
	backlogMax   = 5000 // callers pause while more wait: a rate is steady only if both ends hold it
)

// result is one line of the table. Rates are tasks a second, times in ms.
type result struct {
	Peer       string  `json:"peer"`
	Durable    bool    `json:"durable"`
	Durability string  `json:"durability"`
	Tuning     string  `json:"tuning,omitempty"`
	Steady     float64 `json:"steady"`
	Drain      float64 `json:"drain"`
	Bulk       float64 `json:"bulk"`
	BulkLone   bool    `json:"bulk_lone,omitempty"` // no call for many: 128 callers × 1
	LightP50   float64 `json:"light_p50_ms"`
	LightP99   float64 `json:"light_p99_ms"`
	Skipped    string  `json:"skipped,omitempty"`
}

type payload struct {
	Sent int64  `json:"sent"` // nanoseconds since the program began
	Pad  string `json:"pad"`
}

var began = time.Now()

func newPayload() []byte {
	p := payload{Sent: int64(time.Since(began))}
	b, _ := json.Marshal(p) // a struct of an int and a string
	pad := make([]byte, payloadBytes-len(b))
	for i := range pad {
		pad[i] = byte('a' + rand.IntN(26))
	}
	p.Pad = string(pad)
	b, _ = json.Marshal(p)
	return b
}

// counter is the handler: it counts, and tells how old a task is at its start.
type counter struct {
	handled  atomic.Int64
	enqueued atomic.Int64
	mu       sync.Mutex
	ages     []time.Duration // guarded by mu; kept while light is set
	light    atomic.Bool
}

func (c *counter) handle(b []byte) {
	at := time.Since(began)
	var p payload
	if json.Unmarshal(b, &p) != nil {
		return // not counted: the run then ends in an error
	}
	c.handled.Add(1)
	if c.light.Load() {
		c.mu.Lock()
		c.ages = append(c.ages, at-time.Duration(p.Sent))
		c.mu.Unlock()
	}
}

func measurePeer(ctx context.Context, p peer, dir string, t timing) (result, error) {
	r := result{Peer: p.name, Durable: p.durable, Durability: p.durability, Tuning: p.tuning}
	dir, err := os.MkdirTemp(dir, "penstock-peer-*")
	if err != nil {
		return r, err
	}
	defer os.RemoveAll(dir)
	s, err := p.start(ctx, dir)
	if err != nil {
		return r, err
	}
	defer s.close()
	c := new(counter)
	err = withWorker(ctx, s, c, func(ctx context.Context) error {
		if err := light(ctx, s, c, t, &r); err != nil {
			return fmt.Errorf("light load: %w", err)
		}
		if err := steady(ctx, s, c, t, &r); err != nil {
			return fmt.Errorf("steady state: %w", err)
		}
		return waitFor(ctx, c, c.enqueued.Load(), startMax)
	})
	if err != nil {
		return r, err
	}
	if err := fill(ctx, s, c, t, &r); err != nil {
		return r, fmt.Errorf("fill: %w", err)
	}
	if err := drain(ctx, s, c, t, &r); err != nil {
		return r, fmt.Errorf("drain: %w", err)
	}
	return r, nil
}

// withWorker runs fn beside a worker.
func withWorker(ctx context.Context, s session, c *counter, fn func(context.Context) error) error {
	work, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- s.work(work, c.handle) }()
	err := fn(ctx)
	stop()
	return errors.Join(err, <-ended)
}

// light offers 200 tasks a second, each from a goroutine of its own so that a
// slow one delays no other.
func light(ctx context.Context, s session, c *counter, t timing, r *result) error {
	var wg sync.WaitGroup
	var failed errOnce
	defer c.light.Store(false)
	send := func(d time.Duration) {
		end := time.Now().Add(d)
		for next := time.Now(); next.Before(end) && ctx.Err() == nil; next = next.Add(lightEvery) {
			time.Sleep(time.Until(next))
			wg.Go(func() {
				if failed.set(s.enqueue(ctx, newPayload())) {
					c.enqueued.Add(1)
				}
			})
		}
		wg.Wait()
	}
	send(t.warm)
	if err := errors.Join(failed.get(), waitFor(ctx, c, c.enqueued.Load(), startMax)); err != nil {
		return err
	}
	c.light.Store(true)
	send(t.window)
	if err := errors.Join(failed.get(), waitFor(ctx, c, c.enqueued.Load(), startMax)); err != nil {
		return err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	slices.Sort(c.ages)
	r.LightP50, r.LightP99 = quantileMs(c.ages, 0.5), quantileMs(c.ages, 0.99)
	return nil
}

func quantileMs(sorted []time.Duration, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[int(q*float64(len(sorted)-1))]) / 1e6
}

// steady has 64 callers enqueue one by one while the worker finishes them, and
// takes the slower of both rates.
func steady(ctx context.Context, s session, c *counter, t timing, r *result) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var wg sync.WaitGroup
	var failed errOnce
	for range callers {
		wg.Go(func() {
			for ctx.Err() == nil {
				if c.enqueued.Load()-c.handled.Load() > backlogMax {
					sleep(ctx, time.Millisecond)
					continue
				}
				if !failed.set(s.enqueue(context.WithoutCancel(ctx), newPayload())) {
					stop()
					return
				}
				c.enqueued.Add(1)
			}
		})
	}
	sleep(ctx, t.warm)
	at, enqueued, handled := time.Now(), c.enqueued.Load(), c.handled.Load()
	sleep(ctx, t.window)
	n := min(c.enqueued.Load()-enqueued, c.handled.Load()-handled)
	r.Steady = float64(n) / time.Since(at).Seconds()
	stop()
	wg.Wait()
	return failed.get()
}

// fill enqueues as quickly as the peer can for one window, with no worker.
func fill(ctx context.Context, s session, c *counter, t timing, r *result) error {
	n, batch := bulkCallers, bulkBatch
	if errors.Is(s.enqueueMany(ctx, nil), errNoBulk) {
		n, batch, r.BulkLone = loneCallers, 1, true
	}
	window, stop := context.WithTimeout(ctx, t.window)
	defer stop()
	var wg sync.WaitGroup
	var failed errOnce
	at, enqueued := time.Now(), c.enqueued.Load()
	for range n {
		wg.Go(func() {
			for window.Err() == nil {
				payloads := make([][]byte, batch)
				for i := range payloads {
					payloads[i] = newPayload()
				}
				var err error
				if r.BulkLone {
					err = s.enqueue(ctx, payloads[0])
				} else {
					err = s.enqueueMany(ctx, payloads)
				}
				if !failed.set(err) {
					stop()
					return
				}
				c.enqueued.Add(int64(batch))
			}
		})
	}
	wg.Wait()
	r.Bulk = float64(c.enqueued.Load()-enqueued) / time.Since(at).Seconds()
	return failed.get()
}

// drain works on the full queue until it is empty, or for three windows.
func drain(ctx context.Context, s session, c *counter, t timing, r *result) error {
	from := c.handled.Load()
	at := time.Now()
	return withWorker(ctx, s, c, func(ctx context.Context) error {
		err := waitFor(ctx, c, c.enqueued.Load(), 3*t.window)
		r.Drain = float64(c.handled.Load()-from) / time.Since(at).Seconds()
		if errors.Is(err, errSlow) && c.handled.Load() > from {
			return nil
		}
		return err
	})
}

var errSlow = errors.New("tasks are still waiting")

// waitFor waits until n tasks were handled.
func waitFor(ctx context.Context, c *counter, n int64, most time.Duration) error {
	end := time.Now().Add(most)
	for c.handled.Load() < n {
		if time.Now().After(end) {
			return fmt.Errorf("%w: %d of %d handled after %v", errSlow, c.handled.Load(), n, most)
		}
		sleep(ctx, time.Millisecond)
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// errOnce keeps the first error of many goroutines.
type errOnce struct{ err atomic.Pointer[error] }

// set notes err and says whether there was none.
func (e *errOnce) set(err error) bool {
	if err != nil {
		e.err.CompareAndSwap(nil, &err)
	}
	return err == nil
}

func (e *errOnce) get() error {
	if p := e.err.Load(); p != nil {
		return *p
	}
	return nil
}
