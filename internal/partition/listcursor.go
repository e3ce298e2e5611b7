package partition

import (
	"bytes"
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// stage is one kind of place that a listing looks at. Within each the newest come
// first.
type stage uint8

const (
	stageMemory   stage = iota // running and blocked tasks: all are in memory
	stageBirths                // ready since birth, by sequence
	stageTimed                 // scheduled ones and retries, by time
	stageCalendar              // those that are to run at a moment, by that
	stageDead                  // by the time they died
	stageFinished              // by segment, then sequence
	stageEnd
)

// class is where the stage's records are; running tasks are named by sequence, as
// births are.
func (s stage) class() record.Class {
	return [...]record.Class{record.ClassBirth, record.ClassBirth, record.ClassTimed, record.ClassCalendar, record.ClassDead, record.ClassFinished}[s]
}

// tasks is the class of the live tasks that the stage is about.
func (s stage) tasks() task.Class {
	return [stageDead]task.Class{task.ClassBirth, task.ClassBirth, task.ClassTimed, task.ClassCalendar}[s]
}

// cursor is where a listing goes on. It only ever moves on: to lower ranks, then
// to lower lanes, then to the next stage.
type cursor struct {
	stage stage
	// The lanes at work: those from bottom up to top, by what stands behind the
	// class in their keys. nil = all that there are on that side. So many are
	// merged at once as listLanesMax says.
	bottom, top []byte
	// Of these lanes what is below rank is left. nil = nothing was listed of them
	// yet, and how far down they reach is still to be found.
	rank []byte
	// What is kept of the listing is found by it, as long as it is kept. 0 = none is.
	id uint64
}

// below is what all ranks that are left are below.
func (c *cursor) below() record.Rank {
	if c.rank == nil {
		return record.RankMax
	}
	return record.ParseRank(c.stage.class(), c.rank)
}

func (c *cursor) bytes() []byte {
	b := make([]byte, 0, 12+len(c.rank)+len(c.top)+len(c.bottom))
	b = append(b, byte(c.stage))
	for _, part := range [...][]byte{c.rank, c.top, c.bottom} {
		b = append(append(b, byte(len(part))), part...)
	}
	return binary.AppendUvarint(b, c.id)
}

// parseCursor reads what bytes wrote; empty = the beginning.
func parseCursor(b []byte) (c cursor, ok bool) {
	if len(b) == 0 {
		return cursor{}, true
	}
	if c.stage = stage(b[0]); c.stage >= stageEnd {
		return cursor{}, false
	}
	b = b[1:]
	for _, part := range [...]*[]byte{&c.rank, &c.top, &c.bottom} {
		if len(b) == 0 || len(b) < 1+int(b[0]) {
			return cursor{}, false
		}
		if n := 1 + int(b[0]); n > 1 {
			*part = bytes.Clone(b[1:n])
		}
		b = b[1+len(*part):]
	}
	id, n := binary.Uvarint(b)
	c.id = id
	ok = n > 0 && n == len(b) &&
		(c.rank == nil || len(c.rank) == record.RankLen(c.stage.class())) &&
		(c.bottom == nil || c.rank != nil && (c.top == nil || bytes.Compare(c.bottom, c.top) < 0))
	return c, ok
}

// next is the cursor behind the lanes at work.
func (c *cursor) next() cursor {
	if c.bottom != nil {
		return cursor{stage: c.stage, top: c.bottom, id: c.id}
	}
	return cursor{stage: c.stage + 1, id: c.id}
}
