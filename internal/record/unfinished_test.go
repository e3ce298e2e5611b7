package record

import (
	"bytes"
	"reflect"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// TestUnfinished: a task is told as it would be enqueued anew, wherever it stands.
func TestUnfinished(t *testing.T) {
	full := fullBirth().Spec
	spec := *full
	spec.RunAt = timed.Due
	died := spec
	died.RunAt, died.Deadline = 0, 0
	f := func(name string, want Unfinished) {
		t.Helper()
		for _, s := range samples() {
			if s.name != name {
				continue
			}
			var got Unfinished
			var d Decoder
			if err := d.Unfinished(s.key, s.value, &got); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			want.ID.Seq, want.Queue, want.Lane, want.Enqueued = seq, 2, 9, now
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s:\ngot  %+v\nwant %+v", name, got, want)
			}
			for n := range s.value { // whatever is cut off, it is told
				if d.Unfinished(s.key, s.value[:n], &got) == nil {
					t.Errorf("%s: cut to %d bytes it is read", name, n)
				}
			}
		}
	}
	payload := plainBirth().Spec.Payload
	f("birth", Unfinished{ID: IDOf(part, birth), State: task.Ready, Spec: task.Spec{Type: "mail", Priority: 5, Payload: payload}})
	f("birth-timed-full", Unfinished{ID: IDOf(part, timed), Class: task.ClassTimed, State: task.Scheduled, Spec: spec, Expires: now + 90_000})
	f("birth-large", Unfinished{ID: IDOf(part, birth), State: task.Ready, Spec: task.Spec{Type: "mail", Priority: 5}, Large: 100_000})
	f("timed", Unfinished{ID: IDOf(part, birth), Class: task.ClassTimed, State: task.Scheduled, Spec: task.Spec{Type: "mail", Priority: 5, Payload: payload, RunAt: now + 1000}, Counts: task.Counts{Failures: 1, Crashes: 2, Releases: 300}})
	f("dead", Unfinished{ID: IDOf(part, timed), State: task.Dead, Spec: died, Counts: task.Counts{Failures: 4}, Reason: "failed 4 times"})
}

// TestStale: of a task whose deletions were lost, the one record that counts is
// told from the others.
func TestStale(t *testing.T) {
	later := timed
	later.Due += 5000
	old := AppendBirth(nil, plainBirth())
	retry := func(pl queue.Place) []byte {
		return must(AppendTimed(nil, old, &queue.Timed{Place: pl, From: queue.Source{Place: birth}, Flags: queue.FlagMoved}))
	}
	dead := queue.DeadLetter{Key: queue.DeadKey{Queue: 2, Finished: now, Seq: seq}, From: queue.Source{Place: birth}, Flags: queue.FlagMoved}
	type kv struct{ key, value []byte }
	all := map[string]kv{
		"birth":    {AppendPlaceKey(nil, part, birth), old},
		"timed":    {AppendPlaceKey(nil, part, timed), retry(timed)},
		"later":    {AppendPlaceKey(nil, part, later), retry(later)},
		"dead":     {AppendDeadKey(nil, part, dead.Key), must(AppendDead(nil, old, &dead))},
		"at later": {AppendWhereKey(nil, part, seq), AppendWhere(nil, &queue.Where{Seq: seq, Place: later})},
		"at dead":  {AppendWhereKey(nil, part, seq), AppendWhere(nil, &queue.Where{Seq: seq, Dead: dead.Key})},
		"finished": {AppendFinishedKey(nil, part, finishedPlain().Key), must(AppendFinished(nil, nil, finishedPlain()))},
	}
	f := func(counts string, names ...string) {
		t.Helper()
		var records []kv
		for _, n := range names {
			records = append(records, all[n])
		}
		for _, lossy := range []bool{true, false} {
			s := Survey{Lossy: lossy}
			for _, r := range records {
				s.Add(r.key, r.value)
			}
			var d Decoder
			for _, n := range names {
				var u Unfinished
				if d.Unfinished(all[n].key, all[n].value, &u) != nil {
					continue
				}
				if got, want := s.Stale(&u), lossy && n != counts; got != want {
					t.Errorf("%v: %s is stale: %v, want %v", names, n, got, want)
				}
			}
		}
	}
	f("birth", "birth")
	f("later", "birth", "timed", "later", "at later")
	f("later", "birth", "later", "at later", "dead")
	f("later", "later", "at later", "finished")
	f("dead", "birth", "timed", "at dead", "dead")
	f("dead", "birth", "dead")
	f("later", "birth", "later")
	f("", "birth", "timed", "finished")
	f("", "dead", "finished")
}

func TestSeqSet(t *testing.T) {
	var s seqSet
	for _, x := range []task.Seq{0, 63, 64, seqsABlock - 1, seqsABlock, seq} {
		if s.has(x) {
			t.Errorf("%d is in it", x)
		}
		s.add(x)
		if !s.has(x) || s.has(x+1) {
			t.Errorf("%d: got %v, the next %v", x, s.has(x), s.has(x+1))
		}
	}
}

// TestSurveyLarge: a payload of which a chunk is missing is told.
func TestSurveyLarge(t *testing.T) {
	b := largeBirth()
	for _, chunks := range []int{2, 1} {
		var s Survey
		s.Add(AppendPlaceKey(nil, part, b.Place), AppendBirth(nil, b))
		for i := range chunks {
			s.Add(AppendChunkKey(nil, part, b.Place, i), Chunk(b.Spec.Payload, i))
		}
		s.Finish()
		told := len(s.Faults) > 0 && bytes.Contains([]byte(s.Faults[0].Why), []byte("not whole"))
		if told != (chunks == 1) {
			t.Errorf("%d chunks of 2: %+v", chunks, s.Faults)
		}
	}
}
