package sim

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/node"
	"github.com/penstock-io/penstock/internal/store"
	"github.com/penstock-io/penstock/internal/task"
)

var stormFor = flag.Duration("storm", 1500*time.Millisecond, "how long the storm with real goroutines lasts")

// storm is the world with the wall clock and real goroutines: the same promises
// while commits overlap with the next turn. It can't be replayed; the race
// detector and the ledger look on.
type storm struct {
	*testing.T
	n      *node.Node
	br     task.Broker // what producers and workers talk to
	wire   bool        // over a network: time is not real, and some producers leave numbers and repeats to the client
	faulty atomic.Bool
	broken atomic.Int64
	calm   atomic.Bool // the storm is over: all behave
	mu     sync.Mutex
	w      *world // guarded by mu, for its ledger and its checks
}

func TestStorm(t *testing.T) {
	for _, parts := range []int{1, 3} {
		t.Run(fmt.Sprint("partitions=", parts), func(t *testing.T) { runStorm(t, parts, nil) })
	}
}

func runStorm(t *testing.T, parts int, through func(*storm) (calm func(), quiet func() bool)) {
	s := &storm{T: t}
	mem := store.NewMem(store.MemOptions{Manual: true, PunishSingleDelete: true, Fault: s.fault,
		Shows: func(_ uint16, pending int) int { return rand.IntN(pending + 1) }})
	n, err := node.Open(t.Context(), node.Config{Store: mem, Name: "storm", Partitions: parts, WindowTasks: 200, Check: true,
		Log: slog.New(slog.NewTextHandler(io.Discard, nil))})
	if err != nil {
		t.Fatal(err)
	}
	s.n, s.br = n, n
	s.w = &world{sys: steady{n}, mem: mem, parts: parts, led: newLedger()}
	s.w.led.log = func(string, ...any) {}
	s.faulty.Store(true)
	calm, quiet := func() {}, func() bool { return s.broken.Load() == 0 }
	if through != nil {
		calm, quiet = through(s)
	}

	var producers, workers sync.WaitGroup
	stop := make(chan struct{})
	for i := range 4 {
		producers.Go(func() { s.produce(i) })
	}
	for i := range 3 {
		workers.Go(func() { s.work(i, stop) })
	}
	d := *stormFor
	if testing.Short() {
		d /= 4
	}
	if s.wire {
		d *= 20
	}
	for n := 0; n == 0 || n < 20 && quiet(); n++ { // too little has happened to show anything
		<-time.After(d)
	}
	s.faulty.Store(false)
	calm()
	s.calm.Store(true)
	producers.Wait()
	s.until("every task has ended", func() bool {
		qs, err := n.Queues(t.Context(), nil)
		if err != nil {
			return false
		}
		var live int64
		for _, q := range qs {
			live += q.Scheduled + q.Ready + q.Blocked + q.Running
		}
		return live == 0
	})
	close(stop)
	workers.Wait()
	s.until("every worker session has ended", func() bool { // one that could not say so lapses
		info, err := n.Node(t.Context())
		return err == nil && len(info.Workers) == 0
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.w.inspect()
	r := s.w.result()
	t.Logf("%d tasks, %d deliveries, %d completed, %d answered to a repeat, %d faults of the store", r.Sent, r.Delivered, r.Completed, r.Repeats, s.broken.Load())
	for _, c := range r.Faults {
		t.Error(c)
	}
	if r.Completed == 0 || s.broken.Load() == 0 {
		t.Error("too little happened to show anything")
	}
}

// steady is a System of a node that runs by itself.
type steady struct{ *serving }

type serving = node.Node // an embedded Node would hide the method of that name

func (steady) Step() bool   { return false }
func (steady) Begin() bool  { return false }
func (steady) Refill() bool { return false }

func (s *storm) fault(at store.FaultPoint, _ uint16) store.Fault {
	if !s.faulty.Load() || at != store.AtBegin || rand.IntN(40) != 0 {
		return store.FaultNone
	}
	s.broken.Add(1)
	return []store.Fault{store.FaultFull, store.FaultError, store.FaultUnknownLost, store.FaultUnknownKept}[rand.IntN(4)]
}

func (s *storm) until(what string, cond func() bool) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	most := time.Minute
	if s.wire { // the last of many retries may be ten minutes away
		most = 20 * time.Minute
		tick.Reset(time.Second)
	}
	for end := time.Now().Add(most); !cond(); <-tick.C {
		if time.Now().After(end) {
			s.Errorf("waited in vain: %s", what)
			return
		}
	}
}

// pace keeps the storm at a number of tasks that can be looked through.
func pace() <-chan time.Time { return time.After(time.Duration(1+rand.IntN(6)) * time.Millisecond) }

func (s *storm) produce(i int) {
	p := &producer{w: &world{calm: true, rng: rand.New(rand.NewPCG(uint64(i), 1))}, name: fmt.Sprint("p", i), queue: queueNames[i%2], next: 1, open: map[uint64]*sent{}}
	for !s.calm.Load() || len(p.open) > 0 {
		if !s.calm.Load() && len(p.open) < 100 {
			for range 1 + rand.IntN(8) {
				x := &sent{key: fmt.Sprintf("%s/%d", p.session(), p.next), queue: p.queue, spec: p.spec()}
				x.spec.Number, x.spec.Payload = p.next, []byte(x.key)
				p.open[p.next] = x
				s.mu.Lock()
				s.w.led.sent[x.key] = x
				s.mu.Unlock()
				p.next++
			}
		}
		s.send(p)
		<-pace()
	}
}

func (s *storm) send(p *producer) {
	b := &task.EnqueueBatch{Queue: p.queue, Producer: p.session(), AckBelow: p.next}
	for n, x := range p.open {
		b.AckBelow = min(b.AckBelow, n)
		b.Specs = append(b.Specs, x.spec)
	}
	slices.SortFunc(b.Specs, func(a, b task.Spec) int { return int(a.Number) - int(b.Number) })
	numbers := make([]uint64, len(b.Specs))
	for i := range b.Specs {
		numbers[i] = b.Specs[i].Number
	}
	plain := s.wire && p.queue == queueNames[0]
	if plain {
		b.Producer, b.AckBelow = "", 0
		for i := range b.Specs {
			b.Specs[i].Number = 0
		}
	}
	if err := task.EnqueueWait(context.Background(), s.br, b); err != nil {
		if task.CodeOf(err) != task.Unavailable {
			s.Errorf("enqueue: %v", err)
			clear(p.open)
		}
		if plain { // whether it was taken is not known, and nobody sends it again
			clear(p.open)
		}
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range b.Specs {
		n, r := numbers[i], b.Results[i]
		switch {
		case r.Err == nil:
			s.w.led.acked(p.open[n], r)
			delete(p.open, n)
		case r.Err.Code != task.Unavailable:
			s.Errorf("number %d: %v", n, r.Err)
			delete(p.open, n)
		}
	}
}

// hand is a worker of the storm.
type hand struct {
	s    *storm
	name string
	in   chan task.Delivery
	lost chan struct{} // closed when the connection is
	once sync.Once
	held []task.Delivery
	got  int            // of held, by this connection: these it may have again
	done []task.Outcome // decided, and not yet answered
}

// Deliver is task.Sink's.
func (h *hand) Deliver(ds []task.Delivery) {
	h.s.mu.Lock() // noted when it comes: whoever waits for an answer looks at it later
	defer h.s.mu.Unlock()
	for _, d := range ds {
		d.Payload = slices.Clone(d.Payload)
		h.s.w.led.delivered(d, h.name)
		select {
		case h.in <- d:
		default:
			h.s.Errorf("%s got more than it allowed", h.name)
		}
	}
}

// Revoke is task.Sink's: an outcome that comes late is refused anyway.
func (h *hand) Revoke([]task.Token, task.Code) {}

// Lost is task.Sink's.
func (h *hand) Lost(*task.Error) { h.once.Do(func() { close(h.lost) }) }

const handCredit = 64

func (s *storm) work(i int, stop chan struct{}) {
	var held []task.Delivery
	var done []task.Outcome
	for {
		h := &hand{s: s, name: fmt.Sprint("w", i), in: make(chan task.Delivery, handCredit), lost: make(chan struct{}), held: held, done: done}
		o := task.SessionOptions{ID: h.name, Concurrency: 4, TTL: 3000, Remote: true, Queues: []task.QueueWeight{{Queue: "a"}, {Queue: "b"}}}
		for _, d := range held {
			o.Running = append(o.Running, d.Token)
		}
		for _, x := range done {
			o.Running = append(o.Running, x.Token)
		}
		ses, err := s.br.Attach(context.Background(), o, h)
		if err == nil && h.serve(ses, stop) {
			return
		}
		held, done = h.held, h.done
		<-pace()
	}
}

// serve works until the connection is lost, or until the storm is over: then it
// returns true.
func (h *hand) serve(ses task.Session, stop chan struct{}) bool {
	ses.Credit(handCredit)
	if len(h.held) > 0 { // from the connection before
		h.finish(ses)
	}
	beat := time.NewTicker(500 * time.Millisecond)
	defer beat.Stop()
	for {
		select {
		case d := <-h.in:
			h.held = append(h.held, d)
			h.got++
			if len(h.held) >= 8 || len(h.in) == 0 {
				h.finish(ses)
			}
		case <-beat.C:
			if task.CodeOf(ses.Heartbeat()) == task.LeaseLost { // else the client attaches again by itself
				return false
			}
			h.report(ses)
		case <-h.lost:
			return false
		case <-stop:
			ses.Close()
			return true
		}
		if !h.s.calm.Load() && rand.IntN(400) == 0 {
			ses.Detach() // a connection is lost now and then
			return false
		}
	}
}

// finish decides on all it holds.
func (h *hand) finish(ses task.Session) {
	h.s.mu.Lock()
	w := world{rng: rand.New(rand.NewPCG(rand.Uint64(), 2)), led: h.s.w.led}
	for _, d := range h.held {
		h.done = append(h.done, w.outcome(d, h.s.calm.Load()))
	}
	h.s.mu.Unlock()
	h.held = nil
	h.report(ses)
	ses.Credit(h.got)
	h.got = 0
}

func (h *hand) report(ses task.Session) {
	if len(h.done) == 0 {
		return
	}
	answered := make(chan struct{})
	b := &task.OutcomeBatch{Outcomes: slices.Clone(h.done), Done: func(*task.OutcomeBatch) { close(answered) }}
	ses.Report(b)
	<-answered
	h.s.mu.Lock()
	h.s.w.led.reported(b)
	h.s.mu.Unlock()
	if b.Err == nil {
		h.done = nil
	}
}
