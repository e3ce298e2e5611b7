package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock"
)

const (
	soakFor      = time.Minute // unless -duration says otherwise
	soakBeat     = 50 * time.Millisecond
	soakPurge    = 5 * time.Second // between two purges
	soakWindow   = 2 * time.Second // of idempotency keys
	soakDelayMax = 5 * time.Second
	soakPromised = 30 * time.Minute

	// What fills up by design has to be full after the first tenth, which is not
	// counted. So history takes little, and in a soak shorter than promised less,
	// as does the memory for waiting tasks.
	soakWarmPart   = 10
	soakHistory    = 16 << 20
	soakHistoryMin = 1 << 20
	soakMemory     = 64 << 20 // the default
	soakMemoryMin  = 4 << 20

	soakGapMin  = time.Second // between two samples
	soakGapMax  = 10 * time.Second
	soakSamples = 60

	soakRSSSlack  = 6 // MiB
	soakHeapSlack = 3 // MiB
	soakOpenSlack = 6
	soakFileSlack = 12
	soakDiskSlack = 24 // MiB: two logs
	soakLiveSlack = 500
)

// soakOther is a queue that nobody serves and that is purged.
const soakOther = "bench.purged"

// soakKind is what becomes of a task.
type soakKind string

const (
	soakPlain soakKind = "plain"
	soakRetry soakKind = "retry" // fails once
	soakDies  soakKind = "dies"
	soakLong  soakKind = "long" // runs until the end of the soak
)

type soakWork struct {
	Kind soakKind `json:"kind"`
	Pad  string   `json:"pad"`
}

var soakType = penstock.Define[soakWork, struct{}]("bench.soak", penstock.Queue(queueName),
	penstock.Backoff(penstock.Steps(100*time.Millisecond)), penstock.Timeout(penstock.NoTimeout))

// soak is a load of about 1,000 tasks a second of every kind of life, beside one
// task that is at the front of its lane and runs all the time.
type soak struct {
	sys     *system
	over    chan struct{} // closed: the long task may end
	runs    atomic.Bool   // it does
	lat     histogram     // of a beat's enqueue
	figures trends

	// The load's own, until it has ended.
	keys                           int // idempotency keys made so far
	sent, existing, canceled, died int64
	deadPurged                     int64
}

// runSoak samples what the server holds while it works, and judges whether that
// stays the same.
func runSoak(ctx context.Context, e *env) (row, error) {
	d := soakFor
	if e.asked > 0 {
		d = e.asked
	}
	dir, err := e.newDir()
	if err != nil {
		return row{}, err
	}
	part := min(d.Seconds()/soakPromised.Seconds(), 1)
	set := settings{historyBytes: max(int64(part*soakHistory), soakHistoryMin), memory: max(int64(part*soakMemory), soakMemoryMin)}
	sys, err := e.openWith(ctx, dir, true, set)
	if err != nil {
		return row{}, err
	}
	s := &soak{sys: sys, over: make(chan struct{}), figures: trends{
		{name: "rss_mb", slack: soakRSSSlack}, {name: "heap_mb", slack: soakHeapSlack},
		{name: "open_files", slack: soakOpenSlack}, {name: "data_files", slack: soakFileSlack},
		{name: "disk_mb", slack: soakDiskSlack}, {name: "live_tasks", slack: soakLiveSlack},
	}}
	r, err := s.run(ctx, d)
	r.addDetail("history_mb", mib(set.historyBytes))
	return r, errors.Join(err, sys.close())
}

func (s *soak) run(ctx context.Context, d time.Duration) (row, error) {
	worker := s.startWorker(ctx)
	first, err := soakType.Enqueue(ctx, s.sys.client, soakWork{Kind: soakLong})
	if err == nil {
		err = awaitCount(ctx, 1, func() (int64, error) {
			if s.runs.Load() {
				return 1, nil
			}
			return 0, nil
		})
	}
	if err != nil {
		return row{}, errors.Join(err, worker.close())
	}
	s.sent = 1
	loadCtx, stop := context.WithCancel(ctx)
	loaded := make(chan error, 1)
	go func() { loaded <- s.load(loadCtx) }()
	r, err := s.watch(ctx, d)
	stop()
	err = errors.Join(err, <-loaded)
	if err == nil {
		err = s.stillRuns(ctx, first.ID())
	}
	close(s.over)
	if err == nil {
		err = s.settle(ctx)
	}
	return r, errors.Join(err, worker.close())
}

// startWorker runs the tasks.
func (s *soak) startWorker(ctx context.Context) *worker {
	ctx, stop := context.WithCancel(ctx)
	w := &worker{stop: stop, ended: make(chan error, 1)}
	handler := soakType.Handle(func(ctx context.Context, in soakWork) (struct{}, error) {
		w.handled.Add(1)
		switch {
		case in.Kind == soakLong:
			s.runs.Store(true)
			select {
			case <-s.over:
			case <-ctx.Done():
			}
		case in.Kind == soakRetry && penstock.Current(ctx).Failures() == 0:
			return struct{}{}, errors.New("fails once")
		case in.Kind == soakDies:
			return struct{}{}, penstock.Permanent(errors.New("fails for good"))
		}
		return struct{}{}, nil
	})
	quiet := penstock.Worker{Logger: slog.New(slog.DiscardHandler)} // failures are part of it
	go func() { w.ended <- s.sys.client.Worker(quiet, handler).Run(ctx) }()
	return w
}

// load keeps the beat until ctx ends.
func (s *soak) load(ctx context.Context) error {
	whole := context.WithoutCancel(ctx)
	beats := 0
	for next := time.Now(); sleep(ctx, time.Until(next)) == nil; next = next.Add(soakBeat) {
		if err := s.beat(whole); err != nil {
			return err
		}
		if beats++; beats%int(soakPurge/soakBeat) == 0 {
			if err := s.purge(whole); err != nil {
				return err
			}
		}
	}
	return nil
}

// beat enqueues fifty tasks and cancels four of them.
func (s *soak) beat(ctx context.Context) error {
	var raws []penstock.Raw
	add := func(n int, kind soakKind, opts ...penstock.Option) {
		for range n {
			raws = append(raws, soakRaw(kind, opts...))
		}
	}
	add(2, soakPlain, penstock.In(soakDelayMax)) // the first four are canceled
	add(2, soakPlain)
	add(27, soakPlain)
	for range 6 {
		add(1, soakPlain, penstock.In(rand.N(soakDelayMax)))
	}
	add(3, soakRetry)
	if rand.IntN(4) == 0 {
		add(1, soakDies)
		s.died++
	}
	for range 8 {
		s.keys++
		add(1, soakPlain, penstock.Idempotency("key-"+strconv.Itoa(s.keys), soakWindow))
	}
	raws = append(raws, raws[len(raws)-1]) // known by its key
	add(2, soakPlain, penstock.Queue(soakOther))
	at := time.Now()
	got, err := s.sys.client.EnqueueMany(ctx, raws)
	if err != nil {
		return err
	}
	s.lat.record(time.Since(at))
	for _, g := range got {
		if g.Task.Existing() {
			s.existing++
		}
	}
	s.sent += int64(len(raws) - 2)
	ids := make([]penstock.ID, 4)
	for i := range ids {
		ids[i] = got[i].Task.ID()
	}
	for _, err := range s.sys.client.Change(ctx, penstock.VerbCancel, ids) {
		switch {
		case err == nil:
			s.canceled++
		case !errors.Is(err, penstock.ErrConflict) && !errors.Is(err, penstock.ErrNotFound): // it has run
			return err
		}
	}
	return nil
}

// soakRaw is a task whose payload is a hundred bytes.
func soakRaw(kind soakKind, opts ...penstock.Option) penstock.Raw {
	n := payloadBytes - len(`{"kind":"","pad":""}`) - len(kind)
	at := cutAt(n)
	b, err := json.Marshal(soakWork{Kind: kind, Pad: noiseText[at : at+n]})
	if err != nil {
		panic(err) // two strings
	}
	typed := []penstock.Option{penstock.Queue(queueName), penstock.Backoff(penstock.Steps(100 * time.Millisecond)), penstock.Timeout(penstock.NoTimeout)}
	return penstock.Raw{Type: soakType.Type(), Payload: b, Options: append(typed, opts...)}
}

// purge empties the other queue, and takes the dead letters.
func (s *soak) purge(ctx context.Context) error {
	if _, err := s.sys.client.Purge(ctx, soakOther, penstock.Ready); err != nil {
		return err
	}
	n, err := s.sys.client.Purge(ctx, queueName, penstock.Dead)
	s.deadPurged += n
	return err
}

// watch samples the server for d.
func (s *soak) watch(ctx context.Context, d time.Duration) (row, error) {
	if err := sleep(ctx, d/soakWarmPart); err != nil {
		return row{}, err
	}
	s.lat.reset()
	probe := s.sys.countingBy(s.sys.host.settled, finished)
	before, err := readMark(probe, s.sys.clientUsage())
	if err != nil {
		return row{}, err
	}
	gap := min(max(d/soakSamples, soakGapMin), soakGapMax)
	end := before.at.Add(d - d/soakWarmPart)
	last := before
	for last.at.Before(end) {
		if err := sleep(ctx, gap); err != nil {
			return row{}, err
		}
		if last, err = readMark(probe, s.sys.clientUsage()); err != nil {
			return row{}, err
		}
		live, err := s.sys.count(ctx, waiting)
		if err != nil {
			return row{}, err
		}
		u := &last.server
		for i, v := range []float64{mib(u.RSSBytes), mib(u.HeapBytes), float64(u.Open), float64(u.Files), mib(u.DiskBytes), float64(live)} {
			s.figures[i].samples = append(s.figures[i].samples, v) // in the order of figures
		}
		fmt.Fprintf(os.Stderr, "bench: soak %v: RSS %.1f MiB, heap %.1f MiB, %d files open, %d files of %.1f MiB in the folder, %d tasks live\n",
			last.at.Sub(before.at).Round(time.Second), mib(u.RSSBytes), mib(u.HeapBytes), u.Open, u.Files, mib(u.DiskBytes), live)
	}
	r := last.since(before)
	r.setLatency(&s.lat)
	r.addDetail("server_core_percent", 100*(last.server.CPU-before.server.CPU).Seconds()/last.at.Sub(before.at).Seconds())
	s.figures.tell(&r)
	return r, nil
}

// stillRuns holds that the long task is in its first attempt.
func (s *soak) stillRuns(ctx context.Context, id penstock.ID) error {
	in, err := s.sys.client.Get(ctx, id)
	if err != nil {
		return err
	}
	if n := len(in.Attempts); in.State != penstock.Running || n != 1 {
		return fmt.Errorf("the long task is %v in attempt %d, want running in its first", in.State, n)
	}
	return nil
}

// settle waits until all that were sent have come to the end that is due to them.
func (s *soak) settle(ctx context.Context) error {
	err := awaitCount(ctx, 0, func() (int64, error) {
		n, err := s.sys.count(ctx, waiting)
		return -n, err
	})
	if err == nil {
		err = s.purge(ctx)
	}
	if err != nil {
		return err
	}
	done, err := s.sys.count(ctx, finished)
	want := s.sent - s.existing - s.canceled - s.died
	if err == nil && (done != want || s.deadPurged != s.died) {
		err = fmt.Errorf("%d tasks sent, %d of them known, %d canceled: %d finished, want %d; %d of %d dead letters purged",
			s.sent, s.existing, s.canceled, done, want, s.deadPurged, s.died)
	}
	return err
}
