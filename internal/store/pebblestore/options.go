package pebblestore

import (
	"fmt"
	"log/slog"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	memtableBytesDefault = 12 << 20 // ×4: a million waiting tasks in 120 MiB, see docs/decisions/0001
	memtableBytesSmall   = 512 << 10
	memtableShareOf      = 64       // of a small disk: six logs of a memtable's size each stay there for ever
	memtableBytesMin     = 64 << 10 // below this Pebble's arena has no room for itself
	memtableBytesMax     = 1 << 30
	memtablesMax         = 4
	cacheBytesDefault    = 16 << 20
	openFilesDefault     = 256
	openFilesMin         = 32
	batchBytesMax        = 1 << 30 // Pebble's own end is 4 GiB, and a panic
	batchKeepMax         = 4 << 20 // a burst's buffer is not kept for ever
	diskSlowAfter        = 5 * time.Second
	rangeFlushAfter      = time.Second // a purge gives its space back, even if nothing follows
	l0Stop               = 64          // levels of new tables at which Pebble makes writers wait for a compaction
	l0Hard               = l0Stop - memtablesMax - 1
	l0Low                = l0Stop - 4*memtablesMax
)

// Options: the zero value is the default.
type Options struct {
	MemtableBytes uint64 // one of at most four; 0: 12 MiB, less on a disk below 768 MiB
	CacheBytes    int64  // decompressed blocks
	OpenFiles     int    // tables kept open

	// LowBytes of free disk is where Free says low, HardBytes where every batch
	// is refused, BallastBytes is kept in a file to be given up when a write
	// finds no space. Zero: from the size of the disk. See marks.
	LowBytes, HardBytes, BallastBytes uint64

	Log *slog.Logger // nil: silent

	// Damaged is called once, by any goroutine, when the data prove to be damaged,
	// or gone, while the store is open. It must not call the store. nil: nobody is
	// told but those who call it.
	Damaged func(why error)

	fs    vfs.FS // nil: the real one; tests bring their own
	poll  time.Duration
	step  uint64 // bytes written between two looks at the disk; 0: a share of what is between the marks
	pause time.Duration
	again time.Duration
	check time.Duration
	watch time.Duration
	fds   string // see heldDir
}

func (o Options) withDefaults() (Options, error) {
	if o.CacheBytes == 0 {
		o.CacheBytes = cacheBytesDefault
	}
	if o.OpenFiles == 0 {
		o.OpenFiles = openFilesDefault
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.fs == nil {
		o.fs = vfs.Default
	}
	if o.poll == 0 {
		o.poll = freePoll
	}
	if o.pause == 0 {
		o.pause = tableRetryPause
	}
	if o.check == 0 {
		o.check = tablesCheckFor
	}
	if o.fds == "" {
		o.fds = fdsOf()
	}
	if o.watch == 0 {
		o.watch = watchEvery
	}
	if o.again == 0 {
		o.again = reclaimEvery
	}
	if o.MemtableBytes != 0 && o.MemtableBytes < memtableBytesMin || o.MemtableBytes > memtableBytesMax {
		return o, fmt.Errorf("memtable of %d bytes: choose between %d and %d", o.MemtableBytes, memtableBytesMin, memtableBytesMax)
	}
	if o.CacheBytes < 0 {
		return o, fmt.Errorf("block cache of %d bytes: choose 0 for the default, or more", o.CacheBytes)
	}
	if o.OpenFiles < openFilesMin {
		return o, fmt.Errorf("%d open files are too few: choose 0 for the default, or at least %d", o.OpenFiles, openFilesMin)
	}
	return o, nil
}

// memtableFor sizes memtables for a disk of so many bytes, 0 if that is not known.
func memtableFor(total uint64) uint64 {
	if total == 0 {
		return memtableBytesDefault
	}
	return min(max(total/memtableShareOf, memtableBytesSmall), memtableBytesDefault)
}

// pebble is what docs/decisions/0001-pebble.md argues for.
func (o Options) pebble(fs vfs.FS, cache *pebble.Cache) *pebble.Options {
	p := &pebble.Options{
		FS:                          fs,
		Cache:                       cache,
		FormatMajorVersion:          pebble.FormatTableFormatV6,
		MemTableSize:                o.MemtableBytes,
		MemTableStopWritesThreshold: memtablesMax,
		L0CompactionThreshold:       32,
		FlushSplitBytes:             256 << 10, // see tableBytes
		L0CompactionFileThreshold:   500,
		L0StopWritesThreshold:       l0Stop,
		FlushDelayDeleteRange:       rangeFlushAfter,
		LBaseMaxBytes:               1 << 30, // see tableBytes
		MaxManifestFileSize:         4 << 20, // read twice at every start
		MaxOpenFiles:                o.OpenFiles,
		CompactionConcurrencyRange:  func() (lower, upper int) { return 1, 2 },
	}
	for i := range p.Levels {
		l := &p.Levels[i]
		l.BlockSize = 16 << 10
		l.IndexBlockSize = 64 << 10
		l.FilterPolicy = bloom.FilterPolicy(10) // a Get of an absent key reads nothing
		l.FilterType = pebble.TableFilter
		l.Compression = func() *sstable.CompressionProfile { return block.FastestCompression }
	}
	for i := range p.TargetFileSizes {
		p.TargetFileSizes[i] = tableBytes
	}
	p.TargetFileSizes[0] = firstTableBytes
	return p
}

// Most of what stays is history, written in rising order behind everything else.
// A flush that ends in one table spans all keys, so that each compaction rewrites
// the tables below it whole. Small tables, split where earlier flushes end, keep
// the rewriting to the rim: 1.6 bytes written a byte of history instead of 4.6,
// and a third less CPU a task in batches. For the same reason everything goes to
// one level up to a GiB: with a base level of 64 MiB each birth was rewritten
// twice, which took a fifth of the rate of a bulk enqueue.
const (
	firstTableBytes = 1 << 20
	tableBytes      = 4 << 20
)

// cacheBytes adds what memtables take out of the cache: Pebble books theirs
// there, and a cache of their size alone would hold no block, not even filters.
func (o Options) cacheBytes() int64 { return o.CacheBytes + 2*int64(o.MemtableBytes) }
