package server_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestExamine: a whole folder has no faults, and what it holds is counted; each
// kind of damage is named, and the rest still counted.
func TestExamine(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir, Partitions: 2})
	c := srv.Client()
	stop := work(t, c, greet)
	if _, err := greet.Do(inTime(t), c, "ada"); err != nil {
		t.Fatal(err)
	}
	stop()
	for _, q := range []string{"a", "b", "c", "d"} {
		if _, err := greet.EnqueueMany(inTime(t), c, []string{"x", "y", "z"}, penstock.Queue(q)); err != nil {
			t.Fatal(err)
		}
		if _, err := greet.Enqueue(inTime(t), c, "later", penstock.Queue(q), penstock.In(time.Hour)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := server.Examine(context.Background(), dir); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a folder in use: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	f := func(faults ...string) {
		t.Helper()
		got, err := server.Examine(context.Background(), dir)
		if err != nil {
			t.Fatal(err)
		}
		if got.Partitions != 2 || got.Waiting() != 12 || got.Scheduled() != 4 || got.Finished() != 1 || got.Dead() != 0 {
			t.Errorf("found %+v; want 2 partitions, 12 waiting, 4 scheduled, 1 finished", got)
		}
		if len(got.Faults) != len(faults) {
			t.Errorf("got %d faults, want %d: %+v", len(got.Faults), len(faults), got.Faults)
			return
		}
		for i, w := range faults {
			if !strings.Contains(got.Faults[i].Why, w) {
				t.Errorf("fault %d: got %+v, want %q", i, got.Faults[i], w)
			}
		}
	}
	f()
	f() // looking changes nothing
	damage(t, dir)
	f("queue record")
	if _, err := server.Open(server.Config{Dir: dir}); err == nil {
		t.Error("it opens nevertheless")
	}
	if _, err := server.Examine(context.Background(), filepath.Join(dir, "nothing", "here")); err == nil {
		t.Error("a folder that is not there is examined")
	}
	if _, err := os.Stat(filepath.Join(dir, "nothing")); err == nil {
		t.Error("examining has made a folder")
	}
}
