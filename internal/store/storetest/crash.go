package storetest

import (
	"bytes"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// testCrashDurable: what was waited for is there after a crash.
func testCrashDurable(t *testing.T, e Engine) {
	if e.Crash == nil {
		t.Skip("this engine's harness can't crash it")
	}
	s := e.Store
	for round := range 4 {
		h := acquire(t, s, 1)
		for i := range 20 {
			set(t, h, fmt.Sprintf("r%d-%02d", round, i), "v")
		}
		commit(t, h, func(b *store.Batch) {
			b.DeleteRange(key(1, fmt.Sprintf("r%d-10", round)), key(1, fmt.Sprintf("r%d-15", round)))
		})
		if round == 1 && e.Flush != nil {
			e.Flush()
		}
		s = e.Crash()
		h = acquire(t, s, 1)
		for i := range 20 {
			v := "v"
			if i >= 10 && i < 15 {
				v = ""
			}
			want(t, h, 1, fmt.Sprintf("r%d-%02d", round, i), v)
		}
	}
}

// testCrashPrefix: of what was begun and not waited for, a crash leaves a
// prefix, and of no batch a part.
func testCrashPrefix(t *testing.T, e Engine) {
	if e.Crash == nil {
		t.Skip("this engine's harness can't crash it")
	}
	h := acquire(t, e.Store, 1)
	const n, per = 30, 7
	put := func(i int) func() error {
		return begin(h, func(b *store.Batch) {
			for j := range per {
				b.Set(key(1, fmt.Sprintf("%02d-%d", i, j)), []byte("v"))
			}
		})
	}
	for i := range n / 2 {
		if err := put(i)(); err != nil {
			t.Fatal(err)
		}
	}
	for i := n / 2; i < n; i++ {
		put(i)
	}
	h = acquire(t, e.Crash(), 1)
	it := h.Scan(nil, nil)
	count := 0
	for it.Next() {
		if want := fmt.Sprintf("%02d-%d", count/per, count%per); string(it.Key()[2:]) != want {
			t.Fatalf("key after the crash: got %q, want %q: not a prefix", it.Key()[2:], want)
		}
		count++
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
	if count%per != 0 {
		t.Fatalf("%d keys are left: a batch of %d is torn", count, per)
	}
	if count < n/2*per {
		t.Fatalf("%d keys are left: durable batches are lost, at least %d were waited for", count, n/2*per)
	}
}

// testRandom compares the engine with a map, over flushes, reopens and crashes.
func testRandom(t *testing.T, e Engine) {
	rnd := rand.New(rand.NewPCG(7, 11))
	s, model := e.Store, map[string]string{}
	h := acquire(t, s, 1)
	for step := range 400 {
		b := new(store.Batch)
		randomBatch(rnd, b, model)
		if err := h.Begin(b)(); err != nil {
			t.Fatalf("step %d: %v", step, err)
		}
		switch rnd.IntN(60) {
		case 0:
			s = e.Reopen()
			h = acquire(t, s, 1)
		case 1:
			if e.Crash != nil {
				s = e.Crash()
				h = acquire(t, s, 1)
			}
		case 2, 3:
			if e.Flush != nil {
				e.Flush()
			}
		case 4:
			h = acquire(t, s, 1)
		}
		if step%20 == 0 {
			compare(t, step, h, model)
		}
	}
	compare(t, 400, h, model)
}

// randomBatch changes model and b alike, within the contract: a key is named
// once, and SingleDelete only for keys set once (those that begin with s).
func randomBatch(rnd *rand.Rand, b *store.Batch, model map[string]string) {
	named := map[string]bool{}
	if rnd.IntN(8) == 0 {
		from, to := fmt.Sprintf("m%03d", rnd.IntN(300)), fmt.Sprintf("m%03d", rnd.IntN(300))
		b.DeleteRange(key(1, from), key(1, to))
		maps.DeleteFunc(model, func(k, _ string) bool { return k >= from && k < to })
	}
	for range 1 + rnd.IntN(20) {
		k := fmt.Sprintf("m%03d", rnd.IntN(300))
		once := rnd.IntN(3) == 0
		if once {
			k = "s" + k
		}
		if named[k] {
			continue
		}
		named[k] = true
		_, there := model[k]
		switch {
		case once && there:
			b.SingleDelete(key(1, k))
			delete(model, k)
		case rnd.IntN(3) == 0 && !once:
			b.Delete(key(1, k))
			delete(model, k)
		default:
			v := string(bytes.Repeat([]byte{byte('a' + rnd.IntN(26))}, rnd.IntN(200)))
			b.Set(key(1, k), []byte(v))
			model[k] = v
		}
	}
}

func compare(t *testing.T, step int, h store.Partition, model map[string]string) {
	t.Helper()
	keys := slices.Sorted(maps.Keys(model))
	it := h.Scan(nil, nil)
	for _, k := range keys {
		if !it.Next() || string(it.Key()[2:]) != k || string(it.Value()) != model[k] {
			t.Fatalf("step %d: scan differs from the model at %q", step, k)
		}
		v, ok, err := store.GetOne(h, key(1, k), nil)
		if err != nil || !ok || string(v) != model[k] {
			t.Fatalf("step %d: get %q: %q %v %v, want %q", step, k, v, ok, err, model[k])
		}
	}
	if it.Next() {
		t.Fatalf("step %d: scan has %q, the model has not", step, it.Key())
	}
	if err := it.Close(); err != nil {
		t.Fatal(err)
	}
}
