package partition

import (
	"sync"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// mail is one request on its way to the loop.
type mail struct {
	cmd queue.Command
	errand
}

// errand is who stands behind a command.
type errand struct {
	reply func(err *task.Error) // nil: the command's batch carries its own Done
	from  *Attached             // commands of a session
	poll  *Poll                 // OpLease
	tasks int32
	bytes int32
	done  bool // not to be answered in this turn: it was put off
}

// view is a look at the machine between two turns. look runs in the loop; done
// runs once all that look may have seen is durable.
type view struct {
	look func(m *queue.Machine)
	done func(err *task.Error)
}

// mailbox is where callers leave requests. Two boxes: what finishes or renews
// tasks is never refused and never waits behind what admits new ones.
type mailbox struct {
	wake chan struct{} // the loop's alarm; holds one

	mu         sync.Mutex // guards all below
	finish     []mail
	admit      []mail
	views      []view
	loads      []*refill
	admitTasks int
	admitBytes int
	fresh      int         // tasks that the mail is about that came since the last fetch
	ringAt     int         // mail rings once fresh has come so far
	closed     *task.Error // set: nothing is taken any more
}

func (b *mailbox) ring() {
	select {
	case b.wake <- struct{}{}:
	default:
	}
}

// putFinish leaves mail that is never refused for want of room.
func (b *mailbox) putFinish(m mail) *task.Error {
	b.mu.Lock()
	if b.closed != nil {
		err := b.closed
		b.mu.Unlock()
		return err
	}
	b.finish = append(b.finish, m)
	b.came(m.tasks)
	return nil
}

// putAdmit leaves mail that is refused when too much of its kind waits.
func (b *mailbox) putAdmit(m mail) *task.Error {
	b.mu.Lock()
	if b.closed != nil {
		err := b.closed
		b.mu.Unlock()
		return err
	}
	if b.admitTasks >= admitTasksMax || b.admitBytes >= admitBytesMax {
		b.mu.Unlock()
		return errBusy
	}
	b.admit = append(b.admit, m)
	b.admitTasks += int(m.tasks)
	b.admitBytes += int(m.bytes)
	b.came(m.tasks)
	return nil
}

// came counts mail that was put, unlocks, and wakes the loop if it is to be.
func (b *mailbox) came(tasks int32) {
	b.fresh += int(tasks)
	loud := b.fresh >= b.ringAt
	b.mu.Unlock()
	if loud {
		b.ring()
	}
}

func (b *mailbox) putView(v view) *task.Error {
	b.mu.Lock()
	if b.closed != nil {
		err := b.closed
		b.mu.Unlock()
		return err
	}
	b.views = append(b.views, v)
	b.mu.Unlock()
	b.ring()
	return nil
}

func (b *mailbox) putLoad(l *refill) {
	b.mu.Lock()
	if b.closed == nil {
		b.loads = append(b.loads, l)
	}
	b.mu.Unlock()
	b.ring()
}

var errBusy = task.Errorf(task.Exhausted, "tasks come in faster than the disk takes them: try again in a moment, or enqueue in larger batches")

// intake is the loop's side of a box: mail that was taken and not yet used.
type intake struct {
	mail []mail
	next int
}

func (in *intake) empty() bool { return in.next == len(in.mail) }

// quiet says whether mail about fewer than least tasks has come in. If so, mail
// rings only once there are as many, until the next fetch.
func (b *mailbox) quiet(least int) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.fresh >= least {
		return false
	}
	b.ringAt = least
	return true
}

// waiting is about how many tasks mail has come since the last fetch.
func (b *mailbox) waiting() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.fresh
}

// swap fetches what came into box when all before is used up.
func (in *intake) swap(box *[]mail) {
	if !in.empty() || len(*box) == 0 {
		return
	}
	spare := in.mail[:0]
	in.mail, in.next = *box, 0
	*box = spare
}

// take returns the next mail; the caller has checked that there is one.
func (in *intake) take() mail {
	m := in.mail[in.next]
	in.mail[in.next] = mail{}
	in.next++
	if in.empty() && cap(in.mail) > intakeKeepMax {
		in.mail, in.next = nil, 0
	}
	return m
}

// fetch moves what waits in the boxes to the loop's side, and says whether it had to
// leave something there, as mail of an earlier fetch is not used up.
func (b *mailbox) fetch(finish, admit *intake, views *[]view, usedTasks, usedBytes int) (load *refill, left bool) {
	b.mu.Lock()
	b.admitTasks -= usedTasks
	b.admitBytes -= usedBytes
	b.fresh, b.ringAt = 0, 0
	finish.swap(&b.finish)
	admit.swap(&b.admit)
	if len(b.views) > 0 && len(*views) == 0 {
		*views, b.views = b.views, (*views)[:0]
	}
	if len(b.loads) > 0 {
		load = b.loads[0]
		b.loads = append(b.loads[:0], b.loads[1:]...)
	}
	left = len(b.finish) > 0 || len(b.admit) > 0 || len(b.views) > 0 || len(b.loads) > 0
	b.mu.Unlock()
	return load, left
}

// stop refuses all later mail with err; what has come in stays.
func (b *mailbox) stop(err *task.Error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		b.closed = err
	}
}

// close refuses all later mail with err and returns what was left.
func (b *mailbox) close(err *task.Error) (left []mail, views []view, loads []*refill) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.closed == nil {
		b.closed = err
	}
	left = append(b.finish, b.admit...)
	views, loads = b.views, b.loads
	b.finish, b.admit, b.views, b.loads = nil, nil, nil, nil
	return left, views, loads
}
