//go:build unix

package server_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestFolderTakenAway: a server whose data folder is taken away refuses all calls
// from then on, those that would only read its memory too, and says once what
// happened and what to do. It does not begin anew in an empty folder.
func TestFolderTakenAway(t *testing.T) {
	for name, take := range map[string]func(dir string) error{
		"renamed": func(dir string) error { return os.Rename(dir, dir+".away") },
		"removed": os.RemoveAll,
		"replaced": func(dir string) error {
			return errors.Join(os.Rename(dir, dir+".away"), os.Mkdir(dir, 0o700))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			dir, log := filepath.Join(t.TempDir(), "data"), newLogText()
			srv := open(t, server.Config{Dir: dir, HTTP: "127.0.0.1:0", Logger: log.logger()})
			if _, err := greet.Enqueue(inTime(t), srv.Client(), "ada"); err != nil {
				t.Fatal(err)
			}
			if err := take(dir); err != nil {
				t.Fatal(err)
			}
			log.await("ERROR")
			for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
				if status, text := ready(t, srv.URL()); status == http.StatusServiceUnavailable && strings.Contains(text, "partitions: not ready") {
					break
				}
			}
			ctx, cancel := context.WithTimeout(inTime(t), time.Second)
			defer cancel()
			_, enqueue := greet.Enqueue(ctx, srv.Client(), "grace")
			_, queues := srv.Client().Queues(inTime(t))
			for _, err := range []error{enqueue, queues} {
				var e *penstock.Error
				if !errors.As(err, &e) || !errors.Is(err, penstock.ErrUnavailable) || !strings.Contains(e.Text, dir+" was re") || !strings.Contains(e.Text, "backup") {
					t.Errorf("a call: %v", err)
				}
			}
			if status, text := ready(t, srv.URL()); status != http.StatusServiceUnavailable || !strings.Contains(text, "under the running server") {
				t.Errorf("ready: %d %s", status, text)
			}
			if n := log.lines("ERROR"); n != 1 || !strings.Contains(log.String(), "under the running server") {
				t.Errorf("%d errors in the log:\n%s", n, log)
			}
			if err := srv.Close(); err != nil {
				t.Errorf("close: %v", err)
			}
			if left, _ := os.ReadDir(dir); len(left) != 0 {
				t.Errorf("the folder was begun anew: %v", left)
			}
		})
	}
}
