package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestJSONNames holds the names that scripts read.
func TestJSONNames(t *testing.T) {
	var buf bytes.Buffer
	p := &printer{w: &buf, as: formatJSON}
	r := newRow("light-200")
	r.Rate, r.P50, r.P99, r.Samples = 200, 510, 860, 2000
	if err := p.add(r); err != nil {
		t.Fatal(err)
	}
	if err := p.add(newRow("waiting-1m")); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(buf.String()), "\n")
	if len(lines) != 2 {
		t.Fatalf("got %d lines, want one a workload:\n%s", len(lines), buf.String())
	}
	var got map[string]any
	if err := json.Unmarshal([]byte(lines[0]), &got); err != nil {
		t.Fatal(err)
	}
	for _, name := range strings.Fields("workload rate p50_us p99_us samples rss_mb disk_mb fsyncs_per_1k durable") {
		if _, ok := got[name]; !ok {
			t.Errorf("no %q in %s", name, lines[0])
		}
	}
	if got["p99_us"] != 860.0 || got["durable"] != true || got["fsyncs_per_1k"] != -1.0 {
		t.Errorf("wrong values in %s", lines[0])
	}
}

func TestTableTellsVerdictAndDetail(t *testing.T) {
	r := newRow("waiting-1m")
	r.Rate, r.Detail = 1234567, detail{"restart_ms": 812.5}
	r.judge(false, "≤ 120 MiB")
	for _, as := range []format{formatTable, formatMarkdown} {
		var buf bytes.Buffer
		p := &printer{w: &buf, as: as}
		if err := p.add(r); err != nil {
			t.Fatal(err)
		}
		if err := p.flush(); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"1,234,567", "MISSED", "restart_ms 812.5"} {
			if !strings.Contains(buf.String(), want) {
				t.Errorf("%s: no %q in\n%s", as, want, buf.String())
			}
		}
	}
}

func TestWorkIsAHundredBytes(t *testing.T) {
	_, spec, err := workType.Spec(newWork())
	if err != nil {
		t.Fatal(err)
	}
	if len(spec.Payload) != payloadBytes {
		t.Errorf("payload of %d bytes, want %d: %s", len(spec.Payload), payloadBytes, spec.Payload)
	}
}

func TestUsage(t *testing.T) {
	if rss, err := residentBytes(os.Getpid()); err != nil || rss < 1<<20 {
		t.Errorf("residentBytes = %d, %v", rss, err)
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "f"), cutNoise(60<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := diskBytes(dir); got < 60<<10 || got > 200<<10 {
		t.Errorf("diskBytes = %d for a file of 60 KiB", got)
	}
}
