package server

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// RescueOptions say what Rescue gives out.
type RescueOptions struct {
	// Each gets every task that has not ended and can be read: those of one queue,
	// priority and type in the order in which they would have run. What it is given
	// is good until it returns; its error ends the rescue. nil: only look.
	Each func(*Rescued) error
	Dead bool      // dead letters too
	Now  time.Time // which tasks are over their deadline; zero is the present
}

// Rescued is a task to be enqueued anew.
type Rescued struct {
	ID    task.ID // that it had
	State task.State
	Queue string
	// Spec has what is left of its waits: RunAt, ExpireAfter from when it is ready,
	// IdempotencyFor from now.
	Spec     task.Spec
	Counts   task.Counts // failures and the like, which are not carried over
	Nameless bool        // the name of its queue is lost: made up
}

// RescueCounts are what became of the tasks that have not ended.
type RescueCounts struct {
	Tasks    int64 // given out, without dead letters
	Dead     int64 // dead letters given out
	Over     int64 // not given out: over their deadline, or waiting for too long
	NoBody   int64 // not given out: their payload is not whole
	Attempts int64 // given out, with attempts behind them that the new task starts without
	Nameless int64 // given out under a name of queue that is made up
}

// Rescue examines a data folder as Examine does, and gives out the tasks in it
// that have not ended.
func Rescue(ctx context.Context, dir string, o RescueOptions) (*Findings, error) {
	x, err := openExamination(ctx, dir, o)
	if err != nil {
		return nil, err
	}
	err = x.survey()
	if err == nil {
		x.sumUp()
		if x.files.Lossy() || o.Each != nil {
			if o.Now.IsZero() {
				o.Now = time.Now()
			}
			err = x.rescue(task.Time(o.Now.UnixMilli()))
		}
		x.missing()
	}
	if e := x.files.Close(); err == nil && e != nil {
		err = fmt.Errorf("close data folder %s: %w", dir, e)
	}
	if err != nil {
		return nil, err
	}
	return x.Findings, nil
}

// rescue goes over the tasks that have not ended, and counts them anew without
// those that are stale.
func (x *examination) rescue(now task.Time) error {
	for _, p := range x.partitions() {
		for _, q := range x.surveys[p].Queues() {
			f := x.queue(p, q.Num)
			f.Waiting, f.Scheduled, f.Dead = f.Waiting-q.Waiting, f.Scheduled-q.Scheduled, f.Dead-q.Dead
		}
		for _, c := range []record.Class{record.ClassBirth, record.ClassTimed, record.ClassCalendar, record.ClassDead} {
			from := record.AppendPrefix(nil, p, c)
			err := x.files.Scan(from, record.AppendPrefixEnd(nil, from), func(key, value []byte) error {
				if err := x.ctx.Err(); err != nil {
					return err
				}
				var u record.Unfinished
				if x.dec.Unfinished(key, value, &u) != nil {
					return nil // the survey has told
				}
				return x.unfinished(p, &u, now)
			})
			if err != nil {
				return fmt.Errorf("rescue tasks of %s: %w", x.Dir, err)
			}
		}
	}
	return nil
}

func (x *examination) unfinished(p uint16, u *record.Unfinished, now task.Time) error {
	s := x.surveys[p]
	if s.Stale(u) {
		x.Stale++
		return nil
	}
	byWall(u, s.Offset)
	q := x.queue(p, u.Queue)
	switch u.State {
	case task.Scheduled:
		q.Scheduled++
	case task.Dead:
		q.Dead++
	default:
		q.Waiting++
	}
	if x.o.Each == nil || u.State == task.Dead && !x.o.Dead {
		return nil
	}
	r := Rescued{ID: u.ID, State: u.State, Queue: q.Name, Spec: u.Spec, Counts: u.Counts, Nameless: q.Nameless}
	if d := r.Spec.Deadline; d != 0 && d <= now || u.Expires != 0 && u.Expires <= now {
		x.Rescued.Over++
		return nil
	}
	if u.Expires != 0 {
		r.Spec.ExpireAfter = max(1, u.Expires.Sub(max(now, r.Spec.RunAt)))
	}
	if r.Spec.Idempotency != "" {
		if until := s.Window(u.ID.Seq); until != 0 {
			r.Spec.IdempotencyFor = max(task.Second, until.Add(-s.Offset).Sub(now))
		}
	}
	if u.Large > 0 {
		payload, err := x.payload(p, u)
		if err != nil {
			x.Rescued.NoBody++
			return nil
		}
		r.Spec.Payload = payload
	}
	return x.give(&r)
}

// byWall maps the times of a task to the wall clock, as far as they are not meant in
// it anyway.
func byWall(u *record.Unfinished, offset task.Millis) {
	if u.Class == task.ClassTimed {
		u.Spec.RunAt = u.Spec.RunAt.Add(-offset)
	}
	for _, t := range []*task.Time{&u.Expires, &u.Enqueued} {
		if *t != 0 {
			*t = t.Add(-offset)
		}
	}
}

func (x *examination) give(r *Rescued) error {
	if err := x.o.Each(r); err != nil {
		return err
	}
	n := &x.Rescued
	if r.State == task.Dead {
		n.Dead++
	} else {
		n.Tasks++
	}
	if r.Counts.Failures+r.Counts.Crashes > 0 {
		n.Attempts++
	}
	if r.Nameless {
		n.Nameless++
	}
	return nil
}

// payload puts the chunks of a large payload together.
func (x *examination) payload(p uint16, u *record.Unfinished) ([]byte, error) {
	if u.Large > task.PayloadMax {
		return nil, errors.New("the payload is larger than any may be")
	}
	var out bytes.Buffer
	next := 0
	prefix := record.AppendChunkPrefix(nil, p, record.PlaceOf(u.ID))
	err := x.files.Scan(prefix, record.AppendPrefixEnd(nil, prefix), func(key, value []byte) error {
		if _, i, err := record.ParseChunkKey(key); err != nil || i != next {
			return errors.New("a chunk is missing")
		}
		next++
		out.Write(value)
		return nil
	})
	if err == nil && out.Len() != u.Large {
		err = errors.New("the payload is not whole")
	}
	return out.Bytes(), err
}
