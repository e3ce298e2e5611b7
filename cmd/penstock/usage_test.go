//go:build unix

package main

import (
	"bytes"
	"context"
	"strings"
	"testing"
)

// command runs the command line in this process.
func command(stdin string, args ...string) (status int, stdout, stderr string) {
	var out, err bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(stdin), &out, &err)
	return status, out.String(), err.String()
}

// wrongUsage has a command end with the status of wrong usage, before a server
// is asked.
func wrongUsage(t *testing.T) func(want string, args ...string) {
	t.Setenv("PENSTOCK_URL", "http://"+freeAddress(t))
	return func(want string, args ...string) {
		t.Helper()
		status, stdout, stderr := command("", args...)
		if status != exitUsage || stdout != "" || !strings.Contains(stderr, want) {
			t.Errorf("penstock %q: status %d, stdout %q, stderr %q; want status %d and %q", args, status, stdout, stderr, exitUsage, want)
		}
	}
}

func TestWrongUsage(t *testing.T) {
	f := wrongUsage(t)
	f(`unknown command "enqeue"; did you mean enqueue?`, "enqeue")
	f(`unknown command "frobnicate"`, "frobnicate")
	f("given twice", "ls", "-o", "json", "-o", "yaml")
	f("-o xml: use one of table", "ls", "-o", "xml")
	f("--payload and --result exclude each other", "get", "--payload", "--result", "0500000000000000000000")
	f("--concurrency 5001: use 1 to 5000", "work", "--concurrency", "5001", "true")
	f("--ttl 10ms: use 1s to 10m", "work", "--ttl", "10ms", "true")
	f("--limit -1", "work", "--limit", "-1", "true")
	f("--drain -1s is negative", "work", "--drain", "-1s", "true")
	f("--grace -1s is negative", "work", "--grace", "-1s", "true")
	f("--queue is empty", "work", "--queue", "a,", "true")
	f("--type is empty", "work", "--type", "a,", "true")
	f("--timeout -1s is negative", "wait", "--timeout", "-1s", "0500000000000000000000")
	f("--count -1", "top", "--count", "-1")
	f("--size is at most 1048576 bytes", "bench", "--size", "2000000")
	f("can be purged", "purge", "a", "--state", "running")
	f("queue: names nothing", "ls", "queue:")
	f("state: names nothing", "delete", "queue:a", "state:", "--yes")
	f("--queue is empty", "delete", "--queue", "", "--state", "dead", "--yes")
	f("--type is empty", "cancel", "--type=", "--yes")
	f("--state is empty", "ls", "--state", "")
	f("no program", "work")
	f("not both", "work", "--exec", "true", "true")
	f("can't be run", "work", "--exec", "no-such-program {}")
	f("quote ' that is not closed", "work", "--exec", "sh -c 'true")
	f("whole number from 1 to 1048576; a queue of that name is --queue a=0=1", "work", "--queue", "a=0", "--exec", "true")
	f("whole number", "work", "--queue", "a=1048577", "--exec", "true")
	f("given twice", "work", "--queue", "a,a", "--exec", "true")
	f("give IDs", "wait")
	f("give IDs", "wait", "--from-stdin", "abc")
	f("requires at least 1 arg", "get")
	f("is not a state", "ls", "--state", "asleep")
	f("the filter knows queue:", "ls", "colour:red")
	f("is no filter", "ls", "red")
	f("names one queue already", "ls", "queue:a", "queue:b")
	f("either IDs or a filter", "cancel")
	f("either IDs or a filter", "retry", "abc", "queue:a")
	f("name the state", "delete", "queue:a")
	f("is not a state", "purge", "a", "--state", "asleep")
	f("at least 100ms", "top", "--every", "1ms")
	f("is not an address", "--url", "ftp://x", "queues")
	f("is not an address", "--url", "http://", "queues")
	f("is not an address", "--url", "http://x/path", "queues")
	f("above 0", "bench", "--callers", "0")
	f("other machines can reach", "server", "--http", "0.0.0.0:7070")
	f("unknown command", "dev", "now")
	f(`unknown command "elvish"`, "completion", "elvish")
}

// TestWrongTasks tells what no task, and no queue, can have.
func TestWrongTasks(t *testing.T) {
	f := wrongUsage(t)
	f("unknown flag: --quue", "enqueue", "--quue", "a")
	f("See 'penstock enqueue --help'.", "enqueue", "--quue", "a")
	f("given twice", "enqueue", "--queue", "a", "--queue", "b", "x")
	f("nothing to enqueue", "enqueue", "--queue", "a")
	f("not from both", "enqueue", "--from-stdin", "x")
	f("contradict each other", "enqueue", "--delay", "1s", "--run-at", "2030-01-01", "x")
	f("is not a moment", "enqueue", "--run-at", "tomorrow", "x")
	f("is not name=value", "enqueue", "--header", "x", "x")
	f(`backoff "soon"`, "enqueue", "--backoff", "soon", "x")
	f("needs an --idempotency-key", "enqueue", "--idempotency-for", "1h", "x")
	f("is no limit of an attempt", "enqueue", "--timeout", "-5s", "x")
	f("invalid argument", "enqueue", "--priority", "high", "x")
	f("--priority 10: use 0 to 9", "enqueue", "--priority", "10", "x")
	f("--priority 10: use 0 to 9", "enqueue", "--priority", "10", "--from-stdin")
	f("--priority -1: use 0 to 9", "enqueue", "--priority", "-1", "x")
	f("--delay -5s is negative", "enqueue", "--delay", "-5s", "x")
	f("--expire-after -1s is negative", "enqueue", "--expire-after", "-1s", "x")
	f("--max-attempts: max attempts of 0: use 1 or more; 2147483647 is without limit", "enqueue", "--max-attempts", "0", "x")
	f("--header: a is given twice", "enqueue", "--header", "a=1", "--header", "a=2", "x")
	f("header name is empty", "enqueue", "--header", "=1", "x")
	f("headers are 9001 bytes, the limit is 8192", "enqueue", "--header", "a="+strings.Repeat("x", 9000), "x")
	f("--tag is empty", "enqueue", "--tag", "", "x")
	f("too far in the future", "enqueue", "--run-at", "9999-01-01", "x")
	f("lies before 1970", "enqueue", "--run-at", "1960-01-01", "x")
	f("too far in the future", "enqueue", "--deadline", "9999-01-01", "x")
	f("lies before 1970", "enqueue", "--deadline", "1960-01-01", "--from-stdin")
	f("over the limit of ten years", "enqueue", "--expire-after", "100000h", "x")
	f("over the limit of ten years", "enqueue", "--idempotency-key", "k", "--idempotency-for", "100000h", "x")
	f("over the limit of ten years", "enqueue", "--timeout", "100000h", "x")
	f("base of 60000 ms is over its max of 1000 ms", "enqueue", "--backoff", "exponential:1m:1s", "x")
	f("out of range", "enqueue", "--backoff", "1s,100000h", "x")
	f("content type", "enqueue", "--content-type", strings.Repeat("x", 300), "x")
	f("--null and --json exclude each other", "enqueue", "--null", "--json")
	f("over the limit of ten years", "queues", "set", "--retention", "100000h", "a")
	f("over the limit of ten years", "queues", "set", "--timeout", "100000h", "a")
	f("is over its max", "queues", "set", "--backoff", "linear:1h", "a")
	f("type is empty", "enqueue", "--type", "", "x")
	f("--idempotency-key is empty", "enqueue", "--idempotency-key", "", "x")
	f("4 limit keys, the most is 3", "enqueue", "--limit-key", "a,b,c,d", "x")
	f("over the limit of ten years", "enqueue", "--delay", "100000h", "x")
	f("--max-attempts -1 is negative", "queues", "set", "--max-attempts", "-1", "a")
	f("--width -1", "queues", "set", "--width", "-1", "a")
	f("--retention -1s is negative", "queues", "set", "--retention", "-1s", "a")
	f("queue is empty", "queues", "set", "--width", "1", "")
	f("nothing to set", "queues", "set", "a")
	f("use one of all, failures, none", "queues", "set", "a", "--history", "some")
	f("accepts 1 arg", "queues", "set")
	f("a port is a number from 1 to 65535", "--url", "http://x:99999", "enqueue", "x")
}

func TestNoServer(t *testing.T) {
	url := "http://" + freeAddress(t)
	f := func(stdin string, args ...string) {
		t.Run(args[0], func(t *testing.T) {
			t.Parallel() // each waits for a server, a while
			status, stdout, stderr := command(stdin, append([]string{"--url", url}, args...)...)
			if status != exitError || stdout != "" || !strings.Contains(stderr, `start one with "penstock dev", or set PENSTOCK_URL`) {
				t.Errorf("penstock %q without a server: status %d, stdout %q, stderr %q", args, status, stdout, stderr)
			}
		})
	}
	f("", "queues")
	f("", "get", "0500000000000000000000")
	f("x\n", "enqueue", "--from-stdin")
	f("", "wait", "0500000000000000000000")
	f("", "ls")
	f("", "pause", "a")
	f("", "top", "--count", "1")
}

func TestTokenFile(t *testing.T) {
	status, _, stderr := command("", "--token-file", "/no/such/file", "queues")
	if status != exitError || !strings.Contains(stderr, "read access token") {
		t.Errorf("status %d, stderr %q", status, stderr)
	}
}
