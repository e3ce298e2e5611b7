package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
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
each look prints one line a queue, with the moment in front.`,
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
	tick := time.NewTicker(every)
	defer tick.Stop()
	l := a.topListing()
	if a.output == "" {
		a.output = "tsv" // a table has an end, this has none
	}
	rows := newRows(a, l)
	for n := 0; ; {
		seen := w.look(ctx)
		if seen.Err != nil {
			return fmt.Errorf("look at queues: %w", seen.Err)
		}
		for i := range seen.Queues {
			q := &seen.Queues[i]
			rows.add(topView{seen.At.UTC().Truncate(time.Millisecond), q.Enqueue, q.Finish, queueViewOf(&q.QueueInfo)})
		}
		if n++; n == count {
			return rows.close()
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
	return listing[topView]{
		columns: []column[topView]{
			text("AT", func(v topView) string { return v.At.Format(time.RFC3339Nano) }),
			text("QUEUE", func(v topView) string { return v.Queue }),
			text("READY", func(v topView) string { return fmt.Sprint(v.Ready) }),
			text("SCHEDULED", func(v topView) string { return fmt.Sprint(v.Scheduled) }),
			text("RUNNING", func(v topView) string { return fmt.Sprint(v.Running) }),
			text("DEAD", func(v topView) string { return fmt.Sprint(v.Dead) }),
			text("ENQUEUE/S", func(v topView) string { return fmt.Sprintf("%.0f", v.Enqueue) }),
			text("FINISH/S", func(v topView) string { return fmt.Sprintf("%.0f", v.Finish) }),
		},
		name:   func(v topView) string { return v.Queue },
		object: func(v topView) any { return v },
	}
}

func (a *app) topScreen(ctx context.Context, w *watcher, every time.Duration) error {
	m := &topModel{a: a, ctx: ctx, w: w, every: every}
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(a.stdin), tea.WithOutput(a.stdout)).Run()
	return err
}

// topModel is the screen: each look asks for the next one.
type topModel struct {
	a             *app
	ctx           context.Context
	w             *watcher
	every         time.Duration
	width, height int
	last          look
}

type tickMsg struct{}

// Init implements tea.Model.
func (m *topModel) Init() tea.Cmd { return m.lookNow }

func (m *topModel) lookNow() tea.Msg {
	ctx, cancel := context.WithTimeout(m.ctx, 5*time.Second)
	defer cancel()
	return m.w.look(ctx)
}

// Update implements tea.Model.
func (m *topModel) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	switch msg := msg.(type) {
	case tea.KeyPressMsg:
		switch msg.String() {
		case "q", "esc", "ctrl+c":
			return m, tea.Quit
		}
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case tickMsg:
		return m, m.lookNow
	case look:
		if msg.Err != nil {
			m.last.Err = msg.Err // the last good numbers stay
		} else {
			m.last = msg
		}
		return m, tea.Tick(m.every, func(time.Time) tea.Msg { return tickMsg{} })
	}
	return m, nil
}

// View implements tea.Model.
func (m *topModel) View() tea.View {
	lines := m.a.topScreenLines(m.last, m.width)
	if m.height > 0 && len(lines) > m.height {
		lines = append(lines[:m.height-1], m.a.style.dim("…"))
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

func (a *app) topScreenLines(l look, width int) []string {
	node := l.Node
	state := a.style.green("serving")
	if !node.Ready {
		state = a.style.red("not ready: " + node.NotReady)
	}
	if l.Err != nil {
		state = a.style.red(oneLine(a.explain(l.Err)))
	}
	out := []string{
		fmt.Sprintf("%s %s  %s  %s on disk", a.style.bold("penstock"), a.url, state, bytesText(node.StorageBytes)),
		fmt.Sprintf("%s enqueued/s  %s finished/s  %s", a.style.bold(thousands(int64(l.Enq))), a.style.bold(thousands(int64(l.Ok))),
			plural(int64(len(node.Workers)), "worker", "workers")),
		"",
		a.style.dim(fmt.Sprintf("%-24s %12s %10s %9s %8s %10s %10s %7s  %s", "QUEUE", "READY", "SCHEDULED", "RUNNING", "DEAD", "ENQUEUE/S", "FINISH/S", "OLDEST", "NOTE")),
	}
	for i := range l.Queues {
		q := &l.Queues[i]
		v := queueViewOf(&q.QueueInfo)
		oldest := ""
		if !v.OldestReadyAt.IsZero() {
			oldest = ago(l.At.Sub(v.OldestReadyAt))
		}
		out = append(out, fmt.Sprintf("%-24s %12s %10s %9s %8s %10s %10s %7s  %s", fit(v.Queue, 24), thousands(v.Ready), thousands(v.Scheduled),
			thousands(v.Running), thousands(v.Dead), thousands(int64(q.Enqueue)), thousands(int64(q.Finish)), oldest, v.note()))
	}
	if len(node.Workers) > 0 {
		out = append(out, "", a.style.dim(fmt.Sprintf("%-40s %9s %11s %7s  %s", "WORKER", "RUNNING", "CONCURRENCY", "SEEN", "QUEUES")))
	}
	for _, w := range node.Workers {
		out = append(out, fmt.Sprintf("%-40s %9d %11d %7s  %s", fit(w.Worker, 40), w.Running, w.Concurrency,
			ago(l.At.Sub(timeOf(w.LastBeat))), strings.Join(w.Queues, ",")))
	}
	out = append(out, "", a.style.dim("q ends"))
	if width > 0 {
		for i, line := range out {
			if !strings.Contains(line, "\x1b") {
				out[i] = fit(line, width)
			}
		}
	}
	return out
}

// fit cuts a text that is too wide for its place.
func fit(s string, width int) string {
	r := []rune(brief(s))
	if len(r) > width {
		return string(r[:max(width-1, 0)]) + "…"
	}
	return string(r)
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
