// Command demo is the main job of Penstock on real input: it hashes every .go
// file of the local Go installation through a queue, by the commands that the
// README shows, and compares with sha256sum. It knows the binary only.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

func main() {
	d := demo{kill: os.Getenv("KILL") != "" && os.Getenv("KILL") != "0"}
	flag.StringVar(&d.bin, "bin", "bin/penstock", "the binary to show")
	flag.StringVar(&d.root, "root", goroot(), "folder whose .go files are hashed")
	flag.IntVar(&d.limit, "limit", 0, "hash so many files only; 0 is all")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := d.run(ctx)
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		os.Exit(1)
	}
}

// demo is one showing.
type demo struct {
	bin, root string
	limit     int
	kill      bool // kill -9 the worker, and then the server, on the way

	dir, url, program string
	files             []string
	server, worker    *process
	killed            []int // tasks finished at each kill
}

func (d *demo) run(ctx context.Context) (err error) {
	if err := d.prepare(); err != nil {
		return err
	}
	defer func() {
		d.worker.stop()
		d.server.stop()
		if err == nil {
			err = os.RemoveAll(d.dir)
		} else {
			fmt.Fprintf(os.Stderr, "demo: logs and data are left in %s\n", d.dir)
		}
	}()
	say("%d .go files in %s", len(d.files), d.root)
	if err := d.startServer(ctx); err != nil {
		return err
	}
	if err := d.startWorker(); err != nil {
		return err
	}
	results, err := d.hash(ctx)
	if err != nil {
		return err
	}
	direct, err := d.direct(ctx)
	if err != nil {
		return err
	}
	return compare(results, direct)
}

func (d *demo) prepare() error {
	bin, err := filepath.Abs(d.bin)
	if err != nil {
		return err
	}
	if _, err := os.Stat(bin); err != nil {
		return fmt.Errorf("no binary: run make build first: %w", err)
	}
	d.bin = bin
	switch {
	case onPath("sha256sum"):
		d.program = "sha256sum {}"
	case onPath("shasum"):
		d.program = "shasum -a 256 {}"
	default:
		return errors.New("neither sha256sum nor shasum is installed: there is nothing to compare with")
	}
	if d.files, err = goFiles(d.root, d.limit); err != nil {
		return fmt.Errorf("list files: %w", err)
	}
	if len(d.files) == 0 {
		return fmt.Errorf("no .go files under %s", d.root)
	}
	d.dir, err = os.MkdirTemp("", "penstock-demo-")
	return err
}

func onPath(name string) bool {
	_, err := exec.LookPath(name)
	return err == nil
}

func goroot() string {
	out, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(out))
}

func goFiles(root string, limit int) (files []string, err error) {
	err = filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case limit > 0 && len(files) == limit:
			return fs.SkipAll
		case e.Type().IsRegular() && strings.HasSuffix(path, ".go") && !strings.ContainsAny(path, "\n\r\\"):
			files = append(files, path)
		}
		return nil
	})
	return files, err
}

// hash runs enqueue and wait as a shell would in a pipe, and returns what wait
// prints: a line a file, in the order of the files.
func (d *demo) hash(ctx context.Context) ([]string, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	enqueue := d.command("enqueue", "--queue", "hash", "--from-stdin")
	enqueue.Stdin = strings.NewReader(strings.Join(d.files, "\n") + "\n")
	wait := d.command("wait", "--from-stdin")
	ids, err := enqueue.StdoutPipe()
	if err != nil {
		return nil, err
	}
	var results bytes.Buffer
	wait.Stdin, wait.Stdout = ids, &results
	say("$ ... | penstock enqueue --queue hash --from-stdin | penstock wait --from-stdin")
	w := &watch{url: d.url, total: len(d.files), begin: time.Now(), accidents: d.accidents()}
	if err := enqueue.Start(); err != nil {
		return nil, fmt.Errorf("start enqueue: %w", err)
	}
	if err := wait.Start(); err != nil {
		return nil, errors.Join(fmt.Errorf("start wait: %w", err), enqueue.Process.Kill(), enqueue.Wait())
	}
	stop := context.AfterFunc(ctx, func() {
		_ = enqueue.Process.Kill()
		_ = wait.Process.Kill()
	})
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if err := w.run(watching); err != nil {
			cancel(err)
		}
	}()
	bar := startBar(w)
	waitErr := wait.Wait()
	enqueueErr := enqueue.Wait()
	stopWatching()
	<-watched
	d.killed = w.happened
	stop()
	if ctx.Err() == nil && enqueueErr == nil && waitErr == nil {
		w.finished.Store(int64(bytes.Count(results.Bytes(), []byte{'\n'})))
	}
	bar.stop()
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case enqueueErr != nil:
		return nil, fmt.Errorf("enqueue: %w", enqueueErr)
	case waitErr != nil:
		return nil, fmt.Errorf("wait: %w", waitErr)
	}
	return splitLines(results.Bytes()), nil
}

// accidents are what happens on the way. The new worker is at work when the
// server goes: else no further task would be finished.
func (d *demo) accidents() []accident {
	if !d.kill {
		return nil
	}
	at := func(n int, text string, happens func() error) accident {
		return accident{n, func() error {
			say("%s", text)
			return happens()
		}}
	}
	return []accident{
		at(len(d.files)/3, "kill -9 the worker, and start another", func() error {
			d.worker.kill()
			return d.startWorker()
		}),
		at(len(d.files)/2, "kill -9 the server, and start it again on its data", func() error {
			d.server.kill()
			return d.startServer(context.Background())
		}),
	}
}

// direct hashes the same files without a queue.
func (d *demo) direct(ctx context.Context) ([]string, error) {
	const at = 500 // files a call, far below what a command line holds
	words := strings.Fields(strings.TrimSuffix(d.program, " {}"))
	var lines []string
	for i := 0; i < len(d.files); i += at {
		args := append(words[1:len(words):len(words)], d.files[i:min(i+at, len(d.files))]...)
		out, err := exec.CommandContext(ctx, words[0], args...).Output()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", words[0], err)
		}
		lines = append(lines, splitLines(out)...)
	}
	return lines, nil
}

func splitLines(b []byte) []string {
	b = bytes.TrimSuffix(b, []byte("\n"))
	if len(b) == 0 {
		return nil
	}
	return strings.Split(string(b), "\n")
}

// compare says in one line how many files matched.
func compare(got, want []string) error {
	matched := 0
	for i, line := range want {
		switch {
		case i < len(got) && got[i] == line:
			matched++
		case i < len(got):
			fmt.Fprintf(os.Stderr, "differs: queue %q, direct %q\n", got[i], line)
		default:
			fmt.Fprintf(os.Stderr, "missing: %q\n", line)
		}
	}
	fmt.Printf("%d of %d files matched\n", matched, len(want))
	if matched != len(want) || len(got) != len(want) {
		return fmt.Errorf("%d results for %d files", len(got), len(want))
	}
	return nil
}
