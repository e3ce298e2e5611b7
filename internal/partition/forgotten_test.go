package partition

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

// crowd is workers and leases of several partitions at once, at random.
type crowd struct {
	*rand.Rand
	t       *testing.T
	rigs    []*rig
	queues  []string
	workers []*crowdWorker
	leases  []*crowdLease
	held    []task.Delivery
	paused  map[string]bool
	n       int
}

// crowdWorker is a session with one credit over all partitions.
type crowdWorker struct {
	worker
	legs []*Attached // by partition
}

// crowdLease is a lease outside sessions, over all partitions.
type crowdLease struct {
	credit Credit
	once   bool
	ended  bool
	left   int
	got    []task.Delivery
}

func (l *crowdLease) Revoke([]task.Token, task.Code) {}
func (l *crowdLease) Lost(*task.Error)               {}

func (l *crowdLease) Deliver(ds []task.Delivery) {
	l.got = append(l.got, ds...)
	l.end()
}

func (l *crowdLease) end() {
	l.ended = true
	l.credit.Close()
}

func (l *crowdLease) failed(err *task.Error) {
	if l.left--; !l.ended && (l.left <= 0 || err != nil && l.credit.Over()) {
		l.end()
	}
}

func newCrowd(t *testing.T, seed uint64) *crowd {
	w := &crowd{Rand: rand.New(rand.NewPCG(seed, 77)), t: t, paused: map[string]bool{}}
	window := 0
	if w.IntN(3) == 0 {
		window = 1 + w.IntN(50)
	}
	for p := range 1 + w.IntN(3) {
		w.rigs = append(w.rigs, newRig(t, store.MemOptions{}, func(c *Config) { c.Partition, c.WindowTasks = uint16(p), window }))
	}
	w.queues = []string{"a", "b", "c"}[:1+w.IntN(3)]
	return w
}

// names are the queues and types that somebody asks for.
func (w *crowd) names() (qs []task.QueueWeight, types []string) {
	for _, q := range w.queues {
		if w.IntN(2) == 0 || q == "a" {
			qs = append(qs, task.QueueWeight{Queue: q, Weight: 1 + w.IntN(3)})
		}
	}
	if w.IntN(2) == 0 {
		types = []string{"t", "u", "v"}[:1+w.IntN(2)]
	}
	return qs, types
}

func (w *crowd) attach() {
	w.n++
	x := &crowdWorker{}
	if w.IntN(2) == 0 {
		x.credit.Bound(1 + w.IntN(4))
	}
	qs, types := w.names()
	for _, g := range w.rigs {
		o := &task.SessionOptions{ID: fmt.Sprint("w", w.n), Concurrency: 1, Queues: qs, Types: types, TTL: 10 * task.Minute}
		x.legs = append(x.legs, g.r.Attach(o, 1+w.IntN(3), &x.credit, &x.worker, func([]task.Token, *task.Error) {}))
	}
	w.workers = append(w.workers, x)
}

func (w *crowd) leave() {
	i := w.IntN(len(w.workers))
	x := w.workers[i]
	x.credit.Close()
	for p, g := range w.rigs {
		if w.IntN(2) == 0 {
			g.r.Detach(x.legs[p])
		} else {
			g.r.CloseSession(x.legs[p], nil)
		}
	}
	w.workers = append(w.workers[:i], w.workers[i+1:]...)
}

func (w *crowd) enqueue() {
	b := batchOf(w.queues[w.IntN(len(w.queues))], 0, 1+w.IntN(6))
	for i := range b.Specs {
		b.Specs[i].Type = []string{"t", "u", "v"}[w.IntN(3)]
		b.Specs[i].Priority = uint8(w.IntN(10))
		b.Specs[i].Key = []string{"", "", "k", "l"}[w.IntN(4)]
	}
	b.Done = func(*task.EnqueueBatch) {}
	w.rigs[w.IntN(len(w.rigs))].r.Enqueue(b)
}

func (w *crowd) lease() {
	l := &crowdLease{left: len(w.rigs), once: w.IntN(2) == 0}
	l.credit.Undivided()
	qs, types := w.names()
	q := &task.LeaseRequest{Queues: qs, Types: types, Max: 1 + w.IntN(3), TTL: 10 * task.Minute}
	l.credit.Add(q.Max)
	w.leases = append(w.leases, l)
	for _, i := range w.Perm(len(w.rigs)) {
		w.rigs[i].r.Poll(q, &l.credit, l, l.once, l.failed)
	}
}

func (w *crowd) report() {
	w.collect()
	for range w.IntN(4) {
		if len(w.held) == 0 {
			return
		}
		i := w.IntN(len(w.held))
		d := w.held[i]
		w.held = append(w.held[:i], w.held[i+1:]...)
		o := task.Outcome{Token: d.Token, Started: true}
		if w.IntN(4) == 0 {
			o.Kind = task.OutcomeRelease
		}
		w.rigs[d.Token.Partition].r.Report(&task.OutcomeBatch{Outcomes: []task.Outcome{o}, Done: func(*task.OutcomeBatch) {}})
	}
}

// collect takes in what was delivered.
func (w *crowd) collect() {
	for _, x := range w.workers {
		w.held = append(w.held, x.got...)
		x.got = nil
	}
	wait := w.leases[:0]
	for _, l := range w.leases {
		if w.held = append(w.held, l.got...); !l.ended {
			wait = append(wait, l)
		}
	}
	w.leases = wait
}

func (w *crowd) reshape() {
	q := w.queues[w.IntN(len(w.queues))]
	deletes, force, paused := w.IntN(3) == 0 && !w.paused[q], w.IntN(2) == 0, !w.paused[q]
	for _, g := range w.rigs {
		if deletes {
			g.r.DeleteQueue(q, force, func(int64, *task.Error) {})
		} else {
			w.paused[q] = paused
			g.r.SetQueue(q, task.QueuePatch{Paused: &paused}, func(*task.Error) {})
		}
	}
}

func (w *crowd) step() {
	g := w.rigs[w.IntN(len(w.rigs))]
	if _, err := g.r.Step(); err != nil {
		w.t.Fatal(err)
	}
	if w.IntN(2) == 0 {
		g.r.Refill()
	}
}

func (w *crowd) act() {
	switch k := w.IntN(13); {
	case k < 3:
		w.enqueue()
	case k < 4 && len(w.workers) < 12:
		w.attach()
	case k < 6 && len(w.workers) > 0:
		w.workers[w.IntN(len(w.workers))].credit.Add(1 + w.IntN(2))
	case k < 8:
		w.report()
	case k < 9 && len(w.workers) > 0 && w.IntN(2) == 0:
		w.leave()
	case k < 10:
		w.lease()
	case k < 11 && len(w.leases) > 0: // its caller goes away
		w.leases[w.IntN(len(w.leases))].end()
	case k < 12:
		w.reshape()
	default:
		for range w.IntN(20) {
			w.step()
		}
	}
}

// rest lets all partitions come to rest, and wants nobody to have been forgotten.
func (w *crowd) rest(at int) {
	for range 8 { // what one does may wake another
		for _, g := range w.rigs {
			g.run()
		}
	}
	w.collect()
	for p, g := range w.rigs {
		for _, x := range w.workers {
			a := x.legs[p]
			if a.num == 0 || x.credit.Left() == 0 || g.r.m.Room(a.num) == 0 {
				continue
			}
			if n := g.r.m.Demand(a.crew.no, 10); n > 0 {
				w.t.Fatalf("act %d: partition %d has %d tasks for session %s, which may be given %d", at, p, n, a.open.Options.ID, x.credit.Left())
			}
		}
		for _, l := range g.r.polls {
			if l.joined && l.credit.Left() > 0 && g.r.m.Demand(l.crew.no, 1) > 0 {
				w.t.Fatalf("act %d: partition %d has a task for a lease that waits", at, p)
			}
		}
	}
	for _, l := range w.leases {
		if l.once {
			w.t.Fatalf("act %d: a lease that does not wait has no answer", at)
		}
	}
}

// Nobody is forgotten: where nothing moves any more, no worker has room for a task that
// is there, whoever else came and went, in one partition or in several that share its
// credit.
func TestNobodyIsForgotten(t *testing.T) {
	for seed := range uint64(120) {
		w := newCrowd(t, seed)
		for at := range 300 {
			w.act()
			if w.IntN(3) == 0 {
				w.step()
			}
			if w.IntN(8) == 0 {
				w.rest(at)
			}
		}
		w.rest(300)
		if t.Failed() {
			t.Fatalf("seed %d", seed)
		}
	}
}
