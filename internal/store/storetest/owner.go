package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

func testFencing(t *testing.T, e Engine) {
	old := acquire(t, e.Store, 1)
	set(t, old, "a", "old")
	next := acquire(t, e.Store, 1)
	want(t, next, 1, "a", "old")
	err := begin(old, func(b *store.Batch) {
		b.Set(key(1, "a"), []byte("stale"))
		b.Set(key(1, "b"), []byte("stale"))
	})()
	wantErr(t, "commit of the old owner", err, store.ErrFenced)
	want(t, next, 1, "a", "old")
	want(t, next, 1, "b", "")
	set(t, next, "a", "new")
	wantErr(t, "second commit of the old owner", begin(old, func(b *store.Batch) { b.Delete(key(1, "a")) })(), store.ErrFenced)
	if err := old.Release(); err != nil {
		t.Fatalf("release of the old owner: %v", err)
	}
	want(t, next, 1, "a", "new") // its release is not ours
	set(t, next, "a", "newer")
	want(t, acquire(t, e.Reopen(), 1), 1, "a", "newer")
}

// testFenceInFlight: what the old owner began before the takeover is there whole
// or not at all, and its wait says which.
func testFenceInFlight(t *testing.T, e Engine) {
	old := acquire(t, e.Store, 1)
	wait := begin(old, func(b *store.Batch) {
		b.Set(key(1, "a"), []byte("1"))
		b.Set(key(1, "b"), []byte("1"))
	})
	next := acquire(t, e.Store, 1)
	seen := list(t, next.Scan(nil, nil))
	switch err := wait(); {
	case err == nil && seen == "a=1 b=1":
	case errors.Is(err, store.ErrFenced) && seen == "":
	default:
		t.Fatalf("wait said %v, the new owner saw %q", err, seen)
	}
	wantScan(t, next, "", "\xff", seen)
}

func testEpochRises(t *testing.T, e Engine) {
	s := e.Store
	nonces := map[uint64]bool{}
	for i := uint32(1); i <= 6; i++ {
		h := acquire(t, s, 1)
		f := h.Fence()
		if f.Epoch != i {
			t.Fatalf("epoch of acquisition %d: got %d", i, f.Epoch)
		}
		if nonces[f.Nonce] {
			t.Fatalf("nonce %x was given twice", f.Nonce)
		}
		nonces[f.Nonce] = true
		switch {
		case i == 2:
			if err := h.Release(); err != nil {
				t.Fatal(err)
			}
		case i == 3:
			s = e.Reopen()
		case i == 4 && e.Crash != nil:
			s = e.Crash() // the epoch was durable before Acquire returned
		}
	}
	if f := acquire(t, s, 2).Fence(); f.Epoch != 1 {
		t.Fatalf("epoch of another partition: got %d, want 1", f.Epoch)
	}
}

func testAcquireChecks(t *testing.T, e Engine) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err := e.Store.Acquire(ctx, 1, "x")
	wantErr(t, "acquire with a cancelled context", err, context.Canceled)
	if _, err := e.Store.Acquire(context.Background(), store.PartitionMax+1, "x"); err == nil {
		t.Fatal("acquire of a partition above the limit: got no error")
	}
}

func testPartitions(t *testing.T, e Engine) {
	h1, h2 := acquire(t, e.Store, 1), acquire(t, e.Store, 2)
	commit(t, h1, func(b *store.Batch) { b.Set(key(1, "k"), []byte("one")) })
	commit(t, h2, func(b *store.Batch) { b.Set(key(2, "k"), []byte("two")) })
	commit(t, h1, func(b *store.Batch) { b.DeleteRange(key(1, ""), key(2, "")) })
	want(t, h1, 1, "k", "")
	want(t, h2, 2, "k", "two")
	acquire(t, e.Store, 1) // fences partition 1 alone
	commit(t, h2, func(b *store.Batch) { b.Set(key(2, "k"), []byte("still")) })
	want(t, h2, 2, "k", "still")
}

// testGroupCommit: many partitions at once, each with two batches under way.
func testGroupCommit(t *testing.T, e Engine) {
	const partitions, batches = 8, 60
	var wg sync.WaitGroup
	errs := make(chan error, partitions)
	for p := range uint16(partitions) {
		h := acquire(t, e.Store, p)
		wg.Go(func() {
			last := func() error { return nil }
			for i := range batches {
				wait := begin(h, func(b *store.Batch) {
					b.Set(key(p, fmt.Sprintf("k%03d", i)), fmt.Append(nil, i))
					b.Set(key(p, "last"), fmt.Append(nil, i))
				})
				if err := last(); err != nil {
					errs <- err
					return
				}
				last = wait
			}
			errs <- last()
		})
	}
	wg.Wait()
	for range partitions {
		if err := <-errs; err != nil {
			t.Fatal(err)
		}
	}
	var s store.Store
	if e.Crash != nil {
		s = e.Crash()
	} else {
		s = e.Reopen()
	}
	for p := range uint16(partitions) {
		h := acquire(t, s, p)
		want(t, h, p, "last", fmt.Sprint(batches-1))
		for i := range batches {
			want(t, h, p, fmt.Sprintf("k%03d", i), fmt.Sprint(i))
		}
	}
}

func testRelease(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	wait := begin(h, func(b *store.Batch) { b.Set(key(1, "a"), []byte("1")) })
	if err := h.Release(); err != nil {
		t.Fatal(err)
	}
	if err := wait(); err != nil {
		t.Fatalf("wait for a batch begun before the release: %v", err)
	}
	wantErr(t, "begin after release", begin(h, func(b *store.Batch) { b.Set(key(1, "b"), nil) })(), store.ErrClosed)
	_, _, err := store.GetOne(h, key(1, "a"), nil)
	wantErr(t, "get after release", err, store.ErrClosed)
	it := h.Scan(nil, nil)
	if it.Next() {
		t.Fatal("scan after release: got a key")
	}
	wantErr(t, "scan after release", it.Close(), store.ErrClosed)
	if err := h.Release(); err != nil {
		t.Fatalf("second release: %v", err)
	}
	next := acquire(t, e.Store, 1)
	wantScan(t, next, "", "\xff", "a=1")
}

func testClose(t *testing.T, e Engine) {
	h := acquire(t, e.Store, 1)
	h2 := acquire(t, e.Store, 2)
	var waits []func() error
	for i := range 10 { // of two partitions in turn, none waited for
		waits = append(waits, begin(h, func(b *store.Batch) { b.Set(key(1, "a"), fmt.Append(nil, i)) }))
		waits = append(waits, begin(h2, func(b *store.Batch) { b.Set(key(2, "a"), fmt.Append(nil, i)) }))
	}
	if err := e.Store.Close(); err != nil {
		t.Fatal(err)
	}
	for i, wait := range waits {
		if err := wait(); err != nil {
			t.Fatalf("wait for batch %d, begun before close: %v", i, err)
		}
	}
	wantErr(t, "begin after close", begin(h, func(b *store.Batch) { b.Set(key(1, "b"), nil) })(), store.ErrClosed)
	_, _, err := store.GetOne(h, key(1, "a"), nil)
	wantErr(t, "get after close", err, store.ErrClosed)
	_, err = e.Store.Acquire(context.Background(), 1, "x")
	wantErr(t, "acquire after close", err, store.ErrClosed)
	if err := h.Release(); err != nil {
		t.Fatalf("release after close: %v", err)
	}
	if err := e.Store.Close(); err != nil {
		t.Fatalf("second close: %v", err)
	}
	s := e.Reopen()
	want(t, acquire(t, s, 1), 1, "a", "9")
	want(t, acquire(t, s, 2), 2, "a", "9")
}

func testReopen(t *testing.T, e Engine) {
	s := e.Store
	for i := range 5 {
		h := acquire(t, s, 1)
		if i > 0 {
			want(t, h, 1, fmt.Sprint("k", i-1), "v")
		}
		set(t, h, fmt.Sprint("k", i), "v")
		s = e.Reopen()
	}
	wantScan(t, acquire(t, s, 1), "", "\xff", "k0=v k1=v k2=v k3=v k4=v")
}
