package pebblestore

import (
	"math/rand/v2"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/storetest"
)

// openCrashable runs on a file system that forgets what was not synced.
func openCrashable(tb testing.TB) storetest.Engine {
	fs := vfs.NewCrashableMem()
	s := mustOpen(tb, "data", Options{fs: fs})
	tb.Cleanup(func() { s.Close() })
	return storetest.Engine{
		Store: s,
		Reopen: func() store.Store {
			if err := s.Close(); err != nil {
				tb.Fatalf("close: %v", err)
			}
			s = mustOpen(tb, "data", Options{fs: fs})
			return s
		},
		Crash: func() store.Store {
			left := fs.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rand.New(rand.NewPCG(1, 2))})
			s.Close()
			fs = left
			s = mustOpen(tb, "data", Options{fs: fs})
			return s
		},
		Flush: func() {
			if err := s.db.Flush(); err != nil {
				tb.Fatalf("flush: %v", err)
			}
		},
	}
}

// openDisk runs on the real one.
func openDisk(tb testing.TB) storetest.Engine {
	dir := tb.TempDir()
	s := mustOpen(tb, dir, Options{})
	tb.Cleanup(func() { s.Close() })
	return storetest.Engine{
		Store: s,
		Reopen: func() store.Store {
			if err := s.Close(); err != nil {
				tb.Fatalf("close: %v", err)
			}
			s = mustOpen(tb, dir, Options{})
			return s
		},
	}
}

func mustOpen(tb testing.TB, dir string, o Options) *Store {
	tb.Helper()
	s, err := Open(dir, o)
	if err != nil {
		tb.Fatal(err)
	}
	return s
}

func TestContractCrashable(t *testing.T) { storetest.Run(t, openCrashable) }

func TestContractDisk(t *testing.T) { storetest.Run(t, openDisk) }
