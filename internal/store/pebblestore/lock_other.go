//go:build !unix

package pebblestore

import (
	"io"

	"github.com/cockroachdb/pebble/v2/vfs"
)

func lockFile(path string) (io.Closer, error) { return vfs.Default.Lock(path) }
