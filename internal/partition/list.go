package partition

import (
	"cmp"
	"context"
	"encoding/binary"
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

// CursorBytes is the length of a Page's Next and a Spot's After. So many zeros are
// the beginning.
const CursorBytes = 18

// stage is one kind of place that a listing looks at. Within each the newest come
// first.
type stage uint8

const (
	stageMemory   stage = iota // running and blocked tasks: all are in memory
	stageBirths                // ready since birth, by sequence
	stageTimed                 // scheduled ones and retries, by time
	stageDead                  // by the time they died
	stageFinished              // by segment, then sequence
	stageEnd
)

// cursor is where a listing goes on: below at.
type cursor struct {
	stage stage
	set   bool // at is set
	at    wide
}

func (c cursor) bytes() []byte {
	b := []byte{byte(c.stage), 0}
	if c.set {
		b[1] = 1
	}
	b = binary.BigEndian.AppendUint64(b, c.at.hi)
	return binary.BigEndian.AppendUint64(b, c.at.lo)
}

// parseCursor reads what bytes wrote; empty = the beginning.
func parseCursor(b []byte) (cursor, bool) {
	if len(b) == 0 {
		return cursor{}, true
	}
	if len(b) != CursorBytes || stage(b[0]) >= stageEnd || b[1] > 1 {
		return cursor{}, false
	}
	return cursor{stage(b[0]), b[1] == 1, wide{binary.BigEndian.Uint64(b[2:]), binary.BigEndian.Uint64(b[10:])}}, true
}

// listing is one page at work, beside the loop.
type listing struct {
	r      *Runner
	f      task.Filter
	at     cursor
	budget int
	left   int // of budget: records that may still be looked at
	bytes  int // of payloads and results on the page
	limit  int
	dec    record.Decoder
	tasks  []task.Info
	kinds  []listKind // of tasks
	spots  []Spot     // of tasks
	begin  bool       // this page is the first
	names  names
	memory []queue.Place // running and blocked tasks
	segs   []queue.Segment
	queues []uint32 // those that match the filter
}

// listKind says what is still to be asked about a task that was read.
type listKind uint8

const (
	listEnded  listKind = iota // nothing
	listMemory                 // its state; found in memory
	listStore                  // its state; found in the store
)

// names tells queues and types by number, as they were when the listing began.
type names struct {
	queues map[uint32]string
	types  map[[2]uint32]string
}

// List reads a page of tasks, newest first within each kind of place. It looks at
// about budget records, and at a bounded number of bytes: a page may be short, or
// empty, and have a next one. Payloads that are too large for their task's record
// are left out.
func (r *Runner) List(f task.Filter, after []byte, budget int, done func(p Page, err *task.Error)) {
	at, ok := parseCursor(after)
	if !ok {
		done(Page{}, task.Errorf(task.Invalid, "not a cursor of a listing: copy it whole from the page before"))
		return
	}
	l := &listing{r: r, f: f, at: at, begin: at == cursor{}, budget: budget, left: budget, limit: f.Limit}
	r.look(l.prepare, func(err *task.Error) {
		if err != nil {
			done(Page{}, err)
			return
		}
		if !r.readers.do(r.readers.looks, func() { l.finish(l.read(), done) }) {
			done(Page{}, r.refusal())
		}
	})
}

// prepare notes in the loop what only memory knows.
func (l *listing) prepare(m *queue.Machine) {
	l.names = names{map[uint32]string{}, map[[2]uint32]string{}}
	for n := uint32(1); ; n++ {
		name := m.QueueName(n)
		if name == "" {
			break // numbers are given one after another
		}
		l.names.queues[n] = name
		if l.f.Queue != "" && l.f.Queue != name {
			continue
		}
		l.queues = append(l.queues, n)
		for t := uint32(1); ; t++ {
			typ := m.TypeName(n, t)
			if typ == "" {
				break
			}
			l.names.types[[2]uint32{n, t}] = typ
		}
	}
	l.segs = m.Segments()
	if l.at.stage == stageMemory && l.wants(task.Running, task.Blocked) {
		l.fromMemory(m)
	}
}

// fromMemory picks the newest running and blocked tasks below the cursor.
func (l *listing) fromMemory(m *queue.Machine) {
	only := uint32(0)
	if l.f.Queue != "" {
		if len(l.queues) == 0 {
			return
		}
		only = l.queues[0]
	}
	m.EachInMemory(only, func(v queue.TaskView) bool {
		if (v.State == task.Running || v.State == task.Blocked) && l.wants(v.State) && l.typeMatches(v.Place.Queue, v.Place.Lane) &&
			(!l.at.set || uint64(v.Place.Seq) < l.at.at.lo) {
			l.memory = append(l.memory, v.Place)
		}
		return true
	})
	slices.SortFunc(l.memory, func(a, b queue.Place) int { return cmp.Compare(b.Seq, a.Seq) })
	l.memory = l.memory[:min(len(l.memory), l.limit)]
}

// wants says whether any of the states is asked for.
func (l *listing) wants(states ...task.State) bool {
	if len(l.f.States) == 0 {
		return true
	}
	return slices.ContainsFunc(states, func(s task.State) bool { return slices.Contains(l.f.States, s) })
}

func (l *listing) typeMatches(queueNum, lane uint32) bool {
	return l.f.Type == "" || l.names.types[[2]uint32{queueNum, lane}] == l.f.Type
}

// read goes through the stages until the page is full, the budget spent, or the
// end reached.
func (l *listing) read() error {
	for l.at.stage < stageEnd {
		var err error
		ended := true
		switch l.at.stage {
		case stageMemory:
			ended, err = l.readMemory()
		case stageBirths:
			if l.wants(task.Ready) {
				ended, err = l.readLanes(record.ClassBirth)
			}
		case stageTimed:
			if l.wants(task.Scheduled, task.Ready) {
				ended, err = l.readLanes(record.ClassTimed, record.ClassCalendar)
			}
		case stageDead:
			if l.wants(task.Dead) {
				ended, err = l.readDead()
			}
		case stageFinished:
			if l.wants(task.Succeeded, task.Canceled, task.Expired) {
				ended, err = l.readFinished()
			}
		}
		if err != nil || !ended {
			return err
		}
		l.at = cursor{stage: l.at.stage + 1}
	}
	return nil
}

func (l *listing) full() bool {
	return len(l.tasks) >= l.limit || l.left <= 0 || l.bytes >= listBytesMax
}

// add puts a task on the page; at is its number among those of the stage.
func (l *listing) add(info *task.Info, k listKind, at wide) {
	spot := Spot{Stage: uint8(l.at.stage), At: info.EnqueuedAt, After: cursor{l.at.stage, true, at}.bytes()}
	switch l.at.stage {
	case stageTimed:
		spot.At = info.ReadyAt
	case stageDead:
		spot.At = info.FinishedAt
	}
	l.spots = append(l.spots, spot)
	info.Queue = l.names.queues[info.ID.Queue]
	info.Type = l.names.types[[2]uint32{info.ID.Queue, info.ID.Lane}]
	l.bytes += len(info.Payload) + len(info.Result) + len(info.Log)
	l.tasks = append(l.tasks, *info)
	l.kinds = append(l.kinds, k)
}

func (l *listing) readMemory() (ended bool, err error) {
	var key, value []byte
	for _, pl := range l.memory {
		if l.full() {
			return false, nil
		}
		key = record.AppendPlaceKey(key[:0], l.r.p, pl)
		var found bool
		if value, found, err = l.r.part.Get(key, value[:0]); err != nil {
			return false, err
		}
		l.left--
		l.at.set, l.at.at = true, wide{0, uint64(pl.Seq)}
		if !found {
			continue // it has ended meanwhile
		}
		var info task.Info
		if _, err := l.dec.LiveInfo(l.r.p, pl, value, &info); err != nil {
			return false, l.r.unreadable(key, err)
		}
		l.r.byMachine(pl, &info)
		l.add(&info, listMemory, l.at.at)
	}
	return len(l.memory) < l.limit, nil
}

// readLanes merges the lanes of some classes, highest first.
func (l *listing) readLanes(cs ...record.Class) (ended bool, err error) {
	var lanes []*descend
	for _, c := range cs {
		more, err := l.lanes(c)
		if err != nil {
			return false, err
		}
		lanes = append(lanes, more...)
	}
	return l.merge(lanes, func(x *keyValue) error {
		pl, err := record.ParsePlaceKey(x.key)
		if err != nil {
			return l.r.unreadable(x.key, err)
		}
		var info task.Info
		if _, err := l.dec.LiveInfo(l.r.p, pl, x.value, &info); err != nil {
			return l.r.unreadable(x.key, err)
		}
		l.r.byMachine(pl, &info)
		l.add(&info, listStore, x.at)
		return nil
	})
}

// lanes makes a reader for every lane that matches, from its low-water mark up.
func (l *listing) lanes(c record.Class) ([]*descend, error) {
	marks, err := readAll(context.Background(), l.r, record.ClassMark, record.DecodeMark)
	if err != nil {
		return nil, err
	}
	low := make(map[laneID]wide, len(marks))
	for i := range marks {
		m := &marks[i]
		at := wide{0, uint64(m.Low)}
		if c != record.ClassBirth {
			at = wide{uint64(m.TimedLow), 0}
		}
		low[laneID{m.Queue, m.Prio, m.Lane, m.Calendar}] = at
	}
	var all []*descend
	err = l.r.skipLanes(context.Background(), c, marks, func(_ []byte, pl queue.Place) error {
		if !slices.Contains(l.queues, pl.Queue) || !l.typeMatches(pl.Queue, pl.Lane) {
			return nil
		}
		d := l.descend(record.AppendLanePrefix(nil, l.r.p, c, pl.Queue, pl.Prio, pl.Lane), c != record.ClassBirth)
		d.lo = low[laneID{pl.Queue, pl.Prio, pl.Lane, pl.Class == task.ClassCalendar}]
		if c == record.ClassCalendar { // merged with the others by machine time
			d.byClock(l.r.clock)
		}
		if c != record.ClassBirth && !l.wants(task.Ready) { // what is due is ready
			d.lo = wide{uint64(l.r.clock.Now()) + 1, 0}
		}
		all = append(all, d)
		return nil
	})
	return all, err
}

func (l *listing) descend(prefix []byte, two bool) *descend {
	d := &descend{r: l.r, prefix: prefix, two: two, most: 2*l.limit + 16, left: &l.left}
	d.hi, d.width = wide{0, uint64(task.MakeSeq(l.r.part.Fence().Epoch+1, 0))}, wide{0, 256}
	if two {
		d.hi, d.width = wide{1 << 62, 0}, wide{uint64(task.Minute), 0}
	}
	if l.at.set && l.at.at.less(d.hi) {
		d.hi = l.at.at
	}
	return d
}

// merge takes records from the readers in falling order.
func (l *listing) merge(from []*descend, take func(x *keyValue) error) (ended bool, err error) {
	for !l.full() {
		var best *descend
		var top *keyValue
		for _, d := range from {
			x, err := d.peek()
			if err != nil {
				return false, err
			}
			if x != nil && (top == nil || top.at.less(x.at)) {
				best, top = d, x
			}
		}
		if l.left <= 0 {
			break
		}
		if best == nil {
			return true, nil
		}
		if err := take(top); err != nil {
			return false, err
		}
		l.at.set, l.at.at = true, top.at
		best.pop()
	}
	return false, nil
}

func (l *listing) readDead() (ended bool, err error) {
	var from []*descend
	for _, q := range l.queues {
		from = append(from, l.descend(record.AppendQueuePrefix(nil, l.r.p, record.ClassDead, q), true))
	}
	return l.merge(from, func(x *keyValue) error {
		var info task.Info
		if _, err := l.dec.DeadInfo(x.key, x.value, &info); err != nil {
			return l.r.unreadable(x.key, err)
		}
		if l.typeMatches(info.ID.Queue, info.ID.Lane) {
			l.add(&info, listEnded, x.at)
		}
		return nil
	})
}

// readFinished goes through the segments, newest first. The cursor's high half is
// the segment.
func (l *listing) readFinished() (ended bool, err error) {
	slices.SortFunc(l.segs, func(a, b queue.Segment) int { return cmp.Compare(b.Segment, a.Segment) })
	for i := range l.segs {
		s := &l.segs[i]
		if l.at.set && uint64(s.Segment) > l.at.at.hi {
			continue
		}
		d := l.descend(record.AppendFinishedPrefix(nil, l.r.p, s.Segment), false)
		d.lo, d.hi = wide{0, uint64(s.Low)}, wide{0, uint64(s.High) + 1}
		if l.at.set && uint64(s.Segment) == l.at.at.hi {
			d.hi = wide{0, l.at.at.lo}
		}
		for {
			if l.full() {
				return false, nil
			}
			x, err := d.peek()
			if err != nil {
				return false, err
			}
			if x == nil {
				break
			}
			var info task.Info
			if _, err := l.dec.FinishedInfo(x.key, x.value, &info); err != nil {
				return false, l.r.unreadable(x.key, err)
			}
			if l.wants(info.State) && slices.Contains(l.queues, info.ID.Queue) && l.typeMatches(info.ID.Queue, info.ID.Lane) {
				l.add(&info, listEnded, wide{uint64(s.Segment), x.at.lo})
			}
			l.at.set, l.at.at = true, wide{uint64(s.Segment), x.at.lo}
			d.pop()
		}
		if l.left <= 0 {
			return false, nil
		}
		l.at.set, l.at.at = true, wide{uint64(s.Segment), 0}
	}
	return true, nil
}

// finish asks the machine for the state of live tasks, and answers once all that
// was read is durable (I1).
func (l *listing) finish(err error, done func(p Page, err *task.Error)) {
	if err != nil {
		done(Page{}, l.r.readError(err))
		return
	}
	started := l.at.stage
	var kept []task.Info
	var spots []Spot
	l.r.look(func(m *queue.Machine) {
		now := l.r.clock.Now()
		for i := range l.tasks {
			info := &l.tasks[i]
			if info.MaxAttempts == 0 { // the queue's: the task says nothing itself
				info.MaxAttempts = cmp.Or(m.QueueConfig(info.ID.Queue).MaxAttempts, task.DefaultMaxAttempts)
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
		p := Page{Tasks: kept, Spots: spots, Scanned: int64(l.budget - l.left)}
		if started < stageEnd {
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
		overlay(info, &v, &l.r.progress)
		return
	}
	if info.ReadyAt <= now {
		info.State, info.Reason = task.Ready, m.WhyWaits(record.PlaceOf(info.ID))
	}
}
