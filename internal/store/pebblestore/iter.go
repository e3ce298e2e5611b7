package pebblestore

import (
	"bytes"
	"fmt"

	"github.com/cockroachdb/pebble/v2"
)

// iter walks one pinned view. The store's Close ends it, and waits for it to be
// closed before it takes the memory away.
type iter struct {
	s      *Store
	it     *pebble.Iterator // nil after the end
	from   []byte
	to     []byte
	walked bool // positioned: the next Next moves on
	peeked bool // positioned by a seek: the next Next or Prev stays
	valid  bool
	err    error
}

// newIter is called with the gate held.
func (s *Store) newIter(from, to []byte) *iter {
	it := &iter{s: s, from: from, to: to}
	p, err := s.pin(from, to)
	if err != nil {
		it.err = err
		return it
	}
	it.it = p
	s.iterMu.Lock()
	s.iters++
	s.iterMu.Unlock()
	return it
}

func (s *Store) pin(from, to []byte) (it *pebble.Iterator, err error) {
	defer s.caught(&err)
	it, err = s.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to, UseL6Filters: true})
	if err != nil {
		err = s.readError(err)
	}
	return it, err
}

func (it *iter) Next() bool { return it.walk((*pebble.Iterator).First, (*pebble.Iterator).Next) }
func (it *iter) Prev() bool { return it.walk((*pebble.Iterator).Last, (*pebble.Iterator).Prev) }

func (it *iter) walk(begin, on func(*pebble.Iterator) bool) bool {
	if !it.usable() {
		return false
	}
	defer it.caught()
	switch {
	case it.peeked:
		it.peeked = false
	case !it.walked:
		it.valid = begin(it.it)
	case it.valid:
		it.valid = on(it.it)
	}
	it.walked = true
	return it.valid
}

func (it *iter) SeekGE(key []byte) { it.seek(key, (*pebble.Iterator).SeekGE) }
func (it *iter) SeekLT(key []byte) { it.seek(key, (*pebble.Iterator).SeekLT) }

func (it *iter) seek(key []byte, to func(*pebble.Iterator, []byte) bool) {
	if !it.usable() {
		return
	}
	defer it.caught()
	it.valid = to(it.it, key)
	it.walked, it.peeked = true, true
}

// Find seeks key as a prefix, so that filters are asked first, and what range
// tombstones have deleted behind it is let be.
func (it *iter) Find(key []byte) bool {
	if !it.usable() || bytes.Compare(key, it.from) < 0 || bytes.Compare(key, it.to) >= 0 {
		return false
	}
	defer it.caught()
	it.valid, it.walked, it.peeked = false, true, false
	found := it.it.SeekPrefixGE(key)
	if err := it.it.Error(); err != nil && it.err == nil { // the next seek would forget it
		it.err = it.s.readError(err)
	}
	return found
}

func (it *iter) usable() bool {
	if it.it == nil {
		return false
	}
	if it.s.closing.Load() {
		it.valid, it.err = false, it.s.over()
		return false
	}
	return true
}

func (it *iter) Key() []byte   { return it.it.Key() }
func (it *iter) Value() []byte { return it.it.Value() }

func (it *iter) Close() error {
	if it.it == nil {
		return it.err
	}
	err := it.close()
	if err != nil && it.err == nil {
		it.err = it.s.readError(err)
	}
	it.it = nil
	s := it.s
	s.iterMu.Lock()
	defer s.iterMu.Unlock()
	s.iters--
	if s.iters == 0 && s.idle != nil {
		close(s.idle)
		s.idle = nil
	}
	return it.err
}

func (it *iter) close() (err error) {
	defer it.s.caught(&err)
	return it.it.Close()
}

// caught ends the walk when Pebble panicked.
func (it *iter) caught() {
	if r := recover(); r != nil {
		it.s.wedge()
		it.s.guard.kill(fmt.Errorf("pebble: %v", r))
		it.valid, it.err = false, it.s.dead()
	}
}
