package queue_test

import (
	"slices"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A lease that is a second old is written down, whenever it was taken: the look
// once a second wrote some when they were nearly two.
func TestClaimIsWrittenWithinASecond(t *testing.T) {
	b := newBench(t, 0)
	b.apply(queue.Command{})
	taken := map[task.Seq]task.Time{}
	ends := b.Now + 5000
	for lease := b.Now + 7; b.Now < ends; {
		if b.Now >= lease {
			b.enqueue(task.Spec{})
			for _, k := range b.lease(1, task.Hour) {
				taken[k.Seq] = b.Now
			}
			lease = b.Now + 137
		}
		b.Now = min(lease, b.Out.Deadline)
		b.apply(queue.Command{})
		for seq, at := range taken {
			claims := b.Store.Snapshot().Claims
			if b.Now >= at+1000 && !slices.ContainsFunc(claims, func(c queue.Claim) bool { return c.Seq == seq }) {
				t.Fatalf("a lease taken at %d is not written down at %d", at, b.Now)
			}
		}
	}
	if len(taken) < 30 {
		t.Fatalf("%d leases were taken", len(taken))
	}
}

// Short tasks cost one look a second, and a machine in which nothing runs is not
// woken for one.
func TestShortLeasesAreHardlyLookedAt(t *testing.T) {
	b := newBench(t, 0)
	b.apply(queue.Command{})
	woken, ends := 0, b.Now+10_000
	for b.Now < ends {
		b.enqueue(task.Spec{})
		k := b.lease(1, task.Hour)[0]
		if b.Out.Deadline < b.Now+5 {
			woken++
		}
		b.Now += 5
		b.report(task.Outcome{Token: k})
	}
	if woken > 22 { // by the slow work, and by the look
		t.Errorf("woken %d times in 10 s", woken)
	}
	for range 3 {
		b.Now = b.Out.Deadline
		b.apply(queue.Command{})
	}
	if left := b.Out.Deadline - b.Now; left < 1000 {
		t.Errorf("an idle machine wants to be woken in %d ms", left)
	}
	if n := len(b.Store.Snapshot().Claims); n != 0 {
		t.Errorf("%d claims were written", n)
	}
}
