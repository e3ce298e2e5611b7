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
	b    *pebble.Batch // alone: synced by itself
	r    *round        // one of many: synced with the others
	wait func() error
}

func newCommit(s *Store) *commit {
	c := &commit{s: s}
	c.wait = c.finish
	return c
}

// begin puts b into the log's buffer and the memtable. After an error c is not
// used again.
func (c *commit) begin(h *hold, b *store.Batch) (err error) {
	defer c.s.caught(&err)
	s := c.s
	c.b = s.db.NewBatchWithSize(b.Bytes()+batchRoom, s.bopts...)
	deletes, err := fill(c.b, h.id, b)
	if err != nil {
		c.b.Close()
		return err
	}
	if s.group.several(h) {
		err = s.db.Apply(c.b, pebble.NoSync)
		if err == nil {
			err = c.b.Close()
		}
		c.b, c.r = nil, s.group.join()
	} else {
		err = s.db.ApplyNoSyncWait(c.b, pebble.Sync)
	}
	if err != nil {
		s.guard.kill(err)
	}
	if s.guard.dead.Load() {
		return s.unknown()
	}
	s.m.commits.Add(1)
	s.m.ops.Add(int64(b.Len()))
	s.m.deletes.Add(deletes)
	s.m.batchBytes.Add(int64(b.Bytes()))
	s.m.sizes[sizeClass(b.Bytes())].Add(1)
	return nil
}

// finish waits until the batch is durable. dead is asked last: see guardFS.
func (c *commit) finish() error {
	s := c.s
	if c.r != nil {
		select {
		case <-c.r.done:
		case <-s.deadCh:
		}
	} else if err := c.b.SyncWait(); err != nil {
		s.guard.kill(err)
	}
	if s.guard.dead.Load() {
		return s.unknown()
	}
	if c.b != nil {
		c.b.Close()
	}
	c.b, c.r = nil, nil
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

// fill copies b into p, and counts what it deletes: a range as many as make a
// rewrite worth while. Ranges go first, whatever their place in b.
func fill(p *pebble.Batch, partition uint16, b *store.Batch) (deletes int64, err error) {
	if b.Len() == 0 {
		return 0, p.LogData(nil, nil) // still a barrier: durable when all before it is
	}
	late, other := false, false
	b.Each(func(op store.Op, key, value []byte) {
		switch op {
		case store.OpDeleteRange:
			late = late || other
			deletes += reclaimDelete
		case store.OpSet:
			other = true
		default:
			other = true
			deletes++
		}
		if err == nil {
			err = put(p, partition, op, key, value)
		}
	})
	if err != nil || !late {
		return deletes, err
	}
	p.Reset()
	for _, ranges := range []bool{true, false} {
		b.Each(func(op store.Op, key, value []byte) {
			if err == nil && (op == store.OpDeleteRange) == ranges {
				err = put(p, partition, op, key, value)
			}
		})
	}
	return deletes, err
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
