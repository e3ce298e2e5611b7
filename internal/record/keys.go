package record

import (
	"encoding/binary"
	"fmt"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Class is the third byte of a key: which kind of record it names. The order of
// classes is the order of puts in a batch.
type Class byte

// The classes, in key order.
const (
	ClassMeta     Class = 0x00
	ClassQueue    Class = 0x01
	ClassMark     Class = 0x03
	ClassBirth    Class = 0x10
	ClassChunk    Class = 0x11
	ClassTimed    Class = 0x20
	ClassExpiry   Class = 0x21
	ClassCalendar Class = 0x22
	ClassDeadline Class = 0x23
	ClassWhere    Class = 0x30
	ClassIdem     Class = 0x40
	ClassIdemDue  Class = 0x41
	ClassBrief    Class = 0x42
	ClassProducer Class = 0x50
	ClassSession  Class = 0x51
	ClassDead     Class = 0x60
	ClassFinished Class = 0x70
	ClassSegment  Class = 0x71
	ClassClaim    Class = 0x90
	ClassList     Class = 0x91
)

// Classes lists every class in key order.
var Classes = [...]Class{
	ClassMeta, ClassQueue, ClassMark, ClassBirth, ClassChunk, ClassTimed, ClassExpiry, ClassCalendar, ClassDeadline, ClassWhere,
	ClassIdem, ClassIdemDue, ClassBrief, ClassProducer, ClassSession, ClassDead, ClassFinished, ClassSegment, ClassClaim, ClassList,
}

// String names the class in errors.
func (c Class) String() string {
	switch c {
	case ClassMeta:
		return "meta"
	case ClassQueue:
		return "queue"
	case ClassMark:
		return "mark"
	case ClassBirth:
		return "birth"
	case ClassChunk:
		return "payload chunk"
	case ClassTimed:
		return "timed"
	case ClassExpiry:
		return "expiry"
	case ClassDeadline:
		return "deadline"
	case ClassCalendar:
		return "calendar"
	case ClassWhere:
		return "where"
	case ClassIdem:
		return "idempotency"
	case ClassIdemDue:
		return "idempotency index"
	case ClassBrief:
		return "brief idempotency"
	case ClassProducer:
		return "producer"
	case ClassSession:
		return "session"
	case ClassDead:
		return "dead letter"
	case ClassFinished:
		return "finished"
	case ClassSegment:
		return "segment"
	case ClassClaim:
		return "claim"
	case ClassList:
		return "dispatch list"
	}
	return fmt.Sprintf("class %#02x", byte(c))
}

// KeyMax is the length of the longest key: a producer's.
const KeyMax = 3 + 4 + task.NameMax

const (
	headLen  = 3 // partition, class
	laneLen  = headLen + 4 + 1 + 4
	birthLen = laneLen + 8
	timedLen = laneLen + 8 + 8
	chunkLen = headLen + 4 + 8 + 1 + 4 + 8 + 2
)

// AppendPrefix appends what every key of the class in partition p begins with.
func AppendPrefix(b []byte, p uint16, c Class) []byte {
	return append(b, byte(p>>8), byte(p), byte(c))
}

// AppendPrefixEnd appends the first key after all keys that begin with prefix.
func AppendPrefixEnd(b, prefix []byte) []byte {
	n := len(b)
	b = append(b, prefix...)
	for i := len(b) - 1; i >= n; i-- {
		b[i]++
		if b[i] != 0 {
			return b[:i+1]
		}
	}
	return b[:n] // all bytes were ff: there is no end
}

// AppendQueuePrefix appends what every key of a queue begins with, in the classes
// whose keys begin with a queue: mark, birth, chunk, timed, idempotency,
// producer, dead letter.
func AppendQueuePrefix(b []byte, p uint16, c Class, queueNum queue.QueueNum) []byte {
	return binary.BigEndian.AppendUint32(AppendPrefix(b, p, c), uint32(queueNum))
}

// queueIn is the number of the queue in a key that begins with one.
func queueIn(key []byte) queue.QueueNum {
	return queue.QueueNum(binary.BigEndian.Uint32(key[headLen:]))
}

// QueueOf is the queue in a key of one of these classes; false: it is too short.
func QueueOf(key []byte) (queue.QueueNum, bool) {
	if len(key) < headLen+4 {
		return 0, false
	}
	return queueIn(key), true
}

// AppendLanePrefix appends what every key of a lane at one priority begins with:
// ClassBirth, ClassTimed, ClassCalendar, ClassMark.
func AppendLanePrefix(b []byte, p uint16, c Class, queueNum queue.QueueNum, prio uint8, lane queue.LaneNum) []byte {
	b = append(AppendQueuePrefix(b, p, c, queueNum), task.PriorityMax-prio)
	return binary.BigEndian.AppendUint32(b, uint32(lane))
}

// AppendMetaKey appends the key of the partition's own record.
func AppendMetaKey(b []byte, p uint16) []byte { return AppendPrefix(b, p, ClassMeta) }

// AppendQueueKey appends a queue's key.
func AppendQueueKey(b []byte, p uint16, queueNum queue.QueueNum) []byte {
	return AppendQueuePrefix(b, p, ClassQueue, queueNum)
}

// AppendMarkKey appends the key of a lane's marks.
func AppendMarkKey(b []byte, p uint16, k queue.MarkKey) []byte {
	return AppendLanePrefix(b, p, ClassMark, k.Queue, k.Prio, k.Lane)
}

// LiveClass is the class of the keys under which tasks of c stand.
func LiveClass(c task.Class) Class {
	switch c {
	case task.ClassTimed:
		return ClassTimed
	case task.ClassCalendar:
		return ClassCalendar
	}
	return ClassBirth
}

// AppendPlaceKey appends the key of the live record that stands at pl.
func AppendPlaceKey(b []byte, p uint16, pl queue.Place) []byte {
	b = AppendLanePrefix(b, p, LiveClass(pl.Class), pl.Queue, pl.Prio, pl.Lane)
	if pl.Class.Timed() {
		b = binary.BigEndian.AppendUint64(b, uint64(pl.Due))
	}
	return binary.BigEndian.AppendUint64(b, uint64(pl.Seq))
}

// AppendChunkKey appends the key of the i-th chunk of a large payload, by the place
// where its task was born.
func AppendChunkKey(b []byte, p uint16, born queue.Place, i int) []byte {
	b = append(AppendChunkPrefix(b, p, born), byte(born.Class)<<4|(task.PriorityMax-born.Prio))
	b = binary.BigEndian.AppendUint32(b, uint32(born.Lane))
	b = binary.BigEndian.AppendUint64(b, uint64(born.Due))
	return binary.BigEndian.AppendUint16(b, uint16(i))
}

// AppendChunkPrefix appends what the keys of all chunks of one task begin with: its
// queue and sequence, which say it all.
func AppendChunkPrefix(b []byte, p uint16, born queue.Place) []byte {
	return binary.BigEndian.AppendUint64(AppendQueuePrefix(b, p, ClassChunk, born.Queue), uint64(born.Seq))
}

// ExpiryClass is the class of the index of waits, or of that of deadlines.
func ExpiryClass(wall bool) Class {
	if wall {
		return ClassDeadline
	}
	return ClassExpiry
}

// AppendExpiryKey appends the key of an entry of one of these.
func AppendExpiryKey(b []byte, p uint16, k queue.ExpiryKey) []byte {
	b = binary.BigEndian.AppendUint64(AppendPrefix(b, p, ExpiryClass(k.Wall)), uint64(k.At))
	return binary.BigEndian.AppendUint64(b, uint64(k.Seq))
}

// AppendWhereKey appends the key that tells where a moved task is.
func AppendWhereKey(b []byte, p uint16, seq task.Seq) []byte {
	return binary.BigEndian.AppendUint64(AppendPrefix(b, p, ClassWhere), uint64(seq))
}

// AppendIdemKey appends the key of an idempotency entry.
func AppendIdemKey(b []byte, p uint16, k queue.IdemKey) []byte {
	return binary.BigEndian.AppendUint64(AppendQueuePrefix(b, p, ClassIdem, k.Queue), k.Hash)
}

// AppendIdemDueKey appends the key of an entry of the index by which idempotency
// entries end.
func AppendIdemDueKey(b []byte, p uint16, k queue.IdemDueKey) []byte {
	b = binary.BigEndian.AppendUint64(AppendPrefix(b, p, ClassIdemDue), uint64(k.At))
	return binary.BigEndian.AppendUint64(b, uint64(k.Seq))
}

// AppendBriefKey appends the key of an idempotency entry with a short window.
func AppendBriefKey(b []byte, p uint16, k queue.IdemDueKey) []byte {
	b = binary.BigEndian.AppendUint64(AppendPrefix(b, p, ClassBrief), uint64(k.At))
	return binary.BigEndian.AppendUint64(b, uint64(k.Seq))
}

// AppendProducerKey appends the key of a producer session's state in one queue.
func AppendProducerKey(b []byte, p uint16, k queue.ProducerKey) []byte {
	return append(AppendQueuePrefix(b, p, ClassProducer, k.Queue), k.Producer...)
}

// AppendSessionKey appends the key of a worker session.
func AppendSessionKey(b []byte, p uint16, session string) []byte {
	return append(AppendPrefix(b, p, ClassSession), session...)
}

// AppendDeadKey appends the key of a dead letter.
func AppendDeadKey(b []byte, p uint16, k queue.DeadKey) []byte {
	b = binary.BigEndian.AppendUint64(AppendQueuePrefix(b, p, ClassDead, k.Queue), uint64(k.Finished))
	return binary.BigEndian.AppendUint64(b, uint64(k.Seq))
}

// AppendFinishedKey appends the key of a finished record.
func AppendFinishedKey(b []byte, p uint16, k queue.FinishedKey) []byte {
	b = binary.BigEndian.AppendUint32(AppendPrefix(b, p, ClassFinished), k.Segment)
	return binary.BigEndian.AppendUint64(b, uint64(k.Seq))
}

// AppendFinishedPrefix appends what the keys of all finished records of a
// segment begin with.
func AppendFinishedPrefix(b []byte, p uint16, segment uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendPrefix(b, p, ClassFinished), segment)
}

// AppendSegmentKey appends the key of a segment's own record.
func AppendSegmentKey(b []byte, p uint16, segment uint32) []byte {
	return binary.BigEndian.AppendUint32(AppendPrefix(b, p, ClassSegment), segment)
}

// AppendClaimKey appends the key of a durable claim.
func AppendClaimKey(b []byte, p uint16, seq task.Seq) []byte {
	return binary.BigEndian.AppendUint64(AppendPrefix(b, p, ClassClaim), uint64(seq))
}

// ClassOf tells the partition and class of a key.
func ClassOf(key []byte) (p uint16, c Class, err error) {
	if len(key) < headLen {
		return 0, 0, badKey(ClassMeta, key)
	}
	return binary.BigEndian.Uint16(key), Class(key[2]), nil
}

// ParsePlaceKey reads the key of a live record.
func ParsePlaceKey(key []byte) (queue.Place, error) {
	var pl queue.Place
	switch {
	case len(key) == birthLen && Class(key[2]) == ClassBirth:
		pl.Seq = task.Seq(binary.BigEndian.Uint64(key[laneLen:]))
	case len(key) == timedLen && (Class(key[2]) == ClassTimed || Class(key[2]) == ClassCalendar):
		pl.Class = task.ClassTimed
		if Class(key[2]) == ClassCalendar {
			pl.Class = task.ClassCalendar
		}
		pl.Due = task.Time(binary.BigEndian.Uint64(key[laneLen:]))
		pl.Seq = task.Seq(binary.BigEndian.Uint64(key[laneLen+8:]))
	default:
		return pl, badKey(ClassBirth, key)
	}
	if key[headLen+4] > task.PriorityMax || pl.Due < 0 {
		return queue.Place{}, badKey(Class(key[2]), key)
	}
	pl.Queue = queueIn(key)
	pl.Prio = task.PriorityMax - key[headLen+4]
	pl.Lane = queue.LaneNum(binary.BigEndian.Uint32(key[headLen+5:]))
	return pl, nil
}

// ParseChunkKey reads a chunk's key: the place of birth that it hangs on, and which
// chunk it is.
func ParseChunkKey(key []byte) (born queue.Place, i int, err error) {
	const seqAt, prioAt, laneAt, dueAt = headLen + 4, headLen + 12, headLen + 13, headLen + 17
	if len(key) != chunkLen || Class(key[2]) != ClassChunk || key[prioAt]&15 > task.PriorityMax || key[prioAt]>>4 > byte(task.ClassCalendar) || key[dueAt]&0x80 != 0 {
		return born, 0, badKey(ClassChunk, key)
	}
	born = queue.Place{
		Queue: queueIn(key),
		Class: task.Class(key[prioAt] >> 4),
		Prio:  task.PriorityMax - key[prioAt]&15,
		Lane:  queue.LaneNum(binary.BigEndian.Uint32(key[laneAt:])),
		Seq:   task.Seq(binary.BigEndian.Uint64(key[seqAt:])),
		Due:   task.Time(binary.BigEndian.Uint64(key[dueAt:])),
	}
	if born.Class.Timed() != (born.Due != 0) {
		return queue.Place{}, 0, badKey(ClassChunk, key)
	}
	return born, int(binary.BigEndian.Uint16(key[chunkLen-2:])), nil
}

// ParseQueueKey reads a queue's key.
func ParseQueueKey(key []byte) (queueNum queue.QueueNum, err error) {
	if !isKey(key, ClassQueue, 4) {
		return 0, badKey(ClassQueue, key)
	}
	return queueIn(key), nil
}

// ParseMarkKey reads the key of a lane's marks.
func ParseMarkKey(key []byte) (queue.MarkKey, error) {
	if !isKey(key, ClassMark, 9) || key[headLen+4] > task.PriorityMax {
		return queue.MarkKey{}, badKey(ClassMark, key)
	}
	return queue.MarkKey{Queue: queueIn(key), Prio: task.PriorityMax - key[headLen+4], Lane: queue.LaneNum(binary.BigEndian.Uint32(key[headLen+5:]))}, nil
}

// ParseExpiryKey reads the key of an entry of the index of waits, or of deadlines.
func ParseExpiryKey(key []byte) (queue.ExpiryKey, error) {
	wall := isKey(key, ClassDeadline, 16)
	if !wall && !isKey(key, ClassExpiry, 16) || key[headLen]&0x80 != 0 {
		return queue.ExpiryKey{}, badKey(ClassExpiry, key)
	}
	return queue.ExpiryKey{
		At:   task.Time(binary.BigEndian.Uint64(key[headLen:])),
		Seq:  task.Seq(binary.BigEndian.Uint64(key[headLen+8:])),
		Wall: wall,
	}, nil
}

// TimeOf reads the time in a key of an index by time: of waits, deadlines, idempotency entries.
func TimeOf(key []byte) (task.Time, error) {
	if _, c, _ := ClassOf(key); c == ClassIdemDue {
		k, err := ParseIdemDueKey(key)
		return k.At, err
	}
	k, err := ParseExpiryKey(key)
	return k.At, err
}

// ParseWhereKey reads the key that tells where a moved task is.
func ParseWhereKey(key []byte) (task.Seq, error) { return parseSeq(key, ClassWhere) }

// ParseClaimKey reads the key of a durable claim.
func ParseClaimKey(key []byte) (task.Seq, error) { return parseSeq(key, ClassClaim) }

// ParseIdemKey reads the key of an idempotency entry.
func ParseIdemKey(key []byte) (queue.IdemKey, error) {
	if !isKey(key, ClassIdem, 12) {
		return queue.IdemKey{}, badKey(ClassIdem, key)
	}
	return queue.IdemKey{Queue: queueIn(key), Hash: binary.BigEndian.Uint64(key[headLen+4:])}, nil
}

// ParseIdemDueKey reads the key of an entry of the index of idempotency entries.
func ParseIdemDueKey(key []byte) (queue.IdemDueKey, error) {
	if !isKey(key, ClassIdemDue, 16) || key[headLen]&0x80 != 0 {
		return queue.IdemDueKey{}, badKey(ClassIdemDue, key)
	}
	return queue.IdemDueKey{
		At:  task.Time(binary.BigEndian.Uint64(key[headLen:])),
		Seq: task.Seq(binary.BigEndian.Uint64(key[headLen+8:])),
	}, nil
}

// ParseProducerKey reads the key of a producer session's state.
func ParseProducerKey(key []byte) (queue.ProducerKey, error) {
	if len(key) < headLen+4 || Class(key[2]) != ClassProducer {
		return queue.ProducerKey{}, badKey(ClassProducer, key)
	}
	return queue.ProducerKey{Queue: queueIn(key), Producer: string(key[headLen+4:])}, nil
}

// ParseSessionKey reads the key of a worker session.
func ParseSessionKey(key []byte) (session string, err error) {
	if len(key) < headLen || Class(key[2]) != ClassSession {
		return "", badKey(ClassSession, key)
	}
	return string(key[headLen:]), nil
}

// ParseDeadKey reads the key of a dead letter.
func ParseDeadKey(key []byte) (queue.DeadKey, error) {
	if !isKey(key, ClassDead, 20) || key[headLen+4]&0x80 != 0 {
		return queue.DeadKey{}, badKey(ClassDead, key)
	}
	return queue.DeadKey{
		Queue:    queueIn(key),
		Finished: task.Time(binary.BigEndian.Uint64(key[headLen+4:])),
		Seq:      task.Seq(binary.BigEndian.Uint64(key[headLen+12:])),
	}, nil
}

// ParseFinishedKey reads the key of a finished record.
func ParseFinishedKey(key []byte) (queue.FinishedKey, error) {
	if !isKey(key, ClassFinished, 12) {
		return queue.FinishedKey{}, badKey(ClassFinished, key)
	}
	return queue.FinishedKey{Segment: binary.BigEndian.Uint32(key[headLen:]), Seq: task.Seq(binary.BigEndian.Uint64(key[headLen+4:]))}, nil
}

// ParseSegmentKey reads the key of a segment's own record.
func ParseSegmentKey(key []byte) (segment uint32, err error) {
	if !isKey(key, ClassSegment, 4) {
		return 0, badKey(ClassSegment, key)
	}
	return binary.BigEndian.Uint32(key[headLen:]), nil
}

func isKey(key []byte, c Class, rest int) bool {
	return len(key) == headLen+rest && Class(key[2]) == c
}

func parseSeq(key []byte, c Class) (task.Seq, error) {
	if !isKey(key, c, 8) {
		return 0, badKey(c, key)
	}
	return task.Seq(binary.BigEndian.Uint64(key[headLen:])), nil
}

// IDOf is the ID of a task born at pl.
func IDOf(p uint16, born queue.Place) task.ID {
	id := task.ID{Partition: p, Class: born.Class, Priority: born.Prio, Queue: uint32(born.Queue), Lane: uint32(born.Lane), Seq: born.Seq}
	if born.Class.Timed() {
		id.Due = born.Due
	}
	return id
}

// PlaceOf is where the task with this ID was born.
func PlaceOf(id task.ID) queue.Place {
	pl := queue.Place{Class: id.Class, Prio: id.Priority, Queue: queue.QueueNum(id.Queue), Lane: queue.LaneNum(id.Lane), Seq: id.Seq}
	if id.Class.Timed() {
		pl.Due = id.Due
	}
	return pl
}
