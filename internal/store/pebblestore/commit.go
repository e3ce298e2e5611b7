package pebblestore

import (
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/penstock-io/penstock/internal/store"
)

// commit is one batch on its way. It is pooled, its wait bound once: a commit
// allocates nothing. Partitions that begin while the log is being synced share
// the next sync; Pebble's log writer sees to that.
type commit struct {
	s    *Store
	b    *pebble.Batch
	wait func() error
}

func newCommit(s *Store) *commit {
	c := &commit{s: s}
	c.wait = c.finish
	return c
}

// begin puts b into the log's buffer and the memtable. After an error c is not
// used again.
func (c *commit) begin(partition uint16, b *store.Batch) (err error) {
	defer c.s.caught(&err)
	s := c.s
	c.b = s.db.NewBatchWithSize(b.Bytes()+batchRoom, s.bopts...)
	if err := fill(c.b, partition, b); err != nil {
		c.b.Close()
		return err
	}
	if err := s.db.ApplyNoSyncWait(c.b, pebble.Sync); err != nil {
		s.guard.kill(err)
	}
	if s.guard.dead.Load() {
		return s.unknown()
	}
	s.m.commits.Add(1)
	s.m.ops.Add(int64(b.Len()))
	s.m.batchBytes.Add(int64(b.Bytes()))
	s.m.sizes[sizeClass(b.Bytes())].Add(1)
	return nil
}

// finish waits until the batch is durable. dead is asked last: see guardFS.
func (c *commit) finish() error {
	err := c.b.SyncWait()
	s := c.s
	if err != nil {
		s.guard.kill(err)
	}
	if s.guard.dead.Load() {
		return s.unknown()
	}
	c.b.Close()
	c.b = nil
	s.pool.Put(c)
	return nil
}

// unknown is the end of a batch that was under way when the store died.
func (s *Store) unknown() error {
	return fmt.Errorf("%w: %w", store.ErrUnknown, s.dead())
}

// batchRoom is Pebble's header and a little for longer length prefixes; ours are
// longer than its own, so a batch never grows while it is filled.
const batchRoom = 64

// fill copies b into p. Ranges go first, whatever their place in b.
func fill(p *pebble.Batch, partition uint16, b *store.Batch) error {
	if b.Len() == 0 {
		return p.LogData(nil, nil) // still a barrier: durable when all before it is
	}
	var err error
	ranges, late := 0, false
	n := 0
	b.Each(func(op store.Op, key, value []byte) {
		if op == store.OpDeleteRange {
			late = late || ranges < n
			ranges++
		}
		n++
		if err == nil {
			err = put(p, partition, op, key, value)
		}
	})
	if err != nil || !late {
		return err
	}
	p.Reset()
	for _, first := range []bool{true, false} {
		b.Each(func(op store.Op, key, value []byte) {
			if err == nil && (op == store.OpDeleteRange) == first {
				err = put(p, partition, op, key, value)
			}
		})
	}
	return err
}

func put(p *pebble.Batch, partition uint16, op store.Op, key, value []byte) error {
	if err := store.CheckOp(partition, op, key, value); err != nil {
		return err
	}
	switch op {
	case store.OpSet:
		return p.Set(key, value, nil)
	case store.OpDelete:
		return p.Delete(key, nil)
	case store.OpSingleDelete:
		return p.SingleDelete(key, nil)
	case store.OpDeleteRange:
		return p.DeleteRange(key, value, nil)
	}
	return fmt.Errorf("commit: operation %d is not known", op)
}
