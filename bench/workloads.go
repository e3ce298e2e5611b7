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
	{name: "raw-fsync", about: "append 4 KiB and fdatasync, one after the other: the disk", run: runRawFsync},
	{name: "raw-pebble-64", about: "bare Pebble, 64 callers: put and sync, delete and sync", run: runRaw(rawKind{callers: 64, batch: 1})},
	{name: "raw-pebble-16x100", about: "bare Pebble, 16 callers with batches of 100", run: runRaw(rawKind{callers: 16, batch: 100})},
	{name: "raw-pebble-bulk", about: "bare Pebble, 4 callers put batches of 1,000", run: runRaw(rawKind{callers: 4, batch: 1000, putsOnly: true})},
}

func runRaw(k rawKind) func(context.Context, *env) (row, error) {
	return func(ctx context.Context, e *env) (row, error) { return e.baseline(ctx, k) }
}

func runRawFsync(ctx context.Context, e *env) (row, error) {
	h, err := bareFsync(ctx, e.dir, min(e.measured, 3*time.Second), 0)
	if err != nil {
		return row{}, err
	}
	r := newRow("")
	r.setLatency(h)
	r.Seconds = min(e.measured, 3*time.Second).Seconds()
	r.Rate = float64(r.Samples) / r.Seconds
	return r, nil
}
