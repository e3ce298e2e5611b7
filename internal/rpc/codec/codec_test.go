package codec

import (
	"bytes"
	"math/rand/v2"
	"reflect"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// fullSpec has a value in every field of task.Spec.
func fullSpec() task.Spec {
	return task.Spec{
		Number: 7, Type: "mail.send", Payload: []byte(`{"to":"x"}`), Priority: 9, Delay: 1500, RunAt: 1_790_000_000_000,
		ExpireAfter: task.Hour, Deadline: 1_790_000_100_000, Key: "acme/user42", LimitKeys: []string{"api:stripe", ""},
		Idempotency: "once", IdempotencyFor: task.Day, Tags: []string{"a", "b"},
		Headers: []task.Header{{Name: "traceparent", Value: "00-1"}, {Name: "empty"}}, ContentType: "text/plain",
		Policy: &task.Policy{MaxAttempts: 3, Timeout: task.AttemptTimeoutNone, Backoff: &task.Backoff{Kind: task.BackoffList, Base: 1, Max: 2, List: []task.Millis{0, 5}}},
	}
}

func fullDelivery() task.Delivery {
	return task.Delivery{
		ID:    task.ID{Partition: 3, Priority: 5, Queue: 2, Lane: 99, Seq: task.MakeSeq(4, 5)},
		Token: task.Token{Partition: 3, Attempt: 2, Epoch: 4, Nonce: 77, Slot: 8, Dispatch: 9, Queue: 2, Seq: task.MakeSeq(4, 5)},
		Queue: "mail", Type: "mail.send", Key: "acme", Payload: []byte{0, 1, 0xff}, ContentType: "x/y",
		Headers: []task.Header{{Name: "n", Value: "v"}}, Tags: []string{"t"}, Priority: 0, Attempt: 2, MaxAttempts: 10,
		Counts: task.Counts{Failures: 1, Crashes: 2, Releases: 3}, EnqueuedAt: 1_790_000_000_000, Timeout: task.Hour,
		Deadline: 1_790_000_100_000, LeaseEnd: 1_790_000_000_500,
	}
}

func fullOutcome() task.Outcome {
	return task.Outcome{
		Token: fullDelivery().Token, Kind: task.OutcomeFail, Result: []byte("r"), ResultType: "text/plain", Error: "boom",
		Permanent: true, Delay: task.RetryAfterByBackoff, Started: true, Log: []byte("line\n"),
	}
}

// TestFullValues fails when a field is added to a task type and not to the
// fixtures, and so to the wire.
func TestFullValues(t *testing.T) {
	f := func(v any, zeroAllowed ...string) {
		rv := reflect.ValueOf(v)
		for i := range rv.NumField() {
			name := rv.Type().Field(i).Name
			if rv.Field(i).IsZero() && !contains(zeroAllowed, name) {
				t.Errorf("%T.%s is not set in the fixture: let it travel", v, name)
			}
		}
	}
	f(fullSpec())
	f(*fullSpec().Policy)
	f(*fullSpec().Policy.Backoff)
	f(fullDelivery(), "Priority") // 0, as the wire's default is 5
	f(fullOutcome())
}

func contains(ss []string, s string) bool {
	for _, x := range ss {
		if x == s {
			return true
		}
	}
	return false
}

// parts lists the parts of a frame with number num.
func parts(t testing.TB, frame []byte, num int) [][]byte {
	t.Helper()
	var out [][]byte
	ps := NewParts(frame)
	for ps.Next() {
		if ps.Num() == num {
			out = append(out, ps.Body())
		}
	}
	if err := ps.Err(); err != nil {
		t.Fatal(err)
	}
	return out
}

func enqueueFrame(g *EnqueueGroup, specs []task.Spec) []byte {
	var w EnqueueWriter
	b := w.Begin(nil, g, 0)
	for i := range specs {
		b = w.Spec(b, &specs[i])
	}
	return w.End(b)
}

func TestEnqueueTravels(t *testing.T) {
	specs := []task.Spec{fullSpec(), {Type: "t", Priority: 5}, {Type: "big", Priority: 0, Payload: bytes.Repeat([]byte("x"), 20_000), Policy: fullSpec().Policy}}
	g := EnqueueGroup{Seq: 9, Queue: "mail", Producer: "p1", AckBelow: 4}
	frame := enqueueFrame(&g, specs)

	var m pb.ClientFrame
	if err := proto.Unmarshal(frame, &m); err != nil {
		t.Fatal(err)
	}
	if n := len(m.Enqueues); n != 1 || m.Enqueues[0].Seq != 9 || m.Enqueues[0].Queue != "mail" || string(m.Enqueues[0].Producer) != "p1" || m.Enqueues[0].AckBelow != 4 {
		t.Fatalf("generated code reads %v", m.Enqueues)
	}
	for i, s := range m.Enqueues[0].Tasks {
		if got := SpecFromProto(s); !reflect.DeepEqual(got, specs[i]) {
			t.Errorf("generated code reads\n%+v, want\n%+v", got, specs[i])
		}
	}

	var b task.EnqueueBatch
	names := NewNames()
	seq, err := DecodeEnqueue(parts(t, frame, PartEnqueues)[0], &b, names)
	if err != nil || seq != 9 || b.Queue != "mail" || b.Producer != "p1" || b.AckBelow != 4 {
		t.Fatalf("decode: %v, seq %d, %+v", err, seq, b)
	}
	if !reflect.DeepEqual(b.Specs, specs) {
		t.Errorf("decode\n%+v, want\n%+v", b.Specs, specs)
	}
	if b.Specs[0].Policy != b.Specs[2].Policy {
		t.Error("the same policy bytes gave two policies")
	}
}

func TestFirstNumberCountsOn(t *testing.T) {
	frame := enqueueFrame(&EnqueueGroup{Queue: "q", FirstNumber: 100}, []task.Spec{{Type: "a", Number: 3}, {Type: "b"}})
	var b task.EnqueueBatch
	if _, err := DecodeEnqueue(parts(t, frame, PartEnqueues)[0], &b, NewNames()); err != nil {
		t.Fatal(err)
	}
	if b.Specs[0].Number != 100 || b.Specs[1].Number != 101 {
		t.Errorf("numbers %d, %d, want 100, 101", b.Specs[0].Number, b.Specs[1].Number)
	}
}

func TestDeliveriesTravel(t *testing.T) {
	ds := []task.Delivery{fullDelivery(), {Token: task.Token{Seq: 1}, Priority: 5, Payload: []byte("p")}}
	frame := AppendDeliveries(nil, 4, ds)
	var m pb.ServerFrame
	if err := proto.Unmarshal(frame, &m); err != nil {
		t.Fatal(err)
	}
	if m.Deliveries[0].Session != 4 || len(m.Deliveries[0].Tasks) != 2 {
		t.Fatalf("generated code reads %v", &m)
	}
	if got := deliveryFromProto(m.Deliveries[0].Tasks[0]); !reflect.DeepEqual(got, ds[0]) {
		t.Errorf("generated code reads\n%+v, want\n%+v", got, ds[0])
	}
	session, got, err := DecodeDeliveries(parts(t, frame, PartDeliveries)[0], nil, NewNames())
	if err != nil || session != 4 || !reflect.DeepEqual(got, ds) {
		t.Errorf("decode: %v, session %d\n%+v, want\n%+v", err, session, got, ds)
	}
}

func deliveryFromProto(m *pb.Delivery) task.Delivery {
	d := task.Delivery{
		Queue: m.Queue, Type: m.Type, Key: m.Key, Payload: m.Payload, ContentType: m.ContentType, Headers: HeadersFromProto(m.Headers),
		Tags: m.Tags, Priority: task.DefaultPriority, Attempt: m.Attempt, MaxAttempts: m.MaxAttempts,
		Counts: task.Counts{Failures: m.Failures, Crashes: m.Crashes, Releases: m.Releases}, EnqueuedAt: task.Time(m.EnqueuedAtUnixMs),
		Timeout: task.Millis(m.TimeoutMs), Deadline: task.Time(m.DeadlineUnixMs), LeaseEnd: task.Time(m.LeaseEndUnixMs),
	}
	d.ID, _ = task.IDFromBinary(m.Id)
	d.Token, _ = task.TokenFromBinary(m.Token)
	if m.Priority != nil {
		d.Priority = uint8(min(*m.Priority, 255))
	}
	return d
}

func outcomeFromProto(m *pb.Outcome) task.Outcome {
	o := task.Outcome{
		Kind: task.OutcomeKind(min(uint32(m.Kind), 255)), Result: m.Result, ResultType: m.ResultType, Error: m.Error,
		Permanent: m.Permanent, Delay: task.Millis(m.DelayMs), Started: m.Started, Log: m.Log,
	}
	o.Token, _ = task.TokenFromBinary(m.Token)
	return o
}

func TestOutcomesTravel(t *testing.T) {
	outs := []task.Outcome{fullOutcome(), {Token: task.Token{Seq: 1}}}
	var w OutcomeWriter
	b := w.Begin(nil, 3, 8, 0)
	for i := range outs {
		b = w.Outcome(b, &outs[i])
	}
	frame := w.End(b)
	var m pb.ClientFrame
	if err := proto.Unmarshal(frame, &m); err != nil {
		t.Fatal(err)
	}
	for i, o := range m.Outcomes[0].Outcomes {
		if got := outcomeFromProto(o); !reflect.DeepEqual(got, outs[i]) {
			t.Errorf("generated code reads\n%+v, want\n%+v", got, outs[i])
		}
	}
	var ob task.OutcomeBatch
	session, seq, err := DecodeOutcomes(parts(t, frame, PartOutcomes)[0], &ob, NewNames())
	if err != nil || session != 3 || seq != 8 || !reflect.DeepEqual(ob.Outcomes, outs) {
		t.Errorf("decode: %v, session %d, seq %d\n%+v, want\n%+v", err, session, seq, ob.Outcomes, outs)
	}
}

func TestAnswersAreRuns(t *testing.T) {
	id := func(lane uint32, n uint64) task.ID {
		return task.ID{Partition: 1, Priority: 5, Queue: 1, Lane: lane, Seq: task.MakeSeq(1, n)}
	}
	bad := task.Errorf(task.Invalid, "no")
	results := []task.Enqueued{
		{ID: id(1, 10)}, {ID: id(1, 11)}, {ID: id(1, 12)}, // a run
		{ID: id(2, 13)}, // another lane
		{ID: id(2, 14), Existing: true},
		{Err: bad}, {Err: &task.Error{Code: task.Invalid, Text: "no"}}, // alike
		{Err: task.Errorf(task.Exhausted, "full")},
		{ID: id(2, 20)},
	}
	frame := AppendEnqueueAnswer(nil, 77, nil, results)
	a, err := DecodeEnqueueAnswer(parts(t, frame, PartEnqueueAnswers)[0])
	if err != nil || a.Seq != 77 || a.Err != nil {
		t.Fatalf("decode: %v, %+v", err, a)
	}
	var got []task.Enqueued
	runs := 0
	for {
		more, err := a.Next()
		if err != nil {
			t.Fatal(err)
		}
		if !more {
			break
		}
		runs++
		for range a.Count {
			got = append(got, task.Enqueued{ID: a.ID, Existing: a.Existing, Err: a.RunErr})
			a.ID.Seq++
		}
	}
	for i := range got {
		if got[i].Err != nil {
			got[i].ID = task.ID{}
		}
	}
	if !reflect.DeepEqual(got, results) {
		t.Errorf("got  %+v\nwant %+v", got, results)
	}
	if runs != 6 {
		t.Errorf("%d runs, want 6", runs)
	}

	e := &task.Error{Code: task.Unavailable, Text: "later", Applied: task.AppliedUnknown}
	a, err = DecodeEnqueueAnswer(parts(t, AppendEnqueueAnswer(nil, 1, e, nil), PartEnqueueAnswers)[0])
	if err != nil || a.Err == nil || *a.Err != *e {
		t.Errorf("a group's error travels as %+v, %v", a.Err, err)
	}
}

func TestOutcomeAnswers(t *testing.T) {
	f := func(codes []task.Code, want []byte) {
		t.Helper()
		a, err := DecodeOutcomeAnswer(parts(t, AppendOutcomeAnswer(nil, 5, nil, codes), PartOutcomeAnswers)[0])
		if err != nil || a.Seq != 5 || !bytes.Equal(a.Codes, want) {
			t.Errorf("codes %v travel as %v, %v", codes, a.Codes, err)
		}
	}
	f([]task.Code{task.OK, task.OK}, nil)
	f([]task.Code{task.OK, task.LeaseLost}, []byte{0, byte(task.LeaseLost)})
}

// FuzzClientFrame holds the hand-written decoder against the generated one:
// what the latter reads, the former reads alike, and nothing makes it panic.
func FuzzClientFrame(f *testing.F) {
	full := []task.Spec{fullSpec(), {Type: "t", Priority: 5}}
	f.Add(enqueueFrame(&EnqueueGroup{Seq: 1, Queue: "q", FirstNumber: 5}, full))
	var w OutcomeWriter
	o := fullOutcome()
	f.Add(w.End(w.Outcome(w.Begin(nil, 1, 2, 0), &o)))
	f.Add(AppendCredit(nil, 1, 500))
	f.Add([]byte{0x3a, 0x02, 0x32, 0x00})
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m pb.ClientFrame
		genErr := proto.Unmarshal(frame, &m)
		names := NewNames()
		ps := NewParts(frame)
		var enqueues, outcomes, credits int
		for ps.Next() {
			var err error
			switch ps.Num() {
			case PartEnqueues:
				var b task.EnqueueBatch
				var seq uint64
				if seq, err = DecodeEnqueue(ps.Body(), &b, names); err == nil && genErr == nil {
					sameEnqueue(t, m.Enqueues[enqueues], seq, &b)
				}
				enqueues++
			case PartOutcomes:
				var b task.OutcomeBatch
				var session uint32
				var seq uint64
				session, seq, err = DecodeOutcomes(ps.Body(), &b, names)
				if err == errBadToken {
					return
				}
				if err == nil && genErr == nil {
					sameOutcomes(t, m.Outcomes[outcomes], session, seq, &b)
				}
				outcomes++
			case PartCredits:
				var session, n uint32
				if session, n, err = DecodeCredit(ps.Body()); err == nil && genErr == nil {
					if c := m.Credits[credits]; c.Session != session || c.N != n {
						t.Fatalf("credit %d, %d, generated code reads %v", session, n, c)
					}
				}
				credits++
			}
			if err != nil && err != errTooMany && genErr == nil {
				t.Fatalf("part %d: %v, but generated code reads it", ps.Num(), err)
			}
			if err != nil {
				return
			}
		}
		if ps.Err() != nil && genErr == nil {
			t.Fatalf("%v, but generated code reads it", ps.Err())
		}
	})
}

func sameEnqueue(t *testing.T, m *pb.EnqueueGroup, seq uint64, b *task.EnqueueBatch) {
	t.Helper()
	if m.Seq != seq || m.Queue != b.Queue || string(m.Producer) != b.Producer || m.AckBelow != b.AckBelow || len(m.Tasks) != len(b.Specs) {
		t.Fatalf("group %d %+v, generated code reads %v", seq, b, m)
	}
	for i, s := range m.Tasks {
		want := SpecFromProto(s)
		if want.Number == 0 && m.FirstNumber != 0 {
			want.Number = m.FirstNumber + uint64(i)
		}
		got := b.Specs[i]
		want.Tags = want.Tags[:min(len(want.Tags), task.TagsMax+1)]
		want.LimitKeys = want.LimitKeys[:min(len(want.LimitKeys), task.LimitKeysMax+1)]
		want.Headers = want.Headers[:min(len(want.Headers), task.HeadersMax+1)]
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("payload %q, generated code reads %q", got.Payload, want.Payload)
		}
		got.Payload, want.Payload = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("spec %+v, generated code reads %+v", got, want)
		}
	}
}

func sameOutcomes(t *testing.T, m *pb.OutcomeGroup, session uint32, seq uint64, b *task.OutcomeBatch) {
	t.Helper()
	if m.Session != session || m.Seq != seq || len(m.Outcomes) != len(b.Outcomes) {
		t.Fatalf("outcomes %d/%d %+v, generated code reads %v", session, seq, b, m)
	}
	for i, o := range m.Outcomes {
		got, want := b.Outcomes[i], outcomeFromProto(o)
		if !bytes.Equal(got.Result, want.Result) || !bytes.Equal(got.Log, want.Log) {
			t.Fatalf("outcome %+v, generated code reads %+v", got, want)
		}
		got.Result, want.Result, got.Log, want.Log = nil, nil, nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("outcome %+v, generated code reads %+v", got, want)
		}
	}
}

// FuzzServerFrame does the same for what a client reads.
func FuzzServerFrame(f *testing.F) {
	f.Add(AppendDeliveries(nil, 1, []task.Delivery{fullDelivery()}))
	f.Add(AppendEnqueueAnswer(nil, 3, nil, []task.Enqueued{{ID: fullDelivery().ID}, {Err: task.Errorf(task.Invalid, "no")}}))
	f.Add(AppendOutcomeAnswer(nil, 3, nil, []task.Code{0, 4}))
	f.Fuzz(func(t *testing.T, frame []byte) {
		var m pb.ServerFrame
		genErr := proto.Unmarshal(frame, &m)
		names := NewNames()
		ps := NewParts(frame)
		var deliveries, answers, outcomes int
		for ps.Next() {
			var err error
			switch ps.Num() {
			case PartDeliveries:
				var session uint32
				var ds []task.Delivery
				session, ds, err = DecodeDeliveries(ps.Body(), nil, names)
				if err == errBadID || err == errBadToken {
					return
				}
				if err == nil && genErr == nil {
					sameDeliveries(t, m.Deliveries[deliveries], session, ds)
				}
				deliveries++
			case PartEnqueueAnswers:
				err = walkAnswer(ps.Body())
				if err == errBadID {
					return
				}
				answers++
			case PartOutcomeAnswers:
				var a OutcomeAnswer
				if a, err = DecodeOutcomeAnswer(ps.Body()); err == nil && genErr == nil {
					if g := m.OutcomeAnswers[outcomes]; g.Seq != a.Seq || !bytes.Equal(g.Codes, a.Codes) || (g.Error == nil) != (a.Err == nil) {
						t.Fatalf("answer %+v, generated code reads %v", a, g)
					}
				}
				outcomes++
			}
			if err != nil && genErr == nil {
				t.Fatalf("part %d: %v, but generated code reads it", ps.Num(), err)
			}
			if err != nil {
				return
			}
		}
	})
}

func walkAnswer(body []byte) error {
	a, err := DecodeEnqueueAnswer(body)
	for err == nil {
		var more bool
		if more, err = a.Next(); !more {
			break
		}
	}
	return err
}

func sameDeliveries(t *testing.T, m *pb.DeliveryGroup, session uint32, ds []task.Delivery) {
	t.Helper()
	if m.Session != session || len(m.Tasks) != len(ds) {
		t.Fatalf("%d deliveries of %d, generated code reads %v", len(ds), session, m)
	}
	for i, d := range m.Tasks {
		got, want := ds[i], deliveryFromProto(d)
		if !bytes.Equal(got.Payload, want.Payload) {
			t.Fatalf("payload %q, generated code reads %q", got.Payload, want.Payload)
		}
		got.Payload, want.Payload = nil, nil
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("delivery %+v, generated code reads %+v", got, want)
		}
	}
}

// FuzzEncode lets generated code read what the hand-written encoder writes.
func FuzzEncode(f *testing.F) {
	f.Add(uint64(1), uint64(2), 3)
	f.Fuzz(func(t *testing.T, a, b uint64, n int) {
		r := rand.New(rand.NewPCG(a, b))
		specs := make([]task.Spec, min(max(n, 0), 50))
		for i := range specs {
			specs[i] = randomSpec(r)
		}
		var m pb.ClientFrame
		frame := enqueueFrame(&EnqueueGroup{Seq: a, Queue: "q"}, specs)
		if err := proto.Unmarshal(frame, &m); err != nil {
			t.Fatal(err)
		}
		if canonical, _ := proto.Marshal(&m); len(canonical) != len(frame) {
			t.Fatalf("%d bytes, generated code writes %d", len(frame), len(canonical))
		}
		for i, s := range m.Enqueues[0].Tasks {
			if got := SpecFromProto(s); !reflect.DeepEqual(got, specs[i]) {
				t.Fatalf("generated code reads\n%+v, want\n%+v", got, specs[i])
			}
		}
	})
}

func randomSpec(r *rand.Rand) task.Spec {
	full := fullSpec()
	full.Payload = bytes.Repeat([]byte("p"), r.IntN(300)+1)
	full.Number, full.Delay, full.Priority = r.Uint64()>>r.IntN(64), task.Millis(r.Int64()), uint8(r.IntN(10))
	full.Key = string(bytes.Repeat([]byte("k"), r.IntN(140)))
	s := task.Spec{Priority: 5}
	from, to := reflect.ValueOf(&full).Elem(), reflect.ValueOf(&s).Elem()
	for i := range to.NumField() {
		if r.IntN(2) == 0 {
			to.Field(i).Set(from.Field(i))
		}
	}
	return s
}
