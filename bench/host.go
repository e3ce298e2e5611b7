package main

import (
	"fmt"
	"net/http/httptest"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// here is a server in this process.
type here struct{ srv *server.Server }

// settings are where a workload's server differs from the default.
type settings struct {
	historyBytes, memory int64 // 0 = the default
}

func (s settings) config(dir string) server.Config {
	return server.Config{Dir: dir, HistoryBytes: s.historyBytes, Memory: s.memory}
}

// openHere opens a server with no port.
func openHere(dir string, s settings) (host, *penstock.Client, error) {
	srv, err := server.Open(s.config(dir))
	if err != nil {
		return nil, nil, err
	}
	return here{srv}, srv.Client(), nil
}

// openServer opens a server on a free loopback port.
func openServer(dir string, s settings) (host, string, error) {
	cfg := s.config(dir)
	cfg.HTTP = "127.0.0.1:0"
	srv, err := server.Open(cfg)
	if err != nil {
		return nil, "", err
	}
	return here{srv}, srv.URL(), nil
}

func (h here) close() error { return h.srv.Close() }

// storagePrefix begins the metrics of the storage engine.
const storagePrefix = "penstock_storage_"

// settled is usage once all garbage has gone, and its memory has gone back to the
// system: what is left is held.
func (h here) settled() (usage, error) {
	debug.FreeOSMemory()
	return h.usage()
}

func (h here) usage() (usage, error) {
	u := selfUsage()
	scrape := httptest.NewRecorder()
	h.srv.Metrics().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	storage := map[string]float64{}
	for line := range strings.Lines(scrape.Body.String()) {
		text, ok := strings.CutPrefix(line, storagePrefix)
		if !ok {
			continue
		}
		name, value, _ := strings.Cut(strings.TrimSpace(text), " ")
		v, err := strconv.ParseFloat(value, 64)
		if err != nil {
			return u, fmt.Errorf("read metric %s%s: %w", storagePrefix, name, err)
		}
		storage[name] = v
	}
	missing := ""
	take := func(name string) float64 {
		v, ok := storage[name]
		if !ok {
			missing = storagePrefix + name
		}
		return v
	}
	u.Fsyncs = int64(take("fsyncs_total"))
	u.Commits = int64(take("commits_total"))
	u.Written = int64(take("written_bytes_total"))
	u.Stalled = time.Duration(take("stall_seconds_total") * 1e9)
	if missing != "" {
		return u, fmt.Errorf("the server has no metric %s", missing)
	}
	return u, nil
}
