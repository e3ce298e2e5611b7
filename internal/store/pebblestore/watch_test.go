//go:build unix

package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/store"
)

// newestLog is the log that is being written.
func newestLog(t *testing.T, dir string) string {
	t.Helper()
	logs := files(t, dir, "*.log")
	return logs[len(logs)-1]
}

// TestGone takes the folder, or a file of it, away from under an open store: it
// ends for good, says what happened and what to do, and leaves alone what is in
// its place.
func TestGone(t *testing.T) {
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	replace := func(t *testing.T, path string) {
		t.Helper()
		must(t, os.Rename(path, path+".away"))
		must(t, os.Mkdir(path, 0o700))
	}
	again := func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		must(t, err)
		must(t, os.Rename(path, path+".away"))
		write(t, path, string(b))
	}
	for name, c := range map[string]struct {
		take  func(t *testing.T, dir string)
		words []string
	}{
		"renamed":       {func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+".away")) }, []string{"the data folder", "removed or renamed"}},
		"removed":       {func(t *testing.T, dir string) { must(t, os.RemoveAll(dir)) }, []string{"removed or renamed"}},
		"replaced":      {replace, []string{"the data folder", "replaced by another"}},
		"a file":        {func(t *testing.T, dir string) { must(t, os.Rename(dir, dir+".away")); write(t, dir, "") }, []string{"replaced by another"}},
		"db renamed":    {func(t *testing.T, dir string) { must(t, os.Rename(dir+"/db", dir+"/db.away")) }, []string{"/db was removed"}},
		"db replaced":   {func(t *testing.T, dir string) { replace(t, dir+"/db") }, []string{"/db was replaced"}},
		"format":        {func(t *testing.T, dir string) { must(t, os.Remove(dir+"/PENSTOCK")) }, []string{"/PENSTOCK was removed"}},
		"mark":          {func(t *testing.T, dir string) { must(t, os.Remove(dir+"/SYNCED")) }, []string{"/SYNCED was removed"}},
		"mark replaced": {func(t *testing.T, dir string) { again(t, dir+"/SYNCED") }, []string{"/SYNCED was replaced"}},
		"log":           {func(t *testing.T, dir string) { must(t, os.Remove(newestLog(t, dir))) }, []string{"the log", ".log was removed"}},
		"log replaced":  {func(t *testing.T, dir string) { again(t, newestLog(t, dir)) }, []string{"the log", ".log was replaced"}},
		"manifest":      {func(t *testing.T, dir string) { must(t, os.Remove(files(t, dir, "MANIFEST*")[0])) }, []string{"the manifest", "was removed"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "data")
			var log bytes.Buffer
			told := make(chan error, 2)
			s := mustOpen(t, dir, Options{watch: 5 * time.Millisecond, Log: slog.New(slog.NewTextHandler(&log, nil)), Damaged: func(err error) { told <- err }})
			putKey(t, s, 1, "k", "v")
			c.take(t, dir)
			<-s.deadCh
			err := s.Dead()
			if !errors.Is(err, ErrGone) || !errors.Is(err, store.ErrDamaged) || !errors.Is(<-told, ErrGone) {
				t.Fatalf("dead by %v", err)
			}
			for _, w := range append(c.words, "under the running server", "stop the server", "backup") {
				if !strings.Contains(store.Remedy(err, ""), w) {
					t.Fatalf("error %q does not say %q", store.Remedy(err, ""), w)
				}
			}
			if _, err := s.Acquire(context.Background(), 1, "test"); !errors.Is(err, ErrGone) {
				t.Fatalf("acquire: %v", err)
			}
			s.Free()
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "level=ERROR"); n != 1 || len(told) != 0 {
				t.Fatalf("%d errors in the log:\n%s", n, &log)
			}
			if left, _ := os.ReadDir(dir); name == "replaced" && len(left) != 0 {
				t.Fatalf("the folder in its place was written to: %v", left)
			}
		})
	}
}

// TestLogUnlinked: no batch is acknowledged that is in a log without a name, however
// long it is to the next look.
func TestLogUnlinked(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{watch: time.Hour})
	defer s.Close()
	putKey(t, s, 1, "k", "v")
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(dir); err != nil {
		t.Fatal(err)
	}
	var b store.Batch
	b.Set(key(1, "k"), []byte("w"))
	if err := h.Begin(&b)(); !errors.Is(err, store.ErrUnknown) || !errors.Is(err, ErrGone) {
		t.Fatalf("a batch in a log that was removed: %v", err)
	}
}

// TestLocksRemoved: the folder itself is locked, so that nobody else opens it whose
// lock files are gone; who has it open goes on.
func TestLocksRemoved(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{watch: time.Millisecond})
	putKey(t, s, 1, "k", "v")
	for _, name := range []string{"LOCK", "db/LOCK"} {
		if err := os.Remove(filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		var inUse *InUseError
		if _, err := Verify(dir); !errors.As(err, &inUse) {
			t.Fatalf("verify: %v", err)
		}
		wantOpenError(t, dir, "in use by another penstock", "stop that one")
	}
	putKey(t, s, 1, "k2", "v")
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = mustOpen(t, dir, Options{})
	defer s.Close()
	if got := getKey(t, s, 1, "k2"); got != "v" {
		t.Fatalf("after it: %q", got)
	}
}

// TestWatchQuiet: what Pebble itself does to its files is no alarm.
func TestWatchQuiet(t *testing.T) {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{watch: 50 * time.Microsecond, MemtableBytes: 64 << 10})
	batches := 1000
	if testing.Short() {
		batches /= 4
	}
	_, _, errs := load(t, s, batches)
	if err := errors.Join(errs[0], errs[1], s.Close()); err != nil {
		t.Fatal(err)
	}
}
