package pebblestore

import (
	"bytes"
	"cmp"
	"container/heap"
	"errors"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/sstable"
)

// merged reads tables and logs without a manifest: of each key the entry with
// the highest sequence number. Pebble itself can't do that: it counts on never
// meeting an entry twice, and without a manifest files that were merged into
// others, but not yet removed, are there beside them.
type merged struct {
	n       *Inspection
	tables  []*tableFound
	logs    []entry // by key, newest first
	deleted []deleted
	open    map[*sstable.Reader]bool
}

// entry is what one batch says of one key.
type entry struct {
	key, value []byte
	seq        uint64
	set        bool // a value; if not, a deletion
}

// deleted is a range of keys, its end not in it, deleted up to a sequence number.
type deleted struct {
	KeyRange
	seq uint64
}

func (e *entry) compare(o *entry) int {
	if c := bytes.Compare(e.key, o.key); c != 0 {
		return c
	}
	return cmp.Compare(o.seq, e.seq)
}

func (n *Inspection) merge() (*merged, error) {
	m := &merged{n: n, open: make(map[*sstable.Reader]bool)}
	for _, t := range n.inOrder() {
		if t.read != nil && t.read.keyRange.From != nil {
			m.tables = append(m.tables, t)
		}
		if t.read != nil {
			m.deleted = append(m.deleted, t.read.ranges...)
		}
	}
	for _, l := range n.logs {
		if _, err := n.readLog(l, m.addBatch); errors.Is(err, pebble.ErrInvalidBatch) {
			return nil, err // others are damage, which has been told
		}
	}
	slices.SortFunc(m.logs, func(a, b entry) int { return a.compare(&b) })
	slices.SortFunc(m.deleted, func(a, b deleted) int { return bytes.Compare(a.From, b.From) })
	return m, nil
}

func (m *merged) addBatch(batch []byte) error {
	h, _ := batchrepr.ReadHeader(batch)
	seq := uint64(h.SeqNum)
	if batchrepr.IsEmpty(batch) {
		return nil
	}
	r := batchrepr.Read(batch)
	for {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			return err
		}
		switch kind {
		case pebble.InternalKeyKindLogData:
			continue // has no number
		case pebble.InternalKeyKindRangeDelete:
			m.deleted = append(m.deleted, deleted{KeyRange{bytes.Clone(key), bytes.Clone(value)}, seq})
		default:
			m.logs = append(m.logs, entry{bytes.Clone(key), bytes.Clone(value), seq, isSet(kind)})
		}
		seq++
	}
}

func isSet(kind pebble.InternalKeyKind) bool {
	return kind == pebble.InternalKeyKindSet || kind == pebble.InternalKeyKindSetWithDelete
}

// cursor walks one table, or the logs.
type cursor struct {
	entry
	next func() (entry, bool)
}

type cursors []*cursor

func (h cursors) Len() int           { return len(h) }
func (h cursors) Less(i, j int) bool { return h[i].compare(&h[j].entry) < 0 }
func (h cursors) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *cursors) Push(x any)        { *h = append(*h, x.(*cursor)) }
func (h *cursors) Pop() any {
	old := *h
	c := old[len(old)-1]
	*h = old[:len(old)-1]
	return c
}

func (m *merged) scan(from, to []byte, f func(key, value []byte) error) error {
	var h cursors
	var failed error
	for _, t := range m.tables {
		r := t.read.keyRange
		if bytes.Compare(r.To, from) < 0 || to != nil && bytes.Compare(r.From, to) >= 0 {
			continue
		}
		// A table is opened when its first key's turn comes.
		var next func() (entry, bool)
		h = append(h, &cursor{entry{key: r.From, seq: 1<<64 - 1}, func() (entry, bool) {
			if next == nil {
				var err error
				if next, err = m.walk(t, from, to); err != nil {
					failed = err
					return entry{}, false
				}
			}
			return next()
		}})
	}
	i, _ := slices.BinarySearchFunc(m.logs, from, func(e entry, from []byte) int { return bytes.Compare(e.key, from) })
	logs := m.logs[i:]
	h = append(h, &cursor{entry{key: from, seq: 1<<64 - 1}, func() (entry, bool) {
		if len(logs) == 0 || to != nil && bytes.Compare(logs[0].key, to) >= 0 {
			return entry{}, false
		}
		e := logs[0]
		logs = logs[1:]
		return e, true
	}})
	heap.Init(&h)
	gone := deletions{all: m.deleted}
	var last []byte
	for first := true; len(h) > 0; {
		c := h[0]
		if e := &c.entry; e.seq != 1<<64-1 && (first || !bytes.Equal(e.key, last)) {
			first, last = false, append(last[:0], e.key...)
			if e.set && !gone.covers(e) {
				if err := f(e.key, e.value); err != nil {
					return err
				}
			}
		}
		var ok bool
		if c.entry, ok = c.next(); ok {
			heap.Fix(&h, 0)
		} else {
			heap.Pop(&h)
		}
		if failed != nil {
			return failed
		}
	}
	return nil
}

// deletions tells what is in a deleted range; it is asked in the order of keys.
type deletions struct {
	all, active []deleted // all by From
}

func (d *deletions) covers(e *entry) bool {
	for len(d.all) > 0 && bytes.Compare(d.all[0].From, e.key) <= 0 {
		d.active, d.all = append(d.active, d.all[0]), d.all[1:]
	}
	d.active = slices.DeleteFunc(d.active, func(r deleted) bool { return bytes.Compare(r.To, e.key) <= 0 })
	return slices.ContainsFunc(d.active, func(r deleted) bool { return r.seq > e.seq })
}

// walk reads a table, or what can be read of it, in the order of its keys.
func (m *merged) walk(t *tableFound, from, to []byte) (func() (entry, bool), error) {
	r, err := m.reader(t)
	if err != nil {
		return nil, err
	}
	m.open[r] = true
	it, err := r.NewIter(sstable.NoTransforms, from, to, sstable.AssertNoBlobHandles)
	if err != nil {
		m.shut(r)
		return nil, err
	}
	kv := it.First()
	if from != nil {
		kv = it.SeekGE(from, 0)
	}
	return func() (entry, bool) {
		for kv != nil {
			value, _, err := kv.Value(nil)
			e := entry{bytes.Clone(kv.K.UserKey), bytes.Clone(value), uint64(kv.SeqNum()), isSet(kv.Kind())}
			kv = it.Next()
			if err == nil {
				return e, true
			}
		}
		_ = it.Close() // what is damaged has been told
		m.shut(r)
		return entry{}, false
	}, nil
}

func (m *merged) reader(t *tableFound) (*sstable.Reader, error) {
	if !t.bad {
		return m.n.openTable(t.path)
	}
	b, err := m.n.mendTable(t)
	if err != nil {
		return nil, err
	}
	o := m.n.options(m.n.folder.fs)
	o.EnsureDefaults()
	return sstable.NewMemReader(b, o.MakeReaderOptions())
}

func (m *merged) shut(r *sstable.Reader) {
	delete(m.open, r)
	_ = r.Close()
}

// close closes what scans that were broken off have left open.
func (m *merged) close() {
	for r := range m.open {
		_ = r.Close()
	}
}
