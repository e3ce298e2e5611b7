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
	file, err := os.Open(f.path(lockName))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("lock data folder %s: %w", f.dir, err)
	}
	err = syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if err == nil {
		f.lock = file
		return nil
	}
	b := make([]byte, 32)
	n, _ := file.ReadAt(b, 0)
	file.Close()
	if !errors.Is(err, syscall.EWOULDBLOCK) {
		return fmt.Errorf("lock data folder %s: %w", f.dir, err)
	}
	return &InUseError{Dir: f.dir, Process: strings.TrimSpace(string(b[:n]))}
}
