package record

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Survey looks over all records of one partition, given to Add in key order, and
// says which can't be read and what doesn't add up. It keeps counts, not records.
type Survey struct {
	Records [len(Classes)]int64 // by place in Classes
	Bytes   int64
	Faults  []Finding // the first faultsMax
	Faulty  int64     // all of them

	dec    Decoder
	queues map[uint32]*tally
	lanes  map[laneName]bool // true: registered
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
}

type laneName struct{ queue, lane uint32 }

func (s *Survey) fault(key []byte, format string, args ...any) {
	s.Faulty++
	if len(s.Faults) < faultsMax {
		s.Faults = append(s.Faults, Finding{slices.Clone(key), fmt.Sprintf(format, args...)})
	}
}

func (s *Survey) queue(num uint32) *tally {
	if s.queues == nil {
		s.queues, s.lanes = make(map[uint32]*tally), make(map[laneName]bool)
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
	case ClassQueue:
		var st queue.QueueState
		if DecodeQueue(key, value, &st) == nil {
			s.queue(st.Queue).state = &st
		}
	case ClassType:
		num, lane, _ := ParseTypeKey(key)
		s.queue(num)
		s.lanes[laneName{num, lane}] = true
	case ClassBirth, ClassTimed:
		pl, _ := ParsePlaceKey(key)
		q := s.queue(pl.Queue)
		if pl.Class == task.ClassTimed {
			q.timed++
		} else {
			q.births++
		}
		if l := (laneName{pl.Queue, pl.Lane}); !s.lanes[l] {
			s.lanes[l] = true // say it once
			s.fault(key, "the type of lane %d of queue %d is not known: its tasks can't be dispatched", l.lane, l.queue)
		}
	case ClassDead:
		s.queue(binary.BigEndian.Uint32(key[headLen:])).dead++
	}
}

// Finish says what doesn't add up over the whole partition.
func (s *Survey) Finish() {
	nums := make([]uint32, 0, len(s.queues))
	for num := range s.queues {
		nums = append(nums, num)
	}
	slices.SortFunc(nums, cmp.Compare[uint32])
	for _, num := range nums {
		q := s.queues[num]
		if q.state == nil {
			if q.births+q.timed+q.dead > 0 {
				s.fault(nil, "queue %d has %d tasks but no record of its own", num, q.births+q.timed+q.dead)
			}
			continue
		}
		if st := q.state; st.Births != q.births || st.Timed != q.timed || st.Dead != q.dead {
			s.fault(nil, "queue %q counts %d waiting, %d timed and %d dead tasks, but holds %d, %d and %d",
				st.Name, st.Births, st.Timed, st.Dead, q.births, q.timed, q.dead)
		}
	}
}

// Count is how many records of the class were read.
func (s *Survey) Count(c Class) int64 { return s.Records[slices.Index(Classes[:], c)] }
