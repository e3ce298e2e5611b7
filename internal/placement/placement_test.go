package placement

import (
	"fmt"
	"slices"
	"testing"
)

// TestHomeForEver: tasks on disk were placed by these answers.
func TestHomeForEver(t *testing.T) {
	f := func(queue string, partitions int, want uint16) {
		t.Helper()
		if got := Home(queue, partitions); got != want {
			t.Errorf("home of %q among %d: got %d, want %d", queue, partitions, got, want)
		}
	}
	f("default", 1, 0)
	f("default", 4, 1)
	f("default", 64, 30)
	f("mail", 64, 49)
	f("", 64, 44)
}

func TestHomeSpreads(t *testing.T) {
	const partitions, queues = 16, 16_000
	var n [partitions]int
	for i := range queues {
		n[Home(fmt.Sprintf("queue-%d", i), partitions)]++
	}
	for p, got := range n {
		if got < 850 || got > 1150 {
			t.Errorf("partition %d has %d queues, want about 1000: %v", p, got, n)
		}
	}
}

func TestHomeGrows(t *testing.T) {
	moved := 0
	for i := range 1000 {
		q := fmt.Sprintf("queue-%d", i)
		a, b := Home(q, 10), Home(q, 11)
		if a != b {
			moved++
			if b != 10 {
				t.Errorf("%s moved from %d to %d, not to the new partition", q, a, b)
			}
		}
	}
	if moved < 50 || moved > 150 {
		t.Errorf("%d of 1000 queues moved to the eleventh partition, want about 91", moved)
	}
}

func TestWidth(t *testing.T) {
	for i := range 100 {
		q := fmt.Sprintf("queue-%d", i)
		wide := Partitions(nil, q, 64, 64)
		if wide[0] != Home(q, 64) {
			t.Errorf("%s: first of its partitions is %d, its home %d", q, wide[0], Home(q, 64))
		}
		for w := 1; w < 64; w++ {
			if got := Partitions(nil, q, 64, w); !slices.Equal(got, wide[:w]) {
				t.Errorf("%s at width %d: got %v, want %v", q, w, got, wide[:w])
			}
		}
		slices.Sort(wide)
		if len(slices.Compact(wide)) != 64 {
			t.Errorf("%s: partitions repeat: %v", q, wide)
		}
	}
	if got := Partitions(nil, "q", 4, 9); len(got) != 4 {
		t.Errorf("width 9 among 4 partitions: got %v", got)
	}
}

func apply(t *testing.T, current []string, moves []Move) []string {
	t.Helper()
	next := slices.Clone(current)
	for _, m := range moves {
		if m.From != "" && next[m.Partition] != m.From {
			t.Errorf("%+v: its owner is %q", m, next[m.Partition])
		}
		next[m.Partition] = m.To
	}
	return next
}

func spread(owners, members []string) (least, most int) {
	least = len(owners)
	for _, m := range members {
		n := 0
		for _, o := range owners {
			if o == m {
				n++
			}
		}
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

func TestAssign(t *testing.T) {
	members := []string{"a", "b", "c"}
	owners := make([]string, 64)
	moves := Assign(members, owners, 0)
	if len(moves) != 64 {
		t.Fatalf("64 ownerless partitions: %d moves, though adopting has no limit", len(moves))
	}
	owners = apply(t, owners, moves)
	if least, most := spread(owners, members); most-least > 1 {
		t.Errorf("loads from %d to %d", least, most)
	}
	if moves := Assign([]string{"c", "a", "b", "a"}, owners, 10); len(moves) != 0 {
		t.Errorf("balanced, yet %v", moves)
	}

	// A fourth member comes: 16 partitions go to it, 5 a round, and no others move.
	members = append(members, "d")
	for round, want := range []int{5, 5, 5, 1, 0} {
		moves := Assign(members, owners, 5)
		if len(moves) != want {
			t.Errorf("round %d: %d moves, want %d", round, len(moves), want)
		}
		for _, m := range moves {
			if m.To != "d" {
				t.Errorf("round %d: %+v: only d is new", round, m)
			}
		}
		owners = apply(t, owners, moves)
	}
	if least, most := spread(owners, members); least != 16 || most != 16 {
		t.Errorf("loads from %d to %d, want 16", least, most)
	}

	// Member b goes: its partitions are adopted at once, and only those.
	members = []string{"a", "c", "d"}
	moves = Assign(members, owners, 0)
	if len(moves) != 16 {
		t.Errorf("%d moves, want b's 16", len(moves))
	}
	for _, m := range moves {
		if owners[m.Partition] != "b" || m.From != "" {
			t.Errorf("%+v: its owner was %q", m, owners[m.Partition])
		}
	}
	if least, most := spread(apply(t, owners, moves), members); most-least > 1 {
		t.Errorf("loads from %d to %d", least, most)
	}
	if moves := Assign(nil, owners, 5); moves != nil {
		t.Errorf("nobody there, yet %v", moves)
	}
}
