package pebblestore

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS stands between Pebble and the disk, because Pebble can't be told
// about a failed write of its log or manifest: it panics while it holds its
// locks, in one place with an unlock that ends the process whatever anybody
// recovers (rotateWAL, v2.1.7), or calls Logger.Fatalf.
//
//	a write of log, manifest or directory that fails ──▶ dead
//	dead: nothing reaches the disk any more; Pebble is told that all went well
//
// So Pebble never learns, its waits end, and it can be closed and its memory
// freed. Whoever waits for a commit asks dead after Pebble said "durable", never
// before: a lie was told only after dead was set. What is on the disk is what a
// crash at that moment would have left.
//
// Tables are different: Pebble copes with a table that could not be written, so
// it is told.
type guardFS struct {
	vfs.FS
	dead   atomic.Bool
	cause  atomic.Pointer[error] // set before dead is
	gone   func() error          // what became of the folder meanwhile, if anything did
	onDead func(error)           // called once, by the call that failed
	once   sync.Once

	// makeRoom gives up the ballast when the disk is full, and says whether
	// there was any left to give. Compactions don't get it: they can wait. What
	// they may write spare says.
	makeRoom func() bool
	spare    func(bytes int) bool
	pause    time.Duration // before Pebble hears of a table that found no space

	mark *syncMark // nil: nothing is kept of what was synced

	writtenMu    sync.Mutex
	writtenFiles map[string]watched // logs and manifests; guarded by writtenMu

	lockMu sync.Mutex
	locks  []io.Closer // Pebble's own; guarded by lockMu

	syncs     atomic.Int64 // of the log
	syncNanos atomic.Int64
	syncMax   atomic.Int64
	logBytes  atomic.Int64
}

const (
	tableRetryPause    = 100 * time.Millisecond // Pebble repeats a failed flush at once, for ever
	categoryCompaction = "pebble-compaction"
)

func newGuardFS(fs vfs.FS, pause time.Duration, gone func() error, onDead func(error)) *guardFS {
	return &guardFS{FS: fs, pause: pause, gone: gone, onDead: onDead, makeRoom: func() bool { return false }, spare: func(int) bool { return true }, writtenFiles: make(map[string]watched)}
}

// kill ends all writing. It may be called from anywhere, more than once. A write
// that fails because the folder was taken away is no fault that opening it anew
// could mend.
func (g *guardFS) kill(why error) {
	g.once.Do(func() {
		if !errors.Is(why, ErrGone) {
			why = cmp.Or(g.gone(), why)
		}
		g.cause.Store(&why)
		g.dead.Store(true)
		g.onDead(why)
	})
}

// fatal is what Pebble hears of err, which came from a file it can't do without:
// nothing.
func (g *guardFS) fatal(err error) error {
	if err != nil {
		g.kill(err)
	}
	return nil
}

func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// again runs op, and once more when it found the disk full and room could be
// made.
func (g *guardFS) again(op func() error) error {
	err := op()
	if err != nil && noSpace(err) && g.makeRoom() {
		err = op()
	}
	return err
}

func isTable(name string) bool {
	return strings.HasSuffix(name, ".sst") || strings.HasSuffix(name, ".blob")
}

// begin takes the file that is about to be made into the mark, if it is one of
// those: before a log is begun, what was synced of the ones before it is made
// durable.
func (g *guardFS) begin(name string) {
	kind, number := syncedKind(g.FS.PathBase(name))
	if kind == kindOther || g.dead.Load() {
		return
	}
	err := g.again(func() error { return g.mark.begin(kind, number) })
	if err == nil && kind == kindLog {
		err = g.mark.sync()
	}
	if err != nil {
		g.kill(err)
	}
}

// open makes a file by op, and stands guard over it.
func (g *guardFS) open(name string, c vfs.DiskWriteCategory, op func() (vfs.File, error)) (vfs.File, error) {
	if g.dead.Load() {
		return &voidFile{name: name}, nil
	}
	var f vfs.File
	try := func() (err error) {
		f, err = op()
		return err
	}
	patient := c == categoryCompaction
	var err error
	if patient {
		err = try()
	} else {
		err = g.again(try)
	}
	if err != nil {
		if isTable(name) && !errors.Is(err, ErrGone) {
			return nil, g.slow(err)
		}
		g.kill(err)
		return &voidFile{name: name}, nil
	}
	kind, number := syncedKind(g.FS.PathBase(name))
	if kind != kindOther {
		g.note(name, f)
	}
	return &guardFile{File: f, g: g, path: name, table: isTable(name), kind: kind, number: number, patient: patient, named: kind == kindLog && links(f) > 0}, nil
}

// slow keeps Pebble from trying a full disk in a busy loop.
func (g *guardFS) slow(err error) error {
	if noSpace(err) {
		time.Sleep(g.pause)
	}
	return err
}

func (g *guardFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.begin(name)
	f, err := g.open(name, c, func() (vfs.File, error) { return g.FS.Create(name, c) })
	if err == nil && strings.HasPrefix(g.FS.PathBase(name), manifestPrefix) {
		err = g.syncDir(g.FS.PathDir(name))
	}
	return f, err
}

// syncDir makes a new manifest's name durable before Pebble moves the marker that
// points to it: on a file system that keeps no order between names, a power cut
// could leave the marker alone.
func (g *guardFS) syncDir(dir string) error {
	d, err := g.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (g *guardFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	g.mark.forget(syncedKind(g.FS.PathBase(old)))
	g.unnote(old)
	g.begin(name)
	return g.open(name, c, func() (vfs.File, error) { return g.FS.ReuseForWrite(old, name, c) })
}

func (g *guardFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return g.open(name, c, func() (vfs.File, error) { return g.FS.OpenReadWrite(name, c, o...) })
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	return g.open(name, "", func() (vfs.File, error) { return g.FS.OpenDir(name) })
}

// change is a change of the directory that Pebble can't do without.
func (g *guardFS) change(op func() error) error {
	if g.dead.Load() {
		return nil
	}
	return g.fatal(g.again(op))
}

func (g *guardFS) Link(old, name string) error {
	return g.change(func() error { return g.FS.Link(old, name) })
}

func (g *guardFS) Rename(old, name string) error {
	return g.change(func() error { return g.FS.Rename(old, name) })
}

func (g *guardFS) MkdirAll(dir string, perm os.FileMode) error {
	return g.change(func() error { return g.FS.MkdirAll(dir, perm) })
}

func (g *guardFS) Remove(name string) error {
	if g.dead.Load() {
		return nil
	}
	g.mark.forget(syncedKind(g.FS.PathBase(name)))
	g.unnote(name)
	return g.FS.Remove(name)
}

func (g *guardFS) RemoveAll(name string) error {
	if g.dead.Load() {
		return nil
	}
	return g.FS.RemoveAll(name)
}

// Lock keeps the closer: a store that Pebble has wedged is never closed by it.
func (g *guardFS) Lock(name string) (io.Closer, error) {
	l, err := g.FS.Lock(name)
	if err != nil {
		return nil, err
	}
	g.lockMu.Lock()
	defer g.lockMu.Unlock()
	g.locks = append(g.locks, l)
	return io.NopCloser(nil), nil
}

func (g *guardFS) unlock() error {
	g.lockMu.Lock()
	defer g.lockMu.Unlock()
	var errs []error
	for _, l := range g.locks {
		errs = append(errs, l.Close())
	}
	g.locks = nil
	return errors.Join(errs...)
}

func (g *guardFS) Unwrap() vfs.FS { return g.FS }

// guardFile is a file being written.
type guardFile struct {
	vfs.File
	g       *guardFS
	path    string
	named   bool // a log whose names can be counted
	table   bool
	patient bool // a compaction's
	kind    fileKind
	number  uint64
	written atomic.Int64
}

func (f *guardFile) Write(p []byte) (int, error) {
	if f.g.dead.Load() {
		return len(p), nil
	}
	if f.patient && f.table && !f.g.spare(len(p)) {
		return 0, f.verdict(fmt.Errorf("compact into %s: the rest of the disk is for finishing: %w", f.path, syscall.ENOSPC))
	}
	n, err := f.File.Write(p)
	if err != nil && noSpace(err) && !f.patient && f.g.makeRoom() {
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	f.written.Add(int64(n))
	if f.kind == kindLog {
		f.g.logBytes.Add(int64(n))
	}
	if err != nil {
		if err = f.verdict(err); err == nil {
			n = len(p)
		}
	}
	return n, err
}

func (f *guardFile) WriteAt(p []byte, off int64) (int, error) {
	if f.g.dead.Load() {
		return len(p), nil
	}
	n, err := f.File.WriteAt(p, off)
	if err != nil {
		if err = f.verdict(err); err == nil {
			n = len(p)
		}
	}
	return n, err
}

// verdict decides what Pebble hears.
func (f *guardFile) verdict(err error) error {
	if err == nil {
		return nil
	}
	if f.table && !f.g.dead.Load() {
		return f.g.slow(err)
	}
	return f.g.fatal(err)
}

// sync never tries a second time: after a failed fsync nobody knows what the
// kernel has thrown away.
func (f *guardFile) sync(op func() error) error {
	if f.g.dead.Load() {
		return nil
	}
	if f.kind == kindOther {
		return f.verdict(op())
	}
	written := f.written.Load() // what is written from now on may not be synced
	start := time.Now()
	err := op()
	took := int64(time.Since(start))
	if err == nil {
		err = f.linked()
	}
	if err == nil {
		err = f.g.again(func() error { return f.g.mark.raise(f.kind, f.number, written) })
	}
	if f.kind != kindLog {
		return f.verdict(err)
	}
	f.g.syncs.Add(1)
	f.g.syncNanos.Add(took)
	if took > f.g.syncMax.Load() {
		f.g.syncMax.Store(took) // one log, one syncer: no race worth a loop
	}
	return f.verdict(err)
}

func (f *guardFile) Sync() error     { return f.sync(f.File.Sync) }
func (f *guardFile) SyncData() error { return f.sync(f.File.SyncData) }

func (f *guardFile) SyncTo(length int64) (fullSync bool, err error) {
	if f.g.dead.Load() {
		return true, nil
	}
	fullSync, err = f.File.SyncTo(length)
	return fullSync, f.verdict(err)
}

// Preallocate is a kindness to the file system; a full disk shows at the write.
func (f *guardFile) Preallocate(offset, length int64) error {
	if f.g.dead.Load() {
		return nil
	}
	err := f.File.Preallocate(offset, length)
	if err != nil && noSpace(err) {
		return nil
	}
	return err
}

func (f *guardFile) Close() error {
	err := f.File.Close()
	if f.g.dead.Load() {
		return nil
	}
	return f.verdict(err)
}

// voidFile is what a dead store writes into.
type voidFile struct {
	name string
	size int64
}

func (f *voidFile) Close() error                              { return nil }
func (f *voidFile) Read([]byte) (int, error)                  { return 0, io.EOF }
func (f *voidFile) ReadAt([]byte, int64) (int, error)         { return 0, io.EOF }
func (f *voidFile) WriteAt(p []byte, _ int64) (int, error)    { return len(p), nil }
func (f *voidFile) Preallocate(int64, int64) error            { return nil }
func (f *voidFile) Sync() error                               { return nil }
func (f *voidFile) SyncData() error                           { return nil }
func (f *voidFile) SyncTo(int64) (fullSync bool, err error)   { return true, nil }
func (f *voidFile) Prefetch(offset int64, length int64) error { return nil }
func (f *voidFile) Fd() uintptr                               { return vfs.InvalidFd }

func (f *voidFile) Write(p []byte) (int, error) {
	f.size += int64(len(p))
	return len(p), nil
}

func (f *voidFile) Stat() (vfs.FileInfo, error) { return voidInfo{f}, nil }

type voidInfo struct{ f *voidFile }

func (i voidInfo) Name() string           { return i.f.name }
func (i voidInfo) Size() int64            { return i.f.size }
func (i voidInfo) Mode() os.FileMode      { return 0o600 }
func (i voidInfo) ModTime() time.Time     { return time.Time{} }
func (i voidInfo) IsDir() bool            { return false }
func (i voidInfo) Sys() any               { return nil }
func (i voidInfo) DeviceID() vfs.DeviceID { return vfs.DeviceID{} }
