// Package pebblestore is the embedded engine: one Pebble database a node, all
// its partitions inside. It knows bytes and fences, not tasks. Its one rule:
// whatever the disk does, the program that embeds us lives on and is told.
package pebblestore

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
)

// ErrCorrupt: bytes on the disk are not those that were written. It is a
// store.ErrDamaged.
var ErrCorrupt error = corrupt{}

type corrupt struct{}

func (corrupt) Error() string {
	return "pebblestore: data is damaged: stop the server and run penstock doctor"
}

func (corrupt) Is(target error) bool { return target == store.ErrDamaged }

// flushFailsMax failed flushes in a row (tableRetryPause apart) end the store:
// waiting writers would hang for ever otherwise.
const flushFailsMax = 20

const (
	itersWaitMax = 5 * time.Second
	gatePoll     = time.Millisecond
)

// Store is an open data folder.
type Store struct {
	o      Options
	dir    string
	folder *folder
	guard  *guardFS
	space  *space
	db     *pebble.DB
	slow   func() error // stops the disk's health checks
	m      counters

	flushFails atomic.Int32
	deadCh     chan struct{} // closed when the store has died

	// gate is held for reading by every call into db. To end them closed or shut is
	// set, and gate locked once. It comes first, then mu, then a hold's; nobody takes
	// it twice.
	gate   sync.RWMutex
	closed atomic.Bool // Close was called
	shut   atomic.Bool // Pebble is being closed
	passed atomic.Bool // the folder is another store's: see Reopen

	down      sync.Once
	downErr   error
	wedgeOnce sync.Once
	wedged    chan struct{} // closed when Pebble can't be closed any more: see wedge

	compactions *scheduler

	group *group

	back       sync.WaitGroup // rewrite, at most one at a time or nearly
	backCtx    context.Context
	backCancel context.CancelFunc
	reclaimed  atomic.Int64 // now() of the last

	tableReads sstable.ReaderOptions

	opened  atomic.Bool // Open is through, or nearly
	closing atomic.Bool // ends iterators

	names atomic.Pointer[[]watched] // that must stay; nil: not watched

	mu     sync.Mutex
	holds  map[uint16]*hold       // guarded by mu
	fences map[uint16]store.Fence // the last of each partition; guarded by mu

	iterMu sync.Mutex
	iters  int           // open ones; guarded by iterMu
	idle   chan struct{} // closed when the last is; guarded by iterMu

	pool  sync.Pool // of *commit
	bopts []pebble.BatchOption
}

var (
	_ store.Store    = (*Store)(nil)
	_ store.Fullness = (*Store)(nil)
)

// Open opens the data folder, and makes it when it is not there or empty.
func Open(dir string, o Options) (*Store, error) {
	o, err := o.withDefaults()
	if err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", dir, err)
	}
	f, err := openFolder(o.fs, dir, o.fds)
	if err != nil {
		return nil, err
	}
	s := newStore(o, dir, f)
	if err := s.open(); err != nil {
		f.close()
		return nil, fmt.Errorf("open data folder %s: %w", dir, explain(err, dir))
	}
	return s, nil
}

func newStore(o Options, dir string, f *folder) *Store {
	s := &Store{
		o: o, dir: dir, folder: f,
		holds:  make(map[uint16]*hold),
		fences: make(map[uint16]store.Fence),
		bopts:  []pebble.BatchOption{pebble.WithMaxRetainedSizeBytes(batchKeepMax)},
	}
	s.group, s.deadCh, s.wedged = newGroup(s), make(chan struct{}), make(chan struct{})
	s.backCtx, s.backCancel = context.WithCancel(context.Background())
	s.reclaimed.Store(now() - int64(o.again))
	s.pool.New = func() any { return newCommit(s) }
	return s
}

func (s *Store) open() error {
	s.guard = newGuardFS(s.folder.fs, s.o.pause, s.lookAtNames, s.died)
	s.compactions = newScheduler(&s.guard.dead)
	sp, err := newSpace(s.o, s.folder.fs, s.dir)
	if err != nil {
		return err
	}
	s.space = sp
	if s.o.MemtableBytes == 0 {
		s.o.MemtableBytes = memtableFor(sp.total)
	}
	s.guard.makeRoom, s.guard.spare = sp.giveUp, sp.spare
	fs, slow := vfs.WithDiskHealthChecks(s.guard, diskSlowAfter, nil, s.diskSlow)
	s.slow = slow.Close
	cache := pebble.NewCache(s.o.cacheBytes())
	defer cache.Unref()
	p := s.o.pebble(fs, cache)
	p.Logger = logger{s}
	p.EventListener = s.listener()
	p.Experimental.CompactionScheduler = s.compactions
	err = s.guard.again(func() (err error) {
		s.guard.mark, err = s.folder.readWhole(p)
		return err
	})
	if err != nil {
		return errors.Join(err, slow.Close())
	}
	db, err := openPebble(s.folder.dbDir(), p)
	s.db = db
	s.tableReads = p.MakeReaderOptions()
	sp.backlog, sp.stuck = s.backlog, s.compactions.stuck
	if err == nil && !s.guard.dead.Load() {
		err = s.folder.finish()
	}
	if err == nil && !s.guard.dead.Load() {
		err = s.checkTables()
	}
	if err == nil && !s.guard.dead.Load() {
		err = s.watch()
	}
	s.opened.Store(true)
	if s.guard.dead.Load() {
		err = *s.guard.cause.Load() // whatever Pebble said since means nothing
	}
	if err == nil {
		return nil
	}
	s.shutdown()
	err = cmp.Or(s.folder.lostTables(err), err)
	return errors.Join(err, slow.Close(), s.guard.mark.close(false), s.guard.unlock())
}

// openPebble turns the panics with which Pebble meets some damaged logs into
// errors.
func openPebble(dir string, p *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if r := recover(); r != nil {
			db, err = nil, fmt.Errorf("%w: %v", ErrCorrupt, r)
		}
	}()
	return pebble.Open(dir, p)
}

// explain gives damage its name and the next step.
func explain(err error, dir string) error {
	if pebble.IsCorruptionError(err) && !errors.Is(err, ErrCorrupt) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	}
	if errors.Is(err, ErrCorrupt) || errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w\nthe server does not start on data that it can't read whole; to see what is wrong and what can be saved: penstock doctor --data %s", err, dir)
	}
	return err
}

// died is called once, when nothing more can be written, maybe with Pebble's
// locks held. Pebble is closed at once, or it would go on flushing and compacting
// into the void. Close waits for that.
func (s *Store) died(why error) {
	close(s.deadCh)
	switch {
	case errors.Is(why, ErrGone):
		s.o.Log.Error("storage: "+why.Error(), "dir", s.dir)
	case errors.Is(why, store.ErrDamaged):
		s.o.Log.Error("storage: the data are damaged, nothing is served any more: stop the server and run penstock doctor --data "+s.dir, "err", why.Error())
	default:
		s.o.Log.Error("storage: no more writes until the data folder is opened anew", "dir", s.dir, "err", why.Error())
	}
	if !s.opened.Load() {
		return
	}
	if s.o.Damaged != nil && errors.Is(why, store.ErrDamaged) {
		s.o.Damaged(why)
	}
	go s.shutdown()
}

// dead is the error of a store that can't go on, or nil.
func (s *Store) dead() error {
	if !s.guard.dead.Load() {
		return nil
	}
	return fmt.Errorf("%w: %w", store.ErrDead, *s.guard.cause.Load())
}

// enter must be followed by s.gate.RUnlock when it returns nil.
func (s *Store) enter() error {
	s.gate.RLock()
	err := error(nil)
	switch {
	case s.closed.Load():
		err = store.ErrClosed
	case s.shut.Load():
		err = s.over()
	default:
		err = s.dead()
	}
	if err != nil {
		s.gate.RUnlock()
	}
	return err
}

// Acquire implements store.Store.
func (s *Store) Acquire(ctx context.Context, partition uint16, owner string) (store.Partition, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if partition > store.PartitionMax {
		return nil, fmt.Errorf("acquire partition %d: the highest is %d", partition, store.PartitionMax)
	}
	if err := s.enter(); err != nil {
		return nil, err
	}
	defer s.gate.RUnlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.holds[partition]; old != nil {
		old.end(store.ErrFenced) // waits for a Begin under way: it is before us in the log
		delete(s.holds, partition)
	}
	fence, err := s.raise(partition, owner)
	if err != nil {
		return nil, fmt.Errorf("acquire partition %d: %w", partition, err)
	}
	h := newHold(s, partition, fence)
	s.holds[partition], s.fences[partition] = h, fence
	return h, nil
}

// raise makes the next epoch of the partition durable.
func (s *Store) raise(partition uint16, owner string) (f store.Fence, err error) {
	defer s.caught(&err)
	key := epochKey(partition)
	old, closer, err := s.db.Get(key)
	switch {
	case err == nil:
		f, err = parseEpoch(old)
		closer.Close()
		if err != nil {
			return f, err
		}
	case errors.Is(err, pebble.ErrNotFound):
	default:
		return f, s.readError(err)
	}
	f.Epoch++
	var nonce [8]byte
	rand.Read(nonce[:]) // ends the program where there is no randomness
	f.Nonce = binary.LittleEndian.Uint64(nonce[:])
	if err := s.db.Set(key, appendEpoch(nil, f, owner), pebble.Sync); err != nil {
		s.guard.kill(err)
	}
	return f, s.dead()
}

// caught turns a panic out of Pebble into a dead store.
func (s *Store) caught(err *error) {
	if r := recover(); r != nil {
		s.wedge()
		s.guard.kill(fmt.Errorf("pebble: %v", r))
		*err = s.dead()
	}
}

// readError names damage as such, and ends the store that has met it.
func (s *Store) readError(err error) error {
	if pebble.IsCorruptionError(err) {
		err = fmt.Errorf("%w: %w", ErrCorrupt, plainError{err})
		s.guard.kill(err)
		if dead := s.dead(); !errors.Is(dead, store.ErrDamaged) {
			return dead // it died of something else, of which this is a consequence
		}
		return err
	}
	return fmt.Errorf("read: %w", err)
}

// Close implements store.Store. Iterators end; it waits a while for their owners
// to close them.
func (s *Store) Close() error {
	err := s.end()
	if s.passed.Load() {
		return err
	}
	return errors.Join(err, s.folder.close())
}

// end closes all but the folder.
func (s *Store) end() error {
	if s.closed.Swap(true) {
		return nil
	}
	err := s.shutdown()
	if s.guard.dead.Load() {
		err = nil // it has been reported, and what Pebble says after it was lied to means nothing
	}
	mark := s.guard.mark.close(!s.guard.dead.Load())
	return errors.Join(err, mark, s.slow(), s.guard.unlock())
}

// shutdown closes Pebble: called by Close, and by the goroutine that died
// starts. The second to come waits for the first.
func (s *Store) shutdown() error {
	s.down.Do(func() { s.downErr = s.shutdownOnce() })
	return s.downErr
}

// shutdownOnce leaves a Pebble that is wedged as it is: whoever waits for it waits
// for ever. What it holds is lost to the program, but nothing of it reaches the
// disk, for the store is dead.
func (s *Store) shutdownOnce() error {
	s.shut.Store(true)
	s.closing.Store(true)
	s.backCancel()
	end := make(chan error, 1)
	go func() { end <- s.shutPebble() }()
	select {
	case err := <-end:
		return err
	case <-s.wedged:
		return nil
	}
}

func (s *Store) shutPebble() error {
	for !s.gate.TryLock() { // who waits for Lock keeps others out, and they are to be told
		select {
		case <-time.After(gatePoll):
		case <-s.wedged:
			return nil
		}
	}
	s.gate.Unlock() // nobody is inside Pebble, nor comes in any more
	why := s.over()
	s.mu.Lock()
	for _, h := range s.holds {
		h.end(why)
	}
	clear(s.holds)
	s.mu.Unlock()
	idle := make(chan struct{})
	s.iterMu.Lock()
	if s.iters == 0 {
		close(idle)
	} else {
		s.idle = idle
	}
	s.iterMu.Unlock()
	select {
	case <-idle:
	case <-time.After(itersWaitMax):
		// Pebble keeps what they still read, and reports them.
	}
	close(s.group.stop)
	if s.db == nil {
		return nil
	}
	s.back.Wait()
	s.group.end.Wait()
	return closePebble(s.db)
}

// over is why nothing goes any more, once that is so.
func (s *Store) over() error {
	if err := s.dead(); err != nil {
		return err
	}
	return store.ErrClosed
}

func closePebble(db *pebble.DB) (err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("close pebble: %v", r)
		}
	}()
	return db.Close()
}

// Free implements store.Fullness.
func (s *Store) Free() (bytes uint64, low bool) {
	if s.enter() != nil {
		return s.space.left(), false
	}
	bytes, low = s.space.look()
	s.gate.RUnlock()
	if low {
		s.reclaim()
	}
	return bytes, low
}

// backlog is what flushes have still to write, and how many levels of tables wait
// for a compaction that finds no room.
func (s *Store) backlog() (bytes uint64, piled int) {
	m := s.db.Metrics()
	if s.compactions.stuck() {
		piled = int(m.Levels[0].Sublevels)
	}
	return m.MemTable.Size, piled
}

// Condemn ends the store, as a disk that fails does: whoever reads the bytes has
// found that they are not what was written.
func (s *Store) Condemn(why error) { s.guard.kill(why) }

// Dead says why nothing can be written any more, or nil.
func (s *Store) Dead() error { return s.dead() }

func now() int64 { return int64(time.Since(processStart)) }

var processStart = time.Now()
