package pebblestore

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/wal"
)

// syncMark says how far each log and manifest is durable, in the file SYNCED. A
// log alone can't: where it can't be read it may have been torn by a power cut
// before anybody was told of it, or have lost what was acknowledged since.
//
//	log is synced ──▶ mark is written, not synced ──▶ who waits is told
//
// After a kill the mark is what it was. After a power cut it may be older, never
// newer than the files: it is never wrong, it may only vouch for less.
//
// Two slots are written in turn, so that a torn write leaves the other one. Their
// bytes are laid down when the store is opened: a full disk does not matter.
type syncMark struct {
	fs   vfs.FS
	path string

	mu    sync.Mutex
	f     vfs.File // nil: closed
	turn  uint64
	files []syncedFile
	buf   []byte
}

// syncedFile is durable up to a byte offset.
type syncedFile struct {
	kind   fileKind
	number uint64
	bytes  int64
}

type fileKind byte

const (
	kindOther    fileKind = 0
	kindLog      fileKind = 'L'
	kindManifest fileKind = 'M'
)

// A slot: "penstock synced 1\n" · count u16 · turn u64 · count × (kind u8, number
// u64, bytes u64) · crc u32 of all before it.
const (
	syncedName     = "SYNCED"
	syncedNew      = "SYNCED.new"
	syncedLine     = "penstock synced 1\n"
	syncedWords    = "penstock synced "
	syncedHead     = len(syncedLine) + 2 + 8
	syncedEntry    = 1 + 8 + 8
	syncedSlot     = 4096
	syncedSlots    = 2
	syncedFilesMax = 64 // a folder has ten; of more the oldest are left out, which Pebble itself reads strictly
	manifestPrefix = "MANIFEST-"
)

// syncedKind tells logs and manifests from other files by their name.
func syncedKind(name string) (fileKind, uint64) {
	if n, index, ok := wal.ParseLogFilename(name); ok && index == 0 {
		return kindLog, uint64(n)
	}
	if s, ok := strings.CutPrefix(name, manifestPrefix); ok {
		if n, err := strconv.ParseUint(s, 10, 64); err == nil {
			return kindManifest, n
		}
	}
	return kindOther, 0
}

func appendSlot(b []byte, turn uint64, files []syncedFile) []byte {
	b = append(b, syncedLine...)
	b = binary.LittleEndian.AppendUint16(b, uint16(len(files)))
	b = binary.LittleEndian.AppendUint64(b, turn)
	for _, f := range files {
		b = append(b, byte(f.kind))
		b = binary.LittleEndian.AppendUint64(b, f.number)
		b = binary.LittleEndian.AppendUint64(b, uint64(f.bytes))
	}
	return binary.LittleEndian.AppendUint32(b, crcOf(b))
}

// parseSlot reads a slot, of which b may hold less or more; false: it is damaged
// or was never written.
func parseSlot(b []byte) (turn uint64, files []syncedFile, ok bool) {
	if len(b) < syncedHead || string(b[:len(syncedLine)]) != syncedLine {
		return 0, nil, false
	}
	n := int(binary.LittleEndian.Uint16(b[len(syncedLine):]))
	end := syncedHead + n*syncedEntry
	if n > syncedFilesMax || len(b) < end+4 || crcOf(b[:end]) != binary.LittleEndian.Uint32(b[end:]) {
		return 0, nil, false
	}
	turn = binary.LittleEndian.Uint64(b[syncedHead-8:])
	for b := b[syncedHead:end]; len(b) > 0; b = b[syncedEntry:] {
		files = append(files, syncedFile{fileKind(b[0]), binary.LittleEndian.Uint64(b[1:]), int64(binary.LittleEndian.Uint64(b[9:]))})
	}
	return turn, files, true
}

// readSynced reads the mark of a folder. A folder without one is older than marks
// are: nothing is vouched for.
func readSynced(fs vfs.FS, path string) (turn uint64, files []syncedFile, err error) {
	f, err := fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil, nil
	}
	if err != nil {
		return 0, nil, fmt.Errorf("open %s: %w", path, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, syncedSlot*syncedSlots))
	if err != nil {
		return 0, nil, fmt.Errorf("read %s: %w", path, err)
	}
	found, other := false, ""
	for at := 0; at < len(b); at += syncedSlot {
		slot := b[at:min(at+syncedSlot, len(b))]
		if t, fs, ok := parseSlot(slot); ok {
			if !found || t > turn {
				turn, files, found = t, fs, true
			}
			continue
		}
		if line, _, ok := bytes.Cut(slot[:min(formatMax, len(slot))], []byte("\n")); ok && bytes.HasPrefix(line, []byte(syncedWords)) && string(line)+"\n" != syncedLine {
			other = string(line)
		}
	}
	switch {
	case found:
		return turn, files, nil
	case other != "":
		return 0, nil, fmt.Errorf("%s says %q, this penstock reads %q: use the penstock release that wrote it", path, other, strings.TrimSpace(syncedLine))
	}
	return 0, nil, fmt.Errorf("%w: %s can't be read; it says how far the logs were synced, and holds no tasks itself: restore it with the folder from a backup, or remove it to start without the proof that no acknowledged task is missing", ErrCorrupt, path)
}

// newSyncMark lays down the file anew, with files in it.
func newSyncMark(fs vfs.FS, dir string, turn uint64, files []syncedFile) (*syncMark, error) {
	m := &syncMark{fs: fs, path: fs.PathJoin(dir, syncedName), turn: turn, files: files}
	if err := m.lay(dir); err != nil {
		return nil, fmt.Errorf("make %s: %w", m.path, err)
	}
	return m, nil
}

func (m *syncMark) lay(dir string) error {
	temp := m.fs.PathJoin(dir, syncedNew)
	f, err := m.fs.Create(temp, vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	b := make([]byte, syncedSlot*syncedSlots)
	for i := range syncedSlots {
		m.turn++
		copy(b[i*syncedSlot:], appendSlot(nil, m.turn, m.files))
	}
	_, err = f.Write(b)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := m.fs.Rename(temp, m.path); err != nil {
		return err
	}
	if err := syncDir(m.fs, dir); err != nil {
		return err
	}
	m.f, err = m.fs.OpenReadWrite(m.path, vfs.WriteCategoryUnspecified)
	return err
}

// write puts the mark into the slot whose turn it is. mu is held.
func (m *syncMark) write() error {
	if m.f == nil {
		return nil
	}
	m.turn++
	m.buf = appendSlot(m.buf[:0], m.turn, m.files)
	if _, err := m.f.WriteAt(m.buf, int64(m.turn%syncedSlots)*syncedSlot); err != nil {
		return fmt.Errorf("write %s: %w", m.path, err)
	}
	return nil
}

func (m *syncMark) find(kind fileKind, number uint64) int {
	return slices.IndexFunc(m.files, func(f syncedFile) bool { return f.kind == kind && f.number == number })
}

// raise says that a file is durable up to bytes.
func (m *syncMark) raise(kind fileKind, number uint64, bytes int64) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	i := m.find(kind, number)
	if i < 0 || m.files[i].bytes >= bytes {
		return nil
	}
	old := m.files[i].bytes
	m.files[i].bytes = bytes
	err := m.write()
	if err != nil {
		m.files[i].bytes = old
	}
	return err
}

// begin takes in a file that is about to be made.
func (m *syncMark) begin(kind fileKind, number uint64) error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(kind, number)
	if len(m.files) == syncedFilesMax {
		oldest := slices.MinFunc(m.files, func(a, b syncedFile) int { // 'L' is below 'M'
			return cmp.Or(cmp.Compare(a.kind, b.kind), cmp.Compare(a.number, b.number))
		})
		m.remove(oldest.kind, oldest.number)
	}
	m.files = append(m.files, syncedFile{kind: kind, number: number})
	return m.write()
}

// sync makes what has been said so far outlast a power cut.
func (m *syncMark) sync() error {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f == nil {
		return nil
	}
	if err := m.f.SyncData(); err != nil {
		return fmt.Errorf("sync %s: %w", m.path, err)
	}
	return nil
}

// forget is called when a file is removed: nothing needs it.
func (m *syncMark) forget(kind fileKind, number uint64) {
	if m == nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	m.remove(kind, number)
}

func (m *syncMark) remove(kind fileKind, number uint64) {
	if i := m.find(kind, number); i >= 0 {
		m.files = slices.Delete(m.files, i, i+1)
	}
}

// close makes the mark durable, if all that was to be written was.
func (m *syncMark) close(whole bool) (err error) {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.f == nil {
		return nil
	}
	if whole {
		err = m.write()
		err = errors.Join(err, m.f.Sync())
	}
	err = errors.Join(err, m.f.Close())
	m.f = nil
	return err
}
