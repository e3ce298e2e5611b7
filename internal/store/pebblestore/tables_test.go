package pebblestore

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

// TestRestOfTables: what a start has no time to read is read soon after it, and
// damage found then ends the store as damage found at the start would have.
func TestRestOfTables(t *testing.T) {
	k := killedFlushed(t)
	mem := harm(t, k, "", nil)
	s, err := Open(harmedDir, Options{fs: mem, check: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	s.back.Wait()
	if err := s.dead(); err != nil {
		t.Fatalf("a whole folder: %v", err)
	}
	if got := count(s); got != k.batches {
		t.Fatalf("has %v batches of %v", got, k.batches)
	}
	s.Close()

	table := files(t, k.dir, "*.sst")[0]
	bad, err := os.ReadFile(table)
	if err != nil {
		t.Fatal(err)
	}
	bad[len(bad)/3] ^= 1
	rel, _ := filepath.Rel(k.dir, table)
	s, err = Open(harmedDir, Options{fs: harm(t, k, rel, bad), check: time.Nanosecond})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	<-s.deadCh
	if err := s.dead(); !errors.Is(err, ErrCorrupt) || !errors.Is(err, store.ErrDead) || !strings.Contains(err.Error(), filepath.Base(rel)) || !strings.Contains(err.Error(), "penstock doctor") {
		t.Fatalf("a damaged table: %v", err)
	}
}
