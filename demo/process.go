package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// process is a server or a worker of the demo, with its output in a file.
type process struct {
	cmd *exec.Cmd
	log *os.File
}

func (d *demo) command(args ...string) *exec.Cmd {
	cmd := exec.Command(d.bin, args...)
	cmd.Env = append(os.Environ(), "PENSTOCK_URL="+d.url)
	cmd.Stderr = os.Stderr
	return cmd
}

func (d *demo) start(name string, args ...string) (*process, error) {
	log, err := os.OpenFile(filepath.Join(d.dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	cmd := d.command(args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	return &process{cmd, log}, nil
}

// kill is kill -9: nothing gets a chance to tidy up.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
	_ = p.log.Close()
}

// stop asks it to end.
func (p *process) stop() {
	if p == nil {
		return
	}
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait()
	_ = p.log.Close()
}

// startServer starts the server, the second time under the same address, and
// waits until it serves.
func (d *demo) startServer(ctx context.Context) (err error) {
	if d.url == "" {
		address, err := freeAddress()
		if err != nil {
			return err
		}
		d.url = "http://" + address
	}
	args := []string{"server", "--data", filepath.Join(d.dir, "data"), "--http", d.url[len("http://"):]}
	say("$ penstock server --data %s --http %s", args[2], args[4])
	if d.server, err = d.start("server", args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	for tick := time.NewTicker(20 * time.Millisecond); ; {
		if resp, err := http.Get(d.url + "/readyz"); err == nil {
			_ = resp.Body.Close()
			if resp.StatusCode == http.StatusOK {
				return nil
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the server does not serve, see %s: %w", d.server.log.Name(), ctx.Err())
		}
	}
}

func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

func (d *demo) startWorker() (err error) {
	say("$ penstock work --queue hash --exec '%s'", d.program)
	d.worker, err = d.start("worker", "work", "--queue", "hash", "--exec", d.program)
	return err
}
