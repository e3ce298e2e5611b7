package e2e

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
)

// binary is the built program.
var binary string

func TestMain(m *testing.M) {
	if role := os.Getenv("PENSTOCK_E2E_ROLE"); role != "" {
		runRole(role)
		return
	}
	if built := os.Getenv("PENSTOCK_BIN"); built != "" {
		binary = built
		os.Exit(m.Run())
	}
	dir, err := os.MkdirTemp("", "penstock-e2e-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "penstock")
	build := exec.Command("go", "build", "-o", binary, "./cmd/penstock")
	build.Dir = ".." // the product is a module of its own
	build.Stderr = os.Stderr
	if err := build.Run(); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// process is a child that can be killed and started again.
type process struct {
	t    *testing.T
	name string
	make func() *exec.Cmd
	log  string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func newProcess(t *testing.T, name string, mk func() *exec.Cmd) *process {
	p := &process{t: t, name: name, make: mk, log: filepath.Join(t.TempDir(), name+".log")}
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("log of %s:\n%s", p.name, tail(p.log))
		}
	})
	return p
}

func (p *process) start() {
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.make()
	f, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		p.t.Error(err)
		return
	}
	cmd.Stdout, cmd.Stderr = f, f
	// A killed test must not leave servers behind.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.t.Errorf("start %s: %v", p.name, err)
		f.Close()
		return
	}
	done := make(chan struct{})
	p.cmd, p.done = cmd, done
	go func() {
		_ = cmd.Wait()
		f.Close()
		close(done)
	}()
}

// kill ends the process by kill -9 and waits until it is gone.
func (p *process) kill() { p.signal(syscall.SIGKILL) }

func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil {
		return
	}
	_ = p.cmd.Process.Signal(sig)
	<-p.done
	p.cmd = nil
}

func tail(path string) string {
	f, err := os.Open(path)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	var lines []string
	for sc := bufio.NewScanner(f); sc.Scan(); {
		lines = append(lines, sc.Text())
		if len(lines) > 40 {
			lines = lines[1:]
		}
	}
	out := ""
	for _, l := range lines {
		out += l + "\n"
	}
	return out
}

func freePort(t *testing.T) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// newServer is `penstock server` on a folder and an address that stay the same
// over restarts.
func newServer(t *testing.T, dir string) (*process, string) {
	addr := freePort(t)
	return newProcess(t, "server", func() *exec.Cmd {
		return exec.Command(binary, "server", "--data", dir, "--http", addr)
	}), "http://" + addr
}

// dial connects once the server is there.
func dial(t *testing.T, url string) *penstock.Client {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		c, err := penstock.Dial(ctx, url)
		if err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		if ctx.Err() != nil {
			t.Fatalf("dial %s: %v", url, err)
		}
		pause(ctx, 50*time.Millisecond)
	}
}

// pause waits for d or the end of ctx. The processes under test have clocks of
// their own: there is no event of theirs to wait for.
func pause(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// eventually asks until f is content.
func eventually(t *testing.T, limit time.Duration, what string, f func() (bool, string)) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	last := ""
	for ctx.Err() == nil {
		ok, state := f()
		if ok {
			return
		}
		last = state
		pause(ctx, 100*time.Millisecond)
	}
	t.Fatalf("%s: not within %v; last seen: %s", what, limit, last)
}

func runRole(role string) {
	var err error
	switch role {
	case "worker":
		err = runWorker(os.Getenv("PENSTOCK_URL"))
	case "embedded":
		err = runEmbedded(os.Getenv("PENSTOCK_E2E_DIR"), os.Getenv("PENSTOCK_E2E_OUT"))
	default:
		err = fmt.Errorf("unknown role %q", role)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
