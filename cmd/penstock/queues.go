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

// queueView is a queue as -o json shows it.
type queueView struct {
	Queue       string    `json:"queue"`
	Paused      bool      `json:"paused"`
	Ready       int64     `json:"ready"`
	Scheduled   int64     `json:"scheduled"`
	Blocked     int64     `json:"blocked"`
	Running     int64     `json:"running"`
	Dead        int64     `json:"dead"`
	DeadBytes   int64     `json:"deadBytes"`
	Enqueued    int64     `json:"enqueued"`
	Succeeded   int64     `json:"succeeded"`
	Canceled    int64     `json:"canceled"`
	Expired     int64     `json:"expired"`
	OldestReady time.Time `json:"oldestReady,omitzero"`
	Workers     int       `json:"workers"`
	Unserved    []string  `json:"unserved,omitempty"`
	HistoryFrom time.Time `json:"historyFrom,omitzero"`
	MaxAttempts int32     `json:"maxAttempts"`
	Timeout     string    `json:"timeout"`
	Backoff     string    `json:"backoff"`
	Retention   string    `json:"retention"`
	History     string    `json:"history"`
	Claims      string    `json:"claims"`
	UnservedFor string    `json:"unservedFor"`
	Width       int       `json:"width"`
}

var (
	historyNames = []string{"all", "failures", "none"}
	claimsNames  = []string{"deferred", "durable"}
)

func queueViewOf(q *task.QueueInfo) queueView {
	c := q.Config
	v := queueView{
		Queue: q.Name, Paused: q.Paused, Ready: q.Ready, Scheduled: q.Scheduled, Blocked: q.Blocked, Running: q.Running,
		Dead: q.Dead, DeadBytes: q.DeadBytes, Enqueued: q.Enqueued, Succeeded: q.Succeeded, Canceled: q.Canceled,
		Expired: q.Expired, OldestReady: timeOf(q.OldestReady), Workers: q.Workers, HistoryFrom: timeOf(q.HistoryFrom),
		MaxAttempts: orDefault(c.MaxAttempts, task.DefaultMaxAttempts), Backoff: backoffText(c.Backoff),
		Timeout:     lengthText(orDefault(c.Timeout, task.DefaultTimeout)),
		Retention:   lengthText(orDefault(c.Retention, task.DefaultRetention)),
		UnservedFor: lengthText(orDefault(c.Unserved, task.DefaultUnserved)),
		Width:       max(c.Width, 1),
		History:     nameOf(historyNames, int(c.History)), Claims: nameOf(claimsNames, int(c.Claims)),
	}
	if c.Timeout == task.AttemptTimeoutNone {
		v.Timeout = "none"
	}
	for _, u := range q.Unserved {
		v.Unserved = append(v.Unserved, u.Type)
	}
	return v
}

func orDefault[T comparable](x, standard T) T {
	var zero T
	if x == zero {
		return standard
	}
	return x
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

func timeOf(t task.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

func lengthText(m task.Millis) string { return shortLength(time.Duration(m) * time.Millisecond) }

// shortLength writes 1h0m0s as 1h.
func shortLength(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func backoffText(b *task.Backoff) string {
	if b == nil {
		b = &task.Backoff{}
	}
	base, limit := lengthText(orDefault(b.Base, task.DefaultBackoffBase)), lengthText(orDefault(b.Max, task.DefaultBackoffMax))
	switch b.Kind {
	case task.BackoffExponential:
		return "exponential:" + base + ":" + limit
	case task.BackoffLinear:
		return "linear:" + base + ":" + limit
	case task.BackoffFixed:
		return "fixed:" + base
	}
	words := make([]string, len(b.List))
	for i, m := range b.List {
		words[i] = lengthText(m)
	}
	return strings.Join(words, ",")
}

func (a *app) queueListing() listing[queueView] {
	now := time.Now()
	count := func(head string, of func(queueView) int64) column[queueView] {
		return column[queueView]{head: head, right: true, cell: func(v queueView) string { return a.count(of(v)) }}
	}
	wide := func(c column[queueView]) column[queueView] { c.wide = true; return c }
	text := func(head string, of func(queueView) string) column[queueView] {
		return column[queueView]{head: head, cell: of}
	}
	return listing[queueView]{
		columns: []column[queueView]{
			text("QUEUE", func(v queueView) string { return v.Queue }),
			count("READY", func(v queueView) int64 { return v.Ready }),
			count("SCHEDULED", func(v queueView) int64 { return v.Scheduled }),
			count("RUNNING", func(v queueView) int64 { return v.Running }),
			count("DEAD", func(v queueView) int64 { return v.Dead }),
			count("SUCCEEDED", func(v queueView) int64 { return v.Succeeded }),
			{head: "OLDEST", right: true, cell: func(v queueView) string { return a.moment(v.OldestReady, now) }},
			count("WORKERS", func(v queueView) int64 { return int64(v.Workers) }),
			text("NOTE", func(v queueView) string { return v.note() }),
			wide(count("BLOCKED", func(v queueView) int64 { return v.Blocked })),
			wide(count("ENQUEUED", func(v queueView) int64 { return v.Enqueued })),
			wide(count("CANCELED", func(v queueView) int64 { return v.Canceled })),
			wide(count("EXPIRED", func(v queueView) int64 { return v.Expired })),
			wide(column[queueView]{head: "HISTORY", right: true, cell: func(v queueView) string { return a.moment(v.HistoryFrom, now) }}),
			wide(text("KEEPS", func(v queueView) string { return v.History + " " + v.Retention })),
			wide(text("TRIES", func(v queueView) string { return fmt.Sprintf("%d %s", v.MaxAttempts, v.Backoff) })),
			wide(text("TIMEOUT", func(v queueView) string { return v.Timeout })),
			wide(count("WIDTH", func(v queueView) int64 { return int64(v.Width) })),
		},
		name:   func(v queueView) string { return v.Queue },
		object: func(v queueView) any { return v },
	}
}

func (v *queueView) note() string {
	switch {
	case v.Paused:
		return "paused"
	case len(v.Unserved) > 3:
		return fmt.Sprintf("no worker serves %d types: %s …", len(v.Unserved), strings.Join(v.Unserved[:3], ", "))
	case len(v.Unserved) > 0:
		return "no worker serves " + strings.Join(v.Unserved, ", ")
	case v.Workers == 0 && v.Ready > 0:
		return "no workers"
	}
	return ""
}

// count is a number with separators on a terminal and without elsewhere.
func (a *app) count(n int64) string {
	if a.format() == "table" || a.format() == "wide" && a.stdoutTTY {
		return thousands(n)
	}
	return fmt.Sprint(n)
}

func (a *app) queuesCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "queues [NAME...]",
		Aliases: []string{"queue"},
		GroupID: groupQueue,
		Short:   "List queues with their exact counts, ages and settings",
		Long: `List queues: exact counts by state, the age of the oldest task that could run, and
what is wrong (paused, no workers, a type that no worker serves). -o wide and -o json
show the settings too. How far back finished tasks are kept stands under HISTORY.`,
		Example: `  penstock queues
  penstock queues mail -o json
  penstock queues set mail --max-attempts 5 --backoff exponential:2s:1h`,
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
	cmd.AddCommand(a.queuesSetCommand())
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
hold for tasks that say nothing else themselves.`,
		Example: `  penstock queues set mail --max-attempts 5 --backoff 1s,10s,1m,1h
  penstock queues set hot --width 16
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
	fs.Int32Var(&f.maxAttempts, "max-attempts", 0, "failures until a task is dead; 0 is the default, 10")
	fs.StringVar(&f.timeout, "timeout", "", "limit of one attempt, such as 5m, or none; 0 is the default, 1h")
	fs.StringVar(&f.backoff, "backoff", "", "waits between attempts: exponential:1s:10m, linear:1s:1m, fixed:5s or 1s,10s,1m")
	fs.DurationVar(&f.retention, "retention", 0, "how long finished tasks are kept; 0 is the default, 24h")
	fs.StringVar(&f.history, "history", "", "which finished tasks are kept: all, failures or none")
	fs.DurationVar(&f.unserved, "unserved", 0, "a task that no worker serves is dead after it; 0 is the default, 24h")
	fs.StringVar(&f.claims, "claims", "", "when a lease is written to disk: deferred (once it has lasted a second) or durable (before the task is handed out)")
	fs.IntVar(&f.width, "width", 0, "partitions that share the queue; order and limits are exact at 1")
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
