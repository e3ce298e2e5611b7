package pebblestore

import (
	"bytes"
	"context"
	"encoding/binary"
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

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/penstock-io/penstock/internal/store"
)

// stuckFS makes whoever begins a table wait: logs pile up.
type stuckFS struct {
	vfs.FS
	mu   sync.Mutex
	gate chan struct{} // nil: open; guarded by mu
}

func (f *stuckFS) Create(name string, c vfs.DiskWriteCategory) (vfs.File, error) {
	f.mu.Lock()
	gate := f.gate
	f.mu.Unlock()
	if gate != nil && isTable(name) {
		<-gate
	}
	return f.FS.Create(name, c)
}

func (f *stuckFS) Unwrap() vfs.FS { return f.FS }

// killed is a folder as a kill leaves it, with what had been acknowledged.
type killed struct {
	dir     string
	batches [2]int
}

// kill copies the folder of an open store as it stands.
func kill(t *testing.T, dir string, batches [2]int) killed {
	t.Helper()
	k := killed{t.TempDir(), batches}
	copyFolder(t, dir, k.dir)
	return k
}

func copyFolder(t *testing.T, from, to string) {
	t.Helper()
	for tries := 0; ; tries++ {
		err := copyFiles(from, to)
		if err == nil {
			return
		}
		if tries == 100 || !errors.Is(err, fs.ErrNotExist) {
			t.Fatal(err)
		}
		if err := os.RemoveAll(to); err != nil { // a file that nobody needs any more went meanwhile
			t.Fatal(err)
		}
	}
}

func copyFiles(from, to string) error {
	return filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(from, path)
		switch {
		case err != nil || d.Name() == ballastName:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
}

// killedSmall has one log with a few batches.
func killedSmall(t *testing.T) killed {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{})
	defer s.Close()
	acked, _, _ := load(t, s, 5)
	return kill(t, dir, acked)
}

// killedLarge has tables, logs that are used no more, and several that are needed.
func killedLarge(t *testing.T) killed {
	dir := t.TempDir()
	stuck := &stuckFS{FS: vfs.Default}
	o := Options{fs: stuck, MemtableBytes: 128 << 10}
	s := mustOpen(t, dir, o)
	acked, _, _ := load(t, s, 200)
	s.Close()
	s = mustOpen(t, dir, o)
	defer s.Close()
	add := func(from, to int) {
		for p := range uint16(2) {
			h, err := s.Acquire(context.Background(), p, "test")
			if err != nil {
				t.Fatal(err)
			}
			for i := from; i < to; i++ {
				var b store.Batch
				for j := range 4 {
					b.Set(key(p, fmt.Sprintf("%06d-%d", i, j)), bytes.Repeat([]byte{byte(i)}, 1000))
				}
				if err := h.Begin(&b)(); err != nil {
					t.Fatal(err)
				}
			}
			acked[p] = to
		}
	}
	add(200, 240)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	gate := make(chan struct{})
	stuck.mu.Lock()
	stuck.gate = gate
	stuck.mu.Unlock()
	defer close(gate) // before the store ends, however the test does
	add(240, 270)
	return kill(t, dir, acked)
}

// killedFlushed has all in tables, and logs that wait to be used again.
func killedFlushed(t *testing.T) killed {
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{MemtableBytes: 128 << 10})
	defer s.Close()
	acked, _, _ := load(t, s, 100)
	if err := s.db.Flush(); err != nil {
		t.Fatal(err)
	}
	return kill(t, dir, acked)
}

// closedFolder was closed in good order.
func closedFolder(t *testing.T) killed {
	k := killedSmall(t)
	mustOpen(t, k.dir, Options{}).Close()
	return k
}

// damages are ways to harm a file: each returns its new bytes, nil for none.
func damages(path string, good []byte) map[string][]byte {
	d := map[string][]byte{"delete": nil}
	kind, number := syncedKind(filepath.Base(path))
	at := map[int]bool{0: true, 1: true, len(good) / 3: true, len(good) / 2: true, len(good) - 33: true, len(good) - 1: true}
	cuts := map[int]bool{0: true, 1: true, len(good) / 2: true, len(good) - 1: true}
	if kind != kindOther {
		b := bounds(good, syncedFile{kind: kind, number: number})
		for i, e := range b {
			if i < 3 || i > len(b)-6 || i%17 == 0 {
				at[e], at[e+chunkHead-1], at[e+chunkHead+20] = true, true, true
				cuts[e], cuts[e+9] = true, true
			}
		}
	}
	for i := range at {
		if i >= 0 && i < len(good) {
			bad := slices.Clone(good)
			bad[i] ^= 0x10
			d[fmt.Sprintf("flip %d of %d", i, len(good))] = bad
		}
	}
	for i := range cuts {
		if i >= 0 && i < len(good) {
			d[fmt.Sprintf("cut at %d of %d", i, len(good))] = slices.Clip(good[:i])
		}
	}
	return d
}

// bounds are the ends of a log's or manifest's chunks.
func bounds(b []byte, s syncedFile) (ends []int) {
	for at := 0; at < len(b); {
		left := blockBytes - at%blockBytes
		rest := b[at:min(at+left, len(b))]
		n := chunk(rest, false, left, s)
		if n == 0 {
			break
		}
		at += n
		ends = append(ends, at)
	}
	return ends
}

// TestDamage harms each file of a folder in turn: the store opens with all that
// was acknowledged, or refuses with the name of the file and the next step.
func TestDamage(t *testing.T) {
	for name, build := range map[string]func(*testing.T) killed{
		"small": killedSmall, "large": killedLarge, "flushed": killedFlushed, "closed": closedFolder,
	} {
		t.Run(name, func(t *testing.T) {
			k := build(t)
			tables, turn := 0, 0
			filepath.WalkDir(k.dir, func(path string, d fs.DirEntry, err error) error {
				if err != nil || d.IsDir() || d.Name() == ballastName {
					return err
				}
				if isTable(path) {
					if tables++; tables%9 != 1 {
						return nil
					}
				}
				good, err := os.ReadFile(path)
				if err != nil {
					t.Fatal(err)
				}
				rel, _ := filepath.Rel(k.dir, path)
				opened, refused := 0, 0
				ways := damages(path, good)
				for _, what := range slices.Sorted(maps.Keys(ways)) {
					if turn++; testing.Short() && turn%3 != 0 {
						continue
					}
					if damaged(t, k, harm(t, k, rel, ways[what]), rel, what) {
						opened++
					} else {
						refused++
					}
				}
				t.Logf("%-28s %7d bytes: opened %d, refused %d", rel, len(good), opened, refused)
				return nil
			})
		})
	}
}

// harm makes a copy of the folder in memory with one file replaced, or gone.
func harm(t *testing.T, k killed, rel string, bad []byte) *vfs.MemFS {
	t.Helper()
	mem := vfs.NewMem()
	err := filepath.WalkDir(k.dir, func(path string, d fs.DirEntry, err error) error {
		name, _ := filepath.Rel(k.dir, path)
		to := mem.PathJoin(harmedDir, name)
		switch {
		case err != nil || d.Name() == ballastName || name == rel && bad == nil:
			return err
		case d.IsDir():
			return mem.MkdirAll(to, 0o700)
		}
		b := bad
		if name != rel {
			if b, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		f, err := mem.Create(to, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		_, err = f.Write(slices.Clone(b)) // with -race it spoils what it is given
		return errors.Join(err, f.Close())
	})
	if err != nil {
		t.Fatal(err)
	}
	return mem
}

const harmedDir = "/data"

// damaged says whether the folder opened.
func damaged(t *testing.T, k killed, fs vfs.FS, rel, what string) bool {
	t.Helper()
	s, err := Open(harmedDir, Options{fs: fs})
	if err != nil {
		wantClear(t, rel, what, err)
		return false
	}
	if got := count(s); got != k.batches {
		t.Errorf("%s: %s: opened, and has %v batches of %v", rel, what, got, k.batches)
	}
	s.Close()
	return true
}

// wantClear wants an error that a person can act on.
func wantClear(t *testing.T, rel, what string, err error) {
	t.Helper()
	text := err.Error()
	name := filepath.Base(rel)
	if rest, ok := strings.CutPrefix(name, "marker."); ok {
		name, _, _ = strings.Cut(rest, ".") // what follows changes
	}
	named := strings.Contains(text, name)
	next := strings.Contains(text, "penstock doctor") || strings.Contains(text, "backup")
	inner := strings.Contains(text, "<") || strings.Contains(text, "carrier")
	if !named || !next || inner || !strings.Contains(text, harmedDir) {
		t.Errorf("%s: %s: not clear: %v", rel, what, err)
	}
}

// count reads all, and returns how many whole batches of each partition are there
// in order; -1: it can't be read.
func count(s *Store) (n [2]int) {
	for p := range 2 {
		n[p] = -1
		h, err := s.Acquire(context.Background(), uint16(p), "test")
		if err != nil {
			continue
		}
		it, keys := h.Scan(nil, nil), 0
		for ; it.Next() && string(it.Key()[2:]) == fmt.Sprintf("%06d-%d", keys/4, keys%4); keys++ {
		}
		if it.Close() == nil {
			n[p] = keys / 4
		}
	}
	return n
}

// TestTornTail: what was written behind the last sync may end anywhere.
func TestTornTail(t *testing.T) {
	for name, build := range map[string]func(*testing.T) killed{"small": killedSmall, "large": killedLarge} {
		k := build(t)
		_, files, err := readSynced(vfs.Default, filepath.Join(k.dir, syncedName))
		if err != nil {
			t.Fatal(err)
		}
		last := files[len(files)-1]
		for _, f := range files {
			if f.kind == kindLog && f.number > last.number {
				last = f
			}
		}
		rel := filepath.Join(dbName, last.name())
		good, err := os.ReadFile(filepath.Join(k.dir, rel))
		if err != nil {
			t.Fatal(err)
		}
		good = good[:last.bytes]
		for what, tail := range map[string][]byte{
			"nothing":      nil,
			"zeros":        make([]byte, 70000),
			"a torn chunk": good[:30],
			"a flip":       append(bytes.Repeat([]byte{7}, 100), good[100:200]...),
		} {
			if !damaged(t, k, harm(t, k, rel, append(slices.Clip(good), tail...)), rel, what) {
				t.Errorf("%s: %s behind the sync: refused", name, what)
			}
		}
	}
}

// TestIntact: no byte of what was synced may change unseen, and the place is told.
func TestIntact(t *testing.T) {
	k := killedLarge(t)
	_, files, err := readSynced(vfs.Default, filepath.Join(k.dir, syncedName))
	if err != nil {
		t.Fatal(err)
	}
	kinds, places := map[fileKind]int{}, 1000
	if testing.Short() {
		places = 100
	}
	for _, f := range files {
		good, err := os.ReadFile(filepath.Join(k.dir, dbName, f.name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // not needed any more
		}
		if err != nil {
			t.Fatal(err)
		}
		if at, err := intact(bytes.NewReader(good), f); err != nil || at != f.bytes {
			t.Fatalf("%v: whole, but stops at %d, %v", f, at, err)
		}
		kinds[f.kind]++
		for i := 0; i < int(f.bytes); i += 1 + int(f.bytes)/places {
			good[i] ^= 0x40
			if at, err := intact(bytes.NewReader(good), f); err != nil || at > int64(i) || at < int64(i)-blockBytes {
				t.Fatalf("%v: flipped at %d: stops at %d, %v", f, i, at, err)
			}
			good[i] ^= 0x40
		}
	}
	if kinds[kindLog] < 2 || kinds[kindManifest] == 0 {
		t.Fatalf("%v: that tests nothing", kinds)
	}
}

// TestUnneededLog: what is in tables may be harmed in the log.
func TestUnneededLog(t *testing.T) {
	k := killedFlushed(t)
	first, err := firstLog(vfs.Default, files(t, k.dir, "MANIFEST-*")[len(files(t, k.dir, "MANIFEST-*"))-1])
	if err != nil {
		t.Fatal(err)
	}
	unneeded := 0
	for _, path := range files(t, k.dir, "*.log") {
		_, number := syncedKind(filepath.Base(path))
		if number >= first {
			continue
		}
		unneeded++
		rel := filepath.Join(dbName, filepath.Base(path))
		if !damaged(t, k, harm(t, k, rel, []byte("x")), rel, "overwritten") {
			t.Errorf("%s is not needed and was missed", rel)
		}
	}
	if unneeded == 0 {
		t.Fatal("all logs are needed: that tests nothing")
	}
}

// TestSynced: the mark is followed through kills, closes and its own loss.
func TestSynced(t *testing.T) {
	k := killedSmall(t)
	path := filepath.Join(k.dir, syncedName)
	for round := range 4 {
		s := mustOpen(t, k.dir, Options{})
		if got := count(s); got != k.batches {
			t.Fatalf("round %d: %v batches of %v", round, got, k.batches)
		}
		_, files, err := readSynced(vfs.Default, path)
		isLog := func(f syncedFile) bool { return f.kind == kindLog }
		if err != nil || len(files) < 2 || !slices.ContainsFunc(files, isLog) || isLog(files[0]) {
			t.Fatalf("round %d: the mark has %v, %v; want a manifest and a log", round, files, err)
		}
		for _, f := range files {
			info, err := os.Stat(filepath.Join(k.dir, dbName, f.name()))
			if err != nil || f.bytes == 0 || info.Size() < f.bytes {
				t.Fatalf("round %d: the mark says %v, %v", round, f, err)
			}
		}
		s.Close()
		switch round {
		case 0: // a folder from before marks
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		case 1, 2: // each slot in turn
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			b[(round-1)*syncedSlot+30] ^= 1
			write(t, path, string(b))
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[30] ^= 1
	b[syncedSlot+30] ^= 1
	write(t, path, string(b))
	wantOpenError(t, k.dir, path, "can't be read", "backup", "remove it")
	write(t, path, strings.Repeat("penstock synced 2\n", 3))
	wantOpenError(t, k.dir, path, "penstock synced 2", "use the penstock release that wrote it")
}

// TestSyncedMany: of too many logs the oldest are left out, never the manifest.
func TestSyncedMany(t *testing.T) {
	mem := vfs.NewMem()
	m, err := newSyncMark(mem, "", 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.begin(kindManifest, 1); err != nil {
		t.Fatal(err)
	}
	for n := range uint64(3 * syncedFilesMax) {
		if err := errors.Join(m.begin(kindLog, 2+n), m.raise(kindLog, 2+n, 7)); err != nil {
			t.Fatal(err)
		}
	}
	if err := m.close(true); err != nil {
		t.Fatal(err)
	}
	_, files, err := readSynced(mem, syncedName)
	last := syncedFile{kindLog, 3*syncedFilesMax + 1, 7}
	if err != nil || len(files) != syncedFilesMax || files[0].kind != kindManifest || files[len(files)-1] != last {
		t.Fatalf("got %d files, %v", len(files), err)
	}
}

func TestSlot(t *testing.T) {
	golden, err := os.ReadFile(filepath.Join("testdata", "synced-1.golden"))
	if err != nil {
		t.Fatal(err)
	}
	files := []syncedFile{{kindManifest, 12, 345}, {kindLog, 1 << 40, 1 << 33}}
	b := appendSlot(nil, 77, files)
	if text := fmt.Sprintf("%q\n", b); text != string(golden) {
		t.Errorf("got\n%s want\n%s", text, golden)
	}
	turn, got, ok := parseSlot(append(b, 1, 2, 3))
	if !ok || turn != 77 || !slices.Equal(got, files) {
		t.Errorf("got %d %v %v", turn, got, ok)
	}
	for i := range b {
		if _, _, ok := parseSlot(b[:i]); ok {
			t.Errorf("cut at %d: got no error", i)
		}
		bad := slices.Clone(b)
		bad[i] ^= 4
		if _, _, ok := parseSlot(bad); ok {
			t.Errorf("flipped at %d: got no error", i)
		}
	}
	many := binary.LittleEndian.AppendUint16([]byte(syncedLine), 0xffff)
	if _, _, ok := parseSlot(append(many, make([]byte, 100)...)); ok {
		t.Error("65535 files in 100 bytes: got no error")
	}
}

// TestSyncedCrash takes folders as kills and power cuts leave them while a store
// works: none is refused.
func TestSyncedCrash(t *testing.T) {
	mem := vfs.NewCrashableMem()
	s := mustOpen(t, "data", Options{fs: mem, MemtableBytes: 64 << 10})
	defer s.Close()
	batches := 1000
	if testing.Short() {
		batches = 300
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		load(t, s, batches)
	}()
	n, rng := 0, rand.New(rand.NewPCG(1, 1))
	for going := true; going; n++ {
		select {
		case <-done:
			going = false
		default:
		}
		left := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: []int{0, 100, rng.IntN(100)}[n%3], RNG: rng})
		again, err := Open("data", Options{fs: left, MemtableBytes: 64 << 10})
		if err != nil {
			t.Fatalf("open %d: %v", n, err)
		}
		check(t, again, [2]int{}, [2]int{batches, batches})
		again.Close()
	}
	t.Logf("%d folders", n)
}
