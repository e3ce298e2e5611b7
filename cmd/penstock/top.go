package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

func (a *app) topCommand() *cobra.Command {
	var every time.Duration
	var count int
	cmd := &cobra.Command{
		Use:     "top [QUEUE...]",
		GroupID: groupQueue,
		Short:   "Watch queues and workers live",
		Long: `Watch queues and workers live: counts, rates a second, the age of the oldest task
that could run. On a terminal the screen is redrawn until q is pressed; elsewhere
each look prints one line a queue, with the moment in front. Ctrl-C ends it too.`,
		Example: `  penstock top
  penstock top mail --every 5s
  penstock top --count 1 -o jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if every < 100*time.Millisecond {
				return usagef("--every %s: at least 100ms", every)
			}
			if count < 0 {
				return usagef("--count %d: use 1 or more, or 0 to go on until it is stopped", count)
			}
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			w := &watcher{c: c, queues: args}
			if a.stdoutTTY && isTerminal(a.stdin) && a.output == "" && count == 0 {
				return a.topScreen(cmd.Context(), w, every)
			}
			return a.topLines(cmd.Context(), w, every, count)
		},
	}
	cmd.Flags().DurationVar(&every, "every", time.Second, "time between two looks")
	cmd.Flags().IntVar(&count, "count", 0, "end after so many looks; 0 is never")
	return cmd
}

// watcher looks at a server again and again and makes rates of what it sees.
type watcher struct {
	c      task.Inspector
	queues []string
	before map[string]task.QueueInfo
	at     time.Time
}

// look is what one look shows.
type look struct {
	At      time.Time
	Node    task.NodeInfo
	Queues  []rated
	Err     error
	Enq, Ok float64 // sums a second
}

// rated is a queue with its rates a second since the look before.
type rated struct {
	task.QueueInfo
	Enqueue, Finish float64
}

func (w *watcher) look(ctx context.Context) look {
	out := look{At: time.Now()}
	qs, err := w.c.Queues(ctx, w.queues)
	if err == nil {
		out.Node, err = w.c.Node(ctx)
	}
	if err != nil {
		out.Err = err
		return out
	}
	span := out.At.Sub(w.at).Seconds()
	now := make(map[string]task.QueueInfo, len(qs))
	for _, q := range qs {
		r := rated{QueueInfo: q}
		if old, ok := w.before[q.Name]; ok && span > 0 {
			r.Enqueue = float64(q.Enqueued-old.Enqueued) / span
			r.Finish = float64(finished(&q)-finished(&old)) / span
		}
		out.Enq += r.Enqueue
		out.Ok += r.Finish
		out.Queues = append(out.Queues, r)
		now[q.Name] = q
	}
	w.before, w.at = now, out.At
	return out
}

func finished(q *task.QueueInfo) int64 { return q.Succeeded + q.Canceled + q.Expired }

type topView struct {
	At      time.Time `json:"at"`
	Enqueue float64   `json:"enqueuePerSecond"`
	Finish  float64   `json:"finishPerSecond"`
	queueView
}

func (a *app) topLines(ctx context.Context, w *watcher, every time.Duration, count int) error {
	ctx, stop := a.untilSignal(ctx) // so that JSON has its end
	defer stop()
	tick := time.NewTicker(every)
	defer tick.Stop()
	l := a.topListing()
	if a.output == "" {
		a.output = "tsv" // a table has an end, this has none
	}
	rows := newRows(a, l)
	for n := 0; ; {
		seen := w.look(ctx)
		if ctx.Err() != nil {
			return rows.close()
		}
		if seen.Err != nil {
			return fmt.Errorf("look at queues: %w", seen.Err)
		}
		for i := range seen.Queues {
			q := &seen.Queues[i]
			rows.add(topView{seen.At.UTC().Truncate(time.Millisecond), q.Enqueue, q.Finish, queueViewOf(&q.QueueInfo)})
		}
		if n++; n == count || rows.err != nil {
			return rows.close()
		}
		if rows.format == "table" { // one a look: it is shown whole
			if err := rows.close(); err != nil {
				return err
			}
			rows = newRows(a, l)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return rows.close()
		}
	}
}

func (a *app) topListing() listing[topView] {
	text := func(head string, of func(topView) string) column[topView] {
		return column[topView]{head: head, cell: of}
	}
	number := func(head string, of func(topView) string) column[topView] {
		return column[topView]{head: head, right: true, cell: of}
	}
	return listing[topView]{
		columns: []column[topView]{
			text("AT", func(v topView) string { return v.At.Format(time.RFC3339Nano) }),
			text("QUEUE", func(v topView) string { return v.Queue }),
			number("READY", func(v topView) string { return fmt.Sprint(v.Ready) }),
			number("SCHEDULED", func(v topView) string { return fmt.Sprint(v.Scheduled) }),
			number("RUNNING", func(v topView) string { return fmt.Sprint(v.Running) }),
			number("DEAD", func(v topView) string { return fmt.Sprint(v.Dead) }),
			number("ENQUEUE/S", func(v topView) string { return fmt.Sprintf("%.0f", v.Enqueue) }),
			number("FINISH/S", func(v topView) string { return fmt.Sprintf("%.0f", v.Finish) }),
		},
		name:   func(v topView) string { return v.Queue },
		object: func(v topView) any { return v },
	}
}

func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
