package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	whereDead byte = 1 << iota

	whereKnown = 1<<iota - 1
)

// AppendWhere appends the record that tells where a moved task is.
func AppendWhere(b []byte, w *queue.Where) []byte {
	if w.Dead.Queue != 0 {
		b = binary.BigEndian.AppendUint32(append(b, version, whereDead), uint32(w.Dead.Queue))
		return appendTime(b, w.Dead.Finished)
	}
	return appendPlace(append(b, version, 0), w.Place)
}

// DecodeWhere reads where a moved task is.
func DecodeWhere(key, value []byte, w *queue.Where) error {
	seq, err := ParseWhereKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	*w = queue.Where{Seq: seq}
	if r.bits8(whereKnown)&whereDead != 0 {
		w.Dead = queue.DeadKey{Queue: queue.QueueNum(r.u32()), Finished: r.time(), Seq: seq}
		if w.Dead.Queue == 0 {
			r.fail()
		}
	} else {
		w.Place = readPlace(&r)
		w.Place.Seq = seq
	}
	return r.close(ClassWhere)
}

// AppendExpiry appends an entry of the expiry index.
func AppendExpiry(b []byte, e *queue.Expiry) []byte { return appendID(append(b, version), e.ID) }

// DecodeExpiry reads an entry of the expiry index.
func DecodeExpiry(key, value []byte, e *queue.Expiry) error {
	k, err := ParseExpiryKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	*e = queue.Expiry{Key: k, ID: readID(&r)}
	return r.close(ClassExpiry)
}

// AppendIdem appends an idempotency entry.
func AppendIdem(b []byte, m *queue.Idem) []byte {
	var fields byte
	if m.Due != m.Until {
		fields |= idemLater
	}
	b = appendID(append(b, version, fields), m.ID)
	b = binary.BigEndian.AppendUint64(b, m.Payload)
	b = appendString(appendTime(b, m.Until), m.Name)
	if m.Due != m.Until {
		b = appendTime(b, m.Due)
	}
	return b
}

const idemLater = 1 // it is looked at later than its window ends

// DecodeIdem reads an idempotency entry.
func DecodeIdem(key, value []byte, m *queue.Idem) error {
	k, err := ParseIdemKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	fields := r.bits8(idemLater)
	*m = queue.Idem{Key: k, ID: readID(&r), Payload: r.u64(), Until: r.time(), Name: r.text()}
	m.Due = m.Until
	if fields&idemLater != 0 {
		m.Due = r.time()
	}
	return r.close(ClassIdem)
}

// AppendIdemDue appends an entry of the index by which idempotency entries end.
func AppendIdemDue(b []byte, x *queue.IdemDue) []byte {
	b = appendID(append(b, version), x.ID)
	b = binary.BigEndian.AppendUint32(b, uint32(x.Idem.Queue))
	b = binary.BigEndian.AppendUint64(b, x.Idem.Hash)
	return binary.AppendUvarint(b, uint64(x.NameBytes))
}

// DecodeIdemDue reads an entry of that index.
func DecodeIdemDue(key, value []byte, x *queue.IdemDue) error {
	k, err := ParseIdemDueKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	*x = queue.IdemDue{Key: k, ID: readID(&r), Idem: queue.IdemKey{Queue: queue.QueueNum(r.u32()), Hash: r.u64()}, NameBytes: int(r.number(task.IdempotencyMax))}
	return r.close(ClassIdemDue)
}

// AppendBrief appends an idempotency entry whose key says when it ends.
func AppendBrief(b []byte, m *queue.Idem) []byte {
	b = appendID(append(b, version), m.ID)
	return appendString(binary.BigEndian.AppendUint64(b, m.Payload), m.Name)
}

// DecodeBrief reads such an entry.
func DecodeBrief(key, value []byte, m *queue.Idem) error {
	if !isKey(key, ClassBrief, 16) || key[headLen]&0x80 != 0 {
		return badKey(ClassBrief, key)
	}
	r := open(value)
	*m = queue.Idem{ID: readID(&r), Payload: r.u64(), Name: r.text(), Until: task.Time(binary.BigEndian.Uint64(key[headLen:]))}
	m.Due, m.Key = m.Until, queue.IdemKeyOf(queue.QueueNum(m.ID.Queue), m.Name)
	if uint64(m.ID.Seq) != binary.BigEndian.Uint64(key[headLen+8:]) {
		r.fail()
	}
	return r.close(ClassBrief)
}

// AppendClaim appends a durable lease.
func AppendClaim(b []byte, c *queue.Claim) []byte {
	var fields byte
	if c.LeaseEnd != 0 {
		fields |= claimLeaseEnd
	}
	if c.Concurrency > 0 {
		fields |= claimConcurrency
	}
	b = appendPlace(append(b, version, fields), c.Place)
	b = appendTime(appendToken(b, &c.Token), c.Started)
	b = appendString(appendString(b, c.Session), c.Worker)
	if c.LeaseEnd != 0 {
		b = appendTime(b, c.LeaseEnd)
	}
	if c.Concurrency > 0 {
		b = binary.AppendUvarint(b, uint64(c.Concurrency))
	}
	return b
}

const (
	claimLeaseEnd    = 1 // a unary lease's claim has its end,
	claimConcurrency = 2 // a session's how many tasks its worker runs at once
)

// DecodeClaim reads a durable lease.
func DecodeClaim(key, value []byte, c *queue.Claim) error {
	seq, err := ParseClaimKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	fields := r.bits8(claimLeaseEnd | claimConcurrency)
	*c = queue.Claim{Seq: seq, Place: readPlace(&r)}
	c.Place.Seq = seq
	c.Token = readToken(&r, binary.BigEndian.Uint16(key), c.Place.Queue, seq)
	c.Started, c.Session, c.Worker = r.time(), r.text(), r.text()
	if fields&claimLeaseEnd != 0 {
		c.LeaseEnd = r.time()
	}
	if fields&claimConcurrency != 0 {
		c.Concurrency = int(r.number(1 << 30))
	}
	return r.close(ClassClaim)
}

// Check reads any record of any class, for those who look over a whole store.
// Chunks have no form of their own.
func (d *Decoder) Check(key, value []byte) error {
	_, c, err := ClassOf(key)
	if err != nil {
		return err
	}
	switch c {
	case ClassMeta:
		if len(key) != headLen {
			return badKey(c, key)
		}
		return DecodeMeta(value, new(queue.Meta))
	case ClassQueue:
		return DecodeQueue(key, value, new(queue.QueueState))
	case ClassMark:
		return DecodeMark(key, value, new(queue.Mark))
	case ClassBirth, ClassTimed, ClassCalendar:
		return d.checkLive(key, value)
	case ClassChunk:
		_, _, err := ParseChunkKey(key)
		return err
	case ClassExpiry, ClassDeadline:
		return DecodeExpiry(key, value, new(queue.Expiry))
	case ClassWhere:
		return DecodeWhere(key, value, new(queue.Where))
	case ClassIdem:
		return DecodeIdem(key, value, new(queue.Idem))
	case ClassIdemDue:
		return DecodeIdemDue(key, value, new(queue.IdemDue))
	case ClassBrief:
		return DecodeBrief(key, value, new(queue.Idem))
	case ClassProducer:
		return DecodeProducer(key, value, new(queue.ProducerState))
	case ClassSession:
		return DecodeSession(key, value, new(queue.SessionState))
	case ClassDead:
		_, err := d.DeadInfo(key, value, new(task.Info))
		return err
	case ClassFinished:
		_, err := d.FinishedInfo(key, value, new(task.Info))
		return err
	case ClassSegment:
		return DecodeSegment(key, value, new(queue.Segment))
	case ClassClaim:
		return DecodeClaim(key, value, new(queue.Claim))
	case ClassList:
		return DecodeList(key, value, new(queue.List))
	}
	return &Error{Class: c, Key: true, Kind: ErrNewer}
}

func (d *Decoder) checkLive(key, value []byte) error {
	if err := d.Named(key, value, new(queue.Waiting)); err != nil {
		return err
	}
	pl, err := ParsePlaceKey(key)
	if err != nil {
		return err
	}
	_, err = d.LiveInfo(binary.BigEndian.Uint16(key), pl, value, new(task.Info))
	return err
}
