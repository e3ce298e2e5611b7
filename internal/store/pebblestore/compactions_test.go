package pebblestore

import (
	"runtime"
	"testing"
	"time"
)

// TestCompactionsWait: nothing is compacted before the tables have been read, and
// what waits makes them be read without pauses.
func TestCompactionsWait(t *testing.T) {
	s := mustOpen(t, deletedFolder(t), Options{})
	defer s.Close()
	s.compactions.ready.Store(false)
	done := make(chan error, 1)
	go func() { done <- s.compact() }()
	for !s.compactions.wanted.Load() {
		runtime.Gosched()
	}
	for range 3 { // whatever wakes it
		s.compactions.poke()
		runtime.Gosched()
	}
	if n := s.m.compactions.Load(); n != 0 || len(done) != 0 {
		t.Fatalf("%d compactions behind a closed door", n)
	}
	s.compactions.open()
	if err := <-done; err != nil || s.m.compactions.Load() == 0 {
		t.Fatalf("behind an open one: %d compactions, %v", s.m.compactions.Load(), err)
	}
}

// TestCompactionReadsRest: with more tables than a start has time for, a compaction
// waits for the rest, not for the writers.
func TestCompactionReadsRest(t *testing.T) {
	s := mustOpen(t, deletedFolder(t), Options{check: time.Nanosecond})
	defer s.Close()
	if err := s.compact(); err != nil {
		t.Fatal(err)
	}
	if !s.compactions.ready.Load() {
		t.Fatal("compacted behind a closed door")
	}
}

// TestCloseWedged: a store whose Pebble never gives its locks back can be closed,
// and refuses calls meanwhile.
func TestCloseWedged(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	putKey(t, s, 1, "k", "v")
	if err := s.enter(); err != nil { // a writer that Pebble keeps for ever
		t.Fatal(err)
	}
	s.wedge()
	s.Condemn(ErrCorrupt)
	if err := s.enter(); err == nil {
		t.Fatal("a wedged store lets callers in")
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{})
	defer s.Close()
	if got := getKey(t, s, 1, "k"); got != "v" {
		t.Fatalf("opened anew: %q", got)
	}
}
