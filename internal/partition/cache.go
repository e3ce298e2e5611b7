package partition

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// cache holds records of tasks in memory, so that neither dispatch nor a retry
// has to read the store. It is a ring of bytes: what was put first is
// overwritten first, which is the order in which a queue is served. A slot
// remembers only where its record was put; whether it is still there follows
// from how far the ring has moved on.
//
//	absolute offsets:   … │ overwritten │ head-size ≤ valid < head │
//
// The ring is cut into chunks that are made when first reached; a record never
// spans two. Each record is preceded by its length and its task's sequence.
type cache struct {
	chunks [][]byte
	head   uint64   // absolute offset of the next record
	refs   []uint64 // by slot: absolute offset + 1; 0 = none
}

const (
	cacheChunk  = 256 << 10
	cacheHead   = 12
	cacheOneMax = 16 << 10 // a larger record is not worth the others' room
)

func newCache(size int64) *cache {
	return &cache{chunks: make([][]byte, max(2, size/cacheChunk))}
}

// put keeps rec for the task that has slot.
func (c *cache) put(slot queue.Slot, seq task.Seq, rec []byte) {
	need := uint64(cacheHead + len(rec))
	if need > cacheOneMax {
		c.drop(slot)
		return
	}
	at := c.head % cacheChunk
	if at+need > cacheChunk {
		c.head += cacheChunk - at
		at = 0
	}
	i := c.head / cacheChunk % uint64(len(c.chunks))
	if c.chunks[i] == nil {
		c.chunks[i] = make([]byte, cacheChunk)
	}
	b := c.chunks[i][at : at+need]
	binary.LittleEndian.PutUint32(b, uint32(len(rec)))
	binary.LittleEndian.PutUint64(b[4:], uint64(seq))
	copy(b[cacheHead:], rec)
	c.ref(slot, c.head+1)
	c.head += need
}

func (c *cache) ref(slot queue.Slot, at uint64) {
	for int(slot) >= len(c.refs) {
		c.refs = append(c.refs, make([]uint64, max(1024, len(c.refs)/2))...)
	}
	c.refs[slot] = at
}

// get returns the record of the task, or nil. It is valid until the next put.
func (c *cache) get(slot queue.Slot, seq task.Seq) []byte {
	if int(slot) >= len(c.refs) {
		return nil
	}
	at := c.refs[slot]
	if at == 0 {
		return nil
	}
	at--
	n64 := uint64(len(c.chunks))
	if c.head/cacheChunk >= at/cacheChunk+n64 {
		return nil // head has come round to its chunk
	}
	b := c.chunks[at/cacheChunk%n64][at%cacheChunk:]
	n := binary.LittleEndian.Uint32(b)
	if binary.LittleEndian.Uint64(b[4:]) != uint64(seq) {
		return nil
	}
	return b[cacheHead : cacheHead+n : cacheHead+n]
}

func (c *cache) drop(slot queue.Slot) {
	if int(slot) < len(c.refs) {
		c.refs[slot] = 0
	}
}

// trim gives back all chunks. Nothing is kept then.
func (c *cache) trim() {
	clear(c.chunks)
	c.refs = nil
	c.head += cacheChunk * uint64(len(c.chunks))
}
