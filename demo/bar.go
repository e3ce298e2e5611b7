package main

import (
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

// bar shows how many tasks are finished: on a terminal ten times a second in place,
// elsewhere as a line every two seconds.
type bar struct {
	w     *watch
	tty   bool
	end   chan struct{}
	ended chan struct{}
}

func startBar(w *watch) *bar {
	b := &bar{w: w, end: make(chan struct{}), ended: make(chan struct{})}
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
	text := progress(b.w.count(), b.w.total, time.Since(b.w.begin))
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
