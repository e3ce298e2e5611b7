//go:build unix

package main

import (
	"errors"
	"os/exec"
	"syscall"
)

func terminateChild(cmd *exec.Cmd) { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) }

func killChild(cmd *exec.Cmd) { killGroup(cmd.Process.Pid) }

func killGroup(pid int) { _ = syscall.Kill(-pid, syscall.SIGKILL) }

// guardAttributes put the guard in a session of its own: what ends the worker's
// group, such as Ctrl-C or kill -9 of the whole group, leaves it be.
func guardAttributes(cmd *exec.Cmd) { cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true} }

func tooLong(err error) bool { return errors.Is(err, syscall.E2BIG) }
