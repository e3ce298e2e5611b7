package pebblestore

import (
	"context"
	"errors"
	"time"
)

const (
	reclaimEvery  = time.Minute
	reclaimBytes  = 4 << 30 // above this Pebble's own compactions leave little, and rewriting all takes long
	reclaimDelete = 1000    // deletions that make it worth while
)

var errTooLarge = errors.New("too large to rewrite")

// reclaim rewrites the tables without what was deleted, when the disk is low.
// Pebble compacts when writes push it to; a queue that has drained writes nothing
// more, and its dead tasks would keep new ones out for ever. It is called by
// whoever found the disk low, and returns at once.
func (s *Store) reclaim() {
	if s.m.deletes.Load() >= reclaimDelete && s.enter() == nil {
		s.startReclaim()
		s.gate.RUnlock()
	}
}

// startReclaim is called with the gate held, so that shutdown has not begun to
// wait.
func (s *Store) startReclaim() {
	t := now()
	last := s.reclaimed.Load()
	if s.m.deletes.Load() < reclaimDelete || t-last < int64(s.o.again) || !s.reclaimed.CompareAndSwap(last, t) {
		return
	}
	deletes := s.m.deletes.Swap(0)
	s.compactions.release()
	s.back.Go(func() { s.rewrite(deletes) })
}

// rewrite ends when its work is done, or when shutdown cancels it. What was deleted
// is still there after an error.
func (s *Store) rewrite(deletes int64) {
	start := time.Now()
	if err := s.compact(); err != nil {
		s.m.deletes.Add(deletes)
		if !errors.Is(err, context.Canceled) && !errors.Is(err, errTooLarge) {
			s.o.Log.Warn("storage: could not take back the space of what was deleted", "err", err.Error())
		}
		return
	}
	s.m.reclaims.Add(1)
	s.o.Log.Info("storage: disk is low, took back the space of what was deleted", "took", time.Since(start))
	s.space.refresh()
}

func (s *Store) compact() (err error) {
	defer s.caught(&err)
	if s.db.Metrics().DiskSpaceUsage() > reclaimBytes {
		return errTooLarge
	}
	return s.db.Compact(s.backCtx, []byte{0}, []byte{0xff, 0xff, 0xff}, false)
}
