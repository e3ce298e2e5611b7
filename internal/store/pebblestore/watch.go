package pebblestore

import (
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
)

// watchEvery is how often it is looked whether the folder is still what it was.
const watchEvery = time.Second

// ErrGone: the data folder, or a file of it that can't be missed, was taken away
// from under the open store. It is a store.ErrDamaged: what is under the path now
// is not what was acknowledged.
var ErrGone error = gone{"pebblestore: the data folder is gone"}

type gone struct{ text string }

func (g gone) Error() string { return g.text }

// Remedy says what happened and what to do.
func (g gone) Remedy() string { return g.text }

func (g gone) Is(target error) bool { return target == ErrGone || target == store.ErrDamaged }

// fileID tells a file from any other, whatever its name.
type fileID struct{ dev, ino uint64 }

// watched is a name and what was behind it.
type watched struct {
	path string
	what string
	id   fileID
}

// look is an error when w is there no more, or another one is. Other errors of
// looking at it say nothing about that.
func (w *watched) look(fs vfs.FS, dir string) error {
	info, err := fs.Stat(w.path)
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOTDIR) {
		return gone{fmt.Sprintf("%s was removed or renamed under the running server: "+goneRemedy, w.what, dir)}
	}
	if err != nil {
		return nil
	}
	if id, ok := identity(info); ok && id != w.id {
		return gone{fmt.Sprintf("%s was replaced by another under the running server: "+goneRemedy, w.what, dir)}
	}
	return nil
}

// watch begins to look whether the names of the folder still lead to what the store
// has open. It would write on into files that nobody finds again, and another
// server could begin anew under the name. Where files have no identity, on other
// systems and in memory, it does nothing.
func (s *Store) watch() error {
	all := []watched{
		{path: s.dir, what: "the data folder " + s.dir},
		{path: s.folder.dbDir(), what: "the folder " + s.folder.dbDir()},
		{path: s.folder.path(formatName), what: "the file " + s.folder.path(formatName)},
		{path: s.folder.path(syncedName), what: "the file " + s.folder.path(syncedName)},
	}
	if !s.folder.dirLocked {
		all = append(all, watched{path: s.folder.path(lockName), what: "the file " + s.folder.path(lockName)})
	}
	for i := range all {
		info, err := s.folder.fs.Stat(all[i].path)
		if err != nil {
			return fmt.Errorf("watch the data folder: %w", err)
		}
		id, ok := identity(info)
		if !ok {
			return nil
		}
		all[i].id = id
	}
	s.names.Store(&all)
	s.back.Go(func() {
		t := time.NewTicker(s.o.watch)
		defer t.Stop()
		for {
			select {
			case <-t.C:
			case <-s.backCtx.Done():
				return
			}
			if err := s.lookAtNames(); err != nil {
				s.guard.kill(err)
				return
			}
		}
	})
	return nil
}

// lookAtNames compares names with what was behind them. The folder comes first:
// without it none of the others is there.
func (s *Store) lookAtNames() error {
	all := s.names.Load()
	if all == nil {
		return nil // not yet, or never
	}
	for i := range *all {
		if err := (*all)[i].look(s.o.fs, s.dir); err != nil {
			return err
		}
	}
	for _, w := range s.guard.written() {
		if err := w.look(s.o.fs, s.dir); err != nil && s.guard.isWritten(w) {
			return err
		}
	}
	return nil
}

const goneRemedy = "nothing is served any more; stop the server, put back what belongs to %s (or restore a backup) and start it again"

// note takes in a log or manifest that was begun.
func (g *guardFS) note(name string, f vfs.File) {
	info, err := f.Stat()
	if err != nil {
		return
	}
	id, ok := identity(info)
	if !ok {
		return
	}
	kind, number := syncedKind(g.FS.PathBase(name))
	g.writtenMu.Lock()
	defer g.writtenMu.Unlock()
	g.writtenFiles[name] = watched{name, "the " + syncedFile{kind: kind, number: number}.noun() + " " + name, id}
}

// unnote is called before Pebble itself removes or renames a file.
func (g *guardFS) unnote(name string) {
	g.writtenMu.Lock()
	defer g.writtenMu.Unlock()
	delete(g.writtenFiles, name)
}

// written are the logs and manifests that must be there.
func (g *guardFS) written() []watched {
	g.writtenMu.Lock()
	defer g.writtenMu.Unlock()
	all := make([]watched, 0, len(g.writtenFiles))
	for _, w := range g.writtenFiles {
		all = append(all, w)
	}
	return all
}

// isWritten says whether w must still be there.
func (g *guardFS) isWritten(w watched) bool {
	g.writtenMu.Lock()
	defer g.writtenMu.Unlock()
	return g.writtenFiles[w.path] == w
}

// linked is an error when the log that was just synced has no name any more: who
// waits for the sync must not hear that it went well.
func (f *guardFile) linked() error {
	if f.named && links(f.File) == 0 {
		return gone{fmt.Sprintf("the log %s was removed under the running server: "+goneRemedy, f.path, f.g.FS.PathDir(f.g.FS.PathDir(f.path)))}
	}
	return nil
}
