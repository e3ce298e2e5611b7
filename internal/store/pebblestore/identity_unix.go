//go:build unix

package pebblestore

import (
	"io/fs"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// filesKnown: a file can be told from another of the same name.
const filesKnown = true

// identity is false for files of which it is not known.
func identity(info fs.FileInfo) (fileID, bool) {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileID{}, false
	}
	return fileID{uint64(st.Dev), uint64(st.Ino)}, true
}

// links are the names of an open file, -1 if that is not known.
func links(f vfs.File) int64 {
	var st syscall.Stat_t
	fd := f.Fd()
	if fd == vfs.InvalidFd || syscall.Fstat(int(fd), &st) != nil {
		return -1
	}
	return int64(st.Nlink)
}
