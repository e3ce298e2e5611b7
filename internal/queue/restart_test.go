package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// open opens a session of a worker outside this process that names what it runs.
func (b *bench) open(id string, running ...task.Token) *queue.Open {
	b.Helper()
	o := &queue.Open{Options: &task.SessionOptions{ID: id, Worker: id, Remote: true, TTL: task.Minute, Concurrency: 10,
		Queues: []task.QueueWeight{{Queue: "q"}}, Running: running}}
	b.apply(queue.Command{Op: queue.OpOpen, Open: o})
	if o.Err != nil {
		b.Fatal(o.Err)
	}
	return o
}

// take lets a session have up to n tasks.
func (b *bench) take(o *queue.Open, n int) []task.Token {
	b.Helper()
	b.settle()
	b.apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: n})
	var ts []task.Token
	for i := range b.Leased {
		ts = append(ts, b.Leased[i].Token)
	}
	return ts
}

func (b *bench) reopen(clean bool) {
	b.Helper()
	if err := b.Reopen(clean); err != nil {
		b.Fatal(err)
	}
	b.settle()
}

// A worker that came back after a restart of the server had its attempts begin
// anew: history showed them too short, and their timeout was given twice.
func TestAttemptGoesOnAfterARestart(t *testing.T) {
	f := func(clean bool, before, down, after task.Millis, left bool) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{Policy: &task.Policy{Timeout: 30 * task.Second}})
		begun := b.Now
		k := b.take(b.open("w"), 1)[0]
		for range int(before / task.Second) {
			b.Now += task.Time(task.Second)
			b.settle()
		}
		b.reopen(clean)
		b.Now += task.Time(down)
		b.open("w", k)
		if v, ok := b.M.Find(k.Seq); !ok || v.Started != begun {
			t.Errorf("it runs since %d, want %d", v.Started, begun)
		}
		b.Now += task.Time(after)
		b.settle()
		if q := b.info(); (q.Running == 1) != left {
			t.Errorf("after %d ms: %+v, still running should be %v", b.Now-begun, q, left)
		}
	}
	f(true, 2*task.Second, 0, 20*task.Second, true)
	f(false, 2*task.Second, 3*task.Second, 20*task.Second, true)
	f(true, 10*task.Second, 0, 25*task.Second, false)
	f(false, 10*task.Second, 3*task.Second, 25*task.Second, false)
}

// An outcome that came before its worker was back ended an attempt that seemed to
// have taken no time.
func TestOutcomeAfterARestartKnowsItsStart(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	begun := b.Now
	k := b.take(b.open("w"), 1)[0]
	b.Now += 5000
	b.settle()
	b.Now += 1000
	b.settle()
	b.reopen(false)
	r := &task.OutcomeBatch{Outcomes: []task.Outcome{{Token: k}}, Codes: make([]task.Code, 1)}
	if err := b.Once(queue.Command{Op: queue.OpReport, Report: r}); err != nil || r.Codes[0] != task.OK {
		t.Fatal(err, r.Codes)
	}
	if f := b.Out.Finished.Puts; len(f) != 1 || f[0].Started != begun {
		t.Fatalf("got %+v, want it to have run since %d", f, begun)
	}
}

// A worker that has five seconds to be back after a start is blamed by none that has
// not waited for it so long: restarts that followed each other closely had it crash
// a second after the last of them.
func TestQuickRestartsBlameNobody(t *testing.T) {
	f := func(lives ...task.Millis) *bench {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{})
		k := b.take(b.open("w"), 1)[0]
		for range 4 { // it has a claim
			b.Now += 500
			b.settle()
		}
		for _, d := range lives {
			b.reopen(false)
			for end := b.Now.Add(d); b.Now < end; b.settle() {
				b.Now += 100
			}
			b.Now += 5500 // it is down
		}
		b.reopen(false)
		for range 14 { // nobody could have been back before
			b.Now += 100
			b.settle()
		}
		if q := b.info(); q.Blocked != 1 {
			t.Errorf("lives of %v, and 1.4 s after the last start it is held no more: %+v", lives, q)
		}
		for range 100 {
			b.Now += 100
			b.settle()
		}
		if v, ok := b.M.Find(k.Seq); !ok || v.Counts.Crashes != 0 {
			t.Errorf("lives of %v: %+v, want no crash", lives, v.Counts)
		}
		if q := b.info(); q.Blocked != 0 {
			t.Errorf("lives of %v: it is held for ever: %+v", lives, q)
		}
		return b
	}
	f(1000)
	f(1000, 1000, 1000)
	f(4900, 0)
}

// A lease that a restart in order had written down and whose worker did not come
// back left its claim: another worker's lease was taken for it after the next,
// unclean start, and counted as a crash.
func TestClaimOfAWorkerThatStayedAway(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	b.take(b.open("gone"), 1)
	b.Now += 100
	b.reopen(true)
	b.Now += 6000
	b.settle()
	k := b.take(b.open("here"), 1)
	if len(k) != 1 {
		t.Fatal("the task was not given out again")
	}
	b.reopen(false)
	if o := b.open("here", k...); len(o.Lost) != 0 {
		t.Fatalf("it lost %v, which it runs", o.Lost)
	}
	if q := b.info(); q.Running != 1 {
		t.Fatalf("got %+v", q)
	}
	if v, _ := b.M.Find(k[0].Seq); v.Counts.Crashes != 0 {
		t.Fatalf("got %+v, want no crash", v.Counts)
	}
}

// Of a worker that did not come back after a start everything that it had been given
// crashed, and not the oldest of it that it can have run at once: three losses of host
// and server together quarantined what no handler had begun.
func TestOfAnAbsentWorkerTheOldestAreBlamed(t *testing.T) {
	f := func(remote bool, concurrency, given, crash int) {
		t.Helper()
		b := newBench(t, 1000)
		for i := range given {
			b.put(task.Spec{Type: "t", Priority: uint8(i % 3)})
		}
		o := &queue.Open{Options: &task.SessionOptions{ID: "w", Remote: remote, TTL: task.Minute, Concurrency: concurrency, Queues: []task.QueueWeight{{Queue: "q"}}}}
		b.apply(queue.Command{Op: queue.OpOpen, Open: o})
		ts := b.take(o, given)
		b.pass(3*task.Second, task.Second)
		b.reopen(false)
		b.pass(8*task.Second, task.Second)
		for n, k := range ts {
			if v, ok := b.M.Find(k.Seq); !ok || (v.Counts.Crashes > 0) != (n < crash) {
				t.Errorf("remote %v, %d at once: number %d of %d has %d crashes, want one of the first %d", remote, concurrency, n+1, given, v.Counts.Crashes, crash)
			}
		}
	}
	for _, remote := range []bool{true, false} {
		f(remote, 10, 50, 10)
		f(remote, 10, 5, 5)
		f(remote, 0, 5, 1)
	}
}

// A unary lease whose end passed while the server was down was lost at the first Apply
// of the next owner and counted as a crash, before anybody could extend it.
func TestUnaryLeaseOverAStop(t *testing.T) {
	f := func(clean bool, ran, down, left task.Millis) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{})
		k := b.lease(1, 30*task.Second)[0]
		b.pass(ran, task.Second)
		if clean {
			b.M.Close(b.Now, false, &b.Out)
			b.Store.Commit(&b.Out)
		}
		b.Now += task.Time(down)
		b.reopen(false)
		b.pass(left-100, 100)
		if q := b.info(); q.Running != 1 {
			t.Errorf("clean %v, after %d and %d of 30000 ms: %+v, want it running for %d", clean, ran, down, q, left)
		}
		e := &queue.Extend{Extensions: []task.Extension{{Token: k, TTL: 30 * task.Second}}, Codes: make([]task.Code, 1)}
		b.apply(queue.Command{Op: queue.OpExtend, Extend: e})
		v, _ := b.M.Find(k.Seq)
		if e.Codes[0] != task.OK || v.Counts.Crashes != 0 {
			t.Errorf("clean %v, after %d and %d ms: extend %v, crashes %d", clean, ran, down, e.Codes[0], v.Counts.Crashes)
		}
		b.pass(30*task.Second, task.Second)
		if v, _ := b.M.Find(k.Seq); v.Counts.Crashes != 1 {
			t.Errorf("clean %v: it was not extended again, and has %d crashes", clean, v.Counts.Crashes)
		}
	}
	f(true, 5*task.Second, 40*task.Second, 25*task.Second)
	f(true, 28*task.Second, 10*task.Minute, 5*task.Second)
	f(false, 5*task.Second, 40*task.Second, 5*task.Second)
	f(false, 5*task.Second, task.Second, 24*task.Second)
}

// Kills that follow each other closely give it no time without end, and blame nobody.
func TestUnaryLeaseOverKills(t *testing.T) {
	f := func(lives task.Millis, starts int) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{})
		k := b.lease(1, task.Second)[0]
		n := 0
		for b.info().Running > 0 || n == 0 {
			b.Now += task.Time(task.Minute)
			b.reopen(false)
			if b.info().Running == 0 {
				break
			}
			n++
			b.pass(lives, 50)
		}
		if v, _ := b.M.Find(k.Seq); n != starts || v.Counts.Crashes != 0 {
			t.Errorf("owners that live for %d ms: it went on at %d starts, want %d; %d crashes", lives, n, starts, v.Counts.Crashes)
		}
	}
	f(0, 5)
	f(950, 5)
}

// A purge of what is ready took tasks that a worker may be running, and so did the
// forced deletion of their queue: the worker was back and had lost them.
func TestHeldIsNotPurged(t *testing.T) {
	for _, window := range []int{1, 100} {
		b := newBench(t, window)
		b.enqueue(make([]task.Spec, 9)...)
		o := b.open("w")
		ts := b.take(o, 4)
		for len(ts) < 4 {
			ts = append(ts, b.take(o, 4-len(ts))...)
		}
		r := task.Outcome{Token: ts[0], Kind: task.OutcomeFail, Delay: 1}
		if c := b.report(r); c != task.OK {
			t.Fatal(c)
		}
		b.pass(4*task.Second, task.Second)
		again := b.take(b.open("w", ts[1:]...), 1) // it has been moved
		held := append(ts[1:], again...)
		b.kill()
		d := &queue.DeleteQueue{Name: "q", Force: true}
		b.apply(queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: d})
		if d.Err == nil || d.Err.Code != task.Conflict {
			t.Fatalf("window %d: a queue is deleted whose tasks may be running: %v", window, d.Err)
		}
		p := &queue.Purge{Name: "q", States: []task.State{task.Ready, task.Scheduled}}
		b.apply(queue.Command{Op: queue.OpPurge, Purge: p})
		if p.Err != nil || p.Gone != int64(9-len(held)) {
			t.Errorf("window %d: %d are purged (%v), want all but the %d that are held", window, p.Gone, p.Err, len(held))
		}
		if o := b.open("w", held...); len(o.Lost) > 0 {
			t.Errorf("window %d: the worker is back and has lost %v", window, o.Lost)
		}
		for _, k := range held {
			if c := b.report(task.Outcome{Token: k}); c != task.OK {
				t.Errorf("window %d: its outcome is answered with %v", window, c)
			}
		}
		b.apply(queue.Command{Op: queue.OpDeleteQueue, DeleteQueue: d})
		if d.Err != nil || d.Gone != 0 {
			t.Errorf("window %d: an empty queue: %v, %d gone", window, d.Err, d.Gone)
		}
	}
}

// Where a hold or a session lapsed, dispatch had had its turn in that Apply, and went
// on a tick later: up to a second.
func TestDispatchGoesOnAfterALapse(t *testing.T) {
	f := func(name string, kill bool, want task.Millis) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{})
		b.Now += 300 // the ticks are not at the same moments
		b.settle()
		b.take(b.open("gone"), 1)
		if kill {
			b.kill()
		}
		o := b.open("here")
		begun := b.Now
		for range 1000 { // as a runner makes its turns
			b.Now = b.Out.Deadline
			if err := b.Apply(queue.Command{Op: queue.OpBeat, Session: o.Session}, queue.Command{Op: queue.OpDispatch, Session: o.Session, N: 1}); err != nil {
				t.Fatal(err)
			}
			if len(b.Leased) > 0 {
				break
			}
		}
		if got := b.Now.Sub(begun); got < want || got > want+1 {
			t.Errorf("%s: dispatch went on after %d ms, want %d", name, got, want)
		}
	}
	f("a hold", true, 5*task.Second)
	f("a session", false, task.Minute+700) // at a tick
}

// Starts that followed each other within a second held a task for a worker that stayed
// away for ever: each waited for a second anew.
func TestHoldEndsOverQuickRestarts(t *testing.T) {
	f := func(life, down task.Millis, starts int) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(make([]task.Spec, 2)...)
		k := b.take(b.open("gone"), 1)[0]
		b.pass(2*task.Second, task.Second)
		n := 0
		for ; n < 100; n++ {
			b.Now += task.Time(down)
			b.kill()
			o := b.open("here")
			b.pass(life, 50)
			if len(b.take(o, 1)) > 0 {
				break
			}
			b.apply(queue.Command{Op: queue.OpClose, Session: o.Session})
		}
		if v, _ := b.M.Find(k.Seq); n != starts || v.Counts.Crashes != 0 {
			t.Errorf("lives of %d ms, and %d between them: it was held at %d starts, want %d; %d crashes", life, down, n, starts, v.Counts.Crashes)
		}
	}
	f(950, 0, 30)
	f(950, task.Hour, 30)
	f(0, 100, 30)
}

// An owner that ended in order at once, as one does whose node finds another partition
// not to be opened, takes of a worker's time to be back no more than it lived: each took
// a second.
func TestOrderlyStartsTakeNoTime(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	b.take(b.open("gone"), 1)
	b.kill()
	for range 4 {
		b.Now++
		b.reopen(true)
	}
	o := b.open("here")
	b.pass(4_900, 100)
	if n := len(b.take(o, 1)); n != 0 {
		t.Error("it was given to another before its worker could be back")
	}
	b.pass(200, 100)
	if n := len(b.take(o, 1)); n != 1 {
		t.Error("it is held for longer than for five seconds")
	}
}
