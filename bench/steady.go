package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// backlogMax bounds the tasks that wait in a steady state: a rate is steady
// only if both ends hold it, so callers pause while more wait.
const backlogMax = 20_000

// shape is one steady state.
type shape struct {
	loopback bool
	callers  int
	batch    int           // tasks a call; 1 = a single call
	held     time.Duration // at least so long, unless quick
	rateMin  float64       // floor
	ratioMin float64       // floor of the ratio to bare Pebble; 0 = none
}

// runSteady has callers enqueue and wait while a worker finishes the tasks
// beside them. The rate is that of tasks finished durably, the latency that of
// an enqueue call.
func runSteady(s shape) func(context.Context, *env) (row, error) {
	return func(ctx context.Context, e *env) (row, error) {
		raw, err := e.baseline(ctx, rawKind{callers: s.callers, batch: s.batch})
		if err != nil {
			return row{}, err
		}
		r, err := e.on(ctx, s.loopback, func(sys *system) (row, error) { return steadyOn(ctx, e, sys, s) })
		if err != nil {
			return row{}, err
		}
		r.setRaw(raw)
		floor := "≥ " + thousands(s.rateMin) + "/s"
		if s.ratioMin > 0 {
			floor += fmt.Sprintf(", ≥ %.1f × raw", s.ratioMin)
		}
		r.judge(r.Rate >= s.rateMin && r.RawRatio >= s.ratioMin, floor)
		return r, nil
	}
}

// on runs fn on a server with an empty folder.
func (e *env) on(ctx context.Context, loopback bool, fn func(*system) (row, error)) (row, error) {
	sys, err := e.open(ctx, loopback)
	if err != nil {
		return row{}, err
	}
	r, err := fn(sys)
	return r, errors.Join(err, sys.close())
}

func steadyOn(ctx context.Context, e *env, sys *system, s shape) (row, error) {
	w := startWorker(ctx, sys.client, nil)
	var sent atomic.Int64
	lat := new(histogram)
	// A call once begun is waited for: given up, it would be counted by the
	// server alone.
	whole := context.WithoutCancel(ctx)
	all := startCallers(ctx, s.callers, func(ctx context.Context) error {
		if sent.Load()-w.handled.Load() > backlogMax {
			return sleep(ctx, time.Millisecond)
		}
		at := time.Now()
		var err error
		if s.batch == 1 {
			_, err = workType.Enqueue(whole, sys.client, newWork())
		} else {
			err = enqueueMany(whole, sys.client, s.batch)
		}
		if err == nil {
			lat.record(time.Since(at))
			sent.Add(int64(s.batch))
		}
		return err
	})
	d := e.measured
	if !e.quick {
		d = max(d, s.held)
	}
	r, err := e.windowFor(ctx, d, lat, sys.counting(finished), sys.clientUsage())
	err = errors.Join(err, all.close())
	if err == nil {
		err = sys.drained(ctx, sent.Load())
	}
	return r, errors.Join(err, w.close())
}
