package e2e

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

var bulky = penstock.Define[[]byte, int]("bulky", penstock.Queue("full"), penstock.WithCodec(bulkCodec{}))

// bulkCodec keeps inputs as bytes and results as JSON numbers.
type bulkCodec struct{}

func (bulkCodec) ContentType() string { return "application/octet-stream" }

func (bulkCodec) Append(dst []byte, v any) ([]byte, error) {
	if b, ok := v.([]byte); ok {
		return append(dst, b...), nil
	}
	return fmt.Append(dst, v), nil
}

func (bulkCodec) Decode(data []byte, v any) error {
	switch p := v.(type) {
	case *[]byte:
		*p = append([]byte(nil), data...)
		return nil
	case *int:
		_, err := fmt.Sscan(string(data), p)
		return err
	}
	return fmt.Errorf("no way to decode into %T", v)
}

// runEmbedded is a program with the queue inside, on a disk that fills up. It
// says on stdout what it sees and does what it is told on stdin.
func runEmbedded(dir, _ string) error {
	in := bufio.NewScanner(os.Stdin)
	srv, err := server.Open(server.Config{Dir: dir})
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	fmt.Println("open")
	for in.Scan() {
		word, _, _ := strings.Cut(in.Text(), " ")
		switch word {
		case "fill":
			n, err := fill(srv.Client(), 10_000)
			fmt.Printf("filled %d %v\n", n, err)
		case "one":
			_, err := fill(srv.Client(), 1)
			fmt.Printf("one %v\n", err)
		case "work":
			n, err := workOff(srv.Client())
			fmt.Printf("worked %d %v\n", n, err)
		case "strain":
			fmt.Printf("strained %v\n", strain(srv.Client()))
		case "count":
			qs, err := srv.Client().Queues(context.Background(), "full")
			if err != nil || len(qs) != 1 {
				return fmt.Errorf("count: %d queues, %w", len(qs), err)
			}
			fmt.Printf("counted %d %d\n", qs[0].Enqueued, qs[0].Succeeded)
		case "close":
			fmt.Printf("closed %v\n", srv.Close())
			return nil
		}
	}
	return in.Err()
}

// fill enqueues until it is refused or limit is reached.
func fill(c *penstock.Client, limit int) (int, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	noise := rand.NewChaCha8([32]byte{1})
	for n := range limit {
		payload := make([]byte, 256<<10)
		noise.Read(payload) // nothing that compresses
		if _, err := bulky.Enqueue(ctx, c, payload); err != nil {
			return n, err
		}
	}
	return limit, nil
}

// workOff runs a worker until nothing is left.
func workOff(c *penstock.Client) (int64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var n atomic.Int64
	run, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- c.Work(run, bulky.Handle(func(_ context.Context, b []byte) (int, error) {
			n.Add(1)
			return len(b), nil
		}))
	}()
	var err error
	for {
		var qs []penstock.QueueInfo
		if qs, err = c.Queues(ctx, "full"); errors.Is(err, penstock.ErrUnavailable) && ctx.Err() == nil {
			pause(ctx, 50*time.Millisecond) // the storage is being opened anew
			continue
		}
		if err != nil {
			break
		}
		if q := qs[0]; q.Ready+q.Running+q.Scheduled+q.Blocked == 0 {
			break
		}
		pause(ctx, 50*time.Millisecond)
	}
	stop()
	return n.Load(), errors.Join(err, <-done)
}

// strain works for two seconds on a disk that has no byte left, whatever comes of
// it.
func strain(c *penstock.Client) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	w := c.Worker(penstock.Worker{DrainTimeout: -1}, bulky.Handle(func(_ context.Context, b []byte) (int, error) { return len(b), nil }))
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	select {
	case err := <-done:
		return err
	case <-time.After(15 * time.Second):
		return errors.New("the worker does not end")
	}
}

// child drives a program by lines.
type child struct {
	t   *testing.T
	cmd *exec.Cmd
	in  io.WriteCloser
	out *bufio.Scanner
}

func startEmbedded(t *testing.T, dir string) *child {
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "PENSTOCK_E2E_ROLE=embedded", "PENSTOCK_E2E_DIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	c := &child{t: t, cmd: cmd, in: in, out: bufio.NewScanner(out)}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	c.expect("open")
	return c
}

func (c *child) tell(line string) { fmt.Fprintln(c.in, line) }

// expect reads the next line and returns what follows the word.
func (c *child) expect(word string) string {
	c.t.Helper()
	if !c.out.Scan() {
		c.t.Fatalf("the program ended instead of saying %q: %v", word, c.cmd.Wait())
	}
	line := c.out.Text()
	got, rest, _ := strings.Cut(line, " ")
	if got != word {
		c.t.Fatalf("the program said %q instead of %q", line, word)
	}
	c.t.Log(line)
	return rest
}

// TestFull fills the disk under a program that embeds the queue: enqueues are
// refused with a clear error, finishes go on, the program lives, nothing is
// corrupt, and with space back it goes on.
func TestFull(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount a small file system")
	}
	disk := t.TempDir()
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=320m"); err != nil {
		t.Skipf("no tmpfs can be mounted here: %v", err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(disk, syscall.MNT_DETACH) })
	dir := filepath.Join(disk, "data")

	p := startEmbedded(t, dir)
	p.tell("fill")
	said := p.expect("filled")
	if !strings.Contains(said, "exhausted") || !strings.Contains(said, "disk") {
		t.Fatalf("a full disk is refused by %q: want exhausted, and the disk named", said)
	}
	var filled int
	fmt.Sscan(said, &filled)
	if filled < 100 {
		t.Fatalf("only %d tasks of 256 KiB fit on 320 MiB", filled)
	}

	// Now take the last of the space away from outside.
	hog := filepath.Join(disk, "hog")
	hogAll(t, hog)
	p.tell("one")
	if said := p.expect("one"); !strings.Contains(said, "exhausted") && !strings.Contains(said, "unavailable") {
		t.Fatalf("with no space at all an enqueue says %q", said)
	}
	p.tell("strain") // outcomes meet a disk that takes none of them
	p.expect("strained")
	if err := os.Remove(hog); err != nil {
		t.Fatal(err)
	}
	p.tell("work")
	if said := p.expect("worked"); !strings.HasSuffix(said, " <nil>") {
		t.Fatalf("%d tasks were filled in; worked off: %s", filled, said)
	}
	p.tell("count")
	if said := p.expect("counted"); said != fmt.Sprint(filled, " ", filled) {
		t.Fatalf("%d tasks were filled in; enqueued and succeeded: %s", filled, said)
	}
	eventually(t, time.Minute, "recovery", func() (bool, string) {
		p.tell("one")
		said := p.expect("one")
		return said == "<nil>", said
	})
	p.tell("close")
	if said := p.expect("closed"); said != "<nil>" {
		t.Fatalf("close: %s", said)
	}

	p = startEmbedded(t, dir)
	p.tell("work")
	p.expect("worked")
	p.tell("close")
	p.expect("closed")
}

// hogAll writes until nothing more fits.
func hogAll(t *testing.T, path string) {
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for {
		if _, err := f.Write(block); err != nil {
			if !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			return
		}
	}
}
