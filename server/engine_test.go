//go:build unix

package server

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
)

// TestEngineReopens: storage that died is opened anew in the folder it had. When
// that is not there any more, the engine says so for good, and begins none.
func TestEngineReopens(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "data")
	var log bytes.Buffer
	e, err := openEngine(dir, pebblestore.Options{}, slog.New(slog.NewTextHandler(&log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	ctx := context.Background()
	broken := errors.New("the disk hiccuped")
	for range 2 {
		if _, err := e.Acquire(ctx, 1, "test"); err != nil {
			t.Fatal(err)
		}
		e.condemn(broken)
		if _, err := e.Acquire(ctx, 1, "test"); err != nil {
			t.Fatal(err)
		}
	}
	e.condemn(broken)
	if err := os.Rename(dir, dir+".away"); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if _, err := e.Acquire(ctx, 1, "test"); !errors.Is(err, pebblestore.ErrGone) || !errors.Is(err, store.ErrDamaged) {
			t.Fatalf("got %v", err)
		}
	}
	if err := e.Dead(); !errors.Is(err, pebblestore.ErrGone) {
		t.Fatalf("dead by %v", err)
	}
	log.Reset()
	e.condemn(e.Dead())
	if text := log.String(); strings.Count(text, "level=ERROR") != 1 || !strings.Contains(text, "put back") {
		t.Fatalf("the log says %s", text)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Fatalf("a folder was begun: %v", err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+".away", dir); err != nil {
		t.Fatal(err)
	}
	if e, err = openEngine(dir, pebblestore.Options{}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
}
