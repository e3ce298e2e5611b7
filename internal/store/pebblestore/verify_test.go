package pebblestore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
)

// filled makes a folder with tables, and a log with batches that are in no table.
// It is written once: the tests damage copies.
func filled(t *testing.T) string {
	t.Helper()
	filledOnce.Do(func() { filledFS = wholeFolder(t) })
	dir := t.TempDir()
	if err := os.CopyFS(dir, filledFS); err != nil {
		t.Fatal(err)
	}
	return dir
}

var (
	filledOnce sync.Once
	filledFS   = fstest.MapFS{}
)

func wholeFolder(t *testing.T) fstest.MapFS {
	t.Helper()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	rnd := rand.NewChaCha8([32]byte{1})
	for p := range uint16(2) {
		h, err := s.Acquire(context.Background(), p, "filler")
		if err != nil {
			t.Fatal(err)
		}
		var b store.Batch
		for i := range 6000 {
			b.Reset()
			k, v := b.SetDeferred(10, 100)
			copy(k, key(p, fmt.Sprintf("%08d", i)))
			rnd.Read(v)
			if i == 4000 {
				if err := s.db.Flush(); err != nil {
					t.Fatal(err)
				}
			}
			wait := h.Begin(&b)
			if i%50 == 0 { // later chunks promise that earlier ones were synced: damage there can be told from a torn end
				if err := wait(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	all := fstest.MapFS{}
	err := fs.WalkDir(os.DirFS(dir), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(filepath.Join(dir, path))
		all[path] = &fstest.MapFile{Data: b, Mode: 0o600}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func files(t *testing.T, dir, pattern string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "db", pattern))
	if err != nil || len(names) == 0 {
		t.Fatalf("no %s in %s: %v", pattern, dir, err)
	}
	return names
}

// flip changes one byte at a share of the file's length.
func flip(t *testing.T, path string, share float64) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[int(float64(len(b)-1)*share)] ^= 0xff
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestVerifyWhole(t *testing.T) {
	dir := filled(t)
	r, err := Verify(dir)
	if err != nil || !r.OK() {
		t.Fatalf("got %+v, %v", r, err)
	}
	if len(r.Partitions) != 2 || r.Partitions[1].Keys != 6000 || r.Partitions[1].Epoch != 1 || r.Partitions[1].Owner != "filler" {
		t.Fatalf("partitions: got %+v", r.Partitions)
	}
	s := mustOpen(t, dir, Options{}) // it changed nothing
	defer s.Close()
	if _, err := Verify(filepath.Join(dir, "none")); err == nil {
		t.Fatal("verify of a folder that is not there: got no error")
	}
}

// TestDamagedTable: a flipped byte in a table is an error at the latest when it
// is read, never an absent key, and Verify names the file and what is left.
func TestDamagedTable(t *testing.T) {
	shares := []float64{0.02, 0.3, 0.5, 0.9, 0.999}
	if testing.Short() {
		shares = shares[1:3]
	}
	for _, share := range shares {
		t.Run(fmt.Sprint(share), func(t *testing.T) {
			dir := filled(t)
			table := files(t, dir, "*.sst")[0]
			flip(t, table, share)
			r, err := Verify(dir)
			if err != nil || r.OK() {
				t.Fatalf("verify: got %+v, %v", r, err)
			}
			if d := r.Damaged[len(r.Damaged)-1]; d.Path != table || d.Saved == "" {
				t.Fatalf("verify: got damage %+v, want one of %s with what can be saved", r.Damaged, table)
			}
			if n := keysOf(r); share < 0.99 && n < 12000-400 {
				t.Fatalf("verify: %d of 12000 keys can be read, and one block is damaged: %+v", n, r.Damaged)
			} else if d := r.Damaged[len(r.Damaged)-1]; d.LostKeys >= 0 && n+d.LostKeys != 12000 {
				t.Fatalf("verify: %d keys read and %d lost, of 12000", n, d.LostKeys)
			}
			s, err := Open(dir, Options{})
			if err != nil {
				if !strings.Contains(err.Error(), "penstock doctor --data "+dir) {
					t.Fatalf("open: error %q does not name the next step", err)
				}
				return
			}
			defer s.Close()
			readAll(t, s, 2, 6000)
		})
	}
}

// readAll wants either all keys of all partitions, or an ErrCorrupt.
func readAll(t *testing.T, s *Store, partitions, keys int) {
	t.Helper()
	for p := range uint16(partitions) {
		h, err := s.Acquire(context.Background(), p, "reader")
		if err != nil {
			if !errors.Is(err, ErrCorrupt) {
				t.Fatalf("acquire: got %v, want ErrCorrupt", err)
			}
			continue
		}
		it, n := h.Scan(nil, nil), 0
		for it.Next() {
			n++
		}
		if err := it.Close(); err == nil && n != keys {
			t.Fatalf("scan of partition %d: got %d keys of %d and no error", p, n, keys)
		} else if err != nil && (!errors.Is(err, ErrCorrupt) || !strings.Contains(err.Error(), "penstock doctor")) {
			t.Fatalf("scan: got %v, want ErrCorrupt and the next step", err)
		}
		for i := 0; i < keys; i += 13 {
			if _, ok, err := store.GetOne(h, key(p, fmt.Sprintf("%08d", i)), nil); err == nil && !ok {
				t.Fatalf("get of key %d of partition %d: absent, and no error", i, p)
			} else if err != nil && !errors.Is(err, ErrCorrupt) {
				t.Fatalf("get: got %v, want ErrCorrupt", err)
			}
		}
	}
}

// TestDamagedLog: damage in the middle of the log is an error, a torn end is not.
func TestDamagedLog(t *testing.T) {
	dir := filled(t)
	logs := files(t, dir, "*.log")
	flip(t, logs[len(logs)-1], 0.3)
	wantOpenError(t, dir, "penstock doctor --data "+dir)
	r, err := Verify(dir)
	if err != nil || r.Opens {
		t.Fatalf("verify: got %+v, %v", r, err)
	}
	found := false
	for _, d := range r.Damaged {
		found = found || (d.Path == logs[len(logs)-1] && strings.Contains(d.Saved, "behind it"))
	}
	if n := keysOf(r); !found || n < 12000-2 || n == 12000 {
		t.Fatalf("verify: got %d keys of 12000 and %+v, want all but a batch or two", n, r.Damaged)
	}

	dir = filled(t)
	logs = files(t, dir, "*.log")
	last := logs[len(logs)-1]
	info, err := os.Stat(last)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.Truncate(last, info.Size()-50), os.Remove(filepath.Join(dir, syncedName))); err != nil {
		t.Fatal(err) // with SYNCED it would be known that this end was acknowledged
	}
	if r, err := Verify(dir); err != nil || !r.OK() {
		t.Fatalf("verify of a torn log: got %+v, %v", r, err)
	}
	mustOpen(t, dir, Options{}).Close()
}

// TestDamagedManifest flips every byte of the manifest in turn: no table may be
// forgotten in silence.
func TestDamagedManifest(t *testing.T) {
	dir := filled(t)
	m := files(t, dir, "MANIFEST-*")
	path := m[len(m)-1]
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for i := range good {
		bad := slices.Clone(good)
		bad[i] ^= 0xff
		write(t, path, string(bad))
		if err := checkManifest(vfs.Default, filepath.Join(dir, "db")); err == nil {
			t.Fatalf("byte %d of %d: got no error", i, len(good))
		}
	}
	wantOpenError(t, dir, "penstock doctor --data "+dir)
	r, err := Verify(dir)
	if err != nil || r.Opens || keysOf(r) != 12000 || r.Damaged[0].Kind != DamagedManifest {
		t.Fatalf("verify: got %+v, %v; want all keys, without the manifest", r, err)
	}
	// A power cut tears the end off, or leaves zeros there.
	for i := 1; i < 40; i++ {
		write(t, path, string(good)+string(good[:i]))
		if err := checkManifest(vfs.Default, filepath.Join(dir, "db")); err != nil {
			t.Fatalf("torn after %d bytes: %v", i, err)
		}
		write(t, path, string(good)+strings.Repeat("\x00", i*100))
		if err := checkManifest(vfs.Default, filepath.Join(dir, "db")); err != nil {
			t.Fatalf("%d zeros at the end: %v", i*100, err)
		}
	}
	write(t, path, string(good))
	mustOpen(t, dir, Options{}).Close()
}

func TestLostTable(t *testing.T) {
	dir := filled(t)
	lost := files(t, dir, "*.sst")[0]
	if err := os.Remove(lost); err != nil {
		t.Fatal(err)
	}
	wantOpenError(t, dir, "penstock doctor --data "+dir)
	r, err := Verify(dir)
	if err != nil || r.Opens || len(r.Damaged) != 1 || r.Damaged[0].Path != lost || r.Damaged[0].Lost == nil {
		t.Fatalf("verify: got %+v, %v", r, err)
	}
	if n := keysOf(r); n == 0 || n == 12000 {
		t.Fatalf("verify: %d keys of 12000 can be read", n)
	}
}

// keysOf counts the keys of partitions.
func keysOf(r Report) (n int64) {
	for _, p := range r.Partitions {
		n += p.Keys
	}
	return n
}

// TestInspectHistory: with or without damage the newest value of a key is read,
// and what was deleted, by key or by range, is not; not a byte of the folder is
// changed.
func TestInspectHistory(t *testing.T) {
	dir, want := history(t)
	read := func(what string) {
		t.Helper()
		before := sums(t, dir)
		n, err := Inspect(dir)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		err = n.Scan(key(1, ""), key(2, ""), func(k, v []byte) error {
			got[string(k[2:])] = string(v)
			return nil
		})
		if err != nil || !maps.Equal(got, want) {
			t.Errorf("%s: read %d keys, want %d: %v, %+v", what, len(got), len(want), err, n.Damaged)
		}
		if err := n.Close(); err != nil {
			t.Error(err)
		}
		if !maps.Equal(before, sums(t, dir)) {
			t.Errorf("%s: looking changed the folder", what)
		}
	}
	read("whole")
	m := files(t, dir, "MANIFEST-*")
	for _, name := range m {
		flip(t, name, 0.5)
	}
	read("without a manifest")
	for _, name := range m {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range files(t, dir, "marker.*") {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	read("without a trace of a manifest")
}

// history makes a folder in which keys are written again and deleted, one by one
// and in ranges, with tables that were compacted and not yet removed.
func history(t *testing.T) (dir string, want map[string]string) {
	t.Helper()
	dir = t.TempDir()
	s := mustOpen(t, dir, Options{})
	h, err := s.Acquire(context.Background(), 1, "historian")
	if err != nil {
		t.Fatal(err)
	}
	want = map[string]string{}
	var waits []func() error
	put := func(f func(b *store.Batch)) {
		t.Helper()
		var b store.Batch
		f(&b)
		if waits = append(waits, h.Begin(&b)); len(waits) < 50 {
			return
		}
		for _, wait := range waits {
			if err := wait(); err != nil {
				t.Fatal(err)
			}
		}
		waits = waits[:0]
	}
	for round := range 4 {
		for i := range 2000 {
			k, v := fmt.Sprintf("%08d", i*(round+1)), fmt.Sprintf("%d of round %d %0100d", i, round, i)
			put(func(b *store.Batch) { b.Set(key(1, k), []byte(v)) })
			want[k] = v
			if i%3 == round%3 {
				k := fmt.Sprintf("%08d", i)
				put(func(b *store.Batch) { b.Delete(key(1, k)) })
				delete(want, k)
			}
		}
		from, to := fmt.Sprintf("%08d", 300*round), fmt.Sprintf("%08d", 300*round+100)
		put(func(b *store.Batch) { b.DeleteRange(key(1, from), key(1, to)) })
		for k := range want {
			if k >= from && k < to {
				delete(want, k)
			}
		}
		if round < 3 {
			if err := s.db.Flush(); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := map[string][]byte{}
	for _, name := range files(t, dir, "*.sst") {
		if before[name], err = os.ReadFile(name); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.db.Compact(context.Background(), key(0, ""), key(2, ""), false); err != nil {
		t.Fatal(err)
	}
	for _, wait := range waits {
		if err := wait(); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, b := range before { // as if the process had died before they were removed
		write(t, name, string(b))
	}
	return dir, want
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		out[path] = fmt.Sprintf("%x", sha256.Sum256(b))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
