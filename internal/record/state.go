package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// AppendMeta appends the partition's own record.
func AppendMeta(b []byte, m *queue.Meta) []byte {
	b = append(b, version, bit(m.Clean)|bit(m.Sweep)<<1|bit(m.Boot != 0)<<2)
	b = appendTime(appendTime(b, m.Now), m.LastOpen)
	b = binary.AppendVarint(b, int64(m.Offset))
	b = binary.AppendUvarint(b, uint64(max(0, m.UncleanOpens)))
	b = binary.AppendUvarint(b, uint64(m.NextQueue))
	b = binary.AppendUvarint(b, uint64(m.NextSegment))
	b = binary.AppendUvarint(b, uint64(m.NextLoad))
	if m.Boot != 0 {
		b = binary.AppendVarint(binary.AppendUvarint(b, m.Boot), int64(m.Base))
	}
	return b
}

// DecodeMeta reads what AppendMeta wrote.
func DecodeMeta(value []byte, m *queue.Meta) error {
	r := open(value)
	flags := r.bits8(7)
	m.Clean, m.Sweep = flags&1 != 0, flags&2 != 0
	m.Now, m.LastOpen = r.time(), r.time()
	m.Offset = task.Millis(r.varint())
	m.UncleanOpens = int(r.number(1 << 30))
	m.NextQueue, m.NextSegment, m.NextLoad = queue.QueueNum(readU32(&r)), readU32(&r), readU32(&r)
	if m.Boot, m.Base = 0, 0; flags&4 != 0 {
		m.Boot, m.Base = r.uvarint(), task.Millis(r.varint())
	}
	return r.close(ClassMeta)
}

const (
	queuePaused byte = 1 << iota
	queueConfig
	queueEarlier
	queueSweep
	queueUsed
	queueSet

	queueKnown = 1<<iota - 1
)

// AppendQueue appends a queue's record: settings and exact counts.
func AppendQueue(b []byte, q *queue.QueueState) []byte {
	var has byte
	if q.Paused {
		has |= queuePaused
	}
	if q.Config != (task.QueueConfig{}) {
		has |= queueConfig
	}
	if len(q.Earlier) > 0 {
		has |= queueEarlier
	}
	if q.Sweep {
		has |= queueSweep
	}
	if q.Used != 0 {
		has |= queueUsed
	}
	if q.Set {
		has |= queueSet
	}
	b = appendString(append(b, version, has), q.Name)
	for _, n := range [...]int64{q.Births, q.Timed, q.Dead, q.DeadBytes, q.Enqueued, q.Succeeded, q.DeadTotal, q.Canceled, q.Expired, q.IdemBytes, int64(q.NextLane)} {
		b = binary.AppendVarint(b, n)
	}
	if has&queueConfig != 0 {
		b = appendConfig(b, &q.Config)
	}
	if has&queueEarlier != 0 {
		b = binary.AppendUvarint(b, uint64(len(q.Earlier)))
		for _, w := range q.Earlier {
			b = appendTime(binary.AppendUvarint(b, uint64(w.Width)), w.Until)
		}
	}
	if q.Used != 0 {
		b = appendTime(b, q.Used)
	}
	return b
}

// DecodeQueue reads a queue's record.
func DecodeQueue(key, value []byte, q *queue.QueueState) error {
	num, err := ParseQueueKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	has := r.bits8(queueKnown)
	*q = queue.QueueState{Queue: num, Paused: has&queuePaused != 0, Sweep: has&queueSweep != 0, Set: has&queueSet != 0, Name: r.text()}
	var nextLane int64
	for _, n := range [...]*int64{&q.Births, &q.Timed, &q.Dead, &q.DeadBytes, &q.Enqueued, &q.Succeeded, &q.DeadTotal, &q.Canceled, &q.Expired, &q.IdemBytes, &nextLane} {
		*n = r.varint()
	}
	q.NextLane = queue.LaneNum(nextLane)
	if has&queueConfig != 0 {
		readConfig(&r, &q.Config)
	}
	if has&queueEarlier != 0 {
		q.Earlier = make([]task.EarlierWidth, r.number(1<<8))
		for i := range q.Earlier {
			q.Earlier[i] = task.EarlierWidth{Width: int(r.number(1<<15 - 1)), Until: r.time()}
		}
	}
	if has&queueUsed != 0 {
		q.Used = r.time()
	}
	if err := r.close(ClassQueue); err != nil {
		return err
	}
	policy := task.Policy{MaxAttempts: q.Config.MaxAttempts, Timeout: q.Config.Timeout, Backoff: q.Config.Backoff}
	if e := policy.Sound(); e != nil { // the machine counts on what Sound promises
		return &Error{Class: ClassQueue, Why: e.Text, Kind: ErrCorrupt}
	}
	return nil
}

const (
	configAttempts uint16 = 1 << iota
	configTimeout
	configBackoff
	configRetention
	configHistory
	configUnserved
	configClaims
	configWidth

	configKnown = 1<<iota - 1
)

func appendConfig(b []byte, c *task.QueueConfig) []byte {
	var has uint16
	at := len(b)
	b = append(b, 0, 0)
	number := func(bit uint16, n int64) {
		if n != 0 {
			has |= bit
			b = binary.AppendVarint(b, n)
		}
	}
	number(configAttempts, int64(c.MaxAttempts))
	number(configTimeout, int64(c.Timeout))
	if c.Backoff != nil {
		has |= configBackoff
		b = appendBackoff(b, c.Backoff)
	}
	number(configRetention, int64(c.Retention))
	number(configHistory, int64(c.History))
	number(configUnserved, int64(c.Unserved))
	number(configClaims, int64(c.Claims))
	number(configWidth, int64(c.Width))
	binary.BigEndian.PutUint16(b[at:], has)
	return b
}

func readConfig(r *reader, c *task.QueueConfig) {
	has := r.bits16(configKnown)
	number := func(bit uint16) int64 {
		if has&bit != 0 {
			return r.varint()
		}
		return 0
	}
	if has&configAttempts != 0 {
		c.MaxAttempts = readInt32(r)
	}
	c.Timeout = task.Millis(number(configTimeout))
	if has&configBackoff != 0 {
		c.Backoff = readBackoff(r)
	}
	c.Retention = task.Millis(number(configRetention))
	history := number(configHistory)
	c.Unserved = task.Millis(number(configUnserved))
	claims := number(configClaims)
	width := number(configWidth)
	switch {
	case history > int64(task.HistoryNone) || claims > int64(task.ClaimsDurable):
		r.fail()
		r.high = true
	case history < 0 || claims < 0 || width < 0 || width > 1<<15:
		r.fail()
	default:
		c.History, c.Claims, c.Width = task.HistoryMode(history), task.ClaimsMode(claims), int(width)
	}
}

// AppendMark appends a lane's marks.
func AppendMark(b []byte, m *queue.Mark) []byte {
	b = append(b, version)
	b = binary.BigEndian.AppendUint64(b, uint64(m.Low))
	return binary.BigEndian.AppendUint64(b, uint64(m.TimedLow))
}

// DecodeMark reads a lane's marks.
func DecodeMark(key, value []byte, m *queue.Mark) error {
	k, err := ParseMarkKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	*m = queue.Mark{MarkKey: k, Low: task.Seq(r.u64()), TimedLow: task.Time(r.u64())}
	return r.close(ClassMark)
}

// AppendSegment appends a segment's own record.
func AppendSegment(b []byte, s *queue.Segment) []byte {
	b = binary.AppendVarint(append(b, version), int64(s.Retention))
	b = binary.BigEndian.AppendUint64(b, uint64(s.Low))
	b = binary.BigEndian.AppendUint64(b, uint64(s.High))
	b = binary.AppendVarint(binary.AppendVarint(b, s.Count), s.Bytes)
	return appendTime(appendTime(b, s.Opened), s.Closed)
}

// DecodeSegment reads a segment's own record.
func DecodeSegment(key, value []byte, s *queue.Segment) error {
	num, err := ParseSegmentKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	*s = queue.Segment{
		Segment: num, Retention: task.Millis(r.varint()), Low: task.Seq(r.u64()), High: task.Seq(r.u64()),
		Count: r.varint(), Bytes: r.varint(), Opened: r.time(), Closed: r.time(),
	}
	return r.close(ClassSegment)
}

// AppendSession appends an open worker session.
func AppendSession(b []byte, s *queue.SessionState) []byte {
	var fields byte
	if s.AwayUntil != 0 {
		fields |= sessionAway
	}
	b = appendString(append(b, version, fields), s.Worker)
	b = binary.AppendUvarint(b, uint64(max(0, s.Concurrency)))
	b = binary.AppendVarint(b, int64(s.TTL))
	if s.AwayUntil != 0 {
		b = appendTime(b, s.AwayUntil)
	}
	return b
}

const sessionAway = 1 // a start found it away: until when it is waited for

// DecodeSession reads an open worker session.
func DecodeSession(key, value []byte, s *queue.SessionState) error {
	name, err := ParseSessionKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	fields := r.bits8(sessionAway)
	*s = queue.SessionState{Session: name, Worker: r.text(), Concurrency: int(r.number(1 << 30)), TTL: task.Millis(r.varint())}
	if fields&sessionAway != 0 {
		s.AwayUntil = r.time()
	}
	return r.close(ClassSession)
}

// AppendProducer appends a producer session's state in one queue.
func AppendProducer(b []byte, s *queue.ProducerState) []byte {
	b = binary.AppendUvarint(append(b, version, producerDeltas|bit(s.Evicted)), s.Below)
	b = appendTime(b, s.Seen)
	return appendRanges(b, s.Ranges)
}

// Flags of a producer session's record.
const (
	producerEvicted = 1 << iota
	producerDeltas  // each range tells how it differs from the one before; at first each told all of its ID
)

// DecodeProducer reads a producer session's state in one queue.
func DecodeProducer(key, value []byte, s *queue.ProducerState) error {
	k, err := ParseProducerKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	flags := r.bits8(producerEvicted | producerDeltas)
	*s = queue.ProducerState{ProducerKey: k, Evicted: flags&producerEvicted != 0, Below: r.uvarint(), Seen: r.time()}
	if flags&producerDeltas != 0 {
		s.Ranges = readRanges(&r)
		return r.close(ClassProducer)
	}
	if n := r.number(uint64(len(r.b)) / 3); n > 0 {
		s.Ranges = make([]queue.NumberRange, n)
		for i := range s.Ranges {
			s.Ranges[i] = queue.NumberRange{First: r.uvarint(), N: readU32(&r), ID: readID(&r)}
		}
	}
	return r.close(ClassProducer)
}

func bit(b bool) byte {
	if b {
		return 1
	}
	return 0
}

func readU32(r *reader) uint32 { return uint32(r.number(1<<32 - 1)) }

func appendID(b []byte, id task.ID) []byte {
	at := len(b)
	b = id.AppendBinary(append(b, 0))
	b[at] = byte(len(b) - at - 1)
	return b
}

func readID(r *reader) task.ID {
	id, ok := task.IDFromBinary(r.bytes())
	if !ok {
		r.fail()
	}
	return id
}
