//go:build unix

package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

// moves are what may be put under the name of a folder that is renamed.
var moves = map[string]func(t *testing.T, path string){
	"nothing": func(*testing.T, string) {},
	"empty": func(t *testing.T, path string) {
		if err := os.Mkdir(path, 0o700); err != nil {
			t.Fatal(err)
		}
	},
	"copy": func(t *testing.T, path string) {
		if err := os.CopyFS(path, os.DirFS(path+".away")); err != nil {
			t.Fatal(err)
		}
	},
}

// listing is all files under path with their sizes, "" if there is none.
func listing(path string) string {
	var b strings.Builder
	filepath.Walk(path, func(name string, info os.FileInfo, err error) error {
		if err == nil {
			fmt.Fprintln(&b, name, info.Size())
		}
		return nil
	})
	return b.String()
}

// rotate commits batches until an error, or the logs have been rotated often, and
// returns how many were acknowledged.
func rotate(t *testing.T, s *Store) (int, error) {
	t.Helper()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		return 0, err
	}
	return feed(t, h, 0, 30)
}

// TestFolderMoved: whatever becomes of the names between two looks, every file goes
// to the folder that was opened. Put back, nothing is missing, and what was put in
// its place is as it was.
func TestFolderMoved(t *testing.T) {
	for _, part := range []string{"", "/db"} {
		for kind, put := range moves {
			t.Run("data"+part+" "+kind, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data")
				var log bytes.Buffer
				s := mustOpen(t, dir, Options{watch: time.Hour, MemtableBytes: 64 << 10, Log: slog.New(slog.NewTextHandler(&log, nil))})
				moved := dir + part
				if err := os.Rename(moved, moved+".away"); err != nil {
					t.Fatal(err)
				}
				put(t, moved)
				before := listing(moved)
				n, err := rotate(t, s)
				if err != nil && !errors.Is(err, ErrGone) || s.folder.held.dir.fds != "" && err != nil {
					t.Fatalf("batch %d: %v", n, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if after := listing(moved); after != before {
					t.Fatalf("what was put in its place was written to:\n%s\nit was:\n%s", after, before)
				}
				if strings.Contains(log.String(), "/proc/") {
					t.Fatalf("a path that nobody knows in the log:\n%s", &log)
				}
				if err := errors.Join(os.RemoveAll(moved), os.Rename(moved+".away", moved)); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, dir, Options{})
				defer s.Close()
				holds(t, s, n)
			})
		}
	}
}

// TestFolderUnheld: where files can't be reached by way of an open folder, as
// without /proc, nothing is begun under a name that leads elsewhere.
func TestFolderUnheld(t *testing.T) {
	for _, part := range []string{"", "/db"} {
		for kind, put := range moves {
			t.Run("data"+part+" "+kind, func(t *testing.T) {
				t.Parallel()
				dir := filepath.Join(t.TempDir(), "data")
				s := mustOpen(t, dir, Options{watch: time.Hour, MemtableBytes: 64 << 10, fds: "/nowhere"})
				moved := dir + part
				if err := os.Rename(moved, moved+".away"); err != nil {
					t.Fatal(err)
				}
				put(t, moved)
				before := listing(moved)
				n, err := rotate(t, s)
				if !errors.Is(err, ErrGone) || !strings.Contains(store.Remedy(err, ""), moved+" was re") {
					t.Fatalf("batch %d: %v", n, err)
				}
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
				if after := listing(moved); after != before {
					t.Fatalf("what was put in its place was written to:\n%s\nit was:\n%s", after, before)
				}
				if err := errors.Join(os.RemoveAll(moved), os.Rename(moved+".away", moved)); err != nil {
					t.Fatal(err)
				}
				s = mustOpen(t, dir, Options{})
				defer s.Close()
				holds(t, s, n)
			})
		}
	}
}

// TestFolderRemoved: a folder that is removed with all that is in it is gone, at
// the next file that is begun in it, and no ordinary death.
func TestFolderRemoved(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := mustOpen(t, dir, Options{watch: time.Hour, MemtableBytes: 64 << 10})
	defer s.Close()
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	if n, err := rotate(t, s); !errors.Is(err, ErrGone) {
		t.Fatalf("batch %d: %v", n, err)
	}
}

// TestHeldErrors: an error names the file by the path that the user gave.
func TestHeldErrors(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	s := mustOpen(t, dir, Options{})
	defer s.Close()
	fs := s.folder.fs
	_, open := fs.Open(s.folder.path("db/none"))
	for _, err := range []error{open, fs.Remove(dir + "/none"), fs.Rename(dir+"/db/none", dir+"/none2"), fs.Link(dir+"/none", dir+"/db/none")} {
		if !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), dir) || strings.Contains(err.Error(), "/proc/") {
			t.Errorf("got %v", err)
		}
	}
	f, err := fs.Open(s.folder.path(formatName))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write([]byte("x")); err == nil || !strings.Contains(err.Error(), dir+"/"+formatName) {
		t.Errorf("write: %v", err)
	}
	sub := filepath.Join(dir, "db")
	for path, want := range map[string]string{dir: ".", sub: ".", sub + "/x": "x", dir + "/y": "y"} {
		if d, rest := s.folder.held.find(path); d == nil || rest != want {
			t.Errorf("%s: %v %q", path, d, rest)
		}
	}
	if d, _ := s.folder.held.find(filepath.Dir(dir)); d != nil {
		t.Errorf("the folder above is not held")
	}
}

// died is a store that a fault has ended.
func died(t *testing.T) (*Store, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "data")
	s := mustOpen(t, dir, Options{watch: time.Hour})
	putKey(t, s, 1, "k", "v")
	s.Condemn(errors.New("the disk hiccuped"))
	return s, dir
}

// swap puts the files of db in from in place of those in dir; "": none.
func swap(t *testing.T, dir, from string) {
	t.Helper()
	for _, name := range files(t, dir, "*") {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if from == "" {
		return
	}
	for _, name := range append(files(t, from, "*"), filepath.Join(from, syncedName)) {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(from, name)
		write(t, filepath.Join(dir, rel), string(b))
	}
}

// TestReopen: a store that died is opened anew in the folder it had.
func TestReopen(t *testing.T) {
	s, dir := died(t)
	again, err := s.Reopen()
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil { // the folder is no more its own
		t.Fatal(err)
	}
	if got := getKey(t, again, 1, "k"); got != "v" {
		t.Fatalf("got %q", got)
	}
	wantOpenError(t, dir, "in use by another penstock")
	if err := again.Close(); err != nil {
		t.Fatal(err)
	}
	mustOpen(t, dir, Options{}).Close()
}

// TestReopenElsewhere: not in a folder that has got the name since, nor among
// files that are not its own, nor in an empty one.
func TestReopenElsewhere(t *testing.T) {
	for kind, put := range moves {
		t.Run(kind, func(t *testing.T) {
			s, dir := died(t)
			defer s.Close()
			if err := os.Rename(dir, dir+".away"); err != nil {
				t.Fatal(err)
			}
			put(t, dir)
			before := listing(dir)
			for range 2 {
				if _, err := s.Reopen(); !errors.Is(err, ErrGone) || !errors.Is(err, store.ErrDamaged) {
					t.Fatalf("got %v", err)
				}
			}
			if after := listing(dir); after != before {
				t.Fatalf("written to:\n%s", after)
			}
		})
	}
	t.Run("emptied", func(t *testing.T) {
		s, dir := died(t)
		defer s.Close()
		swap(t, dir, "")
		if _, err := s.Reopen(); !errors.Is(err, store.ErrDamaged) {
			t.Fatalf("got %v", err)
		}
	})
	t.Run("another's files", func(t *testing.T) {
		other := filepath.Join(t.TempDir(), "data")
		o := mustOpen(t, other, Options{})
		putKey(t, o, 1, "k", "v")
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		s, dir := died(t)
		defer s.Close()
		swap(t, dir, other)
		if _, err := s.Reopen(); !errors.Is(err, ErrGone) || !strings.Contains(store.Remedy(err, ""), "other data") {
			t.Fatalf("got %v", err)
		}
	})
}
