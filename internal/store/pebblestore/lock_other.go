//go:build !unix

package pebblestore

import (
	"fmt"
	"io"
	"os"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// lockFile can't tell a held lock from other trouble here, and takes it for held.
func lockFile(path string) (io.Closer, error) {
	l, err := vfs.Default.Lock(path)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errLocked, err)
	}
	return l, nil
}

// lockOpen has nothing to lock here: the file can't be removed while it is held.
func lockOpen(*os.File) (locked bool, err error) { return false, nil }
