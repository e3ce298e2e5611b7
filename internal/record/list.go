package record

import (
	"encoding/binary"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What a dispatch list tells of one task. Most differ from the one before in their
// sequence alone: two bytes.
const (
	listLane     byte = 1 << iota // another queue, priority or lane
	listTimed                     // a timed place: its class and due
	listSession                   // another session
	listAttempt                   // not the first attempt
	listStarted                   // not begun when the list was written
	listLeaseEnd                  // a lease without a session: its end
	listDispatch                  // not the next dispatch
	listSlot                      // not the next slot

	listKnown = 1<<iota - 1
)

// AppendListKey appends the key of a dispatch list. It is written once.
func AppendListKey(b []byte, p uint16, k queue.ListKey) []byte {
	b = binary.BigEndian.AppendUint32(AppendPrefix(b, p, ClassList), k.Epoch)
	return binary.BigEndian.AppendUint32(b, k.No)
}

// ParseListKey reads the key of a dispatch list.
func ParseListKey(key []byte) (queue.ListKey, error) {
	if !isKey(key, ClassList, 8) {
		return queue.ListKey{}, badKey(ClassList, key)
	}
	return queue.ListKey{Epoch: binary.BigEndian.Uint32(key[headLen:]), No: binary.BigEndian.Uint32(key[headLen+4:])}, nil
}

// AppendList appends a dispatch list. Sessions are named where they first come.
func AppendList(b []byte, l *queue.List) []byte {
	b = binary.AppendUvarint(append(b, version, 0), uint64(l.Epoch)) // the 0 is a set of fields to come
	b = binary.BigEndian.AppendUint32(b, l.Nonce)
	b = appendTime(b, l.At)
	b = binary.AppendUvarint(b, uint64(len(l.Tasks)))
	var last queue.Dispatched
	var named sessionNumbers
	for i := range l.Tasks {
		d := &l.Tasks[i]
		var has byte
		if d.Place.Queue != last.Place.Queue || d.Place.Prio != last.Place.Prio || d.Place.Lane != last.Place.Lane {
			has |= listLane
		}
		if d.Place.Class.Timed() {
			has |= listTimed
		}
		if d.Session != last.Session {
			has |= listSession
		}
		if d.Attempt != 1 {
			has |= listAttempt
		}
		if d.Started != l.At {
			has |= listStarted
		}
		if d.LeaseEnd != 0 {
			has |= listLeaseEnd
		}
		if d.Dispatch != last.Dispatch+1 {
			has |= listDispatch
		}
		if d.Slot != last.Slot+1 {
			has |= listSlot
		}
		b = binary.AppendVarint(append(b, has), int64(d.Place.Seq-last.Place.Seq))
		if has == 0 {
			last.Place.Seq, last.Dispatch, last.Slot = d.Place.Seq, d.Dispatch, d.Slot
			continue
		}
		if has&listSession != 0 {
			b = named.append(b, d.Session)
		}
		b = appendDispatched(b, has, d, l.At)
		if has&listSlot != 0 {
			b = binary.AppendVarint(b, int64(d.Slot)-int64(last.Slot))
		}
		last = *d
	}
	return b
}

// sessionNumbers are the numbers of the sessions that a list names, counted from 1
// in the order in which they come. Most lists name one or two: they need no map.
type sessionNumbers struct {
	few  [4]string
	more map[string]uint64 // once few is full, of all
	last uint64
}

// append writes a session: its number, and its name the first time; 0 is none.
func (s *sessionNumbers) append(b []byte, session string) []byte {
	if session == "" {
		return append(b, 0)
	}
	if no := s.find(session); no != 0 {
		return binary.AppendUvarint(b, no)
	}
	s.add(session)
	return appendString(binary.AppendUvarint(b, s.last), session)
}

// find is the number of a session, 0 if it has none yet.
func (s *sessionNumbers) find(session string) uint64 {
	if s.more != nil {
		return s.more[session]
	}
	return uint64(slices.Index(s.few[:s.last], session) + 1)
}

func (s *sessionNumbers) add(session string) {
	s.last++
	switch {
	case s.last <= uint64(len(s.few)):
		s.few[s.last-1] = session
		return
	case s.more == nil:
		s.more = make(map[string]uint64)
		for i, name := range s.few {
			s.more[name] = uint64(i + 1)
		}
	}
	s.more[session] = s.last
}

func appendDispatched(b []byte, has byte, d *queue.Dispatched, at task.Time) []byte {
	if has&listLane != 0 {
		b = append(binary.AppendUvarint(b, uint64(d.Place.Queue)), d.Place.Prio)
		b = binary.BigEndian.AppendUint32(b, uint32(d.Place.Lane))
	}
	if has&listTimed != 0 {
		b = binary.AppendVarint(append(b, byte(d.Place.Class)), int64(at-d.Place.Due))
	}
	if has&listAttempt != 0 {
		b = binary.AppendUvarint(b, uint64(d.Attempt))
	}
	if has&listStarted != 0 {
		b = binary.AppendVarint(b, int64(at-d.Started))
	}
	if has&listLeaseEnd != 0 {
		b = binary.AppendVarint(b, int64(d.LeaseEnd-at))
	}
	if has&listDispatch != 0 {
		b = binary.AppendUvarint(b, uint64(d.Dispatch))
	}
	return b
}

// DecodeList reads a dispatch list.
func DecodeList(key, value []byte, l *queue.List) error {
	k, err := ParseListKey(key)
	if err != nil {
		return err
	}
	r := open(value)
	r.bits8(0)
	*l = queue.List{Key: k, Epoch: readU32(&r), Nonce: r.u32(), At: r.time()}
	l.Tasks = make([]queue.Dispatched, r.number(uint64(len(r.b))/2))
	var last queue.Dispatched
	var names []string
	for i := range l.Tasks {
		has := r.bits8(listKnown)
		last.Place.Seq += task.Seq(r.varint())
		if has&listSession != 0 {
			last.Session, names = readNamed(&r, names)
		}
		readDispatched(&r, has, &last, l.At)
		l.Tasks[i] = last
	}
	return r.close(ClassList)
}

func readNamed(r *reader, names []string) (string, []string) {
	no := r.number(uint64(len(names) + 1))
	switch {
	case no == 0:
		return "", names
	case no <= uint64(len(names)):
		return names[no-1], names
	}
	names = append(names, r.text())
	return names[no-1], names
}

// readDispatched reads into d, which holds the task before.
func readDispatched(r *reader, has byte, d *queue.Dispatched, at task.Time) {
	if has&listLane != 0 {
		d.Place.Queue, d.Place.Prio, d.Place.Lane = queue.QueueNum(readU32(r)), r.u8(), queue.LaneNum(r.u32())
		if d.Place.Prio > task.PriorityMax {
			r.fail()
		}
	}
	d.Place.Class, d.Place.Due = task.ClassBirth, 0
	if has&listTimed != 0 {
		d.Place.Class, d.Place.Due = task.Class(r.u8()), at-task.Time(r.varint())
		if d.Place.Class != task.ClassTimed && d.Place.Class != task.ClassCalendar {
			r.fail()
		}
	}
	d.Attempt, d.Started, d.LeaseEnd = 1, at, 0
	d.Dispatch++
	slot := int64(d.Slot) + 1
	if has&listAttempt != 0 {
		d.Attempt = uint16(r.number(1<<16 - 1))
	}
	if has&listStarted != 0 {
		d.Started = at - task.Time(r.varint())
	}
	if has&listLeaseEnd != 0 {
		d.LeaseEnd = at + task.Time(r.varint())
	}
	if has&listDispatch != 0 {
		d.Dispatch = readU32(r)
	}
	if has&listSlot != 0 {
		slot += r.varint() - 1
	}
	d.Slot = queue.Slot(slot)
	if int64(d.Slot) != slot || d.Place.Due < 0 || d.Started < 0 || d.LeaseEnd < 0 {
		r.fail()
	}
}
