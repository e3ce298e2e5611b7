package queue

import (
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// BenchmarkServedTypes is the life of a task of which a worker takes one of 1,000
// types by name.
func BenchmarkServedTypes(b *testing.B) {
	for _, waiting := range []int{0, 999} {
		b.Run(fmt.Sprint(waiting, " of them wait"), func(b *testing.B) {
			l := newLives(b, 1_000)
			l.fill(waiting)
			b.ReportAllocs()
			b.ResetTimer()
			for range b.N {
				l.one()
			}
		})
	}
}

// lives is a machine with a session that names many types.
type lives struct {
	tb      testing.TB
	m       *Machine
	out     Output
	now     task.Time
	session SessionNo
	crew    CrewNo
	types   []string
	eb      *task.EnqueueBatch
}

func newLives(tb testing.TB, types int) *lives {
	l := &lives{tb: tb, m: New(Config{Epoch: 1}, &Snapshot{}, 1), now: 1}
	for i := range types {
		l.types = append(l.types, fmt.Sprint("t", i))
	}
	o := &Open{Options: &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Types: l.types, Concurrency: 1}}
	l.m.Apply(l.now, []Command{{Op: OpOpen, Open: o}}, &l.out)
	l.session, l.crew = o.Session, l.m.CrewOf(o.Session)
	l.eb = &task.EnqueueBatch{Queue: "q", Specs: make([]task.Spec, 1), Results: make([]task.Enqueued, 1)}
	return l
}

func (l *lives) enqueue(typ string, prio uint8) {
	l.eb.Specs[0] = task.Spec{Type: typ, Priority: prio}
	l.m.Start(l.now, []Command{{Op: OpEnqueue, Enqueue: l.eb}}, &l.out)
}

// fill has tasks of n types wait, less urgent than others.
func (l *lives) fill(n int) {
	for _, typ := range l.types[:n] {
		l.enqueue(typ, 1)
		l.m.Finish()
	}
}

// one is the life of a task of the last type.
func (l *lives) one() {
	l.enqueue(l.types[len(l.types)-1], 5)
	if l.m.Demand(l.crew, 1) != 1 {
		l.tb.Fatal("nothing is to be dispatched")
	}
	l.m.Dispatch([]Command{{Op: OpDispatch, Session: l.session, N: 1}})
	l.m.Finish()
	if len(l.out.Leased) != 1 || l.out.Leased[0].Type != l.types[len(l.types)-1] {
		l.tb.Fatalf("leased %+v", l.out.Leased)
	}
	rb := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: l.out.Leased[0].Token}}, Codes: make([]task.Code, 1)}
	l.m.Apply(l.now, []Command{{Op: OpReport, Report: rb}}, &l.out)
}

// keyGate holds the lanes of one key: it stands for gates to come.
type keyGate struct {
	key   string
	lanes *parked
}

func (g keyGate) shuts(*queueOf) bool    { return false }
func (g keyGate) holds(l *lane) bool     { return l.key == g.key && g.key != "" }
func (g keyGate) parked(*lane) *parked   { return g.lanes }
func (g keyGate) why(*lane) string       { return "its key is held" }
func (g keyGate) check(m *Machine) error { return nil }

// A lane that a gate holds is parked with it when it is next, and holds up nobody
// behind it; when the gate lets go it is where it was in the order.
func TestGateParksLanes(t *testing.T) {
	var lanes parked
	was := gates
	defer func() { gates = was }()
	gates = append([]gate{pauseGate{}}, keyGate{"held", &lanes})
	l := newLives(t, 2)
	put := func(key string) {
		l.eb.Specs[0] = task.Spec{Type: "t0", Key: key, Priority: 5}
		l.now++
		l.m.Apply(l.now, []Command{{Op: OpEnqueue, Enqueue: l.eb}}, &l.out)
	}
	take := func() (keys string) {
		l.m.Apply(l.now, []Command{{Op: OpDispatch, Session: l.session, N: 10}}, &l.out)
		for _, d := range l.out.Leased {
			keys += d.Key + " "
		}
		if err := l.m.Check(); err != nil {
			t.Fatal(err)
		}
		return keys
	}
	put("a")
	put("held")
	put("b")
	put("held")
	if got := take(); got != "a b " || lanes.len() != 1 {
		t.Fatalf("leased %q, %d lanes are parked", got, lanes.len())
	}
	if v, _ := l.m.Find(lanes.items[0].at.seq); v.Reason != "its key is held" {
		t.Errorf("why it waits: %q", v.Reason)
	}
	if n := l.m.Demand(l.crew, 10); n != 0 {
		t.Errorf("%d are to be dispatched", n)
	}
	put("held")
	gates[1] = keyGate{"", &lanes}
	l.m.wake(&lanes)
	put("c")
	if n := l.m.Roused(nil); len(n) != 1 {
		t.Errorf("%d crews were roused", len(n))
	}
	if got := take(); got != "held held held c " {
		t.Errorf("then leased %q", got)
	}
}

// A pause costs the same however many lanes the queue has, and holds what comes.
func TestPauseShutsTheQueue(t *testing.T) {
	l := newLives(t, 2)
	l.fill(2)
	pause := func(p bool) {
		l.m.Apply(l.now, []Command{{Op: OpSetQueue, SetQueue: &SetQueue{Name: "q", Patch: task.QueuePatch{Paused: &p}}}}, &l.out)
		if err := l.m.Check(); err != nil {
			t.Fatal(err)
		}
	}
	pause(true)
	l.fill(2)
	if n := l.m.Demand(l.crew, 10); n != 0 || len(l.m.Roused(nil)) != 0 {
		t.Errorf("of a paused queue %d are to be dispatched", n)
	}
	l.m.Apply(l.now, []Command{{Op: OpDispatch, Session: l.session, N: 10}}, &l.out)
	if n := len(l.out.Leased); n != 0 {
		t.Errorf("of a paused queue %d were leased", n)
	}
	pause(false)
	if len(l.m.Roused(nil)) != 1 || l.m.Demand(l.crew, 10) != 4 {
		t.Errorf("it goes on, and nobody is told")
	}
}

// Who asks for the demand decides nothing: with the same commands and times the same
// tasks go out, whether anybody has asked or not (I4).
func TestDemandDecidesNothing(t *testing.T) {
	run := func(ask bool) (got string) {
		m, now := New(Config{Epoch: 1}, &Snapshot{}, 1), task.Time(1)
		var out Output
		apply := func(c Command) { now++; m.Apply(now, []Command{c}, &out) }
		put := func(q string, n int) {
			eb := &task.EnqueueBatch{Queue: q, Specs: make([]task.Spec, n), Results: make([]task.Enqueued, n)}
			for i := range eb.Specs {
				eb.Specs[i] = task.Spec{Type: q}
			}
			apply(Command{Op: OpEnqueue, Enqueue: eb})
		}
		put("a", 1)
		put("b", 1)
		o := &Open{Options: &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "a", Weight: 3}, {Queue: "b", Weight: 1}}, Concurrency: 1}}
		apply(Command{Op: OpOpen, Open: o})
		crew := m.CrewOf(o.Session)
		take := func(n int) {
			if ask {
				m.Demand(crew, 100)
			}
			apply(Command{Op: OpDispatch, Session: o.Session, N: n})
			for _, d := range out.Leased {
				got += d.Type
			}
		}
		take(2)
		put("a", 5)
		take(1)
		put("b", 5)
		for range 8 {
			take(1)
		}
		return got
	}
	if a, b := run(false), run(true); a != b || len(a) != 11 {
		t.Errorf("without being asked %q, and asked %q", a, b)
	}
}

// A paused queue waits for nobody: its types are not shown as unserved.
func TestPausedShowsNothingUnserved(t *testing.T) {
	l := newLives(t, 2)
	l.fill(2)
	paused := true
	l.m.Apply(l.now, []Command{{Op: OpClose, Session: l.session}}, &l.out)
	if i := l.m.QueueInfos([]string{"q"}, nil)[0]; len(i.Unserved) != 2 {
		t.Errorf("unserved %v", i.Unserved)
	}
	l.m.Apply(l.now, []Command{{Op: OpSetQueue, SetQueue: &SetQueue{Name: "q", Patch: task.QueuePatch{Paused: &paused}}}}, &l.out)
	if i := l.m.QueueInfos([]string{"q"}, nil)[0]; len(i.Unserved) > 0 {
		t.Errorf("paused, and unserved %v", i.Unserved)
	}
}
