package main

import (
	"fmt"
	"sync/atomic"
	"time"
)

// progress is a count on a terminal's stderr while data go elsewhere. Where
// either is not so it does nothing.
type progress struct {
	a     *app
	verb  string
	begin time.Time
	n     atomic.Int64
	end   chan struct{}
	ended chan struct{}
}

func (a *app) startProgress(verb string) *progress {
	p := &progress{a: a, verb: verb, begin: time.Now(), end: make(chan struct{}), ended: make(chan struct{})}
	if !a.stderrTTY || a.stdoutTTY {
		close(p.ended)
		return p
	}
	go p.draw()
	return p
}

func (p *progress) add(n int64) { p.n.Add(n) }

// stop takes the line away: what is left to say stands in its place.
func (p *progress) stop() {
	close(p.end)
	<-p.ended
}

func (p *progress) draw() {
	defer close(p.ended)
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			n := p.n.Load()
			p.a.sayMu.Lock()
			fmt.Fprintf(p.a.stderr, "\r\x1b[K%s %s, %.0f/s\r", plural(n, "task", "tasks"), p.verb, float64(n)/time.Since(p.begin).Seconds())
			p.a.sayMu.Unlock()
		case <-p.end:
			p.a.sayMu.Lock()
			fmt.Fprint(p.a.stderr, "\r\x1b[K")
			p.a.sayMu.Unlock()
			return
		}
	}
}
