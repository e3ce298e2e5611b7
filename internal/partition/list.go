package partition

import (
	"cmp"
	"context"
	"math"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/record"
	"github.com/penstock-io/penstock/internal/task"
)

// Page is a part of a listing. Next goes on where it ends; nil = the end.
type Page struct {
	Tasks   []task.Info
	Spots   []Spot // one a task
	Next    []byte
	Scanned int64
}

// Spot is where a task stands in a listing, so that the pages of several
// partitions can be merged: by Stage, then the newest first.
type Spot struct {
	Stage uint8
	At    task.Time // what goes for new in its stage: when it was enqueued, is due, or died
	After []byte    // goes on behind it
}

// listing is one page at work, beside the loop.
type listing struct {
	r      *Runner
	ctx    context.Context // of who waits for the page
	f      task.Filter
	at     cursor
	begin  bool // this page is the first
	budget int  // records that may be read, and more where there are more lanes than that
	read   int  // records read
	lanes  int  // lanes looked at
	bytes  int  // of payloads and results on the page
	dec    record.Decoder
	tasks  []task.Info
	kinds  []listKind     // of tasks
	spots  []Spot         // of tasks
	now    task.Time      // what is due by then is ready
	oldest uint32         // segment
	queue  queue.QueueNum // the one the filter names; 0 = all
	done   func(p Page, err *task.Error)

	work    *merge // of the stage at work
	making  bool   // it is being made,
	looks   int    // by so many looks at the machine
	shown   []queue.Place
	learned []queue.LaneView
}

// listKind says what is still to be asked about a task that was read.
type listKind uint8

const (
	listEnded  listKind = iota // nothing
	listMemory                 // its state; found in memory
	listStore                  // its state; found in the store
)

// List reads a page of tasks, newest first within each kind of place; where there
// are more than listLanesMax lanes, within so many of them. Every page lists tasks
// or moves on, and reads at most about budget records and a bounded number of
// bytes: it may be short, or empty, and have a next one. Reading stops when ctx
// ends. Payloads that are too large for their task's record are left out.
func (r *Runner) List(ctx context.Context, f task.Filter, after []byte, budget int, done func(p Page, err *task.Error)) {
	at, ok := parseCursor(after)
	if !ok {
		done(Page{}, task.Errorf(task.Invalid, "not a cursor of a listing: copy it whole from the page before"))
		return
	}
	l := &listing{r: r, ctx: ctx, f: f, at: at, begin: len(after) == 0, budget: budget, done: done}
	r.look(l.prepare, func(err *task.Error) {
		if err != nil {
			done(Page{}, err)
			return
		}
		l.goOn()
	})
}

// prepare notes in the loop what only memory knows.
func (l *listing) prepare(m *queue.Machine) {
	if l.ctx.Err() != nil {
		return
	}
	if l.f.Queue != "" {
		var known bool
		if l.queue, known = m.QueueNum(l.f.Queue); !known {
			l.at = cursor{stage: stageEnd}
			return
		}
	}
	l.now = l.r.now()
	l.oldest = math.MaxUint32
	for _, s := range m.Segments() {
		l.oldest = min(l.oldest, s.Segment)
	}
}

// goOn reads the page beside the loop, or reads on in it.
func (l *listing) goOn() {
	read := func() {
		if more, err := l.readPage(); more {
			l.gather()
		} else {
			l.finish(err)
		}
	}
	if !l.r.readers.do(l.r.readers.looks, read) {
		l.end(Page{}, l.r.refusal())
	}
}

// end answers, and lets others make what they have to.
func (l *listing) end(p Page, err *task.Error) {
	l.notMaking()
	l.done(p, err)
}

func (l *listing) notMaking() {
	if l.making {
		l.making = false
		l.r.kept.end()
	}
}

// wants says whether any of the states is asked for.
func (l *listing) wants(states ...task.State) bool {
	if len(l.f.States) == 0 {
		return true
	}
	return slices.ContainsFunc(states, func(s task.State) bool { return slices.Contains(l.f.States, s) })
}

// passes says whether the filter lets the tasks of a queue and type through.
func (l *listing) passes(queueNum queue.QueueNum, typ string) bool {
	return (l.queue == 0 || l.queue == queueNum) && (l.f.Type == "" || l.f.Type == typ)
}

// readPage goes through the stages until the page is full or the end reached. It
// moves the cursor: a stage that has something left gives one record at least. More
// says that the merge of the stage has to be gathered first.
func (l *listing) readPage() (more bool, err error) {
	for l.at.stage < stageEnd && !l.full() && l.lanes < l.r.listLanes {
		if err := l.ctx.Err(); err != nil {
			return false, err
		}
		if !l.asked() {
			l.at = l.at.next()
			continue
		}
		switch {
		case l.making:
			err = l.made()
			if l.notMaking(); err != nil {
				return false, err
			}
		default:
			if l.work = l.r.kept.take(&l.f, &l.at, l.r.clock.Now()); l.work == nil {
				return true, nil
			}
		}
		ended, err := l.readStage()
		if l.at.stage != stageMemory || !l.work.cut {
			l.r.kept.put(l.work, l.r.clock.Now())
		}
		if l.work = nil; err != nil || !ended {
			return false, err
		}
		l.at = l.at.next()
	}
	return false, nil
}

// asked says whether the stage may have what the filter asks for.
func (l *listing) asked() bool {
	switch l.at.stage {
	case stageMemory:
		return l.wants(task.Running, task.Blocked)
	case stageBirths:
		return l.wants(task.Ready)
	case stageTimed, stageCalendar:
		return l.wants(task.Scheduled, task.Ready)
	case stageDead:
		return l.wants(task.Dead)
	}
	return l.wants(task.Succeeded, task.Canceled, task.Expired)
}

func (l *listing) readStage() (ended bool, err error) {
	d := &descend{l: l, m: l.work, c: l.at.stage.class(), below: l.at.below()}
	switch l.at.stage {
	case stageMemory:
		return l.readMemory()
	case stageTimed:
		l.dueRanks(d, l.now)
	case stageCalendar:
		l.dueRanks(d, l.now.Add(-l.r.clock.Offset()))
	case stageDead:
		return d.each(l.takeDead)
	case stageFinished:
		return d.each(l.takeFinished)
	}
	return d.each(l.takeLive)
}

// full says whether the page has all it may have. Looking for lanes is never more
// than a part of the work.
func (l *listing) full() bool {
	return len(l.tasks) >= l.f.Limit || l.read >= max(l.budget, l.lanes) || l.bytes >= listBytesMax
}

// add puts a task on the page; the cursor stands at it.
func (l *listing) add(info *task.Info, k listKind) {
	spot := Spot{Stage: uint8(l.at.stage), At: info.EnqueuedAt, After: l.at.bytes()}
	switch l.at.stage {
	case stageTimed, stageCalendar:
		spot.At = info.ReadyAt
	case stageDead:
		spot.At = info.FinishedAt
	}
	l.spots = append(l.spots, spot)
	l.bytes += len(info.Payload) + len(info.Result) + len(info.Log)
	l.tasks = append(l.tasks, *info)
	l.kinds = append(l.kinds, k)
}

func (l *listing) readMemory() (ended bool, err error) {
	var ps points
	all, below := l.work.running, task.Seq(l.at.below().Hi)
	from, _ := slices.BinarySearchFunc(all, below, func(p queue.Place, below task.Seq) int { return cmp.Compare(below-1, p.Seq) })
	for left := all[from:]; len(left) > 0; {
		if l.full() {
			return false, nil
		}
		some := left[:min(len(left), listPointsMax, l.f.Limit-len(l.tasks), max(l.budget, l.lanes)-l.read)]
		left = left[len(some):]
		ps.reset()
		for _, pl := range some {
			p := ps.add()
			p.Key = record.AppendPlaceKey(p.Key, l.r.p, pl)
		}
		if err := l.r.read(ps.list); err != nil {
			return false, err
		}
		for i, pl := range some {
			l.read++
			l.at.rank = record.AppendRank(nil, record.ClassBirth, record.Rank{Hi: uint64(pl.Seq)})
			p := &ps.list[i]
			if !p.Found {
				continue // it has ended meanwhile
			}
			var info task.Info
			if _, err := l.dec.LiveInfo(l.r.p, pl, p.Value, &info); err != nil {
				return false, l.r.unreadable(p.Key, err)
			}
			l.r.byMachine(pl, &info)
			l.add(&info, listMemory)
		}
	}
	l.work.from = record.Rank{Hi: uint64(below)}
	return !l.work.cut, nil
}

// dueRanks narrows a stage of timed tasks to what is due, or is not, when only one
// of them is asked for.
func (l *listing) dueRanks(d *descend, at task.Time) {
	now := record.Rank{Hi: uint64(at + 1)}
	switch {
	case !l.wants(task.Ready):
		d.floor = now
	case !l.wants(task.Scheduled) && now.Less(d.below):
		d.below = now
	}
}

func (l *listing) takeLive(key, value []byte) error {
	pl, err := record.ParsePlaceKey(key)
	if err != nil {
		return l.r.unreadable(key, err)
	}
	var info task.Info
	if _, err := l.dec.LiveInfo(l.r.p, pl, value, &info); err != nil {
		return l.r.unreadable(key, err)
	}
	if l.passes(queue.QueueNum(info.ID.Queue), info.Type) {
		l.r.byMachine(pl, &info)
		l.add(&info, listStore)
	}
	return nil
}

func (l *listing) takeDead(key, value []byte) error {
	var info task.Info
	if _, err := l.dec.DeadInfo(key, value, &info); err != nil {
		return l.r.unreadable(key, err)
	}
	if l.passes(queue.QueueNum(info.ID.Queue), info.Type) {
		l.add(&info, listEnded)
	}
	return nil
}

func (l *listing) takeFinished(key, value []byte) error {
	var info task.Info
	if _, err := l.dec.FinishedInfo(key, value, &info); err != nil {
		return l.r.unreadable(key, err)
	}
	if l.wants(info.State) && l.passes(queue.QueueNum(info.ID.Queue), info.Type) {
		l.add(&info, listEnded)
	}
	return nil
}

// finish asks the machine for the state of live tasks, and answers once all that
// was read is durable (I1).
func (l *listing) finish(err error) {
	if err != nil {
		l.end(Page{}, l.r.readError(err))
		return
	}
	var kept []task.Info
	var spots []Spot
	l.r.look(func(m *queue.Machine) {
		now := l.r.clock.Now()
		for i := range l.tasks {
			info := &l.tasks[i]
			if info.Queue = m.QueueName(queue.QueueNum(info.ID.Queue)); info.Queue == "" {
				continue // it was deleted
			}
			if info.MaxAttempts == 0 { // the queue's: the task says nothing itself
				info.MaxAttempts = cmp.Or(m.QueueConfig(queue.QueueNum(info.ID.Queue)).MaxAttempts, task.DefaultMaxAttempts)
			}
			if l.kinds[i] != listEnded {
				l.overlay(m, info, now)
			}
			if l.wants(info.State) && !l.shownBefore(i) {
				l.r.clock.outInfo(info)
				l.r.clock.out(&l.spots[i].At)
				kept, spots = append(kept, *info), append(spots, l.spots[i])
			}
		}
	}, func(err *task.Error) {
		if err != nil {
			l.done(Page{}, err)
			return
		}
		p := Page{Tasks: kept, Spots: spots, Scanned: int64(l.read + l.lanes)}
		if l.at.stage < stageEnd {
			p.Next = l.at.bytes()
		}
		l.done(p, nil)
	})
	l.teach()
}

// shownBefore says whether a task that was found in the store has been listed
// among those in memory: running and blocked ones stand in both, and the first page
// begins with all of them. On later pages it is taken for granted, so one that came to
// run since then may be in none: a listing promises only those that stay as they are.
func (l *listing) shownBefore(i int) bool {
	s := l.tasks[i].State
	if l.kinds[i] != listStore || s != task.Running && s != task.Blocked {
		return false
	}
	seq := l.tasks[i].ID.Seq
	_, shown := slices.BinarySearchFunc(l.shown, seq, func(p queue.Place, seq task.Seq) int { return cmp.Compare(seq, p.Seq) })
	return !l.begin || shown
}

func (l *listing) overlay(m *queue.Machine, info *task.Info, now task.Time) {
	if v, ok := m.Find(info.ID.Seq); ok {
		l.r.nameUnary(info.ID.Seq, &v)
		overMemory(info, &v, &l.r.progress)
		return
	}
	if info.ReadyAt <= now {
		info.State, info.Reason = task.Ready, m.WhyWaits(queue.QueueNum(info.ID.Queue), info.Type)
	}
}
