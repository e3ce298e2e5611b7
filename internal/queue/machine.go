package queue

import "github.com/penstock-io/penstock/internal/task"

// Machine decides everything about the tasks of one partition. It holds what is
// live in a window of memory; the rest it asks for (Output.Wants). Same
// snapshot, commands and times give the same Outputs (I4). Not safe for
// concurrent use.
type Machine struct {
	cfg   Config
	now   task.Time
	wall  task.Time // what the wall clock says at now
	batch uint64
	out   *Output
	dirty bool // something durable changed in this Apply

	samePlace bool // a task was moved to where it stood, within this millisecond

	meta     Meta
	counter  uint64 // of sequences in this epoch
	dispatch uint32 // of dispatches in this epoch

	slab     slab
	index    index
	timers   timers
	calendar timers // of tasks that are scheduled in calendars, by wall time
	policies policies
	waiting  int   // tasks in memory that are not running, over all lanes
	sizeNow  int64 // mean size of tasks that came into memory lately, shifted by sizeShift

	queues    []*queueOf // in the order of their numbers, which have gaps: a number is used once
	numbered  map[QueueNum]*queueOf
	byName    map[string]*queueOf
	tick      task.Time // next slow work
	longAt    task.Time // next look for leases that have become long; 0 = there is none to come
	dirtyList []*queueOf

	lanes     []*lane // by no; nil = free
	freeLanes []laneNo
	fading    []*lane                // they may have no more tasks
	low       heap[lowAt, lowOrder]  // they run low in memory and have more in the store
	chunk     int                    // how many tasks of a lane are read at once at least
	urged     line                   // they are next and have to be read
	period    uint32                 // of now, in lanePeriods
	active    [2]int                 // lanes that workers took from in this period, and in the last
	wakes     heap[*lane, wakeOrder] // those whose timed tasks will have to be read
	hand      int                    // of the eviction, in lanes
	loads     map[uint32]*load       // under way
	reserved  int                    // tasks that they may bring
	budget    int                    // tasks that may be in memory (measure)
	share     int                    // of one lane, while memory is short
	stride    int                    // how many are read of a lane at once
	freed     bool                   // this Apply has made tasks ready after its commands
	expired   int                    // tasks whose time was over that dispatch met in this Apply
	inTurn    int                    // lanes that have something for workers that are here
	rooms     []room                 // scratch of makeRoom
	lookahead lookahead
	reading   int // Wants that are not answered

	stopped    task.Time // when the owner itself was last stopped for a while
	lostMarks  []MarkKey // of lanes that are gone: dropped by the first Apply
	unservedAt [2]int    // where the look for types that no worker serves goes on: queue, type
	idleAt     int       // where that for idle queues does

	sessions  []*session // by number - 1; nil = free
	byID      map[string]SessionNo
	openCount int
	freeNos   []SessionNo // numbers of m.sessions that are free
	crews     []*crew     // by number - 1; nil = free
	freeCrews []CrewNo
	crewByKey map[string]*crew
	awaited   map[string]map[CrewNo]struct{} // crews by the queues that they name and that don't exist
	serves    map[string]*serves             // those that name types
	naming    map[string][]*serves           // likewise, by the types
	servesAll *serves
	roused    []CrewNo // see Roused
	unary     session  // the leases taken outside any session
	unaryTurn int      // where the round over their queues goes on
	held      int      // leases of sessions

	producers producers
	idems     idems
	history   history
	restart   restart
	lists     lists
	expiry    expiry
	deadlines expiry
	sweeper   sweeper

	subject subject // of the event that is under way

	// Answers to point Wants, for this Apply only.
	gotTask map[task.Seq]*Loaded
	gotTold map[task.Seq]*Loaded
}

// New makes the machine of a partition from what the store holds.
func New(cfg Config, snap *Snapshot, now task.Time) *Machine {
	if cfg.WindowTasks == 0 {
		cfg.WindowTasks = windowTasks
	}
	if cfg.WindowBytes == 0 {
		cfg.WindowBytes = windowBytes
	}
	if cfg.HistoryBytes == 0 {
		cfg.HistoryBytes = historyBytes
	}
	if cfg.IdemBytes == 0 {
		cfg.IdemBytes = idemBytes
	}
	m := &Machine{
		cfg: cfg, slab: newSlab(), index: newIndex(), policies: newPolicies(),
		byName: map[string]*queueOf{}, byID: map[string]SessionNo{}, awaited: map[string]map[CrewNo]struct{}{}, crewByKey: map[string]*crew{}, serves: map[string]*serves{}, naming: map[string][]*serves{},
		servesAll: &serves{all: true, menus: map[*queueOf]*menu{}}, loads: map[uint32]*load{},
		gotTask: map[task.Seq]*Loaded{}, gotTold: map[task.Seq]*Loaded{}, numbered: map[QueueNum]*queueOf{},
		unary: newUnary(),
	}
	m.timers, m.calendar = newTimers(&m.slab), newTimers(&m.slab)
	m.now = snap.Meta.Now
	m.meta = snap.Meta
	m.tell(now, snap.Meta.Offset)
	m.counter = cfg.First
	m.producers.init(snap.Producers, m.now)
	m.idems.init(m.now, snap.NextIdem)
	m.measure()
	m.loadQueues(snap)
	m.idems.brief.load(m, snap.Briefs)
	m.history.init(snap)
	m.loadRestart(snap)
	m.expiry.next, m.deadlines = snap.NextExpiry, expiry{wall: true, next: snap.NextDeadline}
	m.sweeper.init(snap)
	m.dirty = true // the first Apply writes the new owner's meta
	return m
}

// Apply moves time to now, applies the commands in order and fills out. Time
// that goes back is taken as standing still.
func (m *Machine) Apply(now task.Time, cmds []Command, out *Output) {
	m.begin(now, cmds, out)
	m.slowWork()
	m.Finish()
}

// Start is Apply up to where it is known what could be dispatched: Roused and
// Demand tell. What is then decided to be dispatched follows by Dispatch, and Finish
// fills out.
func (m *Machine) Start(now task.Time, cmds []Command, out *Output) {
	m.begin(now, cmds, out)
	m.slowWork()
	m.freed = false // all that it has made ready may be dispatched in this Apply
}

// Dispatch applies more commands between Start and Finish: OpDispatch and OpLease.
func (m *Machine) Dispatch(cmds []Command) {
	for i := range cmds {
		m.apply(&cmds[i])
	}
}

// begin applies commands.
func (m *Machine) begin(now task.Time, cmds []Command, out *Output) {
	out.Reset()
	m.out = out
	m.batch++
	m.tell(now, m.meta.Offset)
	m.measure()
	out.Batch, out.Now = m.batch, m.now
	for _, k := range m.lostMarks {
		out.Marks.drop(k)
	}
	m.lostMarks = nil
	for i := range cmds {
		switch cmds[i].Op {
		case OpClock:
			m.tell(now, cmds[i].Offset)
		case OpGap:
			m.stoodStill(cmds[i].Gap)
		case OpLoaded:
			m.learn(cmds[i].Loaded)
		}
	}
	for i := range cmds {
		if cmds[i].Op == OpLoaded {
			m.loaded(cmds[i].Loaded)
		}
	}
	m.expired = 0
	m.firstWork()
	m.runTimers()
	m.wakeLanes()
	for i := range cmds {
		m.apply(&cmds[i])
	}
}

// apply is the one switch.
func (m *Machine) apply(c *Command) {
	switch c.Op {
	case OpTick, OpLoaded, OpGap, OpClock:
	case OpEnqueue:
		m.enqueue(c)
	case OpReport:
		m.report(c)
	case OpDispatch:
		m.dispatchTo(c.Session, c.N)
	case OpLease:
		m.leaseUnary(c.Lease)
	case OpExtend:
		m.extend(c.Extend)
	case OpOpen:
		m.open(c.Open)
	case OpBeat:
		if s := m.sessionOf(c.Session); s != nil {
			s.beat, s.spared = m.now, false
		}
	case OpDetach:
		if s := m.sessionOf(c.Session); s != nil {
			m.detachSession(s)
		}
	case OpClose:
		m.closeSession(c.Session)
	case OpFree:
		m.freeUnsent(c.Unsent)
	case OpChange:
		m.change(c)
	case OpSetQueue:
		m.setQueue(c.SetQueue)
	case OpPurge:
		m.purge(c.Purge)
	case OpDeleteQueue:
		m.deleteQueue(c)
	}
}

// later keeps a command that can't be decided before its Wants are answered.
func (m *Machine) later(c *Command) { m.out.Deferred = append(m.out.Deferred, *c) }

func (m *Machine) want(w Want) {
	w.Batch = m.batch
	m.out.Wants = append(m.out.Wants, w)
}

// Finish ends what Start began, and closes the Output: refills, marks, and one put for everything that
// is kept once a batch.
func (m *Machine) Finish() {
	m.wantRefills()
	m.wantExpiries(&m.expiry, m.now)
	m.wantExpiries(&m.deadlines, m.wall)
	m.wantSweep()
	out := m.out
	m.idems.brief.end(m)
	m.idems.put(m)
	m.wantIdemsDue()
	for _, q := range m.dirtyList {
		q.dirty = false
		q.state.Used = m.now
		out.Queues = append(out.Queues, q.state)
		m.dirty = true
	}
	m.dirtyList = m.dirtyList[:0]
	if len(m.fading) >= fadingMax {
		m.dropLanes()
	}
	m.keyOnce()
	m.producers.put(m)
	m.history.put(m)
	m.putLists()
	if m.dirty {
		m.dirty = false
		m.meta.Now = m.now
		out.Meta, out.MetaSet = m.meta, true
	}
	out.Deadline, out.Spent = m.deadline(), m.spent()
	clear(m.gotTask)
	clear(m.expiry.told)
	clear(m.gotTold)
	m.out = nil
}

// deadline is when the machine must be ticked next, without any command.
func (m *Machine) deadline() task.Time {
	d := m.tick
	if m.expired > expiryBatchMax || m.freed { // dispatch stands at more of them, or came before what is ready now
		d = m.now
	}
	if t := m.timers.next(); t != 0 && t < d {
		d = t
	}
	if t := m.calendar.next(); t != 0 {
		d = min(d, t.Add(m.meta.Offset))
	}
	if t := m.expiry.due(); t != 0 && t < d {
		d = t
	}
	if t := m.deadlines.due(); t != 0 {
		d = min(d, m.toMachine(t))
	}
	if m.wakes.len() > 0 {
		d = min(d, m.wakes.items[0].side.wake)
	}
	if t := m.idems.brief.next(); t != 0 && t < d {
		d = t
	}
	if t := m.idems.due.at(); t != 0 && t < d {
		d = t
	}
	if t := m.longAt; t != 0 && t < d {
		d = t
	}
	if t := m.restart.next; t != 0 && t < d {
		d = t
	}
	return max(d, m.now+1)
}

// touch notes that the queue's record must be written in this batch.
func (m *Machine) touch(q *queueOf) {
	if !q.dirty {
		q.dirty = true
		m.dirtyList = append(m.dirtyList, q)
	}
}

// runTimers handles every timer whose time has come.
func (m *Machine) runTimers() {
	for i, ok := m.timers.pop(m.now); ok; i, ok = m.timers.pop(m.now) {
		switch m.slab.at(i).state {
		case slotScheduled:
			m.becomeReady(i)
		case slotRunning:
			m.leaseTimer(i)
		}
	}
	for i, ok := m.calendar.pop(m.wall); ok; i, ok = m.calendar.pop(m.wall) {
		m.becomeReady(i)
	}
}

// becomeReady moves a scheduled task whose time has come into its lane.
func (m *Machine) becomeReady(i Slot) {
	s := m.slab.at(i)
	l := m.lanes[s.lane]
	m.unschedule(l, s)
	s.ready = m.readyAt(l, s.due)
	m.dueAgain(s)
	m.pushReturned(l, i)
	m.event(l.queue(), step{kind: EventReady, from: task.Scheduled, to: task.Ready}, s)
}

// slowWork is done at most once per sweepEvery: what needs no exactness.
func (m *Machine) slowWork() {
	m.settleSafe()
	away := m.restart.next
	m.lapseAway()
	m.freed = m.restart.next != away
	if m.longAt != 0 && m.longAt <= m.now {
		m.watchLong()
	}
	if m.now < m.tick {
		return
	}
	m.tick = m.now.Add(sweepEvery)
	m.lapseSessions()
	m.freed = m.freed || len(m.out.Lapsed) > 0
	m.sweepLists()
	m.giveUpUnserved()
	m.producers.lapse(m)
	m.history.retain(m)
	m.dropLanes()
	m.dropIdle()
}

func (m *Machine) place(s *slot) Place { return s.placeIn(m.lanes[s.lane]) }

func (s *slot) placeIn(l *lane) Place {
	p := Place{Class: s.class, Prio: l.prio(), Queue: l.queue().state.Queue, Lane: l.num, Seq: s.seq}
	if s.class.Timed() {
		p.Due = s.due
	}
	return p
}

func (m *Machine) idOf(p Place) task.ID {
	return task.ID{Partition: m.cfg.Partition, Class: p.Class, Priority: p.Prio, Queue: uint32(p.Queue), Lane: uint32(p.Lane), Seq: p.Seq, Due: p.Due}
}
