package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// readWhole reads what Pebble would not miss, and begins the mark anew.
func (f *folder) readWhole(o *pebble.Options) (*syncMark, error) {
	if f.fresh {
		return newSyncMark(f.fs, f.dir, 0, nil)
	}
	if err := checkManifest(f.fs, f.dbDir()); err != nil {
		return nil, err
	}
	turn, files, err := checkSynced(f)
	if err != nil {
		return nil, err
	}
	if err := f.checkOptions(o); err != nil {
		return nil, err
	}
	return newSyncMark(f.fs, f.dir, turn, files)
}

// checkSynced reads what the mark vouches for, and returns the mark without what
// nobody needs any more. Pebble would take damage at the end of the last log for
// a torn end, a log that is gone for one that never was, and a manifest cut at a
// record for one that ends there.
func checkSynced(f *folder) (turn uint64, files []syncedFile, err error) {
	turn, files, err = readSynced(f.fs, f.path(syncedName))
	if err != nil || len(files) == 0 {
		return turn, files, err
	}
	desc, err := pebble.Peek(f.dbDir(), f.fs)
	if err != nil {
		return 0, nil, fmt.Errorf("find the manifest: %w", err)
	}
	_, current := syncedKind(f.fs.PathBase(desc.ManifestFilename))
	manifest := syncedFile{kind: kindManifest, number: current}
	newest := uint64(0)
	for _, s := range files {
		if s.kind == kindManifest && s.number == current {
			manifest = s
		} else if s.kind == kindManifest {
			newest = max(newest, s.number)
		}
	}
	if manifest.bytes == 0 && newest > current {
		return 0, nil, fmt.Errorf("%w: the manifest %s is an old one, %s%06d was in use: %s", ErrCorrupt, desc.ManifestFilename, manifestPrefix, newest, f.remedy(kindManifest))
	}
	if err := f.checkSyncedFile(manifest); err != nil {
		return 0, nil, err
	}
	first, err := firstLog(f.fs, desc.ManifestFilename)
	if err != nil {
		return 0, nil, err
	}
	files = slices.DeleteFunc(files, func(s syncedFile) bool {
		return s.bytes == 0 || s.kind == kindManifest && s.number != current || s.kind == kindLog && s.number < first
	})
	for _, s := range files {
		if s.kind == kindLog {
			if err := f.checkSyncedFile(s); err != nil {
				return 0, nil, err
			}
		}
	}
	return turn, files, nil
}

func (s syncedFile) name() string {
	if s.kind == kindManifest {
		return fmt.Sprintf("%s%06d", manifestPrefix, s.number)
	}
	return fmt.Sprintf("%06d.log", s.number)
}

func (s syncedFile) noun() string {
	if s.kind == kindManifest {
		return "manifest"
	}
	return "log"
}

// remedy ends an error on a file that holds less than was synced. Without a part
// of the manifest Pebble would delete tables: there is no going on.
func (f *folder) remedy(kind fileKind) string {
	const text = "acknowledged tasks would be missing; restore the folder from a backup"
	if kind == kindManifest {
		return text
	}
	return fmt.Sprintf("%s, or, to start with what is left, keep a copy of it and remove %s", text, f.path(syncedName))
}

// checkSyncedFile reads a file up to where it was synced.
func (f *folder) checkSyncedFile(s syncedFile) error {
	path := f.fs.PathJoin(f.dbDir(), s.name())
	file, err := f.fs.Open(path)
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: the %s %s is gone, %d bytes of it were synced: %s", ErrCorrupt, s.noun(), path, s.bytes, f.remedy(s.kind))
	}
	if err != nil {
		return fmt.Errorf("open %s: %w", s.noun(), err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return fmt.Errorf("read %s: %w", s.noun(), err)
	}
	if info.Size() < s.bytes {
		return fmt.Errorf("%w: the %s %s has %d bytes, %d were synced: %s", ErrCorrupt, s.noun(), path, info.Size(), s.bytes, f.remedy(s.kind))
	}
	at, err := intact(file, s)
	if err != nil {
		return fmt.Errorf("read %s %s: %w", s.noun(), path, err)
	}
	if at < s.bytes {
		return fmt.Errorf("%w: the %s %s can't be read at byte %d, and was synced up to %d: %s", ErrCorrupt, s.noun(), path, at, s.bytes, f.remedy(s.kind))
	}
	return nil
}

// checkOptions reads what Pebble wrote of its options, which it would refuse
// without naming the file.
func (f *folder) checkOptions(o *pebble.Options) error {
	desc, err := pebble.Peek(f.dbDir(), f.fs)
	if err != nil || desc.OptionsFilename == "" {
		return err
	}
	file, err := f.fs.Open(desc.OptionsFilename)
	if err != nil {
		return fmt.Errorf("open options: %w", err)
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, optionsMax))
	if err != nil {
		return fmt.Errorf("read options: %w", err)
	}
	o = o.Clone()
	o.EnsureDefaults()
	if err := o.CheckCompatibility(f.dbDir(), string(b)); err != nil {
		return fmt.Errorf("%w: %s can't be read (%v); it holds no tasks: remove it, and the next start makes it anew", ErrCorrupt, desc.OptionsFilename, err)
	}
	return nil
}

const optionsMax = 1 << 20

// What Pebble (v2.1.7) says of tables that are not as the manifest has them.
var (
	tableGone = regexp.MustCompile(`file (\d+) \(type sstable\) unknown to the objstorage provider`)
	tableSize = regexp.MustCompile(`object size mismatch \((.+?)\): (\d+) \(disk\) != (\d+) \(MANIFEST\)`)
)

// lostTables says it with the name of the first one; nil: err is of another kind.
func (f *folder) lostTables(err error) error {
	text := err.Error()
	gone, size := tableGone.FindAllStringSubmatch(text, -1), tableSize.FindAllStringSubmatch(text, -1)
	var what string
	switch {
	case len(gone) > 0:
		what = fmt.Sprintf("the table %s is gone", f.fs.PathJoin(f.dbDir(), gone[0][1]+".sst"))
	case len(size) > 0:
		what = fmt.Sprintf("the table %s has %s bytes instead of %s", size[0][1], size[0][2], size[0][3])
	default:
		return nil
	}
	if more := len(gone) + len(size) - 1; more > 0 {
		what += fmt.Sprintf(" (and %d more are damaged)", more)
	}
	return fmt.Errorf("%w: %s: acknowledged tasks would be missing; restore the folder from a backup", ErrCorrupt, what)
}

// Logs and manifests are blocks of chunks; one head by kind:
//
//	1–4    crc u32 · size u16 · kind u8                               manifest
//	5–8    crc u32 · size u16 · kind u8 · log u32                     log
//	9–12   crc u32 · size u16 · kind u8 · log u32 · synced u64        log
//
// The crc is of all behind the size. What is left of a block and too short for a
// head is zeros. A closed log ends with a head of kind 5 without a crc, and the
// log's number plus one.
const (
	blockBytes    = 32 << 10
	chunkHeadLog  = 11
	chunkHeadSync = 19
	chunkKindLog  = 5
	chunkKindSync = 9
	chunkKindEnd  = 12
)

// intact reads a file chunk by chunk, and returns where the first one stands that
// is not as it was written, or s.bytes if all are.
func intact(r io.Reader, s syncedFile) (int64, error) {
	block := make([]byte, blockBytes)
	for at := int64(0); at < s.bytes; at += blockBytes {
		b := block[:min(blockBytes, s.bytes-at)]
		if _, err := io.ReadFull(r, b); err != nil {
			return at, err
		}
		i := 0
		for i < len(b) {
			n := chunk(b[i:], at+int64(len(b)) == s.bytes, blockBytes-i, s)
			if n == 0 {
				return at + int64(i), nil
			}
			i += n
		}
	}
	return s.bytes, nil
}

// chunk returns the length of the chunk, or of the rest of the block, at the
// start of b; 0: it is neither. left is what the block has room for, last says
// that nothing follows b.
func chunk(b []byte, last bool, left int, s syncedFile) int {
	padding := len(b) == left && left < chunkHeadSync && !slices.ContainsFunc(b, func(c byte) bool { return c != 0 })
	if padding {
		return len(b)
	}
	if len(b) < chunkHead {
		return 0
	}
	kind, head := b[6], chunkHead
	switch {
	case s.kind == kindManifest && kind >= 1 && kind <= chunkKindMax:
	case s.kind == kindLog && kind >= chunkKindSync && kind <= chunkKindEnd:
		head = chunkHeadSync
	case s.kind == kindLog && kind >= chunkKindLog && kind < chunkKindSync:
		head = chunkHeadLog
	default:
		return 0
	}
	end := head + int(binary.LittleEndian.Uint16(b[4:]))
	if len(b) < end {
		return 0
	}
	crc := binary.LittleEndian.Uint32(b)
	if s.kind == kindLog {
		number := binary.LittleEndian.Uint32(b[chunkHead:])
		if number == uint32(s.number)+1 && crc == 0 && end == chunkHeadLog && len(b) == end && last {
			return end
		}
		if number != uint32(s.number) {
			return 0
		}
	}
	if crcOf(b[6:end]) != crc {
		return 0
	}
	return end
}

// A record of the manifest begins with these, if it has them.
const (
	tagComparer = 1
	tagFirstLog = 2
)

// firstLog is the number of the first log that is needed: what is in those before
// it is in tables.
func firstLog(fs vfs.FS, path string) (first uint64, err error) {
	f, err := fs.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open manifest: %w", err)
	}
	defer f.Close()
	for r := record.NewReader(f, 0); ; {
		rec, err := r.Next()
		var b []byte
		if err == nil {
			b, err = io.ReadAll(rec)
		}
		if errors.Is(err, io.EOF) || record.IsInvalidRecord(err) || errors.Is(err, record.ErrInvalidChunk) {
			return first, nil
		}
		if err != nil {
			return 0, fmt.Errorf("read manifest: %w", err)
		}
		if n, ok := firstLogOf(b); ok {
			first = n
		}
	}
}

func firstLogOf(b []byte) (number uint64, ok bool) {
	tag, n := binary.Uvarint(b)
	b = b[max(n, 0):]
	if tag == tagComparer {
		size, n := binary.Uvarint(b)
		if n <= 0 || size > uint64(len(b)-n) {
			return 0, false
		}
		b = b[n+int(size):]
		tag, n = binary.Uvarint(b)
		b = b[max(n, 0):]
	}
	if tag != tagFirstLog {
		return 0, false
	}
	number, n = binary.Uvarint(b)
	return number, n > 0
}
