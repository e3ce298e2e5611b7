package main

import (
	"context"
	"time"
)

// workload is one row of the table.
type workload struct {
	name  string
	about string
	slow  bool // left out by -quick
	run   func(ctx context.Context, e *env) (row, error)
}

// workloads in the order in which they run: baselines stand beside what is
// compared with them.
var workloads = []workload{
	{name: "machine", about: "the pure machine: enqueue, lease, complete; one goroutine, no storage", run: runMachine},
	{name: "raw-fsync", about: "append 4 KiB and fdatasync, one after the other: the disk", run: runRawFsync},
	{name: "raw-pebble-64", about: "bare Pebble, 64 callers: put and sync, delete and sync", run: runRaw(rawKind{callers: 64, batch: 1})},
	{name: "inprocess-64", about: "in process, 64 callers: enqueue, run, complete", run: runSteady(shape{callers: 64, batch: 1, rateMin: 75_000, ratioMin: 1.1})},
	{name: "raw-pebble-16x100", about: "bare Pebble, 16 callers with batches of 100", run: runRaw(rawKind{callers: 16, batch: 100})},
	{name: "inprocess-16x100", about: "in process, 16 callers with batches of 100", run: runSteady(shape{callers: 16, batch: 100, rateMin: 350_000})},
	{name: "loopback-64", about: "over loopback, 64 callers: enqueue, run, complete", run: runSteady(shape{loopback: true, callers: 64, batch: 1, rateMin: 50_000})},
	{name: "raw-pebble-256", about: "bare Pebble, 256 callers", run: runRaw(rawKind{callers: 256, batch: 1})},
	{name: "loopback-256", about: "over loopback, 256 callers, held for 30 s", run: runSteady(shape{loopback: true, callers: 256, batch: 1, rateMin: 110_000, held: 30 * time.Second})},
	{name: "loopback-drain", about: "over loopback, a worker empties a full queue", run: runDrain},
	{name: "raw-pebble-bulk", about: "bare Pebble, 4 callers put batches of 1,000", run: runRaw(rawKind{callers: bulkCallers, batch: bulkBatch, putsOnly: true})},
	{name: "loopback-bulk", about: "over loopback, 4 callers enqueue batches of 1,000", run: runBulk},
	{name: "light-200", about: "over loopback, 200 tasks a second: enqueue call to handler start", run: runLight},
	{name: "waiting-1m", about: "1 million tasks wait: memory, disk, restart, drain", run: runWaiting(depth{tasks: 1e6, rssMax: 120, diskMax: 200, restartMax: 2 * time.Second})},
	{name: "lanes", about: "a worker that serves one type beside 100,000 waiting lanes, against one lane alone", run: runLanes},
	{name: "lanes-keys", about: "100,000 keys with ten tasks each, against one lane of as many", run: runKeys},
	{name: "overdue", about: "2 million tasks that fell due while the server was down: first task, memory, drain", run: runOverdue},
	{name: "keyed", about: "over loopback, 20,000 tasks a second with idempotency keys that hold for 10 s, against keys that outlive the run", slow: true, run: runKeyed},
	{name: "soak", about: "1,000 tasks a second of every kind beside one that runs all the time: what the server holds stays the same", slow: true, run: runSoak},
	{name: "waiting-20m", about: "20 million tasks wait: memory, disk, restart, drain", slow: true, run: runWaiting(depth{tasks: 20e6, rssMax: 600, restartMax: 5 * time.Second, likeDepth: 1e6})},
}

func runRaw(k rawKind) func(context.Context, *env) (row, error) {
	return func(ctx context.Context, e *env) (row, error) { return e.baseline(ctx, k) }
}

func runRawFsync(ctx context.Context, e *env) (row, error) {
	d := min(e.measured, 3*time.Second)
	h := new(histogram)
	if err := bareFsync(ctx, e.dir, h, d, 0); err != nil {
		return row{}, err
	}
	r := newRow("")
	r.setLatency(h)
	r.Seconds = d.Seconds()
	r.Rate = float64(r.Samples) / r.Seconds
	return r, nil
}
