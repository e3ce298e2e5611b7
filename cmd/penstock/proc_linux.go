package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// childThread keeps the goroutine on its thread until the function returned is
// called: the kernel sends the parent-death signal when the *thread* that
// started the child ends, not the process.
func childThread() (release func()) {
	runtime.LockOSThread()
	return runtime.UnlockOSThread
}

// childAttributes gives the child a process group of its own, so that all it
// starts can be ended together, and ends it when its worker ends.
func childAttributes(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// waitChild waits for the child's end, calls clean, and only then collects it:
// until then its number, and so its group's, cannot be given to anyone else.
func waitChild(cmd *exec.Cmd, clean func()) error {
	for {
		err := unix.Waitid(unix.P_PID, cmd.Process.Pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
		if err != unix.EINTR {
			break
		}
	}
	clean()
	return cmd.Wait()
}

// killMarked ends every process that has the mark in its environment, until
// there is none: one that forks meanwhile is met by the next sweep.
func killMarked(mark string) {
	for range sweepsMax {
		found := false
		names, err := filepath.Glob("/proc/[0-9]*/environ")
		if err != nil {
			return
		}
		for _, name := range names {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(name)))
			if err != nil || pid == os.Getpid() {
				continue
			}
			raw, err := os.ReadFile(name)
			if err != nil || !slices.Contains(strings.Split(string(raw), "\x00"), mark) {
				continue
			}
			if syscall.Kill(pid, syscall.SIGKILL) == nil {
				found = true
			}
		}
		if !found {
			return
		}
	}
}
