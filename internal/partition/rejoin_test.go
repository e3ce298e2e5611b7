package partition

import (
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// A rejoinTest is a loop between two commits: who comes at which yield, and what
// the yields cost.
type rejoinTest struct {
	t      *testing.T
	box    mailbox
	j      rejoin
	clock  time.Time
	cost   time.Duration // of a yield
	comes  []int         // tasks, by yield
	yields int
}

func newRejoinTest(t *testing.T) *rejoinTest {
	r := &rejoinTest{t: t, j: newRejoin()}
	r.box.wake = make(chan struct{}, 1)
	r.j.now = func() time.Time { return r.clock }
	r.j.yield = func() {
		r.clock = r.clock.Add(r.cost)
		if r.yields < len(r.comes) {
			r.come(r.comes[r.yields])
		}
		r.yields++
	}
	return r
}

func (r *rejoinTest) come(tasks int) {
	for range tasks {
		if err := r.box.putFinish(mail{errand: errand{tasks: 1}}); err != nil {
			r.t.Fatal(err)
		}
	}
}

// wait answers so many commands and says for how many yields the loop waits then.
func (r *rejoinTest) wait(answered int, commit time.Duration, comes ...int) int {
	r.comes, r.yields = comes, 0
	var tn turn
	for range answered {
		tn.add(mail{cmd: queue.Command{Op: queue.OpReport, Report: &task.OutcomeBatch{}}})
	}
	tn.add(mail{cmd: queue.Command{Op: queue.OpDispatch}}) // for which nobody waits
	r.j.note(&tn, commit)
	r.j.wait(&r.box)
	return r.yields
}

func (r *rejoinTest) fetch() {
	var finish, admit intake
	var views []view
	r.box.fetch(&finish, &admit, &views, 0, 0)
}

func TestRejoinWaitsForWhoWasAnswered(t *testing.T) {
	for _, tt := range []struct {
		name     string
		waiting  int
		answered int
		comes    []int
		want     int
	}{
		{"all come", 0, 32, []int{20, 12, 99}, 2},
		{"beside those who wait", 32, 32, []int{20, 11, 1, 99}, 3},
		{"they come late", 0, 32, []int{10, 0, 0, 10, 0, 0, 12, 99}, 7},
		{"nobody comes", 5, 32, nil, rejoinQuiet},
		{"some never come", 0, 32, []int{10}, 1 + rejoinQuiet},
		{"one alone", 0, 1, []int{1}, 0},
		{"nobody was answered", 10, 0, []int{1}, 0},
		{"enough for a turn", overlapMin - 10, 100, []int{9, 1, 99}, 2},
		{"enough already", overlapMin, 100, []int{9}, 0},
		{"a large turn", 0, overlapMin, []int{9}, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRejoinTest(t)
			r.come(tt.waiting)
			if got := r.wait(tt.answered, time.Millisecond, tt.comes...); got != tt.want {
				t.Errorf("waited for %d yields, want %d", got, tt.want)
			}
		})
	}
}

func TestRejoinLeavesItWhereYieldsAreSlow(t *testing.T) {
	r := newRejoinTest(t)
	r.cost = time.Millisecond
	tries := 0
	const turns = 20_000
	for range turns {
		if r.wait(32, 500*time.Microsecond, 32) > 0 {
			tries++
		}
		r.fetch()
	}
	if most := 10 + turns/rejoinIdleMax; tries < 10 || tries > most {
		t.Errorf("tried in %d of %d turns, want 10 to %d", tries, turns, most)
	}
	r.cost = 10 * time.Microsecond
	tries = 0
	for range turns {
		if r.wait(32, 500*time.Microsecond, 32) > 0 {
			tries++
		}
		r.fetch()
	}
	if tries < turns-3*rejoinIdleMax {
		t.Errorf("yields are quick again, and it tried in %d of %d turns only", tries, turns)
	}
}

// Each newcomer is a reason to wait on, but not for ever.
func TestRejoinEnds(t *testing.T) {
	for _, tt := range []struct {
		cost, commit time.Duration
		want         int
	}{
		{10 * time.Millisecond, 500 * time.Microsecond, 1},
		{10 * time.Millisecond, time.Second, 1}, // a commit seems to take long too, where processors are busy
		{100 * time.Microsecond, 500 * time.Microsecond, 6},
		{100 * time.Microsecond, time.Second, 11},
	} {
		r := newRejoinTest(t)
		r.cost = tt.cost
		come := make([]int, 300)
		for i := range come {
			come[i] = i % 2
		}
		if got := r.wait(150, tt.commit, come...); got != tt.want {
			t.Errorf("yields of %v after a commit of %v: waited for %d of them, want %d", tt.cost, tt.commit, got, tt.want)
		}
	}
}
