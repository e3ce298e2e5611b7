package store_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

func key(p uint16, s string) []byte {
	return append(binary.BigEndian.AppendUint16(nil, p), s...)
}

func acquire(t testing.TB, m *store.Mem, p uint16) store.Partition {
	t.Helper()
	h, err := m.Acquire(context.Background(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func set(h store.Partition, p uint16, k, v string) func() error {
	b := new(store.Batch)
	b.Set(key(p, k), []byte(v))
	return h.Begin(b)
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("%s: got error %v, want %v", what, err, want)
	}
}

func all(t testing.TB, h store.Partition) string {
	t.Helper()
	var out []byte
	it := h.Scan(nil, nil)
	for it.Next() {
		out = fmt.Appendf(out, "%s=%s ", it.Key()[2:], it.Value())
	}
	must(t, it.Close())
	return string(bytes.TrimSpace(out))
}

func TestMemCrash(t *testing.T) {
	f := func(keep int, want1, want2 string) {
		t.Helper()
		m := store.NewMem(store.MemOptions{Manual: true})
		h1, h2 := acquire(t, m, 1), acquire(t, m, 2)
		must(t, set(h1, 1, "a", "durable")())
		waits := []func() error{set(h1, 1, "b", "begun"), set(h2, 2, "c", "begun"), set(h1, 1, "d", "begun")}
		if n := m.Pending(); n != 3 {
			t.Fatalf("pending: got %d, want 3", n)
		}
		if got := all(t, h1); got != "a=durable b=begun d=begun" {
			t.Fatalf("visible before the crash: got %q", got)
		}
		m.Crash(keep)
		for i, w := range waits {
			if err := w(); (err == nil) != (i < keep) {
				t.Fatalf("keep %d: wait %d: got %v", keep, i, err)
			}
		}
		wantErr(t, "begin after the crash", set(h1, 1, "e", "late")(), store.ErrDead)
		if got := all(t, acquire(t, m, 1)); got != want1 {
			t.Fatalf("keep %d: partition 1: got %q, want %q", keep, got, want1)
		}
		if got := all(t, acquire(t, m, 2)); got != want2 {
			t.Fatalf("keep %d: partition 2: got %q, want %q", keep, got, want2)
		}
	}
	f(0, "a=durable", "")
	f(1, "a=durable b=begun", "")
	f(2, "a=durable b=begun", "c=begun")
	f(3, "a=durable b=begun d=begun", "c=begun")
}

// TestMemTear: each partition keeps a prefix of its own of what was begun, and of
// the next batch nothing; with KeepTorn the half of it.
func TestMemTear(t *testing.T) {
	f := func(o store.MemOptions, byFault bool, keep1, keep2 int, want1, want2 string) {
		t.Helper()
		o.Manual = true
		o.Keep = func(p uint16, pending int) int {
			if pending != 2 {
				t.Fatalf("partition %d has %d batches pending, want 2", p, pending)
			}
			return []int{1: keep1, 2: keep2}[p]
		}
		m := store.NewMem(o)
		h := []store.Partition{1: acquire(t, m, 1), 2: acquire(t, m, 2)}
		for p := uint16(1); p <= 2; p++ {
			must(t, set(h[p], p, "a", "durable")())
		}
		var waits []func() error
		for i, k := range []string{"b", "c"} {
			for p := uint16(1); p <= 2; p++ {
				if byFault && i == 1 && p == 2 {
					m.Fail(store.FaultTear)
				}
				b := new(store.Batch)
				b.Set(key(p, k), []byte("1"))
				b.Set(key(p, k+k), []byte("2"))
				waits = append(waits, h[p].Begin(b))
			}
		}
		if !byFault {
			m.Tear()
		}
		for i, w := range waits {
			if err := w(); (err == nil) != (i/2 < []int{keep1, keep2}[i%2]) {
				t.Fatalf("keep %d and %d: wait %d: got %v", keep1, keep2, i, err)
			}
		}
		wantErr(t, "begin after the crash", set(h[1], 1, "e", "late")(), store.ErrDead)
		if got := all(t, acquire(t, m, 1)); got != want1 {
			t.Fatalf("keep %d and %d: partition 1: got %q, want %q", keep1, keep2, got, want1)
		}
		if got := all(t, acquire(t, m, 2)); got != want2 {
			t.Fatalf("keep %d and %d: partition 2: got %q, want %q", keep1, keep2, got, want2)
		}
	}
	for _, byFault := range []bool{false, true} {
		f(store.MemOptions{}, byFault, 0, 2, "a=durable", "a=durable b=1 bb=2 c=1 cc=2")
		f(store.MemOptions{}, byFault, 1, 0, "a=durable b=1 bb=2", "a=durable")
		f(store.MemOptions{}, byFault, 2, 1, "a=durable b=1 bb=2 c=1 cc=2", "a=durable b=1 bb=2")
		f(store.MemOptions{KeepTorn: true}, byFault, 2, 1, "a=durable b=1 bb=2 c=1 cc=2", "a=durable b=1 bb=2 c=1")
	}
}

func TestMemSync(t *testing.T) {
	m := store.NewMem(store.MemOptions{Manual: true})
	h := acquire(t, m, 1)
	w := set(h, 1, "a", "1")
	m.Sync()
	set(h, 1, "b", "1")
	m.Crash(0)
	must(t, w())
	if got := all(t, acquire(t, m, 1)); got != "a=1" {
		t.Fatalf("after the crash: got %q, want a=1", got)
	}
}

// TestMemWaitOrder: a wait makes all that was begun before durable too, and
// nothing begun after.
func TestMemWaitOrder(t *testing.T) {
	m := store.NewMem(store.MemOptions{Manual: true})
	h1, h2 := acquire(t, m, 1), acquire(t, m, 2)
	set(h1, 1, "a", "1")
	w := set(h2, 2, "b", "1")
	set(h1, 1, "c", "1")
	must(t, w())
	m.Crash(0)
	if got := all(t, acquire(t, m, 1)); got != "a=1" {
		t.Fatalf("partition 1: got %q, want a=1", got)
	}
	if got := all(t, acquire(t, m, 2)); got != "b=1" {
		t.Fatalf("partition 2: got %q, want b=1", got)
	}
}

func TestMemFaults(t *testing.T) {
	f := func(fault store.Fault, wantWait error, visible bool, left string) {
		t.Helper()
		for _, manual := range []bool{true, false} {
			m := store.NewMem(store.MemOptions{Manual: manual})
			h, other := acquire(t, m, 1), acquire(t, m, 2)
			must(t, set(h, 1, "a", "1")())
			m.Fail(fault)
			w := set(h, 1, "b", "1")
			if _, ok, err := store.GetOne(h, key(1, "b"), nil); manual && visible && (err != nil || !ok) {
				t.Fatalf("%v: the batch is not visible: %v %v", fault, ok, err)
			}
			later := set(h, 1, "c", "1")
			wantErr(t, fault.String(), w(), wantWait)
			if err := later(); err == nil {
				t.Fatalf("%v: a batch begun after the failed one went through", fault)
			}
			if _, _, err := store.GetOne(h, key(1, "a"), nil); err == nil {
				t.Fatalf("%v: the holder still reads", fault)
			}
			if fault != store.FaultCrash && fault != store.FaultCrashKept {
				must(t, set(other, 2, "x", "1")()) // other partitions live on
			}
			if got := all(t, acquire(t, m, 1)); got != left {
				t.Fatalf("%v, manual %v: left %q, want %q", fault, manual, got, left)
			}
		}
	}
	f(store.FaultFull, store.ErrFull, false, "a=1")
	f(store.FaultError, store.ErrDead, true, "a=1")
	f(store.FaultUnknownLost, store.ErrUnknown, true, "a=1")
	f(store.FaultUnknownKept, store.ErrUnknown, true, "a=1 b=1")
	f(store.FaultCrash, store.ErrDead, false, "a=1")
	f(store.FaultCrashKept, store.ErrDead, false, "a=1 b=1")
}

func TestMemFaultHook(t *testing.T) {
	var at store.FaultPoint
	var fault store.Fault
	m := store.NewMem(store.MemOptions{Fault: func(a store.FaultPoint, p uint16) store.Fault {
		if p == 1 && a == at {
			return fault
		}
		return store.FaultNone
	}})
	h := acquire(t, m, 1)
	must(t, set(h, 1, "a", "1")())
	at, fault = store.AtRead, store.FaultError
	_, _, err := store.GetOne(h, key(1, "a"), nil)
	wantErr(t, "get", err, store.ErrDead)
	wantErr(t, "scan", h.Scan(nil, nil).Close(), store.ErrDead)
	at = store.AtAcquire
	_, err = m.Acquire(context.Background(), 1, "test")
	wantErr(t, "acquire", err, store.ErrDead)
	must(t, set(h, 1, "b", "1")()) // the failed takeover fenced nobody
	at, fault = store.AtBegin, store.FaultUnknownKept
	wantErr(t, "begin", set(h, 1, "c", "1")(), store.ErrUnknown)
	fault = store.FaultNone
	if got := all(t, acquire(t, m, 1)); got != "a=1 b=1 c=1" {
		t.Fatalf("left: got %q", got)
	}
}

func TestMemDie(t *testing.T) {
	m := store.NewMem(store.MemOptions{Manual: true})
	h := acquire(t, m, 1)
	must(t, set(h, 1, "a", "1")())
	w := set(h, 1, "b", "1")
	m.Die()
	wantErr(t, "wait", w(), store.ErrDead)
	_, err := m.Acquire(context.Background(), 1, "test")
	wantErr(t, "acquire", err, store.ErrDead)
	m.Reopen()
	if got := all(t, acquire(t, m, 1)); got != "a=1" {
		t.Fatalf("after reopen: got %q, want a=1", got)
	}
}

// TestMemPunish: what Pebble may do after flushes, Mem does at once.
func TestMemPunish(t *testing.T) {
	one := func(m *store.Mem, h store.Partition, fill func(b *store.Batch)) {
		t.Helper()
		b := new(store.Batch)
		fill(b)
		must(t, h.Begin(b)())
	}
	for _, punish := range []bool{true, false} {
		m := store.NewMem(store.MemOptions{PunishSingleDelete: punish})
		h := acquire(t, m, 1)
		sdel := func(k string) { one(m, h, func(b *store.Batch) { b.SingleDelete(key(1, k)) }) }
		must(t, set(h, 1, "once", "1")())
		sdel("once")
		must(t, set(h, 1, "gap", "1")())
		one(m, h, func(b *store.Batch) { b.Delete(key(1, "gap")) })
		must(t, set(h, 1, "gap", "2")())
		sdel("gap")
		if got := all(t, h); got != "" || m.Misused() != 0 {
			t.Fatalf("rightly used: left %q, misused %d", got, m.Misused())
		}
		for _, v := range []string{"first", "second", "third"} {
			must(t, set(h, 1, "thrice", v)())
		}
		sdel("thrice")
		want, misused := "", 0
		if punish {
			want, misused = "thrice=first", 1
		}
		if got := all(t, h); got != want || m.Misused() != misused {
			t.Fatalf("punish %v: left %q, misused %d; want %q, %d", punish, got, m.Misused(), want, misused)
		}
		sdel("thrice") // the first is now set once
		if got := all(t, h); got != "" {
			t.Fatalf("after the second: left %q", got)
		}
	}
}

func TestMemNonce(t *testing.T) {
	n := uint64(41)
	m := store.NewMem(store.MemOptions{Nonce: func() uint64 { n++; return n }})
	if f := acquire(t, m, 1).Fence(); f != (store.Fence{Epoch: 1, Nonce: 42}) {
		t.Fatalf("fence: got %+v", f)
	}
	if f := acquire(t, m, 1).Fence(); f != (store.Fence{Epoch: 2, Nonce: 43}) {
		t.Fatalf("fence: got %+v", f)
	}
}

func TestMemFree(t *testing.T) {
	m := store.NewMem(store.MemOptions{})
	if free, low := m.Free(); free == 0 || low {
		t.Fatalf("at first: got %d, %v", free, low)
	}
	m.SetFree(7, true)
	if free, low := m.Free(); free != 7 || !low {
		t.Fatalf("after SetFree: got %d, %v", free, low)
	}
}
