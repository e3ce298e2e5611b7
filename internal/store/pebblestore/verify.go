package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// Report is what Inspect found out about a folder's files.
type Report struct {
	Dir     string
	Format  string // first line of the PENSTOCK file
	Opens   bool   // the database opens as it is
	Listed  bool   // the manifest tells which tables count; if not, all are read
	Tables  int    // files looked at
	Logs    int
	Damaged []Damage

	// What can be read, by Verify only.
	Keys, Bytes int64
	Partitions  []PartitionReport
}

// Damage is one file, or the folder, with what is wrong with it.
type Damage struct {
	Kind  DamageKind
	Path  string
	What  string
	Saved string // what can still be read of it; "" if nothing is known

	// What can't be read. -1 is "not known".
	LostBytes, LostKeys int64
	Lost                []KeyRange // where the lost keys are; nil is "anywhere"
}

// DamageKind is the kind of thing that is damaged.
type DamageKind string

// The kinds of damage.
const (
	DamagedFolder   DamageKind = "folder"
	DamagedFormat   DamageKind = "format"
	DamagedDatabase DamageKind = "database"
	DamagedStart    DamageKind = "start" // a server would not start for another reason
	DamagedManifest DamageKind = "manifest"
	DamagedTable    DamageKind = "table"
	DamagedLog      DamageKind = "log"
)

// KeyRange is a stretch of keys, both ends in it.
type KeyRange struct{ From, To []byte }

// PartitionReport is what can be read of one partition.
type PartitionReport struct {
	Partition   uint16
	Epoch       uint32
	Owner       string // who acquired it last
	Keys, Bytes int64
}

// OK says whether nothing is damaged.
func (r *Report) OK() bool { return r.Opens && len(r.Damaged) == 0 }

// Verify reads every byte of a data folder that no server has open, and changes
// none. An error means that it could not look; what it found is in the report.
func Verify(dir string) (Report, error) {
	n, err := Inspect(dir)
	if err != nil {
		return Report{}, err
	}
	n.count()
	return n.Report, n.Close()
}

// Inspection is a data folder that is open to be looked at and never written to.
// What is damaged is left out of what it reads.
type Inspection struct {
	Report
	folder *folder
	cache  *pebble.Cache
	db     *pebble.DB // nil: nothing can be read
	dbErr  error      // why
	merged *merged    // in its stead, without a manifest
	tables map[string]*tableFound
	logs   []*logFound
}

// Inspect looks at every file of a data folder that no server has open. Close
// must be called after it.
func Inspect(dir string) (*Inspection, error) { return inspect(vfs.Default, dir) }

func inspect(fs vfs.FS, dir string) (*Inspection, error) {
	f := &folder{fs: fs, dir: dir}
	if _, err := fs.Stat(dir); err != nil {
		return nil, fmt.Errorf("look at data folder: %w", err)
	}
	if err := lockToRead(f); err != nil {
		return nil, err
	}
	n := &Inspection{Report: Report{Dir: dir}, folder: f, cache: pebble.NewCache(cacheBytesDefault)}
	if !n.format() {
		n.dbErr = errors.New("there is no database to read")
		return n, nil
	}
	n.look()
	return n, nil
}

// Close gives the folder back.
func (n *Inspection) Close() error {
	var err error
	if n.db != nil {
		err = closePebble(n.db)
	}
	if n.merged != nil {
		n.merged.close()
	}
	n.cache.Unref()
	return errors.Join(err, n.folder.close())
}

func (n *Inspection) damage(d Damage) { n.Damaged = append(n.Damaged, d) }

var badChecksum = regexp.MustCompile(`^.*file (\d+): block (\d+)/\d+: .*checksum mismatch.*$`)

// plain is err's text without what only Pebble's authors can use.
func plain(err error) string {
	var lines []string
	for _, l := range strings.Split(err.Error(), "\n") {
		if l = badChecksum.ReplaceAllString(strings.TrimSpace(l), "wrong checksum at byte $2 of table $1"); l != "" && l != "<corruption detail carrier>" && !slices.Contains(lines, l) {
			l = strings.TrimSuffix(l, " of table 000000") // a table that was opened by its path
			lines = append(lines, strings.TrimPrefix(l, ErrCorrupt.Error()+": "))
		}
	}
	return strings.Join(lines, "; ")
}

// plainError is err with its text plain.
type plainError struct{ err error }

// Error is one line.
func (e plainError) Error() string { return plain(e.err) }

// Unwrap is the error as it came.
func (e plainError) Unwrap() error { return e.err }

// format looks at the PENSTOCK file; false: there is nothing else to look at.
func (n *Inspection) format() bool {
	f := n.folder
	line, err := f.read(formatName)
	n.Format = strings.TrimSpace(line)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := f.read(formatNew); err == nil {
			n.damage(Damage{Kind: DamagedFolder, Path: f.path(formatNew),
				What: "the folder was begun and never finished, so it holds no tasks", Saved: "nothing is lost: the next start begins it again"})
			return false
		}
		n.damage(Damage{Kind: DamagedFormat, Path: f.path(formatName), What: "the file is missing"})
	} else if err != nil {
		n.damage(Damage{Kind: DamagedFormat, Path: f.path(formatName), What: "it can't be read: " + err.Error()})
	} else if v, ok := strings.CutPrefix(n.Format, strings.TrimSpace(formatWords)+" "); ok && line != formatLine && v != "1" && isNumber(v) {
		n.damage(Damage{Kind: DamagedFormat, Path: f.path(formatName), What: fmt.Sprintf("the folder has format version %s, this penstock reads version 1", v)})
		return false
	} else if line != formatLine {
		n.damage(Damage{Kind: DamagedFormat, Path: f.path(formatName), What: fmt.Sprintf("the file says %q instead of %q", line, formatLine)})
	}
	if _, err := f.fs.Stat(f.dbDir()); err != nil {
		n.damage(Damage{Kind: DamagedDatabase, Path: f.dbDir(), What: "the database is gone: " + err.Error(), LostBytes: -1, LostKeys: -1})
		return false
	}
	return true
}

func isNumber(s string) bool {
	return strings.IndexFunc(s, func(r rune) bool { return r < '0' || r > '9' }) < 0
}

// quiet is a logger that lets Pebble finish whatever it says.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func (n *Inspection) options(fs vfs.FS) *pebble.Options {
	o, _ := Options{MemtableBytes: memtableBytesDefault, OpenFiles: openFilesMin}.withDefaults()
	p := o.pebble(fs, n.cache)
	p.ReadOnly = true
	p.DisableTableStats = true
	p.Logger = quiet{}
	p.EventListener = &pebble.EventListener{}
	p.EventListener.EnsureDefaults(quiet{})
	return p
}

// look opens the database as it is, checks every table and log that counts, and
// if anything is damaged opens it again with that mended.
func (n *Inspection) look() {
	db, err := n.wouldOpen()
	n.Opens = err == nil
	n.findFiles()
	n.checkTables()
	n.checkLogs()
	if err != nil && !n.told(err) {
		n.damage(Damage{Kind: DamagedStart, Path: n.folder.dbDir(), What: plain(err), Saved: "all that is in the files", LostBytes: -1, LostKeys: -1})
	}
	if n.Opens && !n.filesDamaged() {
		n.db = db
		return
	}
	if db != nil {
		_ = closePebble(db)
	}
	if n.Listed {
		n.db, n.dbErr = openPebble(n.folder.dbDir(), n.mended())
	} else {
		n.merged, n.dbErr = n.merge()
	}
}

var fileNames = regexp.MustCompile(`\d{6,}\.(?:log|sst)|(?:MANIFEST|OPTIONS)-\d{6,}|SYNCED`)

// told says whether the damage that was found is what keeps a server from
// starting: the error names no other file.
func (n *Inspection) told(err error) bool {
	for _, name := range fileNames.FindAllString(err.Error(), -1) {
		if !slices.ContainsFunc(n.Damaged, func(d Damage) bool { return n.folder.fs.PathBase(d.Path) == name }) {
			return false
		}
	}
	return n.filesDamaged()
}

// wouldOpen opens the database with the checks of a server's start.
func (n *Inspection) wouldOpen() (*pebble.DB, error) {
	if err := checkManifest(n.folder.fs, n.folder.dbDir()); err != nil {
		return nil, err
	}
	if _, _, err := checkSynced(n.folder); err != nil {
		return nil, err
	}
	if err := n.folder.checkOptions(n.options(n.folder.fs)); err != nil {
		return nil, err
	}
	return openPebble(n.folder.dbDir(), n.options(&readFS{FS: n.folder.fs}))
}

func (n *Inspection) filesDamaged() bool {
	return slices.ContainsFunc(n.Damaged, func(d Damage) bool {
		return d.Kind != DamagedFormat && d.Kind != DamagedFolder
	})
}

// Lossy: records that were written may be missing from what is read, deletions
// too, so that some that were deleted may be there.
func (n *Inspection) Lossy() bool { return n.filesDamaged() }

// Scan calls f for each key from from on and before to (nil: all), in order. What
// f is given is good until it returns; its error ends the scan.
//
// The scan may be called anew from within f.
func (n *Inspection) Scan(from, to []byte, f func(key, value []byte) error) (err error) {
	defer recovered(&err)
	if n.merged != nil {
		return n.merged.scan(from, to, f)
	}
	if n.db == nil {
		return n.dbErr
	}
	it, err := n.db.NewIter(&pebble.IterOptions{LowerBound: from, UpperBound: to})
	if err != nil {
		return fmt.Errorf("read: %s", plain(err))
	}
	for ok := it.First(); ok && err == nil; ok = it.Next() {
		err = f(it.Key(), it.Value())
	}
	if e := it.Close(); err == nil && e != nil {
		err = fmt.Errorf("read: %s", plain(e))
	}
	return err
}

// recovered turns the panics with which Pebble meets some damage into errors.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("%w: %v", ErrCorrupt, r)
	}
}

// count fills in what the report says of keys.
func (n *Inspection) count() {
	parts := make(map[uint16]*PartitionReport)
	part := func(id uint16) *PartitionReport {
		if parts[id] == nil {
			parts[id] = &PartitionReport{Partition: id}
		}
		return parts[id]
	}
	err := n.Scan(nil, nil, func(key, value []byte) error {
		n.Keys++
		n.Bytes += int64(len(key) + len(value))
		if len(key) < 2 {
			return nil
		}
		p := part(binary.BigEndian.Uint16(key))
		if p.Partition != ownKeys {
			p.Keys++
			p.Bytes += int64(len(key) + len(value))
		} else if len(key) == 5 && key[2] == epochKind {
			p = part(binary.BigEndian.Uint16(key[3:]))
			if f, err := parseEpoch(value); err == nil {
				p.Epoch, p.Owner = f.Epoch, string(value[epochHead:])
			}
		}
		return nil
	})
	if err != nil {
		n.damage(Damage{Kind: DamagedDatabase, Path: n.folder.dbDir(), What: plain(err), LostBytes: -1, LostKeys: -1})
	}
	delete(parts, ownKeys)
	for _, p := range parts {
		n.Partitions = append(n.Partitions, *p)
	}
	slices.SortFunc(n.Partitions, func(a, b PartitionReport) int { return int(a.Partition) - int(b.Partition) })
}

// InUseError: a process has the folder open.
type InUseError struct {
	Dir     string
	Process string // its number; "" is not known
}

// Error names the folder, the process and the next step.
func (e *InUseError) Error() string {
	who := "another penstock"
	if e.Process != "" {
		who = "process " + e.Process
	}
	return fmt.Sprintf("data folder %s is in use by %s: stop it first", e.Dir, who)
}
