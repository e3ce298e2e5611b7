package store

import "encoding/binary"

// Op is what a batch does to a key.
type Op uint8

// The operations. SingleDelete is Delete for a key that was set exactly once
// since it was last absent: anything else may bring an old value back.
const (
	OpSet Op = iota
	OpDelete
	OpSingleDelete
	OpDeleteRange // key = from, value = to (exclusive)
)

// Batch is an atomic set of operations, in order. The zero value is empty.
// A key may be named once in a batch (a range counts for all keys in it, and
// ranges take effect before sets).
type Batch struct {
	buf   []byte
	count int
}

// Set writes value under key; both are copied.
func (b *Batch) Set(key, value []byte) {
	k, v := b.SetDeferred(len(key), len(value))
	copy(k, key)
	copy(v, value)
}

// SetDeferred makes room for a key and a value of the given lengths, to be
// filled in before the next call on b.
func (b *Batch) SetDeferred(keyLen, valueLen int) (key, value []byte) {
	b.head(OpSet, keyLen, valueLen)
	n := len(b.buf)
	b.buf = grow(b.buf, keyLen+valueLen)
	return b.buf[n : n+keyLen : n+keyLen], b.buf[n+keyLen : n+keyLen+valueLen : n+keyLen+valueLen]
}

// Delete removes key, whether or not it is there.
func (b *Batch) Delete(key []byte) { b.keyOnly(OpDelete, key) }

// SingleDelete removes a key that was set exactly once.
func (b *Batch) SingleDelete(key []byte) { b.keyOnly(OpSingleDelete, key) }

// DeleteRange removes every key in [from, to).
func (b *Batch) DeleteRange(from, to []byte) {
	b.head(OpDeleteRange, len(from), len(to))
	b.buf = append(append(b.buf, from...), to...)
}

// Len is the number of operations.
func (b *Batch) Len() int { return b.count }

// Bytes is the size of the batch.
func (b *Batch) Bytes() int { return len(b.buf) }

// Reset empties b and keeps its memory, up to a bound.
func (b *Batch) Reset() {
	if cap(b.buf) > batchKeepMax {
		b.buf = nil
	}
	b.buf, b.count = b.buf[:0], 0
}

// Append adds the operations of o after those of b.
func (b *Batch) Append(o *Batch) {
	b.buf = append(b.buf, o.buf...)
	b.count += o.count
}

// Each calls fn for every operation in order. The slices alias the batch.
func (b *Batch) Each(fn func(op Op, key, value []byte)) {
	for p := b.buf; len(p) > 0; {
		op := Op(p[0])
		k := binary.LittleEndian.Uint32(p[1:])
		v := binary.LittleEndian.Uint32(p[5:])
		p = p[opHead:]
		fn(op, p[:k:k], p[k:k+v:k+v])
		p = p[k+v:]
	}
}

const (
	opHead       = 9
	batchKeepMax = 8 << 20 // a burst's buffer is not kept for ever
)

func (b *Batch) keyOnly(op Op, key []byte) {
	b.head(op, len(key), 0)
	b.buf = append(b.buf, key...)
}

func (b *Batch) head(op Op, k, v int) {
	n := len(b.buf)
	b.buf = grow(b.buf, opHead)
	h := b.buf[n:]
	h[0] = byte(op)
	binary.LittleEndian.PutUint32(h[1:], uint32(k))
	binary.LittleEndian.PutUint32(h[5:], uint32(v))
	b.count++
}

func grow(b []byte, n int) []byte {
	if cap(b)-len(b) >= n {
		return b[:len(b)+n]
	}
	return append(b, make([]byte, n)...)
}
