//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestDemo shows the demo on a few files, with and without accidents.
func TestDemo(t *testing.T) {
	if testing.Short() {
		t.Skip("it builds the binary and kills servers")
	}
	bin := filepath.Join(t.TempDir(), "penstock")
	if out, err := exec.Command("go", "build", "-o", bin, "../cmd/penstock").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, kill := range []bool{false, true} {
		d := demo{bin: bin, root: goroot(), limit: 600, kill: kill}
		if err := d.run(t.Context()); err != nil {
			t.Errorf("kill %v: %v", kill, err)
			for _, name := range []string{"server.log", "worker.log"} {
				raw, _ := os.ReadFile(filepath.Join(d.dir, name))
				t.Logf("%s:\n%s", name, raw)
			}
		}
		if kill && (len(d.killed) != 2 || d.killed[0] < 200 || d.killed[1] < 300 || d.killed[1] >= 600) {
			t.Errorf("worker and server are killed when %v of 600 tasks are finished, want a third and half", d.killed)
		}
	}
}

func TestCompare(t *testing.T) {
	f := func(got, want []string, ok bool) {
		t.Helper()
		if err := compare(got, want); (err == nil) != ok {
			t.Errorf("compare(%q, %q) = %v", got, want, err)
		}
	}
	f([]string{"a", "b"}, []string{"a", "b"}, true)
	f([]string{"a", "x"}, []string{"a", "b"}, false)
	f([]string{"a"}, []string{"a", "b"}, false)
	f([]string{"a", "b", "c"}, []string{"a", "b"}, false)
}

func TestProgressText(t *testing.T) {
	got := progress(250, 1000, time.Second)
	if want := "[#######.......................]  25 %  250/1000  250/s  ETA 4s"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := progress(0, 10, 0); !strings.Contains(got, "ETA ?") {
		t.Errorf("got %q", got)
	}
}
