package pebblestore

import (
	"errors"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/penstock-io/penstock/internal/store"
)

// Reopen opens the folder of a store that has died anew, and ends the store. The
// folder stays open and locked meanwhile, so that it is the same one, and nobody
// else begins in it; one that was taken away is an ErrGone, and never begun anew. It
// may be called again when it failed. The folder then still is this store's, and
// Close gives it up.
func (s *Store) Reopen() (*Store, error) {
	if err := s.dead(); err == nil || errors.Is(err, store.ErrDamaged) {
		return nil, fmt.Errorf("open data folder %s anew: the store has not died of what that could mend: %w", s.dir, err)
	}
	if err := s.end(); err != nil {
		s.o.Log.Warn("what a dead storage says at its end", "error", err)
	}
	if err := s.stillThere(); err != nil {
		return nil, err
	}
	n := newStore(s.o, s.dir, s.folder)
	n.fences = s.fences
	if err := n.open(); err != nil {
		return nil, fmt.Errorf("open data folder %s: %w", s.dir, explain(err, s.dir))
	}
	if err := n.knownFences(); err != nil {
		n.guard.kill(err)
		return nil, errors.Join(err, n.end())
	}
	s.passed.Store(true)
	return n, nil
}

// stillThere is an error when the names do not lead to the folder any more. The
// file SYNCED may be another by now: it is begun anew at each opening, and who has
// to start without it removes it.
func (s *Store) stillThere() error {
	all := s.names.Load()
	if all == nil {
		return nil
	}
	for i := range *all {
		w := &(*all)[i]
		if w.path == s.folder.path(syncedName) {
			continue
		}
		if err := w.look(s.o.fs, s.dir); err != nil {
			return err
		}
	}
	return nil
}

// knownFences is an error when the store is not the one that was open before: who
// acquired a partition of it left a number there that only chance knows.
func (s *Store) knownFences() error {
	for partition, want := range s.fences {
		v, closer, err := s.db.Get(epochKey(partition))
		var got store.Fence
		if err == nil {
			got, err = parseEpoch(v)
			closer.Close()
		}
		if err != nil && !errors.Is(err, pebble.ErrNotFound) {
			return s.readError(err)
		}
		if got.Epoch < want.Epoch || got.Epoch == want.Epoch && got.Nonce != want.Nonce {
			return gone{fmt.Sprintf("the data folder %s holds other data than before: "+goneRemedy, s.dir, s.dir)}
		}
	}
	return nil
}
