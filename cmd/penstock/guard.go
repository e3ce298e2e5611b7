package main

import (
	"bufio"
	"crypto/rand"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// guard is a process that outlives a worker by a moment and takes the worker's
// children with it. The kernel's parent-death signal reaches a direct child on
// Linux only; what that child has started in turn, and other systems, need
// someone who is still there after kill -9. The worker tells its guard over a
// pipe which process groups live; the pipe's end is the worker's end. A child
// that was started and not yet told of, or has left its group, is found by the
// mark in its environment, where the system shows that.
type guard struct {
	mark string
	cmd  *exec.Cmd
	mu   sync.Mutex
	pipe io.WriteCloser // guarded by mu
}

const (
	guardCommand = "guard-children"
	markEnv      = "PENSTOCK_WORKER"
	sweepsMax    = 100 // of the system's processes, for one that forks as fast as it is killed
)

func startGuard() (*guard, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, fmt.Errorf("find own program: %w", err)
	}
	g := &guard{mark: markEnv + "=" + rand.Text()}
	cmd := exec.Command(self, guardCommand)
	cmd.Env = append(os.Environ(), g.mark)
	guardAttributes(cmd)
	pipe, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start guard: %w", err)
	}
	g.pipe, g.cmd = pipe, cmd
	return g, nil
}

// environ is what marks a child of this worker.
func (g *guard) environ() []string {
	if g == nil {
		return nil
	}
	return []string{g.mark}
}

func (g *guard) add(pid int)    { g.tell('+', pid) }
func (g *guard) remove(pid int) { g.tell('-', pid) }

// tell may fail when someone has killed the guard: the children are then as
// well off as without one.
func (g *guard) tell(sign byte, pid int) {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	line := append(strconv.AppendInt([]byte{sign}, int64(pid), 10), '\n')
	_, _ = g.pipe.Write(line)
}

// close ends the guard after the last child.
func (g *guard) close() {
	if g == nil {
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	_ = g.pipe.Close()
	_ = g.cmd.Wait()
}

// guardCommand is the other side: it reads until the worker is gone, and ends
// every group that still lives.
func (a *app) guardCommand() *cobra.Command {
	return &cobra.Command{
		Use:    guardCommand,
		Short:  "End the children of a worker that is gone (started by work)",
		Hidden: true,
		Args:   cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			signal.Ignore(syscall.SIGINT, syscall.SIGTERM)
			err := guardChildren(a.stdin, killGroup)
			if mark := os.Getenv(markEnv); mark != "" {
				killMarked(markEnv + "=" + mark)
			}
			return err
		},
	}
}

func guardChildren(from io.Reader, kill func(pid int)) error {
	live := map[int]bool{}
	lines := bufio.NewScanner(from)
	for lines.Scan() {
		line := lines.Text()
		if len(line) < 2 {
			continue
		}
		pid, err := strconv.Atoi(line[1:])
		if err != nil || pid <= 1 {
			continue
		}
		if line[0] == '+' {
			live[pid] = true
		} else {
			delete(live, pid)
		}
	}
	for pid := range live {
		kill(pid)
	}
	return lines.Err()
}
