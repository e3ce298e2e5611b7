package pebblestore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/penstock-io/penstock/internal/store"
)

const (
	flipEnv  = "PEBBLESTORE_TEST_FLIP_DIR"
	flipStep = "PEBBLESTORE_TEST_FLIP_STEP"
	flipKeys = 3000
)

// deletedFolder holds keys in the last level, and above it the SingleDeletes of
// most of them: the next compaction drops both.
func deletedFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	s := mustOpen(t, dir, Options{MemtableBytes: 1 << 20})
	defer s.Close()
	h, err := s.Acquire(context.Background(), 1, "test")
	if err != nil {
		t.Fatal(err)
	}
	commit := func(fill func(b *store.Batch)) {
		t.Helper()
		var b store.Batch
		fill(&b)
		if err := errors.Join(h.Begin(&b)(), s.db.Flush()); err != nil {
			t.Fatal(err)
		}
	}
	commit(func(b *store.Batch) {
		for i := range flipKeys {
			b.Set(flipKey(i), bytes.Repeat([]byte{byte(i)}, 300))
		}
	})
	if err := s.db.Compact(context.Background(), []byte{0}, []byte{0xff}, false); err != nil {
		t.Fatal(err)
	}
	s.compactions.ready.Store(false)
	commit(func(b *store.Batch) {
		for i := range flipKeys {
			if i%50 != 0 {
				b.SingleDelete(flipKey(i))
			}
		}
	})
	commit(func(b *store.Batch) { b.DeleteRange(flipKey(flipKeys/2), flipKey(flipKeys/2+20)) })
	to := t.TempDir()
	copyFolder(t, dir, to)
	return to
}

func flipKey(i int) []byte { return key(1, fmt.Sprintf("k%06d", i)) }

// TestFlips turns bits of tables in a process of its own: in every block of every
// kind, before the start and while the store is at work, and makes Pebble compact.
// It may find the damage or not, but the process lives and is told.
func TestFlips(t *testing.T) {
	step := 1
	if testing.Short() {
		step = 17
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), flipEnv+"="+deletedFolder(t), flipStep+"="+strconv.Itoa(step))
	out, err := cmd.CombinedOutput()
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if err != nil {
		for i, l := range lines {
			if strings.HasPrefix(l, "panic") || strings.HasPrefix(l, "error") || strings.HasPrefix(l, "fatal") {
				t.Fatalf("the process ended by %v at %s:\n%s", err, lines[max(i-1, 0)], strings.Join(lines[i:min(i+20, len(lines))], "\n"))
			}
		}
		t.Fatalf("the process ended by %v: %s", err, lines[len(lines)-1])
	}
	t.Log(lines[len(lines)-1])
}

// flipChild harms one bit after the other of the folder.
func flipChild(dir string) error {
	step, err := strconv.Atoi(os.Getenv(flipStep))
	if err != nil {
		return err
	}
	tables, err := filepath.Glob(filepath.Join(dir, dbName, "*.sst"))
	if err != nil || len(tables) < 3 {
		return errors.Join(fmt.Errorf("only the tables %v", tables), err)
	}
	seen := make(map[string]int)
	n := 0
	for _, path := range tables {
		at, err := flipsOf(path)
		if err != nil {
			return err
		}
		for i := 0; i < len(at); i += step {
			for _, running := range []bool{false, true} {
				n++
				fmt.Println("flip", filepath.Base(path), at[i], "running", running)
				outcome, err := flipOne(dir, filepath.Base(path), at[i], running)
				if err != nil {
					return err
				}
				seen[outcome]++
			}
		}
	}
	for i := 0; i < 60; i += step {
		for _, cause := range []error{syscall.EIO, syscall.EMFILE} {
			fmt.Println("read", i, cause)
			outcome, err := failRead(dir, int64(i), cause)
			if err != nil {
				return err
			}
			seen[cause.Error()+" "+outcome]++
		}
	}
	fmt.Println(n, "flips:", seen)
	if seen["refused"] == 0 || seen["dead"] == 0 {
		return errors.New("not all outcomes were seen")
	}
	return nil
}

// flipsOf are places in a table: in each block its first byte, its middle, its kind
// and its checksum, and all of the foot.
func flipsOf(path string) ([]int64, error) {
	o := new(pebble.Options)
	o.EnsureDefaults()
	r, _, err := openTable(vfs.Default, path, o.MakeReaderOptions())
	if err != nil {
		return nil, err
	}
	defer r.Close()
	l, err := r.Layout()
	if err != nil {
		return nil, err
	}
	var at []int64
	for _, h := range blocksOf(l) {
		end := int64(endOf(h))
		at = append(at, int64(h.Offset), int64(h.Offset+h.Length/2), end-5, end-2)
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	for i := at[len(at)-1] + 1; i < info.Size(); i += 3 {
		at = append(at, i)
	}
	slices.Sort(at)
	return slices.Compact(at), nil
}

func memCopy(dir string) (*vfs.MemFS, error) {
	mem := vfs.NewMem()
	return mem, filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		rel, _ := filepath.Rel(dir, path)
		to := mem.PathJoin(harmedDir, rel)
		if err != nil || d.IsDir() {
			return errors.Join(err, mem.MkdirAll(to, 0o700))
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		f, err := mem.Create(to, vfs.WriteCategoryUnspecified)
		if err != nil {
			return err
		}
		_, err = f.Write(b)
		return errors.Join(err, f.Close())
	})
}

// flipIn turns a bit under whoever has the file open.
func flipIn(mem *vfs.MemFS, table string, at int64) error {
	f, err := mem.OpenReadWrite(mem.PathJoin(harmedDir, dbName, table), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		return err
	}
	b[0] ^= 0x10
	_, err = f.WriteAt(b[:], at)
	return errors.Join(err, f.Close())
}

func flipOne(dir, table string, at int64, running bool) (outcome string, err error) {
	mem, err := memCopy(dir)
	if err != nil {
		return "", err
	}
	if !running {
		if err := flipIn(mem, table, at); err != nil {
			return "", err
		}
	}
	s, err := Open(harmedDir, Options{fs: mem, MemtableBytes: 1 << 20, CacheBytes: 1 << 20})
	if err != nil {
		if running || !errors.Is(err, store.ErrDamaged) || !strings.Contains(err.Error(), "penstock doctor") {
			return "", fmt.Errorf("open: %w", err)
		}
		return "refused", nil
	}
	if running {
		err := flipIn(mem, table, at)
		if errors.Is(err, io.EOF) { // made anew: a compaction was quicker
			_, err = compactAll(s)
			return "too late", err
		}
		if err != nil {
			return "", errors.Join(err, s.Close())
		}
	}
	return compactAll(s)
}

// compactAll wants a store that is whole, or dead by damage, and a Close that ends.
func compactAll(s *Store) (outcome string, err error) {
	done := make(chan error, 1)
	go func() { done <- s.compact() }()
	select {
	case err = <-done:
	case <-s.deadCh:
	case <-time.After(30 * time.Second):
		return "", errors.New("neither is the compaction done, nor is the store dead")
	}
	h, acquireErr := s.Acquire(context.Background(), 1, "test")
	if acquireErr == nil {
		var b store.Batch
		b.Set(key(1, "z"), []byte("new"))
		acquireErr = h.Begin(&b)()
	}
	dead := s.Dead()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		if err != nil {
			return "", fmt.Errorf("close: %w", err)
		}
	case <-time.After(30 * time.Second):
		return "", errors.New("close does not end")
	}
	switch {
	case dead != nil && !errors.Is(dead, store.ErrDamaged):
		return "", fmt.Errorf("dead: %w", dead)
	case dead != nil && acquireErr == nil:
		return "", errors.New("a dead store has taken a batch")
	case dead != nil:
		return "dead", nil
	case err != nil || acquireErr != nil:
		return "", fmt.Errorf("alive with errors: %w", errors.Join(err, acquireErr))
	}
	return "whole", nil
}

// failReads fails reading of tables from the nth operation on.
type failReads struct {
	from, seen atomic.Int64
	cause      error
}

func (f *failReads) String() string { return "failReads" }

func (f *failReads) MaybeError(op errorfs.Op) error {
	if !isTable(op.Path) || op.Kind != errorfs.OpFileReadAt && op.Kind != errorfs.OpOpen {
		return nil
	}
	from := f.from.Load()
	if from == 0 || f.seen.Add(1) <= from {
		return nil
	}
	if f.cause == syscall.EMFILE && (op.Kind != errorfs.OpOpen || f.seen.Load() > from+20) {
		return nil // others have given theirs back
	}
	return f.cause
}

func failRead(dir string, n int64, cause error) (outcome string, err error) {
	mem, err := memCopy(dir)
	if err != nil {
		return "", err
	}
	bad := &failReads{cause: cause}
	s, err := Open(harmedDir, Options{fs: errorfs.Wrap(mem, bad), MemtableBytes: 1 << 20, CacheBytes: 1 << 20, pause: time.Millisecond})
	if err != nil {
		return "", err
	}
	bad.from.Store(n + 1)
	outcome, err = compactAll(s)
	if err == nil && cause == syscall.EMFILE && outcome != "whole" {
		err = fmt.Errorf("a lack of files that passes: %s", outcome)
	}
	return outcome, err
}
