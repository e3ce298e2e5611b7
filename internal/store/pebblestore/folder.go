package pebblestore

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// A data folder:
//
//	LOCK       held while a process has it open
//	PENSTOCK   "penstock data 1": what this is, and its version
//	BALLAST    disk space held back (space.go)
//	SYNCED     how far the logs and the manifest are durable (synced.go)
//	db/        Pebble's
//
// PENSTOCK is named PENSTOCK.new until db/ is there: a folder with PENSTOCK.new
// was never open, so what is in it is thrown away and begun again.
const (
	lockName    = "LOCK"
	formatName  = "PENSTOCK"
	formatNew   = "PENSTOCK.new"
	dbName      = "db"
	formatLine  = "penstock data 1\n"
	formatWords = "penstock data "
	formatMax   = 64 // bytes read of a file that may be anything
)

type folder struct {
	fs        vfs.FS  // leads to the folder that was opened
	held      *heldFS // it is fs; nil: by name alone
	dir       string
	locks     []io.Closer
	dirLocked bool // the folder itself is, so that nothing hangs on the file LOCK
	fresh     bool
}

func (f *folder) path(name string) string { return f.fs.PathJoin(f.dir, name) }
func (f *folder) dbDir() string           { return f.path(dbName) }

// openFolder takes the lock and makes sure that the folder is ours.
func openFolder(fs vfs.FS, dir, fds string) (*folder, error) {
	if dir == "" {
		return nil, errors.New("no data folder was named: name one")
	}
	if err := makeDir(fs, dir); err != nil {
		return nil, fmt.Errorf("make data folder %s: %w", dir, err)
	}
	f := &folder{fs: fs, dir: dir}
	if err := f.begin(fds); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *folder) begin(fds string) error {
	if err := f.hold(fds); err != nil {
		return err
	}
	names, err := f.fs.List(f.dir)
	if err != nil {
		return fmt.Errorf("read data folder %s: %w", f.dir, err)
	}
	if err := f.foreign(names); err != nil {
		return err
	}
	if err := f.take(); err != nil {
		return err
	}
	if err := f.prepare(); err != nil {
		return err
	}
	return f.holdDB()
}

// errLocked: another process, or another part of this one, has the folder open.
var errLocked = errors.New("locked")

// take gets the folder's locks, or says who has them. The file says who that is, and
// keeps away those who know of it alone; it can be removed, the folder's own lock
// can't.
func (f *folder) take() error {
	file, err := f.lockFile()
	if err == nil {
		f.locks = append(f.locks, file)
		if f.held != nil {
			f.dirLocked, err = lockOpen(f.held.dir.file)
		}
	}
	if err == nil {
		return nil
	}
	if errors.Is(err, errLocked) {
		return fmt.Errorf("data folder %s is in use by another penstock: stop that one, or choose another folder (%w)", f.dir, err)
	}
	return fmt.Errorf("lock data folder %s: %w", f.dir, err)
}

func (f *folder) lockFile() (lock io.Closer, err error) {
	if f.held == nil && f.fs != vfs.Default {
		return f.fs.Lock(f.path(lockName))
	}
	if f.held == nil {
		return lockFile(f.path(lockName))
	}
	err = f.held.at(f.path(lockName), func(path string) (err error) {
		lock, err = lockFile(path)
		return err
	})
	return lock, err
}

// makeDir makes dir and what is missing above it, so that a power cut can't take
// them away again.
func makeDir(fs vfs.FS, dir string) error {
	if info, err := fs.Stat(dir); err == nil {
		if !info.IsDir() {
			return fmt.Errorf("%s is a file", dir)
		}
		return nil
	}
	up := fs.PathDir(dir)
	if up != dir {
		if err := makeDir(fs, up); err != nil {
			return err
		}
	}
	if err := fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return syncDir(fs, up)
}

func syncDir(fs vfs.FS, dir string) error {
	d, err := fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// foreign refuses a folder that holds other things, before anything is written
// into it.
func (f *folder) foreign(names []string) error {
	ours := false
	other := ""
	for _, n := range names {
		switch n {
		case formatName, formatNew:
			ours = true
		case lockName, ballastName, syncedName, syncedNew, "lost+found":
		default:
			other = n
		}
	}
	if ours || other == "" {
		return nil
	}
	if other == dbName {
		return fmt.Errorf("data folder %s has a %s folder but no %s file: if it is penstock's, put the file back from a backup; otherwise choose an empty folder", f.dir, dbName, formatName)
	}
	return fmt.Errorf("folder %s is not empty and not penstock's (it holds %q): choose an empty folder or a new one", f.dir, other)
}

// prepare checks the version, or begins a new folder.
func (f *folder) prepare() error {
	line, err := f.read(formatName)
	switch {
	case err == nil:
		if err := f.version(line); err != nil {
			return err
		}
		if names, err := f.fs.List(f.dbDir()); err != nil || len(names) == 0 {
			return fmt.Errorf("data folder %s has lost its %s folder: restore it from a backup, or remove %s to begin anew without the old tasks", f.dir, dbName, f.path(formatName))
		}
		return nil
	case !errors.Is(err, os.ErrNotExist):
		return fmt.Errorf("read %s: %w", f.path(formatName), err)
	}
	f.fresh = true
	if err := f.fs.RemoveAll(f.dbDir()); err != nil {
		return fmt.Errorf("clear half-made data folder %s: %w", f.dir, err)
	}
	if err := f.write(formatNew, formatLine); err != nil {
		return fmt.Errorf("begin data folder %s: %w", f.dir, err)
	}
	return f.fs.MkdirAll(f.dbDir(), 0o700)
}

func (f *folder) version(line string) error {
	if line == formatLine {
		return nil
	}
	if v, ok := strings.CutPrefix(line, formatWords); ok && strings.HasSuffix(v, "\n") {
		if n, err := strconv.ParseUint(strings.TrimSpace(v), 10, 32); err == nil && n != 1 {
			return fmt.Errorf("data folder %s has format version %d, this penstock reads version 1: use the penstock release that wrote it, or choose another folder", f.dir, n)
		}
	}
	return fmt.Errorf("data folder %s: its %s file says %q instead of %q: put the file back from a backup, or write that line into it if you know the folder is whole (penstock doctor --data %s shows)",
		f.dir, formatName, line, strings.TrimSpace(formatLine), f.dir)
}

// finish makes a new folder official, once the database is there.
func (f *folder) finish() error {
	if !f.fresh {
		return nil
	}
	if err := f.fs.Rename(f.path(formatNew), f.path(formatName)); err != nil {
		return fmt.Errorf("finish data folder %s: %w", f.dir, err)
	}
	f.fresh = false
	return syncDir(f.fs, f.dir)
}

func (f *folder) read(name string) (string, error) {
	file, err := f.fs.Open(f.path(name))
	if err != nil {
		return "", err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, formatMax))
	return string(b), err
}

func (f *folder) write(name, text string) error {
	file, err := f.fs.Create(f.path(name), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = file.Write([]byte(text))
	if err := errors.Join(err, file.Sync(), file.Close()); err != nil {
		return err
	}
	return syncDir(f.fs, f.dir)
}

func (f *folder) close() error {
	var errs []error
	for _, l := range f.locks {
		errs = append(errs, l.Close())
	}
	f.locks = nil
	if f.held != nil {
		errs = append(errs, f.held.close())
	}
	return errors.Join(errs...)
}
