package pebblestore

import (
	"bytes"
	"errors"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// errReadOnly: nothing is written into a folder that is looked at.
var errReadOnly = errors.New("the folder is open for reading only")

// readFS lets nothing be written. Files under names in instead stand for the
// disk's, those in hidden are not listed.
type readFS struct {
	vfs.FS
	instead map[string]func() ([]byte, error) // by base name
	hidden  func(name string) bool

	mu     sync.Mutex
	opened []string // base names of the files that were opened; guarded by mu
}

func (f *readFS) Open(name string, opts ...vfs.OpenOption) (vfs.File, error) {
	base := f.PathBase(name)
	f.mu.Lock()
	f.opened = append(f.opened, base)
	f.mu.Unlock()
	if content, ok := f.instead[base]; ok {
		b, err := content()
		if err != nil {
			return nil, err
		}
		return vfs.NewMemFile(b), nil
	}
	return f.FS.Open(name, opts...)
}

func (f *readFS) List(dir string) ([]string, error) {
	names, err := f.FS.List(dir)
	if f.hidden != nil {
		names = slices.DeleteFunc(names, f.hidden)
	}
	for name := range f.instead {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names, err
}

func (f *readFS) Stat(name string) (vfs.FileInfo, error) {
	if content, ok := f.instead[f.PathBase(name)]; ok {
		b, err := content()
		if err != nil {
			return nil, err
		}
		return vfs.NewMemFile(b).Stat()
	}
	return f.FS.Stat(name)
}

func (f *readFS) Lock(string) (io.Closer, error)     { return io.NopCloser(nil), nil }
func (f *readFS) MkdirAll(string, os.FileMode) error { return nil } // it is there
func (f *readFS) Unwrap() vfs.FS                     { return nil }

func (f *readFS) Create(string, vfs.DiskWriteCategory) (vfs.File, error) { return nil, errReadOnly }
func (f *readFS) OpenReadWrite(string, vfs.DiskWriteCategory, ...vfs.OpenOption) (vfs.File, error) {
	return nil, errReadOnly
}
func (f *readFS) ReuseForWrite(string, string, vfs.DiskWriteCategory) (vfs.File, error) {
	return nil, errReadOnly
}
func (f *readFS) Link(string, string) error   { return errReadOnly }
func (f *readFS) Remove(string) error         { return errReadOnly }
func (f *readFS) RemoveAll(string) error      { return errReadOnly }
func (f *readFS) Rename(string, string) error { return errReadOnly }

// isOptions: what Pebble noted of its options holds no records, and may be damaged.
func isOptions(name string) bool { return strings.HasPrefix(name, "OPTIONS-") }

func content(b []byte) func() ([]byte, error) { return func() ([]byte, error) { return b, nil } }

// findFiles tells the tables and logs that count. The manifest names the tables;
// the logs are those that Pebble asks for when it opens by that manifest.
func (n *Inspection) findFiles() {
	fs := &readFS{FS: n.folder.fs, instead: make(map[string]func() ([]byte, error)), hidden: isOptions}
	logs := n.allLogs()
	for _, l := range logs {
		fs.instead[l.name] = content(nil)
	}
	err := checkManifest(n.folder.fs, n.folder.dbDir())
	if _, _, lost := checkSynced(n.folder); err == nil && lost != nil && strings.Contains(lost.Error(), manifestPrefix) {
		err = lost // it was longer once
	}
	if err == nil {
		err = n.listed(fs)
	}
	if err == nil {
		for _, l := range logs {
			if slices.Contains(fs.opened, l.name) {
				n.logs = append(n.logs, l)
			}
		}
		return
	}
	n.logs = logs
	n.damage(n.manifestDamage(err))
	if err := n.unlisted(); err != nil {
		n.damage(Damage{Kind: DamagedDatabase, Path: n.folder.dbDir(), What: "its files can't be listed: " + plain(err), LostBytes: -1, LostKeys: -1})
	}
}

var missingTable = regexp.MustCompile(`file (\d+) \(type sstable\) unknown`)

// listed finds the tables that the manifest names. Pebble does not list tables
// that are missing, so that empty ones stand for them.
func (n *Inspection) listed(fs *readFS) error {
	o := n.options(fs)
	for {
		db, err := openPebble(n.folder.dbDir(), o)
		if err == nil {
			err = n.listTables(db)
			_ = closePebble(db)
		}
		if err == nil {
			return nil
		}
		again := !o.DisableConsistencyCheck // which names all at once
		for _, m := range missingTable.FindAllStringSubmatch(err.Error(), -1) {
			if name := m[1] + ".sst"; fs.instead[name] == nil {
				fs.instead[name] = content(nil)
				again = true
			}
		}
		if !again {
			return err
		}
		o = n.options(fs)
		o.DisableConsistencyCheck = true
	}
}

func (n *Inspection) manifestDamage(err error) Damage {
	d := Damage{Kind: DamagedManifest, Path: n.folder.dbDir(), What: plain(err), LostBytes: -1, LostKeys: -1,
		Saved: "every table and log that is there, without knowing which of them were still in use"}
	if desc, err := pebble.Peek(n.folder.dbDir(), n.folder.fs); err == nil && desc.Exists {
		d.Path = desc.ManifestFilename
	}
	return d
}

func (n *Inspection) allLogs() (logs []*logFound) {
	names, _ := n.folder.fs.List(n.folder.dbDir()) // listTables reports the error
	slices.Sort(names)
	for _, name := range names {
		if strings.HasSuffix(name, ".log") {
			logs = append(logs, &logFound{name: name, path: n.folder.fs.PathJoin(n.folder.dbDir(), name)})
		}
	}
	return logs
}

// mended opens what is there, with the readable parts of the damaged files in
// their place, made anew in memory whenever they are opened.
func (n *Inspection) mended() *pebble.Options {
	fs := &readFS{FS: n.folder.fs, instead: make(map[string]func() ([]byte, error)), hidden: isOptions}
	for _, l := range n.logs {
		if l.bad {
			fs.instead[l.name] = content(l.mended)
		}
	}
	for _, t := range n.tables {
		if t.bad {
			fs.instead[t.name] = func() ([]byte, error) { return n.mendTable(t) }
		}
	}
	o := n.options(fs)
	o.DisableConsistencyCheck = true
	return o
}

// mendTable is a table of what can be read of t.
func (n *Inspection) mendTable(t *tableFound) ([]byte, error) {
	var out memWritable
	o := n.options(n.folder.fs)
	o.EnsureDefaults()
	w := sstable.NewRawWriter(&out, o.MakeWriterOptions(0, o.FormatMajorVersion.MaxTableFormat()))
	if t.read != nil { // nil: nothing can be read
		if _, err := n.readTable(t, w); err != nil {
			return nil, errors.Join(err, w.Close())
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

type memWritable struct{ bytes.Buffer }

func (w *memWritable) Write(p []byte) error { _, err := w.Buffer.Write(p); return err }
func (w *memWritable) Finish() error        { return nil }
func (w *memWritable) Abort()               {}
