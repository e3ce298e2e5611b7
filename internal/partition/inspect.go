package partition

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// look runs fn in the loop, between two turns, and then calls done once
// everything that fn may have seen is durable. fn must be quick and must not
// keep the machine.
func (r *Runner) look(fn func(m *queue.Machine), done func(err *task.Error)) {
	if err := r.box.putView(view{fn, done}); err != nil {
		done(err)
	}
}

// seen is what the loop says of a task that is looked up.
type seen struct {
	live     bool
	view     queue.TaskView
	queue    string
	max      int32
	segments []uint32
}

// Get looks one task up, wherever it is in its life, and calls done with it. The
// records are read beside the loop; a task that moves meanwhile is looked for
// again. The answer waits until what was read is durable (I1).
func (r *Runner) Get(id task.ID, done func(info task.Info, err *task.Error)) {
	r.getAgain(id, 1, done)
}

func (r *Runner) getAgain(id task.ID, try int, done func(info task.Info, err *task.Error)) {
	var s seen
	r.look(func(m *queue.Machine) {
		s.view, s.live = m.Find(id.Seq)
		r.nameUnary(id.Seq, &s.view)
		s.queue = m.QueueName(queue.QueueNum(id.Queue))
		s.max = m.QueueConfig(queue.QueueNum(id.Queue)).MaxAttempts
		s.segments = m.Holding(id.Seq)
	}, func(err *task.Error) {
		if err != nil {
			done(task.Info{}, err)
			return
		}
		if s.queue == "" { // it was deleted, and with it all that is still kept of its tasks
			done(task.Info{}, errGone(id))
			return
		}
		read := func() {
			l := lookup{r: r, id: id, seen: &s}
			found, err := l.run()
			switch {
			case err != nil:
				done(task.Info{}, r.readError(err))
			case !found && try < getTriesMax:
				r.getAgain(id, try+1, done)
			case !found:
				done(task.Info{}, errGone(id))
			default:
				r.look(func(m *queue.Machine) {
					if l.why {
						l.info.Reason = m.WhyWaits(queue.QueueNum(id.Queue), l.info.Type)
					}
				}, func(err *task.Error) {
					r.clock.outInfo(&l.info)
					done(l.info, err)
				})
			}
		}
		if !r.readers.do(r.readers.looks, read) {
			done(task.Info{}, r.refusal())
		}
	})
}

// readError is what a caller hears of a read that failed. A store that holds
// nothing for this owner any more is no fault of the record: another try finds
// the partition opened anew. Damage is the end of the runner, whoever finds it.
func (r *Runner) readError(err error) *task.Error {
	if errors.Is(err, store.ErrDamaged) {
		r.die(err)
		return r.damaged(err)
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return errGivenUp
	}
	for _, gone := range []error{store.ErrDead, store.ErrFenced, store.ErrClosed} {
		if errors.Is(err, gone) {
			return r.refusal()
		}
	}
	return task.AsError(err)
}

var errGivenUp = task.Errorf(task.Unavailable, "who asked has gone, or has no more time: ask again")

// lookup reads one task beside the loop.
type lookup struct {
	r    *Runner
	id   task.ID
	seen *seen
	dec  record.Decoder
	key  []byte
	info task.Info
	why  bool // it is ready, and in the store alone: what it waits for is to be asked
}

func (l *lookup) run() (found bool, err error) {
	if l.seen.live {
		if found, err = l.live(l.seen.view.Place); err != nil || found {
			l.overlay()
			return found, err
		}
		return false, nil
	}
	if found, err = l.live(record.PlaceOf(l.id)); err != nil || found {
		return found, err
	}
	l.key = record.AppendWhereKey(l.key[:0], l.r.p, l.id.Seq)
	value, found, err := l.get()
	if err != nil {
		return false, err
	}
	if found {
		var at queue.Where
		if err := record.DecodeWhere(l.key, value, &at); err != nil {
			return false, l.r.unreadable(l.key, err)
		}
		if at.Dead.Queue != 0 {
			return l.dead(at.Dead)
		}
		return l.live(at.Place)
	}
	return l.finished()
}

func (l *lookup) get() ([]byte, bool, error) {
	value, found, err := store.GetOne(l.r.part, l.key, nil)
	if err != nil {
		err = fmt.Errorf("read %x: %w", l.key, err)
	}
	return value, found, err
}

func (l *lookup) live(pl queue.Place) (bool, error) {
	l.key = record.AppendPlaceKey(l.key[:0], l.r.p, pl)
	value, found, err := l.get()
	if err != nil || !found {
		return false, err
	}
	large, err := l.dec.LiveInfo(l.r.p, pl, value, &l.info)
	if err != nil {
		return false, l.r.unreadable(l.key, err)
	}
	l.r.byMachine(pl, &l.info)
	if l.info.State == task.Ready || l.info.ReadyAt <= l.r.clock.Now() {
		l.info.State, l.info.Reason = task.Ready, ""
		l.why = !l.seen.live
	}
	return l.names(large)
}

// byMachine makes all of what was read of a live task machine times.
func (r *Runner) byMachine(pl queue.Place, info *task.Info) {
	if pl.Class == task.ClassCalendar {
		info.ReadyAt = info.ReadyAt.Add(r.clock.Offset())
	}
}

func (l *lookup) dead(k queue.DeadKey) (bool, error) {
	l.key = record.AppendDeadKey(l.key[:0], l.r.p, k)
	value, found, err := l.get()
	if err != nil || !found {
		return false, err
	}
	large, err := l.dec.DeadInfo(l.key, value, &l.info)
	if err != nil {
		return false, l.r.unreadable(l.key, err)
	}
	return l.names(large)
}

func (l *lookup) finished() (bool, error) {
	var ps points
	for _, s := range l.seen.segments {
		p := ps.add()
		p.Key = record.AppendFinishedKey(p.Key, l.r.p, queue.FinishedKey{Segment: s, Seq: l.id.Seq})
	}
	if err := l.r.read(ps.list); err != nil {
		return false, err
	}
	for i := range ps.list {
		p := &ps.list[i]
		if !p.Found {
			continue
		}
		large, err := l.dec.FinishedInfo(p.Key, p.Value, &l.info)
		if err != nil {
			return false, l.r.unreadable(p.Key, err)
		}
		if large > 0 { // its chunks went when it ended
			l.info.PayloadKept = false
		}
		return l.names(0)
	}
	return false, nil
}

// names fills in what the record leaves to others, and refuses the answer when
// the ID names another task than was found.
func (l *lookup) names(large int) (bool, error) {
	if l.info.ID != l.id {
		return false, nil
	}
	l.info.Queue = l.seen.queue
	if l.info.MaxAttempts == 0 {
		l.info.MaxAttempts = l.seen.max
	}
	if l.info.MaxAttempts == 0 {
		l.info.MaxAttempts = task.DefaultMaxAttempts
	}
	if large == 0 {
		return true, nil
	}
	chunks := []payload{{born: record.PlaceOf(l.id), bytes: make([]byte, large)}}
	err := l.r.readPayloads(chunks)
	if l.info.PayloadKept = chunks[0].whole; l.info.PayloadKept {
		l.info.Payload = chunks[0].bytes
	}
	return true, err
}

// overlay adds what only memory knows of a live task.
func (l *lookup) overlay() { overMemory(&l.info, &l.seen.view, &l.r.progress) }

func overMemory(info *task.Info, v *queue.TaskView, p *progress) {
	info.State, info.Counts, info.Reason, info.MaxAttempts = v.State, v.Counts, v.Reason, v.Max
	info.ReadyAt = v.Ready
	if v.State == task.Running {
		info.StartedAt, info.Worker = v.Started, v.Worker
		info.Progress = p.of(v.Token)
		info.Attempts = append(info.Attempts, task.Attempt{Number: v.Counts.Failures + v.Counts.Crashes + 1,
			Started: v.Started, Outcome: task.AttemptRunning, Worker: v.Worker})
		if n := len(info.Attempts) - task.AttemptsShownMax; n > 0 {
			info.Attempts = info.Attempts[n:]
		}
	}
}

// progress is what running handlers last said of themselves, by the tokens of their
// leases: what another says is nobody's. It is shown and not kept; when there is too
// much of it some is forgotten.
type progress struct {
	mu   sync.Mutex
	last map[task.Token]task.Progress
}

// Progress notes what a handler says of itself.
func (r *Runner) Progress(t task.Token, p task.Progress) {
	if len(p.Text) > task.NameMax {
		p.Text = p.Text[:task.NameMax]
	}
	x := &r.progress
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.last == nil {
		x.last = make(map[task.Token]task.Progress)
	}
	if _, known := x.last[t]; !known && len(x.last) >= progressMax {
		for k := range x.last { // any will do: most are of tasks long gone
			delete(x.last, k)
			if rand.IntN(4) == 0 {
				break
			}
		}
	}
	x.last[t] = p
}

// of is what who holds the lease has said.
func (p *progress) of(t task.Token) task.Progress {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.last[t]
}
