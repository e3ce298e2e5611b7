package pebblestore

import (
	"errors"
	"fmt"
	"io/fs"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// openTriesMax times tableRetryPause is how long a table is tried that can't be
// opened for want of file descriptors. Others of the program may hold them, and
// give them back.
const openTriesMax = 300

// Open opens a file to be read. Whatever keeps a table from being read is told to
// Pebble as damage, so that all of it comes to the one place where Pebble reports
// damage before it acts on it: see unreadable.
func (g *guardFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.Open(name, o...)
	if !isTable(name) {
		return f, err
	}
	for n := 0; noFiles(err) && n < openTriesMax && !g.dead.Load(); n++ {
		time.Sleep(g.pause)
		f, err = g.FS.Open(name, o...)
	}
	if noFiles(err) {
		g.kill(fmt.Errorf("open a table: %w", err)) // no damage: opened anew, it may do
	}
	if err != nil {
		return nil, readFault{name, err}
	}
	return tableToRead{f, name}, nil
}

func noFiles(err error) bool {
	return errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE)
}

// tableToRead is a table's file that Pebble reads.
type tableToRead struct {
	vfs.File
	name string
}

func (f tableToRead) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	if err != nil {
		err = readFault{f.name, err}
	}
	return n, err
}

// readFault is why a table could not be read, and counts as damage to Pebble.
type readFault struct {
	path string
	err  error
}

func (f readFault) Error() string {
	err := f.err
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		err = p.Err
	}
	return fmt.Sprintf("the table %s can't be read: %v", f.path, err)
}

func (f readFault) Unwrap() error        { return f.err }
func (f readFault) Is(target error) bool { return target == pebble.ErrCorruption }
