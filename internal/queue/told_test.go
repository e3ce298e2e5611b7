package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// TestTokenFields: a token with any field changed proves nothing, whatever has
// become of the task.
func TestTokenFields(t *testing.T) {
	changes := map[string]func(*task.Token){
		"partition": func(k *task.Token) { k.Partition++ },
		"attempt":   func(k *task.Token) { k.Attempt++ },
		"epoch":     func(k *task.Token) { k.Epoch-- },
		"nonce":     func(k *task.Token) { k.Nonce++ },
		"slot":      func(k *task.Token) { k.Slot++ },
		"dispatch":  func(k *task.Token) { k.Dispatch++ },
		"queue":     func(k *task.Token) { k.Queue++ },
		"seq":       func(k *task.Token) { k.Seq++ },
		"all":       func(k *task.Token) { *k = task.Token{} },
	}
	first := map[string]task.Outcome{
		"fail":     {Kind: task.OutcomeFail, Delay: task.Minute},
		"dead":     {Kind: task.OutcomeFail, Permanent: true},
		"release":  {Kind: task.OutcomeRelease},
		"later":    {Kind: task.OutcomeRelease, Delay: task.Minute},
		"complete": {},
	}
	for how, o := range first {
		for _, window := range []int{0, 1} { // with one, what is moved is in the store alone
			b := newBench(t, window)
			b.enqueue(task.Spec{}, task.Spec{}, task.Spec{})
			o.Token = b.lease(1, task.Minute)[0]
			for again := range 2 {
				for field, change := range changes {
					x := o
					change(&x.Token)
					if c := b.report(x); c != task.LeaseLost {
						t.Errorf("%s %d, another %s: got %v", how, again, field, c)
					}
				}
				if c := b.report(o); c != task.OK {
					t.Fatalf("%s %d: got %v", how, again, c)
				}
			}
			for kind := range task.OutcomeRelease + 1 {
				if x := (task.Outcome{Kind: kind, Token: o.Token}); kind != o.Kind {
					if c := b.report(x); c != task.LeaseLost {
						t.Errorf("%s, then kind %d: got %v", how, kind, c)
					}
				}
			}
			if err := b.Reopen(false); err != nil {
				t.Fatal(err)
			}
			if how != "release" { // nowhere written
				if c := b.report(o); c != task.OK {
					t.Errorf("%s, after a crash: got %v", how, c)
				}
			}
		}
	}
}

// TestResumeOfWhatWasTold: a worker whose outcome was taken and whose connection
// broke before the answer names the lease when it is back. It does not get it.
func TestResumeOfWhatWasTold(t *testing.T) {
	b := newBench(t, 0)
	b.enqueue(task.Spec{})
	opts := &task.SessionOptions{ID: "w", Queues: []task.QueueWeight{{Queue: "q"}}, Concurrency: 1, Remote: true}
	o := &queue.Open{Options: opts}
	b.apply(queue.Command{Op: queue.OpOpen, Open: o})
	b.apply(queue.Command{Op: queue.OpDispatch, Session: o.Session, N: 1})
	k := b.Leased[0].Token
	fail := task.Outcome{Kind: task.OutcomeFail, Token: k}
	if c := b.report(fail); c != task.OK {
		t.Fatal(c)
	}
	b.Now = b.Now.Add(task.Second)
	b.apply(queue.Command{})
	opts.Running = []task.Token{k}
	o = &queue.Open{Options: opts}
	b.apply(queue.Command{Op: queue.OpOpen, Open: o})
	if len(o.Lost) != 1 {
		t.Fatalf("it runs again under the lease that failed: lost %v", o.Lost)
	}
	if c := b.report(fail); c != task.OK {
		t.Fatal(c)
	}
	if v, _ := b.M.Find(k.Seq); v.State != task.Ready || v.Counts.Failures != 1 {
		t.Fatalf("got %+v", v)
	}
}

// What docs/protocol.md excepts from the rule that an acknowledged outcome stands: a
// release without a delay writes nothing, so an owner that follows does not know of it.
// Its task is there, without blame.
func TestReleaseOverARestart(t *testing.T) {
	f := func(clean bool, again task.OutcomeKind, want task.Code) {
		t.Helper()
		b := newBench(t, 100)
		b.enqueue(task.Spec{})
		k := b.take(b.open("w"), 1)[0]
		if c := b.report(task.Outcome{Token: k, Kind: task.OutcomeRelease}); c != task.OK || len(b.Out.Births)+len(b.Out.Timed) > 0 {
			t.Fatalf("a release is answered with %v, and puts %d records", c, len(b.Out.Timed))
		}
		b.reopen(clean)
		if c := b.report(task.Outcome{Token: k, Kind: again}); c != want {
			t.Errorf("clean %v, outcome %d after an acknowledged release and a restart: %v, want %v", clean, again, c, want)
		}
		if q := b.info(); again == task.OutcomeRelease && (q.Ready+q.Blocked != 1 || q.Running != 0) {
			t.Errorf("clean %v: %+v, want the task waiting", clean, q)
		}
	}
	f(true, task.OutcomeRelease, task.LeaseLost)
	f(true, task.OutcomeComplete, task.LeaseLost)
	f(false, task.OutcomeRelease, task.OK)
	f(false, task.OutcomeComplete, task.OK)
}

// A lease that was lost over a restart was counted as a crash: what its worker then
// says of it, other than that the work is done, counts no second time.
func TestAttemptThatWasCountedIsOver(t *testing.T) {
	for kind := range task.OutcomeRelease + 1 {
		b := newBench(t, 0)
		b.enqueue(task.Spec{})
		k := b.take(b.open("gone"), 1)[0]
		for range 3 { // old enough to be written down
			b.Now += 1000
			b.settle()
		}
		b.reopen(false)
		for range 20 {
			b.Now += 1000
			b.settle()
		}
		if v, ok := b.M.Find(k.Seq); !ok || v.Counts.Crashes != 1 {
			t.Fatalf("its worker stayed away: %+v, %v", v, ok)
		}
		want := task.LeaseLost
		if kind == task.OutcomeComplete {
			want = task.OK
		}
		if c := b.report(task.Outcome{Kind: kind, Token: k}); c != want {
			t.Errorf("kind %d: got %v, want %v", kind, c, want)
		}
		if v, ok := b.M.Find(k.Seq); ok && (v.Counts.Failures != 0 || v.Counts.Releases != 0) {
			t.Errorf("kind %d: it counts twice: %+v", kind, v.Counts)
		}
	}
}
