package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/objstorage"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/sstable/block/blockkind"
	"github.com/cockroachdb/pebble/v2/sstable/colblk"
	"github.com/cockroachdb/pebble/v2/sstable/rowblk"
)

// tableFound is a table that counts.
type tableFound struct {
	name  string
	path  string
	bytes int64    // by the manifest, else by the disk
	keys  KeyRange // by the manifest
	read  *tableRead
	bad   bool // parts, or all of it, can't be read
}

// tableRead is what can be read of a table.
type tableRead struct {
	r       *sstable.Reader
	runs    []run // stretches of blocks that can be read
	blocks  int
	badData int // blocks of records
	badRest int // blocks of other things
	lost    []KeyRange
	lostSum int64 // bytes of the bad blocks
	entries int64 // by the table's own count; 0 is not known
	keys    int64 // read
	first   error

	keyRange KeyRange  // of all that was read
	ranges   []deleted // its tombstones of ranges
}

// run is a stretch of whole blocks: keys above after (nil: from the start) and up
// to to (nil: to the end).
type run struct{ after, to []byte }

// checkTables reads every block of every table that counts.
func (n *Inspection) checkTables() {
	for _, t := range n.inOrder() {
		n.Tables++
		read, err := n.readTable(t, nil)
		t.bad = err != nil || read.badData+read.badRest > 0
		if t.bad {
			n.damage(t.damage(read, err))
		}
		t.read = read
	}
}

func (n *Inspection) inOrder() []*tableFound {
	all := slices.Collect(maps.Values(n.tables))
	slices.SortFunc(all, func(a, b *tableFound) int { return cmp.Compare(a.name, b.name) })
	return all
}

func (t *tableFound) damage(read *tableRead, err error) Damage {
	d := Damage{Kind: DamagedTable, Path: t.path, LostBytes: t.bytes, LostKeys: -1}
	if t.keys.From != nil {
		d.Lost = []KeyRange{t.keys}
	}
	switch {
	case errors.Is(err, os.ErrNotExist):
		d.What, d.Saved = "the file is missing", "nothing of it"
	case err != nil:
		d.What, d.Saved = plain(err), "nothing of it"
	default:
		d.What = fmt.Sprintf("%d of its %d blocks can't be read: %s", read.badData+read.badRest, read.blocks, plain(read.first))
		d.Saved = fmt.Sprintf("%d records", read.keys)
		d.Lost, d.LostBytes, d.LostKeys = read.lost, read.lostSum, -1
		if read.entries > 0 {
			d.LostKeys = max(0, read.entries-read.keys)
			d.Saved = fmt.Sprintf("%d of its %d records", read.keys, read.entries)
		}
	}
	return d
}

// readTable reads a table block by block, past those that are damaged, and copies
// what can be read into w, if that is not nil.
func (n *Inspection) readTable(t *tableFound, w sstable.RawWriter) (read *tableRead, err error) {
	defer recovered(&err)
	r, err := n.openTable(t.path)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	read = &tableRead{r: r}
	layout, err := r.Layout()
	if err != nil {
		return nil, fmt.Errorf("its index can't be read: %w", err)
	}
	if err := read.check(layout); err != nil {
		return nil, fmt.Errorf("its index can't be read: %w", err)
	}
	if p, err := r.ReadPropertiesBlock(context.Background(), nil); err == nil {
		read.entries = int64(p.NumEntries - p.NumRangeDeletions)
	}
	for _, s := range read.runs {
		if err := read.walk(s, w); err != nil {
			return nil, err
		}
	}
	return read, read.deletions(w)
}

func (n *Inspection) openTable(path string) (*sstable.Reader, error) {
	o := n.options(n.folder.fs)
	o.EnsureDefaults()
	r, _, err := openTable(n.folder.fs, path, o.MakeReaderOptions())
	return r, err
}

func (t *tableRead) block(h block.Handle) error {
	_, err := t.blockData(h)
	return err
}

func (t *tableRead) blockData(h block.Handle) ([]byte, error) {
	if h.Length == 0 {
		return nil, nil
	}
	var none objstorage.ReadHandle
	got, err := t.r.BlockReader().Read(context.Background(), block.NoReadEnv, none, h, blockkind.Metadata,
		func(*block.Metadata, []byte) error { return nil })
	if err != nil {
		return nil, err
	}
	defer got.Release()
	return bytes.Clone(got.BlockData()), nil
}

// check looks at every block, and makes runs of those that hold records.
func (t *tableRead) check(l *sstable.Layout) error {
	seps, err := t.separators(l)
	if err != nil {
		return err
	}
	bad := func(h block.Handle, err error) {
		t.first = cmp.Or(t.first, err)
		t.lostSum += int64(h.Length)
	}
	var prev []byte
	open := false
	for i, d := range l.Data {
		t.blocks++
		if err := t.block(d.Handle); err != nil {
			bad(d.Handle, err)
			t.badData++
			t.lost = append(t.lost, KeyRange{prev, seps[i]})
			open = false
		} else {
			if !open {
				t.runs = append(t.runs, run{after: prev})
			}
			open = true
			t.runs[len(t.runs)-1].to = seps[i]
		}
		prev = seps[i]
	}
	rest := append([]block.Handle{l.RangeDel, l.RangeKey, l.Properties, l.MetaIndex, l.ValueIndex}, l.ValueBlock...)
	for _, f := range l.Filter {
		rest = append(rest, f.Handle)
	}
	for _, h := range rest {
		if h.Length == 0 {
			continue
		}
		t.blocks++
		if err := t.block(h); err != nil {
			bad(h, err)
			t.badRest++
		}
	}
	return nil
}

// separators are the keys that end each block of records.
func (t *tableRead) separators(l *sstable.Layout) ([][]byte, error) {
	var seps [][]byte
	for _, h := range l.Index {
		data, err := t.blockData(h)
		if err != nil {
			return nil, err
		}
		if l.Format.BlockColumnar() {
			var it colblk.IndexIter
			if err := it.Init(t.r.Comparer, data, block.NoTransforms); err != nil {
				return nil, err
			}
			for ok := it.First(); ok; ok = it.Next() {
				seps = append(seps, bytes.Clone(it.Separator()))
			}
			continue
		}
		var it rowblk.IndexIter
		if err := it.Init(t.r.Comparer, data, block.NoTransforms); err != nil {
			return nil, err
		}
		for ok := it.First(); ok; ok = it.Next() {
			seps = append(seps, bytes.Clone(it.Separator()))
		}
	}
	if len(seps) != len(l.Data) {
		return nil, fmt.Errorf("the index names %d blocks and %d keys", len(l.Data), len(seps))
	}
	return seps, nil
}

// walk reads the records of a run, into w if it is not nil.
func (t *tableRead) walk(s run, w sstable.RawWriter) (err error) {
	it, err := t.r.NewIter(sstable.NoTransforms, nil, nil, sstable.AssertNoBlobHandles)
	if err != nil {
		return err
	}
	defer func() { _ = it.Close() }() // its error is that of the next block
	kv := it.First()
	if s.after != nil {
		kv = it.SeekGE(append(bytes.Clone(s.after), 0), 0)
	}
	for ; kv != nil && bytes.Compare(kv.K.UserKey, s.to) <= 0; kv = it.Next() {
		value, _, err := kv.Value(nil)
		if err != nil {
			t.first = cmp.Or(t.first, err)
			continue
		}
		t.keys++
		t.note(kv.K.UserKey, kv.K.UserKey)
		if w != nil {
			if err := w.Add(kv.K, value, false); err != nil {
				return err
			}
		}
	}
	return nil
}

// note widens the range of keys. They come in order, but for those of ranges.
func (t *tableRead) note(first, last []byte) {
	if b := t.keyRange.From; b == nil || bytes.Compare(first, b) < 0 {
		t.keyRange.From = bytes.Clone(first)
	}
	if b := t.keyRange.To; b == nil || bytes.Compare(last, b) > 0 {
		t.keyRange.To = append(b[:0], last...)
	}
}

// deletions reads the tombstones of ranges, into w if it is not nil.
func (t *tableRead) deletions(w sstable.RawWriter) error {
	it, err := t.r.NewRawRangeDelIter(context.Background(), sstable.NoFragmentTransforms, sstable.NoReadEnv)
	if err != nil || it == nil {
		return nil // damaged: what they deleted comes up again
	}
	defer it.Close()
	s, err := it.First()
	for ; s != nil && err == nil; s, err = it.Next() {
		if len(s.Keys) == 0 {
			continue
		}
		t.ranges = append(t.ranges, deleted{KeyRange{bytes.Clone(s.Start), bytes.Clone(s.End)}, uint64(s.LargestSeqNum())})
		if w == nil {
			continue
		}
		if err := w.EncodeSpan(*s); err != nil {
			return err
		}
	}
	return nil
}

// listTables names the tables that count by the manifest.
func (n *Inspection) listTables(db *pebble.DB) error {
	levels, err := db.SSTables()
	if err != nil {
		return err
	}
	n.tables, n.Listed = make(map[string]*tableFound), true
	for _, l := range levels {
		for _, i := range l {
			name := fmt.Sprintf("%s.sst", i.BackingSSTNum)
			t := &tableFound{name: name, path: n.folder.fs.PathJoin(n.folder.dbDir(), name), bytes: int64(i.Size)}
			t.keys = KeyRange{bytes.Clone(i.Smallest.UserKey), bytes.Clone(i.Largest.UserKey)}
			n.tables[name] = t
		}
	}
	return nil
}

// unlisted takes all tables that there are.
func (n *Inspection) unlisted() error {
	n.tables, n.Listed = make(map[string]*tableFound), false
	names, err := n.folder.fs.List(n.folder.dbDir())
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			t := &tableFound{name: name, path: n.folder.fs.PathJoin(n.folder.dbDir(), name)}
			if info, err := n.folder.fs.Stat(t.path); err == nil {
				t.bytes = info.Size()
			}
			n.tables[name] = t
		}
	}
	return err
}
