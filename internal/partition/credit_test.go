package partition

import "testing"

// What a worker may hold is one number for all partitions: who ends some of it wakes
// those that wait for room.
func TestCreditBoundsWhatIsHeld(t *testing.T) {
	var c Credit
	c.Bound(10)
	woken := 0
	a, b := &tap{wake: func() {}}, &tap{wake: func() { woken++ }}
	c.join(a, false)
	c.join(b, false)
	c.Add(100)
	if got := c.take(a, 8); got != 8 {
		t.Fatalf("drew %d of 8", got)
	}
	c.give(a, 1)
	if got := c.take(b, 8); got != 3 || c.Left() != 0 || c.Open() != 90 {
		t.Fatalf("drew %d of 3; %d may be drawn, %d is open", got, c.Left(), c.Open())
	}
	c.hold(a, 7)
	if woken != 0 || c.take(b, 1) != 0 {
		t.Fatalf("it holds as many as it may, woken %d", woken)
	}
	c.hold(a, 5)
	if woken != 1 || c.Left() != 2 || c.take(b, 8) != 2 {
		t.Fatalf("two have ended: woken %d, %d may be drawn", woken, c.Left())
	}
	c.hold(b, 9) // a worker that is back with more than there was room for
	if c.Left() != 0 || c.take(a, 1) != 0 {
		t.Fatalf("%d may be drawn", c.Left())
	}
	c.leave(b)
	if c.Left() != 5 || c.take(a, 100) != 5 {
		t.Fatalf("a partition has left: %d may be drawn", c.Left())
	}
}

// What a worker turns out to hold counts at once, though shares were made before.
func TestSharesStayWithinTheBound(t *testing.T) {
	var c Credit
	c.Bound(10)
	c.Add(100)
	a, b := &tap{wake: func() {}}, &tap{wake: func() {}}
	c.join(a, true)
	c.join(b, true)
	c.hold(a, 8)
	if got := c.take(b, 5); got != 2 {
		t.Errorf("8 of 10 are held, and it drew %d more, want 2", got)
	}
	c.hold(a, 0)
	if got := c.take(b, 5); got == 0 {
		t.Error("8 were given up, and it can draw none")
	}
}
