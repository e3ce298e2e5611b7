package pebblestore

import (
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"

	"github.com/penstock-io/penstock/internal/store"
)

// walkFrom is how many points are read by one iterator: for fewer it costs more to
// make one than it saves (docs/decisions/0012).
const walkFrom = 4

// Get implements store.Partition.
func (h *hold) Get(points []store.Point) (err error) {
	if err := store.CheckPoints(h.id, points); err != nil {
		return err
	}
	if err := h.enter(); err != nil {
		return err
	}
	defer h.s.gate.RUnlock()
	defer h.s.caught(&err)
	if len(points) >= walkFrom {
		return h.s.walk(points)
	}
	for i := range points {
		if err := h.s.get(&points[i]); err != nil {
			return err
		}
	}
	return nil
}

func (s *Store) get(p *store.Point) error {
	v, closer, err := s.db.Get(p.Key)
	if p.Found = err == nil; !p.Found {
		if errors.Is(err, pebble.ErrNotFound) {
			return nil
		}
		return s.readError(err)
	}
	p.Value = append(p.Value, v...)
	if err := closer.Close(); err != nil {
		return s.readError(err)
	}
	return nil
}

// walk reads points in the order of their keys, by one iterator. Each is sought
// under its whole key as a prefix, so that filters are asked first, those of the
// last level too, and nothing behind it is looked at: there may be tombstones
// without end.
func (s *Store) walk(points []store.Point) error {
	it, err := s.db.NewIter(&pebble.IterOptions{UseL6Filters: true})
	if err != nil {
		return s.readError(err)
	}
	for _, p := range inOrder(points) {
		if p.Found = it.SeekPrefixGE(p.Key); p.Found {
			v, _ := it.ValueAndErr()
			p.Value = append(p.Value, v...)
		}
		if it.Error() != nil {
			break // here: the next seek would forget it
		}
	}
	if err := it.Close(); err != nil {
		return s.readError(err)
	}
	return nil
}

func inOrder(points []store.Point) []*store.Point {
	sorted := make([]*store.Point, len(points))
	for i := range points {
		sorted[i] = &points[i]
	}
	if !slices.IsSortedFunc(points, store.ComparePoints) {
		slices.SortFunc(sorted, func(a, b *store.Point) int { return store.ComparePoints(*a, *b) })
	}
	return sorted
}
