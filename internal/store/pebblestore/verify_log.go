package pebblestore

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/cockroachdb/pebble/v2/batchrepr"
	"github.com/cockroachdb/pebble/v2/record"
)

const (
	logBlock = 32 << 10 // no chunk crosses it
	logHead  = chunkHead + 4
)

// logFound is a write-ahead log that counts.
type logFound struct {
	name, path string
	bad        bool
	mended     []byte // of a bad one: a log with the batches that can be read
}

// checkLogs reads the write-ahead logs, batch by batch.
func (n *Inspection) checkLogs() {
	for i, l := range n.logs {
		n.Logs++
		var mended bytes.Buffer
		w := record.NewWriter(&mended)
		read, err := n.readLog(l, func(batch []byte) error {
			_, err := w.WriteRecord(batch)
			return err
		})
		if e := w.Close(); err == nil {
			err = e
		}
		if err == nil {
			continue
		}
		// The last log may end anywhere: what was not synced was promised to nobody.
		if i == len(n.logs)-1 && errors.Is(err, record.ErrUnexpectedEOF) && (n.Opens || read.after == 0) {
			continue
		}
		l.bad, l.mended = true, mended.Bytes()
		d := Damage{Kind: DamagedLog, Path: l.path, What: plain(err), LostBytes: -1, LostKeys: -1}
		if record.IsInvalidRecord(err) || errors.Is(err, record.ErrInvalidChunk) {
			d.What = fmt.Sprintf("it can't be read at byte %d of %d: wrong checksum", read.at, read.size)
		}
		if read.after > 0 {
			d.LostBytes = read.gaps
		}
		d.Saved = fmt.Sprintf("%d batches before the damage, %d behind it", read.before, read.after)
		if read.parts > 0 {
			d.Saved += fmt.Sprintf(", parts of %d", read.parts)
		}
		n.damage(d)
	}
}

// logRead is what can be read of a log.
type logRead struct {
	size, at      int64 // of the file, and of the first damage
	gaps          int64 // bytes between what can be read
	before, after int   // batches before and behind the first damage
	parts         int   // batches of which only the head can be read
}

// readLog gives each every batch of a log that can be read, those behind damage
// too. The error is that of the first damage.
func (n *Inspection) readLog(l *logFound, each func(batch []byte) error) (read logRead, err error) {
	defer recovered(&err)
	num, err := strconv.ParseUint(strings.TrimSuffix(l.name, ".log"), 10, 32)
	if err != nil {
		return read, fmt.Errorf("its name is no number: %w", err)
	}
	f, err := n.folder.fs.Open(l.path)
	if err != nil {
		return read, err
	}
	defer f.Close()
	b, err := io.ReadAll(f)
	read.size = int64(len(b))
	if err != nil {
		return read, err
	}
	var first error
	for from := 0; from < len(b); {
		end, err := read.stretch(b, num, from, first != nil, each)
		if err == nil {
			break
		}
		if first == nil {
			first, read.at = err, int64(end)
		}
		from = nextChunk(b, uint32(num), max(end, from)+1)
		if from < len(b) {
			read.gaps += int64(from - end)
		}
	}
	return read, first
}

// stretch reads batches from offset from on, where a chunk begins, until the next
// damage, and returns where the batch begins that is damaged.
func (read *logRead) stretch(b []byte, num uint64, from int, behind bool, each func([]byte) error) (end int, err error) {
	block := from &^ (logBlock - 1)
	r := logReader(record.NewReader, io.MultiReader(bytes.NewReader(padding(from-block)), bytes.NewReader(b[from:])), num)
	end = from
	for {
		rec, err := r.Next()
		if errors.Is(err, io.EOF) {
			return end, nil
		}
		var batch []byte
		if err == nil {
			batch, err = io.ReadAll(rec)
		}
		if err == nil && !whole(batch) {
			err = errors.New("a batch is cut short")
		}
		if err != nil {
			if head := headOf(batch); head != nil {
				if err := each(head); err != nil {
					return end, err
				}
				read.parts++
			}
			return end, err
		}
		if err := each(batch); err != nil {
			return end, err
		}
		if behind {
			read.after++
		} else {
			read.before++
		}
		end = block + int(r.Offset())
	}
}

// padding is a chunk of n bytes that a reader passes over: the middle of a record
// whose head it has not seen.
func padding(n int) []byte {
	if n < chunkHead {
		return nil
	}
	b := make([]byte, n)
	binary.LittleEndian.PutUint16(b[4:], uint16(n-chunkHead))
	b[6] = 3
	binary.LittleEndian.PutUint32(b, crcOf(b[6:]))
	return b
}

// nextChunk is where, from offset i on, the next whole chunk stands that begins a
// batch, or the end of b. The chunks of a log:
//
//	crc u32 · size u16 · kind u8 · log u32 · (kinds 9 and up) synced u64 · payload
func nextChunk(b []byte, num uint32, i int) int {
	for ; i+logHead <= len(b); i++ {
		kind, head := b[i+6], logHead
		if kind >= 9 {
			head += 8
		}
		if kind != 5 && kind != 6 && kind != 9 && kind != 10 || binary.LittleEndian.Uint32(b[i+7:]) != num {
			continue
		}
		end := i + head + int(binary.LittleEndian.Uint16(b[i+4:]))
		if end > len(b) || end > i&^(logBlock-1)+logBlock {
			continue
		}
		if crcOf(b[i+6:end]) == binary.LittleEndian.Uint32(b[i:]) {
			return i
		}
	}
	return len(b)
}

// whole says whether a batch can be read to its end.
func whole(batch []byte) bool {
	if _, ok := batchrepr.ReadHeader(batch); !ok {
		return false
	}
	if batchrepr.IsEmpty(batch) {
		return true
	}
	r := batchrepr.Read(batch)
	for {
		_, _, _, ok, err := r.Next()
		if err != nil {
			return false
		}
		if !ok {
			return true
		}
	}
}

// headOf is a batch of what a batch puts that is cut short; nil is none. What it
// deletes is left out: its place may be taken by something that was cut off.
func headOf(cut []byte) []byte {
	h, ok := batchrepr.ReadHeader(cut)
	if !ok || batchrepr.IsEmpty(cut) {
		return nil
	}
	out := bytes.Clone(cut[:batchrepr.HeaderLen])
	text := func(s []byte) { out = append(binary.AppendUvarint(out, uint64(len(s))), s...) }
	count := uint32(0)
	for r := batchrepr.Read(cut); count < h.Count; {
		kind, key, value, ok, err := r.Next()
		if err != nil || !ok {
			break
		}
		if isSet(kind) {
			count++
			out = append(out, byte(kind))
			text(key)
			text(value)
		}
	}
	batchrepr.SetCount(out, count)
	if count == 0 {
		return nil
	}
	return out
}

// logReader calls NewReader, the type of whose number has no name outside Pebble.
func logReader[N ~uint64](newReader func(io.Reader, N) *record.Reader, r io.Reader, num uint64) *record.Reader {
	return newReader(r, N(num))
}
