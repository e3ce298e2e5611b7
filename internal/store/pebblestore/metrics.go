package pebblestore

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// sizeClasses of batches: 2^10 … 2^25 bytes and more.
const (
	sizeClasses  = 16
	sizeClassMin = 10
)

type counters struct {
	commits, ops, batchBytes, refused         atomic.Int64
	misuses                                   atomic.Int64
	flushes, compactions, deletes, reclaims   atomic.Int64
	stalls, stallNanos, stallStart            atomic.Int64
	slowWrites, backgroundErrors, corruptions atomic.Int64
	sizes                                     [sizeClasses]atomic.Int64
}

func sizeClass(n int) int {
	return min(max(bits.Len(uint(n))-sizeClassMin, 0), sizeClasses-1)
}

// Metrics is a snapshot. Counts are since Open.
type Metrics struct {
	DiskBytes     uint64 // tables and log
	MemtableBytes uint64
	CacheBytes    int64
	FreeBytes     uint64
	Low           bool

	Commits, Ops, BatchBytes int64
	BatchSizes               [sizeClasses]int64 // by 2^(10+i) bytes: up to, the last without end
	Refused                  int64              // batches, for a full disk

	Fsyncs     int64 // of the log: the ones a commit waits for
	FsyncTotal time.Duration
	FsyncMax   time.Duration
	LogBytes   int64

	Reclaims                     int64 // rewrites of all tables for a low disk
	Flushes, Compactions         int64
	Stalls                       int64
	StallTime                    time.Duration
	SlowWrites, BackgroundErrors int64
	Misuses                      int64 // SingleDeletes that broke the contract, as far as Pebble saw them: a bug of ours
	Corruptions                  int64
	TablesL0, Tables             int64
}

// Metrics returns what has happened since Open. It takes Pebble's lock for a
// moment: ask a few times a second at most.
func (s *Store) Metrics() Metrics {
	m := Metrics{
		Commits: s.m.commits.Load(), Ops: s.m.ops.Load(), BatchBytes: s.m.batchBytes.Load(),
		Refused: s.m.refused.Load(),
		Fsyncs:  s.guard.syncs.Load(), FsyncTotal: time.Duration(s.guard.syncNanos.Load()),
		FsyncMax: time.Duration(s.guard.syncMax.Load()), LogBytes: s.guard.logBytes.Load(),
		Flushes: s.m.flushes.Load(), Compactions: s.m.compactions.Load(), Reclaims: s.m.reclaims.Load(),
		Stalls: s.m.stalls.Load(), StallTime: time.Duration(s.m.stallNanos.Load()),
		SlowWrites: s.m.slowWrites.Load(), BackgroundErrors: s.m.backgroundErrors.Load(),
		Corruptions: s.m.corruptions.Load(), Misuses: s.m.misuses.Load(),
	}
	for i := range m.BatchSizes {
		m.BatchSizes[i] = s.m.sizes[i].Load()
	}
	m.FreeBytes = s.space.free.Load()
	if s.enter() != nil {
		return m
	}
	m.FreeBytes, m.Low = s.space.look()
	defer s.gate.RUnlock()
	p := s.db.Metrics()
	m.DiskBytes = p.DiskSpaceUsage()
	m.MemtableBytes = p.MemTable.Size
	m.CacheBytes = p.BlockCache.Size
	m.TablesL0 = p.Levels[0].TablesCount
	m.Tables = p.Total().TablesCount
	return m
}
