package penstock

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

// TestLogTail: what an attempt's log keeps fits the limit, and says when lines
// are missing.
func TestLogTail(t *testing.T) {
	f := func(what string, want func(string) bool, lines ...string) {
		t.Helper()
		var l attemptLog
		for _, s := range lines {
			_, _ = l.Write([]byte(s))
		}
		got := string(l.tail())
		if len(got) > task.LogMax || !utf8.ValidString(got) || !want(got) {
			t.Errorf("%s: got %d bytes: %.60q … %.20q", what, len(got), got, got[max(0, len(got)-20):])
		}
	}
	whole := func(s string) bool { return !strings.Contains(s, logCutNote) }
	cut := func(s string) bool { return strings.HasPrefix(s, logCutNote) && strings.HasSuffix(s, "end\n") }
	line := strings.Repeat("x", 99) + "\n"
	f("few", func(s string) bool { return s == "a\nb\n" }, "a\n", "b\n")
	f("as much as fits", whole, strings.Repeat("x", task.LogMax-1)+"\n")
	f("a little more", func(s string) bool { return cut(s) && strings.HasPrefix(s[len(logCutNote):], line) }, strings.Repeat(line, 82), "end\n")
	f("much more", cut, strings.Repeat(line, 300), strings.Repeat(line, 300), "end\n")
	f("cut before, little since", cut, strings.Repeat(line, 200), "end\n")
	f("one long line", cut, strings.Repeat("ä", task.LogMax), "end\n")
	f("one long line at the end", cut, "first\n", strings.Repeat("ä", task.LogMax)+"end\n")
}
