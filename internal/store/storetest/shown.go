package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// prompt says whether h shows batches from their Begin on. What does not may show
// them when it likes, as far as testDurableShown lets it.
func prompt(h store.Partition) bool {
	p, ok := h.(store.Prompt)
	return ok && p.ShowsBegun()
}

// testDurableShown: reads show all that is durable, and of what has begun since a
// number of whole batches, from the first on.
func testDurableShown(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	const n, per = 20, 3
	rnd := rand.New(rand.NewPCG(1, 2))
	durable := 0
	var waits []func() error
	check := func() {
		t.Helper()
		it := h.Scan(nil, nil)
		shown := 0
		for ; it.Next(); shown++ {
			if want := fmt.Sprintf("%02d-%d", shown/per, shown%per); string(it.Key()[2:]) != want {
				t.Fatalf("scan with %d durable and %d begun: got %q, want %q", durable, len(waits), it.Key()[2:], want)
			}
		}
		if err := it.Close(); err != nil {
			t.Fatal(err)
		}
		if shown%per != 0 || shown < durable*per || shown > len(waits)*per {
			t.Fatalf("scan with %d durable and %d begun batches of %d: got %d keys", durable, len(waits), per, shown)
		}
		for i := range waits {
			_, found, err := store.GetOne(h, key(1, fmt.Sprintf("%02d-0", i)), nil)
			if err != nil || i < durable && !found {
				t.Fatalf("get from batch %d of %d durable ones: %v %v", i, durable, found, err)
			}
		}
	}
	for i := range n {
		waits = append(waits, begin(h, func(b *store.Batch) {
			for j := range per {
				b.Set(key(1, fmt.Sprintf("%02d-%d", i, j)), []byte("v"))
			}
		}))
		check()
		if rnd.IntN(3) > 0 {
			continue
		}
		for ; durable < len(waits); durable++ {
			if err := waits[durable](); err != nil {
				t.Fatal(err)
			}
			check()
		}
	}
	order := rnd.Perm(n - durable) // waits may come in any order
	for _, i := range order {
		if err := waits[durable+i](); err != nil {
			t.Fatal(err)
		}
	}
	durable = n
	check()
}

// testBegunShown: where batches are shown from their Begin on, every way of
// reading shows exactly those, whether durable or not.
func testBegunShown(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	if !prompt(h) {
		t.Skip("this engine does not promise it")
	}
	rnd := rand.New(rand.NewPCG(5, 8))
	model := map[string]string{}
	var pinned []pin
	var waits []func() error
	for step := range 300 {
		b := new(store.Batch)
		randomBatch(rnd, b, model)
		wait := h.Begin(b)
		waits = append(waits, func() error {
			err := wait()
			b.Reset() // the batch is the caller's again
			b.Set(key(1, "other"), bytes.Repeat([]byte("x"), 2000))
			return err
		})
		if rnd.IntN(3) == 0 {
			from, to := fmt.Sprintf("m%03d", rnd.IntN(300)), fmt.Sprintf("sm%03d", rnd.IntN(300))
			pinned = append(pinned, pin{it: h.Scan(key(1, from), key(1, to)), keys: within(model, from, to), model: maps.Clone(model)})
		}
		for len(waits) > rnd.IntN(4) {
			if err := waits[0](); err != nil {
				t.Fatal(err)
			}
			waits = waits[1:]
			if rnd.IntN(20) == 0 && e.Flush != nil {
				e.Flush()
			}
		}
		if step%10 == 0 {
			compare(t, step, h, model)
			comparePoints(t, rnd, h, model)
		}
		for len(pinned) > rnd.IntN(5) {
			pinned[0].check(t, rnd)
			pinned = pinned[1:]
		}
	}
	for _, p := range pinned {
		p.check(t, rnd)
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	compare(t, 300, h, model)
}

func within(model map[string]string, from, to string) []string {
	keys := slices.Sorted(maps.Keys(model))
	return slices.DeleteFunc(keys, func(k string) bool { return k < from || k >= to })
}

// comparePoints compares many points at once, of which some are not there.
func comparePoints(t *testing.T, rnd *rand.Rand, h store.Partition, model map[string]string) {
	t.Helper()
	var names []string
	points := make([]store.Point, 40)
	for i := range points {
		name := fmt.Sprintf("m%03d", rnd.IntN(320))
		if rnd.IntN(2) == 0 {
			name = "s" + name
		}
		names = append(names, name)
		points[i] = store.Point{Key: key(1, name), Value: []byte("buf:")}
	}
	if err := h.Get(points); err != nil {
		t.Fatal(err)
	}
	for i, name := range names {
		want, there := model[name]
		if p := &points[i]; p.Found != there || string(p.Value) != "buf:"+want {
			t.Fatalf("get of many: %q: got %q %v, want %q %v", name, p.Value, p.Found, want, there)
		}
	}
}

// pin is a view that was pinned, and what it must show whenever it is read.
type pin struct {
	it    store.Iterator
	keys  []string
	model map[string]string
}

// check walks the view up and down, with seeks between.
func (p pin) check(t *testing.T, rnd *rand.Rand) {
	t.Helper()
	at := func(i int, ok bool) {
		t.Helper()
		switch there := i >= 0 && i < len(p.keys); {
		case ok != there:
			t.Fatalf("pinned view: key %d of %d: got %v", i, len(p.keys), ok)
		case ok && (string(p.it.Key()[2:]) != p.keys[i] || string(p.it.Value()) != p.model[p.keys[i]]):
			t.Fatalf("pinned view: key %d: got %q=%q, want %q=%q", i, p.it.Key()[2:], p.it.Value(), p.keys[i], p.model[p.keys[i]])
		}
	}
	if rnd.IntN(2) == 0 {
		for i := range len(p.keys) + 1 {
			at(i, p.it.Next())
		}
	}
	for range 8 {
		name := fmt.Sprintf("%sm%03d", []string{"", "s"}[rnd.IntN(2)], rnd.IntN(300))
		i, _ := slices.BinarySearch(p.keys, name)
		if steps := rnd.IntN(30); rnd.IntN(2) == 0 {
			p.it.SeekGE(key(1, name))
			for j := i; j <= min(len(p.keys), i+steps); j++ {
				at(j, p.it.Next())
			}
		} else {
			p.it.SeekLT(key(1, name))
			for j := i - 1; j >= max(-1, i-steps); j-- {
				at(j, p.it.Prev())
			}
		}
	}
	for range 8 {
		name := fmt.Sprintf("%sm%03d", []string{"", "s"}[rnd.IntN(2)], rnd.IntN(300))
		_, there := slices.BinarySearch(p.keys, name)
		want := p.model[name]
		if ok := p.it.Find(key(1, name)); ok != there || ok && string(p.it.Value()) != want {
			t.Fatalf("pinned view: find %s: got %v, want %v %q", name, ok, there, want)
		}
	}
	if err := p.it.Close(); err != nil {
		t.Fatal(err)
	}
}

// testBegunShownWhole: a view that is pinned beside a writer is one moment: every
// batch sets some keys to its number, and deletes what the one before has added.
func testBegunShownWhole(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	const batches = 400
	fixed := []string{"a", "f", "p", "z"}
	put := func(i int) *store.Batch {
		b := new(store.Batch)
		if i%5 == 0 {
			b.DeleteRange(key(1, "n"), key(1, "o"))
		} else if i > 0 {
			b.Delete(key(1, fmt.Sprintf("n%03d", i-1)))
		}
		for _, k := range fixed {
			b.Set(key(1, k), fmt.Append(nil, i))
		}
		b.Set(key(1, fmt.Sprintf("n%03d", i)), fmt.Append(nil, i))
		return b
	}
	if err := h.Begin(put(0))(); err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	done := make(chan struct{})
	for range 2 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if err := oneMoment(h, len(fixed)+1); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	last := func() error { return nil }
	for i := 1; i < batches; i++ {
		wait := h.Begin(put(i))
		if err := last(); err != nil {
			t.Fatal(err)
		}
		last = wait
	}
	err := last()
	close(done)
	wg.Wait()
	if err != nil {
		t.Fatal(err)
	}
}

// oneMoment reads everything and checks that it is of one batch.
func oneMoment(h store.Partition, keys int) error {
	it := h.Scan(nil, nil)
	var first []byte
	n := 0
	for ; it.Next(); n++ {
		if n == 0 {
			first = bytes.Clone(it.Value())
		} else if !bytes.Equal(first, it.Value()) {
			return errors.Join(fmt.Errorf("key %q is of batch %s beside one of %s", it.Key()[2:], it.Value(), first), it.Close())
		}
	}
	if err := it.Close(); err != nil || n != keys {
		return fmt.Errorf("%d keys are shown, want %d; %w", n, keys, err)
	}
	return nil
}
