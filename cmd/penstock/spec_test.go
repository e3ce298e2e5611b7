package main

import (
	"bufio"
	"errors"
	"io"
	"maps"
	"strings"
	"testing"
	"time"
)

func TestJSONLines(t *testing.T) {
	f := func(line, typ, payload, kind string, options int) {
		t.Helper()
		r, err := (&specFlags{queue: "q"}).rawFromJSON([]byte(line))
		if err != nil || r.Type != typ || string(r.Payload) != payload || r.ContentType != kind || len(r.Options) != options {
			t.Errorf("%s: got %s %q %s, %d options, %v; want %s %q %s, %d", line, r.Type, r.Payload, r.ContentType, len(r.Options), err, typ, payload, kind, options)
		}
	}
	f(`{"type":"t","payload":{"n":12345678901234567890}}`, "t", `{"n":12345678901234567890}`, "application/json", 0)
	f(`{"payload":null}`, "q", "null", "application/json", 0)
	f(`{"queue":"r"}`, "r", "", "", 1)
	f(`{"payload":{"a":1,"a":2},"headers":null}`, "q", `{"a":1,"a":2}`, "application/json", 0)
	f(`{"payloadText":"a\nb"}`, "q", "a\nb", "text/plain", 0)
	f(`{"payloadBase64":"/wA="}`, "q", "\xff\x00", "application/octet-stream", 0)
	f(`{"payloadText":"<a/>","contentType":"text/xml"}`, "q", "<a/>", "text/xml", 0)
	f(`{"delay":"90s","priority":0,"key":"a/b","tags":["x"],"headers":{"a":"b"},"limitKeys":["y"],"maxAttempts":3,"timeout":"none",`+
		`"backoff":"fixed:5s","idempotencyKey":"i","idempotencyFor":"1h","expireAfter":"1h","deadline":"2030-01-01T00:00:00Z"}`, "q", "", "", 12)

	bad := func(line, want string) {
		t.Helper()
		_, err := (&specFlags{queue: "q"}).rawFromJSON([]byte(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, want %q", line, err, want)
		}
	}
	bad(`{"typ":"t"}`, `unknown field "typ"`)
	bad(`{"type":"t"`, "ends too early")
	bad(`[1]`, "a task is a JSON object, not a array")
	bad(`{"type":7}`, `field "type" can't be a number`)
	bad(`{} {}`, "more than one JSON value")
	bad(`{"payload":1,"payloadText":"x"}`, "exclude each other")
	bad(`{"delay":5}`, "a length of time is text")
	bad(`{"delay":"soon"}`, "not a length of time")
	bad(`{"delay":"1s","runAt":"2030-01-01T00:00:00Z"}`, "contradict")
	bad(`{"idempotencyFor":"1h"}`, "needs an idempotencyKey")
	bad(`{"backoff":"soon"}`, "backoff")
	bad(`{"timeout":"-1s"}`, "is no limit")
	bad(`{"type":"a","type":"b"}`, "type is given twice")
	bad(`{"payload":1,"payload":2}`, "payload is given twice")
	bad(`{"headers":{"a":"1","a":"2"}}`, "headers.a is given twice")
	bad(`{"headers":{},"headers":null}`, "headers is given twice")
	bad(`{"Type":"a"}`, `unknown field "Type"`)
	bad(`{"type":"a","TYPE":"b"}`, `unknown field "TYPE"`)
	bad(`{"maxAttempts":-1}`, "use 1 or more; 2147483647 is without limit")
	bad(`plain`, "invalid character")
	bad(`{"payloadText":"\ud800"}`, `payloadText is not valid UTF-8: \ud800 is half of a surrogate pair`)
	bad(`{"key":"a\uDC00b"}`, `key is not valid UTF-8: \uDC00 is half`)
	bad(`{"tags":["x","\ud83d\ud83d\ude00"]}`, `tags is not valid UTF-8: \ud83d is half`)
	bad(`{"headers":{"\udfff":"x"}}`, `headers is not valid UTF-8: \udfff is half`)
	bad(`{"type":"\\\ud800"}`, `type is not valid UTF-8: \ud800 is half`)
	bad("{\"key\":\"a\xff\"}", "the line is not valid UTF-8: put bytes that are not text in payloadBase64")
	f(`{"type":"\ud83d\ude00 \\ud800","payload":"\ud800"}`, "\U0001f600 \\ud800", `"\ud800"`, "application/json", 0)
}

func TestBackoffWords(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		b, err := queueBackoff(in)
		if err != nil || backoffText(b) != want {
			t.Errorf("%q: got %s, %v; want %s", in, backoffText(b), err, want)
		}
		if _, err := parseBackoff(in); err != nil {
			t.Errorf("%q: %v", in, err)
		}
	}
	f("exponential", "exponential:1s:10m")
	f("exponential:2s:1h", "exponential:2s:1h")
	f("linear:5s", "linear:5s:10m")
	f("fixed:250ms", "fixed:250ms")
	f("1s,10s,1m,1h", "1s,10s,1m,1h")
	f("1d,2d", "24h,48h")
	bad := func(in string) {
		t.Helper()
		if b, err := queueBackoff(in); err == nil {
			t.Errorf("%q: got %s, want an error", in, backoffText(b))
		}
	}
	bad("")
	bad("fixed")
	bad("fixed:0s")
	bad("exponential:0s:1m")
	bad("exponential::1m")
	bad("1s,,2s")
	bad(",1s")
	bad("fixed:100us")
	f("0s,10s", "0s,10s")
	bad("fixed:1s:2s")
	bad("exponential:1s:2s:3s")
	bad("exponential:-1s")
	bad("1s,x")
	bad("sometimes")
}

func TestMoments(t *testing.T) {
	f := func(in string, ok bool) {
		t.Helper()
		if got, err := parseMoment(in); (err == nil) != ok {
			t.Errorf("%q: got %v, %v", in, got, err)
		}
	}
	f("2026-11-24T08:00:00Z", true)
	f("2026-11-24T08:00:00+01:00", true)
	f("2026-11-24 08:00", true)
	f("2026-11-24", true)
	f("24.11.2026", false)
	f("", false)
}

// TestIntake sends what waits while it is asked for, in order and whole.
func TestIntake(t *testing.T) {
	r, w := io.Pipe()
	in := newIntake()
	var f specFlags
	go in.readFrom(r, lineReader(&f, false, false))
	_, _ = io.WriteString(w, "first\n")
	if got := in.take(); len(got) != 1 || string(got[0].raw.Payload) != "first" || got[0].line != 1 {
		t.Errorf("got %+v, want the one line there is", got)
	}
	go func() {
		_, _ = io.WriteString(w, "\n\nsecond\nlast")
		_ = w.CloseWithError(errors.New("cable cut"))
	}()
	var all []string
	for items := in.take(); len(items) > 0; items = in.take() {
		for _, i := range items {
			all = append(all, string(i.raw.Payload))
		}
	}
	if strings.Join(all, ",") != "second" || in.failed() == nil {
		t.Errorf("got %q, %v", all, in.failed())
	}
}

func TestRecords(t *testing.T) {
	f := func(in string, end byte, want ...string) {
		t.Helper()
		r := bufio.NewReaderSize(strings.NewReader(in), 16)
		var got []string
		for {
			rec, over, err := readRecord(r, end)
			if err == io.EOF {
				break
			}
			if over {
				rec = []byte("OVER")
			}
			got = append(got, string(rec))
		}
		if strings.Join(got, "|") != strings.Join(want, "|") {
			t.Errorf("%.40q: got %.80q, want %.80q", in, got, want)
		}
	}
	long := strings.Repeat("x", 100)
	f("a\nb\n", '\n', "a", "b")
	f("a\nb", '\n', "a", "b")
	f("a\r\nb", '\n', "a\r", "b")
	f("a\nb\x00c\nd\x00", 0, "a\nb", "c\nd")
	f(long+"\n"+long, '\n', long, long)
	f(strings.Repeat("x", recordMax+1)+"\nnext", '\n', "OVER", "next")
	f("", '\n')
}

func TestQueueWeights(t *testing.T) {
	got, err := queueWeights([]string{"a", "b=3", "k=v", "x=", "c=3=1", "d=-1"})
	want := map[string]int{"a": 1, "b": 3, "k=v": 1, "x=": 1, "c=3": 1, "d=-1": 1}
	if err != nil || !maps.Equal(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}

func TestLengths(t *testing.T) {
	f := func(in string, want time.Duration) {
		t.Helper()
		if got, err := parseLength(in); got != want || err != nil {
			t.Errorf("%q: got %v, %v; want %v", in, got, err, want)
		}
	}
	f("90s", 90*time.Second)
	f("7d", 7*24*time.Hour)
	f("1d12h", 36*time.Hour)
	f("0d", 0)
	bad := func(in string) {
		t.Helper()
		if got, err := parseLength(in); err == nil {
			t.Errorf("%q: got %v, want an error", in, got)
		}
	}
	bad("d")
	bad("-1d")
	bad("1.5d")
	bad("1d1d")
	bad("100001d")
	bad("99999999999999999999d")
	bad("7 d")
	status, _, stderr := command("", "queues", "set", "--retention", "4000d", "a")
	if status != exitUsage || !strings.Contains(stderr, "over the limit of ten years") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}

func TestShortLength(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := shortLength(d); got != want {
			t.Errorf("%v: got %s, want %s", d, got, want)
		}
	}
	f(time.Hour, "1h")
	f(90*time.Minute, "1h30m")
	f(10*time.Minute, "10m")
	f(24*time.Hour, "24h")
	f(1500*time.Millisecond, "1.5s")
}
