package main

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

const (
	bulkCallers  = 4
	bulkBatch    = 1000
	bulkRateMin  = 600_000
	drainRateMin = 300_000
)

// fill has 4 callers enqueue batches of 1,000 until n tasks are on their way,
// or without end when n is 0.
func fill(ctx context.Context, sys *system, n int64, lat *histogram) *callers {
	var taken atomic.Int64
	return startCallers(ctx, bulkCallers, func(ctx context.Context) error {
		if n > 0 && taken.Add(bulkBatch) > n {
			<-ctx.Done()
			return nil
		}
		at := time.Now()
		err := enqueueMany(context.WithoutCancel(ctx), sys.client, bulkBatch)
		lat.record(time.Since(at))
		return err
	})
}

// fillAll is fill, waited for; n is a multiple of the batch.
func fillAll(ctx context.Context, sys *system, n int64) (rate float64, err error) {
	at := time.Now()
	all := fill(ctx, sys, n, new(histogram))
	err = awaitCount(ctx, n, func() (int64, error) {
		if p := all.failed.Load(); p != nil {
			return 0, *p
		}
		return sys.count(ctx, enqueued)
	})
	rate = float64(n) / time.Since(at).Seconds()
	return rate, errors.Join(err, all.close())
}

// runBulk measures enqueues alone; the latency is that of a call with 1,000.
func runBulk(ctx context.Context, e *env) (row, error) {
	raw, err := e.baseline(ctx, rawKind{callers: bulkCallers, batch: bulkBatch, putsOnly: true})
	if err != nil {
		return row{}, err
	}
	r, err := e.on(ctx, true, func(sys *system) (row, error) {
		lat := new(histogram)
		all := fill(ctx, sys, 0, lat)
		r, err := e.window(ctx, lat, sys.counting(enqueued), sys.clientUsage())
		return r, errors.Join(err, all.close())
	})
	r.setRaw(raw)
	r.judge(r.Rate >= bulkRateMin, "≥ "+thousands(bulkRateMin)+"/s")
	return r, err
}

// runDrain fills a queue and then measures how fast a worker empties it.
func runDrain(ctx context.Context, e *env) (row, error) {
	n := int64(3_000_000)
	if e.quick {
		n = 300_000
	}
	r, err := e.on(ctx, true, func(sys *system) (row, error) {
		if _, err := fillAll(ctx, sys, n); err != nil {
			return row{}, err
		}
		return drain(ctx, sys, n, 0)
	})
	r.judge(r.Rate >= drainRateMin, "≥ "+thousands(drainRateMin)+"/s")
	return r, err
}

// drain starts a worker on a queue of n tasks and measures until all of them
// are finished durably. The first head of them, if that is not 0, are timed on
// their own as well.
func drain(ctx context.Context, sys *system, n, head int64) (row, error) {
	before, err := readMark(sys.counting(finished), sys.clientUsage())
	if err != nil {
		return row{}, err
	}
	at, headRate := time.Now(), 0.0
	w := startWorker(ctx, sys.client, nil)
	if head > 0 {
		err = sys.await(ctx, finished, before.server.Tasks+head)
		headRate = float64(head) / time.Since(at).Seconds()
	}
	if err == nil {
		err = awaitCount(ctx, n, func() (int64, error) { return w.handled.Load(), nil })
	}
	if err == nil {
		err = sys.await(ctx, finished, before.server.Tasks+n)
	}
	var after mark
	if err == nil {
		after, err = readMark(sys.counting(finished), sys.clientUsage())
	}
	if err := errors.Join(err, w.close()); err != nil {
		return row{}, err
	}
	r := after.since(before)
	r.Samples = uint64(n)
	if head > 0 {
		r.addDetail("head_rate", headRate)
	}
	return r, sys.drained(ctx, before.server.Tasks+n)
}

// depth is one row about tasks that wait.
type depth struct {
	tasks      int64
	rssMax     float64       // MiB
	diskMax    float64       // MiB; 0 = none
	restartMax time.Duration // to serving
	likeDepth  int64         // drains as fast as with so many; 0 = no such floor
}

const flushWait = 10 * time.Second // after the last task, before memory and disk are read

// runWaiting fills a queue, lets it settle, reads memory and disk, restarts the
// server, and drains the queue. The rate is that of the drain.
func runWaiting(d depth) func(context.Context, *env) (row, error) {
	return func(ctx context.Context, e *env) (row, error) {
		sys, err := e.open(ctx, true)
		if err != nil {
			return row{}, err
		}
		defer func() { _ = sys.close() }()
		filled, err := fillAll(ctx, sys, d.tasks)
		if err != nil {
			return row{}, err
		}
		if err := sleep(ctx, e.settle(flushWait)); err != nil {
			return row{}, err
		}
		u, err := sys.counting(waiting)()
		if err == nil && u.Tasks != d.tasks {
			err = fmt.Errorf("%d tasks wait, want %d", u.Tasks, d.tasks)
		}
		if err != nil {
			return row{}, err
		}
		more, err := e.restart(ctx, sys)
		if err != nil {
			return row{}, err
		}
		left, err := sys.count(ctx, waiting) // the restart has tried a few
		if err != nil {
			return row{}, err
		}
		r, err := drain(ctx, sys, left, d.likeDepth)
		if err != nil {
			return row{}, err
		}
		r.RSSMB, r.DiskMB = mib(u.RSSBytes), mib(u.DiskBytes)
		for name, v := range more {
			r.addDetail(name, v)
		}
		r.addDetail("fill_rate", filled)
		e.drains[d.tasks] = r.Rate
		d.judge(e, &r)
		return r, sys.close()
	}
}

// restart stops the server in order and starts it again on the same folder.
// Serving means that an enqueue is answered and a waiting task has reached a
// handler.
func (e *env) restart(ctx context.Context, sys *system) (detail, error) {
	at := time.Now()
	if err := sys.stop(); err != nil {
		return nil, err
	}
	more := detail{"stop_ms": ms(time.Since(at))}
	at = time.Now()
	again, err := e.openAt(ctx, sys.dir, true)
	if err != nil {
		return nil, err
	}
	*sys = *again
	if err := sys.client.Ping(ctx); err != nil {
		return nil, err
	}
	more["restart_ms"] = ms(time.Since(at))
	w := startWorker(ctx, sys.client, nil)
	err = awaitCount(ctx, 1, func() (int64, error) { return w.handled.Load(), nil })
	more["first_task_ms"] = ms(time.Since(at))
	return more, errors.Join(err, w.close())
}

func (d depth) judge(e *env, r *row) {
	ok := r.RSSMB <= d.rssMax && r.Detail["first_task_ms"] <= ms(d.restartMax)
	floor := fmt.Sprintf("≤ %.0f MiB, restart ≤ %v", d.rssMax, d.restartMax)
	if d.diskMax > 0 {
		ok = ok && r.DiskMB <= d.diskMax
		floor += fmt.Sprintf(", disk ≤ %.0f MiB", d.diskMax)
	}
	if like := e.drains[d.likeDepth]; like > 0 {
		r.addDetail("head_percent", 100*r.Detail["head_rate"]/like)
		ok = ok && r.Detail["head_rate"] >= 0.9*like
		floor += ", its first million drains as 1 million"
	}
	r.judge(ok, floor)
}
