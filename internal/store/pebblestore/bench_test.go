package pebblestore

import (
	"encoding/binary"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store/storetest"
)

// openBench is openDisk, and tells the fsyncs of the run.
func openBench(b testing.TB) storetest.Engine {
	dir := b.TempDir()
	s := mustOpen(b, dir, Options{})
	b.Cleanup(func() {
		m := s.Metrics()
		if bb, ok := b.(*testing.B); ok && m.Commits > 1 {
			bb.ReportMetric(float64(m.Fsyncs)*1000/float64(bb.N), "fsyncs/1k")
			bb.ReportMetric(float64(m.FsyncTotal.Microseconds())/float64(m.Fsyncs), "µs/fsync")
		}
		s.Close()
	})
	return storetest.Engine{Store: s, Flush: func() { s.db.Flush() }}
}

func BenchmarkStore(b *testing.B) { storetest.Bench(b, openBench) }

// BenchmarkRaw is the same load straight through Pebble with our settings: every
// caller commits its own put, with the delete of its put a while ago.
func BenchmarkRaw(b *testing.B) {
	for _, callers := range []int{1, 64, 256} {
		b.Run(fmt.Sprintf("callers=%d", callers), func(b *testing.B) { benchRaw(b, callers) })
	}
}

func benchRaw(b *testing.B, callers int) {
	o, err := Options{MemtableBytes: memtableBytesDefault}.withDefaults()
	if err != nil {
		b.Fatal(err)
	}
	g := newGuardFS(o.fs, time.Second, func() error { return nil }, func(err error) { b.Error(err) })
	cache := pebble.NewCache(o.cacheBytes())
	defer cache.Unref()
	db, err := pebble.Open(b.TempDir(), o.pebble(g, cache))
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	value := make([]byte, 150)
	var left, seq atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			var k [11]byte
			for left.Add(-1) >= 0 {
				n := seq.Add(1)
				nb := db.NewBatch()
				if n > 1000 {
					binary.BigEndian.PutUint64(k[3:], uint64(n-1000))
					nb.SingleDelete(k[:], nil)
				}
				binary.BigEndian.PutUint64(k[3:], uint64(n))
				nb.Set(k[:], value, nil)
				if err := nb.Commit(pebble.Sync); err != nil {
					b.Error(err)
					return
				}
				nb.Close()
			}
		})
	}
	wg.Wait()
	b.StopTimer()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tasks/s")
	b.ReportMetric(float64(g.syncs.Load())*1000/float64(b.N), "fsyncs/1k")
	b.ReportMetric(float64(g.syncNanos.Load())/1000/float64(g.syncs.Load()), "µs/fsync")
}

// BenchmarkSynced is what the mark adds to each fsync of a log.
func BenchmarkSynced(b *testing.B) {
	dir := b.TempDir()
	m, err := newSyncMark(vfs.Default, dir, 0, nil)
	if err != nil {
		b.Fatal(err)
	}
	defer m.close(true)
	for n := range uint64(8) {
		if err := m.begin(kindLog, n); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for n := int64(1); b.Loop(); n++ {
		if err := m.raise(kindLog, 7, n); err != nil {
			b.Fatal(err)
		}
	}
}
