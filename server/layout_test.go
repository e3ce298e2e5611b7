package server

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
)

func TestSettlePartitions(t *testing.T) {
	st := store.NewMem(store.MemOptions{})
	f := func(want, n int, fault string) {
		t.Helper()
		got, err := settlePartitions(context.Background(), st, "n", want)
		if fault != "" {
			if err == nil || !strings.Contains(err.Error(), fault) {
				t.Errorf("asked for %d: got %d, %v; want an error with %q", want, got, err, fault)
			}
			return
		}
		if err != nil || got != n {
			t.Errorf("asked for %d: got %d, %v; want %d", want, got, err, n)
		}
	}
	f(4, 4, "")
	f(0, 4, "")
	f(4, 4, "")
	f(1, 0, "made with 4 partitions")

	put := func(v ...byte) {
		part, err := st.Acquire(context.Background(), layoutPartition, "n")
		if err != nil {
			t.Fatal(err)
		}
		var b store.Batch
		b.Set(layoutKey(), v)
		if err := part.Begin(&b)(); err != nil {
			t.Fatal(err)
		}
		if err := part.Release(); err != nil {
			t.Fatal(err)
		}
	}
	put(binary.BigEndian.AppendUint16([]byte{layoutVersion + 1}, 4)...)
	f(0, 0, "newer Penstock")
	put(layoutVersion, 0)
	f(0, 0, "penstock doctor")
	put(layoutVersion, 0, 0)
	f(0, 0, "penstock doctor")
	put()
	f(0, 0, "penstock doctor")

	st = store.NewMem(store.MemOptions{})
	f(0, 1, "")
	f(2, 0, "made with 1 partitions")
}
