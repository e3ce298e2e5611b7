package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
)

// engine is the embedded storage over the life of a server. A store that died —
// its disk was full, or failed once — stays dead until it is opened anew; the
// engine does that when a partition is next acquired, in the same folder or not at
// all. So a server outlives what its disk survives. One whose data are damaged or
// gone stays closed.
type engine struct {
	dir  string
	opts pebblestore.Options
	log  *slog.Logger
	told atomic.Pointer[func(error)] // hears of damage, or of a folder that is gone

	mu     sync.Mutex
	st     *pebblestore.Store // guarded by mu
	why    error              // guarded by mu; why st, which is dead, could not be opened anew
	closed bool               // guarded by mu
}

var (
	_ store.Store    = (*engine)(nil)
	_ store.Fullness = (*engine)(nil)
)

func openEngine(dir string, o pebblestore.Options, log *slog.Logger) (*engine, error) {
	e := &engine{dir: dir, opts: o, log: log}
	e.opts.Damaged = e.damaged
	st, err := pebblestore.Open(dir, e.opts)
	if err != nil {
		return nil, err
	}
	e.st = st
	return e, nil
}

// damaged is called by the store, maybe with locks held.
func (e *engine) damaged(why error) {
	if told := e.told.Load(); told != nil {
		go (*told)(why)
	}
}

// tell has f hear of damage, also of what there has been.
func (e *engine) tell(f func(why error)) {
	e.told.Store(&f)
	if why := e.Dead(); errors.Is(why, store.ErrDamaged) {
		f(why)
	}
}

// Acquire implements store.Store.
func (e *engine) Acquire(ctx context.Context, partition uint16, owner string) (store.Partition, error) {
	st, err := e.alive()
	if err != nil {
		return nil, err
	}
	return st.Acquire(ctx, partition, owner)
}

// alive is the store, opened anew if it had died.
func (e *engine) alive() (*pebblestore.Store, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed {
		return nil, store.ErrClosed
	}
	if e.st.Dead() == nil {
		return e.st, nil
	}
	if err := e.damage(); err != nil {
		return nil, err
	}
	if e.why == nil {
		e.log.Error("the storage has died: opening it anew", "folder", e.dir, "error", e.st.Dead())
	}
	st, err := e.st.Reopen()
	if err != nil {
		e.why = err
		return nil, err
	}
	e.log.Info("the storage is back", "folder", e.dir)
	e.st, e.why = st, nil
	return st, nil
}

// damage is why the store is not to be opened anew, or nil. It is called with mu
// held.
func (e *engine) damage() error {
	for _, why := range []error{e.why, e.st.Dead()} {
		if errors.Is(why, store.ErrDamaged) {
			return why
		}
	}
	return nil
}

// condemn closes the store for good: a partition has found damage in it, or it
// could not be opened anew for damage.
func (e *engine) condemn(why error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.why == nil {
		e.st.Condemn(why) // which says so in the log; if it is dead already it has
		return
	}
	if errors.Is(why, pebblestore.ErrGone) {
		e.log.Error("storage: "+store.Remedy(why, ""), "folder", e.dir)
		return
	}
	e.log.Error("the data are damaged, nothing is served any more: stop the server and run penstock doctor --data "+e.dir, "error", why)
}

// Free implements store.Fullness. A store that is dead is not full.
func (e *engine) Free() (bytes uint64, low bool) {
	e.mu.Lock()
	st := e.st
	e.mu.Unlock()
	return st.Free()
}

// Dead says why nothing can be written now, or nil.
func (e *engine) Dead() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.why != nil {
		return fmt.Errorf("open the storage anew: %w", e.why)
	}
	return e.st.Dead()
}

// Metrics are the readings of the store since it was last opened.
func (e *engine) Metrics() pebblestore.Metrics {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.st.Metrics()
}

// Close implements store.Store.
func (e *engine) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.closed = true
	return e.st.Close()
}
