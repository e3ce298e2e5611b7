package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lightRate      = 200  // tasks a second
	lightP50Max    = 600  // µs
	lightP99Max    = 1200 // µs, or
	lightMarginMax = 600  // µs over the disk's own p99 in the same run
)

// runLight offers 200 tasks a second over loopback and measures from the
// enqueue call to the start of the handler. The disk is measured at the same
// pace before and after.
func runLight(ctx context.Context, e *env) (row, error) {
	disk := new(histogram)
	probeDisk := func() error { return bareFsync(ctx, e.dir, disk, e.measured/2, time.Second/lightRate) }
	if err := probeDisk(); err != nil {
		return row{}, err
	}
	r, err := e.on(ctx, true, func(sys *system) (row, error) { return lightOn(ctx, e, sys) })
	if err == nil {
		err = probeDisk()
	}
	if err != nil {
		return row{}, err
	}
	r.addDetail("disk_p50_us", disk.quantileUs(0.5))
	r.addDetail("disk_p99_us", disk.quantileUs(0.99))
	tail := max(lightP99Max, disk.quantileUs(0.99)+lightMarginMax)
	r.judge(r.P50 <= lightP50Max && r.P99 <= tail, fmt.Sprintf("p50 ≤ 0.6 ms, p99 ≤ %.1f ms", tail/1e3))
	return r, nil
}

func lightOn(ctx context.Context, e *env, sys *system) (row, error) {
	ages, calls := new(histogram), new(histogram)
	w := startWorker(ctx, sys.client, ages)
	var late, sent atomic.Int64
	pace, stop := context.WithCancel(ctx)
	offered := make(chan error, 1)
	go func() {
		offered <- offer(pace, &late, func() error {
			at := time.Now()
			if _, err := workType.Enqueue(ctx, sys.client, newWork()); err != nil {
				return err
			}
			calls.record(time.Since(at))
			sent.Add(1)
			return nil
		})
	}()
	r, err := e.window(ctx, ages, sys.counting(finished), sys.clientUsage())
	stop()
	err = errors.Join(err, <-offered)
	if err == nil {
		err = sys.drained(ctx, sent.Load())
	}
	r.addDetail("enqueue_p50_us", calls.quantileUs(0.5))
	r.addDetail("enqueue_p99_us", calls.quantileUs(0.99))
	r.addDetail("offered_late_us", float64(late.Load())/1e3)
	return r, errors.Join(err, w.close())
}

// offer calls step 200 times a second until ctx ends, each time in a goroutine
// of its own, so that a slow call holds up none behind it; late is by how much
// the pace was missed at worst.
func offer(ctx context.Context, late *atomic.Int64, step func() error) error {
	var wg sync.WaitGroup
	var failed atomic.Pointer[error]
	for next := time.Now(); sleep(ctx, time.Until(next)) == nil; next = next.Add(time.Second / lightRate) {
		late.Store(max(late.Load(), int64(time.Since(next))))
		wg.Go(func() {
			if err := step(); err != nil {
				failed.CompareAndSwap(nil, &err)
			}
		})
	}
	wg.Wait()
	if p := failed.Load(); p != nil {
		return *p
	}
	return nil
}
