package main

import (
	"os/exec"
	"runtime"
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
