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

// TestTrend: waves are flat, and what grows by more than a tenth and the slack is not.
func TestTrend(t *testing.T) {
	f := func(want bool, at func(i int) float64) {
		t.Helper()
		flat := trend{name: "x", slack: 5}
		for i := range 90 {
			flat.samples = append(flat.samples, at(i))
		}
		if got := flat.flat(); got != want {
			first, last := flat.ends()
			t.Errorf("flat = %v for %v … %v", got, first, last)
		}
	}
	f(true, func(int) float64 { return 40 })
	f(true, func(i int) float64 { return 40 + 20*float64(i%10) })
	f(true, func(i int) float64 { return 40 + float64(i)/15 })
	f(false, func(i int) float64 { return 40 + float64(i)/5 })
	f(false, func(i int) float64 { return float64(i) })
	var r row
	trends{{name: "a", samples: []float64{1, 1, 1}}, {name: "b", samples: []float64{1, 2, 3}}}.tell(&r)
	if *r.OK || !strings.Contains(r.Floor, "rising: b") || r.Detail["b_first"] != 1 || r.Detail["b_last"] != 3 {
		t.Errorf("got %+v, %q", r.Detail, r.Floor)
	}
}

func TestSoakPayload(t *testing.T) {
	for _, k := range []soakKind{soakPlain, soakRetry, soakDies} {
		if n := len(soakRaw(k).Payload); n != payloadBytes {
			t.Errorf("payload of %d bytes, want %d", n, payloadBytes)
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
	if got, n := diskBytes(dir); got < 60<<10 || got > 200<<10 || n != 1 {
		t.Errorf("diskBytes = %d in %d files for a file of 60 KiB", got, n)
	}
}
