package partition

import (
	"bytes"
	"cmp"
	"context"
	"fmt"
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
	kinds  []listKind         // of tasks
	spots  []Spot             // of tasks
	now    task.Time          // what is due by then is ready
	memory []queue.Place      // running and blocked tasks
	oldest uint32             // segment
	queue  queue.QueueNum     // the one the filter names; 0 = all
	typed  map[queueLane]bool // queues and lanes of the type that the filter names; nil = all
}

// queueLane is a lane of any priority of a queue.
type queueLane struct {
	queue queue.QueueNum
	lane  queue.LaneNum
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
	l := &listing{r: r, ctx: ctx, f: f, at: at, begin: len(after) == 0, budget: budget}
	r.look(l.prepare, func(err *task.Error) {
		if err != nil {
			done(Page{}, err)
			return
		}
		if !r.readers.do(r.readers.looks, func() { l.finish(l.readPage(), done) }) {
			done(Page{}, r.refusal())
		}
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
	if l.f.Type != "" {
		l.noteTyped(m)
	}
	l.now = l.r.now()
	if l.at.stage == stageMemory && l.wants(task.Running, task.Blocked) {
		l.fromMemory(m)
	}
	l.oldest = math.MaxUint32
	for _, s := range m.Segments() {
		l.oldest = min(l.oldest, s.Segment)
	}
}

// noteTyped finds the lanes of the type that the filter names. Others need not be
// read; those that share their number with one of them are.
func (l *listing) noteTyped(m *queue.Machine) {
	l.typed = map[queueLane]bool{}
	m.EachLaneOf(l.f.Type, func(queueNum queue.QueueNum, lane queue.LaneNum) { l.typed[queueLane{queueNum, lane}] = true })
}

// fromMemory picks the newest running and blocked tasks below the cursor.
func (l *listing) fromMemory(m *queue.Machine) {
	newest := func() {
		slices.SortFunc(l.memory, func(a, b queue.Place) int { return cmp.Compare(b.Seq, a.Seq) })
		l.memory = l.memory[:min(len(l.memory), l.f.Limit)]
	}
	m.EachInMemory(l.queue, func(v queue.TaskView) bool {
		if (v.State == task.Running || v.State == task.Blocked) && l.wants(v.State) && l.passes(v.Place.Queue, v.Type) &&
			(l.at.rank == nil || bytes.Compare(record.AppendSeqRank(nil, v.Place.Seq), l.at.rank) < 0) {
			if l.memory = append(l.memory, v.Place); len(l.memory) >= 2*task.ListMax+l.f.Limit {
				newest()
			}
		}
		return true
	})
	newest()
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

// readsLane says whether the lane may have tasks that pass.
func (l *listing) readsLane(queueNum queue.QueueNum, lane queue.LaneNum) bool {
	return (l.queue == 0 || l.queue == queueNum) && (l.typed == nil || l.typed[queueLane{queueNum, lane}])
}

// lanePasses says whether anything of the lane that a key is in can pass: lanes
// that can't are not read.
func (l *listing) lanePasses(c record.Class, key []byte) (bool, error) {
	if c != record.ClassBirth && c != record.ClassTimed && c != record.ClassCalendar {
		return true, nil
	}
	pl, err := record.ParsePlaceKey(key)
	if err != nil {
		return false, l.r.unreadable(key, err)
	}
	return l.readsLane(pl.Queue, pl.Lane), nil
}

// readPage goes through the stages until the page is full or the end reached. It
// moves the cursor: a stage that has something left gives one record at least.
func (l *listing) readPage() error {
	for l.at.stage < stageEnd && !l.full() && l.lanes < l.r.listLanes {
		if err := l.ctx.Err(); err != nil {
			return err
		}
		ended, err := l.readStage()
		if err != nil || !ended {
			return err
		}
		l.at = l.at.next()
	}
	return nil
}

func (l *listing) readStage() (ended bool, err error) {
	switch l.at.stage {
	case stageMemory:
		return l.readMemory()
	case stageBirths:
		if l.wants(task.Ready) {
			return l.merge(&descend{}, l.takeLive)
		}
	case stageTimed:
		if l.wants(task.Scheduled, task.Ready) {
			return l.merge(l.dueRanks(l.now), l.takeLive)
		}
	case stageCalendar:
		if l.wants(task.Scheduled, task.Ready) {
			return l.merge(l.dueRanks(l.now.Add(-l.r.clock.Offset())), l.takeLive)
		}
	case stageDead:
		if l.wants(task.Dead) {
			return l.merge(&descend{}, l.takeDead)
		}
	case stageFinished:
		if l.wants(task.Succeeded, task.Canceled, task.Expired) {
			return l.merge(&descend{}, l.takeFinished)
		}
	}
	return true, nil
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
	for left := l.memory; len(left) > 0; {
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
			l.at.rank = record.AppendSeqRank(nil, pl.Seq)
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
	return len(l.memory) < l.f.Limit, nil
}

// dueRanks narrows a merge of timed tasks to what is due, or is not, when only one
// of them is asked for.
func (l *listing) dueRanks(at task.Time) *descend {
	now := record.AppendDueRank(nil, at+1)
	switch {
	case !l.wants(task.Ready):
		return &descend{floor: now}
	case !l.wants(task.Scheduled):
		return &descend{below: now}
	}
	return &descend{}
}

// merge takes records of the stage's class, highest rank first.
func (l *listing) merge(d *descend, take func(key, value []byte) error) (ended bool, err error) {
	d.l, d.c = l, l.at.stage.class()
	if l.at.rank != nil {
		d.below = bytes.Clone(l.at.rank)
	}
	from, to := l.stretch(d.c)
	var marks []queue.Mark
	if d.c == record.ClassBirth || d.c == record.ClassTimed || d.c == record.ClassCalendar {
		if marks, err = l.marks(); err != nil {
			return false, err
		}
	}
	if d.c == record.ClassFinished { // below the oldest segment lie the tombstones of history
		from = record.AppendFinishedPrefix(nil, l.r.p, l.oldest)
	}
	err = d.find(from, to, marks)
	l.lanes += d.lanes
	if err != nil {
		return false, err
	}
	return d.each(take)
}

// stretch is the part of a class whose lanes are at work.
func (l *listing) stretch(c record.Class) (from, to []byte) {
	prefix := record.AppendPrefix(nil, l.r.p, c)
	from, to = prefix, record.AppendPrefixEnd(nil, prefix)
	if l.queue != 0 && c != record.ClassFinished {
		from = record.AppendQueuePrefix(nil, l.r.p, c, l.queue)
		to = record.AppendPrefixEnd(nil, from)
	}
	if bottom := slices.Concat(prefix, l.at.bottom); bytes.Compare(bottom, from) > 0 {
		from = bottom
	}
	if top := slices.Concat(prefix, l.at.top); l.at.top != nil && bytes.Compare(top, to) < 0 {
		to = top
	}
	return from, to
}

// marks reads the marks of the lanes at work.
func (l *listing) marks() ([]queue.Mark, error) {
	it := l.r.part.Scan(l.stretch(record.ClassMark))
	var all []queue.Mark
	var err error
	for err == nil && it.Next() {
		var m queue.Mark
		if err = record.DecodeMark(it.Key(), it.Value(), &m); err != nil {
			err = l.r.unreadable(it.Key(), err)
			break
		}
		all = append(all, m)
		err = l.ctx.Err()
	}
	if e := it.Close(); e != nil && err == nil {
		err = fmt.Errorf("read the mark records: %w", e)
	}
	return all, err
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
func (l *listing) finish(err error, done func(p Page, err *task.Error)) {
	if err != nil {
		done(Page{}, l.r.readError(err))
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
			done(Page{}, err)
			return
		}
		p := Page{Tasks: kept, Spots: spots, Scanned: int64(l.read + l.lanes)}
		if l.at.stage < stageEnd {
			p.Next = l.at.bytes()
		}
		done(p, nil)
	})
}

// shownBefore says whether a task that was found in the store has been listed
// among those in memory: running and blocked ones stand in both.
func (l *listing) shownBefore(i int) bool {
	s := l.tasks[i].State
	if l.kinds[i] != listStore || s != task.Running && s != task.Blocked {
		return false
	}
	seq := l.tasks[i].ID.Seq
	return !l.begin || slices.ContainsFunc(l.memory, func(p queue.Place) bool { return p.Seq == seq })
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
