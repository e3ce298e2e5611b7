package node

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

// space asks the engine for room before new tasks are taken in, and tells in the
// log when refusing begins and ends.
type space struct {
	n    *Node
	full store.Fullness // nil: the engine knows of no disk

	said   atomic.Bool  // that tasks are refused
	saidAt atomic.Int64 // when, in Unix milliseconds
}

// look is what the disk still takes, and whether new tasks are refused for it.
func (s *space) look() (free uint64, low bool) {
	if s.full == nil {
		return 0, false
	}
	free, low = s.full.Free()
	if low != s.said.Load() {
		s.turned(free, low)
	}
	return free, low
}

// turned notes a change. A disk that is just at the mark is told of once in a
// while, not at every turn.
func (s *space) turned(free uint64, low bool) {
	now := time.Now().UnixMilli()
	if low && now-s.saidAt.Load() < lowSayEvery.Milliseconds() || !s.said.CompareAndSwap(!low, low) {
		return
	}
	if !low {
		s.n.cfg.Log.Info("the disk has space again: new tasks are taken", "free", sizeText(free))
		return
	}
	s.saidAt.Store(now)
	s.n.cfg.Log.Warn("the disk is nearly full: new tasks are refused, those that are there can still be finished; free some space", "storage", s.n.cfg.Storage, "free", sizeText(free))
}

// Full says why new tasks are refused for want of disk, and what to do; "" = they
// are taken.
func (n *Node) Full() string {
	free, low := n.space.look()
	if !low {
		return ""
	}
	return fmt.Sprintf("the disk is nearly full, %s free: new tasks are refused until there is space, those that are there can still be finished; free some, or lower the mark (--disk-low)", sizeText(free))
}

func sizeText(bytes uint64) string {
	if bytes < 10<<20 {
		return fmt.Sprintf("%d KiB", bytes>>10)
	}
	return fmt.Sprintf("%d MiB", bytes>>20)
}
