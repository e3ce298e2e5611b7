package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A live record, and a dead letter, is
//
//	version 1 · flags 1 · fields 2 · enqueued 6 · type · the fields named · body
//
// and a body, which moves from record to record as it is, is
//
//	fields 2 · the fields named · length of payload · payload
//
// The machine reads all but the body: what a task is (type, key, limit keys) stands
// before it, as lanes are made of it. A worker reads the body. What is to come
// (dependencies, retention class, changes of priority, an event's birthplace)
// gets bits of its own: a reader that doesn't know a bit refuses the record.
const (
	hasExpires uint16 = 1 << iota
	hasDeadline
	hasPolicy
	hasCounts
	hasBorn   // it no longer stands where it was born: the place of birth
	hasReason // dead letters
	hasSize   // dead letters: the bytes that the queue's count has for it
	hasAttempts
	hasKey
	hasLimits
	hasAfter // calendar: how long it may wait from when it is due
	hasTold  // the outcome that was last acknowledged, and its token

	liveKnown = 1<<iota - 1
)

const (
	bodyTags uint16 = 1 << iota
	bodyHeaders
	bodyContentType
	bodyIdem
	bodyLarge // the payload stands in chunks; only its length is here

	bodyKnown = 1<<iota - 1
)

const flagsKnown = queue.FlagMoved | queue.FlagLarge | queue.FlagIdem | queue.FlagExpiry | queue.FlagClaim | queue.FlagDeadline

// InlineMax is the largest payload that stands in its task's record; larger ones
// have queue.FlagLarge and stand in chunks of ChunkBytes.
const (
	InlineMax  = 4 << 10
	ChunkBytes = 64 << 10
)

// ChunkCount is how many chunks a large payload of n bytes fills.
func ChunkCount(n int) int { return (n + ChunkBytes - 1) / ChunkBytes }

// Chunk is the i-th chunk of a large payload: the value stored under its key, as
// it is.
func Chunk(payload []byte, i int) []byte {
	return payload[i*ChunkBytes : min(len(payload), (i+1)*ChunkBytes)]
}

// AppendBirth appends the record of a new task. With queue.FlagLarge the payload
// is left to its chunks.
func AppendBirth(b []byte, w *queue.Birth) []byte {
	s := w.Spec
	var has uint16
	if w.Expires != 0 {
		has |= hasExpires
	}
	if w.Deadline != 0 {
		has |= hasDeadline
	}
	if s.Policy != nil {
		has |= hasPolicy
	}
	if s.Key != "" {
		has |= hasKey
	}
	if len(s.LimitKeys) > 0 {
		has |= hasLimits
	}
	if w.Place.Class == task.ClassCalendar && s.ExpireAfter > 0 {
		has |= hasAfter
	}
	b = appendHead(b, w.Flags, has, w.Enqueued)
	b = appendString(b, s.Type)
	if has != 0 {
		if w.Expires != 0 {
			b = appendTime(b, w.Expires)
		}
		if w.Deadline != 0 {
			b = appendTime(b, w.Deadline)
		}
		if s.Policy != nil {
			b = appendPolicy(b, s.Policy)
		}
		if s.Key != "" {
			b = appendString(b, s.Key)
		}
		if len(s.LimitKeys) > 0 {
			b = appendStrings(b, s.LimitKeys)
		}
		if has&hasAfter != 0 {
			b = binary.AppendUvarint(b, uint64(s.ExpireAfter))
		}
	}
	return appendBody(b, s, w.Flags&queue.FlagLarge != 0)
}

func appendHead(b []byte, flags queue.Flags, has uint16, enqueued task.Time) []byte {
	b = append(b, version, byte(flags), byte(has>>8), byte(has))
	return appendTime(b, enqueued)
}

func appendBody(b []byte, s *task.Spec, large bool) []byte {
	if s.Tags == nil && s.Headers == nil && s.ContentType == "" && s.Idempotency == "" && !large {
		b = append(b, 0, 0)
		return appendBytes(b, s.Payload)
	}
	var has uint16
	at := len(b)
	b = append(b, 0, 0)
	if len(s.Tags) > 0 {
		has |= bodyTags
		b = appendStrings(b, s.Tags)
	}
	if len(s.Headers) > 0 {
		has |= bodyHeaders
		b = binary.AppendUvarint(b, uint64(len(s.Headers)))
		for i := range s.Headers {
			b = appendString(appendString(b, s.Headers[i].Name), s.Headers[i].Value)
		}
	}
	if s.ContentType != "" {
		has |= bodyContentType
		b = appendString(b, s.ContentType)
	}
	if s.Idempotency != "" {
		has |= bodyIdem
		b = appendString(b, s.Idempotency)
	}
	if large {
		has |= bodyLarge
		b = binary.AppendUvarint(b, uint64(len(s.Payload)))
	} else {
		b = appendBytes(b, s.Payload)
	}
	binary.BigEndian.PutUint16(b[at:], has)
	return b
}

func appendStrings(b []byte, ss []string) []byte {
	b = binary.AppendUvarint(b, uint64(len(ss)))
	for _, s := range ss {
		b = appendString(b, s)
	}
	return b
}

// view is a live record, a dead letter or what a finished record kept of one,
// with its parts still in bytes.
type view struct {
	flags    queue.Flags
	enqueued task.Time
	typ      []byte
	key      []byte
	limits   []byte // with their number, as written
	expires  task.Time
	deadline task.Time
	after    task.Millis
	policy   []byte
	counts   task.Counts
	born     queue.Place // without its Seq
	moved    bool        // born is set
	reason   []byte
	size     int
	attempts attempts
	last     *task.Attempt // an attempt that is told by other fields (finished records)
	told     queue.Told    // its token without what the key says
	body     []byte        // nil: none kept
}

func (v *view) parse(c Class, value []byte) error {
	r := open(value)
	v.flags = queue.Flags(r.bits8(byte(flagsKnown)))
	has := r.bits16(liveKnown)
	v.enqueued = r.time()
	v.typ = r.bytes()
	if has != 0 {
		v.parseFields(&r, has)
	}
	if r.bad {
		return r.close(c)
	}
	v.body = r.b
	return checkBody(&r, c)
}

// ends is the deadline that is still to be kept: a task that was brought back has
// left it behind.
func (v *view) ends() task.Time {
	if v.flags&queue.FlagDeadline == 0 {
		return 0
	}
	return v.deadline
}

func (v *view) parseFields(r *reader, has uint16) {
	if has&hasExpires != 0 {
		v.expires = r.time()
	}
	if has&hasDeadline != 0 {
		v.deadline = r.time()
	}
	if has&hasPolicy != 0 {
		v.policy = r.bytes()
	}
	if has&hasCounts != 0 {
		v.counts = readCounts(r)
	}
	if has&hasBorn != 0 {
		v.born, v.moved = readPlace(r), true
	}
	if has&hasReason != 0 {
		v.reason = r.bytes()
	}
	if has&hasSize != 0 {
		v.size = int(r.number(sizeMax))
	}
	if has&hasAttempts != 0 {
		v.attempts.read(r)
	}
	if has&hasKey != 0 {
		v.key = r.bytes()
	}
	if has&hasLimits != 0 {
		v.limits = readStrings(r)
	}
	if has&hasAfter != 0 {
		v.after = task.Millis(r.number(1 << 62))
	}
	if has&hasTold != 0 {
		v.told.Kind = task.OutcomeKind(r.bits8(byte(task.OutcomeRelease | task.OutcomeFail)))
		v.told.Token = readToken(r, 0, 0, 0)
	}
}

// readStrings reads a list of strings as it is written.
func readStrings(r *reader) []byte {
	all := r.b
	skipStrings(r, 1)
	return all[:len(all)-len(r.b)]
}

const sizeMax = 1 << 40

// checkBody walks over a body to its end; for the common shape that is one look.
func checkBody(r *reader, c Class) error {
	has := r.bits16(bodyKnown)
	if has&bodyTags != 0 {
		skipStrings(r, 1)
	}
	if has&bodyHeaders != 0 {
		skipStrings(r, 2)
	}
	if has&bodyContentType != 0 {
		r.bytes()
	}
	if has&bodyIdem != 0 {
		r.bytes()
	}
	if has&bodyLarge != 0 {
		r.number(largeMax)
	} else {
		r.bytes()
	}
	return r.close(c)
}

// largeMax bounds the length that a large payload may claim: as much as its
// chunks can be numbered for.
const largeMax = ChunkBytes << 16

func skipStrings(r *reader, each int) {
	for n := r.number(uint64(len(r.b))); n > 0; n-- {
		for range each {
			r.bytes()
		}
	}
}

// append writes v as a live record or a dead letter. extra is one more attempt,
// or nil.
func (v *view) append(b []byte, extra *task.Attempt) []byte {
	has := hasBorn
	if v.expires != 0 {
		has |= hasExpires
	}
	if v.deadline != 0 {
		has |= hasDeadline
	}
	if len(v.policy) > 0 {
		has |= hasPolicy
	}
	if v.counts != (task.Counts{}) {
		has |= hasCounts
	}
	if len(v.reason) > 0 {
		has |= hasReason
	}
	if v.size > 0 {
		has |= hasSize
	}
	if v.attempts.n > 0 || extra != nil || v.last != nil {
		has |= hasAttempts
	}
	if len(v.key) > 0 {
		has |= hasKey
	}
	if len(v.limits) > 0 {
		has |= hasLimits
	}
	if v.told.Set() {
		has |= hasTold
	}
	b = appendHead(b, v.flags, has, v.enqueued)
	b = appendBytes(b, v.typ)
	if has&hasExpires != 0 {
		b = appendTime(b, v.expires)
	}
	if has&hasDeadline != 0 {
		b = appendTime(b, v.deadline)
	}
	if has&hasPolicy != 0 {
		b = appendBytes(b, v.policy)
	}
	if has&hasCounts != 0 {
		b = appendCounts(b, v.counts)
	}
	b = appendPlace(b, v.born)
	if has&hasReason != 0 {
		b = appendBytes(b, v.reason)
	}
	if has&hasSize != 0 {
		b = binary.AppendUvarint(b, uint64(v.size))
	}
	if has&hasAttempts != 0 {
		b = v.attempts.append(b, v.last, extra)
	}
	if has&hasKey != 0 {
		b = appendBytes(b, v.key)
	}
	b = append(b, v.limits...)
	if has&hasTold != 0 {
		b = appendToken(append(b, byte(v.told.Kind)), &v.told.Token)
	}
	return append(b, v.body...)
}

// from reads the record that a change starts from.
func (v *view) from(c Class, src *queue.Source, old []byte) error {
	switch {
	case src.Finished.Seq != 0:
		var f finishedView
		if err := f.parse(old); err != nil {
			return err
		}
		*v = f.view()
		if v.body == nil {
			return &Error{Class: c, Why: "the finished record it comes from kept no body", Kind: ErrCorrupt}
		}
	case src.Dead.Queue != 0:
		if err := v.parse(ClassDead, old); err != nil {
			return err
		}
	default:
		if err := v.parse(LiveClass(src.Place.Class), old); err != nil {
			return err
		}
		if !v.moved {
			v.born, v.moved = src.Place, true
		}
	}
	if !v.moved {
		return &Error{Class: c, Why: "the record it comes from doesn't tell where it was born", Kind: ErrCorrupt}
	}
	return nil
}

// AppendTimed appends the record that t puts, made from old, the bytes of the
// record that t.From names.
func AppendTimed(b, old []byte, t *queue.Timed) ([]byte, error) {
	var v view
	if err := v.from(ClassTimed, &t.From, old); err != nil {
		return b, err
	}
	v.flags, v.counts, v.expires, v.reason, v.size, v.told = t.Flags, t.Counts, t.Expires, nil, 0, t.Told
	if t.Reset {
		v.attempts, v.last = attempts{}, nil
	}
	return v.append(b, t.Attempt), nil
}

// AppendDead appends the dead letter that d puts, made from old, the bytes of the
// record that d.From names.
func AppendDead(b, old []byte, d *queue.DeadLetter) ([]byte, error) {
	var v view
	if err := v.from(ClassDead, &d.From, old); err != nil {
		return b, err
	}
	v.flags, v.counts, v.reason, v.size, v.told = d.Flags, d.Counts, []byte(d.Reason), d.Size, d.Told
	return v.append(b, d.Attempt), nil
}

func appendCounts(b []byte, c task.Counts) []byte {
	b = binary.AppendUvarint(b, uint64(c.Failures))
	b = binary.AppendUvarint(b, uint64(c.Crashes))
	return binary.AppendUvarint(b, uint64(c.Releases))
}

func readCounts(r *reader) task.Counts {
	return task.Counts{Failures: uint32(r.number(1<<32 - 1)), Crashes: uint32(r.number(1<<32 - 1)), Releases: uint32(r.number(1<<32 - 1))}
}

// appendPlace writes all of a place but its Seq, which is the key's.
func appendPlace(b []byte, pl queue.Place) []byte {
	b = append(b, byte(pl.Class), pl.Prio)
	b = binary.BigEndian.AppendUint32(b, uint32(pl.Queue))
	b = binary.BigEndian.AppendUint32(b, uint32(pl.Lane))
	if pl.Class.Timed() {
		b = appendTime(b, pl.Due)
	}
	return b
}

func readPlace(r *reader) queue.Place {
	pl := queue.Place{Class: task.Class(r.u8()), Prio: r.u8(), Queue: queue.QueueNum(r.u32()), Lane: queue.LaneNum(r.u32())}
	if pl.Class.Timed() {
		pl.Due = r.time()
	}
	if pl.Prio > task.PriorityMax || pl.Class > task.ClassCalendar {
		r.fail()
	}
	return pl
}
