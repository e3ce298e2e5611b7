package rpctest

import (
	"context"
	"fmt"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

// strict knows producer sessions as an owner does: one that it does not know
// may not speak of answers it has had.
type strict struct {
	*brokertest.Fake
	mu    sync.Mutex
	known map[string]bool
	names map[string]bool // ever seen
	out   map[string]bool // evicted
	no    int             // refusals
}

func (s *strict) Enqueue(b *task.EnqueueBatch) {
	s.mu.Lock()
	k := b.Producer + "/" + b.Queue
	refuse := !s.known[k] && b.AckBelow > 1 || s.out[k]
	if refuse {
		s.no++
	} else {
		s.known[k], s.names[k] = true, true
	}
	s.mu.Unlock()
	if refuse {
		b.Err = task.Errorf(task.Conflict, "this producer session is no longer known")
		b.Done(b)
		return
	}
	s.Fake.Enqueue(b)
}

func (s *strict) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.known)
}

// evict gives up all sessions and keeps their names.
func (s *strict) evict() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.out, s.known = s.known, map[string]bool{}
}

func newStrict(t *testing.T) (*strict, *client.Conn, *proxy) {
	t.Helper()
	s := &strict{Fake: brokertest.NewFake(brokertest.Options{}), known: map[string]bool{}, names: map[string]bool{}}
	t.Cleanup(s.Close)
	ln := listen(t)
	srv, err := handler.New(handler.Options{Broker: s, Inspector: s.Fake})
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = srv.Serve(ln) }()
	t.Cleanup(func() { _ = srv.Close() })
	p := newProxy(t, ln.Addr().String())
	return s, dial(t, p.url(), client.Options{}), p
}

// TestEachQueueHasItsOwnNumbers: a client of many queues is new to each of them.
func TestEachQueueHasItsOwnNumbers(t *testing.T) {
	s, conn, _ := newStrict(t)
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			for range 50 {
				enqueue(t, conn, fmt.Sprint("q", i%5), task.Spec{Type: "t"})
			}
		})
	}
	wg.Wait()
	if s.no != 0 || len(s.names) != 5 {
		t.Errorf("%d refusals, %d producer sessions for 5 queues", s.no, len(s.names))
	}
}

func TestAForgottenProducerBeginsAnew(t *testing.T) {
	s, conn, p := newStrict(t)
	for range 3 {
		enqueue(t, conn, "q", task.Spec{Type: "t"})
	}
	s.forget()
	for range 3 {
		if r := enqueue(t, conn, "q", task.Spec{Type: "t"}); r[0].Err != nil || r[0].Existing {
			t.Errorf("after it was forgotten: %+v", r)
		}
	}
	if n := enqueued(t, s.Fake, "q"); n != 6 || s.no != 1 {
		t.Errorf("%d tasks and %d refusals, want 6 and 1", n, s.no)
	}

	// One that may have been taken before it was forgotten is not tried again.
	p.mute.Store(true)
	b := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	done := make(chan error, 1)
	go func() { done <- task.EnqueueWait(context.Background(), conn, b) }()
	until(t, "the task at the server", func() bool { return enqueued(t, s.Fake, "q") == 7 })
	s.forget()
	p.cut()
	p.mute.Store(false)
	<-done
	if b.Err == nil || b.Err.Code != task.Unavailable || b.Err.Applied != task.AppliedUnknown {
		t.Errorf("a repeat to a server that forgot: %+v, %v", b.Results, b.Err)
	}
	if n := enqueued(t, s.Fake, "q"); n != 7 {
		t.Errorf("%d tasks, want 7", n)
	}
}

// TestAnEvictedProducerTakesAnotherName: a server that gave a session up for newer
// ones takes nothing under its name again, for it can't tell a repeat from what is
// new. What was sent for the first time goes under another name.
func TestAnEvictedProducerTakesAnotherName(t *testing.T) {
	s, conn, _ := newStrict(t)
	enqueue(t, conn, "q", task.Spec{Type: "t"})
	for range 3 {
		s.evict()
		for range 2 {
			if r := enqueue(t, conn, "q", task.Spec{Type: "t"}, task.Spec{Type: "t"}); r[0].Err != nil || r[1].Err != nil || r[1].Existing {
				t.Fatalf("after it was evicted: %+v", r)
			}
		}
	}
	if n := enqueued(t, s.Fake, "q"); n != 13 || s.no != 3 || len(s.names) != 4 {
		t.Errorf("%d tasks, %d refusals, %d names; want 13, 3 and 4", n, s.no, len(s.names))
	}
}
