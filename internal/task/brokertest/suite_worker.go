package brokertest

import (
	"bytes"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// worker is a worker session of the suite and all that its sink heard.
type worker struct {
	h        *harness
	opts     task.SessionOptions
	s        task.Session
	beats    bool
	lastBeat time.Time

	mu      sync.Mutex
	inbox   []task.Delivery // not yet taken
	seen    int             // deliveries ever
	revoked []task.Token
	lost    []*task.Error
	overlap bool // two calls of the sink at once

	inside atomic.Int32 // calls of the sink now
}

// attach opens a session whose heartbeats the harness sends. An ID left out
// is made up.
func (h *harness) attach(opts task.SessionOptions) *worker {
	h.Helper()
	if opts.ID == "" {
		opts.ID = fmt.Sprintf("worker-%d", len(h.workers))
	}
	opts.Remote = true
	w := &worker{h: h, opts: opts, beats: true, lastBeat: time.Now()}
	w.open(nil)
	h.workers = append(h.workers, w)
	h.Cleanup(func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.overlap {
			h.Errorf("the sink of %s was called twice at once", opts.ID)
		}
	})
	return w
}

// open attaches w, for the first time or again.
func (w *worker) open(running []task.Token) {
	w.h.Helper()
	o := w.opts
	o.Running = running
	s, err := w.h.br.Attach(w.h.Context(), o, w)
	if err != nil {
		w.h.Fatalf("attach session %q: %v", o.ID, err)
	}
	w.s = s
	w.beats = true
}

// serve is a session on queues with so much credit.
func (h *harness) serve(credit int, queues ...string) *worker {
	h.Helper()
	w := h.attach(task.SessionOptions{Queues: on(queues...), Concurrency: 10})
	if credit > 0 {
		w.s.Credit(credit)
	}
	return w
}

// Deliver is task.Sink's. It copies: the memory is the broker's.
func (w *worker) Deliver(ds []task.Delivery) {
	w.enter()
	defer w.exit()
	for _, d := range ds {
		d.Payload = bytes.Clone(d.Payload)
		d.Headers = slices.Clone(d.Headers)
		d.Tags = slices.Clone(d.Tags)
		w.inbox = append(w.inbox, d)
		w.seen++
	}
}

// Revoke is task.Sink's.
func (w *worker) Revoke(ts []task.Token, _ task.Code) {
	w.enter()
	defer w.exit()
	w.revoked = append(w.revoked, ts...)
}

// Lost is task.Sink's.
func (w *worker) Lost(err *task.Error) {
	w.enter()
	defer w.exit()
	w.lost = append(w.lost, err)
}

func (w *worker) enter() {
	n := w.inside.Add(1)
	w.mu.Lock()
	w.overlap = w.overlap || n > 1
}

func (w *worker) exit() {
	w.mu.Unlock()
	w.inside.Add(-1)
}

// take waits for n deliveries and returns them in order.
func (w *worker) take(n int) []task.Delivery {
	w.h.Helper()
	var out []task.Delivery
	w.h.until(fmt.Sprintf("%d deliveries to %s", n, w.opts.ID), func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		if len(w.inbox) < n {
			return false
		}
		out = w.inbox[:n:n]
		w.inbox = w.inbox[n:]
		return true
	})
	return out
}

// waiting is how many deliveries have come and were not taken.
func (w *worker) waiting() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.inbox)
}

func (w *worker) wasRevoked(t task.Token) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Contains(w.revoked, t)
}

func (w *worker) wasLost() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.lost) > 0
}

// report reports within the session and wants a code for each.
func (w *worker) report(want task.Code, os ...task.Outcome) {
	w.h.Helper()
	done := make(chan struct{})
	b := &task.OutcomeBatch{Outcomes: os, Done: func(*task.OutcomeBatch) { close(done) }}
	w.s.Report(b)
	w.h.until("the answer to a report", func() bool {
		select {
		case <-done:
			return true
		default:
			return false
		}
	})
	if b.Err != nil {
		w.h.Fatalf("report of %d outcomes: %v", len(os), b.Err)
	}
	for i, c := range b.Codes {
		if c != want {
			w.h.Fatalf("report %+v: got %v, want %v", os[i], c, want)
		}
	}
}

// silence stops the heartbeats of w.
func (w *worker) silence() { w.beats = false }

func ids(ds []task.Delivery) []task.ID {
	var out []task.ID
	for _, d := range ds {
		out = append(out, d.ID)
	}
	return out
}

func (h *harness) wantIDs(what string, got []task.Delivery, want ...task.ID) {
	h.Helper()
	if !slices.Equal(ids(got), want) {
		h.Fatalf("%s: got %v, want %v", what, ids(got), want)
	}
}
