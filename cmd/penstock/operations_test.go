//go:build unix

package main

import (
	"context"
	"io"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/penstock-io/penstock"
)

// TestOperationsPage holds docs/operations.md to what a server really has:
// its metrics, its paths and its flags.
func TestOperationsPage(t *testing.T) {
	raw, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	srv := readmeServer(t)
	echo := penstock.Func("echo", func(_ context.Context, n int) (int, error) { return n, nil })
	ctx, stop := context.WithCancel(t.Context())
	worked := make(chan error, 1)
	go func() { worked <- srv.Client().Work(ctx, echo) }()
	defer func() { stop(); <-worked }()
	if _, err := echo.Do(t.Context(), srv.Client(), 1); err != nil {
		t.Fatal(err)
	}
	get := func(path string) string {
		t.Helper()
		resp, err := http.Get(srv.URL() + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s, %v\n%s", path, resp.Status, err, body)
		}
		return string(body)
	}
	metrics := get("/metrics")
	for _, name := range regexp.MustCompile("`(penstock_\\w+)").FindAllStringSubmatch(string(raw), -1) {
		if !strings.Contains(metrics, "# TYPE "+name[1]+" ") {
			t.Errorf("docs/operations.md names the metric %s, which the server does not have", name[1])
		}
	}
	get("/livez")
	for _, check := range []string{"partitions", "disk", "storage"} {
		if said := get("/readyz?verbose"); !strings.Contains(said, check) {
			t.Errorf("/readyz?verbose says nothing of %s: %s", check, said)
		}
	}
	_, help, _ := command("", "server", "--help")
	_, queueHelp, _ := command("", "queues", "set", "--help")
	_, deleteHelp, _ := command("", "queues", "delete", "--help")
	_, doctorHelp, _ := command("", "doctor", "--help")
	for _, flag := range regexp.MustCompile("`(--[a-z-]+)").FindAllStringSubmatch(string(raw), -1) {
		if !strings.Contains(help+queueHelp+deleteHelp+doctorHelp, flag[1]+" ") {
			t.Errorf("docs/operations.md names the flag %s, which no command has", flag[1])
		}
	}
}
