package server

import (
	"context"
	"encoding/binary"
	"fmt"

	"github.com/penstock-io/penstock/internal/store"
)

// layoutPartition holds no tasks but what must be known before any partition is
// looked at: over how many the queues are spread. Opened with another number, a
// folder would look for queues where they are not.
const layoutPartition = store.PartitionMax

const layoutVersion = 1

// settlePartitions reads the number from the store, or fixes it there for ever.
// want is 0 for "whatever it is".
func settlePartitions(ctx context.Context, st store.Store, owner string, want int) (int, error) {
	part, err := st.Acquire(ctx, layoutPartition, owner)
	if err != nil {
		return 0, fmt.Errorf("read the number of partitions: %w", err)
	}
	n, err := readLayout(part)
	switch {
	case err != nil:
	case n == 0:
		n = max(want, 1)
		err = writeLayout(part, n)
	case want != 0 && want != n:
		err = fmt.Errorf("it was made with %d partitions and can't be opened with %d: set Partitions to 0 or to %d", n, want, n)
	}
	if e := part.Release(); err == nil && e != nil {
		err = fmt.Errorf("read the number of partitions: %w", e)
	}
	return n, err
}

func layoutKey() []byte { return binary.BigEndian.AppendUint16(nil, layoutPartition) }

// readLayout returns 0 when none was written.
func readLayout(part store.Partition) (int, error) {
	v, found, err := store.GetOne(part, layoutKey(), nil)
	if err != nil {
		return 0, fmt.Errorf("read the number of partitions: %w", err)
	}
	if !found {
		return 0, nil
	}
	return parseLayout(v)
}

func parseLayout(v []byte) (int, error) {
	switch {
	case len(v) > 0 && v[0] > layoutVersion:
		return 0, fmt.Errorf("its layout (format %d) was written by a newer Penstock: open it with that version or a later one", v[0])
	case len(v) != 3 || v[0] != layoutVersion || binary.BigEndian.Uint16(v[1:]) == 0 || int(binary.BigEndian.Uint16(v[1:])) > partitionsMax:
		return 0, fmt.Errorf("its layout record %x is not readable: run penstock doctor", v)
	}
	return int(binary.BigEndian.Uint16(v[1:])), nil
}

func writeLayout(part store.Partition, n int) error {
	var b store.Batch
	b.Set(layoutKey(), binary.BigEndian.AppendUint16([]byte{layoutVersion}, uint16(n)))
	if err := part.Begin(&b)(); err != nil {
		return fmt.Errorf("write the number of partitions: %w", err)
	}
	return nil
}
