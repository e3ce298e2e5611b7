package main

import (
	"fmt"
	"net/http/httptest"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// here is a server in this process.
type here struct{ srv *server.Server }

// openHere opens a server with no port.
func openHere(dir string) (host, *penstock.Client, error) {
	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		return nil, nil, err
	}
	return here{srv}, srv.Client(), nil
}

// openServer opens a server on a free loopback port.
func openServer(dir string) (host, string, error) {
	srv, err := server.Open(server.Config{Dir: dir, HTTP: "127.0.0.1:0"})
	if err != nil {
		return nil, "", err
	}
	return here{srv}, srv.URL(), nil
}

func (h here) close() error { return h.srv.Close() }

// fsyncsName is the metric of the log's syncs.
const fsyncsName = "penstock_storage_fsyncs_total"

func (h here) usage() (usage, error) {
	u := selfUsage()
	scrape := httptest.NewRecorder()
	h.srv.Metrics().ServeHTTP(scrape, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(scrape.Body.String()) {
		text, ok := strings.CutPrefix(line, fsyncsName+" ")
		if !ok {
			continue
		}
		n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		u.Fsyncs = int64(n)
		return u, err
	}
	return u, fmt.Errorf("no metric %s", fsyncsName)
}
