package rpctest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/rpc/client"
	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

const patience = 20 * time.Second

// proxy stands between client and server, and can be cut.
type proxy struct {
	ln   net.Listener
	to   string
	mute atomic.Bool // what the server says is thrown away
	down atomic.Bool // connections are refused

	accepted atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

func newProxy(t testing.TB, to string) *proxy {
	p := &proxy{ln: listen(t), to: to, conns: map[net.Conn]struct{}{}}
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			c, err := p.ln.Accept()
			if err != nil {
				return
			}
			if p.down.Load() {
				_ = c.Close()
				continue
			}
			p.accepted.Add(1)
			wg.Go(func() { p.pass(c) })
		}
	})
	t.Cleanup(func() {
		_ = p.ln.Close()
		p.cut()
		wg.Wait()
	})
	return p
}

func (p *proxy) pass(c net.Conn) {
	s, err := net.Dial("tcp", p.to)
	if err != nil {
		_ = c.Close()
		return
	}
	p.mu.Lock()
	p.conns[c], p.conns[s] = struct{}{}, struct{}{}
	p.mu.Unlock()
	var wg sync.WaitGroup
	wg.Go(func() { _, _ = io.Copy(s, c); _ = s.Close() })
	wg.Go(func() { _, _ = io.Copy(muteTo{c, p}, s); _ = c.Close() })
	wg.Wait()
	p.mu.Lock()
	delete(p.conns, c)
	delete(p.conns, s)
	p.mu.Unlock()
}

type muteTo struct {
	net.Conn
	p *proxy
}

func (w muteTo) Write(b []byte) (int, error) {
	if w.p.mute.Load() {
		return len(b), nil
	}
	return w.Conn.Write(b)
}

// cut breaks every connection.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.conns {
		_ = c.Close()
	}
}

func (p *proxy) url() string { return "http://" + p.ln.Addr().String() }

// onBoth runs a test over the fake and over the engine.
func onBoth(t *testing.T, o client.Options, f func(t *testing.T, r *rig, p *proxy)) {
	t.Run("fake", func(t *testing.T) {
		r, p := behindProxy(t, o)
		f(t, r, p)
	})
	t.Run("engine", func(t *testing.T) {
		s := engine(t, 1)
		p := newProxy(t, strings.TrimPrefix(s.URL(), "http://"))
		f(t, &rig{conn: dial(t, p.url(), o), insp: dial(t, s.URL(), client.Options{})}, p)
	})
}

// behindProxy is a client of a fake whose connection can be cut.
func behindProxy(t testing.TB, o client.Options) (*rig, *proxy) {
	t.Helper()
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	ln := listen(t)
	r := &rig{fake: fake, insp: fake, srv: serve(t, fake, ln, handler.Options{})}
	p := newProxy(t, ln.Addr().String())
	r.conn = dial(t, p.url(), o)
	return r, p
}

func until(t testing.TB, what string, cond func() bool) {
	t.Helper()
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for start := time.Now(); !cond(); <-tick.C {
		if time.Since(start) > patience {
			t.Fatalf("waited in vain for: %s", what)
		}
	}
}

func enqueue(t testing.TB, br task.Broker, queue string, specs ...task.Spec) []task.Enqueued {
	t.Helper()
	b := &task.EnqueueBatch{Queue: queue, Specs: specs}
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := task.EnqueueWait(ctx, br, b); err != nil {
		t.Fatal(err)
	}
	return b.Results
}

func enqueued(t testing.TB, f task.Inspector, queue string) int64 {
	t.Helper()
	qs, err := f.Queues(context.Background(), []string{queue})
	if task.CodeOf(err) == task.NotFound {
		return 0
	}
	if err != nil || len(qs) != 1 {
		t.Fatalf("queues %v, %v", qs, err)
	}
	return qs[0].Enqueued
}

// TestCutsLoseAndDoubleNothing enqueues from many goroutines while the
// connection breaks again and again.
func TestCutsLoseAndDoubleNothing(t *testing.T) {
	onBoth(t, client.Options{}, checkCutsLoseAndDoubleNothing)
}

func checkCutsLoseAndDoubleNothing(t *testing.T, r *rig, p *proxy) {
	const callers, each = 32, 300
	var wg sync.WaitGroup
	var done atomic.Int64
	ids := make([]map[task.ID]bool, callers)
	for i := range callers {
		ids[i] = map[task.ID]bool{}
		wg.Go(func() {
			for n := range each {
				res := enqueue(t, r.conn, fmt.Sprintf("q%d", i%3), task.Spec{Type: "t", Payload: []byte(fmt.Sprint(n))})
				if res[0].Err != nil {
					t.Error(res[0].Err)
				}
				ids[i][res[0].ID] = true
				done.Add(1)
			}
		})
	}
	total := func() int64 { return enqueued(t, r.insp, "q0") + enqueued(t, r.insp, "q1") + enqueued(t, r.insp, "q2") }
	for cuts := range 8 {
		// A connection that is just being opened may not be muted: see it work.
		until(t, "a connection", func() bool { return p.accepted.Load() > int64(cuts) || done.Load() == callers*each })
		from := total()
		until(t, "progress", func() bool { return total() >= from+callers || done.Load() == callers*each })
		p.mute.Store(cuts%2 == 1)
		if cuts%2 == 1 { // the server takes tasks, and its answers are lost
			until(t, "unanswered tasks", func() bool { return total() >= done.Load()+callers/2 || done.Load() == callers*each })
		}
		p.cut()
		p.mute.Store(false)
	}
	wg.Wait()
	seen := 0
	for i := range ids {
		seen += len(ids[i])
	}
	if seen != callers*each || total() != callers*each {
		t.Errorf("%d IDs and %d tasks, want %d", seen, total(), callers*each)
	}
}

func TestAnswersLostByTheServerAreAskedForAgain(t *testing.T) {
	r, _ := behindProxy(t, client.Options{})
	r.fake.Inject(func(f *brokertest.Faults) { f.LoseAnswers = 3 })
	if res := enqueue(t, r.conn, "q", task.Spec{Type: "a"}, task.Spec{Type: "b"}); !res[0].Existing || res[0].ID.IsZero() || res[0].ID == res[1].ID {
		t.Errorf("results %+v", res)
	}
	if n := enqueued(t, r.fake, "q"); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

func TestNumbersOfTheCallersOwn(t *testing.T) {
	onBoth(t, client.Options{}, checkNumbersOfTheCallersOwn)
}

func checkNumbersOfTheCallersOwn(t *testing.T, r *rig, p *proxy) {
	send := func(number uint64) *task.EnqueueBatch {
		b := &task.EnqueueBatch{Queue: "q", Producer: "mine", Specs: []task.Spec{{Type: "t", Number: number}}}
		done := make(chan struct{})
		b.Done = func(*task.EnqueueBatch) { close(done) }
		p.mute.Store(true)
		before := enqueued(t, r.insp, "q")
		r.conn.Enqueue(b)
		until(t, "the task at the server", func() bool { return enqueued(t, r.insp, "q") > before })
		p.cut()
		p.mute.Store(false)
		<-done
		return b
	}
	if b := send(1); b.Err != nil || b.Results[0].Err != nil || !b.Results[0].Existing {
		t.Errorf("a numbered one is repeated: %+v, %v", b.Results, b.Err)
	}
	if b := send(0); b.Err == nil || b.Err.Code != task.Unavailable || b.Err.Applied != task.AppliedUnknown {
		t.Errorf("one without a number is not repeated: %+v, %v", b.Results, b.Err)
	}
	if n := enqueued(t, r.insp, "q"); n != 2 {
		t.Errorf("%d tasks, want 2", n)
	}
}

func TestGivingUp(t *testing.T) {
	r, p := behindProxy(t, client.Options{RepeatFor: 300 * time.Millisecond})
	p.mute.Store(true)
	sent := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	wait := make(chan error, 2)
	go func() { wait <- task.EnqueueWait(context.Background(), r.conn, sent) }()
	until(t, "the task at the server", func() bool { return enqueued(t, r.fake, "q") == 1 })
	p.down.Store(true)
	p.cut()
	var e *task.Error
	if err := <-wait; !errors.As(err, &e) || e.Code != task.Unavailable || e.Applied != task.AppliedUnknown {
		t.Errorf("one that was sent ends with %v (applied %d)", err, e.Applied)
	}
	unsent := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	err := task.EnqueueWait(context.Background(), r.conn, unsent)
	if !errors.As(err, &e) || e.Code != task.Unavailable || e.Applied != task.AppliedNo {
		t.Errorf("one that was not sent ends with %v", err)
	}
}

// worker is a Sink that keeps what it is told.
type worker struct {
	mu      sync.Mutex
	got     []task.Delivery
	revoked []task.Token
	lost    []*task.Error
}

func (w *worker) Deliver(ds []task.Delivery) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range ds {
		d.Payload = append([]byte(nil), d.Payload...)
		w.got = append(w.got, d)
	}
}

func (w *worker) Revoke(ts []task.Token, _ task.Code) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = append(w.revoked, ts...)
}

func (w *worker) Lost(e *task.Error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, e)
}

func (w *worker) deliveries() []task.Delivery {
	w.mu.Lock()
	defer w.mu.Unlock()
	return append([]task.Delivery(nil), w.got...)
}

func attach(t testing.TB, br task.Broker, w *worker, id string) task.Session {
	t.Helper()
	s, err := br.Attach(context.Background(), task.SessionOptions{ID: id, Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 10, Remote: true}, w)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// TestSessionsOutliveTheirConnection: leases go on, an outcome of the outage is
// delivered after it, and credit is not lost.
func TestSessionsOutliveTheirConnection(t *testing.T) {
	onBoth(t, client.Options{}, checkSessionsOutliveTheirConnection)
}

func checkSessionsOutliveTheirConnection(t *testing.T, r *rig, p *proxy) {
	w := &worker{}
	s := attach(t, r.conn, w, "w1")
	s.Credit(3)
	ids := enqueue(t, r.conn, "q", task.Spec{Type: "a"}, task.Spec{Type: "b"})
	until(t, "two deliveries", func() bool { return len(w.deliveries()) == 2 })
	p.down.Store(true)
	p.cut()
	until(t, "the loss to be noticed", func() bool { return s.Heartbeat() != nil })
	if err := s.Heartbeat(); task.CodeOf(err) != task.Unavailable {
		t.Errorf("heartbeat during the outage: %v", err)
	}
	reported := make(chan struct{})
	ob := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: w.deliveries()[0].Token, Kind: task.OutcomeComplete, Result: []byte("1"), Started: true}}}
	ob.Done = func(*task.OutcomeBatch) { close(reported) }
	s.Report(ob)
	p.down.Store(false)
	<-reported
	if ob.Err != nil || ob.Codes[0] != task.OK {
		t.Fatalf("outcome of the outage: %v, %v", ob.Codes, ob.Err)
	}
	until(t, "a heartbeat", func() bool { return s.Heartbeat() == nil })
	for i, want := range []task.State{task.Succeeded, task.Running} {
		if info, err := r.insp.Get(context.Background(), ids[i].ID); err != nil || info.State != want || info.Counts != (task.Counts{}) || len(info.Attempts) > 1 {
			t.Errorf("task %d is %+v, %v, want %v", i, info, err, want)
		}
	}
	enqueue(t, r.conn, "q", task.Spec{Type: "c"}, task.Spec{Type: "d"})
	until(t, "the third credit to be used", func() bool { return len(w.deliveries()) == 3 })
	if w.deliveries()[2].Type != "c" || len(w.revoked) != 0 || len(w.lost) != 0 {
		t.Errorf("deliveries %+v, revoked %v, lost %v", w.deliveries(), w.revoked, w.lost)
	}
}

// TestOutcomesWhoseAnswerIsLost are sent again and taken once.
func TestOutcomesWhoseAnswerIsLost(t *testing.T) {
	onBoth(t, client.Options{}, checkOutcomesWhoseAnswerIsLost)
}

func checkOutcomesWhoseAnswerIsLost(t *testing.T, r *rig, p *proxy) {
	w := &worker{}
	s := attach(t, r.conn, w, "w1")
	s.Credit(1)
	ids := enqueue(t, r.conn, "q", task.Spec{Type: "a"})
	until(t, "the delivery", func() bool { return len(w.deliveries()) == 1 })
	p.mute.Store(true)
	done := make(chan struct{})
	ob := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: w.deliveries()[0].Token, Kind: task.OutcomeComplete, Started: true}}, Done: func(*task.OutcomeBatch) { close(done) }}
	s.Report(ob)
	until(t, "the outcome at the server", func() bool {
		info, err := r.insp.Get(context.Background(), ids[0].ID)
		return err == nil && info.State == task.Succeeded
	})
	p.cut()
	p.mute.Store(false)
	<-done
	if ob.Err != nil || ob.Codes[0] != task.OK {
		t.Errorf("repeated: %v, %v", ob.Codes, ob.Err)
	}
	if len(w.revoked) != 0 {
		t.Errorf("revoked what was reported: %v", w.revoked)
	}
}

func TestAServerThatDrainsAndComesBack(t *testing.T) {
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	ln := listen(t)
	first := serve(t, fake, ln, handler.Options{})
	conn := dial(t, "http://"+ln.Addr().String(), client.Options{})
	w := &worker{}
	s := attach(t, conn, w, "w1")
	s.Credit(10)
	fake.Inject(func(f *brokertest.Faults) { f.HoldDone = true })
	b := &task.EnqueueBatch{Queue: "other", Specs: []task.Spec{{Type: "t"}}}
	answered := make(chan error, 1)
	go func() { answered <- task.EnqueueWait(context.Background(), conn, b) }()
	until(t, "the task at the server", func() bool { return enqueued(t, fake, "other") == 1 })
	drained := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		drained <- first.Shutdown(ctx)
	}()
	fake.Inject(func(f *brokertest.Faults) { f.HoldDone = false })
	if err := <-answered; err != nil || b.Results[0].Existing {
		t.Errorf("the task in flight: %+v, %v", b.Results, err)
	}
	if err := <-drained; err != nil {
		t.Errorf("Shutdown: %v", err)
	}
	again, err := net.Listen("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	serve(t, fake, again, handler.Options{})
	enqueue(t, conn, "q", task.Spec{Type: "after"})
	until(t, "a delivery from the new server", func() bool { return len(w.deliveries()) == 1 })
	if len(w.lost) != 0 {
		t.Errorf("lost %v", w.lost)
	}
}

func TestWatchesOutliveTheirConnection(t *testing.T) {
	onBoth(t, client.Options{}, checkWatchesOutliveTheirConnection)
}

func checkWatchesOutliveTheirConnection(t *testing.T, r *rig, p *proxy) {
	id := enqueue(t, r.conn, "q", task.Spec{Type: "t"})[0].ID
	done := make(chan struct{})
	w := &task.Watch{ID: id, Done: func(*task.Watch) { close(done) }}
	r.conn.Watch(w)
	gone := make(chan struct{})
	stop := r.conn.Watch(&task.Watch{ID: id, Done: func(*task.Watch) { close(gone) }})
	stop()
	p.cut()
	enqueue(t, r.conn, "q", task.Spec{Type: "t"}) // connected again
	if errs := r.conn.Change(context.Background(), task.VerbCancel, []task.ID{id}); errs[0] != nil {
		t.Fatal(errs[0])
	}
	<-done
	if w.Err != nil || w.Info.State != task.Canceled || w.Info.ID != id {
		t.Errorf("watched %+v, %v", w.Info, w.Err)
	}
	select {
	case <-gone:
		t.Error("a watch that was given up was answered")
	default:
	}
}

func TestLargeBatchesAreCutAndPutTogether(t *testing.T) {
	onBoth(t, client.Options{}, checkLargeBatchesAreCutAndPutTogether)
}

func checkLargeBatchesAreCutAndPutTogether(t *testing.T, r *rig, p *proxy) {
	specs := make([]task.Spec, 5000)
	for i := range specs {
		specs[i] = task.Spec{Type: "t", Payload: make([]byte, 900)}
	}
	specs[1234].Type = ""
	specs[2345].Payload = make([]byte, 2<<20)
	specs[3456].Payload = make([]byte, task.PayloadMax)
	res := enqueue(t, r.conn, "q", specs...)
	last := task.Seq(0)
	for i, e := range res {
		switch i {
		case 1234, 2345:
			if e.Err == nil || e.Err.Code != task.Invalid {
				t.Errorf("result %d is %+v, want invalid", i, e)
			}
		default:
			if e.Err != nil || e.ID.Seq <= last {
				t.Fatalf("result %d is %+v after %d", i, e, last)
			}
			last = e.ID.Seq
		}
	}
	if n := enqueued(t, r.insp, "q"); n != 4998 {
		t.Errorf("%d tasks, want 4998", n)
	}
	b := &task.EnqueueBatch{Queue: "\x07", Specs: specs[:3000]}
	if err := task.EnqueueWait(context.Background(), r.conn, b); task.CodeOf(err) != task.Invalid {
		t.Errorf("a bad queue: %v, want the batch refused", err)
	}
}
