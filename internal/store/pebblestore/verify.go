package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// Report is what Verify found. Nothing on the disk was changed.
type Report struct {
	Dir     string
	Format  string // first line of the PENSTOCK file
	Opens   bool   // the database opens as it is
	Tables  int    // files looked at
	Logs    int
	Damaged []Damage

	// What can be read. Where the database does not open, these come from the
	// tables one by one: a key may be counted in several of them, and deleted
	// ones are counted too.
	Keys, Bytes int64
	Partitions  []PartitionReport
}

// Damage is one file, or the folder, with what is wrong with it.
type Damage struct {
	Path  string
	What  string
	Saved string // what can still be read of it
}

// PartitionReport is what can be read of one partition.
type PartitionReport struct {
	Partition   uint16
	Epoch       uint32
	Owner       string // who acquired it last
	Keys, Bytes int64
}

// OK says whether nothing is damaged.
func (r Report) OK() bool { return r.Opens && len(r.Damaged) == 0 }

// WriteTo writes the report for people.
func (r Report) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "data folder  %s\nformat       %s\nfiles        %d tables, %d logs\n", r.Dir, r.Format, r.Tables, r.Logs)
	what := "readable"
	if !r.Opens {
		what = "readable, table by table"
	}
	fmt.Fprintf(&b, "%s  %d keys, %d bytes\n", what, r.Keys, r.Bytes)
	for _, p := range r.Partitions {
		fmt.Fprintf(&b, "  partition %d: epoch %d, last owner %q, %d keys, %d bytes\n", p.Partition, p.Epoch, p.Owner, p.Keys, p.Bytes)
	}
	for _, d := range r.Damaged {
		fmt.Fprintf(&b, "DAMAGED  %s\n  %s\n", d.Path, strings.ReplaceAll(d.What, "\n", "\n  "))
		if d.Saved != "" {
			fmt.Fprintf(&b, "  can be saved: %s\n", d.Saved)
		}
	}
	switch {
	case r.OK():
		b.WriteString("nothing is damaged\n")
	case r.Opens:
		b.WriteString("the database opens, but not all of it can be read: restore it from a backup, or keep a copy of the folder before anything else\n")
	default:
		b.WriteString("the database does not open: restore it from a backup, or keep a copy of the folder before anything else\n")
	}
	return b.WriteTo(w)
}

// Verify reads every byte of a data folder that no server has open, and changes
// none. An error means that it could not look; what it found is in the report.
func Verify(dir string) (Report, error) { return verify(vfs.Default, dir) }

func verify(fs vfs.FS, dir string) (Report, error) {
	f := &folder{fs: fs, dir: dir}
	if _, err := fs.Stat(dir); err != nil {
		return Report{}, fmt.Errorf("verify data folder: %w", err)
	}
	if err := f.take(); err != nil {
		return Report{}, err
	}
	defer f.close()
	v := &verifier{folder: f, r: Report{Dir: dir}, parts: make(map[uint16]*PartitionReport)}
	if !v.format() {
		return v.r, nil
	}
	v.logs()
	if err := v.open(); err != nil {
		v.damage(f.dbDir(), fmt.Sprintf("the database does not open: %v", err), "")
	}
	v.tables()
	for _, p := range v.parts {
		v.r.Partitions = append(v.r.Partitions, *p)
	}
	slices.SortFunc(v.r.Partitions, func(a, b PartitionReport) int { return int(a.Partition) - int(b.Partition) })
	return v.r, nil
}

type verifier struct {
	folder *folder
	r      Report
	parts  map[uint16]*PartitionReport

	mu    sync.Mutex
	spans []pebble.DataCorruptionInfo // told by Pebble while it reads; guarded by mu
	seen  map[string]bool             // damaged paths
	live  map[string]bool             // names of the tables that count
}

func (v *verifier) damage(path, what, saved string) {
	if v.seen == nil {
		v.seen = make(map[string]bool)
	}
	if !v.seen[path] {
		v.seen[path] = true
		v.r.Damaged = append(v.r.Damaged, Damage{Path: path, What: what, Saved: saved})
	}
}

// format looks at the PENSTOCK file; false: there is nothing else to look at.
func (v *verifier) format() bool {
	f := v.folder
	line, err := f.read(formatName)
	v.r.Format = strings.TrimSpace(line)
	if errors.Is(err, os.ErrNotExist) {
		if _, err := f.read(formatNew); err == nil {
			v.damage(f.path(formatNew), "the folder was begun and never finished, so it holds no tasks", "nothing is lost: the next start begins it again")
			return false
		}
		v.damage(f.path(formatName), "the file is missing", "put it back if you know that the folder is penstock's: it holds the line \""+strings.TrimSpace(formatLine)+"\"")
	} else if err != nil {
		v.damage(f.path(formatName), fmt.Sprintf("read: %v", err), "")
	} else if err := f.version(line); err != nil {
		v.damage(f.path(formatName), err.Error(), "")
	}
	if _, err := f.fs.Stat(f.dbDir()); err != nil {
		v.damage(f.dbDir(), fmt.Sprintf("the database is gone: %v", err), "")
		return false
	}
	return true
}

// quiet is a logger that lets Pebble finish whatever it says.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(string, ...any) {}

func (v *verifier) options(cache *pebble.Cache) *pebble.Options {
	o, _ := Options{fs: v.folder.fs, MemtableBytes: memtableBytesDefault}.withDefaults()
	p := o.pebble(o.fs, cache)
	p.ReadOnly = true
	p.Logger = quiet{}
	p.EventListener = &pebble.EventListener{DataCorruption: func(i pebble.DataCorruptionInfo) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.spans = append(v.spans, i)
	}}
	p.EventListener.EnsureDefaults(quiet{})
	return p
}

// open reads the database whole, as a server sees it.
func (v *verifier) open() error {
	cache := pebble.NewCache(cacheBytesDefault)
	defer cache.Unref()
	if err := checkManifest(v.folder.fs, v.folder.dbDir()); err != nil {
		return err
	}
	db, err := openPebble(v.folder.dbDir(), v.options(cache))
	if err != nil {
		return err
	}
	v.r.Opens = true
	v.live = make(map[string]bool)
	levels, err := db.SSTables()
	for _, l := range levels {
		for _, t := range l {
			v.live[fmt.Sprintf("%s.sst", t.BackingSSTNum)] = true
		}
	}
	if err == nil {
		err = v.walk(db)
	}
	return errors.Join(err, closePebble(db))
}

// walk counts what can be read. Past a damaged table it goes on where that ends.
func (v *verifier) walk(db *pebble.DB) error {
	var from []byte
	for {
		it, err := db.NewIter(&pebble.IterOptions{LowerBound: from})
		if err != nil {
			return err
		}
		last := from
		for ok := it.First(); ok; ok = it.Next() {
			last = append(last[:0:0], it.Key()...)
			v.count(it.Key(), it.Value())
		}
		err = it.Close()
		if err == nil {
			return nil
		}
		next := v.past(last)
		if next == nil {
			v.damage(v.folder.dbDir(), fmt.Sprintf("reading stops after key %x: %v", last, err), "")
			return nil
		}
		from = next
	}
}

// past is the end of the damaged tables that were met after key, nil when that
// is not known.
func (v *verifier) past(key []byte) []byte {
	v.mu.Lock()
	defer v.mu.Unlock()
	var next []byte
	for _, s := range v.spans {
		v.damage(s.Path, s.Details.Error(), "")
		if end := s.Bounds.End.Key; bytes.Compare(end, key) >= 0 && bytes.Compare(end, next) > 0 {
			next = append(append([]byte(nil), end...), 0)
		}
	}
	v.spans = nil
	return next
}

func (v *verifier) count(key, value []byte) {
	v.r.Keys++
	v.r.Bytes += int64(len(key) + len(value))
	if len(key) < 2 {
		return
	}
	id := binary.BigEndian.Uint16(key)
	if id == ownKeys {
		if len(key) == 5 && key[2] == epochKind {
			p := v.part(binary.BigEndian.Uint16(key[3:]))
			f, err := parseEpoch(value)
			if err != nil {
				v.damage(fmt.Sprintf("partition %d", p.Partition), err.Error(), "")
				return
			}
			p.Epoch, p.Owner = f.Epoch, string(value[epochHead:])
		}
		return
	}
	p := v.part(id)
	p.Keys++
	p.Bytes += int64(len(key) + len(value))
}

func (v *verifier) part(id uint16) *PartitionReport {
	p := v.parts[id]
	if p == nil {
		p = &PartitionReport{Partition: id}
		v.parts[id] = p
	}
	return p
}

// tables checks every block of every table. If the database opens, what does not
// belong to it is left out: an interrupted write may be half a table.
func (v *verifier) tables() {
	f := v.folder
	names, err := f.fs.List(f.dbDir())
	if err != nil {
		v.damage(f.dbDir(), fmt.Sprintf("list: %v", err), "")
		return
	}
	slices.Sort(names)
	cache := pebble.NewCache(cacheBytesDefault)
	defer cache.Unref()
	o := v.options(cache)
	o.EnsureDefaults()
	for _, n := range names {
		if !strings.HasSuffix(n, ".sst") || v.r.Opens && !v.live[n] {
			continue
		}
		v.r.Tables++
		path := f.fs.PathJoin(f.dbDir(), n)
		keys, err := v.table(path, o)
		if err != nil {
			delete(v.seen, path) // say it better than Pebble did
			v.r.Damaged = slices.DeleteFunc(v.r.Damaged, func(d Damage) bool { return d.Path == path })
			v.damage(path, err.Error(), fmt.Sprintf("%d keys before the damage", keys))
		}
	}
}

// table returns how many keys can be read before the first error.
func (v *verifier) table(path string, o *pebble.Options) (keys int64, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("read table: %v", r)
		}
	}()
	file, err := v.folder.fs.Open(path)
	if err != nil {
		return 0, err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return 0, errors.Join(err, file.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, o.MakeReaderOptions())
	if err != nil {
		return 0, errors.Join(fmt.Errorf("open table: %w", err), readable.Close())
	}
	defer r.Close()
	it, err := r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return 0, fmt.Errorf("read table: %w", err)
	}
	for kv := it.First(); kv != nil; kv = it.Next() {
		keys++
		if value, _, err := kv.Value(nil); err == nil && !v.r.Opens {
			v.count(kv.K.UserKey, value)
		}
	}
	if err := errors.Join(it.Error(), it.Close()); err != nil {
		return keys, fmt.Errorf("read table: %w", err)
	}
	return keys, r.ValidateBlockChecksums()
}

// logs reads the write-ahead logs, record by record.
func (v *verifier) logs() {
	f := v.folder
	logs, err := wal.Scan(wal.Dir{FS: f.fs, Dirname: f.dbDir()})
	if err != nil {
		v.damage(f.dbDir(), fmt.Sprintf("find the logs: %v", err), "")
		return
	}
	for i, l := range logs {
		v.r.Logs++
		records, err := readLog(l)
		if err == nil || (i == len(logs)-1 && errors.Is(err, record.ErrUnexpectedEOF)) {
			continue // the last log may end anywhere: what was not synced was promised to nobody
		}
		_, path := l.SegmentLocation(0)
		v.damage(path, fmt.Sprintf("read log: %v", err), fmt.Sprintf("%d batches before the damage", records))
	}
}

func readLog(l wal.LogicalLog) (records int, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", pebble.ErrCorruption, r)
		}
	}()
	r := l.OpenForRead()
	defer r.Close()
	for {
		rec, _, err := r.NextRecord()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		if errors.Is(err, io.EOF) {
			return records, nil
		}
		if err != nil {
			return records, err
		}
		records++
	}
}
