//go:build unix

package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockToRead keeps servers away from a folder while it is looked at, and writes
// nothing into it. Without a lock file no server has ever been there.
func lockToRead(f *folder) error {
	if f.fs != vfs.Default {
		return f.take()
	}
	dir, err := lockFolder(f.dir)
	if errors.Is(err, errLocked) {
		return &InUseError{Dir: f.dir, Process: f.holder()}
	}
	if err != nil {
		return fmt.Errorf("lock data folder %s: %w", f.dir, err)
	}
	if dir != nil {
		f.locks = append(f.locks, dir)
	}
	file, err := os.Open(f.path(lockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err == nil {
		f.locks = append(f.locks, file)
		err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	}
	if err == nil {
		return nil
	}
	f.close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock data folder %s: %w", f.dir, err)
	}
	return &InUseError{Dir: f.dir, Process: f.holder()}
}

// holder is the process that the file LOCK names, "" if there is none.
func (f *folder) holder() string {
	file, err := os.Open(f.path(lockName))
	if err != nil {
		return ""
	}
	defer file.Close()
	b := make([]byte, 32)
	n, _ := file.ReadAt(b, 0)
	return strings.TrimSpace(string(b[:n]))
}
