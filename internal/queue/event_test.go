package queue_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

var eventNames = [...]string{"ready", "waits", "leased", "given back", "held", "freed", "born", "failed", "crashed", "released", "retried", "ended", "gone", "purged"}

// story is what has happened to tasks, as Events tell it.
func (b *bench) story(of string, do func()) {
	b.Helper()
	do()
	var got []string
	for _, e := range b.Events {
		s := fmt.Sprintf("%s %v>%v", eventNames[e.Kind], e.From, e.To)
		if e.Kind == queue.EventPurged {
			s += fmt.Sprintf(" %d", e.Purged.N)
		}
		got = append(got, strings.ReplaceAll(s, "unknown", "-"))
	}
	b.Events = b.Events[:0]
	if have := strings.Join(got, ", "); have != of {
		b.Errorf("got %q\nwant %q", have, of)
	}
}

// TestEvents: each kind of event comes when it should, and none besides. That no
// change of state goes without one every Rig sees to.
func TestEvents(t *testing.T) {
	b := newBench(t, 100)
	var ts []task.Token
	var id task.ID
	take := func() { b.lease(1, 10*task.Second); ts = append(ts[:0], b.Leased[0].Token) }
	fail := func(o task.Outcome) func() {
		return func() { o.Token = ts[0]; o.Started = true; b.report(o) }
	}
	b.story("born ->ready", func() { id = b.enqueue(task.Spec{})[0] })
	b.story("leased ready>running", take)
	b.story("released running>scheduled", fail(task.Outcome{Kind: task.OutcomeRelease, Delay: 1000}))
	b.story("retried scheduled>ready", func() { b.change(task.VerbRetry, id) })
	b.story("leased ready>running", take)
	b.story("given back running>ready", fail(task.Outcome{Kind: task.OutcomeRelease}))
	b.story("leased ready>running", take)
	b.story("failed running>scheduled", fail(task.Outcome{Kind: task.OutcomeFail, Delay: 1000}))
	b.story("ready scheduled>ready", func() { b.Now += 1000; b.settle() })
	b.story("leased ready>running", take)
	b.story("crashed running>ready", func() { b.Now += 10_000; b.settle() })
	b.story("leased ready>running", take)
	b.story("ended running>dead", fail(task.Outcome{Kind: task.OutcomeFail, Permanent: true}))
	b.story("retried dead>ready", func() { b.change(task.VerbRetry, id) })
	b.story("ended ready>canceled", func() { b.change(task.VerbCancel, id) })
	b.story("retried canceled>ready", func() { b.change(task.VerbRetry, id) })
	b.story("gone ready>-", func() { b.change(task.VerbDelete, id) })
	b.story("born ->scheduled", func() { id = b.enqueue(task.Spec{RunAt: b.Now + 1000})[0] })
	b.story("ready scheduled>ready", func() { b.Now += 1000; b.settle() })
	b.story("waits ready>scheduled", func() { b.Wall += 500; b.apply(queue.Command{Op: queue.OpClock, Offset: b.Wall}) })
	b.story("ready scheduled>ready", func() { b.Now += 500; b.settle() })
	b.story("leased ready>running", take)
	b.story("ended running>succeeded", fail(task.Outcome{}))
	b.story("gone succeeded>-", func() { b.change(task.VerbDelete, id) })
}

// TestEventsOfAStart: what a start finds is no event, what becomes of it is.
func TestEventsOfAStart(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(make([]task.Spec, 2)...)
	k := b.take(b.open("w"), 2)
	b.story("", func() { b.reopen(false) })
	b.story("leased blocked>running, freed blocked>ready", func() { b.open("w", k[0]) })
}

// TestEventsOfAPurge: what is in memory goes one by one, the rest at a stroke.
func TestEventsOfAPurge(t *testing.T) {
	b := newBench(t, 2)
	b.enqueue(make([]task.Spec, 5)...)
	b.enqueue(task.Spec{Delay: 1000}, task.Spec{Delay: 1000})
	purge := func(s ...task.State) func() {
		return func() {
			b.Events = b.Events[:0]
			b.apply(queue.Command{Op: queue.OpPurge, Purge: &queue.Purge{Name: "q", States: s}})
		}
	}
	b.story("gone ready>-, gone ready>-, purged ready>- 3", purge(task.Ready))
	b.story("purged scheduled>- 2", purge(task.Scheduled))
	b.enqueue(task.Spec{Policy: &task.Policy{MaxAttempts: 1}})
	b.report(task.Outcome{Token: b.lease(1, 0)[0], Kind: task.OutcomeFail})
	b.story("purged dead>- 1", purge(task.Dead))
}
