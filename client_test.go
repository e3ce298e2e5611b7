package penstock

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/internal/task/brokertest"
)

type order struct {
	ID    string
	Cents int64
}

func TestDo(t *testing.T) {
	c, _ := newClient(t)
	greet := Func("greet", func(_ context.Context, name string) (string, error) { return "hello " + name, nil })
	stop := startWorker(t, c, Worker{}, greet)
	out, err := greet.Do(t.Context(), c, "world & <co>")
	if err != nil || out != "hello world & <co>" {
		t.Fatalf("Do = %q, %v", out, err)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
}

// Every option arrives where it belongs, and a call's options go over the
// type's without changing them.
func TestOptionsReachTheTask(t *testing.T) {
	at := time.UnixMilli(1_900_000_000_000)
	def := Define[order, string]("order.ship",
		Queue("orders"), MaxAttempts(8), Timeout(1500*time.Microsecond), Priority(7), Key("acme/u1"), LimitKeys("api:stripe"),
		Idempotency("k1", time.Hour), Tags("a"), Headers(map[string]string{"b": "2", "a": "1"}), In(time.Minute),
		ExpireAfter(time.Hour), Deadline(at), Backoff(Linear(time.Second, time.Minute)))
	queue, s, err := def.Spec(order{"x", 1})
	if err != nil {
		t.Fatal(err)
	}
	want := task.Spec{
		Type: "order.ship", Payload: []byte(`{"ID":"x","Cents":1}`), Priority: 7, Delay: task.Minute, ExpireAfter: task.Hour,
		Deadline: task.Time(at.UnixMilli()), Key: "acme/u1", LimitKeys: []string{"api:stripe"}, Idempotency: "k1", IdempotencyFor: task.Hour,
		Tags: []string{"a"}, Headers: []task.Header{{Name: "a", Value: "1"}, {Name: "b", Value: "2"}},
		Policy: &task.Policy{MaxAttempts: 8, Timeout: 2, Backoff: &task.Backoff{Kind: task.BackoffLinear, Base: task.Second, Max: task.Minute}},
	}
	if queue != "orders" || dump(s) != dump(want) {
		t.Errorf("queue %s\n got %s\nwant %s", queue, dump(s), dump(want))
	}

	queue, s, err = def.Spec(order{"x", 1}, Queue("other"), At(at), Tags("b"), Headers(map[string]string{"b": "3"}), MaxAttempts(2), Timeout(NoTimeout))
	if err != nil {
		t.Fatal(err)
	}
	want.Delay, want.RunAt = 0, task.Time(at.UnixMilli())
	want.Tags, want.Headers = []string{"a", "b"}, []task.Header{{Name: "a", Value: "1"}, {Name: "b", Value: "3"}}
	want.Policy = &task.Policy{MaxAttempts: 2, Timeout: task.AttemptTimeoutNone, Backoff: want.Policy.Backoff}
	if queue != "other" || dump(s) != dump(want) {
		t.Errorf("queue %s\n got %s\nwant %s", queue, dump(s), dump(want))
	}

	if _, again, _ := def.Spec(order{"x", 1}); again.Delay != task.Minute || len(again.Tags) != 1 || again.Policy.MaxAttempts != 8 {
		t.Errorf("a call's options changed the definition: %s", dump(again))
	}
	if nameless, _, err := def.Spec(order{}, Queue("")); nameless != task.DefaultQueue || err != nil {
		t.Errorf("an empty name is queue %q, %v", nameless, err)
	}
	_, one, _ := def.Spec(order{})
	_, two, _ := def.Spec(order{})
	if one.Policy != two.Policy {
		t.Error("tasks of one type do not share their policy")
	}
}

func dump(v any) string {
	b, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err.Error()
	}
	return string(b)
}

func TestWrongOptionsAreTold(t *testing.T) {
	c, _ := newClient(t)
	f := func(want string, opts ...Option) {
		t.Helper()
		_, err := Define[string, string]("t", opts...).Enqueue(t.Context(), c, "x")
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("defined so: got %v, want %q", err, want)
		}
		_, err = Define[string, string]("t").Enqueue(t.Context(), c, "x", opts...)
		if !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), want) {
			t.Errorf("enqueued so: got %v, want %q", err, want)
		}
	}
	f("not valid UTF-8", Queue("\xff"))
	f("max attempts of 0", MaxAttempts(0))
	f("timeout of -2s", Timeout(-2*time.Second))
	f("priority 10", Priority(10))
	f("priority -1", Priority(-1))
	f("at least one entry", Backoff(Steps()))
	f("not be negative", Backoff(Fixed(-time.Second)))
	f("over its max of 60000 ms", Backoff(Exponential(time.Hour, time.Minute)))
	f("idempotency key is empty", Idempotency("", time.Hour))
	f("negative", In(-time.Second))
	f("codec is nil", WithCodec(nil))
	f("max attempts of -1: use 1 or more, or penstock.Unlimited; priority 11", MaxAttempts(-1), Priority(11))
	f("4 limit keys", LimitKeys("a", "b", "c", "d"))
	if _, err := Define[string, string]("").Enqueue(t.Context(), c, "x"); !errors.Is(err, ErrInvalid) {
		t.Errorf("empty type: %v", err)
	}
	if _, err := Define[chan int, string]("t").Enqueue(t.Context(), c, nil); !errors.Is(err, ErrInvalid) {
		t.Errorf("payload that can't be encoded: %v", err)
	}
	big := strings.Repeat("x", task.PayloadMax)
	if _, err := Define[string, string]("t").Enqueue(t.Context(), c, big); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), "the limit is 1048576") {
		t.Errorf("payload too large: %v", err)
	}
}

func TestIdempotency(t *testing.T) {
	c, _ := newClient(t)
	def := Define[string, string]("t")
	first := mustEnqueue(t, c, def, "x", Idempotency("k", 0))
	again := mustEnqueue(t, c, def, "x", Idempotency("k", 0))
	if first.Existing() || !again.Existing() || first.ID() != again.ID() {
		t.Errorf("first %v %v, again %v %v", first.ID(), first.Existing(), again.ID(), again.Existing())
	}
	if _, err := def.Enqueue(t.Context(), c, "y", Idempotency("k", 0)); !errors.Is(err, ErrConflict) {
		t.Errorf("another payload: %v", err)
	}
}

func TestEnqueueMany(t *testing.T) {
	c, _ := newClient(t)
	def := Define[string, string]("t")
	ins := make([]string, 25_000) // more than two batches
	for i := range ins {
		ins[i] = fmt.Sprint(i)
	}
	ins[3] = strings.Repeat("x", task.PayloadMax)
	ins[20_001] = ins[3]
	out, err := def.EnqueueMany(t.Context(), c, ins)
	if !errors.Is(err, ErrInvalid) || len(out) != len(ins) {
		t.Fatalf("%d answers, error %v", len(out), err)
	}
	seen := map[ID]bool{}
	for i, e := range out {
		if refused := i == 3 || i == 20_001; refused != (e.Err != nil) || refused == (e.Task != nil) {
			t.Fatalf("item %d: %+v", i, e)
		}
		if e.Task != nil {
			seen[e.Task.ID()] = true
		}
	}
	if len(seen) != len(ins)-2 {
		t.Errorf("%d IDs for %d tasks", len(seen), len(ins)-2)
	}
	for _, i := range []int{0, 9_999, 10_000, 24_999} {
		if in := mustInfo(t, c, out[i].Task.ID()); string(in.Payload) != fmt.Sprintf("%q", ins[i]) {
			t.Errorf("task %d has payload %s", i, in.Payload)
		}
	}
	if out, err := def.EnqueueMany(t.Context(), c, nil); len(out) != 0 || err != nil {
		t.Errorf("nothing: %v, %v", out, err)
	}
}

func TestEnqueueManyRefusedAsAWhole(t *testing.T) {
	c, q := newClient(t)
	q.Inject(func(f *brokertest.Faults) { f.Full = true })
	out, err := Define[int, int]("t").EnqueueMany(t.Context(), c, []int{1, 2})
	if !errors.Is(err, ErrExhausted) || !errors.Is(out[0].Err, ErrExhausted) || !errors.Is(out[1].Err, ErrExhausted) {
		t.Errorf("%v, %v", out, err)
	}
}

func TestRaw(t *testing.T) {
	c, _ := newClient(t)
	upper := HandleRaw("upper", func(_ context.Context, a *Attempt) (Content, error) {
		return Content{Data: bytes.ToUpper(a.Payload()), Type: a.ContentType()}, nil
	}, Queue("text"))
	rest := HandleRaw(AnyType, func(_ context.Context, a *Attempt) (Content, error) {
		return Content{Data: []byte(`"` + a.Type() + `"`)}, nil
	}, Queue("text"))
	startWorker(t, c, Worker{}, upper, rest)

	tk, err := c.Enqueue(t.Context(), Raw{Type: "upper", Payload: []byte("abc"), ContentType: "text/plain"}, Queue("text"))
	if err != nil {
		t.Fatal(err)
	}
	if b, err := tk.Wait(t.Context()); err != nil || string(b) != "ABC" {
		t.Errorf("upper: %q, %v", b, err)
	}
	if in := mustInfo(t, c, tk.ID()); in.ResultType != "text/plain" {
		t.Errorf("result type %q", in.ResultType)
	}
	many, err := c.EnqueueMany(t.Context(), []Raw{{Type: "x"}, {Type: ""}, {Type: "y", Options: []Option{Queue("text")}}}, Queue("text"))
	if !errors.Is(err, ErrInvalid) || many[1].Err == nil {
		t.Errorf("an empty type was taken: %v, %v", many, err)
	}
	for i, want := range map[int]string{0: `"x"`, 2: `"y"`} {
		if b, err := many[i].Task.Wait(t.Context()); err != nil || string(b) != want {
			t.Errorf("task %d: %q, %v", i, b, err)
		}
	}
}

func TestBytesCodec(t *testing.T) {
	c, _ := newClient(t)
	f := Func("b", func(_ context.Context, in []byte) (string, error) { return string(in) + "!", nil }, WithCodec(Bytes))
	startWorker(t, c, Worker{}, f)
	tk := mustEnqueue(t, c, f.Definition, []byte{0xff, 0})
	if out, err := tk.Wait(t.Context()); err != nil || out != "\xff\x00!" {
		t.Errorf("%q, %v", out, err)
	}
	if in := mustInfo(t, c, tk.ID()); in.ContentType != "application/octet-stream" || in.ResultType != "application/octet-stream" {
		t.Errorf("types %q, %q", in.ContentType, in.ResultType)
	}
}

// A caller who gives up leaves the batch with the broker: what comes later must
// not find it in another call's hands.
func TestEnqueueGivenUp(t *testing.T) {
	c, q := newClient(t)
	q.Inject(func(f *brokertest.Faults) { f.HoldDone = true })
	def := Define[string, string]("t")
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := def.Enqueue(ctx, c, "lost")
		done <- err
	}()
	for len(mustList(t, c, Filter{})) == 0 {
		q.Tick()
	}
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	q.Inject(func(f *brokertest.Faults) { f.HoldDone = false })
	q.Flush()
	seen := map[ID]bool{}
	for range 100 {
		seen[mustEnqueue(t, c, def, "x").ID()] = true
	}
	if len(seen) != 100 {
		t.Errorf("%d IDs for 100 tasks", len(seen))
	}
}

func mustList(t testing.TB, c *Client, f Filter) []Info {
	t.Helper()
	p, err := c.List(context.Background(), f)
	if err != nil {
		t.Fatal(err)
	}
	return p.Tasks
}

func TestWaitGivesUpWithItsContext(t *testing.T) {
	c, _ := newClient(t)
	tk := mustEnqueue(t, c, Define[int, int]("t"), 1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
	defer cancel()
	if _, err := tk.Wait(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestAdmin(t *testing.T) {
	c, _ := newClient(t)
	ctx := t.Context()
	def := Define[int, int]("t", Queue("q"))
	if err := c.Ping(ctx); err != nil {
		t.Fatal(err)
	}
	a, b := mustEnqueue(t, c, def, 1), mustEnqueue(t, c, def, 2, In(time.Hour))

	n, d := 3, 5*time.Second
	w := Fixed(time.Second)
	mode, durable := HistoryFailures, true
	q, err := c.SetQueue(ctx, "q", QueuePatch{MaxAttempts: &n, Timeout: &d, Backoff: &w, History: &mode, DurableClaims: &durable})
	if err != nil || q.Config.MaxAttempts != 3 || q.Config.Timeout != d || q.Ready != 1 || q.Scheduled != 1 {
		t.Errorf("SetQueue: %+v, %v", q, err)
	}
	if got := q.Config; got.Backoff.String() != "fixed 1s" || got.History != HistoryFailures || !got.DurableClaims {
		t.Errorf("SetQueue: %+v", got)
	}
	if err := c.Pause(ctx, "q"); err != nil {
		t.Fatal(err)
	}
	if qs, err := c.Queues(ctx); err != nil || len(qs) != 1 || !qs[0].Paused {
		t.Errorf("Queues: %+v, %v", qs, err)
	}
	if err := c.Resume(ctx, "q"); err != nil {
		t.Fatal(err)
	}
	if err := c.Cancel(ctx, a.ID()); err != nil {
		t.Fatal(err)
	}
	if in := mustInfo(t, c, a.ID()); in.State != Canceled || !errors.Is(in.Err(), ErrCanceled) {
		t.Errorf("canceled: %+v", in)
	}
	if err := c.Retry(ctx, a.ID()); err != nil {
		t.Fatal(err)
	}
	if errs := c.Change(ctx, VerbDelete, []ID{a.ID(), {}}); errs[0] != nil || !errors.Is(errs[1], ErrNotFound) {
		t.Errorf("Change: %v", errs)
	}
	if _, err := c.Get(ctx, a.ID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("a deleted task: %v", err)
	}
	if n, err := c.Purge(ctx, "q", Scheduled); n != 1 || err != nil {
		t.Errorf("Purge: %d, %v", n, err)
	}
	if _, err := c.Purge(ctx, "q"); !errors.Is(err, ErrInvalid) {
		t.Errorf("Purge of nothing: %v", err)
	}
	if _, err := c.Wait(ctx, b.ID()); !errors.Is(err, ErrNotFound) {
		t.Errorf("Wait: %v", err)
	}
	if n, err := c.DeleteQueue(ctx, "q", DeleteQueueOptions{}); n != 0 || err != nil {
		t.Errorf("DeleteQueue: %d, %v", n, err)
	}
	if _, err := c.DeleteQueue(ctx, "q", DeleteQueueOptions{Force: true}); !errors.Is(err, ErrNotFound) {
		t.Errorf("DeleteQueue once more: %v", err)
	}
}

func TestWaitsInWords(t *testing.T) {
	f := func(w Waits, want string) {
		t.Helper()
		if got := w.String(); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(Waits{}, "exponential 1s up to 10m0s")
	f(Linear(2*time.Second, time.Minute), "linear 2s up to 1m0s")
	f(Steps(time.Second, time.Hour), "steps 1s 1h0m0s")
}

func TestInfoAsJSON(t *testing.T) {
	c, _ := newClient(t)
	tk := mustEnqueue(t, c, Define[int, int]("t"), 1)
	b, err := json.Marshal(mustInfo(t, c, tk.ID()))
	if err != nil {
		t.Fatal(err)
	}
	var back Info
	if err := json.Unmarshal(b, &back); err != nil || back.ID != tk.ID() || back.State != Ready {
		t.Errorf("%s: %+v, %v", b, back, err)
	}
	if _, err := ParseID("nonsense!"); !errors.Is(err, ErrInvalid) {
		t.Errorf("ParseID: %v", err)
	}
	if _, err := ParseState("busy"); !errors.Is(err, ErrInvalid) {
		t.Errorf("ParseState: %v", err)
	}
}

func TestTaskErrorText(t *testing.T) {
	f := func(e TaskError, want string) {
		t.Helper()
		if got := strings.TrimPrefix(e.Error(), "task "+e.ID.String()+" "); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(TaskError{Type: "a", State: Dead, Reason: "failed 1 times, the most it may: exit status 1", Text: "exit status 1", Failures: 1},
		"(a) is dead after 1 failure: failed 1 times, the most it may: exit status 1")
	f(TaskError{Type: "a", State: Dead, Reason: "lost", Text: "worker gone", Crashes: 3}, "(a) is dead after 0 failures and 3 crashes: lost: worker gone")
	f(TaskError{Type: "a", State: Canceled}, "(a) is canceled")
}
