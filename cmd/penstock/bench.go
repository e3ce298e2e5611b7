package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// benchStampBytes at the head of a payload are when its enqueue began.
const benchStampBytes = 8

// benchSamplesMax is how many latencies are kept; beyond it every nth is.
const benchSamplesMax = 1 << 20

type benchFlags struct {
	queue    string
	duration time.Duration
	callers  int
	batch    int
	size     int
	workers  int
}

type benchView struct {
	Workload   string  `json:"workload"`
	Rate       float64 `json:"rate"`
	P50        int64   `json:"p50_us"`
	P99        int64   `json:"p99_us"`
	StartP50   int64   `json:"start_p50_us"`
	StartP99   int64   `json:"start_p99_us"`
	Samples    int64   `json:"samples"`
	Seconds    float64 `json:"seconds"`
	Callers    int     `json:"callers"`
	Batch      int     `json:"batch"`
	PayloadLen int     `json:"payload_bytes"`
}

func (a *app) benchCommand() *cobra.Command {
	var f benchFlags
	cmd := &cobra.Command{
		Use:     "bench",
		GroupID: groupMore,
		Short:   "Put a load on a server and tell what it bears",
		Long: `Put a load on a server and tell what it bears: callers enqueue tasks and wait until
they are on disk, a worker beside them runs and finishes each. It uses a queue of its
own; the finished tasks stay in the history until its retention is over.

RATE is tasks a second, enqueued, run and finished, all on disk. P50 and P99 are how
long an enqueue takes, START is from its call to the start of the handler.`,
		Example: `  penstock bench
  penstock bench --callers 256 --duration 30s
  penstock bench --callers 4 --batch 1000 -o json`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.callers < 1 || f.batch < 1 || f.size < benchStampBytes || f.duration <= 0 || f.workers < 1 {
				return usagef("--callers, --batch, --workers and --duration are above 0, and --size is at least %d", benchStampBytes)
			}
			if f.size > task.PayloadMax || f.batch > task.BatchMax {
				return usagef("--size is at most %d bytes and --batch at most %d tasks", task.PayloadMax, task.BatchMax)
			}
			v, err := a.bench(cmd.Context(), &f)
			if err != nil {
				return err
			}
			return printOne(a, benchListing, v)
		},
	}
	fs := cmd.Flags()
	fs.StringVarP(&f.queue, "queue", "q", "", "queue for the load (default: penstock-bench and the process)")
	fs.DurationVar(&f.duration, "duration", 5*time.Second, "length of the load")
	fs.IntVar(&f.callers, "callers", 64, "callers that enqueue and wait")
	fs.IntVar(&f.batch, "batch", 1, "tasks in one call")
	fs.IntVar(&f.size, "size", 100, "bytes of a payload")
	fs.IntVar(&f.workers, "workers", 16, "handlers at once")
	return cmd
}

var benchListing = listing[benchView]{
	columns: []column[benchView]{
		{head: "WORKLOAD", cell: func(v benchView) string { return v.Workload }},
		{head: "RATE", right: true, cell: func(v benchView) string { return fmt.Sprintf("%.0f", v.Rate) }},
		{head: "P50", right: true, cell: func(v benchView) string { return micros(v.P50) }},
		{head: "P99", right: true, cell: func(v benchView) string { return micros(v.P99) }},
		{head: "START P50", right: true, cell: func(v benchView) string { return micros(v.StartP50) }},
		{head: "START P99", right: true, cell: func(v benchView) string { return micros(v.StartP99) }},
		{head: "TASKS", right: true, cell: func(v benchView) string { return fmt.Sprint(v.Samples) }},
	},
	name:   func(v benchView) string { return v.Workload },
	object: func(v benchView) any { return v },
}

func micros(us int64) string { return (time.Duration(us) * time.Microsecond).String() }

func (a *app) bench(ctx context.Context, f *benchFlags) (benchView, error) {
	if f.queue == "" {
		f.queue = fmt.Sprintf("penstock-bench-%d", os.Getpid())
	}
	c, err := a.connect(ctx)
	if err != nil {
		return benchView{}, err
	}
	defer c.Close()
	var done atomic.Int64
	var enqueue, start latencies
	begin := time.Now()
	handle := func(_ context.Context, at *penstock.Attempt) (penstock.Content, error) {
		if p := at.Payload(); len(p) >= benchStampBytes {
			start.add(time.Since(begin) - time.Duration(binary.BigEndian.Uint64(p)))
		}
		done.Add(1)
		return penstock.Content{}, nil
	}
	workCtx, endWork := context.WithCancel(ctx)
	defer endWork()
	worker := c.Worker(penstock.Worker{Concurrency: f.workers, Queues: map[string]int{f.queue: 1}, Logger: slog.New(a.notices())},
		penstock.HandleRaw(penstock.AnyType, handle))
	worked := make(chan error, 1)
	go func() { worked <- worker.Run(workCtx) }()

	sent, err := benchCallers(ctx, c, f, begin, &enqueue)
	if err != nil {
		return benchView{}, err
	}
	if err := benchDrained(ctx, &done, sent, worked); err != nil {
		return benchView{}, err
	}
	seconds := time.Since(begin).Seconds()
	endWork()
	if err := <-worked; err != nil {
		return benchView{}, err
	}
	v := benchView{Workload: "enqueue-run-complete", Rate: float64(sent) / seconds, Samples: sent, Seconds: seconds,
		Callers: f.callers, Batch: f.batch, PayloadLen: f.size}
	v.P50, v.P99 = enqueue.percentiles()
	v.StartP50, v.StartP99 = start.percentiles()
	return v, nil
}

// benchCallers enqueues until the time is over and returns how many tasks.
func benchCallers(ctx context.Context, c *penstock.Client, f *benchFlags, begin time.Time, took *latencies) (int64, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var sent atomic.Int64
	var all sync.WaitGroup
	for range f.callers {
		all.Go(func() {
			raws := make([]penstock.Raw, f.batch)
			for i := range raws {
				payload := bytes.Repeat([]byte{'x'}, f.size)
				raws[i] = penstock.Raw{Type: "bench", Payload: payload, ContentType: "application/octet-stream"}
			}
			for time.Since(begin) < f.duration && ctx.Err() == nil {
				at := time.Since(begin)
				for i := range raws {
					binary.BigEndian.PutUint64(raws[i].Payload, uint64(at))
				}
				var err error
				if f.batch == 1 {
					_, err = c.Enqueue(ctx, raws[0], penstock.Queue(f.queue))
				} else {
					_, err = c.EnqueueMany(ctx, raws, penstock.Queue(f.queue))
				}
				if err != nil {
					cancel(err)
					return
				}
				took.add(time.Since(begin) - at)
				sent.Add(int64(f.batch))
			}
		})
	}
	all.Wait()
	if err := context.Cause(ctx); err != nil {
		return 0, fmt.Errorf("enqueue: %w", err)
	}
	return sent.Load(), nil
}

// benchDrained waits until every task has been run.
func benchDrained(ctx context.Context, done *atomic.Int64, want int64, worked <-chan error) error {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for done.Load() < want {
		select {
		case <-tick.C:
		case err := <-worked:
			return errors.Join(errors.New("the worker ended early"), err)
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// latencies keeps samples of many goroutines.
type latencies struct {
	n   atomic.Int64
	mu  sync.Mutex
	all []time.Duration // guarded by mu
}

func (l *latencies) add(d time.Duration) {
	if n := l.n.Add(1); n > benchSamplesMax && n%16 != 0 {
		return
	}
	l.mu.Lock()
	l.all = append(l.all, d)
	l.mu.Unlock()
}

func (l *latencies) percentiles() (p50, p99 int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.all) == 0 {
		return 0, 0
	}
	slices.Sort(l.all)
	at := func(q float64) int64 { return l.all[min(int(q*float64(len(l.all))), len(l.all)-1)].Microseconds() }
	return at(0.5), at(0.99)
}
