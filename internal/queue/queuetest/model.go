package queuetest

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// slack is how late the machine may be with what it looks at once a second.
const slack = 1100 * task.Millis(1)

// Model is the rules of the queue, kept in the plainest way: a list of tasks,
// searched from end to end. It follows a Rig: what people ask for it predicts,
// what comes by itself it judges. Any difference is an error.
type Model struct {
	rig    *Rig
	tasks  map[task.Seq]*modelTask
	order  []*modelTask // by birth
	queues map[string]*modelQueue
	idems  map[[2]string]*modelIdem
	number map[producerName]map[uint64]task.ID
	below  map[producerName]uint64

	sessions map[queue.SessionNo]*modelSession
	opened   task.Time // when this owner began
	epoch    uint32
	unclean  bool                        // the owner before did not end in order
	before   map[task.Seq]queue.TaskView // the machine's view before the Apply, of tasks in memory
	known    map[queue.ProducerKey]bool  // producers the Store knew before the Apply
	again    map[string]bool             // recorded sessions that an earlier start has found away
	away     map[string]task.Time        // recorded sessions that are not back, and until when that matters
}

type producerName struct{ producer, queue string }

type modelIdem struct {
	task    *modelTask
	payload string
	until   task.Time
}

type modelQueue struct {
	name                                   string
	cfg                                    task.QueueConfig
	paused, set                            bool
	num                                    queue.QueueNum // the machine's; 0 = not looked up yet
	used                                   task.Time      // when something happened in it, at least
	enqueued, succeeded, canceled, expired int64
}

type modelSession struct {
	opts     task.SessionOptions
	beat     task.Time
	ttl      task.Millis
	detached bool
	spared   bool         // by a gap of the owner's, and not heard of since
	leases   []*modelTask // in the order of dispatch
}

type modelTask struct {
	id       task.ID
	queue    *modelQueue
	spec     task.Spec
	state    task.State // Ready stands for all that wait
	ready    task.Time  // from when it may run
	counts   task.Counts
	expires  task.Time
	enqueued task.Time
	excused  bool // its wait ran out while it ran: it ends at its next turn

	token    task.Token // of the last dispatch
	known    bool       // the machine remembers that dispatch
	session  queue.SessionNo
	started  task.Time
	stood    task.Millis // the owner stood still for so long meanwhile
	given    task.Millis // by so much a start has its lease end later than it read
	resumed  task.Time   // when its lease was last taken over from an earlier owner
	leaseEnd task.Time
	finisher task.Token
	told     *queue.Told // the outcome other than a completion that was last acknowledged, until another lease
	toldRec  *queue.Told // … as the task's record has it
	kept     bool        // a finished record is kept
	body     bool        // … with what is needed to run it again
	revived  bool        // it had ended and was brought back
	timed    bool        // it stands among the timed
	calendar bool        // … in a calendar
	old      bool        // it stands as its last dispatch, by an earlier owner, has left it
	hold     *hold       // since a restart; nil = none
}

// NewModel follows r from its beginning.
func NewModel(r *Rig) *Model {
	m := &Model{rig: r}
	m.tasks, m.queues, m.idems = map[task.Seq]*modelTask{}, map[string]*modelQueue{}, map[[2]string]*modelIdem{}
	m.number, m.below, m.sessions = map[producerName]map[uint64]task.ID{}, map[producerName]uint64{}, map[queue.SessionNo]*modelSession{}
	m.opened, m.epoch = r.Now, r.Cfg.Epoch
	return m
}

func (t *modelTask) live() bool { return t.state == task.Ready || t.state == task.Running }

func (t *modelTask) waits() bool { return t.state == task.Ready }

// policy is the rules that hold for t.
func (t *modelTask) policy() (maxAttempts int32, timeout task.Millis, b task.Backoff) {
	own := task.Policy{}
	if t.spec.Policy != nil {
		own = *t.spec.Policy
	}
	q := t.queue.cfg
	maxAttempts = cmp.Or(own.MaxAttempts, q.MaxAttempts, task.DefaultMaxAttempts)
	timeout = cmp.Or(own.Timeout, q.Timeout, task.DefaultTimeout)
	if timeout == task.AttemptTimeoutNone {
		timeout = 0
	}
	if f := cmp.Or(own.Backoff, q.Backoff); f != nil {
		b = *f
	}
	b.Base, b.Max = cmp.Or(b.Base, task.DefaultBackoffBase), cmp.Or(b.Max, task.DefaultBackoffMax)
	return maxAttempts, timeout, b
}

// waitBounds is how long t may wait after its n-th failure.
func (t *modelTask) waitBounds(n uint32) (lo, hi task.Millis) {
	_, _, b := t.policy()
	var d task.Millis
	switch b.Kind {
	case task.BackoffFixed:
		return b.Base, b.Base
	case task.BackoffList:
		d = b.List[min(int(n), len(b.List))-1]
		return d, d
	case task.BackoffLinear:
		d = min(b.Base*task.Millis(n), b.Max)
	default:
		d = b.Base
		for i := uint32(1); i < n && d < b.Max; i++ {
			d *= 2
		}
		d = min(d, b.Max)
	}
	return d - d/10 - 1, d + d/10 + 1
}

// Look notes how the machine stands before an Apply.
func (m *Model) Look() {
	m.before = map[task.Seq]queue.TaskView{}
	m.rig.M.EachInMemory(0, func(v queue.TaskView) bool {
		m.before[v.Place.Seq] = v
		return true
	})
	for _, t := range m.order {
		if t.waits() && !m.inMemory(t) {
			t.known, t.told = false, t.toldRec // with the memory of it goes that of its last dispatch
		}
	}
	m.known = map[queue.ProducerKey]bool{}
	for k := range m.rig.Store.producers {
		m.known[k] = true
	}
}

// inMemory says whether the machine had t in memory before the Apply.
func (m *Model) inMemory(t *modelTask) bool {
	_, ok := m.before[t.id.Seq]
	return ok
}

func (m *Model) queueNamed(name string) *modelQueue {
	q := m.queues[name]
	if q == nil {
		q = &modelQueue{name: name}
		m.queues[name] = q
	}
	return q
}

// anyRecord is the record of a task, wherever it stands; an empty one if it has
// none.
func (s *Store) anyRecord(seq task.Seq) *Record {
	if r := s.recordOf(seq); r != nil {
		return r
	}
	if w, ok := s.wheres[seq]; ok && w.Dead.Queue != 0 && s.dead[w.Dead] != nil {
		return s.dead[w.Dead]
	}
	for k, r := range s.finished {
		if k.Seq == seq {
			return r
		}
	}
	return &Record{}
}

func (s *Store) recordOf(seq task.Seq) *Record {
	if p, ok := s.places[seq]; ok {
		return s.live[p]
	}
	return nil
}

// waitingIn lists the tasks of q that may be dispatched to one who serves types,
// first in line first.
func (m *Model) waitingIn(q *modelQueue, types []string) []*modelTask {
	var out []*modelTask
	if q.paused {
		return nil
	}
	for _, t := range m.order {
		if t.queue == q && t.waits() && t.ready <= m.rig.Now && (types == nil || slices.Contains(types, t.spec.Type)) {
			out = append(out, t)
		}
	}
	slices.SortFunc(out, func(a, b *modelTask) int {
		return cmp.Or(cmp.Compare(b.spec.Priority, a.spec.Priority), cmp.Compare(a.ready, b.ready), cmp.Compare(a.id.Seq, b.id.Seq))
	})
	if n := slices.IndexFunc(out, func(t *modelTask) bool { return t.hold != nil }); n >= 0 {
		return out[:n] // nothing goes before what is held
	}
	return out
}

// end makes t final.
func (m *Model) end(t *modelTask, s task.State) {
	m.unlease(t)
	t.state, t.hold = s, nil
	q := t.queue
	q.used = m.rig.Now
	switch s {
	case task.Succeeded:
		q.succeeded++
		t.finisher = t.token
	case task.Canceled:
		q.canceled++
	case task.Expired:
		q.expired++
	}
	if s != task.Dead {
		t.kept = q.cfg.History == task.HistoryAll || q.cfg.History == task.HistoryFailures && s != task.Succeeded
		t.body = t.kept && s != task.Succeeded
		t.told, t.toldRec = nil, nil // its record has the outcome of a completion alone
	}
}

func (m *Model) unlease(t *modelTask) {
	if s := m.sessions[t.session]; s != nil {
		s.leases = slices.DeleteFunc(s.leases, func(x *modelTask) bool { return x == t })
	}
	t.session, t.leaseEnd = 0, 0
}

// back makes a running task wait as if it had never been leased.
func (m *Model) back(t *modelTask) {
	m.unlease(t)
	t.state, t.known, t.told = task.Ready, false, nil
	m.ripen(t)
}

// ripen has a task that may be dispatched again wait for its moment, if the wall
// clock was set back before that while it could not be.
func (m *Model) ripen(t *modelTask) {
	if at := t.spec.RunAt.Add(m.rig.Wall); t.calendar && at > m.rig.Now {
		t.ready = at
	}
}

// moved makes t wait from where the Store says it stands now.
func (m *Model) moved(t *modelTask, lo, hi task.Millis) error {
	m.unlease(t)
	t.state, t.hold, t.toldRec = task.Ready, nil, t.told
	r := m.rig.Store.recordOf(t.id.Seq)
	if r == nil && m.over(t) {
		return nil // it has waited long enough before it ran: judge sees it end
	}
	if r == nil {
		return fmt.Errorf("task %v should wait, and has no record", t.what())
	}
	wait := r.Place.Due.Sub(m.rig.Now)
	if r.Place.Class != task.ClassTimed || wait < lo || wait > hi {
		return fmt.Errorf("task %v waits at %+v, for %d ms: want %d to %d", t.what(), r.Place, wait, lo, hi)
	}
	t.ready, t.timed, t.calendar = r.Place.Due, true, false
	if r.Counts.Failures != t.counts.Failures || r.Counts.Crashes != t.counts.Crashes {
		return fmt.Errorf("task %v: its record counts %+v, want %+v", t.what(), r.Counts, t.counts)
	}
	return nil
}

// fail counts a failure.
func (m *Model) fail(t *modelTask, permanent bool, after task.Millis) error {
	t.counts.Failures++
	maxAttempts, _, _ := t.policy()
	if permanent || int64(t.counts.Failures) >= int64(maxAttempts) {
		return m.die(t)
	}
	if after == task.RetryAfterByBackoff {
		lo, hi := t.waitBounds(t.counts.Failures)
		return m.moved(t, lo, hi)
	}
	return m.moved(t, after, after)
}

func (m *Model) crash(t *modelTask) error {
	t.counts.Crashes++
	if t.counts.Crashes >= task.CrashesMax {
		return m.die(t)
	}
	return m.moved(t, 0, 0)
}

func (m *Model) die(t *modelTask) error {
	m.unlease(t)
	t.state, t.known, t.hold = task.Dead, false, nil
	t.toldRec = t.told
	w, ok := m.rig.Store.wheres[t.id.Seq]
	if !ok || m.rig.Store.dead[w.Dead] == nil {
		return fmt.Errorf("task %v should be dead, and is not among the dead letters", t.what())
	}
	if c := m.rig.Store.dead[w.Dead].Counts; c.Failures != t.counts.Failures || c.Crashes != t.counts.Crashes {
		return fmt.Errorf("task %v: its dead letter counts %+v, want %+v", t.what(), c, t.counts)
	}
	return nil
}

// Compare holds the whole state of machine and Store against the Model.
func (m *Model) Compare() error {
	for _, info := range m.rig.M.QueueInfos(nil, nil) {
		q := m.queues[info.Name]
		if q == nil {
			return fmt.Errorf("the machine has a queue %q out of nowhere", info.Name)
		}
		var waiting, running, dead int64
		for _, t := range m.order {
			if t.queue == q {
				switch t.state {
				case task.Ready:
					waiting++
				case task.Running:
					running++
				case task.Dead:
					dead++
				}
			}
		}
		got := [7]int64{info.Scheduled + info.Ready + info.Blocked, info.Running, info.Dead, info.Enqueued, info.Succeeded, info.Canceled, info.Expired}
		want := [7]int64{waiting, running, dead, q.enqueued, q.succeeded, q.canceled, q.expired}
		if got != want {
			return fmt.Errorf("queue %q: waiting, running, dead, enqueued, succeeded, canceled, expired are %v, want %v", q.name, got, want)
		}
		if info.Scheduled < 0 || info.Ready < 0 || info.Blocked < 0 {
			return fmt.Errorf("queue %q: counts below zero: %+v", q.name, info)
		}
	}
	return m.compareTasks()
}

// readAnew: releases without a delay are in no record, so they are forgotten with
// the memory of a task, as the machine's counts may tell.
func (m *Model) readAnew(t *modelTask, c task.Counts) {
	if r := m.rig.Store.recordOf(t.id.Seq); r != nil && r.Counts.Releases == c.Releases {
		t.counts.Releases = c.Releases
	}
}

func (m *Model) compareTasks() error {
	live := 0
	for _, t := range m.order {
		r := m.rig.Store.recordOf(t.id.Seq)
		switch {
		case t.live() && r == nil:
			return fmt.Errorf("task %v is lost: it is live and has no record", t.what())
		case !t.live() && r != nil:
			return fmt.Errorf("task %v is %v and still has a record at %+v", t.what(), t.state, r.Place)
		case t.live():
			live++
		}
		v, ok := m.rig.M.Find(t.id.Seq)
		if ok {
			m.readAnew(t, v.Counts)
		}
		switch {
		case ok && !t.live():
			return fmt.Errorf("task %v is %v and still in memory as %v", t.what(), t.state, v.State)
		case ok && (v.State == task.Running) != (t.state == task.Running):
			return fmt.Errorf("task %v is %v in memory, want %v", t.what(), v.State, t.state)
		case ok && v.Counts != t.counts:
			return fmt.Errorf("task %v counts %+v in memory, want %+v", t.what(), v.Counts, t.counts)
		case ok && v.Started != t.started && t.state == task.Running:
			return fmt.Errorf("task %v runs since %d, want %d", t.what(), v.Started, t.started)
		case (ok && v.State == task.Blocked) != (t.hold != nil):
			return fmt.Errorf("task %v is %v in memory (%v), want it held: %v", t.what(), v.State, ok, t.hold != nil)
		case ok && v.State == task.Scheduled && t.ready <= m.rig.Now:
			return fmt.Errorf("task %v is scheduled though its time has come", t.what())
		case ok && v.State == task.Ready && t.ready > m.rig.Now:
			return fmt.Errorf("task %v is ready before its time", t.what())
		case !ok && t.state == task.Running:
			return fmt.Errorf("task %v runs and is not in memory", t.what())
		}
	}
	if n := len(m.rig.Store.live); n != live {
		return fmt.Errorf("the store has %d live records, want %d", n, live)
	}
	return nil
}

// what names t in an error.
func (t *modelTask) what() string { return fmt.Sprintf("%x", uint64(t.id.Seq)) }
