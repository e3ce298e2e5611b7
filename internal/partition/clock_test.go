package partition

import (
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

func TestClock(t *testing.T) {
	wall, steady := task.Time(1_000_000), task.Time(70)
	c := NewClock(func() task.Time { return wall }, func() task.Time { return steady })
	want := func(now task.Time, offset task.Millis) {
		t.Helper()
		if c.Now() != now || c.Offset() != offset {
			t.Fatalf("machine time %d, offset %d: want %d, %d", c.Now(), c.Offset(), now, offset)
		}
	}
	m := queue.Meta{}
	c.begin(&m)
	want(1_000_000, 0)
	wall, steady = wall+5000, steady+5000
	if c.note() {
		t.Error("the clock was not set, and is said to be")
	}
	want(1_005_000, 0)
	wall += offsetSlack // slewed, or read a moment later
	if c.note() {
		t.Error("a clock that is slewed was not set")
	}
	wall += 2000
	if !c.note() {
		t.Error("a clock that was set is not noticed")
	}
	want(1_005_000, -2000-offsetSlack)

	m = queue.Meta{Now: 1_004_000, Offset: c.Offset()}
	steady += 10 // a partition that is opened anew goes on by the steady clock
	c.begin(&m)
	want(1_005_010, -2100)
	if m.Offset != -2100 {
		t.Errorf("the machine is told of an offset of %d", m.Offset)
	}

	c = NewClock(c.wall, c.steady)
	m = queue.Meta{Now: 1_004_000, Offset: -2090}
	wall += 60_000
	c.begin(&m)
	want(1_065_010, -2090)
	m = queue.Meta{Now: 1_065_010, Offset: -2090}
	wall -= 90_000
	c = NewClock(c.wall, c.steady)
	c.begin(&m)
	want(1_065_010, 87_910)
}

// A wall clock that was set while no process ran told a start of hours that had not
// passed: delays, leases and timeouts ended.
func TestClockOverARestart(t *testing.T) {
	wall, steady := task.Time(1_000_000), task.Time(70)
	open := func(m *queue.Meta, boot uint64) *Clock {
		c := NewClock(func() task.Time { return wall }, func() task.Time { return steady })
		c.CountsFrom(boot)
		c.begin(m)
		return c
	}
	m := queue.Meta{}
	open(&m, 7)
	m.Now = 1_000_400
	wall, steady = wall+500+2*3_600_000, steady+500
	if c := open(&m, 7); c.Now() != 1_000_500 || c.Offset() != -2*3_600_000 {
		t.Errorf("after half a second, and a clock set by two hours: %d, offset %d", c.Now(), c.Offset())
	}
	wall -= 10 * 3_600_000
	if c := open(&m, 7); c.Now() != 1_000_500 || c.Offset() != 8*3_600_000 {
		t.Errorf("and set back by ten: %d, offset %d", c.Now(), c.Offset())
	}
	m.Now = 1_000_500
	steady, wall = 20, wall+60_000 // the computer was started anew: only the wall clock knows
	if c := open(&m, 8); c.Now() != 1_060_500 {
		t.Errorf("after a minute, and a start of the computer: %d", c.Now())
	}
	m.Now = 1_060_900
	steady, wall = 10, wall+1000 // of a time before the last one stored the steady clock can't be
	if c := open(&m, 8); c.Now() != 1_061_500 {
		t.Errorf("with a steady clock that went back: %d", c.Now())
	}
	if open(&m, 0); m.Boot != 0 || m.Base != 0 {
		t.Errorf("by a steady clock from anywhere: %+v", m)
	}
}

func TestForward(t *testing.T) {
	now := task.Time(500)
	f := Forward(func() task.Time { return now })
	for _, x := range []struct{ now, want task.Time }{{510, 510}, {400, 510}, {405, 515}, {600, 710}} {
		now = x.now
		if got := f(); got != x.want {
			t.Errorf("at %d: got %d, want %d", x.now, got, x.want)
		}
	}
}
