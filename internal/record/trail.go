package record

import (
	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// trail knows where tasks went: by it a record is told for stale whose deletion
// was lost with a damaged file.
type trail struct {
	timed, dead, ended seqSet
	moved              map[task.Seq]queue.Where
}

func (t *trail) live(keep bool, pl queue.Place) {
	if keep && pl.Class == task.ClassTimed {
		t.timed.add(pl.Seq)
	}
}

func (t *trail) died(keep bool, seq task.Seq) {
	if keep {
		t.dead.add(seq)
	}
}

func (t *trail) finished(keep bool, seq task.Seq) {
	if keep {
		t.ended.add(seq)
	}
}

func (t *trail) where(w *queue.Where) {
	if t.moved == nil {
		t.moved = make(map[task.Seq]queue.Where)
	}
	t.moved[w.Seq] = *w
}

func (t *trail) stale(u *Unfinished) bool {
	seq := u.ID.Seq
	if w, ok := t.moved[seq]; ok {
		if w.Dead.Queue != 0 {
			return u.State != task.Dead
		}
		return u.State == task.Dead || w.Place != u.Place()
	}
	switch {
	case t.ended.has(seq):
		return true
	case u.State == task.Dead:
		return false
	case t.dead.has(seq):
		return true
	}
	return u.Class != task.ClassTimed && t.timed.has(seq)
}

// seqSet is a set of numbers that lie close together.
type seqSet map[task.Seq]*[seqsABlock / 64]uint64

const seqsABlock = 1 << 12

func (s *seqSet) add(seq task.Seq) {
	if *s == nil {
		*s = make(seqSet)
	}
	b := (*s)[seq/seqsABlock]
	if b == nil {
		b = new([seqsABlock / 64]uint64)
		(*s)[seq/seqsABlock] = b
	}
	b[seq%seqsABlock/64] |= 1 << (seq % 64)
}

func (s seqSet) has(seq task.Seq) bool {
	b := s[seq/seqsABlock]
	return b != nil && b[seq%seqsABlock/64]&(1<<(seq%64)) != 0
}
