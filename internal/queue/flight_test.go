package queue_test

import (
	"fmt"
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// put enqueues tasks as they are, types and all.
func (b *bench) put(specs ...task.Spec) {
	b.Helper()
	e := &task.EnqueueBatch{Queue: "q", Specs: specs, Results: make([]task.Enqueued, len(specs))}
	b.apply(queue.Command{Op: queue.OpEnqueue, Enqueue: e})
	for _, r := range e.Results {
		if r.Err != nil {
			b.Fatal(r.Err)
		}
	}
}

// kill ends the owner without order; no refill has come when the next begins.
func (b *bench) kill() {
	b.Helper()
	if err := b.Reopen(false); err != nil {
		b.Fatal(err)
	}
}

// got are the payloads of what was leased last.
func (b *bench) got(ts []task.Token) string {
	s := ""
	for _, k := range ts {
		s += string(b.spec(k).Payload)
	}
	return s
}

func (b *bench) spec(k task.Token) *task.Spec { return b.Store.SpecOf(k.Seq) }

func letters(s string, p uint8) (specs []task.Spec) {
	for _, c := range s {
		specs = append(specs, task.Spec{Type: "t", Payload: []byte(string(c)), Priority: p})
	}
	return specs
}

// Tasks in flight came back with the refills, 64 lanes at a time: of 200 types the
// worker lost 136 leases, and three such restarts quarantined their tasks.
func TestEveryLaneInFlightGoesOn(t *testing.T) {
	for _, old := range []task.Millis{0, 3000} { // with and without claims
		b := newBench(t, 1000)
		var specs []task.Spec
		for i := range 200 {
			specs = append(specs, task.Spec{Type: fmt.Sprint("type", i)})
		}
		b.put(specs...)
		ks := b.take(b.open("w"), 200)
		if len(ks) != 200 {
			t.Fatal(len(ks))
		}
		for range 3 {
			for range old / 1000 {
				b.Now += 1000
				b.apply(queue.Command{})
			}
			b.kill()
			if o := b.open("w", ks...); len(o.Lost) > 0 {
				t.Fatalf("%d leases were lost", len(o.Lost))
			}
		}
		b.Now += 6000
		b.settle()
		for _, k := range ks {
			if c := b.report(task.Outcome{Token: k}); c != task.OK {
				t.Fatal(c)
			}
		}
	}
}

// What was held back after a restart and not due was made ready with the rest.
func TestNothingStartsEarlyAfterARestart(t *testing.T) {
	b := newBench(t, 1000)
	w := b.open("w")
	for i := range 20 {
		b.put(task.Spec{Type: "t", Delay: task.Millis(i) * 50})
	}
	for range 3 {
		b.Now += 60
		b.take(w, 1)
	}
	b.kill()
	b.settle()
	w = b.open("w")
	for range 120 {
		b.Now += 10
		b.take(w, 20)
		for i := range b.Leased {
			if at := b.Leased[i].Place.Due; at > b.Now {
				t.Fatalf("a task due at %d was given out at %d", at, b.Now)
			}
		}
	}
}

// Whatever lay below the dispatch marks was held for five seconds, tasks that had
// never run too, while later and less urgent ones overtook.
func TestOrderIsKeptOverARestart(t *testing.T) {
	b := newBench(t, 1000)
	b.put(append(letters("x", 5), letters("y", 9)...)...)
	w := b.open("w")
	for _, k := range b.take(w, 2) { // the marks are written
		b.report(task.Outcome{Token: k})
	}
	b.put(append(letters("12345", 5), letters("6789", 9)...)...)
	b.kill()
	b.put(append(letters("abc", 5), letters("d", 0)...)...)
	if s := b.got(b.take(b.open("v"), 20)); s != "678912345abcd" {
		t.Fatalf("got %s", s)
	}
}

// Behind a task that its worker may be running nothing later starts, and nothing
// less urgent; what is before it does, and what no worker of it serves.
func TestHeldTaskKeepsItsPlace(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("1", 9)...)
	b.put(letters("3", 5)...)
	k := b.take(b.open("w"), 2)
	b.put(append(letters("4", 5), task.Spec{Type: "other", Payload: []byte("o")})...)
	b.kill()
	b.put(letters("2", 7)...)
	v := b.open("v")
	if s := b.got(b.take(v, 9)); s != "" {
		t.Fatalf("got %s before the first is back", s)
	}
	b.apply(queue.Command{Op: queue.OpOpen, Open: &queue.Open{Options: &task.SessionOptions{ID: "other", Queues: []task.QueueWeight{{Queue: "q"}}, Types: []string{"other"}}}})
	if s := b.got(b.take(&queue.Open{Session: 2}, 9)); s != "o" {
		t.Fatalf("one who serves another type got %q", s)
	}
	b.open("w", k[0]) // it has not got the second
	if s := b.got(b.take(v, 9)); s != "234" {
		t.Fatalf("got %s, want 234", s)
	}
}

// The hold ended for all at once, when the last worker was back.
func TestHoldEndsSessionBySession(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("12", 5)...)
	b.take(b.open("first"), 1)
	b.take(b.open("second"), 1)
	b.kill()
	b.open("first")
	third := b.open("third")
	if s := b.got(b.take(third, 9)); s != "1" {
		t.Fatalf("got %q, want what the first has not named", s)
	}
	b.Now += 5000
	b.settle()
	if s := b.got(b.take(third, 9)); s != "2" {
		t.Fatalf("got %q after the second has stayed away", s)
	}
}

// Every restart began the five seconds anew: with kills closer to each other a
// held task starved.
func TestHoldIsNotBegunAnew(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("1", 5)...)
	b.take(b.open("away"), 1)
	begun := b.Now
	for range 20 {
		b.kill()
		b.settle()
		b.Now += 1900
		b.settle()
		if s := b.got(b.take(b.open("w"), 9)); s == "1" {
			break
		}
	}
	if waited := b.Now - begun; waited > 5800 {
		t.Errorf("it waited for %d ms", waited)
	}
}

// A dispatch that nobody held after a restart went on only when five seconds had
// passed, if a worker was recorded that had run nothing.
func TestIdleWorkersHoldNothing(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("0", 5)...)
	w := b.open("idle")
	for _, k := range b.take(w, 9) {
		b.report(task.Outcome{Token: k})
	}
	b.put(letters("12", 5)...)
	b.kill()
	if s := b.got(b.take(b.open("other"), 9)); s != "12" {
		t.Errorf("got %q at once", s)
	}
}

// A session that was recorded and never came back was recorded for ever after a
// restart in order, and the next unclean start waited for it.
func TestRecordsOfLostSessionsGo(t *testing.T) {
	for _, clean := range []bool{true, false} {
		b := newBench(t, 1000)
		b.open("gone")
		b.reopen(clean)
		b.Now += 4000
		b.settle()
		if n := len(b.Store.Snapshot().Sessions); n != 1 {
			t.Fatalf("%d sessions are recorded, want the one", n)
		}
		b.Now += 1100
		b.settle()
		if n := len(b.Store.Snapshot().Sessions); n != 0 {
			t.Errorf("clean %v: %d sessions are left", clean, n)
		}
	}
}

// A lease without a session that was no second old was forgotten by a restart, and
// so was the extension of one.
func TestLeaseWithoutASessionGoesOn(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("12", 5)...)
	ks := b.lease(2, 1000)
	b.Now += 500
	e := &queue.Extend{Extensions: []task.Extension{{Token: ks[0], TTL: 30_000}}, Codes: make([]task.Code, 1)}
	b.apply(queue.Command{Op: queue.OpExtend, Extend: e})
	b.kill()
	if q := b.info(); q.Running != 2 {
		t.Fatalf("got %+v", q)
	}
	b.Now += 5000 // so long either had from the start on
	b.settle()
	if q := b.info(); q.Running != 1 || q.Ready != 1 {
		t.Fatalf("got %+v, want the one that was extended", q)
	}
	if c := b.report(task.Outcome{Token: ks[0]}); c != task.OK {
		t.Fatal(c)
	}
}

// What is recorded of running tasks stays about as much as they are, and goes with
// them.
func TestDispatchListsStaySmall(t *testing.T) {
	b := newBench(t, 100_000)
	w := b.open("w")
	listed := func() (n int) {
		for _, l := range b.Store.Snapshot().Lists {
			n += len(l.Tasks)
		}
		return n
	}
	var long []task.Token
	for i := range 40 {
		b.put(slices.Repeat(letters("a", 5), 100)...)
		ks := b.take(w, 100)
		long = append(long, ks[0])
		for _, k := range ks[1:] {
			b.report(task.Outcome{Token: k})
		}
		if n := listed(); n > 2*len(long)+1024+100 {
			t.Fatalf("%d tasks run and %d are listed after %d lists", len(long), n, i)
		}
	}
	b.kill()
	if o := b.open("w", long...); len(o.Lost) > 0 {
		t.Fatalf("%d of %d were lost", len(o.Lost), len(long))
	}
	for _, k := range long {
		b.report(task.Outcome{Token: k})
	}
	b.Now += 1100
	b.settle()
	if n := len(b.Store.Snapshot().Lists); n > 0 {
		t.Errorf("%d lists are left", n)
	}
}

// A purge that came before the refills took what runs among the waiting along.
func TestPurgeSparesWhatRuns(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("123456", 5)...)
	ks := b.lease(4, task.Hour)
	b.report(task.Outcome{Token: ks[0], Kind: task.OutcomeRelease})
	b.report(task.Outcome{Token: ks[2], Kind: task.OutcomeRelease})
	b.kill()
	p := &queue.Purge{Name: "q", States: []task.State{task.Ready}}
	b.apply(queue.Command{Op: queue.OpPurge, Purge: p})
	if p.Gone != 4 {
		t.Errorf("%d are gone, want 4", p.Gone)
	}
	for _, k := range []int{1, 3} {
		if c := b.report(task.Outcome{Token: ks[k]}); c != task.OK {
			t.Errorf("a task that ran: %v", c)
		}
	}
}

// What was handed back and stood in a list with what runs would have been taken for
// running until its lease's end.
func TestLeaseHandedBackIsOver(t *testing.T) {
	b := newBench(t, 1000)
	b.put(letters("123", 5)...)
	ks := b.lease(3, task.Hour)
	b.report(task.Outcome{Token: ks[1], Kind: task.OutcomeRelease})
	for range 2 {
		b.kill()
		if q := b.info(); q.Running != 2 || q.Ready != 1 {
			t.Fatalf("got %+v", q)
		}
	}
	b.report(task.Outcome{Token: ks[2], Kind: task.OutcomeRelease})
	b.kill()
	if q := b.info(); q.Running != 1 || q.Ready != 2 {
		t.Fatalf("got %+v", q)
	}
}
