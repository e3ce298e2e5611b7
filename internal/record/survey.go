package record

import (
	"fmt"
	"maps"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Survey looks over all records of one partition, given to Add in key order, and
// says which can't be read and what doesn't add up. It keeps counts, not records.
type Survey struct {
	// Lossy: records are missing, deletions among them, so that what was deleted
	// may be there. Set before the first Add, it makes Stale tell; that takes
	// memory for each task that has ended or moved.
	// Counts that don't add up are no fault then.
	Lossy bool
	// Windows has Window know what idempotency keys hold. Set before the first Add.
	Windows bool

	Records [len(Classes)]int64 // by place in Classes
	Bytes   int64
	Offset  task.Millis // machine time less wall time, as the partition had it last
	Faults  []Finding   // the first faultsMax
	Faulty  int64       // all of them

	dec    Decoder
	queues map[queue.QueueNum]*tally
	chunks map[task.Seq]int32 // of large payloads: how many too many; a task's are counted down
	trail  trail
	until  map[task.Seq]task.Time
}

// Queue is what a partition holds of a queue. Running is among Waiting and
// Scheduled: those whose lease is on disk, as it is after a second.
type Queue struct {
	Num                         queue.QueueNum
	State                       *queue.QueueState // nil: its record is lost
	Waiting, Scheduled, Running int64
	Dead, Finished              int64
}

// Finding is one thing that is wrong. Key is nil when it isn't about one record.
type Finding struct {
	Key []byte
	Why string
}

const faultsMax = 100

type tally struct {
	state               *queue.QueueState
	births, timed, dead int64
	running, finished   int64
}

func (s *Survey) fault(key []byte, format string, args ...any) {
	s.Faulty++
	if len(s.Faults) < faultsMax {
		s.Faults = append(s.Faults, Finding{slices.Clone(key), fmt.Sprintf(format, args...)})
	}
}

func (s *Survey) queue(num queue.QueueNum) *tally {
	if s.queues == nil {
		s.queues = make(map[queue.QueueNum]*tally)
	}
	q := s.queues[num]
	if q == nil {
		q = &tally{}
		s.queues[num] = q
	}
	return q
}

// Add looks at the next record.
func (s *Survey) Add(key, value []byte) {
	s.Bytes += int64(len(key) + len(value))
	_, c, err := ClassOf(key)
	if err == nil {
		err = s.dec.Check(key, value)
	}
	if err != nil {
		s.fault(key, "%v", err)
		return
	}
	s.Records[slices.Index(Classes[:], c)]++
	switch c {
	case ClassMeta:
		var m queue.Meta
		if DecodeMeta(value, &m) == nil {
			s.Offset = m.Offset
		}
	case ClassQueue:
		var st queue.QueueState
		if DecodeQueue(key, value, &st) == nil {
			s.queue(st.Queue).state = &st
		}
	case ClassBirth, ClassTimed, ClassCalendar:
		pl, _ := ParsePlaceKey(key)
		q := s.queue(pl.Queue)
		if pl.Class.Timed() {
			q.timed++
		} else {
			q.births++
		}
		s.large(pl.Seq, -chunksOf(value))
		s.trail.live(s.Lossy, pl)
	default:
		s.addRest(c, key, value)
	}
}

// addRest is Add for what is not a queue's or a waiting task's.
func (s *Survey) addRest(c Class, key, value []byte) {
	switch c {
	case ClassChunk:
		born, _, _ := ParseChunkKey(key)
		s.large(born.Seq, 1)
	case ClassWhere:
		var w queue.Where
		if s.Lossy && DecodeWhere(key, value, &w) == nil {
			s.trail.where(&w)
		}
	case ClassIdem:
		var m queue.Idem
		if s.Windows && DecodeIdem(key, value, &m) == nil {
			if s.until == nil {
				s.until = make(map[task.Seq]task.Time)
			}
			s.until[m.ID.Seq] = m.Until
		}
	case ClassDead:
		s.queue(queueIn(key)).dead++
		s.large(seqAtEnd(key), -chunksOf(value))
		s.trail.died(s.Lossy, seqAtEnd(key))
	case ClassFinished:
		var f queue.Finished
		if s.dec.Finished(key, value, &f) == nil {
			s.queue(f.Place.Queue).finished++
			s.trail.finished(s.Lossy, f.Key.Seq)
		}
	case ClassClaim:
		var l queue.Claim
		if DecodeClaim(key, value, &l) == nil {
			s.queue(l.Place.Queue).running++
		}
	}
}

func (s *Survey) large(seq task.Seq, n int32) {
	if n == 0 {
		return
	}
	if s.chunks == nil {
		s.chunks = make(map[task.Seq]int32)
	}
	if s.chunks[seq] += n; s.chunks[seq] == 0 {
		delete(s.chunks, seq)
	}
}

// Finish says what doesn't add up over the whole partition.
func (s *Survey) Finish() {
	short := 0
	for _, n := range s.chunks {
		if n < 0 {
			short++
		}
	}
	if short > 0 {
		s.fault(nil, "%d payloads over %d bytes are not whole: their tasks can't be read", short, InlineMax)
	}
	for _, num := range slices.Sorted(maps.Keys(s.queues)) {
		q := s.queues[num]
		if q.state == nil {
			if q.births+q.timed+q.dead > 0 {
				s.fault(nil, "queue %d has %d tasks but no record of its own", num, q.births+q.timed+q.dead)
			}
			continue
		}
		if st := q.state; !s.Lossy && (st.Births != q.births || st.Timed != q.timed || st.Dead != q.dead) {
			s.fault(nil, "queue %q counts %d waiting, %d timed and %d dead tasks, but holds %d, %d and %d",
				st.Name, st.Births, st.Timed, st.Dead, q.births, q.timed, q.dead)
		}
	}
}

// Queues are what the partition holds, by number.
func (s *Survey) Queues() []Queue {
	var out []Queue
	for _, num := range slices.Sorted(maps.Keys(s.queues)) {
		q := s.queues[num]
		out = append(out, Queue{num, q.state, q.births, q.timed, q.running, q.dead, q.finished})
	}
	return out
}

// Window is how long the idempotency key of a task holds; 0 if that is not known.
func (s *Survey) Window(seq task.Seq) task.Time { return s.until[seq] }

// Stale says, after the last Add, of a live record or dead letter that it had been
// deleted: another record tells that its task has moved on or ended.
func (s *Survey) Stale(u *Unfinished) bool { return s.Lossy && s.trail.stale(u) }

// Count is how many records of the class were read.
func (s *Survey) Count(c Class) int64 { return s.Records[slices.Index(Classes[:], c)] }

// QueueNum is a queue's number, for those who read records and know no machine.
type QueueNum = queue.QueueNum

// QueueName is the name of a queue, "" if its record was not read.
func (s *Survey) QueueName(num queue.QueueNum) string {
	if q := s.queues[num]; q != nil && q.state != nil {
		return q.state.Name
	}
	return ""
}
