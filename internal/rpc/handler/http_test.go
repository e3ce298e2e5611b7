package handler_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/rpc/handler"
	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"

	pb "github.com/penstock-io/penstock/api/penstock/v1"
)

// site is a Fake behind a server on loopback.
type site struct {
	testing.TB
	fake *brokertest.Fake
	srv  *handler.Server
	addr string
	head http.Header
}

func newSite(t testing.TB, o handler.Options) *site {
	t.Helper()
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	if o.Broker == nil {
		o.Broker = fake
	}
	if o.Inspector == nil {
		o.Inspector = fake
	}
	srv, err := handler.New(o)
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(ln) }()
	t.Cleanup(func() {
		_ = srv.Close()
		if err := <-served; err != nil {
			t.Errorf("Serve: %v", err)
		}
	})
	return &site{TB: t, fake: fake, srv: srv, addr: ln.Addr().String(), head: http.Header{}}
}

// post is curl -d body: with curl's own content type unless told otherwise.
func (s *site) post(path, body string) (status int, answer string) {
	s.Helper()
	r, err := http.NewRequest(http.MethodPost, "http://"+s.addr+"/penstock.v1."+path, strings.NewReader(body))
	if err != nil {
		s.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	for k, v := range s.head {
		r.Header[k] = v
	}
	return s.do(r)
}

func (s *site) do(r *http.Request) (int, string) {
	s.Helper()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		s.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		s.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// ok posts and reads the answer's fields.
func (s *site) ok(path, body string) map[string]any {
	s.Helper()
	status, answer := s.post(path, body)
	if status != 200 {
		s.Fatalf("%s %s: %d %s", path, body, status, answer)
	}
	out := map[string]any{}
	if err := json.Unmarshal([]byte(answer), &out); err != nil {
		s.Fatalf("%s answers %q: %v", path, answer, err)
	}
	return out
}

type refusalBody struct {
	Code    string
	Message string
	Details []struct {
		Type  string
		Value string
		Debug struct{ Code, Text string }
	}
}

// refused posts and checks the form of an error.
func (s *site) refused(path, body string, status int, code, own, text string) {
	s.Helper()
	got, answer := s.post(path, body)
	var r refusalBody
	if err := json.Unmarshal([]byte(answer), &r); err != nil {
		s.Fatalf("%s answers %q: %v", path, answer, err)
	}
	if got != status || r.Code != code || !strings.Contains(r.Message, text) || !strings.HasPrefix(r.Message, own+": ") {
		s.Errorf("%s %s:\n got %d %s\nwant %d %s, %s: … %s", path, clip(body), got, answer, status, code, own, text)
		return
	}
	if len(r.Details) != 1 || r.Details[0].Type != "penstock.v1.Error" || r.Details[0].Debug.Code != own {
		s.Errorf("%s: details %+v", path, r.Details)
		return
	}
	raw, err := base64.RawStdEncoding.DecodeString(r.Details[0].Value)
	var m pb.Error
	if err != nil || proto.Unmarshal(raw, &m) != nil || m.Code != own || m.Text != r.Details[0].Debug.Text {
		s.Errorf("%s: detail's value is %v, %v", path, &m, err)
	}
}

func clip(s string) string { return s[:min(len(s), 100)] }

// TestCurlIsAWholeProducerAndWorker walks through a task's life with nothing
// but POSTs.
func TestCurlIsAWholeProducerAndWorker(t *testing.T) {
	s := newSite(t, handler.Options{})
	id := s.ok("TaskService/Enqueue", `{"queue":"mail","type":"send","payload":{"to":"x"}}`)["id"].(string)
	if got := s.ok("TaskService/Get", `{"id":"`+id+`"}`)["task"].(map[string]any)["state"]; got != "ready" {
		t.Errorf("state %v, want ready", got)
	}
	lease := func() map[string]any {
		t.Helper()
		tasks := s.ok("WorkerService/Lease", `{"queue":"mail","wait":"5s","worker":"sh"}`)["tasks"].([]any)
		if len(tasks) != 1 {
			t.Fatalf("leased %v", tasks)
		}
		return tasks[0].(map[string]any)
	}
	l := lease()
	if l["id"] != id || l["type"] != "send" || l["attempt"] != 1.0 || l["payload"].(map[string]any)["to"] != "x" || l["leaseEnd"] == nil || l["fence"] == nil {
		t.Errorf("lease %v", l)
	}
	token := l["token"].(string)
	s.ok("WorkerService/Extend", `{"token":"`+token+`","ttl":"1m","progress":{"done":1,"total":2,"text":"half"}}`)
	s.ok("WorkerService/Fail", `{"token":"`+token+`","error":"try again","retryAfter":"0s"}`)
	l = lease()
	s.refused("WorkerService/Complete", `{"token":"`+token+`","result":1}`, 409, "aborted", "lease_lost", "drop the outcome")
	if l["attempt"] != 2.0 || l["failures"] != 1.0 {
		t.Errorf("second lease %v", l)
	}
	s.ok("WorkerService/Release", `{"token":"`+l["token"].(string)+`"}`)
	l = lease()
	if l["releases"] != 1.0 {
		t.Errorf("third lease %v", l)
	}
	waited := make(chan map[string]any, 1)
	go func() { waited <- s.ok("TaskService/Wait", `{"id":"`+id+`","wait":"10s"}`) }()
	s.ok("WorkerService/Complete", `{"leases":[{"token":"`+l["token"].(string)+`","result":{"sent":true},"log":"done\n"}]}`)
	w := <-waited
	final := w["task"].(map[string]any)
	if w["done"] != true || final["state"] != "succeeded" || final["result"].(map[string]any)["sent"] != true || final["log"] != "done\n" {
		t.Errorf("waited %v", w)
	}
	if _, err := fmt.Sscanf(final["finishedAt"].(string), "%d-", new(int)); err != nil {
		t.Errorf("finishedAt %v", final["finishedAt"])
	}
}

func TestBatchesAnswerEachItem(t *testing.T) {
	s := newSite(t, handler.Options{})
	out := s.ok("TaskService/Enqueue", `{"queue":"a","tasks":[{"type":"x"},{"type":""},{"type":"y","queue":"b","idempotencyKey":"k"},{"type":"y","queue":"b","idempotencyKey":"k"}]}`)
	rs := out["results"].([]any)
	if len(rs) != 4 || rs[0].(map[string]any)["id"] == nil || rs[1].(map[string]any)["error"].(map[string]any)["code"] != "invalid" || rs[3].(map[string]any)["existing"] != true {
		t.Fatalf("results %v", rs)
	}
	id := rs[0].(map[string]any)["id"].(string)
	res := s.ok("TaskService/Cancel", `{"ids":["`+id+`","nonsense"]}`)["results"].([]any)
	if len(res[0].(map[string]any)) != 0 || res[1].(map[string]any)["error"] == nil {
		t.Errorf("cancel %v", res)
	}
	if got := s.ok("TaskService/Get", `{"id":"`+id+`"}`)["task"].(map[string]any)["state"]; got != "canceled" {
		t.Errorf("state %v, want canceled", got)
	}
	s.ok("TaskService/Retry", `{"id":"`+id+`"}`)
	s.ok("TaskService/Delete", `{"id":"`+id+`"}`)
	s.refused("TaskService/Get", `{"id":"`+id+`"}`, 404, "not_found", "not_found", "")
	list := s.ok("TaskService/List", `{"queue":"b","states":["ready"],"limit":10}`)["tasks"].([]any)
	if len(list) != 1 {
		t.Errorf("list %v", list)
	}
	if list := s.ok("WorkerService/Lease", `{"queue":"nothing"}`)["tasks"].([]any); len(list) != 0 {
		t.Errorf("lease of nothing %v", list)
	}
}

// TestPayloadsAreExact: a payload comes back byte by byte, whatever it is.
func TestPayloadsAreExact(t *testing.T) {
	s := newSite(t, handler.Options{})
	f := func(payload, wantField string) {
		t.Helper()
		_, answer := s.post("TaskService/Enqueue", `{"type":"t",`+payload+`}`)
		var e struct{ ID string }
		if err := json.Unmarshal([]byte(answer), &e); err != nil || e.ID == "" {
			t.Fatalf("%s: %s", payload, answer)
		}
		_, answer = s.post("TaskService/Get", `{"id":"`+e.ID+`"}`)
		if !strings.Contains(answer, wantField+",") {
			t.Errorf("%s comes back in %s, want %s", payload, answer, wantField)
		}
		_, answer = s.post("WorkerService/Lease", `{}`)
		if !strings.Contains(answer, wantField+",") {
			t.Errorf("%s is leased as %s, want %s", payload, answer, wantField)
		}
	}
	same := func(payload string) { t.Helper(); f(`"payload":`+payload, `"payload":`+payload) }
	same(`9007199254740993`)
	same(`{"n":123456789012345678901234567890,"f":1.10,"e":1E+2}`)
	same(`{ "spaces" : [ 1 ,	2 ] }`)
	same(`{"twice":1,"twice":2}`)
	same(`"\u00e9\ud83d\ude00 / \/ <&>"`)
	same(`null`)
	same(`[]`)
	same(`{"a":"}]\"{["}`)
	f(`"payloadBase64":"//4A"`, `"payloadBase64":"//4A"`)
	f(`"payload_base64":"`+base64.StdEncoding.EncodeToString([]byte("plain text"))+`"`, `"payloadBase64":"cGxhaW4gdGV4dA=="`)
	f(`"payloadBase64":"`+base64.StdEncoding.EncodeToString([]byte(`{"a":1}`))+`"`, `"payload":{"a":1}`)
}

func TestBadRequestsAreRefusedClearly(t *testing.T) {
	s := newSite(t, handler.Options{})
	bad := func(path, body, text string) {
		t.Helper()
		s.refused(path, body, 400, "invalid_argument", "invalid", text)
	}
	const enqueue = "TaskService/Enqueue"
	bad(enqueue, ``, "body is empty")
	bad(enqueue, ` `, "body is empty")
	bad(enqueue, `[]`, "send a JSON object")
	bad(enqueue, `{"type":"t"`, "not JSON")
	bad(enqueue, `{"type":"t"} {}`, "not JSON: invalid character '{' after top-level value at byte 14")
	bad(enqueue, `{"type":"t"}x`, "not JSON")
	bad(enqueue, `{"type":"t","payload":{"a":01}}`, "not JSON")
	bad(enqueue, "{\"type\":\"\xff\"}", "not valid UTF-8")
	bad(enqueue, `{"type":"t","delai":"1s"}`, `unknown field "delai" in the request: known are type, payload`)
	bad(enqueue, `{"tasks":[{"type":"t"},{"typ":"u"}]}`, `unknown field "typ" in tasks[1]`)
	bad(enqueue, `{"type":"t","policy":{"tries":1}}`, `unknown field "tries" in policy`)
	bad(enqueue, `{"type":"t","type":"u"}`, "type is given twice")
	bad(enqueue, `{"type":"t","delay":"1s","delay_ms":5}`, "give delay or delay_ms, not both")
	bad(enqueue, `{"type":"t","payload":1,"payloadBase64":""}`, "give payload or payloadBase64, not both")
	bad(enqueue, `{"type":"t","payloadBase64":"*"}`, "not standard base64")
	bad(enqueue, `{"type":7}`, "type is the number 7: send a string")
	bad(enqueue, `{"type":"t","priority":"high"}`, `priority is "high": send a whole number`)
	bad(enqueue, `{"type":"t","priority":1.5}`, "priority is 1.5: send a whole number")
	bad(enqueue, `{"type":"t","priority":10}`, "priority 10 is over the highest, 9")
	bad(enqueue, `{"type":"t","delay":30}`, `delay is the number 30: send a length of time as a string, such as "30s"`)
	bad(enqueue, `{"type":"t","delay":"soon"}`, `delay is "soon", not a length of time`)
	bad(enqueue, `{"type":"t","delay":"-5s"}`, "negative")
	bad(enqueue, `{"type":"t","delay":"-1ms"}`, "delay is -1ms: a length of time is not negative")
	bad(enqueue, `{"type":"t","policy":{"timeout":"-5s"}}`, `use "none", or -1 ms, for none`)
	bad(enqueue, `{"type":"t","runAt":"tomorrow"}`, "not a moment")
	bad(enqueue, `{"type":"t","tags":"a"}`, `tags is the string "a": send a list`)
	bad(enqueue, `{"type":"t","headers":["a"]}`, "headers is a list: send an object")
	bad(enqueue, `{"type":"t","headers":{"a":1}}`, "headers.a is the number 1: send a string")
	bad(enqueue, `{"type":"t","headers":{"a":"1","a":"2"}}`, "headers.a is given twice")
	bad(enqueue, `{"type":"t","policy":{"backoff":{"kind":"magic"}}}`, `policy.backoff.kind is "magic": use one of exponential, linear, fixed, list`)
	bad(enqueue, `{}`, "there is no task")
	bad(enqueue, `{"queue":"q"}`, "there is no task")
	bad(enqueue, `{"type":"t","tasks":[{"type":"u"}]}`, "use one")
	bad(enqueue, `{"queue":"a\u0007","type":"t"}`, "control characters")
	bad("TaskService/Get", `{"id":"x"}`, "not a task ID")
	bad("TaskService/Cancel", `{}`, "there is no ID")
	bad("TaskService/List", `{"states":["asleep"]}`, "use one of scheduled, ready, blocked,")
	bad("TaskService/List", `{"states":["unknown"]}`, "state")
	bad("TaskService/List", `{"limit":-1}`, "limit is -1")
	bad("TaskService/Wait", `{"id":"x","wait":"-1s"}`, "not a task ID")
	bad("TaskService/Wait", `{"id":"`+task.ID{Seq: 1}.String()+`","wait":"61s"}`, "over the limit of 60s")
	bad("WorkerService/Lease", `{"wait":"61s"}`, "over the limit of 60s")
	bad("WorkerService/Lease", `{"queues":[{"queue":"a","weight":2000000}]}`, "weight 2000000")
	bad("WorkerService/Lease", `{"max":5000}`, "max is 5000")
	bad("WorkerService/Lease", `{"max":-1}`, "max is -1")
	bad("WorkerService/Lease", `{"queue":"a","queues":[{"queue":"b"}]}`, "use one")
	bad("WorkerService/Lease", `{"queues":[{"queue":"a","weight":3},{"queue":"b"},{"queue":"a"}]}`, `queue "a" is named twice`)
	bad("WorkerService/Lease", `{"queues":[{"queue":"a","weight":-1}]}`, "send a whole number, 0 or more")
	bad("WorkerService/Complete", `{"result":1}`, "not a lease token")
	bad("WorkerService/Complete", `{}`, "there is no lease")
	bad("WorkerService/Complete", `{"token":"`+task.Token{}.String()+`","log":"`+strings.Repeat("l", task.LogMax+1)+`"}`, "log is 8193 bytes, the limit is 8192")
	bad("WorkerService/Fail", `{"token":"x","retryAfter":"-3s"}`, "not a lease token")
	bad("QueueService/Set", `{"queue":"q","colour":"red"}`, `unknown field "colour"`)
	bad("QueueService/Set", `{"maxAttempts":3}`, "queue is empty")
	bad("QueueService/Purge", `{"queue":"q"}`, "say what to purge")
	bad("NodeService/Info", `{"x":1}`, "unknown field")
	s.refused(enqueue, `{"type":"t","payload":"`+strings.Repeat("x", task.PayloadMax)+`"}`, 400, "invalid_argument", "invalid", "the limit is")
	s.refused("QueueService/Get", `{"queue":"no such"}`, 404, "not_found", "not_found", "no queue")
	s.ok(enqueue, `{"queue":"q","type":"t","payload":1,"idempotencyKey":"k"}`)
	s.refused(enqueue, `{"queue":"q","type":"t","payload":2,"idempotencyKey":"k"}`, 409, "already_exists", "conflict", "another payload")
}

func TestEveryFieldOfATask(t *testing.T) {
	s := newSite(t, handler.Options{})
	id := s.ok("TaskService/Enqueue", `{"queue":"q","type":"t","priority":0,"delay":"1h30m","expireAfter":"7d","deadline":"2100-01-02T03:04:05.678Z",
		"key":"acme/u","limitKeys":["l"],"tags":["a","b"],"headers":{"x":"1","y":"2"},"contentType":"text/x",
		"policy":{"maxAttempts":3,"timeout":"none","backoff":{"kind":"list","list":["1s","1m"]}},"idempotencyKey":"k","idempotencyFor":"1m"}`)["id"].(string)
	got := s.ok("TaskService/Get", `{"id":"`+id+`"}`)["task"].(map[string]any)
	for k, want := range map[string]any{"priority": 0.0, "state": "scheduled", "deadline": "2100-01-02T03:04:05.678Z", "key": "acme/u", "contentType": "text/x", "maxAttempts": 3.0} {
		if got[k] != want {
			t.Errorf("%s is %v, want %v", k, got[k], want)
		}
	}
	if h := got["headers"].(map[string]any); h["x"] != "1" || h["y"] != "2" {
		t.Errorf("headers %v", h)
	}
	info, err := s.fake.Get(context.Background(), must(task.ParseID(id)))
	if err != nil || info.ReadyAt-info.EnqueuedAt != task.Time(90*task.Minute) || info.ExpiresAt-info.ReadyAt != task.Time(7*task.Day) {
		t.Errorf("%+v, %v", info, err)
	}
	s.ok("TaskService/Enqueue", `{"type":"t","run_at":"2100-01-02T03:04:05+02:00"}`)
	s.ok("TaskService/Enqueue", `{"type":"t","runAtUnixMs":4102542245000,"expire_after_ms":"5000","payload":null,"tags":null}`)
	q := s.ok("QueueService/Set", `{"queue":"q","maxAttempts":4,"timeout":"1m","history":"failures","claims":"durable","retention":"2d"}`)["queue"].(map[string]any)["config"].(map[string]any)
	if q["maxAttempts"] != 4.0 || q["timeout"] != "60s" || q["history"] != "failures" || q["claims"] != "durable" || q["retention"] != "172800s" {
		t.Errorf("config %v", q)
	}
	if q := s.ok("QueueService/Pause", `{"queue":"q"}`)["queue"].(map[string]any); q["paused"] != true || q["scheduled"] != 1.0 {
		t.Errorf("paused %v", q)
	}
	if q := s.ok("QueueService/Resume", `{"queue":"q"}`)["queue"].(map[string]any); q["paused"] != false {
		t.Errorf("resumed %v", q)
	}
	if n := s.ok("QueueService/Purge", `{"queue":"q","states":["scheduled"]}`)["deleted"]; n != 1.0 {
		t.Errorf("purged %v", n)
	}
	if qs := s.ok("QueueService/List", `{}`)["queues"].([]any); len(qs) != 2 {
		t.Errorf("queues %v", qs)
	}
	s.ok("TaskService/Enqueue", `{"queue":"gone","type":"t"}`)
	if n := s.ok("QueueService/Delete", `{"queue":"gone","force":true}`)["deleted"]; n != 1.0 {
		t.Errorf("deleted %v", n)
	}
	if n := s.ok("NodeService/Info", `{}`); n["protocol"] != 1.0 || n["ready"] != true {
		t.Errorf("node %v", n)
	}
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestFormsOfARequest(t *testing.T) {
	s := newSite(t, handler.Options{Token: "secret"})
	get := func(method, path, contentType, body string, head ...string) (int, string) {
		t.Helper()
		r, err := http.NewRequest(method, "http://"+s.addr+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		r.Header.Set("Authorization", "Bearer secret")
		for i := 0; i < len(head); i += 2 {
			r.Header.Set(head[i], head[i+1])
		}
		return s.do(r)
	}
	f := func(status int, text string) func(int, string) {
		return func(got int, answer string) {
			t.Helper()
			if got != status || !strings.Contains(answer, text) {
				t.Errorf("got %d %s, want %d …%s…", got, answer, status, text)
			}
		}
	}
	const enqueue = "/penstock.v1.TaskService/Enqueue"
	const js = "application/json"
	f(405, "POST a JSON object")(get("GET", enqueue, js, ""))
	f(415, `Content-Type \"text/xml\" is not known`)(get("POST", enqueue, "text/xml", "{}"))
	f(415, "not known")(get("POST", enqueue, "application/json; charset=latin1", "{}"))
	f(200, "id")(get("POST", enqueue, "application/json; charset=UTF-8", `{"type":"t"}`))
	f(404, "known are TaskService/Cancel, TaskService/Delete")(get("POST", "/penstock.v1.TaskService/Enqeue", js, "{}"))
	f(404, "known are NodeService")(get("POST", "/penstock.v1.Foo/Bar", js, "{}"))
	f(404, "nothing at /favicon.ico")(get("GET", "/favicon.ico", "", ""))
	f(401, "wants a token, and another than was sent")(get("POST", enqueue, js, `{"type":"t"}`, "Authorization", "Bearer wrong"))
	f(401, "wants a token")(get("POST", enqueue, js, `{"type":"t"}`, "Authorization", "secret"))
	f(401, "unauthenticated")(get("POST", enqueue, js, `{"type":"t"}`, "Authorization", ""))
	f(403, "another origin")(get("POST", enqueue, js, `{"type":"t"}`, "Origin", "https://evil.example", "Sec-Fetch-Site", "cross-site"))
	f(200, "ok")(get("GET", "/livez", "", "", "Authorization", ""))
	f(200, "ok")(get("GET", "/readyz?verbose", "", "", "Authorization", ""))
	f(200, "node: ok")(get("GET", "/readyz?verbose", "", ""))
	f(400, "Connect-Timeout-Ms")(get("POST", enqueue, js, `{"type":"t"}`, "Connect-Timeout-Ms", "soon"))
	f(504, "deadline_exceeded")(get("POST", "/penstock.v1.WorkerService/Lease", js, `{"queue":"x","wait":"10s"}`, "Connect-Timeout-Ms", "20"))
	f(413, `"code":"invalid_argument","message":"invalid: the body is over the limit of 33554432 bytes`)(get("POST", enqueue, js, `{"type":"t","payload":"`+strings.Repeat("x", 33<<20)+`"}`))
	var z bytes.Buffer
	w := gzip.NewWriter(&z)
	_, _ = w.Write([]byte(`{"type":"t"}`))
	_ = w.Close()
	f(200, "id")(get("POST", enqueue, js, z.String(), "Content-Encoding", "gzip"))
	f(400, "not gzip")(get("POST", enqueue, js, `{}`, "Content-Encoding", "gzip"))
	f(400, `Content-Encoding \"br\"`)(get("POST", enqueue, js, `{}`, "Content-Encoding", "br"))
	raw, _ := proto.Marshal(&pb.EnqueueRequest{Task: &pb.TaskSpec{Type: "t"}})
	f(200, "")(get("POST", enqueue, "application/proto", string(raw)))
	f(400, "not a penstock.v1.EnqueueRequest")(get("POST", enqueue, "application/proto", "\xff"))
}

// lossy takes leases, and the connection they were asked over breaks before
// the answer is written.
type lossy struct {
	*brokertest.Fake
	cut func()
}

func (l lossy) Lease(ctx context.Context, r task.LeaseRequest) ([]task.Delivery, error) {
	ds, err := l.Fake.Lease(context.WithoutCancel(ctx), r)
	l.cut()
	<-ctx.Done()
	return ds, err
}

func TestALeaseWhoseTakerHasGoneGoesBack(t *testing.T) {
	fake := brokertest.NewFake(brokertest.Options{})
	t.Cleanup(fake.Close)
	var conn net.Conn
	taken := make(chan struct{})
	s := newSite(t, handler.Options{Broker: lossy{fake, func() { close(taken); _ = conn.Close() }}})
	e := &task.EnqueueBatch{Queue: "q", Specs: []task.Spec{{Type: "t"}}}
	if err := task.EnqueueWait(context.Background(), fake, e); err != nil {
		t.Fatal(err)
	}
	var err error
	if conn, err = net.Dial("tcp", s.addr); err != nil {
		t.Fatal(err)
	}
	body := `{"queue":"q"}`
	fmt.Fprintf(conn, "POST /penstock.v1.WorkerService/Lease HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
	<-taken
	ds, err := fake.Lease(context.Background(), task.LeaseRequest{Queues: []task.QueueWeight{{Queue: "q"}}, Max: 1, Wait: task.Minute})
	if err != nil || len(ds) != 1 || ds[0].ID != e.Results[0].ID || ds[0].Counts != (task.Counts{}) {
		t.Errorf("leased again: %+v, %v", ds, err)
	}
}

// TestWhoHangsUpAfterTheAnswerHasTheLease: curl closes its connection at once.
func TestWhoHangsUpAfterTheAnswerHasTheLease(t *testing.T) {
	s := newSite(t, handler.Options{})
	const n = 300
	for range n {
		s.ok("TaskService/Enqueue", `{"queue":"q","type":"t"}`)
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		body := `{"queue":"q"}`
		fmt.Fprintf(c, "POST /penstock.v1.WorkerService/Lease HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
		buf := make([]byte, 4096)
		for got := ""; !strings.Contains(got, `"leaseEnd"`); {
			k, err := c.Read(buf)
			if err != nil {
				t.Fatal(err)
			}
			got += string(buf[:k])
		}
		_ = c.Close()
	}
	if q := s.ok("QueueService/Get", `{"queue":"q"}`)["queue"].(map[string]any); q["running"] != float64(n) {
		t.Errorf("%v run, want %d", q["running"], n)
	}
}
