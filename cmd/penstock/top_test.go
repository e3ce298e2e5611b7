package main

import (
	"strings"
	"testing"

	tea "charm.land/bubbletea/v2"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// TestTopScreen drives the screen without a terminal.
func TestTopScreen(t *testing.T) {
	f := brokertest.NewFake(brokertest.Options{})
	defer f.Close()
	enqueue := func(n int) {
		t.Helper()
		b := &task.EnqueueBatch{Queue: "mail", Specs: make([]task.Spec, n), Results: make([]task.Enqueued, n)}
		for i := range b.Specs {
			b.Specs[i] = task.Spec{Type: "send", Payload: []byte("{}"), Priority: 5}
		}
		if err := task.EnqueueWait(t.Context(), f, b); err != nil {
			t.Fatal(err)
		}
	}
	m := &topModel{a: &app{url: "http://there:7070"}, ctx: t.Context(), w: &watcher{c: f}, every: 1}
	see := func(want ...string) {
		t.Helper()
		got := m.View().Content
		for _, w := range want {
			if !strings.Contains(got, w) {
				t.Errorf("the screen does not show %q:\n%s", w, got)
			}
		}
	}
	enqueue(1200)
	m.Update(tea.WindowSizeMsg{Width: 120, Height: 40})
	if _, next := m.Update(m.Init()()); next == nil {
		t.Error("no look follows the first")
	}
	see("http://there:7070", "mail", "1,200", "q ends")
	enqueue(800)
	m.Update(m.lookNow())
	see("2,000", "enqueued/s")
	m.Update(look{Err: task.Errorf(task.Unavailable, "the server is away")})
	see("2,000", "the server is away", "no answer")
	m.Update(tea.WindowSizeMsg{Width: 80, Height: 40})
	see("FINISH/S OLDEST")
	m.Update(tea.WindowSizeMsg{Width: 40, Height: 4})
	for _, line := range strings.Split(m.View().Content, "\n") {
		if n := len([]rune(line)); n > 60 {
			t.Errorf("a line of %d letters on a screen of 40: %q", n, line)
		}
	}
	if n := strings.Count(m.View().Content, "\n"); n > 3 {
		t.Errorf("%d lines on a screen of 4", n+1)
	}
	if _, cmd := m.Update(tea.KeyPressMsg{Code: 'q', Text: "q"}); cmd == nil {
		t.Error("q does not end it")
	} else if _, quits := cmd().(tea.QuitMsg); !quits {
		t.Error("q does not end it")
	}
}

func TestWidths(t *testing.T) {
	f := func(in string, width int, want string) {
		t.Helper()
		if got := cell(in, width); got != want {
			t.Errorf("cell(%q, %d) = %q, want %q", in, width, got, want)
		}
	}
	f("mail", 6, "mail  ")
	f("mailbox", 4, "mai…")
	f("日本語", 8, "日本語  ")
	f("日本語", 5, "日本…")
	f("日本語", 4, "日… ")
	f("e\u0301t", 3, "e\u0301t ")
	f("mail", 1, "…")
	f("mail", 0, "")
	f("a\x1b[31m\u009b\u202eb", 9, "a [31m  b")
}

func TestTableIsStraight(t *testing.T) {
	var out strings.Builder
	a := &app{stdout: &out, output: "table"}
	l := listing[string]{columns: []column[string]{{head: "A", cell: func(s string) string { return s }}, {head: "B", cell: func(string) string { return "x" }}}}
	r := newRows(a, l)
	r.add("日本")
	r.add("ab")
	if err := r.close(); err != nil || out.String() != "A     B\n日本  x\nab    x\n" {
		t.Errorf("got %q, %v", out.String(), err)
	}
}
