package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// heldFS reaches the files of a data folder by way of the folder that was opened,
// whatever its name leads to by now. Pebble begins files by their path, many times a
// minute: under a name that was given to another folder it would write there, and
// acknowledge what nobody finds again when the right one is put back.
//
//	/var/lib/penstock/db/000004.log ──▶ /proc/self/fd/9/000004.log
//
// The system follows such a path from the open folder on. Where there is none, on
// other systems and without /proc, it is looked right before each operation whether
// the name still leads to the folder. Errors show the path that was asked for.
type heldFS struct {
	vfs.FS
	dir, db heldDir
}

// heldDir is an open folder.
type heldDir struct {
	watched
	file *os.File // nil: not held (yet)
	fds  string   // where the open files are found; "": nowhere
	root string   // the data folder, for errors
}

// fdsOf is where a process finds its open files, and can go on from them.
func fdsOf() string {
	if runtime.GOOS == "linux" {
		return "/proc/self/fd"
	}
	return ""
}

// holdDir opens a folder. path leads there now, name is what errors call it.
func holdDir(path, name, what, root, fds string) (d heldDir, err error) {
	f, err := os.Open(path)
	if err != nil {
		return d, err
	}
	info, err := f.Stat()
	if err != nil {
		return d, errors.Join(err, f.Close())
	}
	id, _ := identity(info)
	d = heldDir{watched{filepath.Clean(name), what + " " + name, id}, f, fds, root}
	if there, err := os.Stat(d.way(f.Fd(), ".")); err != nil || !os.SameFile(info, there) {
		d.fds = ""
	}
	return d, nil
}

// way is the path of a file by way of the open folder, good while that is open.
func (d *heldDir) way(fd uintptr, rest string) string {
	return filepath.Join(d.fds, strconv.Itoa(int(fd)), rest)
}

// find is the folder by which name is reached, and the way from there.
func (h *heldFS) find(name string) (d *heldDir, rest string) {
	for _, d := range []*heldDir{&h.db, &h.dir} {
		if d.file == nil {
			continue
		}
		if rest, err := filepath.Rel(d.path, name); err == nil && filepath.IsLocal(rest) {
			return d, rest
		}
	}
	return nil, ""
}

// at runs op with a path that leads to what name did when the folder was opened.
func (h *heldFS) at(name string, op func(path string) error) error {
	d, rest := h.find(name)
	switch {
	case d == nil:
		return op(name)
	case d.fds == "":
		if err := h.there(); err != nil {
			return err
		}
		return op(name)
	}
	conn, err := d.file.SyscallConn()
	if err == nil {
		var failed error
		err = conn.Control(func(fd uintptr) { // keeps the number from becoming another file's
			path := d.way(fd, rest)
			failed = shown(op(path), path, name)
		})
		if err == nil {
			return failed
		}
	}
	return &fs.PathError{Op: "open", Path: name, Err: os.ErrClosed}
}

// there is an error when a name leads elsewhere.
func (h *heldFS) there() error {
	for _, d := range []*heldDir{&h.dir, &h.db} {
		if d.file == nil {
			continue
		}
		if err := d.look(h.FS, d.root); err != nil {
			return err
		}
	}
	return nil
}

// shown puts the name that was asked for in place of the path in an error.
func shown(err error, path, name string) error {
	put := func(p *string) {
		if rest, ok := strings.CutPrefix(*p, path); ok && (rest == "" || rest[0] == filepath.Separator) {
			*p = name + rest
		}
	}
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		put(&p.Path)
	}
	if l := (*os.LinkError)(nil); errors.As(err, &l) {
		put(&l.Old)
		put(&l.New)
	}
	return err
}

func (h *heldFS) at2(old, name string, op func(old, name string) error) error {
	return h.at(old, func(o string) error {
		return h.at(name, func(n string) error { return op(o, n) })
	})
}

func (h *heldFS) file(name string, op func(path string) (vfs.File, error)) (f vfs.File, err error) {
	err = h.at(name, func(path string) (err error) {
		f, err = op(path)
		if err == nil && path != name {
			f = &heldFile{f, path, name}
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return f, nil
}

func (h *heldFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.file(name, func(path string) (vfs.File, error) { return h.FS.Create(path, c) })
}

func (h *heldFS) Open(name string, o ...vfs.OpenOption) (vfs.File, error) {
	return h.file(name, func(path string) (vfs.File, error) { return h.FS.Open(path, o...) })
}

func (h *heldFS) OpenReadWrite(name string, c vfs.DiskWriteCategory, o ...vfs.OpenOption) (vfs.File, error) {
	return h.file(name, func(path string) (vfs.File, error) { return h.FS.OpenReadWrite(path, c, o...) })
}

func (h *heldFS) OpenDir(name string) (vfs.File, error) {
	return h.file(name, h.FS.OpenDir)
}

func (h *heldFS) ReuseForWrite(old, name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	return h.file(name, func(n string) (f vfs.File, err error) {
		err = h.at(old, func(o string) (err error) {
			f, err = h.FS.ReuseForWrite(o, n, c)
			return err
		})
		return f, err
	})
}

func (h *heldFS) Link(old, name string) error   { return h.at2(old, name, h.FS.Link) }
func (h *heldFS) Rename(old, name string) error { return h.at2(old, name, h.FS.Rename) }
func (h *heldFS) Remove(name string) error      { return h.at(name, h.FS.Remove) }
func (h *heldFS) RemoveAll(name string) error   { return h.at(name, h.FS.RemoveAll) }

func (h *heldFS) MkdirAll(dir string, perm os.FileMode) error {
	return h.at(dir, func(path string) error { return h.FS.MkdirAll(path, perm) })
}

func (h *heldFS) Lock(name string) (l io.Closer, err error) {
	err = h.at(name, func(path string) (err error) {
		l, err = h.FS.Lock(path)
		return err
	})
	return l, err
}

func (h *heldFS) List(dir string) (names []string, err error) {
	err = h.at(dir, func(path string) (err error) {
		names, err = h.FS.List(path)
		return err
	})
	return names, err
}

func (h *heldFS) Stat(name string) (info vfs.FileInfo, err error) {
	err = h.at(name, func(path string) (err error) {
		info, err = h.FS.Stat(path)
		return err
	})
	return info, err
}

func (h *heldFS) GetDiskUsage(path string) (u vfs.DiskUsage, err error) {
	err = h.at(path, func(path string) (err error) {
		u, err = h.FS.GetDiskUsage(path)
		return err
	})
	return u, err
}

func (h *heldFS) Unwrap() vfs.FS { return h.FS }

func (h *heldFS) close() error {
	var errs []error
	for _, d := range []*heldDir{&h.db, &h.dir} {
		if d.file == nil {
			continue
		}
		if err := d.file.Close(); !errors.Is(err, os.ErrClosed) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// heldFile shows its name in errors.
type heldFile struct {
	vfs.File
	path, name string
}

func (f *heldFile) shown(err error) error {
	if err == nil || err == io.EOF {
		return err
	}
	return shown(err, f.path, f.name)
}

func (f *heldFile) Read(p []byte) (int, error) {
	n, err := f.File.Read(p)
	return n, f.shown(err)
}

func (f *heldFile) ReadAt(p []byte, off int64) (int, error) {
	n, err := f.File.ReadAt(p, off)
	return n, f.shown(err)
}

func (f *heldFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	return n, f.shown(err)
}

func (f *heldFile) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	return n, f.shown(err)
}

func (f *heldFile) Sync() error  { return f.shown(f.File.Sync()) }
func (f *heldFile) Close() error { return f.shown(f.File.Close()) }

func (f *heldFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	return info, f.shown(err)
}

// hold opens the folder, if its files can be told from others.
func (f *folder) hold(fds string) error {
	if f.fs != vfs.Default || !filesKnown {
		return nil
	}
	d, err := holdDir(f.dir, f.dir, "the data folder", f.dir, fds)
	if err != nil {
		return fmt.Errorf("open data folder %s: %w", f.dir, err)
	}
	f.held = &heldFS{FS: f.fs, dir: d}
	f.fs = f.held
	return nil
}

// holdDB opens the folder of the tasks, once it is there. It may be a link to
// another disk.
func (f *folder) holdDB() error {
	if f.held == nil {
		return nil
	}
	err := f.held.at(f.dbDir(), func(path string) (err error) {
		f.held.db, err = holdDir(path, f.dbDir(), "the folder", f.dir, f.held.dir.fds)
		return err
	})
	if err != nil {
		return fmt.Errorf("open data folder %s: %w", f.dir, err)
	}
	return nil
}
