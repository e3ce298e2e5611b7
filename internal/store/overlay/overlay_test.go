package overlay

import (
	"context"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/storetest"
)

// over puts an overlay over every partition of a Mem.
type over struct{ *store.Mem }

func (o over) Acquire(ctx context.Context, partition uint16, owner string) (store.Partition, error) {
	p, err := o.Mem.Acquire(ctx, partition, owner)
	if err != nil {
		return nil, err
	}
	return Over(p), nil
}

func open(shows func(pending int) int) storetest.Open {
	return func(tb testing.TB) storetest.Engine {
		m := store.NewMem(store.MemOptions{Manual: true, PunishSingleDelete: true, Shows: func(_ uint16, pending int) int { return shows(pending) }})
		return storetest.Engine{
			Store:  over{m},
			Reopen: func() store.Store { m.Close(); m.Reopen(); return over{m} },
			Crash:  func() store.Store { m.Crash(m.Pending() / 2); return over{m} },

			InMemory: true,
		}
	}
}

// An overlay makes exactly what has begun of an engine that shows only what is
// durable, or some more of it.
func TestOverlay(t *testing.T) {
	t.Run("durable", func(t *testing.T) { storetest.Run(t, open(func(int) int { return 0 })) })
	rnd := rand.New(rand.NewPCG(1, 2))
	t.Run("some", func(t *testing.T) { storetest.Run(t, open(func(pending int) int { return rnd.IntN(pending + 1) })) })
	t.Run("all", func(t *testing.T) { storetest.Run(t, open(func(pending int) int { return pending })) })
}

func acquire(t *testing.T, m *store.Mem) store.Partition {
	t.Helper()
	p, err := m.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// An engine that shows what has begun is left alone, and so is an overlay.
func TestOverPrompt(t *testing.T) {
	p := acquire(t, store.NewMem(store.MemOptions{Manual: true}))
	if Over(p) != p {
		t.Error("an engine that is prompt was given an overlay")
	}
	p = Over(acquire(t, store.NewMem(store.MemOptions{Manual: true, Shows: func(uint16, int) int { return 0 }})))
	if _, ok := p.(*Partition); !ok || Over(p) != p {
		t.Errorf("over an engine that hides stands %T", p)
	}
}

// What is durable is forgotten, also when its Wait returns while an engine's view
// is being taken; what nobody reads is not even copied.
func TestForgets(t *testing.T) {
	p := Over(acquire(t, store.NewMem(store.MemOptions{Manual: true, Shows: func(uint16, int) int { return 0 }}))).(*Partition)
	begin := func(name string) (*store.Batch, func() error) {
		b := new(store.Batch)
		b.Set([]byte("\x00\x01"+name), []byte(name))
		return b, p.Begin(b)
	}
	_, w1 := begin("a")
	b2, w2 := begin("b")
	if p.begun[0].own || p.begun[1].own {
		t.Error("batches were copied although nobody reads")
	}
	if err := w2(); err != nil || len(p.begun) != 0 { // and so was the one before
		t.Errorf("after the second Wait %d batches are left; %v", len(p.begun), err)
	}
	if err := w1(); err != nil {
		t.Error(err)
	}
	_, w3 := begin("c")
	b2.Reset()
	it := p.Scan(nil, nil)
	n := 0
	for ; it.Next(); n++ {
	}
	if err := it.Close(); err != nil || n != 3 || !p.begun[0].own {
		t.Errorf("%d keys are shown, want 3, of a copy: %v", n, err)
	}
	p.pins++ // as within a Scan
	if err := w3(); err != nil || len(p.begun) != 1 {
		t.Errorf("within a Scan %d batches are left, want 1; %v", len(p.begun), err)
	}
	p.pins--
	p.Scan(nil, nil).Close()
	if len(p.begun) != 0 {
		t.Error("a durable batch is kept after the Scan")
	}
}

// After a commit that failed nothing of it, nor of what follows, is shown.
func TestAfterFailure(t *testing.T) {
	m := store.NewMem(store.MemOptions{Manual: true, Shows: func(uint16, int) int { return 0 }})
	p := Over(acquire(t, m)).(*Partition)
	m.Fail(store.FaultError)
	var b, next store.Batch
	b.Set([]byte("\x00\x01a"), []byte("v"))
	next.Set([]byte("\x00\x01b"), []byte("v"))
	wait := p.Begin(&b)
	p.Begin(&next)
	if err := wait(); err == nil {
		t.Fatal("the commit did not fail")
	}
	p.Begin(&next)
	if v := p.look(); v != nil {
		t.Errorf("after the failure there is %+v", v)
	}
	if err := p.Get([]store.Point{{Key: []byte("\x00\x01a")}}); err == nil {
		t.Error("a partition whose commit failed reads on")
	}
	it := p.Scan(nil, nil)
	if it.Next() || it.Close() == nil {
		t.Error("a partition whose commit failed scans on")
	}
}
