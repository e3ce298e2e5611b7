package main

import (
	"context"
	"fmt"
	"maps"
	"math"
	"os"
	"slices"
	"time"
)

// env is what every workload needs: where to write, how long to measure, and
// the baselines measured so far.
type env struct {
	dir        string
	quick      bool
	warm       time.Duration // before a window: Pebble starts with small memtables, a connection with small frames
	measured   time.Duration
	asked      time.Duration // by -duration; 0 = nothing
	cpuProfile string
	raw        map[rawKind]row
	drains     map[int64]float64 // drain rate by depth of the queue
	current    string            // workload, for the names of profiles
}

// rawKind names a baseline.
type rawKind struct {
	callers, batch int
	putsOnly       bool
}

func newEnv(o options) (*env, error) {
	dir, err := os.MkdirTemp(o.dir, "penstock-bench-*")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the data (-dir): %w", err)
	}
	e := &env{
		dir: dir, quick: o.quick, cpuProfile: o.cpuProfile,
		warm: 3 * time.Second, measured: 10 * time.Second,
		raw: map[rawKind]row{}, drains: map[int64]float64{},
	}
	if o.quick {
		e.warm, e.measured = 500*time.Millisecond, 1500*time.Millisecond
	}
	if o.duration > 0 {
		e.measured, e.asked = o.duration, o.duration
	}
	return e, nil
}

// settle is how long to wait for what is only done in idle time.
func (e *env) settle(d time.Duration) time.Duration {
	if e.quick {
		return d / 2
	}
	return d
}

// profiles names the CPU profiles of the current workload, of this process and
// of the server's; "" = none.
func (e *env) profiles() (here, server string) {
	if e.cpuProfile == "" {
		return "", ""
	}
	here = e.cpuProfile + "." + e.current
	return here, here + ".server"
}

func (e *env) close() { _ = os.RemoveAll(e.dir) }

// baseline measures a kind of raw work, once a run.
func (e *env) baseline(ctx context.Context, k rawKind) (row, error) {
	if r, ok := e.raw[k]; ok {
		return r, nil
	}
	measure := rawSteady
	if k.putsOnly {
		measure = rawBulk
	}
	r, err := measure(ctx, e, k.callers, k.batch)
	if err != nil {
		return row{}, fmt.Errorf("measure bare Pebble: %w", err)
	}
	e.raw[k] = r
	return r, nil
}

// probe reads what a process has used so far.
type probe func() (usage, error)

// window lets the work that runs beside it warm up, measures it for a while,
// and makes a row of the difference. client may be nil: one process then does
// all of it.
func (e *env) window(ctx context.Context, lat *histogram, server, client probe) (row, error) {
	return e.windowFor(ctx, e.measured, lat, server, client)
}

func (e *env) windowFor(ctx context.Context, d time.Duration, lat *histogram, server, client probe) (row, error) {
	if err := sleep(ctx, e.warm); err != nil {
		return row{}, err
	}
	lat.reset()
	before, err := readMark(server, client)
	if err != nil {
		return row{}, err
	}
	if err := sleep(ctx, d); err != nil {
		return row{}, err
	}
	after, err := readMark(server, client)
	if err != nil {
		return row{}, err
	}
	r := after.since(before)
	r.setLatency(lat)
	return r, nil
}

// mark is a moment: what both processes had used when.
type mark struct {
	at             time.Time
	server, client usage
}

func readMark(server, client probe) (mark, error) {
	m := mark{}
	var err error
	if m.server, err = server(); err != nil {
		return m, fmt.Errorf("read the server's counters: %w", err)
	}
	if client != nil {
		if m.client, err = client(); err != nil {
			return m, err
		}
	}
	m.at = time.Now()
	return m, nil
}

// since makes a row of what happened between two marks.
func (m mark) since(b mark) row {
	r := newRow("")
	r.Seconds = m.at.Sub(b.at).Seconds()
	r.RSSMB = mib(m.server.RSSBytes)
	r.DiskMB = mib(m.server.DiskBytes)
	tasks := float64(m.server.Tasks - b.server.Tasks)
	if tasks <= 0 {
		return r
	}
	r.Rate = tasks / r.Seconds
	r.ServerCPU = float64((m.server.CPU - b.server.CPU).Microseconds()) / tasks
	r.ClientCPU = float64((m.client.CPU - b.client.CPU).Microseconds()) / tasks
	r.ServerAllocs = float64(m.server.Mallocs-b.server.Mallocs) / tasks
	r.ClientAllocs = float64(m.client.Mallocs-b.client.Mallocs) / tasks
	if m.server.Fsyncs >= 0 && b.server.Fsyncs >= 0 {
		r.FsyncsPer1k = 1000 * float64(m.server.Fsyncs-b.server.Fsyncs) / tasks
	}
	if commits := m.server.Commits - b.server.Commits; commits > 0 {
		r.Detail = detail{
			"tasks_per_commit": round(tasks / float64(commits)),
			"bytes_per_task":   round(float64(m.server.Written-b.server.Written) / tasks),
			"stalled_ms":       ms(m.server.Stalled - b.server.Stalled),
		}
	}
	return r
}

func ms(d time.Duration) float64 { return round(float64(d) / 1e6) }

func mib(bytes int64) float64 { return float64(bytes) / (1 << 20) }

// sleep waits for d or for the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func sortedKeys(m map[string]float64) []string { return slices.Sorted(maps.Keys(m)) }

func round(v float64) float64 { return math.Round(v*10) / 10 }
