//go:build unix

package main

import (
	"bufio"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

func runProgram(t *testing.T, ctx context.Context, command, payload string) (string, error) {
	t.Helper()
	words, err := splitWords(command)
	if err != nil {
		t.Fatal(err)
	}
	p := &program{words: words, url: "http://x", grace: 5 * time.Second}
	out, err := p.run(ctx, attempt{id: "id1", number: 2, token: "tok", fence: 7, queue: "q", typ: "ty", payload: []byte(payload)})
	return string(out), err
}

func TestProgram(t *testing.T) {
	f := func(command, payload, want string) {
		t.Helper()
		got, err := runProgram(t, t.Context(), command, payload)
		if err != nil || got != want {
			t.Errorf("%s with %q: got %q, %v; want %q", command, payload, got, err, want)
		}
	}
	f("cat", "on stdin\n", "on stdin\n")
	f("printf %s {}", "$(id); 'two words'", "$(id); 'two words'")
	f("printf [%s] {}", "-n\n\ttab", "[-n\n\ttab]")
	f("cat", "a\x00b", "a\x00b")
	f(`sh -c 'echo $PENSTOCK_TASK_ID $PENSTOCK_ATTEMPT $PENSTOCK_LEASE_TOKEN $PENSTOCK_FENCE $PENSTOCK_QUEUE $PENSTOCK_TYPE $PENSTOCK_URL'`,
		"", "id1 2 tok 7 q ty http://x\n")
	f("true", "never read", "")

	bad := func(command, payload, text string, retry, permanent bool) {
		t.Helper()
		_, err := runProgram(t, t.Context(), command, payload)
		var e *execError
		if !errors.As(err, &e) || !strings.Contains(e.text, text) || e.retry != retry || e.permanent != permanent {
			t.Errorf("%s: got %+v, want %q, retry %v, permanent %v", command, err, text, retry, permanent)
		}
	}
	bad(`sh -c 'echo out; echo no luck >&2; exit 3'`, "", "exit status 3: no luck", false, false)
	bad(`sh -c 'echo later >&2; exit 75'`, "", "later", true, false)
	bad(`sh -c 'kill -9 $$'`, "", "killed", false, false)
	bad(`printf {}`, "a\x00b", "NUL", false, true)
	bad(`printf {}`, strings.Repeat("x", 1<<20), "read stdin", false, true)
	bad(`head -c 1048577 /dev/zero`, "", "limit of 1048576 bytes", false, true)
	bad(`/no/such/program`, "", "start /no/such/program", false, false)
	bad(`sh -c 'head -c 10000 /dev/zero | tr "\\0" x >&2; exit 1'`, "", "exit status 1: …xxx", false, false)
}

func TestProgramStops(t *testing.T) {
	f := func(command string, why error) {
		t.Helper()
		ctx, cancel := context.WithCancelCause(t.Context())
		dir := t.TempDir()
		if err := syscall.Mkfifo(dir+"/up", 0o600); err != nil {
			t.Fatal(err)
		}
		go func() {
			// Opening the pipe waits until the child has opened its end.
			if up, err := os.Open(dir + "/up"); err == nil {
				_ = up.Close()
			}
			cancel(why)
		}()
		_, err := runProgram(t, ctx, command, dir+"/up")
		if !errors.Is(err, why) {
			t.Errorf("%s: got %v, want %v", command, err, why)
		}
	}
	told := errors.New("told to")
	f(`sh -c 'echo > "$1"; exec sleep 1000' sh {}`, told)
	f(`sh -c 'sleep 1000 & echo > "$1"; wait' sh {}`, told)
	f(`sh -c 'trap "exit 0" TERM; echo > "$1"; while :; do :; done' sh {}`, penstock.ErrTimeout)
}

func TestProgramLeavesNothing(t *testing.T) {
	pid, err := runProgram(t, t.Context(), `sh -c 'sleep 1000 </dev/null >/dev/null 2>&1 & echo $!'`, "")
	if err != nil {
		t.Fatal(err)
	}
	if out, _ := exec.Command("ps", "-o", "stat=", "-p", strings.TrimSpace(pid)).Output(); len(out) > 0 && out[0] != 'Z' {
		t.Errorf("what the program started is still there: %s", out)
	}
}

func TestGuardChildren(t *testing.T) {
	var killed []int
	err := guardChildren(strings.NewReader("+10\n+11\n-10\nx\n+1\n+0\n+-5\n+12\n-12\n"), func(pid int) { killed = append(killed, pid) })
	if err != nil || len(killed) != 1 || killed[0] != 11 {
		t.Errorf("got %v, %v; want [11]", killed, err)
	}
}

// TestKilledWorkerTakesChildren kills the process that holds a child and its
// guard, and sees the child's own child end.
func TestKilledWorkerTakesChildren(t *testing.T) {
	fifo := t.TempDir() + "/up"
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	holder := exec.Command(os.Args[0])
	holder.Env = append(os.Environ(), holderEnv+"="+fifo)
	holder.Stderr = os.Stderr
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	up, err := os.Open(fifo)
	if err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(up)
	pid, err := in.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	_ = holder.Process.Kill()
	_ = holder.Wait()
	gone := make(chan error, 1)
	go func() {
		// The grandchild holds the other end: its end is the end of the file.
		_, err := in.ReadString('\n')
		gone <- err
	}()
	select {
	case err := <-gone:
		if !errors.Is(err, io.EOF) {
			t.Errorf("got %v, want the end of the file", err)
		}
	case <-time.After(20 * time.Second):
		t.Error("the worker is gone and what its child started lives on")
		n, _ := strconv.Atoi(strings.TrimSpace(pid))
		_ = syscall.Kill(n, syscall.SIGKILL)
	}
}

// holderEnv makes the test's binary a process with a child that has a child,
// which holds the pipe named open.
const holderEnv = "PENSTOCK_TEST_HOLDER"

func holdChildren(fifo string) {
	g, err := startGuard()
	if err != nil {
		panic(err)
	}
	leave := ""
	if _, err := exec.LookPath("setsid"); err == nil {
		leave = "setsid " // out of the group that is told to the guard
	}
	p := &program{words: []string{"sh", "-c", leave + `sh -c 'echo $$; exec sleep 1000' >"$1" & wait`, "sh", "{}"}, guard: g}
	_, err = p.run(context.Background(), attempt{payload: []byte(fifo)})
	panic(err)
}

func TestContentType(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		if got := contentType([]byte(in)); got != want {
			t.Errorf("contentType(%q) = %s, want %s", in, got, want)
		}
	}
	f(`{"a":1}`, "application/json")
	f(`12345678901234567890`, "application/json")
	f("/usr/bin/go", "text/plain")
	f("", "text/plain")
	f("\xff\x00", "application/octet-stream")
}

func TestReleaseWait(t *testing.T) {
	f := func(releases int, want time.Duration) {
		t.Helper()
		if got := releaseWait(releases); got != want {
			t.Errorf("releaseWait(%d) = %v, want %v", releases, got, want)
		}
	}
	f(0, time.Second)
	f(1, 2*time.Second)
	f(6, time.Minute)
	f(1000, time.Minute)
	if task.PayloadMax != 1<<20 {
		t.Error("the texts above name the limit")
	}
}
