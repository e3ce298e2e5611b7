package penstock

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	defaultDrain    = 30 * time.Second
	defaultPrefetch = 4000
	concurrencyMax  = task.CreditMax / 2
	prefetchMax     = task.CreditMax / 2
	ttlMin          = time.Second
)

// Worker is a worker's settings; its zero value is a good worker. Client.Worker
// makes one that can run.
type Worker struct {
	// Concurrency is how many handlers run at once, at most 5,000; 0 is 8 for
	// each CPU that Go uses.
	Concurrency int
	// Queues are the queues to serve and their weights (0 counts as 1); nil is
	// the queues of the handlers' options, with equal weights.
	Queues map[string]int
	// DrainTimeout is how long handlers may go on after the context of Run has
	// ended, before theirs ends with ErrShutdown; 0 is 30 s, negative not at all.
	DrainTimeout time.Duration
	// Middleware wraps every attempt, the first outermost.
	Middleware []Middleware
	// Logger hears of what goes wrong, and what handlers log; nil is
	// slog.Default().
	Logger *slog.Logger
	// TTL is how long the worker may be out of touch before its tasks go to
	// others, from 1 s to 10 min; 0 is 10 s. Handlers' contexts end with
	// ErrLeaseLost a second earlier. An outage of the server of up to four fifths
	// of it, or of half of one below 10 s, costs no task a second run.
	TTL time.Duration
	// Prefetch is the most tasks that wait in the worker beside those that run,
	// at most 5,000; 0 is 4,000, negative none. So many wait only while handlers
	// are fast enough to get through them in the twinkling of an eye; slow ones
	// keep next to nothing from other workers.
	Prefetch int
	// Name is shown to people; "" is program, host and process number.
	Name string
	// Build is shown to people, such as a commit; it may be empty.
	Build string

	client   *Client
	handlers []Handler
}

// Worker is a worker that runs the handlers' tasks with the settings of w.
func (c *Client) Worker(w Worker, handlers ...Handler) *Worker {
	w.client, w.handlers = c, slices.Clone(handlers)
	return &w
}

// Work runs a worker with default settings until ctx ends: c.Worker(Worker{},
// handlers...).Run(ctx).
func (c *Client) Work(ctx context.Context, handlers ...Handler) error {
	return c.Worker(Worker{}, handlers...).Run(ctx)
}

// Run takes tasks and runs them until ctx ends. Then it takes no more, hands
// back those that have not started, without blame, waits up to DrainTimeout for
// the handlers, ends the context of those still there with ErrShutdown and
// hands their tasks back without blame, and returns once every outcome is
// durable: nil if all is clean. While the server can't be reached Run tries on;
// outcomes are kept and delivered when it is back. Other errors come at once:
// wrong settings, handlers that clash, a refusal.
func (w *Worker) Run(ctx context.Context) error {
	e, err := w.engine(ctx)
	if err != nil {
		return err
	}
	e.start()
	select {
	case <-ctx.Done():
	case <-e.fatal:
	}
	return e.drain()
}

// engine checks the settings and makes what one Run needs.
func (w *Worker) engine(ctx context.Context) (*engine, error) {
	if w.client == nil {
		return nil, errors.New("run worker: make it with Client.Worker")
	}
	cfg, err := w.resolve()
	if err != nil {
		return nil, fmt.Errorf("run worker: %w", err)
	}
	e := newEngine(w.client, cfg, context.WithoutCancel(ctx))
	queues := map[string]int{}
	for _, hd := range w.handlers {
		if hd == nil {
			return nil, errors.New("run worker: a handler is nil")
		}
		h := hd.handler()
		if h.err != nil {
			return nil, fmt.Errorf("run worker: %w", h.err)
		}
		if e.handlers[h.typ] != nil {
			return nil, fmt.Errorf("run worker: two handlers for task type %q", h.typ)
		}
		e.handlers[h.typ] = h
		queues[h.queue] = 1
	}
	if len(e.handlers) == 0 {
		return nil, errors.New("run worker: it has no handlers")
	}
	if len(cfg.Queues) > 0 {
		queues = cfg.Queues
	}
	e.opts, err = sessionOptions(cfg, e.handlers, queues, w.client.remote)
	if err != nil {
		return nil, fmt.Errorf("run worker: %w", err)
	}
	return e, nil
}

// resolve fills in the defaults and tells every fault at once.
func (w *Worker) resolve() (Worker, error) {
	cfg := *w
	var errs []error
	if cfg.Concurrency < 0 || cfg.Concurrency > concurrencyMax {
		errs = append(errs, task.Errorf(task.Invalid, "concurrency of %d: use 1 to %d, or 0 for the default", cfg.Concurrency, concurrencyMax))
	}
	if cfg.Prefetch > prefetchMax {
		errs = append(errs, task.Errorf(task.Invalid, "prefetch of %d: the most is %d", cfg.Prefetch, prefetchMax))
	}
	if cfg.TTL != 0 && (cfg.TTL < ttlMin || cfg.TTL > fromMillis(task.SessionTTLMax)) {
		errs = append(errs, task.Errorf(task.Invalid, "worker TTL of %v: use 1 s to 10 min", cfg.TTL))
	}
	if slices.ContainsFunc(cfg.Middleware, func(m Middleware) bool { return m == nil }) {
		errs = append(errs, task.Errorf(task.Invalid, "a middleware is nil"))
	}
	if cfg.Concurrency == 0 {
		cfg.Concurrency = 8 * runtime.GOMAXPROCS(0)
	}
	if cfg.DrainTimeout == 0 {
		cfg.DrainTimeout = defaultDrain
	}
	if cfg.TTL == 0 {
		cfg.TTL = fromMillis(task.DefaultSessionTTL)
	}
	if cfg.Prefetch == 0 {
		cfg.Prefetch = defaultPrefetch
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Name == "" {
		host, _ := os.Hostname()
		cfg.Name = fmt.Sprintf("%s@%s/%d", programName(), host, os.Getpid())
	}
	return cfg, errors.Join(errs...)
}

func programName() string { return filepath.Base(os.Args[0]) }

func sessionOptions(cfg Worker, handlers map[string]*handler, queues map[string]int, remote bool) (task.SessionOptions, error) {
	o := task.SessionOptions{
		ID: newSessionID(), Concurrency: cfg.Concurrency, TTL: millis(cfg.TTL),
		Worker: cfg.Name, Build: cfg.Build, Remote: remote,
	}
	for q, weight := range queues {
		if e := task.CheckName("queue", q); e != nil {
			return o, e
		}
		if weight < 0 {
			return o, task.Errorf(task.Invalid, "queue %q has weight %d: use 1 or more", q, weight)
		}
		o.Queues = append(o.Queues, task.QueueWeight{Queue: q, Weight: weight})
	}
	slices.SortFunc(o.Queues, func(a, b task.QueueWeight) int { return cmpString(a.Queue, b.Queue) })
	if handlers[AnyType] == nil {
		for typ := range handlers {
			o.Types = append(o.Types, typ)
		}
		slices.Sort(o.Types)
	}
	if len(o.Types) > task.SessionTypesMax || len(o.Queues) > task.SessionQueuesMax {
		return o, task.Errorf(task.Invalid, "%d types in %d queues, a worker serves at most %d in %d",
			len(o.Types), len(o.Queues), task.SessionTypesMax, task.SessionQueuesMax)
	}
	return o, nil
}

func cmpString(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}

func newSessionID() string {
	var b [16]byte
	rand.Read(b[:])
	return hex.EncodeToString(b[:])
}
