package server_test

import (
	"context"
	"crypto/tls"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/server"
)

func put(t *testing.T, part store.Partition, key, value []byte) {
	t.Helper()
	var b store.Batch
	b.Set(key, value)
	if err := part.Begin(&b)(); err != nil {
		t.Fatal(err)
	}
}

func TestHealthAndMetrics(t *testing.T) {
	srv := open(t, server.Config{Dir: t.TempDir(), HTTP: "127.0.0.1:0", Admin: "127.0.0.1:0", Token: "a-secret", Version: "1.2.3"})
	get := func(url, token string, status int, want ...string) {
		t.Helper()
		req, err := http.NewRequestWithContext(inTime(t), "GET", url, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.Header.Set("Authorization", "Bearer "+token)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != status {
			t.Errorf("%s: status %d, want %d: %s", url, resp.StatusCode, status, raw)
		}
		for _, w := range want {
			if !strings.Contains(string(raw), w) {
				t.Errorf("%s: no %q in:\n%s", url, w, raw)
			}
		}
	}
	c := srv.Client()
	stop := work(t, c, greet)
	if _, err := greet.Do(inTime(t), c, "ada"); err != nil {
		t.Fatal(err)
	}
	stop()
	get(srv.URL()+"/livez", "", 200, "ok")
	get(srv.URL()+"/readyz", "", 200, "ok")
	get(srv.URL()+"/readyz?verbose", "a-secret", 200, "partitions: ok", "disk: ok", "storage: ok")
	get(srv.URL()+"/metrics", "", 401)
	get(srv.URL()+"/metrics", "a-secret", 200, `penstock_enqueued_total{queue="default",type="greet"} 1`,
		`penstock_attempts_total{outcome="succeeded",queue="default",type="greet"} 1`, `penstock_wait_seconds_count{queue="default"} 1`,
		`penstock_run_seconds_count{queue="default"} 1`, `penstock_queue_tasks{queue="default",state="ready"} 0`,
		`penstock_build_info{goversion=`, `version="1.2.3"`, "penstock_commit_seconds_count", "penstock_storage_fsyncs_total", "penstock_ready 1")
	get(srv.URL()+"/debug/pprof/heap", "a-secret", 404)
	get(srv.AdminURL()+"/debug/pprof/", "", 200, "goroutine", "heap")
	get(srv.AdminURL()+"/debug/pprof/goroutine?debug=1", "", 200, "goroutine profile")
	get(srv.AdminURL()+"/debug/pprof/profile?seconds=0.05", "", 200)
	get(srv.AdminURL()+"/debug/pprof/profile?seconds=x", "", 400, "seconds")
	get(srv.AdminURL()+"/debug/pprof/nonsense", "", 404, "/debug/pprof/")
	get(srv.AdminURL()+"/metrics", "", 200, "penstock_build_info")
}

// TestServe ends with its context and leaves the folder free.
func TestServe(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir, HTTP: "127.0.0.1:0"})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- srv.Serve(ctx) }()
	c, err := penstock.Dial(inTime(t), srv.URL())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := greet.Enqueue(inTime(t), c, "ada"); err != nil {
		t.Fatal(err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Errorf("serve: %v", err)
	}
	if err := srv.Close(); err != nil {
		t.Errorf("close again: %v", err)
	}
	if _, err := greet.Enqueue(inTime(t), srv.Client(), "ada"); err == nil {
		t.Error("a closed server takes tasks")
	}
	open(t, server.Config{Dir: dir})
}

// clock is moved by hand.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestClock: time is what Config.Now says.
func TestClock(t *testing.T) {
	clk := &clock{now: time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)}
	srv := open(t, server.Config{Mem: true, Now: clk.Now, Check: true})
	c := srv.Client()
	work(t, c, greet)
	task, err := greet.Enqueue(inTime(t), c, "ada", penstock.In(24*time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	in, err := task.Info(inTime(t))
	if err != nil || in.State != penstock.Scheduled {
		t.Errorf("a day before: %v, %v", in.State, err)
	}
	clk.move(24 * time.Hour)
	srv.Tick()
	if out, err := task.Wait(inTime(t)); err != nil || out != "hello ada" {
		t.Errorf("a day later: %q, %v", out, err)
	}
	if in, err := task.Info(inTime(t)); err != nil || in.FinishedAt.Year() != 2030 || in.FinishedAt.Day() != 2 {
		t.Errorf("finished at %v, %v", in.FinishedAt, err)
	}
}

// TestTLS serves both the stream and plain calls over TLS.
func TestTLS(t *testing.T) {
	borrowed := httptest.NewTLSServer(http.NotFoundHandler())
	defer borrowed.Close()
	srv := open(t, server.Config{Mem: true, HTTP: "127.0.0.1:0", TLS: &tls.Config{Certificates: borrowed.TLS.Certificates}})
	trust := borrowed.Client().Transport.(*http.Transport).TLSClientConfig
	c, err := penstock.Dial(inTime(t), srv.URL(), penstock.WithTLS(trust))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	stop := work(t, c, greet)
	if out, err := greet.Do(inTime(t), c, "ada"); err != nil || out != "hello ada" {
		t.Errorf("got %q, %v", out, err)
	}
	stop()
	resp, err := borrowed.Client().Post(srv.URL()+"/penstock.v1.QueueService/List", "application/json", strings.NewReader("{}"))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if raw, _ := io.ReadAll(resp.Body); resp.StatusCode != 200 || !strings.Contains(string(raw), `"default"`) {
		t.Errorf("a plain call: %d %s", resp.StatusCode, raw)
	}
}
