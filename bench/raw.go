package main

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// The machine's own limits, measured in the same run: the bare fsync, and the
// bytes of a task put and deleted straight through Pebble.

const (
	rawKeyBytes   = 20  // a birth key: partition, class, queue, priority, lane, sequence
	rawValueBytes = 160 // 100 of payload and a header
	noiseBytes    = 64 << 10
)

// noise is what payloads are cut from, so that they compress as little as real
// ones do.
var noise = func() []byte {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	b := make([]byte, noiseBytes)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return b
}()

// cutAt is where to cut n bytes.
func cutAt(n int) int { return rand.IntN(noiseBytes - n) }

func cutNoise(n int) []byte {
	at := cutAt(n)
	return noise[at : at+n]
}

// bareFsync appends 4 KiB and syncs it, one after the other (every = 0) or
// paced, and records into h how long each took.
func bareFsync(ctx context.Context, dir string, h *histogram, d, every time.Duration) error {
	f, err := os.CreateTemp(dir, "fsync-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	defer f.Close()
	block := cutNoise(4096)
	start := time.Now()
	for next := start; time.Since(start) < d; next = next.Add(every) {
		if err := sleep(ctx, time.Until(next)); err != nil {
			return err
		}
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return err
		}
		if err := syscall.Fdatasync(int(f.Fd())); err != nil {
			return err
		}
		h.record(time.Since(at))
	}
	return nil
}

// rawDB is a Pebble of its own with the settings that suit this work best.
type rawDB struct {
	db   *pebble.DB
	dir  string
	seqs atomic.Uint64
	fs   *countingFS
}

func openRaw(dir string) (*rawDB, error) {
	dir, err := os.MkdirTemp(dir, "raw-*")
	if err != nil {
		return nil, err
	}
	fs := &countingFS{FS: vfs.Default}
	db, err := pebble.Open(filepath.Join(dir, "db"), &pebble.Options{
		FS:                          fs,
		MemTableSize:                16 << 20,
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       16,
		L0StopWritesThreshold:       64,
		Logger:                      quietLogger{},
	})
	if err != nil {
		return nil, err
	}
	return &rawDB{db: db, dir: dir, fs: fs}, nil
}

func (r *rawDB) close() {
	_ = r.db.Close()
	_ = os.RemoveAll(r.dir)
}

// putDelete puts n tasks in one synced batch, deletes them in another, and
// returns how long the put took.
func (r *rawDB) putDelete(n int) (time.Duration, error) {
	first := r.seqs.Add(uint64(n)) - uint64(n)
	start := time.Now()
	if err := r.put(first, n); err != nil {
		return 0, err
	}
	took := time.Since(start)
	return took, r.remove(first, n)
}

func (r *rawDB) put(first uint64, n int) error {
	b := r.db.NewBatch()
	var key [rawKeyBytes]byte
	for i := range n {
		if err := b.Set(rawKey(&key, first+uint64(i)), cutNoise(rawValueBytes), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

func (r *rawDB) remove(first uint64, n int) error {
	b := r.db.NewBatch()
	var key [rawKeyBytes]byte
	for i := range n {
		if err := b.SingleDelete(rawKey(&key, first+uint64(i)), nil); err != nil {
			return err
		}
	}
	return b.Commit(pebble.Sync)
}

func rawKey(key *[rawKeyBytes]byte, seq uint64) []byte {
	key[2] = 0x10
	binary.BigEndian.PutUint64(key[rawKeyBytes-8:], seq)
	return key[:]
}

// rawSteady is the steady state on bare Pebble: each caller puts a batch of
// tasks, waits for the disk, deletes it and waits again.
func rawSteady(ctx context.Context, e *env, callers, batch int) (row, error) {
	r, err := openRaw(e.dir)
	if err != nil {
		return row{}, err
	}
	defer r.close()
	return r.measure(ctx, e, callers, batch, r.putDelete)
}

// rawBulk is bulk enqueue on bare Pebble: puts only.
func rawBulk(ctx context.Context, e *env, callers, batch int) (row, error) {
	r, err := openRaw(e.dir)
	if err != nil {
		return row{}, err
	}
	defer r.close()
	return r.measure(ctx, e, callers, batch, func(n int) (time.Duration, error) {
		first := r.seqs.Add(uint64(n)) - uint64(n)
		start := time.Now()
		err := r.put(first, n)
		return time.Since(start), err
	})
}

func (r *rawDB) measure(ctx context.Context, e *env, callers, batch int,
	step func(n int) (time.Duration, error)) (row, error) {
	var done atomic.Int64
	var lat histogram
	all := startCallers(ctx, callers, func(context.Context) error {
		took, err := step(batch)
		if err == nil {
			lat.record(took)
			done.Add(int64(batch))
		}
		return err
	})
	out, err := e.window(ctx, &lat, func() (usage, error) {
		u := selfUsage()
		u.Fsyncs, u.Tasks = r.fs.syncs.Load(), done.Load()
		u.DiskBytes, u.Files = diskBytes(r.dir)
		return u, nil
	}, nil)
	return out, errors.Join(err, all.close())
}

// quietLogger keeps Pebble's chatter off the terminal; a fault still ends it.
type quietLogger struct{}

func (quietLogger) Infof(string, ...any)  {}
func (quietLogger) Errorf(string, ...any) {}
func (quietLogger) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// countingFS counts the syncs of the write-ahead log.
type countingFS struct {
	vfs.FS
	syncs atomic.Int64
}

type countingFile struct {
	vfs.File
	syncs *atomic.Int64
}

// Create is vfs.FS's.
func (c *countingFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.Create(name, category)
	return c.counted(f, name), err
}

// ReuseForWrite is vfs.FS's.
func (c *countingFS) ReuseForWrite(from, to string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := c.FS.ReuseForWrite(from, to, category)
	return c.counted(f, to), err
}

func (c *countingFS) counted(f vfs.File, name string) vfs.File {
	if f == nil || filepath.Ext(name) != ".log" {
		return f
	}
	return countingFile{f, &c.syncs}
}

// Sync is vfs.File's.
func (f countingFile) Sync() error {
	f.syncs.Add(1)
	return f.File.Sync()
}

// SyncData is vfs.File's.
func (f countingFile) SyncData() error {
	f.syncs.Add(1)
	return f.File.SyncData()
}
