//go:build unix && !linux

package main

import (
	"os/exec"
	"syscall"
)

func childThread() (release func()) { return func() {} }

func childAttributes(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} }

// waitChild collects the child first: nothing portable waits without that.
func waitChild(cmd *exec.Cmd, clean func()) error {
	err := cmd.Wait()
	clean()
	return err
}

// killMarked can do nothing: no other process's environment is shown here.
func killMarked(string) {}
