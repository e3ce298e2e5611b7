//go:build !unix

package pebblestore

import (
	"io/fs"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// filesKnown: a file can be told from another of the same name.
const filesKnown = false

// identity is not asked for here: a folder with open files can't be taken away.
func identity(fs.FileInfo) (fileID, bool) { return fileID{}, false }

func links(vfs.File) int64 { return -1 }
