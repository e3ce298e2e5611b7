package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"
)

func (a *app) topScreen(ctx context.Context, w *watcher, every time.Duration) error {
	a.hushed.Store(true) // the screen tells when the server is away
	m := &topModel{a: a, ctx: ctx, w: w, every: every}
	_, err := tea.NewProgram(m, tea.WithContext(ctx), tea.WithInput(a.stdin), tea.WithOutput(a.stdout)).Run()
	if errors.Is(err, tea.ErrInterrupted) { // SIGINT from elsewhere ends it as Ctrl-C does
		return nil
	}
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
		keep := m.height - 1
		lines = append(lines[:keep], m.a.style.dim(fit(fmt.Sprintf("… %d more lines: penstock top QUEUE shows one queue; q ends", len(lines)-keep), max(m.width, 1))))
	}
	v := tea.NewView(strings.Join(lines, "\n"))
	v.AltScreen = true
	return v
}

// topWidths are the columns of the queues: those of a terminal of 80 letters, or
// of a wider one.
type topWidths struct{ queue, count, small, rate, oldest, worker int }

func widthsFor(width int) topWidths {
	if width > 0 && width < 110 {
		return topWidths{queue: 16, count: 9, small: 7, rate: 9, oldest: 6, worker: 30}
	}
	return topWidths{queue: 24, count: 12, small: 8, rate: 10, oldest: 7, worker: 40}
}

func (t topWidths) line(queue, ready, scheduled, running, dead, enqueue, finish, oldest, note string) string {
	return strings.TrimRight(fmt.Sprintf("%s %*s %*s %*s %*s %*s %*s %*s  %s", cell(queue, t.queue), t.count, ready, max(t.count-3, 9), scheduled,
		t.small, running, t.small, dead, t.rate, enqueue, t.rate, finish, t.oldest, oldest, note), " ")
}

func (a *app) topScreenLines(l look, width int) []string {
	node, t := l.Node, widthsFor(width)
	state, paint := "serving", a.style.green
	switch {
	case l.Err != nil:
		state, paint = "no answer", a.style.red
	case l.At.IsZero():
		state, paint = "asking", a.style.dim
	case !node.Ready:
		state, paint = "not ready: "+oneLine(node.NotReady), a.style.red
	}
	out := []string{fmt.Sprintf("%s %s  %s  %s on disk", a.style.bold("penstock"), a.url, paint(state), bytesText(node.StorageBytes))}
	if l.Err != nil {
		out = append(out, a.style.red(brief(a.explain(l.Err))))
	} else {
		out = append(out, fmt.Sprintf("%s enqueued/s  %s finished/s  %s", a.style.bold(thousands(int64(l.Enq))), a.style.bold(thousands(int64(l.Ok))),
			plural(int64(len(node.Workers)), "worker", "workers")))
	}
	out = append(out, "", a.style.dim(t.line("QUEUE", "READY", "SCHEDULED", "RUNNING", "DEAD", "ENQUEUE/S", "FINISH/S", "OLDEST", "NOTE")))
	for i := range l.Queues {
		q := &l.Queues[i]
		v := queueViewOf(&q.QueueInfo)
		oldest := ""
		if !v.OldestReadyAt.IsZero() {
			oldest = ago(l.At.Sub(v.OldestReadyAt))
		}
		out = append(out, t.line(v.Queue, thousands(v.Ready), thousands(v.Scheduled), thousands(v.Running), thousands(v.Dead),
			thousands(int64(q.Enqueue)), thousands(int64(q.Finish)), oldest, v.note()))
	}
	if len(node.Workers) > 0 {
		out = append(out, "", a.style.dim(fmt.Sprintf("%s %9s %11s %7s  %s", cell("WORKER", t.worker), "RUNNING", "CONCURRENCY", "SEEN", "QUEUES")))
	}
	for _, w := range node.Workers {
		out = append(out, fmt.Sprintf("%s %9d %11d %7s  %s", cell(w.Worker, t.worker), w.Running, w.Concurrency,
			ago(l.At.Sub(timeOf(w.LastBeat))), strings.Join(w.Queues, ",")))
	}
	out = append(out, "", a.style.dim("q ends"))
	if width > 0 {
		for i, line := range out {
			if !strings.Contains(line, "\x1b") { // the screen cuts the others
				out[i] = fit(line, width)
			}
		}
	}
	return out
}
