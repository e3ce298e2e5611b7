//go:build unix

package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock/server"
)

// TestJSONIsTheInterfaces has -o json say what the HTTP interface says, under
// its names.
func TestJSONIsTheInterfaces(t *testing.T) {
	srv, err := server.Open(server.Config{Mem: true, HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer srv.Close()
	t.Setenv("PENSTOCK_URL", srv.URL())
	do := func(want int, args ...string) string {
		t.Helper()
		status, stdout, stderr := command("", args...)
		if status != want {
			t.Fatalf("penstock %q: status %d, stderr %s", args, status, stderr)
		}
		return strings.TrimSpace(stdout)
	}
	id := do(exitOK, "enqueue", "--queue", "q", "--key", "a/b", "--tag", "x", "--header", "h=v", "--max-attempts", "1", "--expire-after", "9h",
		"--deadline", time.Now().Add(time.Hour).Format(time.RFC3339), `{"n":1}`)
	do(exitOK, "work", "--queue", "q", "--limit", "1", "--", "sh", "-c", "echo no luck >&2; exit 3")
	do(exitOK, "enqueue", "--queue", "w", "--delay", "1h", "text")
	do(exitOK, "enqueue", "--queue", "w", "1")
	ok := do(exitOK, "enqueue", "--queue", "d", "2")
	do(exitOK, "work", "--queue", "d", "--limit", "1", "--exec", "echo {}")
	do(exitOK, "queues", "set", "w", "--backoff", "fixed:1500ms", "--timeout", "none", "--history", "failures", "--claims", "durable", "--retention", "90s", "--unserved", "1h", "--max-attempts", "3")
	do(exitOK, "queues", "set", "q", "--backoff", "0s,10s")
	do(exitOK, "queues", "set", "d", "--backoff", "linear:1s:2s")

	f := func(path, body, field string, args ...string) {
		t.Helper()
		var theirs, ours any
		if err := json.Unmarshal(post(t, srv.URL()+"/penstock.v1."+path, body), &theirs); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(do(exitOK, args...)), &ours); err != nil {
			t.Fatal(err)
		}
		a, b := map[string]string{}, map[string]string{}
		flatten("", theirs.(map[string]any)[field], a)
		flatten("", ours, b)
		for name, value := range a {
			if got, is := b[name]; !is || got != value {
				t.Errorf("%q: %s is %q, the interface says %q", args, name, got, value)
			}
		}
		for name, value := range b {
			if _, is := a[name]; !is && !strings.Contains(name, ".config.") && !strings.HasPrefix(name, ".config.") {
				t.Errorf("%q: the interface knows no %s, here %q", args, name, value)
			}
		}
	}
	one := fmt.Sprintf(`{"id":%q}`, id)
	f("TaskService/Get", one, "task", "get", id, "-o", "json")
	f("TaskService/Get", fmt.Sprintf(`{"id":%q}`, ok), "task", "wait", ok, "-o", "json")
	f("TaskService/List", `{}`, "tasks", "ls", "-o", "json")
	f("QueueService/List", `{}`, "queues", "queues", "-o", "json")
	got := map[string]string{}
	var top any
	if err := json.Unmarshal([]byte(do(exitOK, "top", "w", "--count", "1", "-o", "json")), &top); err != nil {
		t.Fatal(err)
	}
	flatten("", top, got)
	for _, name := range []string{"[0].at", "[0].ready", "[0].oldestReadyAt", "[0].config.backoff.base", "[0].enqueuePerSecond"} {
		if got[name] == "" {
			t.Errorf("top has no %s: %v", name, got)
		}
	}
}

// flatten has each value under its path. Texts that are no JSON are text here
// and base64 there; a moment may have no milliseconds.
func flatten(path string, v any, into map[string]string) {
	switch v := v.(type) {
	case map[string]any:
		for name, x := range v {
			flatten(path+"."+name, x, into)
		}
	case []any:
		for i, x := range v {
			flatten(fmt.Sprintf("%s[%d]", path, i), x, into)
		}
	case string:
		if at, err := time.Parse(time.RFC3339, v); err == nil {
			v = at.Format(time.RFC3339Nano)
		}
		if name, is := strings.CutSuffix(path, "Text"); is {
			path, v = name+"Base64", toBase64(v)
		}
		into[path] = v
	default:
		into[path] = fmt.Sprint(v)
	}
}

func toBase64(s string) string {
	raw, _ := json.Marshal([]byte(s)) // bytes can always be written
	return strings.Trim(string(raw), `"`)
}

func post(t *testing.T, url, body string) []byte {
	t.Helper()
	res, err := http.Post(url, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("%s: status %d, %v: %s", url, res.StatusCode, err, raw)
	}
	return slices.Clip(raw)
}
