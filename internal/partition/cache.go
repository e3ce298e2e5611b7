package partition

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// cache holds records of tasks in memory, so that neither dispatch nor a retry
// has to read the store. It is a ring of bytes: what was put first is
// overwritten first, which is about the order in which a queue is served. What
// still waits by then, because others of its queue went before it, is kept: it moves
// to the front of its chunk, which is filled behind it. A slot remembers only where
// its record was put; whether it is still there follows from how far the ring has
// moved on.
//
//	absolute offsets:   … │ overwritten, or moved │ head-size ≤ valid < head │
//
// The ring is cut into chunks that are made when first reached; a record never
// spans two. Each record is preceded by its length, its slot and its task's sequence.
type cache struct {
	chunks [][]byte
	ends   []int    // of what stands in each chunk, but for the one that is being filled
	head   uint64   // absolute offset of the next record
	refs   []uint64 // by slot: absolute offset + 1; 0 = none

	waits func(queue.Slot, task.Seq) bool // whether the task waits, and so its record will be needed
}

const (
	cacheChunk   = 256 << 10
	cacheHead    = 14
	cacheOneMax  = 16 << 10                 // a larger record is not worth the others' room
	cacheKeepMax = cacheChunk - cacheOneMax // bytes of a chunk that are kept once the ring has come round to it
)

func newCache(size int64) *cache {
	n := max(2, size/cacheChunk)
	return &cache{chunks: make([][]byte, n), ends: make([]int, n), waits: func(queue.Slot, task.Seq) bool { return false }}
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
		c.ends[c.chunk(c.head)] = int(at)
		c.head += cacheChunk - at
		at = 0
	}
	i := c.chunk(c.head)
	if at == 0 {
		at = c.enter(i)
	}
	b := c.chunks[i][at : at+need]
	binary.LittleEndian.PutUint16(b, uint16(len(rec)))
	binary.LittleEndian.PutUint32(b[2:], uint32(slot))
	binary.LittleEndian.PutUint64(b[6:], uint64(seq))
	copy(b[cacheHead:], rec)
	c.ref(slot, c.head+1)
	c.head += need
}

// chunk is the index of the chunk in which an offset lies.
func (c *cache) chunk(offset uint64) int { return int(offset / cacheChunk % uint64(len(c.chunks))) }

// enter begins the chunk at head. What stands in it and still waits moves to its
// front, as far as that leaves room for what comes; the first place behind it is
// returned.
func (c *cache) enter(i int) uint64 {
	if c.chunks[i] == nil {
		c.chunks[i] = make([]byte, cacheChunk)
	}
	b, end := c.chunks[i], c.ends[i]
	c.ends[i] = cacheChunk
	was, kept := c.head-cacheChunk*uint64(len(c.chunks)), 0
	for at := 0; at < end; {
		n := cacheHead + int(binary.LittleEndian.Uint16(b[at:]))
		slot, seq := queue.Slot(binary.LittleEndian.Uint32(b[at+2:])), task.Seq(binary.LittleEndian.Uint64(b[at+6:]))
		if kept+n > cacheKeepMax {
			break
		}
		if int(slot) < len(c.refs) && c.refs[slot] == was+uint64(at)+1 && c.waits(slot, seq) {
			copy(b[kept:], b[at:at+n])
			c.refs[slot] = c.head + uint64(kept) + 1
			kept += n
		}
		at += n
	}
	c.head += uint64(kept)
	return uint64(kept)
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
	if c.head/cacheChunk >= at/cacheChunk+uint64(len(c.chunks)) {
		return nil // head has come round to its chunk
	}
	b := c.chunks[c.chunk(at)][at%cacheChunk:]
	if binary.LittleEndian.Uint64(b[6:]) != uint64(seq) {
		return nil
	}
	n := int(binary.LittleEndian.Uint16(b))
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
	clear(c.ends)
	c.refs = nil
	c.head += cacheChunk*uint64(len(c.chunks)+1) - c.head%cacheChunk
}
