package pebblestore

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

// wantOpenError opens dir and wants an error with all of the words in it.
func wantOpenError(t *testing.T, dir string, words ...string) {
	t.Helper()
	s, err := Open(dir, Options{})
	if err == nil {
		s.Close()
		t.Fatalf("open %s: got no error", dir)
	}
	for _, w := range append(words, dir) {
		if !strings.Contains(err.Error(), w) {
			t.Fatalf("open %s: error %q does not say %q", dir, err, w)
		}
	}
}

func putKey(t *testing.T, s *Store, p uint16, k, v string) {
	t.Helper()
	h, err := s.Acquire(context.Background(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	b.Set(key(p, k), []byte(v))
	if err := h.Begin(&b)(); err != nil {
		t.Fatal(err)
	}
}

func getKey(t *testing.T, s *Store, p uint16, k string) string {
	t.Helper()
	h, err := s.Acquire(context.Background(), p, "test")
	if err != nil {
		t.Fatal(err)
	}
	v, _, err := store.GetOne(h, key(p, k), nil)
	if err != nil {
		t.Fatal(err)
	}
	return string(v)
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFolderNew(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "b", "data")
	s := mustOpen(t, dir, Options{})
	putKey(t, s, 1, "k", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(filepath.Join(dir, "PENSTOCK"))
	if err != nil || string(b) != "penstock data 1\n" {
		t.Fatalf("format file: %q, %v", b, err)
	}
	s = mustOpen(t, dir, Options{})
	defer s.Close()
	if got := getKey(t, s, 1, "k"); got != "v" {
		t.Fatalf("after reopening: got %q", got)
	}
}

func TestFolderTwice(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	putKey(t, s, 1, "k", "v")
	wantOpenError(t, dir, "in use by another penstock", "stop that one, or choose another folder")
	link := filepath.Join(t.TempDir(), "other-name")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, link, "in use by another penstock")
	if _, err := Verify(dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("verify of an open folder: got %v", err)
	}
	putKey(t, s, 1, "k2", "v") // the refused ones did no harm
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, link, Options{})
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestFolderVersion(t *testing.T) {
	f := func(line string, words ...string) {
		t.Helper()
		dir := t.TempDir()
		mustOpen(t, dir, Options{}).Close()
		write(t, filepath.Join(dir, "PENSTOCK"), line)
		wantOpenError(t, dir, words...)
	}
	f("penstock data 2\n", "format version 2", "this penstock reads version 1", "use the penstock release that wrote it")
	f("penstock data 17\n", "format version 17")
	f("", "PENSTOCK", "backup", "penstock doctor")
	f("penstock data \n", "PENSTOCK", "backup")
	f("something else", "something else", "backup")
	f("penstock da", "penstock da", "backup")
	f(strings.Repeat("x", 1<<16), "backup")
}

func TestFolderForeign(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "thesis.tex"), "years of work")
	wantOpenError(t, dir, "thesis.tex", "choose an empty folder")
	names, _ := os.ReadDir(dir)
	if len(names) != 1 {
		t.Fatalf("a refused folder was written to: %v", names)
	}
	dir = t.TempDir()
	if err := os.Mkdir(filepath.Join(dir, "lost+found"), 0o700); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, Options{}).Close() // the root of a file system
	file := filepath.Join(t.TempDir(), "file")
	write(t, file, "")
	wantOpenError(t, file, "is a file")
	if _, err := Open("", Options{}); err == nil || !strings.Contains(err.Error(), "name one") {
		t.Fatalf("open of no folder: got %v", err)
	}
}

func TestFolderHalfMade(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	putKey(t, s, 1, "k", "v")
	s.Close()
	// As a kill in the middle of the first Open leaves it.
	if err := os.Rename(filepath.Join(dir, "PENSTOCK"), filepath.Join(dir, "PENSTOCK.new")); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(filepath.Join(dir, "PENSTOCK.new"), 3); err != nil {
		t.Fatal(err)
	}
	r, err := Verify(dir)
	if err != nil || r.OK() || !strings.Contains(r.Damaged[0].What, "never finished") {
		t.Fatalf("verify: %+v %v", r, err)
	}
	s = mustOpen(t, dir, Options{})
	if got := getKey(t, s, 1, "k"); got != "" {
		t.Fatalf("begun anew: got %q of the old", got)
	}
	s.Close()
	if _, err := os.Stat(filepath.Join(dir, "PENSTOCK.new")); !os.IsNotExist(err) {
		t.Fatalf("PENSTOCK.new is still there: %v", err)
	}
	mustOpen(t, dir, Options{}).Close()
}

func TestFolderLostParts(t *testing.T) {
	dir := t.TempDir()
	mustOpen(t, dir, Options{}).Close()
	if err := os.Remove(filepath.Join(dir, "PENSTOCK")); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, dir, "has a db folder but no PENSTOCK file", "backup")
	dir = t.TempDir()
	mustOpen(t, dir, Options{}).Close()
	if err := os.RemoveAll(filepath.Join(dir, "db")); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, dir, "has lost its db folder", "restore it from a backup")
}

func TestOptions(t *testing.T) {
	f := func(o Options, words string) {
		t.Helper()
		s, err := Open(t.TempDir(), o)
		if err == nil {
			s.Close()
		}
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Fatalf("got %v, want %q", err, words)
		}
	}
	f(Options{MemtableBytes: 5}, "memtable of 5 bytes")
	f(Options{CacheBytes: -1}, "block cache of -1 bytes")
	f(Options{OpenFiles: 1}, "1 open files")
	f(Options{LowBytes: 1 << 20, HardBytes: 2 << 20}, "hard mark")
}

func TestMarks(t *testing.T) {
	f := func(total, low, hard, ballast uint64) {
		t.Helper()
		l, h, b := marks(Options{}, total)
		if l != low || h != hard || b != ballast {
			t.Fatalf("disk of %d: got %d, %d, %d; want %d, %d, %d", total, l, h, b, low, hard, ballast)
		}
	}
	f(64<<20, 16<<20, 4<<20, 4<<20)
	f(1<<30, 64<<20, 16<<20, 16<<20)
	f(100<<30, 2<<30, 64<<20, 16<<20)
	f(10<<40, 4<<30, 64<<20, 16<<20)
	if l, h, b := marks(Options{LowBytes: 400, HardBytes: 200, BallastBytes: 100}, 1<<30); l != 400 || h != 200 || b != 100 {
		t.Fatalf("set by hand: got %d, %d, %d", l, h, b)
	}
	for total, want := range map[uint64]uint64{0: 12 << 20, 16 << 20: 512 << 10, 64 << 20: 1 << 20, 512 << 20: 8 << 20, 1 << 40: 12 << 20} {
		if got := memtableFor(total); got != want {
			t.Fatalf("memtable for a disk of %d: got %d, want %d", total, got, want)
		}
	}
}
