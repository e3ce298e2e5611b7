package partition

import (
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/store"
)

// points are records that are read in one go. Their memory is used again.
type points struct{ list []store.Point }

// add makes room for one more, with an empty key and value.
func (p *points) add() *store.Point {
	if n := len(p.list); n < cap(p.list) {
		p.list = p.list[:n+1]
	} else {
		p.list = append(p.list, store.Point{})
	}
	x := &p.list[len(p.list)-1]
	x.Key, x.Value, x.Found = x.Key[:0], x.Value[:0], false
	return x
}

// reset forgets the points, and the memory of the larger ones.
func (p *points) reset() {
	for i := range p.list {
		if x := &p.list[i]; cap(x.Value) > pointKeepMax {
			x.Value = nil
		}
	}
	p.list = p.list[:0]
}

// sort brings the points into the order of their keys, for find.
func (p *points) sort() {
	if !slices.IsSortedFunc(p.list, store.ComparePoints) {
		slices.SortFunc(p.list, store.ComparePoints)
	}
}

// find returns the point under key, or nil.
func (p *points) find(key []byte) *store.Point {
	if i, ok := slices.BinarySearchFunc(p.list, store.Point{Key: key}, store.ComparePoints); ok {
		return &p.list[i]
	}
	return nil
}

// read reads what stands in list.
func (r *Runner) read(list []store.Point) error {
	if len(list) == 0 {
		return nil
	}
	if err := r.part.Get(list); err != nil {
		return fmt.Errorf("read %d records from %x on: %w", len(list), list[0].Key, err)
	}
	return nil
}

// ask is a point that a Want leads to, and what is done with it.
type ask struct {
	loaded int // the answer that it is for: Runner.loaded
	got    func(r *Runner, a ask, p *store.Point) error
}

// round is what all Wants of a turn need next. What is found leads on to the
// points of the round after it.
type round struct {
	asks []ask
	points
}

func (s *round) ask(a ask) *store.Point {
	s.asks = append(s.asks, a)
	return s.add()
}

// readRounds reads until nothing is asked for any more: a few calls, however many
// Wants there are.
func (r *Runner) readRounds() error {
	for len(r.next.asks) > 0 {
		s := r.next
		r.next, r.spare = r.spare, s
		if err := r.readRound(s); err != nil {
			return err
		}
		s.asks = s.asks[:0]
		s.reset()
	}
	return nil
}

// readRound reads a round in calls that grow as long as they bring little, and
// hands out what each brings before the next.
func (r *Runner) readRound(s *round) error {
	most := readPointsMin
	for from := 0; from < len(s.asks); {
		to := min(from+most, len(s.asks))
		if err := r.read(s.list[from:to]); err != nil {
			return err
		}
		bytes := 0
		for i := from; i < to; i++ {
			bytes += len(s.list[i].Value)
			if err := s.asks[i].got(r, s.asks[i], &s.list[i]); err != nil {
				return err
			}
			if cap(s.list[i].Value) > pointKeepMax {
				s.list[i].Value = nil
			}
		}
		if most = readPointsMin; bytes < readBytesMax/readPointsGrow {
			most = readPointsMin * readPointsGrow
		}
		from = to
	}
	return nil
}
