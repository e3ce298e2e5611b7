package partition

import (
	"errors"
	"fmt"
	"time"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// turn is one round of the loop and what it owes to others: the batch until it
// is durable, then answers, deliveries and news. Turns are reused.
type turn struct {
	cmds    []queue.Command
	errands []errand // of cmds, one each
	views   []view

	batch   store.Batch
	wait    func() error // nil: nothing was committed
	began   time.Time
	groups  []group
	dels    []task.Delivery
	large   []int // lengths of large payloads, by delivery; empty = none is large
	arena   arena
	revoked []revoked
	lapsed  []*Attached
	ended   []endedWatch
	empty   []*Poll
	refused []refusal
	stats   Stats
	ran     int // finished tasks counted
}

// refusal is a poll that can't be served, and why.
type refusal struct {
	poll *Poll
	why  *task.Error
}

// group is deliveries to one receiver.
type group struct {
	recv     Receiver
	poll     *Poll   // a unary lease's
	credit   *Credit // a session's
	from, to int
	large    bool
}

// revoked is leases of one session that ended early for one reason.
type revoked struct {
	recv   Receiver
	why    task.Code
	tokens []task.Token
}

func (t *turn) add(m mail) {
	t.cmds = append(t.cmds, m.cmd)
	t.errands = append(t.errands, m.errand)
}

// reset forgets everything and keeps the memory.
func (t *turn) reset() {
	clear(t.cmds)
	clear(t.errands)
	clear(t.views)
	clear(t.groups)
	clear(t.dels)
	clear(t.ended)
	t.cmds, t.errands, t.views = t.cmds[:0], t.errands[:0], t.views[:0]
	t.groups, t.dels, t.large, t.ended = t.groups[:0], t.dels[:0], t.large[:0], t.ended[:0]
	t.revoked, t.lapsed, t.empty, t.refused = nil, nil, nil, nil
	t.batch.Reset()
	t.arena.reset()
	t.wait = nil
	t.stats.reset()
	t.ran = 0
}

// turn makes one turn up to the point where its batch has begun and its
// deliveries stand ready. It returns false when there was nothing to do.
func (r *Runner) turn(t *turn) (bool, error) {
	t.reset()
	r.again = false
	tasks, changed := r.gather(t)
	now := r.now()
	if r.clock.note() {
		t.add(mail{cmd: queue.Command{Op: queue.OpClock, Offset: r.clock.Offset()}})
		changed = true
	}
	if d := r.gap(now); d > 0 {
		t.add(mail{cmd: queue.Command{Op: queue.OpGap, Gap: d}})
		changed = true
	}
	if r.due != 0 && now >= r.due {
		changed = true
		if len(t.cmds) == 0 {
			t.add(mail{cmd: queue.Command{Op: queue.OpTick}})
		}
	}
	if changed {
		r.changes++
	}
	r.trim(tasks, now)
	given := len(t.cmds)
	if given > 0 {
		r.m.Start(now, t.cmds, &r.out)
		r.takenOver(t)
	}
	if !r.ending {
		r.dispatch(t)
	}
	if len(t.cmds) == 0 {
		r.settleCredit()
	}
	if len(t.cmds) == 0 && len(t.views) == 0 { // only polls that found nothing
		return len(t.empty) > 0 || len(t.refused) > 0, nil
	}
	if len(t.cmds) > 0 {
		if err := r.apply(t, now, given); err != nil {
			r.fail(t, task.AppliedNo)
			return false, err
		}
		if err := r.commit(t); err != nil {
			r.fail(t, task.AppliedNo)
			return false, err
		}
		err := r.build(t)
		r.clearAsked()
		if err != nil {
			r.fail(t, task.AppliedUnknown)
			return false, err
		}
		r.news(t)
		r.noteGone(t)
	}
	for i := range t.views {
		t.views[i].look(r.m)
	}
	return true, nil
}

// gather collects what is to be applied: what was put off, what was read, what
// finishes, what is new. It returns how many tasks that is about, and whether
// anything but the passing of time is in it.
func (r *Runner) gather(t *turn) (tasks int, changed bool) {
	r.turns++
	load, left := r.box.fetch(&r.finish, &r.admit, &r.views, r.usedTasks, r.usedBytes)
	r.usedTasks, r.usedBytes = 0, 0
	for i := range r.loaded {
		t.add(mail{cmd: queue.Command{Op: queue.OpLoaded, Loaded: &r.loaded[i]}})
	}
	for i := range r.deferred {
		t.add(r.deferred[i])
		tasks += int(r.deferred[i].tasks)
	}
	clear(r.deferred)
	r.deferred = r.deferred[:0]
	if r.taken = load; load != nil {
		t.add(mail{cmd: queue.Command{Op: queue.OpLoaded, Loaded: &load.loaded}})
		tasks += len(load.loaded.Waiting)
	}
	for _, c := range r.extra {
		t.add(mail{cmd: c})
	}
	r.extra = r.extra[:0]
	tasks += r.gatherMail(t, &r.finish, false)
	tasks += r.gatherMail(t, &r.admit, true)
	t.views = append(t.views, r.views...)
	clear(r.views)
	r.views = r.views[:0]
	t.refused = append(t.refused, r.refused...)
	r.refused = r.refused[:0]
	if left || !r.finish.empty() || !r.admit.empty() {
		r.again = true
	}
	return tasks, len(t.cmds) > 0
}

func (r *Runner) gatherMail(t *turn, in *intake, admit bool) (fresh int) {
	tasks, bytes := 0, 0
	for !in.empty() && tasks < turnTasksMax && bytes < turnBytesMax {
		if next := &in.mail[in.next]; tasks > 0 && bytes+int(next.bytes) > turnBytesMax {
			break
		}
		m := in.take()
		tasks += int(m.tasks)
		bytes += int(m.bytes)
		switch {
		case m.poll != nil:
			r.admitPoll(m.poll)
			continue
		case m.from != nil:
			if !r.admitSession(&m.cmd, m.from) {
				if m.reply != nil {
					t.errands = append(t.errands, m.errand)
					t.cmds = append(t.cmds, queue.Command{Op: queue.OpTick})
				}
				continue
			}
		}
		if m.cmd.Op == queue.OpEnqueue {
			fresh += len(m.cmd.Enqueue.Specs)
		}
		t.add(m)
	}
	if admit {
		r.usedTasks += tasks
		r.usedBytes += bytes
	}
	return fresh
}

// apply ends what the machine has started with the given first commands, and takes
// from its Output what is not for the store.
func (r *Runner) apply(t *turn, now task.Time, given int) error {
	if given == 0 {
		r.m.Start(now, nil, &r.out)
	}
	r.m.Dispatch(t.cmds[given:])
	r.m.Finish()
	if r.cfg.Check {
		if err := r.m.Check(); err != nil {
			return fmt.Errorf("check partition %d: %w", r.p, err)
		}
	}
	r.due = r.out.Deadline
	r.spent = r.spent || r.out.Spent
	r.loaded = r.loaded[:0]
	r.putOff(t)
	r.countLeased()
	r.settleCredit()
	for _, no := range r.out.Held {
		if a := r.sessions[no]; a != nil {
			a.credit.hold(&a.tap, r.m.Holds(no))
		}
	}
	r.settlePolls(t)
	for i := range t.cmds {
		if t.cmds[i].Op == queue.OpOpen && !t.errands[i].done {
			r.opened(t, t.errands[i].from)
		}
	}
	if r.taken != nil {
		r.keepLoad(r.taken)
		r.taken = nil
	}
	return nil
}

// putOff keeps the commands that the machine could not decide yet, with those
// who wait for them.
func (r *Runner) putOff(t *turn) {
	j := 0
	for i := range r.out.Deferred { // in the order of the commands
		d := &r.out.Deferred[i]
		for !sameCommand(&t.cmds[j], d) {
			j++
		}
		r.deferred = append(r.deferred, mail{cmd: *d, errand: t.errands[j]})
		t.errands[j].done = true
		j++
	}
	if len(r.out.Deferred) > 0 {
		r.again = true
	}
}

func sameCommand(a, b *queue.Command) bool {
	return a.Op == b.Op && a.Enqueue == b.Enqueue && a.Report == b.Report && a.Lease == b.Lease && a.Extend == b.Extend &&
		a.Open == b.Open && a.Change == b.Change && a.SetQueue == b.SetQueue && a.Purge == b.Purge && a.DeleteQueue == b.DeleteQueue && a.Session == b.Session
}

// commit encodes the Output and begins its batch as soon as the one before is
// durable.
func (r *Runner) commit(t *turn) error {
	if !r.out.Durable() {
		return nil
	}
	if err := r.encode(t); err != nil {
		return fmt.Errorf("encode a batch of partition %d: %w", r.p, err)
	}
	for r.inflight.Load() >= pipelineDepth {
		if r.alone {
			r.settleBegun()
		} else {
			<-r.settled
		}
		if f := r.broken.Load(); f != nil {
			return f.err
		}
	}
	r.inflight.Add(1)
	t.began = time.Now()
	t.wait = r.part.Begin(&t.batch)
	return nil
}

// settle waits for the turn's commit and lets its answers out; or, when it or an
// earlier one failed, tells everybody so.
func (r *Runner) settle(t *turn) {
	if t.wait != nil {
		err := t.wait()
		if err != nil {
			r.die(fmt.Errorf("commit to partition %d: %w", r.p, err))
		} else {
			took := time.Since(t.began)
			r.rejoin.note(t, took)
			if r.cfg.Observe != nil {
				t.stats.Commit = took
				t.stats.Bytes, t.stats.Ops = t.batch.Bytes(), t.batch.Len()
			}
		}
		r.inflight.Add(-1)
		select {
		case r.settled <- struct{}{}:
		default:
		}
	}
	if f := r.broken.Load(); f != nil {
		applied := task.AppliedUnknown
		if t.wait == nil || errors.Is(f.err, store.ErrFenced) || errors.Is(f.err, store.ErrFull) {
			applied = task.AppliedNo
		}
		r.fail(t, applied)
		return
	}
	r.release(t)
	if r.cfg.Observe != nil && !t.stats.empty() {
		r.cfg.Observe(t.stats)
	}
}

// release lets out everything that the turn's commit stood before (I1).
func (r *Runner) release(t *turn) {
	r.deliver(t)
	for i := range t.ended { // before Done: an outcome is its caller's again after it
		r.finishWatch(&t.ended[i])
	}
	for _, v := range t.revoked {
		v.recv.Revoke(v.tokens, v.why)
	}
	for i := range t.cmds {
		e := &t.errands[i]
		if e.done {
			continue
		}
		switch c := &t.cmds[i]; {
		case c.Enqueue != nil:
			c.Enqueue.Done(c.Enqueue)
		case c.Report != nil:
			c.Report.Done(c.Report)
		case e.reply != nil:
			e.reply(nil)
		}
	}
	for _, a := range t.lapsed {
		a.recv.Lost(errLapsed)
	}
	for _, p := range t.empty {
		p.failed(nil)
	}
	for _, x := range t.refused {
		x.poll.failed(x.why)
	}
	for _, v := range t.views {
		v.done(nil)
	}
}

var (
	errLapsed = task.Errorf(task.Unavailable, "the session was not heard of for its TTL and has ended: attach again")
	errPolls  = task.Errorf(task.Exhausted, "%d leases wait already, the most there can be: lease more tasks at once, or keep a session", pollsMax)
)

// fail tells everybody who waits for the turn that it came to nothing, or that
// it is not known whether it did.
func (r *Runner) fail(t *turn, applied task.Applied) {
	why := r.refusal()
	for i := range t.cmds {
		failMail(&t.cmds[i], &t.errands[i], why, applied)
	}
	for _, p := range t.empty {
		p.failed(why)
	}
	for _, x := range t.refused {
		x.poll.failed(why)
	}
	for _, g := range t.groups {
		if g.poll != nil {
			g.poll.failed(why)
		}
	}
	for i := range t.ended {
		t.ended[i].fail(why)
	}
	for _, v := range t.views {
		v.done(why)
	}
}

var errDamaged = task.Errorf(task.Unavailable, "the data are damaged, so nothing is served any more: stop the server and run penstock doctor")

// refusal is what callers hear of a runner that has ended by a fault.
func (r *Runner) refusal() *task.Error {
	if err := r.Err(); errors.Is(err, store.ErrDamaged) {
		return r.damaged(err)
	}
	return task.ErrReopening
}

// damaged is what callers hear of damage.
func (r *Runner) damaged(err error) *task.Error {
	e := *r.cfg.Damaged
	e.Text = store.Remedy(err, e.Text)
	return &e
}

// failMail answers one command with why.
func failMail(c *queue.Command, e *errand, why *task.Error, applied task.Applied) {
	if e.done {
		return
	}
	err := why
	if why.Applied != applied {
		err = &task.Error{Code: why.Code, Text: why.Text, Applied: applied}
	}
	switch {
	case c.Enqueue != nil:
		c.Enqueue.Err = err
		c.Enqueue.Done(c.Enqueue)
	case c.Report != nil:
		c.Report.Err = err
		c.Report.Done(c.Report)
	case e.poll != nil:
		e.poll.failed(err)
	case e.reply != nil:
		e.reply(err)
	}
}

// trim gives back the memory of a busier time once it has been quiet for a while.
func (r *Runner) trim(tasks int, now task.Time) {
	r.kept.forget(now)
	if tasks > 0 || len(r.out.Leased) > 0 {
		r.busy, r.trimmed, r.bare = now, false, false
		return
	}
	if now.Sub(r.busy) >= idleAfter && !r.bare && r.m.Trim() {
		r.bare = true
		r.cache.trim()
	}
	if r.trimmed || now.Sub(r.busy) < idleAfter || r.inflight.Load() > 0 {
		return
	}
	r.trimmed = true
	for range len(r.free) {
		<-r.free
		r.free <- &turn{}
	}
	r.out = queue.Output{}
	r.enc = encoder{}
	*r.next, *r.spare = round{}, round{}
	r.able, r.asked, r.heard, r.heardPolls, r.spareCrews = nil, nil, nil, nil, nil
	r.dropHolders()
	r.readers.trim()
}
