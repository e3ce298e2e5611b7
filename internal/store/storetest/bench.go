package storetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// valueBytes is a small task's payload with its header.
const valueBytes = 150

// Bench measures an engine under the load of a queue: one caller's put, and the
// delete of it in a later batch, is an operation.
func Bench(b *testing.B, open Open) {
	b.Run("Begin", func(b *testing.B) { benchBegin(b, open(b)) })
	for _, c := range []struct{ callers, partitions int }{{1, 1}, {64, 1}, {64, 2}, {256, 1}, {256, 4}} {
		b.Run(fmt.Sprintf("callers=%d/partitions=%d", c.callers, c.partitions), func(b *testing.B) {
			benchCallers(b, open(b), c.callers, c.partitions)
		})
	}
	for _, n := range []int{1, 16, 256} {
		b.Run(fmt.Sprintf("GetHit/%d", n), func(b *testing.B) { benchGet(b, open(b), n, 0, true) })
		b.Run(fmt.Sprintf("GetMiss/%d", n), func(b *testing.B) { benchGet(b, open(b), n, 1, true) })
		b.Run(fmt.Sprintf("GetNear/%d", n), func(b *testing.B) { benchGet(b, open(b), n, 0, false) })
	}
	b.Run("Scan", func(b *testing.B) { benchScan(b, open(b)) })
	b.Run("ScanOpen", func(b *testing.B) { benchScanOpen(b, open(b)) })
}

// benchKey is the nth key of a birth class: partition, class, sequence.
func benchKey(k []byte, p uint16, n uint64) []byte {
	k = append(binary.BigEndian.AppendUint16(k, p), 0x10)
	return binary.BigEndian.AppendUint64(k, n)
}

// benchBegin is the cost of a commit of 32 puts and deletes by one owner, waits
// included: what it allocates is the engine's.
func benchBegin(b *testing.B, e Engine) {
	h := acquire(b, e.Store, 1)
	value := make([]byte, valueBytes)
	var batches [2]store.Batch
	wait := func() error { return nil }
	b.ReportAllocs()
	n := uint64(0)
	for i := 0; b.Loop(); i++ {
		nb := &batches[i%2]
		nb.Reset()
		fillBench(nb, 1, &n, 32, value)
		next := h.Begin(nb)
		if err := wait(); err != nil {
			b.Fatal(err)
		}
		wait = next
	}
	if err := wait(); err != nil {
		b.Fatal(err)
	}
}

// fillBench adds count puts, and the deletes of what was put a while ago:
// deletes first, as the runner does.
func fillBench(nb *store.Batch, p uint16, n *uint64, count int, value []byte) {
	const lag = 1000
	var k [16]byte
	for i := range uint64(count) {
		if *n+i >= lag {
			nb.SingleDelete(benchKey(k[:0], p, *n+i-lag))
		}
	}
	for range count {
		kb, v := nb.SetDeferred(11, len(value))
		benchKey(kb[:0], p, *n)
		copy(v, value)
		*n++
	}
}

// gatherer is the least a runner can be: it takes all who wait, commits them in
// one batch, and replies. Whoever was answered is likely to come again at once:
// it yields until as many are back as the last batch had, or nobody comes any
// more. On two cores that halves the fsyncs a task of gathering the next batch
// while the last is synced (35 → 16 a thousand with 64 callers).
type gatherer struct {
	mu      sync.Mutex
	wake    sync.Cond
	pending []chan error
	done    bool
}

const quietMax = 3 // yields without a newcomer

func (g *gatherer) loop(h store.Partition, p uint16, value []byte) {
	var n uint64
	var nb store.Batch
	var who []chan error
	for {
		who = g.take(who)
		if len(who) == 0 {
			return
		}
		nb.Reset()
		fillBench(&nb, p, &n, len(who), value)
		err := h.Begin(&nb)()
		for _, c := range who {
			c <- err
		}
	}
}

// take returns all who wait, and none at the end; last is the batch before, and
// its memory is used again.
func (g *gatherer) take(last []chan error) []chan error {
	before, quiet := 0, 0
	for quiet < quietMax {
		g.mu.Lock()
		n := len(g.pending)
		g.mu.Unlock()
		if n >= len(last) {
			break
		}
		if n > before {
			before, quiet = n, 0
		} else {
			quiet++
		}
		runtime.Gosched()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for len(g.pending) == 0 && !g.done {
		g.wake.Wait()
	}
	who := g.pending
	g.pending = last[:0]
	return who
}

func (g *gatherer) put(c chan error) error {
	g.mu.Lock()
	g.pending = append(g.pending, c)
	g.mu.Unlock()
	g.wake.Signal()
	return <-c
}

func benchCallers(b *testing.B, e Engine, callers, partitions int) {
	value := make([]byte, valueBytes)
	rnd := rand.New(rand.NewPCG(1, 1))
	for i := range value[:valueBytes/2] {
		value[i] = byte(rnd.Uint32())
	}
	var loops, wg sync.WaitGroup
	gs := make([]*gatherer, partitions)
	for p := range partitions {
		g := &gatherer{}
		g.wake.L = &g.mu
		gs[p] = g
		h := acquire(b, e.Store, uint16(p))
		loops.Go(func() { g.loop(h, uint16(p), value) })
	}
	var left atomic.Int64
	left.Store(int64(b.N))
	b.ReportAllocs()
	b.ResetTimer()
	for c := range callers {
		g := gs[c%partitions]
		wg.Go(func() {
			reply := make(chan error, 1)
			for left.Add(-1) >= 0 {
				if err := g.put(reply); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	for _, g := range gs {
		g.mu.Lock()
		g.done = true
		g.mu.Unlock()
		g.wake.Signal()
	}
	loops.Wait()
}

const benchKeys = 200_000

func fillKeys(b *testing.B, e Engine) store.Partition {
	h := acquire(b, e.Store, 1)
	value := make([]byte, valueBytes)
	var nb store.Batch
	var k [16]byte
	for i := uint64(0); i < benchKeys; {
		nb.Reset()
		for range 1000 {
			nb.Set(benchKey(k[:0], 1, i*2), value)
			i++
		}
		if err := h.Begin(&nb)(); err != nil {
			b.Fatal(err)
		}
	}
	if e.Flush != nil {
		e.Flush()
	}
	return h
}

// benchGet reads n points a call, far from each other or side by side; odd ones
// are not there.
func benchGet(b *testing.B, e Engine, n int, odd uint64, far bool) {
	h := fillKeys(b, e)
	rnd := rand.New(rand.NewPCG(1, 1))
	points := make([]store.Point, n)
	b.ReportAllocs()
	for b.Loop() {
		first := rnd.Uint64N(benchKeys - uint64(n))
		for i := range points {
			p, at := &points[i], first+uint64(i)
			if far {
				at = rnd.Uint64N(benchKeys)
			}
			p.Key, p.Value = benchKey(p.Key[:0], 1, at*2+odd), p.Value[:0]
		}
		if err := h.Get(points); err != nil || points[n-1].Found == (odd == 1) {
			b.Fatalf("get: %v %v", points[n-1].Found, err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/point")
}

func benchScan(b *testing.B, e Engine) {
	h := fillKeys(b, e)
	b.ReportAllocs()
	it := h.Scan(nil, nil)
	for b.Loop() {
		if !it.Next() {
			it.SeekGE(nil)
		}
		_, _ = it.Key(), it.Value()
	}
	if err := it.Close(); err != nil {
		b.Fatal(err)
	}
}

func benchScanOpen(b *testing.B, e Engine) {
	h := fillKeys(b, e)
	b.ReportAllocs()
	var from, to []byte
	i := uint64(0)
	for b.Loop() {
		i = (i + 7919) % benchKeys
		from, to = benchKey(from[:0], 1, i*2), benchKey(to[:0], 1, i*2+40)
		it := h.Scan(from, to)
		for it.Next() {
		}
		if err := it.Close(); err != nil {
			b.Fatal(err)
		}
	}
}
