package queue_test

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A machine says when it has to be looked after next: whatever is due before its
// tick comes then, and not a second later.
func TestNextTickIsInTime(t *testing.T) {
	f := func(what string, want task.Millis, do func(b *bench)) {
		t.Helper()
		b := newBench(t, 1)
		b.enqueue(task.Spec{Delay: task.Hour}, task.Spec{Delay: task.Hour}, task.Spec{Delay: task.Hour}) // there is no room for more
		b.settle()
		do(b)
		if got := b.Out.Deadline.Sub(b.Now); got > want {
			t.Errorf("%s: the next tick is in %d ms, want it within %d", what, got, want)
		}
	}
	f("a delay in the store alone", 300, func(b *bench) { b.enqueue(task.Spec{Delay: 300}) })
	f("a moment in the store alone", 300, func(b *bench) { b.enqueue(task.Spec{RunAt: b.Now + 300}) })
	big := func(do func(b *bench)) func(b *bench) {
		return func(b *bench) {
			b.bigger()
			do(b)
		}
	}
	f("a delay", 300, big(func(b *bench) { b.enqueue(task.Spec{Delay: 300}) }))
	f("a moment", 300, big(func(b *bench) { b.enqueue(task.Spec{RunAt: b.Now + 300}) }))
	ahead := func(d task.Millis) func(b *bench) {
		return func(b *bench) {
			b.Wall = -d
			b.apply(queue.Command{Op: queue.OpClock, Offset: -d})
			b.enqueue(task.Spec{RunAt: b.Now.Add(d) + 300})
		}
	}
	f("a moment by a wall clock that is behind", 300, big(ahead(-10*task.Minute)))
	f("a moment by a wall clock that is ahead", 300, big(ahead(10*task.Minute)))
	f("a short lease", 200, big(func(b *bench) {
		b.enqueue(task.Spec{})
		b.lease(1, 200)
	}))
	f("a lease that becomes long", 900, big(func(b *bench) {
		b.enqueue(task.Spec{})
		o := b.open("w")
		b.apply(queue.Command{Op: queue.OpTick})
		b.Now += 1 // the tick is a second from here
		b.take(o, 1)
	}))
}

// bigger opens the machine with room for all.
func (b *bench) bigger() {
	b.Cfg.WindowTasks = 100
	b.reopen(true)
}

// Two unclean starts within a minute make the owner careful, until it has lived for
// as long.
func TestTwoUncleanStarts(t *testing.T) {
	b := newBench(t, 100)
	b.enqueue(task.Spec{})
	safe := func(want bool, when string) {
		t.Helper()
		if got := b.M.Info().SafeMode; got != want {
			t.Errorf("%s: safe mode is %v, want %v", when, got, want)
		}
	}
	b.Now += 1000
	b.reopen(false)
	safe(false, "after the first")
	b.Now += 1000
	b.reopen(false)
	safe(true, "after the second")
	for range 61 {
		b.Now = b.Now.Add(task.Second)
		b.settle()
	}
	safe(false, "after a minute")
	b.reopen(false)
	safe(false, "after one that came later")
}
