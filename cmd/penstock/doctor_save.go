package main

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
	"github.com/penstock-io/penstock/server"
)

// saveFlags are --save and --dead.
type saveFlags struct {
	file string
	dead bool
}

func (f *saveFlags) check(data bool) error {
	switch {
	case f.file != "" && !data:
		return usagef("--save reads a data folder: name it with --data")
	case f.dead && f.file == "":
		return usagef("--dead says what --save writes: give --save FILE")
	}
	return nil
}

// saved is the file that tasks are saved to.
type saved struct {
	file *os.File // nil: stdout
	out  *bufio.Writer
}

// open makes the file, which must not be there, nor lie in the folder.
func (f *saveFlags) open(a *app, data string) (*saved, error) {
	if f.file == "-" {
		return &saved{out: bufio.NewWriterSize(a.stdout, 64<<10)}, nil
	}
	if inside(f.file, data) {
		return nil, fmt.Errorf("%s lies in the data folder, which is not written to: choose a file elsewhere", f.file)
	}
	file, err := os.OpenFile(f.file, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if errors.Is(err, os.ErrExist) {
		return nil, fmt.Errorf("%s is there already and is not overwritten: choose another name", f.file)
	}
	if err != nil {
		return nil, fmt.Errorf("make the file for the tasks: %w", err)
	}
	return &saved{file: file, out: bufio.NewWriterSize(file, 64<<10)}, nil
}

func inside(file, dir string) bool {
	real := func(path string) string {
		if p, err := filepath.EvalSymlinks(path); err == nil {
			path = p
		}
		if p, err := filepath.Abs(path); err == nil {
			path = p
		}
		return path
	}
	rel, err := filepath.Rel(real(dir), real(filepath.Dir(file)))
	return err == nil && rel != ".." && !strings.HasPrefix(rel, ".."+string(filepath.Separator))
}

// close makes the file durable, or removes it when it is not to be kept.
func (s *saved) close(keep bool) error {
	if s.file == nil {
		return s.out.Flush()
	}
	if !keep {
		return errors.Join(s.file.Close(), os.Remove(s.file.Name()))
	}
	if err := errors.Join(s.out.Flush(), s.file.Sync(), s.file.Close()); err != nil {
		return errors.Join(fmt.Errorf("write the tasks: %w", err), os.Remove(s.file.Name()))
	}
	return nil
}

// savedLine is a task as "penstock enqueue --json" takes it: see taskLine.
type savedLine struct {
	Queue          string            `json:"queue"`
	Type           string            `json:"type"`
	Key            string            `json:"key,omitempty"`
	Priority       uint8             `json:"priority"`
	RunAt          string            `json:"runAt,omitempty"`
	ExpireAfter    string            `json:"expireAfter,omitempty"`
	Deadline       string            `json:"deadline,omitempty"`
	MaxAttempts    int32             `json:"maxAttempts,omitempty"`
	Timeout        string            `json:"timeout,omitempty"`
	Backoff        string            `json:"backoff,omitempty"`
	LimitKeys      []string          `json:"limitKeys,omitempty"`
	IdempotencyKey string            `json:"idempotencyKey,omitempty"`
	IdempotencyFor string            `json:"idempotencyFor,omitempty"`
	Tags           []string          `json:"tags,omitempty"`
	Headers        map[string]string `json:"headers,omitempty"`
	ContentType    string            `json:"contentType,omitempty"`
	Payload        json.RawMessage   `json:"payload,omitempty"`
	PayloadText    *string           `json:"payloadText,omitempty"`
	PayloadBase64  []byte            `json:"payloadBase64,omitempty"`
}

func (s *saved) write(r *server.Rescued) error {
	line, err := marshal(savedLineOf(r), "")
	if err == nil {
		_, err = s.out.Write(append(line, '\n'))
	}
	if err != nil {
		return fmt.Errorf("write a task: %w", err)
	}
	return nil
}

func savedLineOf(r *server.Rescued) *savedLine {
	p := &r.Spec
	l := &savedLine{
		Queue: r.Queue, Type: p.Type, Key: p.Key, Priority: p.Priority, RunAt: momentText(p.RunAt), Deadline: momentText(p.Deadline),
		ExpireAfter: savedLength(p.ExpireAfter), LimitKeys: p.LimitKeys, Tags: p.Tags, ContentType: p.ContentType,
		IdempotencyKey: p.Idempotency, IdempotencyFor: savedLength(p.IdempotencyFor),
	}
	if p.Policy != nil {
		l.MaxAttempts, l.Timeout = p.Policy.MaxAttempts, savedLength(p.Policy.Timeout)
		if p.Policy.Timeout == task.AttemptTimeoutNone {
			l.Timeout = "none"
		}
		if p.Policy.Backoff != nil {
			l.Backoff = backoffText(p.Policy.Backoff)
		}
	}
	if len(p.Headers) > 0 {
		l.Headers = make(map[string]string, len(p.Headers))
		for _, h := range p.Headers {
			l.Headers[h.Name] = h.Value
		}
	}
	l.payload(p.Payload)
	return l
}

// payload picks the field that brings the same bytes back: JSON as it is if a
// line can hold it so, else text, else base64.
func (l *savedLine) payload(b []byte) {
	var compact bytes.Buffer
	switch {
	case utf8.Valid(b) && json.Compact(&compact, b) == nil && bytes.Equal(compact.Bytes(), b):
		l.Payload = b
		return
	case utf8.Valid(b) && shortAsText(b):
		text := string(b)
		l.PayloadText = &text
	default:
		l.PayloadBase64 = b
	}
	if l.ContentType == "" {
		l.ContentType = "application/json" // what none means, whatever the field
	}
}

// shortAsText says whether text in JSON is no longer than base64 is.
func shortAsText(b []byte) bool {
	quoted, err := marshal(string(b), "")
	return err == nil && len(quoted) <= 2+base64.StdEncoding.EncodedLen(len(b))
}

func momentText(t task.Time) string {
	if t == 0 {
		return ""
	}
	return timeOf(t).UTC().Format(time.RFC3339Nano)
}

func savedLength(m task.Millis) string {
	if m <= 0 {
		return ""
	}
	return lengthText(m)
}
