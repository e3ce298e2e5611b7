package record

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/penstock-io/penstock/internal/queue"
	"github.com/penstock-io/penstock/internal/task"
)

// now is the moment that all samples speak of.
const now = task.Time(1_790_000_000_000)

const part = 7

var (
	seq    = task.MakeSeq(3, 4711)
	birth  = queue.Place{Prio: 5, Queue: 2, Lane: 9, Seq: seq}
	timed  = queue.Place{Class: task.ClassTimed, Prio: 0, Queue: 2, Lane: 9, Seq: seq, Due: now + 60_000}
	token  = task.Token{Partition: part, Attempt: 2, Epoch: 3, Nonce: 0xdecade, Slot: 77, Dispatch: 1234, Queue: 2, Seq: seq}
	policy = &task.Policy{MaxAttempts: 4, Timeout: task.AttemptTimeoutNone, Backoff: &task.Backoff{Kind: task.BackoffList, List: []task.Millis{1000, 60_000}}}
	failed = &task.Attempt{Number: 1, Started: now - 500, Ended: now - 100, Outcome: task.AttemptFailed, Worker: "host-1/42", Error: "no route to host"}
)

func plainBirth() *queue.Birth {
	return &queue.Birth{Place: birth, Enqueued: now, Spec: &task.Spec{Type: "mail", Payload: []byte(`{"to":"ada"}`)}}
}

func fullBirth() *queue.Birth {
	return &queue.Birth{
		Place: timed, Enqueued: now, Expires: now + 90_000, Deadline: now + 3_600_000, Flags: queue.FlagIdem | queue.FlagExpiry | queue.FlagDeadline,
		Spec: &task.Spec{
			Type: "mail", Payload: []byte("\x00\xff"), Priority: 0, Deadline: now + 3_600_000, Key: "acme/user42",
			LimitKeys: []string{"api:stripe", "db"}, Idempotency: "order-17", Tags: []string{"beta"},
			Headers: []task.Header{{Name: "traceparent", Value: "00-ab-cd-01"}}, ContentType: "application/x-thing", Policy: policy,
		},
	}
}

func calendarBirth() *queue.Birth {
	pl := timed
	pl.Class = task.ClassCalendar
	return &queue.Birth{Place: pl, Enqueued: now, Expires: now + 90_000, Flags: queue.FlagExpiry,
		Spec: &task.Spec{Type: "mail", Payload: []byte("at nine"), ExpireAfter: 30_000}}
}

func largeBirth() *queue.Birth {
	return &queue.Birth{Place: birth, Enqueued: now, Flags: queue.FlagLarge, Spec: &task.Spec{Type: "mail", Payload: bytes.Repeat([]byte("x"), 100_000)}}
}

// sample is one record as it is written.
type sample struct {
	name       string
	key, value []byte
}

func must(b []byte, err error) []byte {
	if err != nil {
		panic(err)
	}
	return b
}

// samples are one or more of each class; their bytes are the golden files.
func samples() []sample {
	var out []sample
	add := func(name string, key, value []byte) { out = append(out, sample{name, key, value}) }
	live := func(name string, b *queue.Birth) []byte {
		v := AppendBirth(nil, b)
		add(name, AppendPlaceKey(nil, part, b.Place), v)
		return v
	}
	plain := live("birth", plainBirth())
	full := live("birth-timed-full", fullBirth())
	live("birth-large", largeBirth())
	add("chunk", AppendChunkKey(nil, part, birth, 1), []byte("the second 64 KiB"))

	retry := queue.Timed{
		Place: queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 9, Seq: seq, Due: now + 1000},
		From:  queue.Source{Place: birth}, Counts: task.Counts{Failures: 1, Crashes: 2, Releases: 300}, Flags: queue.FlagMoved, Attempt: failed,
	}
	moved := must(AppendTimed(nil, plain, &retry))
	add("timed", AppendPlaceKey(nil, part, retry.Place), moved)

	dead := queue.DeadLetter{Key: queue.DeadKey{Queue: 2, Finished: now, Seq: seq}, From: queue.Source{Place: timed},
		Counts: task.Counts{Failures: 4}, Flags: queue.FlagMoved | queue.FlagIdem, Reason: "failed 4 times", Attempt: failed, Size: 140, Told: queue.Told{Kind: task.OutcomeFail, Token: token}}
	add("dead", AppendDeadKey(nil, part, dead.Key), must(AppendDead(nil, full, &dead)))

	fin := finishedPlain()
	add("finished", AppendFinishedKey(nil, part, fin.Key), must(AppendFinished(nil, nil, fin)))
	fin = finishedFull()
	add("finished-kept", AppendFinishedKey(nil, part, fin.Key), must(AppendFinished(nil, moved, fin)))

	return append(append(out, indexSamples()...), stateSamples()...)
}

func finishedPlain() *queue.Finished {
	return &queue.Finished{
		Key: queue.FinishedKey{Segment: 6, Seq: seq}, State: task.Succeeded, Place: birth, Names: queue.Names{Type: "mail"}, From: queue.Source{Place: birth}, Token: token,
		Enqueued: now, Started: now + 1, Ended: now + 5, Worker: "host-1/42", Outcome: &task.Outcome{Result: []byte(`"sent"`)},
	}
}

func finishedFull() *queue.Finished {
	return &queue.Finished{
		Key: queue.FinishedKey{Segment: 6, Seq: seq}, State: task.Canceled, Names: queue.Names{Type: "mail", Key: "acme/user42", Limits: []string{"db"}}, Flags: queue.FlagMoved, Copy: true, KeepBody: true,
		Place:  queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 9, Seq: seq, Due: now + 1000},
		From:   queue.Source{Place: queue.Place{Class: task.ClassTimed, Prio: 5, Queue: 2, Lane: 9, Seq: seq, Due: now + 1000}},
		Counts: task.Counts{Failures: 1, Crashes: 2}, Token: token, Enqueued: now, Started: now + 2000, Ended: now + 3000,
		Worker: "host-2/1", Reason: "canceled by a user", Outcome: &task.Outcome{ResultType: "text/plain", Log: []byte("half way")},
	}
}

func listFull() *queue.List {
	l := &queue.List{Key: queue.ListKey{Epoch: 4, No: 12}, Epoch: 3, Nonce: 0xdecade, At: now}
	add := func(d queue.Dispatched) { l.Tasks = append(l.Tasks, d) }
	next := func(pl queue.Place, n task.Seq) queue.Place { pl.Seq += n; return pl }
	add(queue.Dispatched{Place: birth, Dispatch: 1234, Slot: 70, Attempt: 1, Session: "s-1", Started: now})
	add(queue.Dispatched{Place: next(birth, 1), Dispatch: 1235, Slot: 71, Attempt: 1, Session: "s-1", Started: now})
	add(queue.Dispatched{Place: next(timed, 5), Dispatch: 1236, Slot: 69, Attempt: 3, Session: "s-2", Started: now})
	add(queue.Dispatched{Place: next(birth, 2), Dispatch: 1240, Attempt: 1, Session: "s-1", Started: now - 700})
	add(queue.Dispatched{Place: next(birth, 3), Dispatch: 1241, Attempt: 1, Started: now, LeaseEnd: now + 30_000})
	calendar := next(timed, 9)
	calendar.Class = task.ClassCalendar
	add(queue.Dispatched{Place: calendar, Dispatch: 1242, Slot: 1, Attempt: 1, Session: "s-1", Started: now})
	return l
}

func indexSamples() []sample {
	where := queue.Where{Seq: seq, Place: timed}
	buried := queue.Where{Seq: seq, Dead: queue.DeadKey{Queue: 2, Finished: now, Seq: seq}}
	expiry := queue.Expiry{Key: queue.ExpiryKey{At: now, Seq: seq}, ID: IDOf(part, timed)}
	deadline := queue.Expiry{Key: queue.ExpiryKey{At: now, Seq: seq, Wall: true}, ID: IDOf(part, timed)}
	idem := queue.Idem{Key: queue.IdemKey{Queue: 2, Hash: 0xfeedface}, Name: "order-17", ID: IDOf(part, birth), Payload: 99, Until: now + 86_400_000, Due: now + 86_400_000}
	idemLater := idem
	idemLater.Due += 60_000
	idemDue := queue.IdemDue{Key: queue.IdemDueKey{At: idem.Due, Seq: seq}, Idem: idem.Key, ID: idem.ID, NameBytes: len(idem.Name)}
	unary := queue.Claim{Seq: seq, Place: birth, Token: token, Started: now, LeaseEnd: now + 30_000}
	worker := queue.Claim{Seq: seq, Place: birth, Token: token, Session: "s-1", Worker: "host-1/42", Concurrency: 64, Started: now}
	claim := queue.Claim{Seq: seq, Place: birth, Token: token, Session: "s-1", Worker: "host-1/42", Started: now}
	later := calendarBirth()
	return []sample{
		{"where", AppendWhereKey(nil, part, seq), AppendWhere(nil, &where)},
		{"where-dead", AppendWhereKey(nil, part, seq), AppendWhere(nil, &buried)},
		{"expiry", AppendExpiryKey(nil, part, expiry.Key), AppendExpiry(nil, &expiry)},
		{"deadline", AppendExpiryKey(nil, part, deadline.Key), AppendExpiry(nil, &deadline)},
		{"idem", AppendIdemKey(nil, part, idem.Key), AppendIdem(nil, &idem)},
		{"idem-later", AppendIdemKey(nil, part, idem.Key), AppendIdem(nil, &idemLater)},
		{"idem-due", AppendIdemDueKey(nil, part, idemDue.Key), AppendIdemDue(nil, &idemDue)},
		{"brief", AppendBriefKey(nil, part, idemDue.Key), AppendBrief(nil, &idem)},
		{"claim", AppendClaimKey(nil, part, seq), AppendClaim(nil, &claim)},
		{"list", AppendListKey(nil, part, listFull().Key), AppendList(nil, listFull())},
		{"claim-worker", AppendClaimKey(nil, part, seq), AppendClaim(nil, &worker)},
		{"claim-unary", AppendClaimKey(nil, part, seq), AppendClaim(nil, &unary)},
		{"birth-calendar", AppendPlaceKey(nil, part, later.Place), AppendBirth(nil, later)},
	}
}

func stateSamples() []sample {
	q := queueFull()
	mark := queue.Mark{MarkKey: queue.MarkKey{Queue: 2, Prio: 9, Lane: 9}, Low: seq, TimedLow: now}
	segment := queue.Segment{Segment: 6, Retention: task.Day, Low: seq, High: seq + 5, Count: 6, Bytes: 600, Opened: now, Closed: now + 1}
	evicted := queue.ProducerState{ProducerKey: queue.ProducerKey{Queue: 2, Producer: "p-2"}, Seen: now, Evicted: true}
	producer := queue.ProducerState{ProducerKey: queue.ProducerKey{Queue: 2, Producer: "p-1"}, Below: 10, Seen: now, Ranges: []queue.NumberRange{{First: 10, N: 3, ID: IDOf(part, birth)}, {First: 13, N: 1, ID: IDOf(part, timed)}, {First: 20, N: 1, ID: IDOf(part, birth)}}}
	session := queue.SessionState{Session: "s-1", Worker: "host-1/42", Concurrency: 64, TTL: 10_000}
	return []sample{
		{"meta-boot", AppendMetaKey(nil, part), AppendMeta(nil, &queue.Meta{Now: now, LastOpen: now, Boot: 1 << 63, Base: -86_400_000})},
		{"meta", AppendMetaKey(nil, part), AppendMeta(nil, &queue.Meta{Now: now, Offset: -7_200_000, Clean: true, UncleanOpens: 2, LastOpen: now - 5, NextQueue: 3, NextSegment: 7, NextLoad: 300, Sweep: true})},
		{"queue", AppendQueueKey(nil, part, 2), AppendQueue(nil, &queue.QueueState{Queue: 2, Name: "default", Births: 5})},
		{"queue-full", AppendQueueKey(nil, part, 2), AppendQueue(nil, &q)},
		{"queue-widened", AppendQueueKey(nil, part, 2), AppendQueue(nil, &queue.QueueState{Queue: 2, Name: "hot", Sweep: true, Config: task.QueueConfig{Width: 4},
			Earlier: []task.EarlierWidth{{Width: 8, Until: now}, {Width: 1, Until: now - 60_000}}})},
		{"queue-used", AppendQueueKey(nil, part, 2), AppendQueue(nil, &queue.QueueState{Queue: 2, Name: "default", Enqueued: 7, Used: now, Set: true})},
		{"mark", AppendMarkKey(nil, part, mark.MarkKey), AppendMark(nil, &mark)},
		{"segment", AppendSegmentKey(nil, part, 6), AppendSegment(nil, &segment)},
		{"producer-deltas", AppendProducerKey(nil, part, producer.ProducerKey), AppendProducer(nil, &producer)},
		{"session-away", AppendSessionKey(nil, part, "s-1"), AppendSession(nil, &queue.SessionState{Session: "s-1", Worker: "host-1/42", Concurrency: 64, TTL: 10_000, AwayUntil: now + 5000})},
		{"producer-gone", AppendProducerKey(nil, part, evicted.ProducerKey), AppendProducer(nil, &evicted)},
		{"session", AppendSessionKey(nil, part, "s-1"), AppendSession(nil, &session)},
	}
}

func queueFull() queue.QueueState {
	return queue.QueueState{
		Queue: 2, Name: "mail", Paused: true, Births: 1, Timed: 2, Dead: 3, DeadBytes: 400, Enqueued: 1 << 40, Succeeded: 6, DeadTotal: 7, Canceled: 8, Expired: 9, IdemBytes: 10, NextLane: 11,
		Config: task.QueueConfig{MaxAttempts: 3, Timeout: task.AttemptTimeoutNone, Backoff: &task.Backoff{Kind: task.BackoffLinear, Base: 5, Max: 50}, Retention: task.Hour,
			History: task.HistoryNone, Unserved: task.Minute, Claims: task.ClaimsDurable, Width: 4},
	}
}

// check reads a sample and renders what it says, for the golden files.
func (s *sample) check(t testing.TB) string {
	t.Helper()
	var d Decoder
	if err := d.Check(s.key, s.value); err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	_, c, _ := ClassOf(s.key)
	return fmt.Sprintf("# %s record, format %d\nkey   %x\nvalue %x\n", c, version, s.key, s.value)
}
