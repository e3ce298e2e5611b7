//go:build unix

package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// TestDamagedFolder flips bytes of a folder at rest: neither the server nor the
// doctor may take it for whole, and both say what to do.
func TestDamagedFolder(t *testing.T) {
	dir := t.TempDir()
	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	raws := make([]penstock.Raw, 2000)
	for i := range raws {
		raws[i] = penstock.Raw{Type: "t", Payload: []byte(strings.Repeat("0123456789", 20))}
	}
	if _, err := srv.Client().EnqueueMany(t.Context(), raws); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	if status, stdout, _ := command("", "doctor", "--data", dir); status != exitOK || !strings.Contains(stdout, "2,000 waiting") {
		t.Fatalf("a whole folder: status %d, %s", status, stdout)
	}
	tables, err := filepath.Glob(filepath.Join(dir, "db", "*.sst"))
	if err != nil || len(tables) == 0 {
		t.Fatalf("no tables to damage: %v", err)
	}
	for _, name := range tables {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for i := 100; i < len(raw)/2; i += 500 {
			raw[i] ^= 0xff
		}
		if err := os.WriteFile(name, raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	status, stdout, _ := command("", "doctor", "--data", dir)
	if status != exitError || !strings.Contains(stdout, "\tfail\t") || !strings.Contains(stdout, "rescue\twarn") || !strings.Contains(stdout, "copy the folder") {
		t.Errorf("the doctor: status %d\n%s", status, stdout)
	}
}
