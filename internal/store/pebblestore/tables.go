package pebblestore

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/sstable"
	"github.com/cockroachdb/pebble/v2/sstable/block"
	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	tablesCheckFor  = 2 * time.Second // of a start; what is left is read beside the work
	tablesReaders   = 2
	tablesRestShare = 10        // one part in so many of the time goes to the rest
	tableReadBytes  = 256 << 10 // at once
)

// tableFile is one table to be read.
type tableFile struct {
	path  string
	first []byte // its lowest key
}

// checkTables reads every block of every table, in the order of their keys: the
// waiting tasks stand before the finished. Pebble would find damage only when it
// comes by, long after the start. More than can be read in tablesCheckFor is
// read in the background, where damage ends the store.
func (s *Store) checkTables() error {
	all, err := s.tables()
	if err != nil {
		return err
	}
	var (
		next  atomic.Int64
		errs  [tablesReaders]error
		until = time.Now().Add(s.o.check)
		wg    sync.WaitGroup
	)
	for w := range errs {
		wg.Go(func() {
			var buf []byte
			for errs[w] == nil && time.Now().Before(until) {
				i := int(next.Add(1)) - 1
				if i >= len(all) {
					return
				}
				buf, errs[w] = s.checkTable(all[i].path, buf)
			}
		})
	}
	wg.Wait()
	if err := cmp.Or(errs[:]...); err != nil {
		return err
	}
	if rest := all[min(int(next.Load()), len(all)):]; len(rest) > 0 {
		s.o.Log.Info("storage: reading the rest of the tables beside the work", "tables", len(rest), "of", len(all))
		s.back.Go(func() { s.checkRest(rest) })
		return nil
	}
	s.compactions.open()
	return nil
}

// checkRest reads tables until the store ends: slowly, but while a compaction waits
// for it.
func (s *Store) checkRest(rest []tableFile) {
	defer s.compactions.open()
	var buf []byte
	for _, t := range rest {
		begin := time.Now()
		var err error
		if buf, err = s.checkTable(t.path, buf); err != nil {
			s.guard.kill(explain(err, s.dir))
			return
		}
		pause := time.Since(begin) * (tablesRestShare - 1)
		if s.compactions.wanted.Load() {
			pause = 0
		}
		select {
		case <-time.After(pause):
		case <-s.backCtx.Done():
			return
		}
	}
}

func (s *Store) tables() ([]tableFile, error) {
	levels, err := s.db.SSTables()
	if err != nil {
		return nil, fmt.Errorf("list tables: %w", err)
	}
	var all []tableFile
	for _, l := range levels {
		for i := range l {
			path := s.folder.fs.PathJoin(s.folder.dbDir(), fmt.Sprintf("%06d.sst", uint64(l[i].BackingSSTNum)))
			all = append(all, tableFile{path, l[i].Smallest.UserKey})
		}
	}
	slices.SortStableFunc(all, func(a, b tableFile) int { return bytes.Compare(a.first, b.first) })
	return all, nil
}

// checkTable reads one table. One that a compaction has done away with meanwhile
// counts as whole.
func (s *Store) checkTable(path string, buf []byte) ([]byte, error) {
	r, file, err := openTable(s.folder.fs, path, s.tableReads)
	if errors.Is(err, os.ErrNotExist) {
		return buf, nil
	}
	if err == nil {
		buf, err = checkBlocks(r, file, buf)
		_ = r.Close()
	}
	if pebble.IsCorruptionError(err) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return buf, fmt.Errorf("%w: the table %s can't be read whole: acknowledged tasks may be missing; restore the folder from a backup", ErrCorrupt, path)
	}
	if err != nil {
		return buf, fmt.Errorf("read table %s: %w", path, err)
	}
	return buf, nil
}

// openTable opens a table's file, which the reader closes.
func openTable(fs vfs.FS, path string, o sstable.ReaderOptions) (*sstable.Reader, io.ReaderAt, error) {
	file, err := fs.Open(path)
	if err != nil {
		return nil, nil, err
	}
	readable, err := sstable.NewSimpleReadable(file)
	if err != nil {
		return nil, nil, errors.Join(err, file.Close())
	}
	r, err := sstable.NewReader(context.Background(), readable, o)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("its head and foot can't be read: %w", err), readable.Close())
	}
	return r, file, nil
}

// checkBlocks compares every block of a table with its checksum.
func checkBlocks(r *sstable.Reader, file io.ReaderAt, buf []byte) ([]byte, error) {
	layout, err := r.Layout()
	if err != nil {
		return buf, err
	}
	blocks := blocksOf(layout)
	for len(blocks) > 0 {
		from, n := blocks[0].Offset, 1 // as many as one read has room for, but at least one
		for n < len(blocks) && endOf(blocks[n])-from <= tableReadBytes {
			n++
		}
		size := int(endOf(blocks[n-1]) - from)
		buf = slices.Grow(buf[:0], size)[:size]
		if _, err := file.ReadAt(buf, int64(from)); err != nil {
			return buf, err
		}
		for _, h := range blocks[:n] {
			if err := block.ValidateChecksum(r.BlockReader().ChecksumType(), buf[h.Offset-from:endOf(h)-from], h); err != nil {
				return buf, err
			}
		}
		blocks = blocks[n:]
	}
	return buf, nil
}

func endOf(h block.Handle) uint64 { return h.Offset + h.Length + block.TrailerLen }

// blocksOf are the blocks that are there, in the order of the file.
func blocksOf(l *sstable.Layout) []block.Handle {
	all := []block.Handle{l.TopIndex, l.RangeDel, l.RangeKey, l.ValueIndex, l.Properties, l.MetaIndex, l.BlobReferenceIndex}
	all = append(append(all, l.Index...), l.ValueBlock...)
	for i := range l.Data {
		all = append(all, l.Data[i].Handle)
	}
	for i := range l.Filter {
		all = append(all, l.Filter[i].Handle)
	}
	all = slices.DeleteFunc(all, func(h block.Handle) bool { return h.Length == 0 })
	slices.SortFunc(all, func(a, b block.Handle) int { return cmp.Compare(a.Offset, b.Offset) })
	return slices.CompactFunc(all, func(a, b block.Handle) bool { return a.Offset == b.Offset })
}
