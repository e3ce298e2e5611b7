//go:build unix

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/server"
)

// variedFolder holds tasks of every shape in several queues, in tables and in
// the log: 2,020 waiting, 4 scheduled, 1 dead letter, 1 that will be retried, and
// 1 that is finished.
func variedFolder(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	srv := openAt(t, dir)
	c := srv.Client()
	enqueue := func(raws ...penstock.Raw) {
		t.Helper()
		got, err := c.EnqueueMany(t.Context(), raws)
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range got {
			if g.Err != nil {
				t.Fatal(g.Err)
			}
		}
	}
	many := make([]penstock.Raw, 2000)
	for i := range many {
		many[i] = penstock.Raw{Type: "t", Payload: fmt.Appendf(nil, `{"n":%d,"pad":"%0200d"}`, i, i), Options: []penstock.Option{penstock.Queue("many")}}
	}
	enqueue(many...)
	work(t, c)
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	srv = openAt(t, dir) // what was in the log is in tables now
	c = srv.Client()
	binary := make([]byte, 100_000)
	for i := range binary {
		binary[i] = byte(i * i)
	}
	for i, payload := range []string{`{"a":1}`, `null`, `"<&>\u2028"`, `{ "a": 1 }`, "", "two\nlines", "tab\tand \x00", `{"big":12345678901234567890.10}`, string(binary), strings.Repeat(`"`, 1<<20)} {
		for _, contentType := range []string{"", "text/plain"} {
			enqueue(penstock.Raw{Type: fmt.Sprintf("type%d", i%3), Payload: []byte(payload), ContentType: contentType, Options: []penstock.Option{penstock.Queue("shapes")}})
		}
	}
	for i, o := range [][]penstock.Option{
		{penstock.Priority(9), penstock.MaxAttempts(3), penstock.Timeout(penstock.NoTimeout), penstock.Backoff(penstock.Steps(time.Second))},
		{penstock.Priority(0), penstock.MaxAttempts(penstock.Unlimited), penstock.Timeout(1500 * time.Millisecond), penstock.Backoff(penstock.Exponential(0, time.Hour))},
		{penstock.Key("acme/ann"), penstock.LimitKeys("api", "db"), penstock.Tags("x", "y z"), penstock.Headers(map[string]string{"trace": "a=b\"c"})},
		{penstock.Deadline(time.Now().Add(48 * time.Hour)), penstock.ExpireAfter(40 * time.Hour), penstock.Idempotency("only once", 72*time.Hour), penstock.Backoff(penstock.Fixed(time.Minute))},
	} {
		enqueue(penstock.Raw{Type: "opts", Payload: []byte(`{}`), Options: append(o, penstock.Queue(fmt.Sprintf("opts-%d", i)), penstock.In(time.Duration(i+1)*time.Hour))})
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	return dir
}

// work leaves a finished task, a dead letter and one that will be tried again.
func work(t *testing.T, c *penstock.Client) {
	t.Helper()
	f := penstock.Func("job", func(_ context.Context, how string) (string, error) {
		switch how {
		case "dies":
			return "", penstock.Permanent(errors.New("never"))
		case "fails":
			return "", penstock.RetryAfter(errors.New("later"), 24*time.Hour)
		}
		return how, nil
	}, penstock.Queue("jobs"))
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() { defer close(ended); _ = c.Work(ctx, f) }()
	fails, err := f.Enqueue(ctx, c, "fails")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = f.Do(ctx, c, "dies")
	if _, err := f.Do(ctx, c, "succeeds"); err != nil {
		t.Fatal(err)
	}
	for { // the first to be taken, but maybe not the first to be told of
		in, err := fails.Info(ctx)
		if err != nil {
			t.Fatal(err)
		}
		if in.Failures == 1 {
			break
		}
	}
	stop()
	<-ended
}

func openAt(t *testing.T, dir string) *server.Server {
	t.Helper()
	srv, err := server.Open(server.Config{Dir: dir, HTTP: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = srv.Close() })
	return srv
}

// examined runs the doctor over dir and has it save what it can, dead letters too.
func examined(t *testing.T, dir string) (status int, found []finding, lines []string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "saved")
	before := sums(t, dir)
	status, stdout, stderr := command("", "doctor", "--data", dir, "--save", file, "--dead", "-o", "json")
	if err := json.Unmarshal([]byte(stdout), &found); err != nil {
		t.Fatalf("%v: %s%s", err, stdout, stderr)
	}
	if !maps.Equal(before, sums(t, dir)) {
		t.Error("the doctor has changed the folder")
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatalf("%v: %s", err, stdout)
	}
	return status, found, strings.Split(strings.TrimSuffix(string(raw), "\n"), "\n")
}

func sums(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	names, err := filepath.Glob(dir + "/*")
	more, err2 := filepath.Glob(dir + "/db/*")
	if err := errors.Join(err, err2); err != nil {
		t.Fatal(err)
	}
	for _, name := range append(names, more...) {
		if b, err := os.ReadFile(name); err == nil {
			out[name] = string(b)
		}
	}
	return out
}

// steady is a saved line without what gets shorter as time goes by.
func steady(t *testing.T, lines []string) []string {
	t.Helper()
	out := make([]string, len(lines))
	for i, line := range lines {
		var fields map[string]json.RawMessage
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"expireAfter", "idempotencyFor"} {
			if fields[name] != nil {
				fields[name] = json.RawMessage(`"some"`)
			}
		}
		raw, err := json.Marshal(fields)
		if err != nil {
			t.Fatal(err)
		}
		out[i] = string(raw)
	}
	slices.Sort(out)
	return out
}

// TestDoctorSaves: what is saved of a whole folder and enqueued anew is the same
// tasks, to the last byte and option.
func TestDoctorSaves(t *testing.T) {
	status, found, lines := examined(t, variedFolder(t))
	if status != exitOK || len(lines) != 2026 {
		t.Fatalf("status %d, %d lines: %+v", status, len(lines), found)
	}
	f := func(name string, want queueFound) {
		t.Helper()
		want.Name = name
		for _, x := range found {
			if x.Queue != nil && x.Queue.Name == name && *x.Queue != want {
				t.Errorf("got %+v, want %+v", *x.Queue, want)
			}
		}
	}
	f("many", queueFound{Waiting: 2000})
	f("shapes", queueFound{Waiting: 20})
	f("opts-1", queueFound{Scheduled: 1})
	f("jobs", queueFound{Scheduled: 1, Dead: 1, Finished: 1})

	dir := t.TempDir()
	srv := openAt(t, dir)
	status, ids, stderr := command(strings.Join(lines, "\n"), "--url", srv.URL(), "enqueue", "--json")
	if status != exitOK || strings.Count(ids, "\n") != 2026 || strings.Contains(ids, "\n\n") {
		t.Fatalf("enqueue what was saved: status %d, %s", status, stderr)
	}
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	_, _, again := examined(t, dir)
	want, got := steady(t, lines), steady(t, again)
	if len(got) != len(want) {
		t.Fatalf("%d tasks came back of %d", len(got), len(want))
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("got  %.300s\nwant %.300s", got[i], want[i])
		}
	}
}

// TestDoctorDamage damages a folder at rest in each way: neither the server nor
// the doctor may take it for whole. The doctor names the file, counts what is
// missing rightly, and saves all that can be read and nothing else.
func TestDoctorDamage(t *testing.T) {
	whole := variedFolder(t)
	_, _, all := examined(t, whole)
	good := steady(t, all)
	f := func(what, pattern string, damage func(t *testing.T, path string), least int) {
		t.Run(what, func(t *testing.T) {
			t.Parallel() // each waits for the disk, mostly
			dir := t.TempDir()
			if err := os.CopyFS(dir, os.DirFS(whole)); err != nil {
				t.Fatal(err)
			}
			names, _ := filepath.Glob(filepath.Join(dir, "db", pattern))
			if len(names) == 0 {
				t.Fatalf("%s: no %s", what, pattern)
			}
			slices.SortFunc(names, func(a, b string) int { return int(sizeOf(t, b) - sizeOf(t, a)) })
			damage(t, names[0])
			status, found, lines := examined(t, dir)
			missing, named := int64(0), false
			for _, x := range found {
				if x.Queue != nil {
					missing += x.Queue.Missing
				}
				named = named || x.Verdict == checkFail && x.File == names[0] && x.Detail != "" && x.Means != "" && x.Do != ""
				if strings.Contains(x.Detail, "carrier") || strings.Contains(x.Detail, "run penstock doctor") {
					t.Errorf("%s: %q", what, x.Detail)
				}
			}
			if status != exitError || !named {
				t.Errorf("%s: status %d, and it must name %s: %+v", what, status, names[0], found)
			}
			for _, line := range steady(t, lines) {
				if _, ok := slices.BinarySearch(good, line); !ok {
					t.Errorf("%s: saved what was not there: %.300s", what, line)
				}
			}
			// A count may be lost with what it counts; that of the many is not, in a block.
			n := int64(len(lines)) + missing
			if len(lines) < least || n > int64(len(all)) || what == "a block of a table" && (missing == 0 || n != int64(len(all))) {
				t.Errorf("%s: saved %d and missing %d, of %d", what, len(lines), missing, len(all))
			}
			last := found[len(found)-1]
			if last.Check != "next" || len(last.Commands) < 3 || !strings.Contains(last.Commands[len(last.Commands)-1], "penstock enqueue --json") {
				t.Errorf("%s: next is %+v", what, last)
			}
			if srv, err := server.Open(server.Config{Dir: dir}); err == nil {
				_, err = srv.Client().Enqueue(t.Context(), penstock.Raw{Type: "x"})
				t.Errorf("%s: a server starts on it (%v)", what, err)
				_ = srv.Close()
			} else if what != "a table cut short" && !strings.Contains(err.Error(), "penstock doctor") {
				t.Errorf("%s: the server says %v", what, err)
			}
		})
	}
	f("a block of a table", "*.sst", flipAt(0.3), 1900)
	f("a log", "*.log", flipAt(0.2), 2000)
	f("a manifest", "MANIFEST-*", flipAt(0.5), 2026)
	if testing.Short() { // the engine's own tests know more ways still
		return
	}
	f("a missing manifest", "MANIFEST-*", remove, 2026)
	f("a missing table", "*.sst", remove, 1)
	f("a table cut short", "*.sst", func(t *testing.T, path string) {
		if err := os.Truncate(path, sizeOf(t, path)/2); err != nil {
			t.Fatal(err)
		}
	}, 1)
}

func sizeOf(t *testing.T, path string) int64 {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Size()
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func flipAt(share float64) func(*testing.T, string) {
	return func(t *testing.T, path string) {
		t.Helper()
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		b[int(float64(len(b))*share)] ^= 0xff
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// TestDoctorSaveRefuses: nothing is overwritten, nothing is written into the
// folder, and nothing is left where nothing could be saved.
func TestDoctorSaveRefuses(t *testing.T) {
	dir := t.TempDir()
	srv := openAt(t, dir)
	file := filepath.Join(t.TempDir(), "saved")
	f := func(want string, args ...string) {
		t.Helper()
		status, stdout, stderr := command("", append([]string{"doctor"}, args...)...)
		if status == exitOK || !strings.Contains(stdout+stderr, want) {
			t.Errorf("%v: status %d, %s%s; want %q", args, status, stdout, stderr, want)
		}
		if _, err := os.Stat(file); err == nil {
			t.Errorf("%v: left a file", args)
		}
	}
	f("in use by process", "--data", dir, "--save", file)
	f("name it with --data", "--save", file)
	f("give --save", "--data", dir, "--dead")
	if err := srv.Close(); err != nil {
		t.Fatal(err)
	}
	f("lies in the data folder", "--data", dir, "--save", filepath.Join(dir, "saved"))
	f("not there", "--data", filepath.Join(dir, "none"), "--save", file)
	if status, stdout, _ := command("", "doctor", "--data", dir, "--save", file); status != exitOK || !strings.Contains(stdout, "no task was found") {
		t.Errorf("an empty folder: status %d, %s", status, stdout)
	}
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, stdout, _ := command("", "doctor", "--data", dir, "--save", file); status != exitError || !strings.Contains(stdout, "not overwritten") {
		t.Errorf("a file that is there: status %d, %s", status, stdout)
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("it was overwritten: %q, %v", b, err)
	}
}
