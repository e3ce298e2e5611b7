package queue_test

import (
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What was read of a task before a purge in the same Apply is not true behind it.
func TestPurgeUnlearns(t *testing.T) {
	b := newBench(t, 1)
	ids := b.enqueue(make([]task.Spec, 3)...)
	retry := &queue.Change{Verb: task.VerbRetry, IDs: ids[2:], Errs: make([]*task.Error, 1)}
	if err := b.Once(queue.Command{Op: queue.OpChange, Change: retry}); err != nil || !b.Busy() {
		t.Fatalf("nothing has to be read for it: %v", err)
	}
	p := &queue.Purge{Name: "q", States: []task.State{task.Ready}}
	cancel := &queue.Change{Verb: task.VerbCancel, IDs: ids[2:], Errs: make([]*task.Error, 1)}
	// Behind the retry, which leaves it as it is, all in one Apply.
	if err := b.Apply(queue.Command{Op: queue.OpPurge, Purge: p}, queue.Command{Op: queue.OpChange, Change: cancel}); err != nil {
		t.Fatal(err)
	}
	if p.Gone != 3 || retry.Errs[0] != nil {
		t.Errorf("%d were purged, the retry: %v", p.Gone, retry.Errs[0])
	}
	if q := b.info(); task.CodeOf(cancel.Errs[0]) != task.NotFound || q.Canceled != 0 || q.Ready != 0 {
		t.Errorf("a purged task is canceled: %v, %+v", cancel.Errs[0], q)
	}
}

// A task that came back while its key was looked at keeps it, though the look has
// found it gone; and the key ends all the same when it is over.
func TestIdemOfOneRevivedMeanwhile(t *testing.T) {
	b := newBench(t, 1)
	b.keyed(2*task.Minute, "revived")
	k := b.lease(1, task.Hour)[0]
	ids, _ := b.keyed(2*task.Minute, "revived")
	b.report(task.Outcome{Kind: task.OutcomeFail, Permanent: true, Token: k})
	later := make([]task.Spec, 3) // one is in memory: the store alone may have any task
	for i := range later {
		later[i].Delay = 10 * task.Hour
	}
	b.enqueue(later...)
	b.settle()
	b.Now = b.Now.Add(3 * task.Minute)
	b.apply(queue.Command{})
	for n := 0; ; n++ { // what is due is read first, and then that the task is not live
		if b.Refills() == 0 || n > 10 {
			t.Fatal("no look at its task is under way")
		}
		b.Refill(0)
		if err := b.Once(); err != nil {
			t.Fatal(err)
		}
		if slices.ContainsFunc(b.Out.Wants, func(w queue.Want) bool { return w.What == queue.WantIdemsLive }) {
			break
		}
	}
	b.change(task.VerbRetry, ids[0])
	if _, here := b.M.Find(ids[0].Seq); here {
		t.Fatal("it is in memory: the test tests nothing")
	}
	b.settle()
	if _, n := b.keyed(task.Hour, "revived"); n != 1 {
		t.Fatal("the key of a task that waits again is free")
	}
	b.change(task.VerbCancel, ids[0])
	b.pass(2*task.Hour, task.Minute)
	if n := b.Store.IdemEntries(); n != 0 {
		t.Errorf("%d entries are left for ever", n)
	}
}

// A task that is deleted frees its own key, and not that of the one which has it now.
func TestDeletedFreesItsOwnKey(t *testing.T) {
	b := newBench(t, 100)
	b.keyed(2*task.Minute, "k")
	k := b.lease(1, task.Hour)[0]
	old, _ := b.keyed(2*task.Minute, "k")
	b.report(task.Outcome{Kind: task.OutcomeFail, Permanent: true, Token: k})
	b.Now = b.Now.Add(3 * task.Minute)
	now, n := b.keyed(task.Hour, "k")
	if n != 0 || now[0] == old[0] {
		t.Fatalf("the key is not free: %v, %v", old, now)
	}
	if errs := b.change(task.VerbDelete, old[0]); errs[0] != nil {
		t.Fatal(errs[0])
	}
	if again, n := b.keyed(task.Hour, "k"); n != 1 || again[0] != now[0] {
		t.Errorf("the key of another was freed: %v, %v", now, again)
	}
}

// Claims of tasks that are over, which an owner of long ago has left, go at a start.
func TestClaimOfWhatIsOverGoes(t *testing.T) {
	seq := task.MakeSeq(1, 7)
	m := queue.New(queue.Config{Epoch: 2}, &queue.Snapshot{Found: true, Claims: []queue.Claim{{Seq: seq}}}, 1_000)
	var out queue.Output
	m.Apply(1_000, []queue.Command{{Op: queue.OpTick}}, &out)
	if !slices.Equal(out.Claims.Drops, []task.Seq{seq}) {
		t.Errorf("dropped are %v", out.Claims.Drops)
	}
	if z := m.Sizes(); z.Over != 0 {
		t.Errorf("%d of them are still known", z.Over)
	}
}

// While the owner stands still no worker can come: tasks are not given up for that.
func TestGapIsNotUnserved(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	stand := func(d task.Millis) {
		b.Now = b.Now.Add(d)
		b.apply(queue.Command{Op: queue.OpGap, Gap: d})
	}
	stand(25 * task.Hour)
	b.pass(task.Hour, task.Minute)
	if q := b.info(); q.Dead != 0 || q.Ready != 1 {
		t.Errorf("the owner stood still for a day, and its task is given up: %+v", q)
	}
	b.pass(24*task.Hour, task.Hour)
	if q := b.info(); q.Dead != 1 {
		t.Errorf("unserved for a day: %+v", q)
	}
}

// Who has a task of a type serves it: what is handed back after longer than tasks may
// wait for a worker is not given up in the very Apply that has it back.
func TestWhoRunsItServesIt(t *testing.T) {
	b := newBench(t, 100)
	limit := 10 * task.Second
	b.apply(queue.Command{Op: queue.OpSetQueue, SetQueue: &queue.SetQueue{Name: "q", Patch: task.QueuePatch{Unserved: &limit}}})
	b.enqueue(task.Spec{}, task.Spec{})
	k := b.lease(1, task.Hour)[0]
	for range 40 {
		b.Now = b.Now.Add(task.Second)
		b.settle()
	}
	if i := b.info(); i.Dead != 0 || len(i.Unserved) != 0 {
		t.Errorf("while a worker has one of the type %d are dead, and unserved are %v", i.Dead, i.Unserved)
	}
	b.Now = b.Now.Add(task.Second)
	b.report(task.Outcome{Token: k, Kind: task.OutcomeRelease})
	if i := b.info(); i.Dead != 0 || i.Ready != 2 {
		t.Errorf("it is handed back, and %d are dead", i.Dead)
	}
}
