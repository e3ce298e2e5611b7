package pebblestore

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// logger is what Pebble gets instead of its own, whose Fatalf ends the process.
type logger struct{ s *Store }

func (l logger) Infof(string, ...any) {}

func (l logger) Errorf(format string, args ...any) {
	l.s.o.Log.Warn("pebble: " + fmt.Sprintf(format, args...))
}

// Fatalf ends the store and returns. Pebble goes on as if nothing was, but
// nothing it does reaches the disk any more, nor any caller.
func (l logger) Fatalf(format string, args ...any) {
	l.s.guard.kill(fmt.Errorf("pebble: "+format, args...))
}

// emptyFlush is what Pebble calls a flush of which nothing was left to write. It
// is no failure, and has no name to compare with.
const emptyFlush = "empty"

// listener is called by Pebble, partly with its locks held: it counts, and
// calls nothing of Pebble's.
func (s *Store) listener() *pebble.EventListener {
	l := &pebble.EventListener{
		BackgroundError: func(err error) {
			s.m.backgroundErrors.Add(1)
			if pebble.IsCorruptionError(err) {
				s.guard.kill(fmt.Errorf("%w: %w", ErrCorrupt, plainError{err}))
				return
			}
			s.o.Log.Warn("storage: background work failed", "err", err.Error())
		},
		DataCorruption: func(info pebble.DataCorruptionInfo) {
			s.m.corruptions.Add(1)
			s.unreadable(fmt.Errorf("%w: %s: %w", ErrCorrupt, info.Path, plainError{info.Details}))
		},
		PossibleAPIMisuse: func(info pebble.PossibleAPIMisuseInfo) {
			if info.Kind == pebble.NondeterministicSingleDelete {
				s.m.misuses.Add(1)
				s.o.Log.Error("storage: BUG: a key that was set more than once was deleted by SingleDelete", "key", fmt.Sprintf("%x", info.UserKey))
			}
		},
		FlushEnd: func(info pebble.FlushInfo) {
			if info.Err == nil || len(info.Output) == 0 && strings.Contains(info.Err.Error(), emptyFlush) {
				s.m.flushes.Add(1)
				s.flushFails.Store(0)
				return
			}
			if n := s.flushFails.Add(1); n >= flushFailsMax {
				s.guard.kill(fmt.Errorf("flush tables: %w (%d times in a row)", info.Err, n))
			}
		},
		CompactionEnd: func(info pebble.CompactionInfo) {
			if info.Err == nil {
				s.m.compactions.Add(1)
				s.compactions.release()
			} else if noSpace(info.Err) {
				s.compactions.hold(now())
			}
		},
		WriteStallBegin: func(pebble.WriteStallBeginInfo) {
			s.m.stalls.Add(1)
			s.m.stallStart.Store(now())
			s.compactions.release()
			s.compactions.open()
		},
		WriteStallEnd: func() {
			s.m.stallNanos.Add(now() - s.m.stallStart.Load())
		},
	}
	l.EnsureDefaults(logger{s})
	return l
}

// diskSlow is called by the file system's health check.
func (s *Store) diskSlow(info vfs.DiskSlowInfo) {
	s.m.slowWrites.Add(1)
	s.o.Log.Warn("storage: slow disk", "file", info.Path, "op", info.OpType.String(), "took", info.Duration)
}
