package record

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
)

// TestSurvey: each fault is seeded once, and cried out once.
func TestSurvey(t *testing.T) {
	type kv struct{ key, value []byte }
	state := queue.QueueState{Queue: 2, Name: "mail", Births: 1, Timed: 1, Dead: 1}
	base := func() []kv {
		s := samples()
		return []kv{
			{AppendQueueKey(nil, part, 2), AppendQueue(nil, &state)},
			{s[0].key, s[0].value}, {s[4].key, s[4].value}, {s[5].key, s[5].value},
		}
	}
	f := func(records []kv, want ...string) {
		t.Helper()
		var s Survey
		for _, r := range records {
			s.Add(r.key, r.value)
		}
		s.Finish()
		if len(s.Faults) != len(want) || s.Faulty != int64(len(want)) {
			t.Errorf("got %d faults, want %d: %+v", s.Faulty, len(want), s.Faults)
			return
		}
		for i, w := range want {
			if !strings.Contains(s.Faults[i].Why, w) {
				t.Errorf("got %q, want %q", s.Faults[i].Why, w)
			}
		}
	}
	f(base())
	bad := base()
	bad[1].value = bad[1].value[:5]
	f(bad, "birth record", `queue "mail" counts 1 waiting`)
	f(base()[:3], "counts 1 waiting, 1 timed and 1 dead tasks, but holds 1, 1 and 0")
	f(base()[1:], "queue 2 has 3 tasks but no record")
	f(append(base(), kv{[]byte{0, part, 0xaa}, nil}), "newer Penstock")

	var s Survey
	for range 3 * faultsMax {
		s.Add([]byte{0, part, 0x10}, nil)
	}
	if len(s.Faults) != faultsMax || s.Faulty != 3*faultsMax {
		t.Errorf("kept %d of %d faults", len(s.Faults), s.Faulty)
	}
	s = Survey{}
	for _, r := range base() {
		s.Add(r.key, r.value)
	}
	if s.Count(ClassTimed) != 1 || s.Count(ClassBirth) != 1 || s.Count(ClassClaim) != 0 || s.Bytes == 0 {
		t.Errorf("counts: %v, %d bytes", s.Records, s.Bytes)
	}
}
