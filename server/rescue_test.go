package server_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/store/pebblestore"
	"github.com/penstock-io/penstock/server"
)

// TestRescueRecords spoils records one by one, in a folder whose files are whole:
// what they are of is not given out, all the rest is.
func TestRescueRecords(t *testing.T) {
	dir := t.TempDir()
	srv := open(t, server.Config{Dir: dir, Partitions: 2})
	raws := func(queue, typ string, payloads ...string) {
		t.Helper()
		list := make([]penstock.Raw, len(payloads))
		for i, p := range payloads {
			list[i] = penstock.Raw{Type: typ, Payload: []byte(p)}
		}
		got, err := srv.Client().EnqueueMany(inTime(t), list, penstock.Queue(queue))
		if err != nil || got[0].Err != nil {
			t.Fatal(err, got)
		}
	}
	large := `"` + strings.Repeat("large ", 40_000) + `"`
	raws("a", "x", "1", "2", "3")
	raws("a", "y", "4", large)
	raws("b", "z", "5", "6")
	raws("c", "w", "7")
	if _, err := srv.Client().EnqueueMany(inTime(t), []penstock.Raw{{Type: "w", Payload: []byte("8")}}, penstock.Queue("c"), penstock.ExpireAfter(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	f := func(what string, counts server.RescueCounts, want ...string) *server.Findings {
		t.Helper()
		var got []string
		found, err := server.Rescue(context.Background(), dir, server.RescueOptions{Now: time.Now().Add(2 * time.Hour), Each: func(r *server.Rescued) error {
			got = append(got, fmt.Sprintf("%s %s %.9s", r.Queue, r.Spec.Type, r.Spec.Payload))
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		slices.Sort(got)
		if !slices.Equal(got, want) || found.Rescued != counts {
			t.Errorf("%s: got %q %+v\nwant %q %+v", what, got, found.Rescued, want, counts)
		}
		return found
	}
	f("whole", server.RescueCounts{Tasks: 8, Over: 1}, "a x 1", "a x 2", "a x 3", `a y "large la`, "a y 4", "b z 5", "b z 6", "c w 7")
	spoil(t, dir, 0x11, nil) // one chunk of the large payload
	f("a chunk", server.RescueCounts{Tasks: 7, Over: 1, NoBody: 1}, "a x 1", "a x 2", "a x 3", "a y 4", "b z 5", "b z 6", "c w 7")
	spoil(t, dir, 0x10, []byte{1, 2, 3})
	found := f("a birth", server.RescueCounts{Tasks: 6, Over: 1, NoBody: 1}, "a x 2", "a x 3", "a y 4", "b z 5", "b z 6", "c w 7")
	if !slices.ContainsFunc(found.Faults, func(f server.Fault) bool { return f.Record == "waiting tasks of queue a" }) {
		t.Errorf("the faults do not say whose: %+v", found.Faults)
	}
	spoil(t, dir, 0x01, []byte{9})
	found = f("a name of a queue", server.RescueCounts{Tasks: 6, Over: 1, NoBody: 1, Nameless: 3},
		"b z 5", "b z 6", "c w 7", "lost-queue-0-1 x 2", "lost-queue-0-1 x 3", "lost-queue-0-1 y 4")
	if found.Faulty < 4 || !found.Opens {
		t.Errorf("found %+v", found)
	}
	stop := errors.New("the disk is full")
	_, err := server.Rescue(context.Background(), dir, server.RescueOptions{Each: func(*server.Rescued) error { return stop }})
	if !errors.Is(err, stop) {
		t.Errorf("an error of Each: got %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := server.Examine(ctx, dir); !errors.Is(err, context.Canceled) {
		t.Errorf("a canceled examination: got %v", err)
	}
}

// spoil gives the first record of a class in the first partition that has one
// another value, or deletes it.
func spoil(t *testing.T, dir string, class byte, value []byte) {
	t.Helper()
	st, err := pebblestore.Open(dir, pebblestore.Options{})
	if err != nil {
		t.Fatal(err)
	}
	part, err := st.Acquire(context.Background(), 0, "test")
	if err != nil {
		t.Fatal(err)
	}
	it := part.Scan([]byte{0, 0, class}, []byte{0, 0, class + 1})
	if !it.Next() {
		t.Fatalf("no record of class %x", class)
	}
	key := slices.Clone(it.Key())
	var b store.Batch
	if value == nil {
		b.Delete(key)
	} else {
		b.Set(key, value)
	}
	if err := errors.Join(it.Close(), part.Begin(&b)(), part.Release(), st.Close()); err != nil {
		t.Fatal(err)
	}
}
