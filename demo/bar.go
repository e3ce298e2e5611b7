package main

import (
	"bytes"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"
)

// screen keeps the bar and the lines of say apart.
var screen struct {
	mu  sync.Mutex
	bar string // what stands on the last line; guarded by mu
}

// say writes one line to stderr, above the bar.
func say(format string, args ...any) {
	screen.mu.Lock()
	defer screen.mu.Unlock()
	if screen.bar != "" {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
	fmt.Fprintf(os.Stderr, format+"\n", args...)
	fmt.Fprint(os.Stderr, screen.bar)
}

// lineCounter collects what wait prints, and lets things happen on the way.
type lineCounter struct {
	total int
	begin time.Time
	at    map[int]func() error

	mu   sync.Mutex
	all  bytes.Buffer // guarded by mu
	done int          // guarded by mu
	err  error        // guarded by mu
}

// Write implements io.Writer.
func (l *lineCounter) Write(p []byte) (int, error) {
	l.mu.Lock()
	before := l.done
	l.all.Write(p)
	l.done += bytes.Count(p, []byte{'\n'})
	after := l.done
	l.mu.Unlock()
	for n, happens := range l.at {
		if before < n && n <= after {
			if err := happens(); err != nil {
				l.mu.Lock()
				l.err = err
				l.mu.Unlock()
				return 0, err
			}
		}
	}
	return len(p), nil
}

func (l *lineCounter) count() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.done
}

func (l *lineCounter) lines() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return splitLines(l.all.Bytes())
}

func (l *lineCounter) failed() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// bar shows how far the counter is: on a terminal ten times a second in place,
// elsewhere as a line every two seconds.
type bar struct {
	l     *lineCounter
	tty   bool
	end   chan struct{}
	ended chan struct{}
}

func startBar(l *lineCounter) *bar {
	b := &bar{l: l, end: make(chan struct{}), ended: make(chan struct{})}
	if info, err := os.Stderr.Stat(); err == nil {
		b.tty = info.Mode()&os.ModeCharDevice != 0
	}
	every := 2 * time.Second
	if b.tty {
		every = 100 * time.Millisecond
	}
	go func() {
		defer close(b.ended)
		tick := time.NewTicker(every)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				b.draw()
			case <-b.end:
				b.draw()
				if b.tty {
					screen.mu.Lock()
					screen.bar = ""
					screen.mu.Unlock()
					fmt.Fprintln(os.Stderr)
				}
				return
			}
		}
	}()
	return b
}

func (b *bar) stop() {
	close(b.end)
	<-b.ended
}

func (b *bar) draw() {
	text := progress(b.l.count(), b.l.total, time.Since(b.l.begin))
	if !b.tty {
		say("%s", text)
		return
	}
	screen.mu.Lock()
	defer screen.mu.Unlock()
	screen.bar = text
	fmt.Fprint(os.Stderr, "\r\x1b[K"+text)
}

// progress is the bar's text: share, rate, and the time that is left.
func progress(done, total int, took time.Duration) string {
	const width = 30
	share := float64(done) / float64(total)
	rate := float64(done) / max(took.Seconds(), 0.001)
	left := "?"
	if done == total {
		left = "0s"
	} else if rate > 0 {
		left = (time.Duration(float64(total-done)/rate*float64(time.Second)) + time.Second).Truncate(time.Second).String()
	}
	full := int(share * width)
	return fmt.Sprintf("[%s%s] %3.0f %%  %d/%d  %.0f/s  ETA %s", strings.Repeat("#", full), strings.Repeat(".", width-full),
		100*share, done, total, rate, left)
}
