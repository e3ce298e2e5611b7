package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"time"
)

// serveCommand is this program's hidden first argument in the server's process.
const serveCommand = "serve"

const stopMax = 30 * time.Second // a server that needs longer to stop is killed

// child is a server in a process of its own. It serves until its stdin ends,
// so that it can't outlive its parent, and answers each line on stdin with what
// it has used so far: askUsage as it stands, askSettled after a whole collection.
type child struct {
	cmd     *exec.Cmd
	in      io.WriteCloser
	out     *bufio.Scanner
	url     string
	started time.Time // before the process was made
}

const (
	askUsage   = "usage"
	askSettled = "settled"
)

// hello is a child's first line.
type hello struct {
	URL   string `json:"url"`
	Error string `json:"error,omitempty"`
}

func startChild(ctx context.Context, dir, cpuProfile string, s settings) (*child, error) {
	exe, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(exe, serveCommand, dir, cpuProfile, strconv.FormatInt(s.historyBytes, 10), strconv.FormatInt(s.memory, 10))
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, in: in, out: bufio.NewScanner(out), started: time.Now()}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the server's process: %w", err)
	}
	stop := context.AfterFunc(ctx, func() { _ = cmd.Process.Kill() })
	var h hello
	err = c.read(&h)
	if !stop() {
		err = ctx.Err()
	}
	if err == nil && h.Error != "" {
		err = errors.New(h.Error)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the server: %w", err), c.close())
	}
	c.url = h.URL
	return c, nil
}

func (c *child) read(v any) error {
	if !c.out.Scan() {
		return errors.Join(errors.New("the server's process has ended"), c.out.Err())
	}
	return json.Unmarshal(c.out.Bytes(), v)
}

func (c *child) usage() (usage, error)   { return c.ask(askUsage) }
func (c *child) settled() (usage, error) { return c.ask(askSettled) }

func (c *child) ask(what string) (usage, error) {
	var u usage
	if _, err := io.WriteString(c.in, what+"\n"); err != nil {
		return u, err
	}
	return u, c.read(&u)
}

func (c *child) close() error {
	_ = c.in.Close()
	kill := time.AfterFunc(stopMax, func() { _ = c.cmd.Process.Kill() })
	defer kill.Stop()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the server's process: %w", err)
	}
	return nil
}

// serve is the child's side.
func serve(args []string) error {
	if len(args) != 4 {
		return errors.New("serve is for this program's own use")
	}
	var set settings
	var err error
	if set.historyBytes, err = strconv.ParseInt(args[2], 10, 64); err == nil {
		set.memory, err = strconv.ParseInt(args[3], 10, 64)
	}
	if err != nil {
		return err
	}
	stopProfile, err := profileCPU(args[1])
	if err != nil {
		return err
	}
	defer stopProfile()
	out := json.NewEncoder(os.Stdout)
	h, url, err := openServer(args[0], set)
	if err != nil {
		return out.Encode(hello{Error: err.Error()})
	}
	if err := out.Encode(hello{URL: url}); err != nil {
		return errors.Join(err, h.close())
	}
	lines := bufio.NewScanner(os.Stdin)
	for lines.Scan() {
		read := h.usage
		if lines.Text() == askSettled {
			read = h.settled
		}
		u, err := read()
		if err == nil {
			err = out.Encode(u)
		}
		if err != nil {
			return errors.Join(err, h.close())
		}
	}
	return h.close()
}
