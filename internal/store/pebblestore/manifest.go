package pebblestore

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/record"
	"github.com/cockroachdb/pebble/v2/vfs"
)

// checkManifest reads the list of tables before Pebble does, because Pebble
// (v2.1.7) takes the first record of it that can't be read for its end. If that
// was damage, and not the torn end that a power cut leaves, it would forget the
// tables that follow, and delete them.
//
// It is the end when nothing that was once whole can be at or behind it.
func checkManifest(fs vfs.FS, dbDir string) error {
	desc, err := pebble.Peek(dbDir, fs)
	if err != nil {
		return fmt.Errorf("find the manifest: %w", err)
	}
	if !desc.Exists {
		return fmt.Errorf("%w: %s has no marker.manifest file, which names the manifest that counts: restore the folder from a backup", ErrCorrupt, dbDir)
	}
	if desc.FormatMajorVersion == pebble.FormatDefault {
		return fmt.Errorf("%w: %s has no marker.format-version file: restore the folder from a backup", ErrCorrupt, dbDir)
	}
	path := desc.ManifestFilename
	f, err := fs.Open(path)
	if err != nil {
		return fmt.Errorf("open manifest: %w", err)
	}
	defer f.Close()
	r := record.NewReader(f, 0)
	for {
		at := r.Offset()
		rec, err := r.Next()
		if err == nil {
			_, err = io.Copy(io.Discard, rec)
		}
		switch {
		case err == nil:
		case errors.Is(err, io.EOF):
			return nil
		case record.IsInvalidRecord(err) || errors.Is(err, record.ErrInvalidChunk):
			return checkTail(f, path, at)
		default:
			return fmt.Errorf("read manifest: %w", err)
		}
	}
}

// The chunks of a manifest: crc u32 · size u16 · kind u8 · payload.
const (
	chunkHead    = 7
	chunkKindMax = 4
	sectorBytes  = 512
)

// checkTail looks at what stands at and behind offset at, where the first record
// begins that can't be read.
func checkTail(f vfs.File, path string, at int64) error {
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("read manifest: %w", err)
	}
	b := make([]byte, info.Size()-at)
	if _, err := f.ReadAt(b, at); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read manifest: %w", err)
	}
	if len(b) >= chunkHead {
		// A last record that is as long as it says, or whose checksum is right but
		// for its length, was once whole.
		exact := chunkHead+int(binary.LittleEndian.Uint16(b[4:])) == len(b)
		if exact && written(b, int(at%sectorBytes)) || crcOf(b[6:]) == binary.LittleEndian.Uint32(b) {
			return fmt.Errorf("%w: the last record of the manifest %s (at %d) is damaged", ErrCorrupt, path, at)
		}
	}
	for i := 1; i+chunkHead <= len(b); i++ {
		size := int(binary.LittleEndian.Uint16(b[i+4:]))
		end := i + chunkHead + size
		if kind := b[i+6]; kind == 0 || kind > chunkKindMax || size == 0 || end > len(b) {
			continue
		}
		if crcOf(b[i+6:end]) == binary.LittleEndian.Uint32(b[i:]) {
			return fmt.Errorf("%w: the manifest %s can't be read at %d, and goes on at %d", ErrCorrupt, path, at, at+int64(i))
		}
	}
	return nil
}

// written says whether something is in each sector of b, which begins off into
// its first: what a power cut kept from the disk reads as zeros.
func written(b []byte, off int) bool {
	for len(b) > 0 {
		n := min(sectorBytes-off, len(b))
		zero := true
		for _, c := range b[:n] {
			zero = zero && c == 0
		}
		if zero {
			return false
		}
		b, off = b[n:], 0
	}
	return true
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func crcOf(b []byte) uint32 {
	c := crc32.Checksum(b, castagnoli)
	return (c>>15 | c<<17) + 0xa282ead8
}
