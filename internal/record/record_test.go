package record

import (
	"bytes"
	"encoding/hex"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew: only for a new format, never for an old one")

// TestGolden holds the bytes of format 1: what is on disks out there.
func TestGolden(t *testing.T) {
	seen := map[Class]bool{}
	for _, s := range samples() {
		got := s.check(t)
		_, c, _ := ClassOf(s.key)
		seen[c] = true
		name := filepath.Join("testdata", s.name+".golden")
		if *rewrite {
			if err := os.WriteFile(name, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if got != string(want) {
			t.Errorf("%s: bytes have changed\ngot:\n%swant:\n%s", s.name, got, want)
		}
	}
	for _, c := range Classes {
		if !seen[c] {
			t.Errorf("no golden file for class %s", c)
		}
	}
}

// TestGoldenRead reads every golden file there is, also those of formats that
// nobody writes any more.
func TestGoldenRead(t *testing.T) {
	names, _ := filepath.Glob("testdata/*.golden")
	if len(names) == 0 {
		t.Fatal("no golden files")
	}
	var d Decoder
	for _, name := range names {
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var key, value []byte
		for _, line := range strings.Split(string(raw), "\n") {
			if rest, ok := strings.CutPrefix(line, "key   "); ok {
				key, _ = hex.DecodeString(rest)
			}
			if rest, ok := strings.CutPrefix(line, "value "); ok {
				value, _ = hex.DecodeString(rest)
			}
		}
		if err := d.Check(key, value); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%s:\ngot  %+v\nwant %+v", what, got, want)
	}
}

func TestWaiting(t *testing.T) {
	var d Decoder
	f := func(b *queue.Birth) {
		t.Helper()
		value := AppendBirth(nil, b)
		got := queue.Waiting{Counts: task.Counts{Failures: 9}}
		if err := d.Waiting(AppendPlaceKey(nil, part, b.Place), value, &got); err != nil {
			t.Fatal(err)
		}
		equal(t, "waiting", got, queue.Waiting{Place: b.Place, Enqueued: b.Enqueued, Expires: b.Expires, Deadline: b.Spec.Deadline, Policy: b.Spec.Policy, Flags: b.Flags, Size: len(value)})
	}
	f(plainBirth())
	f(fullBirth())
	f(largeBirth())
	f(&queue.Birth{Place: birth, Enqueued: now, Spec: &task.Spec{Type: "t", Policy: &task.Policy{}}})

	b := fullBirth()
	value := AppendBirth(nil, b)
	var one, two queue.Waiting
	d.Waiting(AppendPlaceKey(nil, part, b.Place), value, &one)
	d.Waiting(AppendPlaceKey(nil, part, b.Place), value, &two)
	if one.Policy != two.Policy {
		t.Error("two tasks with the same policy bytes do not share a Policy")
	}
}

func TestDelivery(t *testing.T) {
	var d Decoder
	b := fullBirth()
	var got task.Delivery
	if _, err := d.Delivery(part, b.Place, AppendBirth(nil, b), &got); err != nil {
		t.Fatal(err)
	}
	s := b.Spec
	equal(t, "delivery", got, task.Delivery{ID: IDOf(part, timed), Payload: s.Payload, ContentType: s.ContentType, Headers: s.Headers, Tags: s.Tags, EnqueuedAt: now, Deadline: s.Deadline})

	b = largeBirth()
	got = task.Delivery{}
	large, err := d.Delivery(part, b.Place, AppendBirth(nil, b), &got)
	if err != nil || large != 100_000 || got.Payload != nil {
		t.Errorf("large payload: got %d bytes to fetch, %d inline, %v", large, len(got.Payload), err)
	}
	var whole []byte
	for i := range ChunkCount(large) {
		whole = append(whole, Chunk(b.Spec.Payload, i)...)
	}
	if !bytes.Equal(whole, b.Spec.Payload) {
		t.Errorf("chunks do not make up the payload: %d bytes of %d", len(whole), len(b.Spec.Payload))
	}
}

// life takes a record through every kind of move and looks at what people see.
func TestMoves(t *testing.T) {
	var d Decoder
	retry := queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 9, Seq: seq, Due: now + 1000}
	b := fullBirth()
	told := queue.Told{Kind: task.OutcomeRelease, Token: token}
	live, err := AppendTimed(nil, AppendBirth(nil, b), &queue.Timed{Place: retry, From: queue.Source{Place: timed}, Counts: task.Counts{Failures: 1}, Flags: b.Flags | queue.FlagMoved, Expires: b.Expires, Attempt: failed, Told: told})
	if err != nil {
		t.Fatal(err)
	}
	var w queue.Waiting
	if err := d.Waiting(AppendPlaceKey(nil, part, retry), live, &w); err != nil {
		t.Fatal(err)
	}
	equal(t, "after a retry", w, queue.Waiting{Place: retry, Enqueued: now, Expires: b.Expires, Deadline: b.Spec.Deadline, Policy: policy, Counts: task.Counts{Failures: 1}, Flags: b.Flags | queue.FlagMoved, Told: told, Size: len(live)})
	var del task.Delivery
	if _, err := d.Delivery(part, retry, live, &del); err != nil || del.ID != IDOf(part, timed) || !bytes.Equal(del.Payload, b.Spec.Payload) || del.Priority != 5 {
		t.Errorf("delivery after a retry: %+v, %v", del, err)
	}

	key := queue.DeadKey{Queue: 2, Finished: now + 2000, Seq: seq}
	second := *failed
	second.Number = 2
	buried, err := AppendDead(nil, live, &queue.DeadLetter{Key: key, From: queue.Source{Place: retry}, Counts: task.Counts{Failures: 2}, Flags: queue.FlagMoved, Reason: "gave up", Attempt: &second, Told: queue.Told{Token: token}, Size: 321})
	if err != nil {
		t.Fatal(err)
	}
	var dl queue.DeadLetter
	if err := d.Dead(AppendDeadKey(nil, part, key), buried, &dl); err != nil {
		t.Fatal(err)
	}
	equal(t, "dead letter", dl, queue.DeadLetter{Key: key, Place: timed, Counts: task.Counts{Failures: 2}, Flags: queue.FlagMoved, Reason: "gave up", Told: queue.Told{Token: token}, Size: 321})
	var info task.Info
	if _, err := d.DeadInfo(AppendDeadKey(nil, part, key), buried, &info); err != nil {
		t.Fatal(err)
	}
	equal(t, "dead letter's info", info, task.Info{ID: IDOf(part, timed), Type: "mail", Key: b.Spec.Key, State: task.Dead, Reason: "gave up", Payload: b.Spec.Payload, PayloadKept: true,
		ContentType: b.Spec.ContentType, Headers: b.Spec.Headers, Tags: b.Spec.Tags, Error: failed.Error, Counts: task.Counts{Failures: 2}, MaxAttempts: 4,
		Attempts: []task.Attempt{*failed, second}, EnqueuedAt: now, StartedAt: failed.Started, FinishedAt: now + 2000, Deadline: b.Spec.Deadline, Worker: failed.Worker, ExpiresAt: b.Expires})

	again, err := AppendTimed(nil, buried, &queue.Timed{Place: retry, From: queue.Source{Dead: key}, Flags: queue.FlagMoved, Reset: true})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.LiveInfo(part, retry, again, &info); err != nil || info.Attempts != nil || info.Reason != "" || info.State != task.Scheduled || info.ReadyAt != retry.Due || info.ID != IDOf(part, timed) {
		t.Errorf("redriven: %+v, %v", info, err)
	}
	if got, err := d.Idempotency(AppendPlaceKey(nil, part, retry), again); err != nil || got != "order-17" {
		t.Errorf("idempotency key after three moves: %q, %v", got, err)
	}
}

func TestFinished(t *testing.T) {
	var d Decoder
	f := finishedPlain()
	value := must(AppendFinished(nil, nil, f))
	key := AppendFinishedKey(nil, part, f.Key)
	var got queue.Finished
	if err := d.Finished(key, value, &got); err != nil {
		t.Fatal(err)
	}
	want := *f
	want.Outcome, want.From = nil, queue.Source{}
	equal(t, "finished", got, want)
	var info task.Info
	if _, err := d.FinishedInfo(key, value, &info); err != nil {
		t.Fatal(err)
	}
	equal(t, "finished info", info, task.Info{ID: IDOf(part, birth), Type: "mail", State: task.Succeeded, Priority: 5, Result: []byte(`"sent"`), EnqueuedAt: now, StartedAt: now + 1, FinishedAt: now + 5, Worker: "host-1/42",
		Attempts: []task.Attempt{{Number: 2, Started: now + 1, Ended: now + 5, Outcome: task.AttemptSucceeded, Worker: "host-1/42"}}})

	f = finishedFull()
	moved := samples()[4].value
	value = must(AppendFinished(nil, moved, f))
	if err := d.Finished(key, value, &got); err != nil || !got.KeepBody || got.Place != f.Place {
		t.Errorf("kept: %+v, %v", got, err)
	}
	if _, err := d.FinishedInfo(key, value, &info); err != nil || info.ID != IDOf(part, birth) || string(info.Payload) != `{"to":"ada"}` || len(info.Attempts) != 2 || info.Attempts[1].Outcome != task.AttemptCanceled {
		t.Errorf("kept info: %+v, %v", info, err)
	}
	retry := queue.Timed{Place: f.Place, From: queue.Source{Finished: f.Key}, Flags: queue.FlagMoved}
	live, err := AppendTimed(nil, value, &retry)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := d.LiveInfo(part, f.Place, live, &info); err != nil || info.ID != IDOf(part, birth) || string(info.Payload) != `{"to":"ada"}` || len(info.Attempts) != 2 {
		t.Errorf("retried: %+v, %v", info, err)
	}
	bare := must(AppendFinished(nil, nil, finishedPlain()))
	if _, err := AppendTimed(nil, bare, &retry); !errors.Is(err, ErrCorrupt) {
		t.Errorf("retry of a finished task without a body: %v", err)
	}
}

// TestAttemptsMax keeps the newest twenty.
func TestAttemptsMax(t *testing.T) {
	var d Decoder
	live := AppendBirth(nil, plainBirth())
	from := birth
	for i := range uint32(30) {
		a := *failed
		a.Number = i + 1
		place := queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 9, Seq: seq, Due: now + task.Time(i)}
		live = must(AppendTimed(nil, live, &queue.Timed{Place: place, From: queue.Source{Place: from}, Flags: queue.FlagMoved, Attempt: &a}))
		from = place
	}
	var info task.Info
	if _, err := d.LiveInfo(part, from, live, &info); err != nil {
		t.Fatal(err)
	}
	if n := len(info.Attempts); n != task.AttemptsShownMax || info.Attempts[0].Number != 11 || info.Attempts[n-1].Number != 30 {
		t.Errorf("got %d attempts, %d to %d; want the newest 20 of 30", n, info.Attempts[0].Number, info.Attempts[n-1].Number)
	}
}

func TestState(t *testing.T) {
	key := AppendQueueKey(nil, part, 2)
	q := queueFull()
	q.Used, q.Set = now, true
	q.Earlier = []task.EarlierWidth{{Width: 8, Until: now}, {Width: 1, Until: now - 60_000}}
	var got queue.QueueState
	if err := DecodeQueue(key, AppendQueue(nil, &q), &got); err != nil {
		t.Fatal(err)
	}
	equal(t, "queue", got, q)

	by := map[string]sample{}
	for _, s := range samples() {
		by[s.name] = s
	}
	f := func(name string, got any, err error, again []byte) {
		t.Helper()
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if !bytes.Equal(again, by[name].value) {
			t.Errorf("%s: read as %+v, which is written as %x, not %x", name, got, again, by[name].value)
		}
	}
	var meta queue.Meta
	err := DecodeMeta(by["meta"].value, &meta)
	f("meta", meta, err, AppendMeta(nil, &meta))
	var mark queue.Mark
	err = DecodeMark(by["mark"].key, by["mark"].value, &mark)
	f("mark", mark, err, AppendMark(nil, &mark))
	var segment queue.Segment
	err = DecodeSegment(by["segment"].key, by["segment"].value, &segment)
	f("segment", segment, err, AppendSegment(nil, &segment))
	var producer queue.ProducerState
	err = DecodeProducer(by["producer-deltas"].key, by["producer-deltas"].value, &producer)
	f("producer-deltas", producer, err, AppendProducer(nil, &producer))
	var session queue.SessionState
	err = DecodeSession(by["session"].key, by["session"].value, &session)
	f("session", session, err, AppendSession(nil, &session))
	for _, name := range []string{"where", "where-dead"} {
		var where queue.Where
		err = DecodeWhere(by[name].key, by[name].value, &where)
		f(name, where, err, AppendWhere(nil, &where))
	}
	var expiry queue.Expiry
	err = DecodeExpiry(by["expiry"].key, by["expiry"].value, &expiry)
	f("expiry", expiry, err, AppendExpiry(nil, &expiry))
	err = DecodeExpiry(by["deadline"].key, by["deadline"].value, &expiry)
	f("deadline", expiry, err, AppendExpiry(nil, &expiry))
	var idem queue.Idem
	err = DecodeIdem(by["idem"].key, by["idem"].value, &idem)
	f("idem", idem, err, AppendIdem(nil, &idem))
	var claim queue.Claim
	err = DecodeClaim(by["claim"].key, by["claim"].value, &claim)
	f("claim", claim, err, AppendClaim(nil, &claim))
	var unary queue.Claim
	err = DecodeClaim(by["claim-unary"].key, by["claim-unary"].value, &unary)
	f("claim-unary", unary, err, AppendClaim(nil, &unary))
	equal(t, "claim-unary", unary.LeaseEnd, now+30_000)
	var of queue.Claim
	err = DecodeClaim(by["claim-worker"].key, by["claim-worker"].value, &of)
	f("claim-worker", of, err, AppendClaim(nil, &of))
	equal(t, "claim-worker", of, queue.Claim{Seq: seq, Place: birth, Token: token, Session: "s-1", Worker: "host-1/42", Concurrency: 64, Started: now})
	equal(t, "claim", claim, queue.Claim{Seq: seq, Place: birth, Token: token, Session: "s-1", Worker: "host-1/42", Started: now})
}

// TestBadBytes cuts every sample short, lengthens it, and sets its version and
// unknown bits: each is an error that says what to do, never a panic or a guess.
func TestBadBytes(t *testing.T) {
	var d Decoder
	for _, s := range samples() {
		_, c, _ := ClassOf(s.key)
		if c == ClassChunk {
			continue
		}
		for n := range s.value {
			if err := d.Check(s.key, s.value[:n]); err == nil {
				t.Errorf("%s cut to %d of %d bytes is read", s.name, n, len(s.value))
			} else if !strings.Contains(err.Error(), "penstock doctor") && !errors.Is(err, ErrNewer) {
				t.Errorf("%s: %v: does not say what to do", s.name, err)
			}
		}
		if err := d.Check(s.key, append(bytes.Clone(s.value), 0)); !errors.Is(err, ErrCorrupt) && !errors.Is(err, ErrNewer) {
			t.Errorf("%s with a byte more: %v", s.name, err)
		}
		next := bytes.Clone(s.value)
		next[0] = version + 1
		if err := d.Check(s.key, next); !errors.Is(err, ErrNewer) || !strings.Contains(err.Error(), "newer Penstock") {
			t.Errorf("%s of the next format: %v", s.name, err)
		}
		next[0] = 0
		if err := d.Check(s.key, next); !errors.Is(err, ErrCorrupt) {
			t.Errorf("%s of format 0: %v", s.name, err)
		}
		for _, key := range [][]byte{nil, s.key[:2], append(bytes.Clone(s.key), 0)} {
			if c == ClassSession || c == ClassProducer {
				continue // these end in a name
			}
			if err := d.Check(key, s.value); err == nil {
				t.Errorf("%s is read under key %x", s.name, key)
			}
		}
	}
	unknown := bytes.Clone(samples()[0].value)
	unknown[2] |= 0x80
	if err := d.Check(samples()[0].key, unknown); !errors.Is(err, ErrNewer) {
		t.Errorf("unknown field: %v", err)
	}
	if err := d.Check([]byte{0, 1, 0xaa}, nil); !errors.Is(err, ErrNewer) {
		t.Errorf("unknown class: %v", err)
	}
}

// FuzzDecode: no bytes make a decoder panic, and what is read can be moved on.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.key, s.value)
	}
	f.Fuzz(func(t *testing.T, key, value []byte) {
		var d Decoder
		if err := d.Check(key, value); err != nil {
			return
		}
		_, c, _ := ClassOf(key)
		move := queue.Timed{Place: timed, From: queue.Source{Place: birth}, Flags: queue.FlagMoved, Attempt: failed}
		switch c {
		case ClassBirth, ClassTimed, ClassCalendar:
			pl, _ := ParsePlaceKey(key)
			var del task.Delivery
			if _, err := d.Delivery(part, pl, value, &del); err != nil {
				t.Fatalf("checked but not delivered: %v", err)
			}
			move.From.Place = pl
		case ClassDead:
			move.From.Dead = queue.DeadKey{Queue: 1}
		case ClassFinished:
			var fin queue.Finished
			if err := d.Finished(key, value, &fin); err != nil {
				t.Fatalf("checked but not read: %v", err)
			}
			if !fin.KeepBody {
				return
			}
			move.From.Finished = queue.FinishedKey{Seq: 1}
		default:
			return
		}
		moved, err := AppendTimed(nil, value, &move)
		if err != nil {
			t.Fatalf("checked but not moved: %v", err)
		}
		if err := d.Check(AppendPlaceKey(nil, part, timed), moved); err != nil {
			t.Fatalf("moved but not read: %v", err)
		}
	})
}

// A policy that may not be asked for any more, but could be once, is still read: a
// server may not refuse to open what it wrote.
func TestPolicyOfEarlierDays(t *testing.T) {
	for _, p := range []task.Policy{
		{Timeout: task.DelayMax + 1},
		{Backoff: &task.Backoff{Base: task.Hour}},
		{Backoff: &task.Backoff{Kind: task.BackoffFixed, Base: 5, Max: 50}},
	} {
		if p.Check() == nil {
			t.Errorf("%+v may be asked for", p)
		}
		var d Decoder
		var w queue.Waiting
		value := AppendBirth(nil, &queue.Birth{Place: birth, Enqueued: now, Spec: &task.Spec{Type: "t", Policy: &p}})
		if err := d.Waiting(AppendPlaceKey(nil, part, birth), value, &w); err != nil {
			t.Errorf("%+v: %v", p, err)
		}
	}
}
