package partition

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// What the cache gives is what was put last for the slot and sequence, or nothing;
// and what was put last of all is there.
func TestCache(t *testing.T) {
	c := newCache(4 * cacheChunk)
	rnd := rand.New(rand.NewPCG(1, 2))
	type put struct {
		seq task.Seq
		rec []byte
	}
	last := map[queue.Slot]put{}
	hits := 0
	for i := range 20_000 {
		slot := queue.Slot(rnd.Uint32N(3_000))
		p := put{task.Seq(i + 1), bytes.Repeat([]byte{byte(i)}, rnd.IntN(cacheOneMax+200))}
		c.put(slot, p.seq, p.rec)
		last[slot] = p
		if got := c.get(slot, p.seq); len(p.rec)+cacheHead <= cacheOneMax && !bytes.Equal(got, p.rec) {
			t.Fatalf("put %d is not there", i)
		}
		other := queue.Slot(rnd.Uint32N(3_000))
		q := last[other]
		if got := c.get(other, q.seq); got != nil {
			hits++
			if !bytes.Equal(got, q.rec) {
				t.Fatalf("slot %d holds another record than was put", other)
			}
		}
		if got := c.get(other, q.seq+1); got != nil {
			t.Fatalf("slot %d answers for another task", other)
		}
	}
	if hits == 0 {
		t.Fatal("nothing was ever found")
	}
	c.drop(1)
	if got := c.get(1, last[1].seq); got != nil {
		t.Fatal("a dropped record is still there")
	}
}

// What still waits when the ring comes round to it is kept, as often as that happens,
// and however much it is what comes finds room; what does not wait goes.
func TestCacheKeeps(t *testing.T) {
	const late = 1_000
	rec := func(seq task.Seq) []byte { return bytes.Repeat([]byte{byte(seq)}, 100+int(seq%100)) }
	c := newCache(4 * cacheChunk)
	c.waits = func(slot queue.Slot, seq task.Seq) bool { return slot < late && seq%7 != 0 }
	seq := task.Seq(0)
	for slot := range queue.Slot(late) {
		seq++
		c.put(slot, seq, rec(seq))
	}
	for range 100_000 { // some ten times round
		seq++
		c.put(late+queue.Slot(seq%5_000), seq, rec(seq))
	}
	for slot := range queue.Slot(late) {
		seq := task.Seq(slot + 1)
		switch got := c.get(slot, seq); {
		case seq%7 == 0 && got != nil:
			t.Fatalf("task %d does not wait, and is kept", seq)
		case seq%7 != 0 && !bytes.Equal(got, rec(seq)):
			t.Fatalf("task %d waits, and is not there as it was put", seq)
		}
	}
	c.waits = func(queue.Slot, task.Seq) bool { return true }
	for slot := range queue.Slot(50_000) {
		seq++
		c.put(slot, seq, rec(seq))
		if !bytes.Equal(c.get(slot, seq), rec(seq)) {
			t.Fatalf("where all that was put before waits, task %d is not there once it has been put", seq)
		}
	}
	c.trim()
	c.put(1, seq, rec(seq))
	if !bytes.Equal(c.get(1, seq), rec(seq)) || c.get(0, 1) != nil {
		t.Fatal("a cache that was trimmed holds something else than what was put since")
	}
}

func TestArena(t *testing.T) {
	var a arena
	for round := range 3 {
		var all [][]byte
		for i := range 5_000 {
			all = append(all, a.copyOf(fmt.Append(nil, round, "/", i, bytes.Repeat([]byte{'x'}, i%300))))
		}
		for i, b := range all {
			if want := fmt.Append(nil, round, "/", i, bytes.Repeat([]byte{'x'}, i%300)); !bytes.Equal(b, want) {
				t.Fatalf("round %d: piece %d was overwritten: %.40q", round, i, b)
			}
		}
		a.reset()
	}
}

// While several partitions are hungry, each draws its share; the last to wake
// finds what is its own; credit is neither lost nor made.
func TestCreditShares(t *testing.T) {
	var c Credit
	woken := map[string]int{}
	tapOf := func(name string, weight int) *tap {
		x := &tap{weight: weight, wake: func() { woken[name]++ }}
		c.join(x, false)
		return x
	}
	a, b := tapOf("a", 3), tapOf("b", 1)
	if c.take(a, 10) != 0 || c.take(b, 10) != 0 {
		t.Fatal("credit out of nothing")
	}
	c.Add(80)
	if woken["a"] == 0 || woken["b"] == 0 {
		t.Fatalf("woken: %v, want both", woken)
	}
	if got := c.take(a, 1_000); got != 60 {
		t.Fatalf("the heavy one drew %d of 80, want 60", got)
	}
	if got := c.take(a, 1_000); got != 0 {
		t.Fatalf("the heavy one drew %d of the light one's share", got)
	}
	if got := c.take(b, 1_000); got != 20 {
		t.Fatalf("the light one drew %d, want 20", got)
	}
	c.give(b, 20) // it had no use for it
	if got := c.take(a, 1_000); got != 20 {
		t.Fatalf("then the heavy one drew %d, want 20", got)
	}
	for range 100 { // single credits go round by weight
		c.want(a, true)
		c.want(b, true)
		c.Add(1)
		got := c.take(a, 1_000) + c.take(b, 1_000)
		if got != 1 || c.Left() != 0 {
			t.Fatalf("drew %d of 1, %d left", got, c.Left())
		}
	}
	if r := a.pass / b.pass; r < 0.9 || r > 1.1 {
		t.Errorf("over weight, one drew %.1f and the other %.1f", a.pass, b.pass)
	}
	c.leave(b)
	c.Add(5)
	if got := c.take(a, 9); got != 5 {
		t.Fatalf("alone, it drew %d of 5", got)
	}
	c.Close()
	c.Add(5)
	c.give(a, 5)
	if c.take(a, 1) != 0 || c.Left() != 0 || !c.Over() {
		t.Fatal("a closed credit still gives")
	}
}
