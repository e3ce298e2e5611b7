package server_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/server"
)

// logText collects a log.
type logText struct {
	mu   sync.Mutex
	buf  bytes.Buffer
	news sync.Cond // on mu
}

func newLogText() *logText {
	l := &logText{}
	l.news.L = &l.mu
	return l
}

func (l *logText) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.news.Broadcast()
	return l.buf.Write(p)
}

// await waits for a line of the level.
func (l *logText) await(level string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for !strings.Contains(l.buf.String(), "level="+level+" ") {
		l.news.Wait()
	}
}

func (l *logText) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// lines counts the lines of a level.
func (l *logText) lines(level string) int { return strings.Count(l.String(), "level="+level+" ") }

func (l *logText) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

// ready asks the server's health page.
func ready(t *testing.T, url string) (status int, text string) {
	t.Helper()
	resp, err := http.Get(url + "/readyz?verbose")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// wantDamaged wants a server that has met damage to serve nothing more, to say
// what to do, and to say it once in its log.
func wantDamaged(t *testing.T, srv *server.Server, log *logText, found error, doctor string) {
	t.Helper()
	check := func(what string, err error) {
		t.Helper()
		var e *penstock.Error
		if !errors.As(err, &e) || !errors.Is(err, penstock.ErrUnavailable) || !strings.Contains(e.Text, "damaged") || !strings.Contains(e.Text, doctor) {
			t.Errorf("%s: %v", what, err)
		}
	}
	check("the call that met it", found)
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		if status, text := ready(t, srv.URL()); status == http.StatusServiceUnavailable && strings.Contains(text, "partitions: not ready") {
			break
		}
	}
	ctx, cancel := context.WithTimeout(inTime(t), time.Second)
	defer cancel()
	_, err := greet.Enqueue(ctx, srv.Client(), "grace")
	check("enqueue", err)
	_, err = srv.Client().Queues(inTime(t))
	check("queues", err)
	if status, text := ready(t, srv.URL()); status != http.StatusServiceUnavailable || !strings.Contains(text, "damaged") || !strings.Contains(text, doctor) {
		t.Errorf("ready: %d %s", status, text)
	}
	log.await("ERROR") // the answer may be quicker
	if n := log.lines("ERROR"); n != 1 || !strings.Contains(log.String(), doctor) {
		t.Errorf("%d errors in the log:\n%s", n, log)
	}
}

// TestDamagedTableWhileRunning: a table whose bytes change under a running server
// ends its service for good, and nothing is acknowledged any more.
func TestDamagedTableWhileRunning(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir})
	var last *penstock.Task[string]
	for range 20 { // more than is in memory after a start
		names := make([]string, 1000)
		for i := range names {
			names[i] = noise(1000)
		}
		many, err := greet.EnqueueMany(inTime(t), srv.Client(), names)
		if err != nil {
			t.Fatal(err)
		}
		last = many[999].Task
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, server.Config{Dir: dir}).Close() // the start writes the tables
	log := newLogText()
	srv = open(t, server.Config{Dir: dir, HTTP: "127.0.0.1:0", Logger: log.logger(), Memory: 4 << 20})
	harmTables(t, dir)
	_, err := srv.Client().Get(inTime(t), last.ID())
	wantDamaged(t, srv, log, err, "penstock doctor --data "+dir)
	if _, err := os.Stat(filepath.Join(dir, "LOCK")); err != nil {
		t.Error(err)
	}
}

// noise is a text of n letters that no compression makes shorter than half.
func noise(n int) string {
	b := make([]byte, n/2)
	rand.Read(b)
	return hex.EncodeToString(b)
}

// harmTables changes every byte of every table, under whoever has them open.
func harmTables(t *testing.T, dir string) {
	t.Helper()
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatal("no tables", err)
	}
	for _, path := range tables {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0x55
		}
		f, err := os.OpenFile(path, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		_, err = f.Write(b)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// rotten is an engine that gives back other bytes than were written, once told.
type rotten struct {
	*store.Mem
	now atomic.Bool
}

type rottenPartition struct {
	store.Partition
	r *rotten
}

func (r *rotten) Acquire(ctx context.Context, p uint16, owner string) (store.Partition, error) {
	part, err := r.Mem.Acquire(ctx, p, owner)
	return rottenPartition{part, r}, err
}

func (p rottenPartition) Get(points []store.Point) error {
	err := p.Partition.Get(points)
	for i := range points {
		if v := &points[i].Value; p.r.now.Load() && len(*v) > 3 {
			*v = (*v)[:3]
		}
	}
	return err
}

// TestDamagedRecordWhileRunning: the same for a record that no version writes.
func TestDamagedRecordWhileRunning(t *testing.T) {
	disk, log := &rotten{Mem: store.NewMem(store.MemOptions{})}, newLogText()
	srv := open(t, server.Config{Store: disk, HTTP: "127.0.0.1:0", Logger: log.logger(), Partitions: 3})
	task, err := greet.Enqueue(inTime(t), srv.Client(), "ada")
	if err != nil {
		t.Fatal(err)
	}
	disk.now.Store(true)
	_, err = srv.Client().Get(inTime(t), task.ID())
	wantDamaged(t, srv, log, err, "penstock doctor")
}
