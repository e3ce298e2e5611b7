package penstock

import (
	"bytes"
	"context"
	"log/slog"
	"sync"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

const (
	logBufferMax  = 2 * task.LogMax
	logCutNote    = "… earlier lines are left out\n"
	progressEvery = 100 * time.Millisecond // progress is sent no more often than this
)

// Log is a logger whose lines are kept with the attempt and also go to the
// worker's Logger with the task's ID, type and attempt. Of more than 8 KiB the
// last lines are kept, after one that says so. Outside a handler it is
// slog.Default().
func Log(ctx context.Context) *slog.Logger {
	a := Current(ctx)
	if a == nil {
		return slog.Default()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.log == nil {
		a.log = newAttemptLog(a)
	}
	return a.log.logger
}

// attemptLog keeps the tail of what an attempt has logged.
type attemptLog struct {
	logger *slog.Logger
	mu     sync.Mutex
	buf    []byte
	cut    bool // earlier lines are gone
}

func newAttemptLog(a *Attempt) *attemptLog {
	l := &attemptLog{}
	kept := slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})
	onward := a.e.log.Handler().WithAttrs([]slog.Attr{
		slog.String("task", a.ID().String()), slog.String("type", a.d.Type), slog.Int("attempt", a.Number()),
	})
	l.logger = slog.New(teeHandler{kept, onward})
	return l
}

// Write is one line from the text handler.
func (l *attemptLog) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.buf = append(l.buf, line...)
	if len(l.buf) > logBufferMax {
		l.buf, l.cut = append(l.buf[:0], lastLines(l.buf, task.LogMax)...), true
	}
	return len(line), nil
}

// tail is what is kept: all of it, or the last lines with a note before them.
func (l *attemptLog) tail() []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.cut && len(l.buf) <= task.LogMax {
		return l.buf
	}
	return append([]byte(logCutNote), lastLines(l.buf, task.LogMax-len(logCutNote))...)
}

// lastLines is the whole lines at the end of b that fit into n bytes; of a last
// line that does not, its end.
func lastLines(b []byte, n int) []byte {
	if len(b) <= n {
		return b
	}
	b = b[len(b)-n:]
	if i := bytes.IndexByte(b, '\n'); i >= 0 && i+1 < len(b) {
		return b[i+1:]
	}
	for len(b) > 0 && !utf8.RuneStart(b[0]) {
		b = b[1:]
	}
	return b
}

// logTail is the log to send with the outcome; nil = nothing was logged.
func (a *Attempt) logTail() []byte {
	a.mu.Lock()
	l := a.log
	a.mu.Unlock()
	if l == nil {
		return nil
	}
	return l.tail()
}

// teeHandler writes to two handlers.
type teeHandler struct{ kept, onward slog.Handler }

func (t teeHandler) Enabled(ctx context.Context, l slog.Level) bool {
	return t.kept.Enabled(ctx, l) || t.onward.Enabled(ctx, l)
}

func (t teeHandler) Handle(ctx context.Context, r slog.Record) error {
	err := t.kept.Handle(ctx, r)
	if t.onward.Enabled(ctx, r.Level) {
		if e := t.onward.Handle(ctx, r.Clone()); e != nil {
			err = e
		}
	}
	return err
}

func (t teeHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return teeHandler{t.kept.WithAttrs(as), t.onward.WithAttrs(as)}
}

func (t teeHandler) WithGroup(name string) slog.Handler {
	return teeHandler{t.kept.WithGroup(name), t.onward.WithGroup(name)}
}

// Progress says how far the handler is, for those who watch: done of total, and
// a few words. It may be called as often as one likes; ten times a second it
// is sent. Outside a handler it does nothing.
func Progress(ctx context.Context, done, total int64, text string) {
	if a := Current(ctx); a != nil {
		a.setProgress(task.Progress{Done: done, Total: total, Text: clip(text, task.NameMax)})
	}
}

// progressState is what was last said, and when it was last sent.
type progressState struct {
	now   task.Progress
	sent  time.Time
	timer *time.Timer // set while a later value waits to be sent
}

func (a *Attempt) setProgress(p task.Progress) {
	a.mu.Lock()
	if a.progress == nil {
		a.progress = &progressState{}
	}
	s := a.progress
	s.now = p
	if a.over.Load() || s.timer != nil {
		a.mu.Unlock()
		return
	}
	if wait := progressEvery - time.Since(s.sent); wait > 0 {
		s.timer = time.AfterFunc(wait, a.sendLater)
		a.mu.Unlock()
		return
	}
	s.sent = time.Now()
	a.mu.Unlock()
	a.sendProgress(p)
}

// sendLater sends what was said while it was too early to send.
func (a *Attempt) sendLater() {
	a.mu.Lock()
	p := a.progress.now
	a.progress.sent, a.progress.timer = time.Now(), nil
	a.mu.Unlock()
	a.sendProgress(p)
}

func (a *Attempt) sendProgress(p task.Progress) {
	if sess := a.e.session(); sess != nil && !a.over.Load() {
		sess.Progress(a.d.Token, p)
	}
}
