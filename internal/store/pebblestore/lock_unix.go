//go:build unix

package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
)

// lockFile takes a lock that holds against other processes and against this
// one, by whatever path it comes. It goes with the process, kill -9 or not.
func lockFile(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		b := make([]byte, 32)
		n, _ := f.ReadAt(b, 0)
		f.Close()
		if !errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, err
		}
		if pid := strings.TrimSpace(string(b[:n])); pid != "" {
			return nil, fmt.Errorf("%w by process %s", errLocked, pid)
		}
		return nil, errLocked
	}
	// The number is for people who meet the lock; whether it was written is no matter.
	if f.Truncate(0) == nil {
		fmt.Fprintf(f, "%d\n", os.Getpid())
	}
	return f, nil
}

// lockFolder takes a lock on the folder itself: it holds whatever is done to the
// files in it. It is nil where folders can't be locked, as on some networks.
func lockFolder(dir string) (io.Closer, error) {
	f, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	locked, err := lockOpen(f)
	if locked {
		return f, nil
	}
	f.Close()
	return nil, err
}

// lockOpen locks an open folder, and says whether that can be done here.
func lockOpen(f *os.File) (locked bool, err error) {
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		return false, fmt.Errorf("%w by a process whose file LOCK was removed", errLocked)
	}
	return err == nil, nil
}
