package store

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// PartitionMax is the highest partition a caller may acquire; the numbers above
// are the engines' own.
const PartitionMax = 1<<15 - 1

// CheckKey reports a key that does not begin with the partition's two bytes.
func CheckKey(partition uint16, key []byte) error {
	if len(key) < 2 || binary.BigEndian.Uint16(key) != partition {
		return fmt.Errorf("store: key %x is not of partition %d", key, partition)
	}
	return nil
}

// CheckBatch reports the first operation that reaches outside the partition.
func CheckBatch(partition uint16, b *Batch) error {
	var err error
	b.Each(func(op Op, key, value []byte) {
		if err == nil {
			err = CheckOp(partition, op, key, value)
		}
	})
	return err
}

// CheckOp reports an operation that reaches outside the partition.
func CheckOp(partition uint16, op Op, key, value []byte) error {
	if len(key) < 2 || binary.BigEndian.Uint16(key) != partition {
		return CheckKey(partition, key)
	}
	if op == OpDeleteRange {
		if _, end := ClipRange(partition, nil, nil); bytes.Compare(value, end) > 0 {
			return fmt.Errorf("store: range up to %x leaves partition %d", value, partition)
		}
	}
	return nil
}

// ClipRange narrows [from, to) to the partition. Empty from and to mean its
// start and its end.
func ClipRange(partition uint16, from, to []byte) (clippedFrom, clippedTo []byte) {
	var b [4]byte
	binary.BigEndian.PutUint16(b[:], partition)
	binary.BigEndian.PutUint16(b[2:], partition+1)
	if bytes.Compare(from, b[:2]) < 0 {
		from = b[:2:2]
	}
	if len(to) == 0 || bytes.Compare(to, b[2:]) > 0 {
		to = b[2:]
	}
	return from, to
}
