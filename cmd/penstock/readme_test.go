//go:build unix

package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/penstock-io/penstock/server"
)

// TestReadme runs everything that README.md shows, as it stands there. A block
// is named by the comment before it.
func TestReadme(t *testing.T) {
	raw, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?s)<!-- test: (\\w+) -->\n```(\\w+)\n(.*?)```\n").FindAllStringSubmatch(string(raw), -1)
	// What must hold after a block's last line.
	checks := map[string]string{
		"first":  "sha256sum *.go > want; penstock wait --from-stdin < ids | cmp - want",
		"curl":   `penstock get $id -o jsonl | tee /dev/stderr | grep -q '"result":{"sent":true}'; grep -q '"account":12345678901234567890}' lease`,
		"cli":    "test -n \"$id\"; penstock queues mail -o wide | grep -q '5 exponential:2s:1h'",
		"config": `penstock config --config penstock.yaml --drain-timeout 5s | grep -q "^drain_timeout	5s	flag --drain-timeout$"`,
	}
	var names []string
	for _, b := range blocks {
		name, language, text := b[1], b[2], b[3]
		names = append(names, name)
		t.Run(name, func(t *testing.T) {
			if language == "go" {
				readmeProgram(t, name, text)
			} else {
				readmeScript(t, text, checks[name])
			}
		})
	}
	if got, want := strings.Join(names, " "), "first dial embedded curl cli config"; got != want {
		t.Errorf("README.md has the tested blocks %s, want %s", got, want)
	}
	if n := strings.Count(string(raw), "```") / 2; n != len(blocks)+2 {
		t.Errorf("README.md has %d blocks, %d of them are tested: all but the two that call make must be", n, len(blocks))
	}
}

// readmeServer is a server on a free port.
func readmeServer(t *testing.T) *server.Server {
	t.Helper()
	srv, err := server.Open(server.Config{Dir: t.TempDir(), HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srv.Close(); err != nil {
			t.Error(err)
		}
	})
	return srv
}

func readmeScript(t *testing.T, text, check string) {
	for _, tool := range []string{"curl", "sha256sum", "sh"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("%s is not installed", tool)
		}
	}
	dir := t.TempDir()
	for _, name := range []string{"main.go", "app.go"} {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address, path := freeAddress(t), os.Getenv("PATH")
	if strings.Contains(text, "penstock dev &") {
		path = readmeBinary(t, dir, path)
	} else {
		address = strings.TrimPrefix(readmeServer(t).URL(), "http://")
	}
	text = strings.ReplaceAll(text, "127.0.0.1:7070", address)
	out, err := os.Create(filepath.Join(dir, ".out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd := exec.Command("sh", "-euc", text+"\n"+check+"\n")
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	cmd.Env = append(os.Environ(), "PENSTOCK_URL=http://"+address, "PENSTOCK_HTTP="+address, "PATH="+path)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	err = cmd.Start()
	if err == nil {
		// What the script has left in the background goes with it.
		defer func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }()
		err = cmd.Wait()
	}
	if err != nil {
		said, _ := os.ReadFile(out.Name())
		t.Errorf("%v\n%s", err, said)
	}
}

// readmeBinary puts the binary where make build does, and returns path without it.
func readmeBinary(t *testing.T, dir, path string) string {
	t.Helper()
	binary, err := exec.LookPath("penstock")
	if err != nil {
		t.Fatal(err)
	}
	err = os.Mkdir(filepath.Join(dir, "bin"), 0o700)
	if err == nil {
		err = os.Symlink(binary, filepath.Join(dir, "bin", "penstock"))
	}
	if err != nil {
		t.Fatal(err)
	}
	folders := filepath.SplitList(path)
	folders = slices.DeleteFunc(folders, func(folder string) bool {
		_, err := os.Stat(filepath.Join(folder, "penstock"))
		return err == nil
	})
	return strings.Join(folders, string(filepath.ListSeparator))
}

func readmeProgram(t *testing.T, name, text string) {
	if testing.Short() {
		t.Skip("building takes seconds")
	}
	dir := t.TempDir()
	source, binary := filepath.Join(dir, "main.go"), filepath.Join(dir, "program")
	if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(text, "\n"); n > 25 {
		t.Errorf("program %s has %d lines, 25 is what was promised", name, n)
	}
	if out, err := exec.Command("gofmt", "-l", source).CombinedOutput(); err == nil && len(out) > 0 {
		t.Errorf("program %s is not formatted", name)
	}
	for _, args := range [][]string{{"vet", source}, {"build", "-o", binary, source}} {
		cmd := exec.Command("go", args...)
		cmd.Dir = "../.."
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
	}
	run := exec.Command(binary)
	run.Dir = dir
	run.Env = append(os.Environ(), "PENSTOCK_URL="+readmeServer(t).URL())
	out, err := run.CombinedOutput()
	want := map[string]string{"dial": "hello world <nil>\n", "embedded": "144 <nil>\n<nil> <nil>\n"}[name]
	if err != nil || string(out) != want {
		t.Errorf("got %q, %v; want %q", out, err, want)
	}
}
