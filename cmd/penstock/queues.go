package main

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

func (a *app) queuesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "queues [NAME...]",
		Aliases: []string{"queue"},
		GroupID: groupQueue,
		Short:   "List queues with their exact counts, ages and settings",
		Long: `List queues: exact counts by state, the age of the oldest task that could run, and
what is wrong (paused, no workers, a type that no worker serves). -o wide and -o json
show the settings too, defaults included. How far back finished tasks are kept stands under HISTORY.`,
		Example: `  penstock queues
  penstock queues mail -o json
  penstock queues set mail --max-attempts 5 --backoff exponential:2s:1h
  penstock queues delete mail`,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			qs, err := c.Queues(cmd.Context(), args)
			if err != nil {
				return fmt.Errorf("list queues: %w", err)
			}
			rows := newRows(a, a.queueListing())
			for i := range qs {
				rows.add(queueViewOf(&qs[i]))
			}
			if len(qs) == 0 && a.stdoutTTY {
				a.say("no queues: one comes into being with its first task")
			}
			return rows.close()
		},
	}
	cmd.AddCommand(a.queuesSetCommand(), a.queuesDeleteCommand())
	return cmd
}

type queueFlags struct {
	maxAttempts int32
	timeout     string
	backoff     string
	retention   time.Duration
	history     string
	unserved    time.Duration
	claims      string
	width       int
}

func (a *app) queuesSetCommand() *cobra.Command {
	var f queueFlags
	cmd := &cobra.Command{
		Use:   "set [flags] NAME",
		Short: "Change settings of a queue, and make it if it is new",
		Long: `Change settings of a queue, and make it if it is new. What is not named stays. They
hold for tasks that say nothing else themselves. A width above 1 asks for a server with
as many --partitions.`,
		Example: `  penstock queues set mail --max-attempts 5 --backoff 1s,10s,1m,1h
  penstock queues set hot --width 4
  penstock queues set logs --history none`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := task.CheckName("queue", args[0]); err != nil {
				return usagef("%s", err.Text)
			}
			patch, err := f.patch(cmd.Flags())
			if err != nil {
				return err
			}
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			q, err := c.SetQueue(cmd.Context(), args[0], patch)
			if err != nil {
				return fmt.Errorf("set queue %s: %w", args[0], err)
			}
			if a.output == "" {
				a.say("queue %s is set", args[0])
				return nil
			}
			return printOne(a, a.queueListing(), queueViewOf(&q))
		},
	}
	fs := cmd.Flags()
	fs.Int32Var(&f.maxAttempts, "max-attempts", 0, "failures until a task is dead; 0 is the default, 10; 2147483647 is without limit")
	fs.StringVar(&f.timeout, "timeout", "", "`duration` that one attempt may take, such as 5m, or none; 0 is the default, 1h")
	fs.StringVar(&f.backoff, "backoff", "", "`waits` between attempts: exponential:1s:10m (what a new queue has), linear:1s:1m, fixed:5s or 1s,10s,1m")
	fs.DurationVar(&f.retention, "retention", 0, "how long finished tasks are kept; 0 is the default, 24h")
	fs.StringVar(&f.history, "history", "", "which finished tasks are kept: all (what a new queue has), failures or none")
	fs.DurationVar(&f.unserved, "unserved", 0, "a task that no worker serves is dead after it; 0 is the default, 24h")
	fs.StringVar(&f.claims, "claims", "", "when a lease is written to disk: deferred (once it has lasted a second; what a new queue has) or durable (before the task is handed out)")
	fs.IntVar(&f.width, "width", 0, "partitions that share the queue; order and limits are exact at 1; 0 is the default, 1")
	return cmd
}

func (f *queueFlags) patch(fs *pflag.FlagSet) (task.QueuePatch, error) {
	var p task.QueuePatch
	any := false
	for _, name := range []string{"max-attempts", "timeout", "backoff", "retention", "history", "unserved", "claims", "width"} {
		any = any || fs.Changed(name)
	}
	if !any {
		return p, usagef("nothing to set: give at least one setting, see --help")
	}
	if f.maxAttempts < 0 {
		return p, usagef("--max-attempts %d is negative: use 1 or more, or 0 for the default", f.maxAttempts)
	}
	if f.width < 0 || f.width > math.MaxInt16 {
		return p, usagef("--width %d: use 1 to %d, or 0 for the default", f.width, math.MaxInt16)
	}
	for _, name := range []string{"retention", "unserved"} {
		if d, _ := fs.GetDuration(name); d < 0 {
			return p, usagef("--%s %v is negative", name, d)
		} else if d.Milliseconds() > int64(task.DelayMax) {
			return p, usagef("--%s %v is over the limit of ten years", name, d)
		}
	}
	if fs.Changed("max-attempts") {
		p.MaxAttempts = &f.maxAttempts
	}
	if fs.Changed("timeout") {
		d, err := parseTimeout(f.timeout)
		if err != nil {
			return p, usagef("--timeout: %w", err)
		}
		m := task.Millis(d.Milliseconds())
		if d == penstock.NoTimeout {
			m = task.AttemptTimeoutNone
		}
		p.Timeout = &m
	}
	if fs.Changed("backoff") {
		b, err := queueBackoff(f.backoff)
		if err != nil {
			return p, usagef("--%w", err)
		}
		p.Backoff = b
	}
	whole := task.Policy{Backoff: p.Backoff}
	if p.Timeout != nil {
		whole.Timeout = *p.Timeout
	}
	if err := whole.Check(); err != nil {
		return p, usagef("%s", err.Text)
	}
	millis := func(name string, d time.Duration, to **task.Millis) {
		if fs.Changed(name) {
			m := task.Millis(d.Milliseconds())
			*to = &m
		}
	}
	millis("retention", f.retention, &p.Retention)
	millis("unserved", f.unserved, &p.Unserved)
	if fs.Changed("width") {
		p.Width = &f.width
	}
	if err := pick(fs, "history", f.history, historyNames, &p.History); err != nil {
		return p, err
	}
	return p, pick(fs, "claims", f.claims, claimsNames, &p.Claims)
}

func pick[T ~uint8](fs *pflag.FlagSet, flag, value string, names []string, to **T) error {
	if !fs.Changed(flag) {
		return nil
	}
	for i, n := range names {
		if n == value {
			x := T(i)
			*to = &x
			return nil
		}
	}
	return usagef("--%s %s: use one of %s", flag, value, strings.Join(names, ", "))
}

func (a *app) pauseCommand(paused bool) *cobra.Command {
	name, short, long := "pause", "Hand out no more tasks of queues; running ones go on",
		"Hand out no more tasks of queues. Running tasks go on, and enqueueing too."
	if !paused {
		name, short, long = "resume", "Hand out the tasks of paused queues again", "Hand out the tasks of paused queues again."
	}
	return &cobra.Command{
		Use:     name + " QUEUE...",
		GroupID: groupQueue,
		Short:   short,
		Long:    long,
		Example: "  penstock " + name + " mail",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			for _, q := range args {
				if err := a.mustExist(cmd.Context(), c, q); err != nil {
					return err
				}
				if _, err := c.SetQueue(cmd.Context(), q, task.QueuePatch{Paused: &paused}); err != nil {
					return fmt.Errorf("%s queue %s: %w", name, q, err)
				}
				a.say("queue %s is %sd", q, name)
			}
			return nil
		},
	}
}

// mustExist keeps a misspelt name from making a queue.
func (a *app) mustExist(ctx context.Context, c task.Inspector, queue string) error {
	qs, err := c.Queues(ctx, []string{queue})
	if err != nil {
		return fmt.Errorf("find queue %s: %w", queue, err)
	}
	if len(qs) == 0 {
		return fmt.Errorf("no queue is called %q: penstock queues lists them", queue)
	}
	return nil
}
