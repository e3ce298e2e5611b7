package main

import (
	"bytes"
	"context"
	"strings"
	"sync"
	"testing"
	"time"
)

// memory is a queue with nothing to it.
type memory struct {
	tasks  chan []byte
	closed bool
}

func (m *memory) enqueue(ctx context.Context, p []byte) error {
	select {
	case m.tasks <- p:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (m *memory) enqueueMany(ctx context.Context, ps [][]byte) error {
	for _, p := range ps {
		if err := m.enqueue(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

func (m *memory) work(ctx context.Context, handle func([]byte)) error {
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for {
				select {
				case p := <-m.tasks:
					handle(p)
				case <-ctx.Done():
					return
				}
			}
		})
	}
	wg.Wait()
	return nil
}

func (m *memory) close() { m.closed = true }

func TestMeasurePeer(t *testing.T) {
	m := &memory{tasks: make(chan []byte, 1_000_000)}
	p := peer{name: "memory", start: func(context.Context, string) (session, error) { return m, nil }}
	r, err := measurePeer(t.Context(), p, t.TempDir(), timing{warm: 20 * time.Millisecond, window: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	if r.Steady <= 0 || r.Drain <= 0 || r.Bulk <= 0 || r.LightP50 <= 0 || r.LightP99 < r.LightP50 {
		t.Errorf("got %+v: every figure must be above 0", r)
	}
	if !m.closed {
		t.Error("the peer was not stopped")
	}
}

func TestPayloadIsAHundredBytes(t *testing.T) {
	if p := newPayload(); len(p) != payloadBytes {
		t.Errorf("payload of %d bytes, want %d: %s", len(p), payloadBytes, p)
	}
}

func TestTable(t *testing.T) {
	own := result{Peer: "Penstock", Durable: true, Steady: 80_000, LightP99: 0.9}
	other := result{Peer: "other", Durability: "none", Steady: 20_000, LightP99: 1.8}
	gone := result{Peer: "gone", Skipped: "gone-server: not installed"}
	var buf bytes.Buffer
	if err := print(&buf, "table", []result{own, other, gone}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"20,000 (×0.25)", "1.80 (×0.5)", "gone: skipped, gone-server: not installed", "other: none"} {
		if !strings.Contains(buf.String(), want) {
			t.Errorf("no %q in\n%s", want, buf.String())
		}
	}
}
