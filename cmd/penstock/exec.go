package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// exitRetry is EX_TEMPFAIL of sysexits: try again later, nobody's fault.
const exitRetry = 75

const (
	stderrTailMax  = 4 << 10         // bytes of a program's stderr that go into the error
	pipeDelay      = 2 * time.Second // a daemon that keeps our pipes open holds nothing up
	releaseWaitMax = time.Minute
)

// program runs one child a task: stdin is the payload, stdout the result.
type program struct {
	words []string
	url   string        // handed on to the child
	grace time.Duration // between SIGTERM and SIGKILL
	guard *guard        // nil in tests that need none
}

// attempt is what a child is told about its task.
type attempt struct {
	id, queue, typ, key, token string
	number                     int
	fence                      uint64
	payload                    []byte
}

// execError is a child that did not succeed.
type execError struct {
	text      string
	retry     bool // exit status 75: hand it back without blame
	permanent bool // it can never start, so trying again is no use
}

func (e *execError) Error() string { return e.text }

// run runs the program for one attempt and returns its stdout. When ctx ends,
// the child and all that it started are asked to end, and then made to.
func (p *program) run(ctx context.Context, at attempt) ([]byte, error) {
	words, used := fillWords(p.words, at.payload)
	if used && hasNUL(at.payload) {
		return nil, &execError{permanent: true, text: "the payload holds a NUL byte, which no argument can: leave {} out and read stdin"}
	}
	stdout, stderr := &headBuffer{max: task.PayloadMax}, &tailBuffer{max: stderrTailMax}
	cmd := exec.Command(words[0], words[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(at.payload), stdout, stderr
	cmd.Env = append(append(os.Environ(), at.environ(p.url)...), p.guard.environ()...)
	cmd.WaitDelay = pipeDelay
	defer childThread()()
	childAttributes(cmd)
	if err := cmd.Start(); err != nil {
		return nil, startError(words[0], err)
	}
	p.guard.add(cmd.Process.Pid)
	ended := make(chan struct{})
	stopped := make(chan struct{})
	go func() {
		defer close(stopped)
		p.stopOnEnd(ctx, cmd, ended)
	}()
	err := waitChild(cmd, func() {
		close(ended)
		<-stopped
		killChild(cmd) // what it left running
		p.guard.remove(cmd.Process.Pid)
	})
	if ctx.Err() != nil && (err != nil || context.Cause(ctx) == penstock.ErrTimeout) {
		return nil, fmt.Errorf("%w%s", context.Cause(ctx), withTail("", stderr))
	}
	return p.judge(cmd, err, stdout, stderr)
}

// stopOnEnd ends the child when ctx ends before it does.
func (p *program) stopOnEnd(ctx context.Context, cmd *exec.Cmd, ended <-chan struct{}) {
	select {
	case <-ended:
		return
	case <-ctx.Done():
	}
	if !errors.Is(context.Cause(ctx), task.ErrLeaseLost) {
		terminateChild(cmd)
		select {
		case <-ended:
			return
		case <-time.After(p.grace):
		}
	}
	killChild(cmd)
}

func (p *program) judge(cmd *exec.Cmd, err error, stdout *headBuffer, stderr *tailBuffer) ([]byte, error) {
	state := cmd.ProcessState
	switch {
	case state == nil:
		return nil, &execError{text: fmt.Sprintf("wait for %s: %v", p.words[0], err)}
	case state.ExitCode() == exitRetry:
		return nil, &execError{retry: true, text: withTail(fmt.Sprintf("exit status %d, try again later", exitRetry), stderr)}
	case !state.Success():
		return nil, &execError{text: withTail(state.String(), stderr)}
	case stdout.over:
		return nil, &execError{permanent: true, text: fmt.Sprintf(
			"stdout is over the limit of %d bytes for a result: store it elsewhere and print its address", task.PayloadMax)}
	}
	return stdout.buf.Bytes(), nil
}

func withTail(what string, stderr *tailBuffer) string {
	tail := strings.TrimSpace(strings.ToValidUTF8(stderr.String(), "\uFFFD"))
	if tail == "" {
		return what
	}
	return what + ": " + tail
}

// startError tells what will never start from what may start later.
func startError(name string, err error) error {
	e := &execError{text: fmt.Sprintf("start %s: %v", name, err)}
	if tooLong(err) {
		e.permanent = true
		e.text = "the payload is too long for an argument: leave {} out and read stdin"
	}
	return e
}

func (at *attempt) environ(url string) []string {
	return []string{
		"PENSTOCK_TASK_ID=" + at.id,
		"PENSTOCK_ATTEMPT=" + fmt.Sprint(at.number),
		"PENSTOCK_LEASE_TOKEN=" + at.token,
		"PENSTOCK_FENCE=" + fmt.Sprint(at.fence),
		"PENSTOCK_QUEUE=" + at.queue,
		"PENSTOCK_TYPE=" + at.typ,
		"PENSTOCK_KEY=" + at.key,
		"PENSTOCK_URL=" + url,
	}
}

// contentType labels bytes that came without a label: JSON if they are JSON,
// text if they are text. The bytes themselves stay as they are.
func contentType(b []byte) string {
	switch {
	case !utf8.Valid(b):
		return "application/octet-stream"
	case json.Valid(b):
		return "application/json"
	}
	return "text/plain"
}

// headBuffer keeps the first max bytes and notes whether there were more.
type headBuffer struct {
	buf  bytes.Buffer
	max  int
	over bool
}

// Write implements io.Writer; it always takes all, so that the child goes on.
func (h *headBuffer) Write(p []byte) (int, error) {
	room := h.max - h.buf.Len()
	if len(p) > room {
		h.over = true
		h.buf.Write(p[:room])
	} else {
		h.buf.Write(p)
	}
	return len(p), nil
}

// tailBuffer keeps the last max bytes.
type tailBuffer struct {
	buf []byte
	max int
	cut bool
}

// Write implements io.Writer.
func (t *tailBuffer) Write(p []byte) (int, error) {
	n := len(p)
	if len(p) > t.max {
		p, t.cut = p[len(p)-t.max:], true
	}
	if over := len(t.buf) + len(p) - t.max; over > 0 {
		t.buf, t.cut = append(t.buf[:0], t.buf[over:]...), true
	}
	t.buf = append(t.buf, p...)
	return n, nil
}

func (t *tailBuffer) String() string {
	if t.cut {
		return "…" + string(t.buf)
	}
	return string(t.buf)
}

// releaseWait is how long a task handed back with 75 waits: 1 s, doubled with
// each time, up to a minute.
func releaseWait(releases int) time.Duration {
	return min(time.Second<<min(releases, 10), releaseWaitMax)
}
