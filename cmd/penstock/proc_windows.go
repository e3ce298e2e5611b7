package main

import (
	"errors"
	"os"
	"os/exec"
	"syscall"
)

func childThread() (release func()) { return func() {} }

func childAttributes(*exec.Cmd) {}

func guardAttributes(*exec.Cmd) {}

func terminateChild(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killChild(cmd *exec.Cmd) { _ = cmd.Process.Kill() }

func killGroup(pid int) {
	if p, err := os.FindProcess(pid); err == nil {
		_ = p.Kill()
	}
}

// tooLong: ERROR_FILENAME_EXCED_RANGE is what a long command line gets.
func tooLong(err error) bool { return errors.Is(err, syscall.Errno(206)) }

// waitChild collects the child first: nothing portable waits without that.
func waitChild(cmd *exec.Cmd, clean func()) error {
	err := cmd.Wait()
	clean()
	return err
}

// killMarked can do nothing: no other process's environment is shown here.
func killMarked(string) {}
