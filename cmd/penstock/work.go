package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// What a worker may be set to; the SDK has the same limits.
const (
	concurrencyMax = task.CreditMax / 2
	ttlMax         = time.Duration(task.SessionTTLMax) * time.Millisecond
)

type workFlags struct {
	queues      []string
	types       []string
	exec        string
	concurrency int
	drain       time.Duration
	grace       time.Duration
	ttl         time.Duration
	name        string
	limit       int64
	quiet       bool
}

func (a *app) workCommand() *cobra.Command {
	var f workFlags
	cmd := &cobra.Command{
		Use:     "work [flags] --exec 'PROGRAM {}' | work [flags] -- PROGRAM {}",
		GroupID: groupTasks,
		Short:   "Run a program for each task of a queue",
		Long: `Run a program for each task: any program is a worker.

The words of --exec are split first, by blanks and quotes and nothing else; then {}
is replaced by the payload, inside its word. No shell is involved, so no payload can
ever be taken for a command or for two words; put -- before {} where a payload might
begin with a dash. Without {} the payload stands on stdin only, as a payload must
that is longer than an argument may be, or holds a NUL byte. For a pipe, say so:
  --exec "sh -c 'gunzip < \"$1\" | wc -l' sh {}"

  stdin        the payload
  stdout       the result, byte for byte, at most 1 MiB
  exit 0       the task is done
  exit 75      try again later: handed back, costs no attempt; waits 1 s, 2 s, 4 s … 1 min
  other        a failed attempt, tried again as the task's backoff says; the error is
               the exit status and the end of stderr
  environment  PENSTOCK_TASK_ID, PENSTOCK_ATTEMPT (1 is the first), PENSTOCK_LEASE_TOKEN,
               PENSTOCK_FENCE (rises with every attempt), PENSTOCK_QUEUE, PENSTOCK_TYPE,
               PENSTOCK_KEY, PENSTOCK_URL

--queue takes a name, or name=weight. Only digits behind the last = are a weight, so
a name may hold an =; one that itself ends in = and digits is given with a weight:
a=3=1 is the queue "a=3". A worker takes from its queues by their weights; between
queues that live in different partitions only roughly.

A program whose task is canceled or out of time gets SIGTERM and, after --grace,
SIGKILL, and so does all that it has started. SIGTERM or Ctrl-C to the worker: it
takes no more tasks, lets running ones finish for --drain, and hands the others back
without blame; a second one does not wait. When the worker itself is killed, kill -9
included, its programs go with it, and their tasks go to another worker.

While the server is away the worker keeps on trying, and delivers what it has
finished when the server is back.

Exit status: 0 it was asked to end or has reached --limit, whatever became of the
tasks; 1 it could not go on.`,
		Example: `  penstock work --queue hash --exec 'sha256sum {}'
  penstock work --queue video=3 --queue audio=1 --concurrency 2 --exec 'convert.sh {}'
  penstock work --queue mail --type email.send -- python3 send.py`,
		RunE: func(cmd *cobra.Command, args []string) error {
			words := args
			if f.exec != "" {
				if len(args) > 0 {
					return usagef("give the program by --exec or after --, not both")
				}
				var err error
				if words, err = splitWords(f.exec); err != nil {
					return err
				}
			}
			if len(words) == 0 {
				return usagef("no program: give one, such as --exec 'sha256sum {}'")
			}
			return a.work(cmd.Context(), &f, words)
		},
	}
	f.add(cmd.Flags())
	return cmd
}

func (f *workFlags) add(fs *pflag.FlagSet) {
	fs.StringSliceVarP(&f.queues, "queue", "q", []string{"default"}, "`queue` to serve, or queue=weight; repeat it for several")
	fs.StringSliceVarP(&f.types, "type", "t", nil, "serve only tasks of this `type`; repeat it for several (default: all types)")
	fs.StringVar(&f.exec, "exec", "", "the `program` and its arguments; {} is the payload, which stands on stdin too")
	fs.IntVarP(&f.concurrency, "concurrency", "c", 0, "programs at once (default: one a CPU)")
	fs.DurationVar(&f.drain, "drain", 30*time.Second, "how long running programs may go on when the worker is asked to end; 0s hands their tasks back at once")
	fs.DurationVar(&f.grace, "grace", 5*time.Second, "time between SIGTERM and SIGKILL for a program")
	fs.DurationVar(&f.ttl, "ttl", 10*time.Second, "how long the worker may be out of touch before its tasks go to others, 1s to 10m")
	fs.StringVar(&f.name, "name", "", "name of the worker, for people (default: host and process)")
	fs.Int64Var(&f.limit, "limit", 0, "end after so many tasks; 0 is never")
	fs.BoolVar(&f.quiet, "quiet", false, "do not tell of attempts that fail")
}

func (a *app) work(ctx context.Context, f *workFlags, words []string) error {
	if _, err := exec.LookPath(words[0]); err != nil {
		return usagef("%s can't be run: %w", words[0], err)
	}
	if err := f.check(); err != nil {
		return err
	}
	queues, err := queueWeights(f.queues)
	if err != nil {
		return err
	}
	c, err := a.connect(ctx)
	if errors.Is(err, penstock.ErrUnavailable) {
		a.say("penstock: %s\n  Trying on.", a.explain(err))
		c, err = a.connect(ctx, penstock.Lazy())
	}
	if err != nil {
		return err
	}
	defer c.Close()
	g, err := startGuard()
	if err != nil {
		return err
	}
	defer g.close()
	ctx, stop := a.untilSignal(ctx)
	defer stop()
	ctx, enough := context.WithCancel(ctx)
	defer enough()
	x := &executor{a: a, f: f, p: &program{words: words, url: a.url, grace: f.grace, guard: g}, enough: enough}
	var handlers []penstock.Handler
	for _, typ := range f.types {
		handlers = append(handlers, penstock.HandleRaw(typ, x.handle))
	}
	if len(handlers) == 0 {
		handlers = append(handlers, penstock.HandleRaw(penstock.AnyType, x.handle))
	}
	drain := f.drain
	if drain <= 0 {
		drain = -1 // the SDK's word for "not at all"
	}
	w := c.Worker(penstock.Worker{
		Concurrency: f.concurrency, Queues: queues, DrainTimeout: drain, TTL: f.ttl,
		Name: f.name, Build: version, Logger: slog.New(a.notices()), Prefetch: x.prefetch(),
	}, handlers...)
	err = w.Run(ctx)
	a.say("penstock: %s done, %s failed, %s handed back", plural(x.done.Load(), "task", "tasks"),
		thousands(x.failed.Load()), thousands(x.released.Load()))
	return err
}

// check refuses flags under which nothing can run.
func (f *workFlags) check() error {
	switch {
	case f.concurrency < 0 || f.concurrency > concurrencyMax:
		return usagef("--concurrency %d: use 1 to %d", f.concurrency, concurrencyMax)
	case f.ttl < time.Second || f.ttl > ttlMax:
		return usagef("--ttl %v: use 1s to %s", f.ttl, shortLength(ttlMax))
	case f.limit < 0:
		return usagef("--limit %d: use 1 or more, or 0 to go on until it is stopped", f.limit)
	case f.drain < 0:
		return usagef("--drain %v is negative: use 0s to hand running tasks back at once", f.drain)
	case f.grace < 0:
		return usagef("--grace %v is negative: use 0s to kill at once", f.grace)
	}
	for _, t := range f.types {
		if err := task.CheckName("type", t); err != nil {
			return usagef("--%s", err.Text)
		}
	}
	if f.concurrency == 0 {
		f.concurrency = runtime.NumCPU()
	}
	return nil
}

// queueWeights reads name=weight. A name may hold "=" as well: only digits behind
// the last one are a weight.
func queueWeights(words []string) (map[string]int, error) {
	out := map[string]int{}
	for _, word := range words {
		name, weight := word, 1
		if i := strings.LastIndexByte(word, '='); i >= 0 && isDigits(word[i+1:]) {
			n, err := strconv.Atoi(word[i+1:])
			if err != nil || n < 1 || n > task.WeightMax {
				return nil, usagef("--queue %s: the weight is a whole number from 1 to %d; a queue of that name is --queue %s=1", word, task.WeightMax, word)
			}
			name, weight = word[:i], n
		}
		if err := task.CheckName("queue", name); err != nil {
			return nil, usagef("--%s", err.Text)
		}
		if _, twice := out[name]; twice {
			return nil, usagef("--queue %s is given twice", name)
		}
		out[name] = weight
	}
	return out, nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// signalsApart is how far apart two signals are that mean two: a terminal and a
// supervisor may both pass on the same one.
const signalsApart = time.Second

// untilSignal ends the context at the first SIGINT or SIGTERM, and the process
// at the second.
func (a *app) untilSignal(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancel(ctx)
	ch := make(chan os.Signal, 2)
	signal.Notify(ch, os.Interrupt, syscall.SIGTERM)
	gone := make(chan struct{})
	go func() {
		select {
		case <-ch:
		case <-gone:
			return
		}
		cancel()
		first := time.Now()
		for {
			select {
			case <-ch:
				if time.Since(first) >= signalsApart {
					a.say("penstock: second signal, not waiting any longer")
					os.Exit(exitError)
				}
			case <-gone:
				return
			}
		}
	}()
	return ctx, sync.OnceFunc(func() {
		signal.Stop(ch)
		close(gone)
		cancel()
	})
}

// executor turns attempts into runs of a program.
type executor struct {
	a                      *app
	f                      *workFlags
	p                      *program
	enough                 func()
	taken                  atomic.Int64
	done, failed, released atomic.Int64
}

// prefetch keeps a worker with a limit from taking what it will not run.
func (x *executor) prefetch() int {
	if x.f.limit > 0 {
		return -1
	}
	return 0
}

func (x *executor) handle(ctx context.Context, at *penstock.Attempt) (penstock.Content, error) {
	if x.f.limit > 0 {
		n := x.taken.Add(1)
		if n > x.f.limit {
			return penstock.Content{}, penstock.Snooze(0)
		}
		if n == x.f.limit {
			x.enough()
		}
	}
	out, err := x.p.run(ctx, attempt{
		id: at.ID().String(), queue: at.Queue(), typ: at.Type(), key: at.Key(),
		token: at.LeaseToken(), fence: at.Fence(), number: at.Number(), payload: at.Payload(),
	})
	if err == nil {
		x.done.Add(1)
		c := penstock.Content{Data: out}
		if c.Type = contentType(out); len(out) == 0 {
			c.Type = "text/plain"
		}
		return c, nil
	}
	var e *execError
	switch {
	case errors.As(err, &e) && e.retry:
		x.released.Add(1)
		err = penstock.Snooze(releaseWait(at.Releases()))
	case errors.As(err, &e) && e.permanent:
		x.failed.Add(1)
		err = penstock.Permanent(err)
	case errors.As(err, &e), errors.Is(err, penstock.ErrTimeout):
		x.failed.Add(1)
	default:
		x.released.Add(1) // canceled, lease lost or shutting down: nobody's failure
	}
	if e != nil && !x.f.quiet {
		x.a.say("penstock: task %s, attempt %d: %s", at.ID(), at.Number(), brief(e.text))
	}
	return penstock.Content{}, err
}
