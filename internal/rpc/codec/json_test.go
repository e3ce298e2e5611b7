package codec

import (
	"encoding/json"
	"os"
	"strings"
	"testing"
	"unicode/utf8"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/task"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

func TestJSONForm(t *testing.T) {
	f := func(m proto.Message, want string) {
		t.Helper()
		got := string(AppendJSON(nil, m))
		if got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		back := m.ProtoReflect().New().Interface()
		if e := ParseJSON([]byte(got), back); e != nil || !proto.Equal(m, back) {
			t.Errorf("%s reads back as %v, %v", got, back, e)
		}
	}
	f(&pb.LeaseResponse{}, `{"tasks":[]}`)
	f(&pb.EnqueueResponse{Id: "x"}, `{"id":"x"}`)
	f(&pb.EnqueueResponse{Results: []*pb.EnqueueResult{{Id: "a", Existing: true}, {Error: &pb.Error{Code: "invalid", Text: "no"}}}},
		`{"results":[{"id":"a","existing":true},{"error":{"code":"invalid","text":"no"}}]}`)
	f(&pb.WaitResponse{}, `{"done":false}`)
	f(&pb.Backoff{Kind: pb.BackoffKind_BACKOFF_KIND_LIST, ListMs: []int64{0, 5, 1500, -1, 90000}}, `{"kind":"list","list":["0s","0.005s","1.5s","none","90s"]}`)
	f(&pb.Policy{TimeoutMs: -1}, `{"timeout":"none"}`)
	f(&pb.LeasedTask{Fence: 1<<63 + 1, Payload: []byte("[1]")},
		`{"fence":"9223372036854775809","payload":[1],"priority":0,"attempt":0,"maxAttempts":0,"failures":0,"crashes":0,"releases":0}`)
	f(&pb.Attempt{StartedAtUnixMs: 1_790_000_000_123, Outcome: pb.AttemptOutcome_ATTEMPT_OUTCOME_TIMED_OUT, Error: "a\"b\\c\n\x01é"},
		`{"startedAt":"2026-09-21T14:13:20.123Z","outcome":"timed_out","error":"a\"b\\c\n\u0001é"}`)
	f(&pb.Completion{Token: "t", Result: []byte("\xff"), Log: []byte("two\nlines")}, `{"token":"t","resultBase64":"/w==","log":"two\nlines"}`)
	f(&pb.TaskSpec{Type: "t", Priority: new(uint32), Headers: []*pb.Header{{Name: "a", Value: "1"}}}, `{"type":"t","priority":0,"headers":{"a":"1"}}`)
}

func TestWrongFields(t *testing.T) {
	bad := func(m proto.Message, body, want string) {
		t.Helper()
		if e := ParseJSON([]byte(body), m); e == nil || e.Text != want {
			t.Errorf("%s: got %v, want %q", body, e, want)
		}
	}
	enqueue := func(body, want string) { t.Helper(); bad(&pb.EnqueueRequest{}, body, want) }
	enqueue(`{"type":"\ud800"}`, `type "\ud800" is not valid UTF-8: \ud800 is half of a surrogate pair`)
	enqueue(`{"type":"\\\udc00x"}`, `type "\\\udc00x" is not valid UTF-8: \udc00 is half of a surrogate pair`)
	enqueue(`{"tags":["\uD83D\uD83D"]}`, `tags[0] "\uD83D\uD83D" is not valid UTF-8: \uD83D is half of a surrogate pair`)
	enqueue(`{"headers":{"\ud800":"x"}}`, `the name "\ud800" is not valid UTF-8: \ud800 is half of a surrogate pair`)
	enqueue(`{"headers":{"a":"\ud800"}}`, `headers.a is not valid UTF-8: \ud800 is half of a surrogate pair`)
	enqueue(`{"payload":1,"payloadBase64":"AA=="}`, "give payload or payloadBase64, not both")
	enqueue(`{"tasks":[{"delay":"1s","delayMs":5}]}`, "give tasks[0].delay or tasks[0].delayMs, not both")
	enqueue(`{"payload":1,"payload":2}`, "payload is given twice")
	enqueue(`{"type":"t","maxAttempts":3}`, `unknown field "maxAttempts" in the request: it stands in policy, as "policy":{"maxAttempts":…}`)
	enqueue(`{"tasks":[{"timeout":"5m"}]}`, `unknown field "timeout" in tasks[0]: it stands in policy, as "policy":{"timeout":…}`)
	enqueue(`{"backoff":{"kind":"fixed"}}`, `unknown field "backoff" in the request: it stands in policy, as "policy":{"backoff":…}`)
	enqueue(`{"policy":{"tries":1}}`, `unknown field "tries" in policy: known are maxAttempts, timeout, backoff`)

	good := func(m proto.Message, body string) {
		t.Helper()
		if e := ParseJSON([]byte(body), m); e != nil {
			t.Errorf("%s: %v", body, e)
		}
	}
	good(&pb.EnqueueRequest{}, `{"type":"\ud83d\ude00\\ud800","payload":"\ud800","headers":{"\uD83D\uDE00":"\u00e9"}}`)
	good(&pb.FailRequest{}, `{"token":"t","error":"cut \ud83d","log":"\ud83d"}`)
}

// TestFieldsAreDocumented holds docs/protocol.md to what requests take.
func TestFieldsAreDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	f := func(call string, m proto.Message) {
		t.Helper()
		_, section, ok := strings.Cut(string(raw), "\n#### "+call+"\n")
		if !ok {
			t.Fatalf("%s has no section", call)
		}
		section, _, _ = strings.Cut(section, "\n#### ")
		shape := shapeOf(m.ProtoReflect().Descriptor())
		known := strings.Split(shape.known(), ", ")
		for _, name := range known {
			if !strings.Contains(section, "`"+name+"`") {
				t.Errorf("%s: %s is not told", call, name)
			}
		}
		for line := range strings.Lines(section) {
			row, isRow := strings.CutPrefix(line, "| `")
			if !isRow {
				continue
			}
			names, _, _ := strings.Cut(row, "` |")
			for _, name := range strings.Split(names, "`, `") {
				_, own := shape.spelled[name]
				if !own && shape.inline != nil {
					_, own = shapeOf(shape.inline.fd.Message()).spelled[name]
				}
				if !own {
					t.Errorf("%s: there is no field %s", call, name)
				}
			}
		}
	}
	f("TaskService/Enqueue", &pb.EnqueueRequest{})
	f("TaskService/Wait", &pb.WaitRequest{})
	f("TaskService/List", &pb.ListRequest{})
	f("WorkerService/Lease", &pb.LeaseRequest{})
	f("WorkerService/Complete", &pb.CompleteRequest{})
	f("WorkerService/Fail", &pb.FailRequest{})
	f("WorkerService/Release", &pb.ReleaseRequest{})
	f("WorkerService/Extend", &pb.ExtendRequest{})
	f("QueueService/Set", &pb.SetRequest{})
}

func TestAListIsBounded(t *testing.T) {
	body := `{"tasks":[` + strings.Repeat(`{},`, task.BatchMax) + `{}]}`
	if e := ParseJSON([]byte(body), &pb.EnqueueRequest{}); e == nil || !strings.Contains(e.Text, "more than 10000 entries") {
		t.Errorf("JSON: %v", e)
	}
	raw := []byte(strings.Repeat("\x12\x00", fieldsMax+1))
	if err := UnmarshalBounded(raw, &pb.EnqueueRequest{}); err == nil {
		t.Error("protobuf: a message of empty entries is read")
	}
	var b task.EnqueueBatch
	if _, err := DecodeEnqueue([]byte(strings.Repeat("\x32\x00", task.BatchMax+1)), &b, NewNames()); err != errTooMany {
		t.Errorf("frame: %v", err)
	}
}

// FuzzParseJSON: nothing makes the parser panic, and what it takes it writes so
// that it reads the same.
func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"queue":"q","type":"t","payload":{"a":[1,2,"}"]},"delay":"1h","runAt":"2030-01-02T15:04:05Z","headers":{"a":"b"},"priority":3}`))
	f.Add([]byte(`{"tasks":[{"type":"t","payloadBase64":"//4A","policy":{"backoff":{"kind":"list","list":["1s","2d"]}}}]}`))
	f.Add([]byte(`{"type":"\ud800","payload":"\u0000"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		var m pb.EnqueueRequest
		if e := ParseJSON(body, &m); e != nil {
			if !utf8.ValidString(e.Text) {
				t.Errorf("the refusal is not UTF-8: %q", e.Text)
			}
			return
		}
		out := AppendJSON(nil, &m)
		if !json.Valid(out) {
			t.Fatalf("%q is written as %q", body, out)
		}
		var back pb.EnqueueRequest
		if e := ParseJSON(out, &back); e != nil || !proto.Equal(&m, &back) {
			t.Fatalf("%q is written as %q and read as %v, %v", body, out, &back, e)
		}
	})
}

// FuzzJSONOfTask: any task is written as JSON.
func FuzzJSONOfTask(f *testing.F) {
	b, _ := proto.Marshal(&pb.ListResponse{Tasks: []*pb.Task{{Id: "x", State: 99, Payload: []byte("1"), Log: []byte("\xff"), Headers: []*pb.Header{{Name: "a"}}, EnqueuedAtUnixMs: -5}}})
	f.Add(b)
	f.Fuzz(func(t *testing.T, raw []byte) {
		var m pb.ListResponse
		if proto.Unmarshal(raw, &m) != nil {
			return
		}
		if out := AppendJSON(nil, &m); !json.Valid(out) || !utf8.Valid(out) {
			t.Fatalf("%v is written as %q", &m, out)
		}
	})
}
