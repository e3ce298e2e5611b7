package record

import (
	"encoding/binary"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// Unfinished is a task that has not ended, or a dead letter, as it would be
// enqueued anew. Names of queues stand in records of their own.
type Unfinished struct {
	ID       task.ID
	Queue    queue.QueueNum
	Lane     queue.LaneNum
	Class    task.Class // of where it stands
	State    task.State // Scheduled, Ready or Dead
	Spec     task.Spec  // RunAt is when it becomes ready; Payload aliases the value
	Large    int        // length of a payload that stands in chunks; 0: it is in Spec
	Enqueued task.Time
	Expires  task.Time // when it will have waited too long; 0 is never
	Counts   task.Counts
	Reason   string // of a dead letter
}

// Unfinished reads a live record or a dead letter.
func (d *Decoder) Unfinished(key, value []byte, u *Unfinished) error {
	p, c, err := ClassOf(key)
	if err != nil {
		return err
	}
	*u = Unfinished{State: task.Ready}
	var v view
	var pl queue.Place
	if c == ClassDead {
		if _, v, err = parseDead(key, value); err != nil {
			return err
		}
		pl, u.State = v.born, task.Dead
		pl.Class, pl.Due = task.ClassBirth, 0
	} else {
		if pl, err = ParsePlaceKey(key); err != nil {
			return err
		}
		if err := v.parse(c, value); err != nil {
			return err
		}
		if !v.moved {
			v.born = pl
		}
		v.born.Seq = pl.Seq
	}
	u.ID, u.Queue, u.Lane = IDOf(p, v.born), pl.Queue, pl.Lane
	u.Enqueued, u.Counts, u.Reason = v.enqueued, v.counts, string(v.reason)
	u.Spec = task.Spec{Priority: pl.Prio}
	if c != ClassDead {
		u.Spec.Deadline, u.Expires = v.ends(), v.expires
	}
	if u.Class = pl.Class; u.Class.Timed() {
		u.State, u.Spec.RunAt = task.Scheduled, pl.Due
	}
	if v.policy != nil {
		if u.Spec.Policy, err = d.policy(c, v.policy); err != nil {
			return err
		}
	}
	var b body
	if err := b.read(d, v.body, c); err != nil {
		return err
	}
	n, err := d.names(&v)
	if err != nil {
		return err
	}
	u.Spec.Type, u.Spec.Key, u.Spec.LimitKeys, u.Spec.Tags, u.Spec.Headers = n.Type, n.Key, n.Limits, b.tags, b.headers
	u.Spec.ContentType, u.Spec.Idempotency = b.contentType, b.idem
	u.Spec.Payload, u.Large = b.payload, b.large
	return nil
}

// Place is where a live record stands.
func (u *Unfinished) Place() queue.Place {
	pl := queue.Place{Class: u.Class, Prio: u.Spec.Priority, Queue: u.Queue, Lane: u.Lane, Seq: u.ID.Seq}
	if u.Class.Timed() {
		pl.Due = u.Spec.RunAt
	}
	return pl
}

// Born is where the task of a live record, a dead letter or a finished record was
// born: its ID.
func (d *Decoder) Born(key, value []byte) (queue.Place, error) {
	_, c, err := ClassOf(key)
	if err != nil {
		return queue.Place{}, err
	}
	var v view
	switch c {
	case ClassDead:
		_, v, err = parseDead(key, value)
	case ClassFinished:
		var f finishedView
		if err = f.parse(value); err == nil {
			v.born = f.born
		}
	default:
		if err = v.parse(c, value); err == nil && !v.moved {
			v.born, err = ParsePlaceKey(key)
		}
	}
	if err != nil {
		return queue.Place{}, err
	}
	v.born.Seq = seqAtEnd(key)
	return v.born, nil
}

// chunksOf is how many chunks belong to a live record or dead letter.
func chunksOf(value []byte) int32 {
	var d Decoder
	var v view
	var b body
	if v.parse(ClassBirth, value) != nil || b.read(&d, v.body, ClassBirth) != nil {
		return 0
	}
	return int32(ChunkCount(b.large))
}

func seqAtEnd(key []byte) task.Seq { return task.Seq(binary.BigEndian.Uint64(key[len(key)-8:])) }
