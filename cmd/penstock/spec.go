package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/pflag"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// specFlags are what the command line says of every task it enqueues.
type specFlags struct {
	queue, typ, key, contentType string
	priority                     int
	delay, expireAfter           time.Duration
	timeout, runAt, deadline     string
	idempotencyKey               string
	idempotencyFor               time.Duration
	maxAttempts                  int
	backoff                      string
	limitKeys, tags              []string
	headers                      []string
}

func (f *specFlags) add(fs *pflag.FlagSet) {
	fs.StringVarP(&f.queue, "queue", "q", "default", "queue of the tasks")
	fs.StringVarP(&f.typ, "type", "t", "", "type of the tasks (default: the queue's name)")
	fs.IntVarP(&f.priority, "priority", "p", 5, "0 to 9, higher first")
	fs.DurationVar(&f.delay, "delay", 0, "wait before the first attempt, such as 90s")
	fs.StringVar(&f.runAt, "run-at", "", "`moment` of the first attempt, such as 2026-11-24T08:00:00Z; without a zone it is this machine's")
	fs.DurationVar(&f.expireAfter, "expire-after", 0, "end as expired after waiting for so long (default: never)")
	fs.StringVar(&f.deadline, "deadline", "", "end as expired at this `moment`, running or not (default: none)")
	fs.IntVar(&f.maxAttempts, "max-attempts", 0, "failures until the task is dead (default: the queue's, which is 10 unless it was set)")
	fs.StringVar(&f.timeout, "timeout", "", "`duration` that one attempt may take, such as 5m, or none (default: the queue's, which is 1h unless it was set)")
	fs.StringVar(&f.backoff, "backoff", "", "`waits` between attempts: exponential:1s:10m, linear:1s:1m, fixed:5s or 1s,10s,1m (default: the queue's, which is exponential:1s:10m unless it was set)")
	fs.StringVarP(&f.key, "key", "k", "", "what the task is about, as a `path` such as acme/user42")
	fs.StringSliceVar(&f.limitKeys, "limit-key", nil, "further `key` that only limits; repeat it for up to 3")
	fs.StringVar(&f.idempotencyKey, "idempotency-key", "", "a second enqueue under this `key` and in the same queue finds the first task; with another payload it is refused")
	fs.DurationVar(&f.idempotencyFor, "idempotency-for", 0, "how long the idempotency key holds from the enqueue on, and it holds until the task has ended at least (default 24h)")
	fs.StringSliceVar(&f.tags, "tag", nil, "`word` to find the task by; repeat it for up to 16")
	fs.StringArrayVar(&f.headers, "header", nil, "`name=value` that travels with the task; repeat it for up to 32, of 8 KiB in all")
	fs.StringVar(&f.contentType, "content-type", "", "`type` of the payloads (default: application/json or text/plain, by looking)")
}

// options are those of every task of the call.
func (f *specFlags) options(fs *pflag.FlagSet) ([]penstock.Option, error) {
	f.queue = cmp.Or(f.queue, task.DefaultQueue)
	opts := []penstock.Option{penstock.Queue(f.queue), penstock.Priority(f.priority)}
	add := func(flag string, o func() (penstock.Option, error)) error {
		if !fs.Changed(flag) {
			return nil
		}
		opt, err := o()
		if err != nil {
			return usagef("--%s: %w", flag, err)
		}
		opts = append(opts, opt)
		return nil
	}
	plain := func(o penstock.Option) func() (penstock.Option, error) {
		return func() (penstock.Option, error) { return o, nil }
	}
	moment := func(s string, o func(time.Time) penstock.Option) func() (penstock.Option, error) {
		return func() (penstock.Option, error) {
			t, err := parseMoment(s)
			return o(t), err
		}
	}
	if err := f.check(fs); err != nil {
		return nil, err
	}
	err := errors.Join(
		add("delay", plain(penstock.In(f.delay))),
		add("run-at", moment(f.runAt, penstock.At)),
		add("expire-after", plain(penstock.ExpireAfter(f.expireAfter))),
		add("deadline", moment(f.deadline, penstock.Deadline)),
		add("max-attempts", plain(penstock.MaxAttempts(f.maxAttempts))),
		add("timeout", func() (penstock.Option, error) {
			d, err := parseTimeout(f.timeout)
			return penstock.Timeout(d), err
		}),
		add("backoff", func() (penstock.Option, error) {
			w, err := parseBackoff(f.backoff)
			return penstock.Backoff(w), err
		}),
		add("key", plain(penstock.Key(f.key))),
		add("limit-key", plain(penstock.LimitKeys(f.limitKeys...))),
		add("idempotency-key", plain(penstock.Idempotency(f.idempotencyKey, f.idempotencyFor))),
		add("tag", plain(penstock.Tags(f.tags...))),
		add("header", func() (penstock.Option, error) {
			h := map[string]string{}
			for _, s := range f.headers {
				name, value, ok := strings.Cut(s, "=")
				if !ok {
					return nil, fmt.Errorf("%q is not name=value", s)
				}
				if _, twice := h[name]; twice {
					return nil, fmt.Errorf("%s is given twice", name)
				}
				h[name] = value
			}
			return penstock.Headers(h), nil
		}),
	)
	if fs.Changed("idempotency-for") && f.idempotencyKey == "" {
		err = errors.Join(err, usagef("--idempotency-for needs an --idempotency-key"))
	}
	if err != nil {
		return nil, err
	}
	return opts, f.checkWhole(fs, opts)
}

// check refuses flags under which no task can be enqueued, before anything is
// read or sent.
func (f *specFlags) check(fs *pflag.FlagSet) error {
	if fs.Changed("delay") && fs.Changed("run-at") {
		return usagef("--delay and --run-at contradict each other: use one")
	}
	if f.priority < 0 || f.priority > task.PriorityMax {
		return usagef("--priority %d: use 0 to %d", f.priority, task.PriorityMax)
	}
	if fs.Changed("max-attempts") {
		if err := checkMaxAttempts(f.maxAttempts); err != nil {
			return usagef("--max-attempts: %w", err)
		}
	}
	if fs.Changed("idempotency-key") && f.idempotencyKey == "" {
		return usagef("--idempotency-key is empty: leave it out if there is none")
	}
	for _, name := range []string{"tag", "limit-key"} {
		if words, _ := fs.GetStringSlice(name); fs.Changed(name) && len(words) == 0 {
			return usagef("--%s is empty: leave it out if there is none", name)
		}
	}
	for _, name := range []string{"delay", "expire-after", "idempotency-for"} {
		if d, _ := fs.GetDuration(name); d < 0 {
			return usagef("--%s %v is negative", name, d)
		}
	}
	return nil
}

// checkWhole has the options checked as those of a task will be, so that what
// no task can have is told before anything is read or sent.
func (f *specFlags) checkWhole(fs *pflag.FlagSet, opts []penstock.Option) error {
	typ := f.typ
	if !fs.Changed("type") {
		typ = f.queue
	}
	_, spec, err := penstock.Define[[]byte, []byte](typ, append(slices.Clip(opts), penstock.WithCodec(penstock.Bytes))...).Spec(nil)
	if spec.ContentType = f.contentType; err == nil {
		err = refusal(spec.Check())
	}
	var wrong *task.Error
	if errors.As(err, &wrong) {
		return usagef("%s", wrong.Text)
	}
	return err
}

// refusal keeps a nil *task.Error from becoming an error.
func refusal(e *task.Error) error {
	if e == nil {
		return nil
	}
	return e
}

func checkMaxAttempts(n int) error {
	if n < 1 || n > task.MaxAttemptsNoLimit {
		return fmt.Errorf("max attempts of %d: use 1 or more; %d is without limit", n, task.MaxAttemptsNoLimit)
	}
	return nil
}

// raw is a task with its payload as it came.
func (f *specFlags) raw(payload []byte) penstock.Raw {
	r := penstock.Raw{Type: f.typ, Payload: payload, ContentType: f.contentType}
	if r.Type == "" {
		r.Type = f.queue
	}
	if r.ContentType == "" {
		r.ContentType = contentType(payload)
	}
	return r
}

// taskLine is a line of --json. Where the HTTP interface has the field, the name
// is the same; the policy stands flat, and text has a field of its own.
type taskLine struct {
	Type           string            `json:"type"`
	Queue          string            `json:"queue"`
	Key            *string           `json:"key"`
	Payload        json.RawMessage   `json:"payload"`
	PayloadText    *string           `json:"payloadText"`
	PayloadBase64  []byte            `json:"payloadBase64"`
	ContentType    string            `json:"contentType"`
	Priority       *int              `json:"priority"`
	Delay          length            `json:"delay"`
	RunAt          time.Time         `json:"runAt"`
	ExpireAfter    length            `json:"expireAfter"`
	Deadline       time.Time         `json:"deadline"`
	MaxAttempts    int               `json:"maxAttempts"`
	Timeout        string            `json:"timeout"`
	Backoff        string            `json:"backoff"`
	LimitKeys      []string          `json:"limitKeys"`
	IdempotencyKey string            `json:"idempotencyKey"`
	IdempotencyFor length            `json:"idempotencyFor"`
	Tags           []string          `json:"tags"`
	Headers        map[string]string `json:"headers"`
}

// length is a length of time as people write it.
type length struct {
	d   time.Duration
	set bool
}

// UnmarshalJSON reads "90s".
func (l *length) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("a length of time is text such as \"90s\" or \"1h30m\", not %s", b)
	}
	d, err := parseLength(s)
	if err != nil {
		return fmt.Errorf("%q is not a length of time: write \"90s\", \"1h30m\" or \"7d\"", s)
	}
	*l = length{d, true}
	return nil
}

// rawFromJSON is one line of --json; what it leaves out comes from the flags.
func (f *specFlags) rawFromJSON(line []byte) (penstock.Raw, error) {
	if !utf8.Valid(line) {
		return penstock.Raw{}, errors.New("the line is not valid UTF-8: put bytes that are not text in payloadBase64")
	}
	var t taskLine
	dec := json.NewDecoder(bytes.NewReader(line))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&t); err != nil {
		return penstock.Raw{}, explainJSON(err)
	}
	if _, err := dec.Token(); err != io.EOF {
		return penstock.Raw{}, errors.New("more than one JSON value on the line")
	}
	if err := checkNames(line); err != nil {
		return penstock.Raw{}, err
	}
	r := penstock.Raw{Type: t.Type, ContentType: t.ContentType}
	if r.Type == "" {
		r.Type = f.typ
	}
	queue := t.Queue
	if queue == "" {
		queue = f.queue
	}
	if r.Type == "" {
		r.Type = queue
	}
	if r.ContentType == "" {
		r.ContentType = f.contentType
	}
	if err := t.payload(&r); err != nil {
		return r, err
	}
	var err error
	r.Options, err = t.options()
	return r, err
}

// taskFields are the names of a line's fields. Go takes them in any case, and
// the last of those given twice; the HTTP interface takes neither.
var taskFields = func() map[string]bool {
	names := map[string]bool{}
	for _, f := range reflect.VisibleFields(reflect.TypeFor[taskLine]()) {
		names[f.Tag.Get("json")] = true
	}
	return names
}()

// checkNames goes once more over a line that is a task.
func checkNames(line []byte) error {
	return eachField(line, "", func(name string, value json.RawMessage) error {
		if !taskFields[name] {
			return unknownField(strconv.Quote(name))
		}
		if half := halfPair(value); half != "" && name != "payload" { // which is kept byte for byte
			return fmt.Errorf("%s is not valid UTF-8: %s is half of a surrogate pair", name, half)
		}
		if name != "headers" || value[0] != '{' {
			return nil
		}
		return eachField(value, "headers.", func(string, json.RawMessage) error { return nil })
	})
}

// escapes finds each escape of a JSON text; its group is the half of a surrogate
// pair whose other half is not there.
var escapes = regexp.MustCompile(`\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|(\\u[dD][89a-fA-F][0-9a-fA-F]{2})|\\.`)

// halfPair is the first half of a surrogate pair that stands alone in value. Go
// reads it as U+FFFD, so that texts that differ would become the same.
func halfPair(value []byte) string {
	if !bytes.Contains(value, []byte(`\u`)) {
		return ""
	}
	for _, found := range escapes.FindAllSubmatch(value, -1) {
		if len(found[1]) > 0 {
			return string(found[1])
		}
	}
	return ""
}

// eachField walks over an object and refuses what stands there twice.
func eachField(object []byte, path string, f func(name string, value json.RawMessage) error) error {
	dec := json.NewDecoder(bytes.NewReader(object))
	if brace, err := dec.Token(); err != nil || brace != json.Delim('{') {
		return err // null is a task without fields
	}
	seen := map[string]bool{}
	for dec.More() {
		tok, err := dec.Token()
		if err != nil {
			return err
		}
		name, _ := tok.(string)
		if seen[name] {
			return fmt.Errorf("%s%s is given twice", path, brief(name))
		}
		seen[name] = true
		var value json.RawMessage
		if err := dec.Decode(&value); err != nil {
			return err
		}
		if err := f(name, value); err != nil {
			return err
		}
	}
	return nil
}

func (t *taskLine) payload(r *penstock.Raw) error {
	given := 0
	kind := ""
	if t.Payload != nil {
		given, r.Payload, kind = given+1, t.Payload, "application/json"
	}
	if t.PayloadText != nil {
		given, r.Payload, kind = given+1, []byte(*t.PayloadText), "text/plain"
	}
	if t.PayloadBase64 != nil {
		given, r.Payload, kind = given+1, t.PayloadBase64, "application/octet-stream"
	}
	if given > 1 {
		return errors.New("payload, payloadText and payloadBase64 exclude each other: give one")
	}
	if r.ContentType == "" {
		r.ContentType = kind
	}
	return nil
}

func (t *taskLine) options() (opts []penstock.Option, err error) {
	add := func(given bool, o penstock.Option) {
		if given {
			opts = append(opts, o)
		}
	}
	if t.Delay.set && !t.RunAt.IsZero() {
		return nil, errors.New("delay and runAt contradict each other: use one")
	}
	if t.IdempotencyFor.set && t.IdempotencyKey == "" {
		return nil, errors.New("idempotencyFor needs an idempotencyKey")
	}
	add(t.Queue != "", penstock.Queue(t.Queue))
	if t.Key != nil {
		add(true, penstock.Key(*t.Key))
	}
	if t.Priority != nil {
		add(true, penstock.Priority(*t.Priority))
	}
	add(t.Delay.set, penstock.In(t.Delay.d))
	add(!t.RunAt.IsZero(), penstock.At(t.RunAt))
	add(t.ExpireAfter.set, penstock.ExpireAfter(t.ExpireAfter.d))
	add(!t.Deadline.IsZero(), penstock.Deadline(t.Deadline))
	if t.MaxAttempts != 0 {
		if err := checkMaxAttempts(t.MaxAttempts); err != nil {
			return nil, err
		}
		add(true, penstock.MaxAttempts(t.MaxAttempts))
	}
	if t.Timeout != "" {
		d, err := parseTimeout(t.Timeout)
		if err != nil {
			return nil, err
		}
		add(true, penstock.Timeout(d))
	}
	if t.Backoff != "" {
		w, err := parseBackoff(t.Backoff)
		if err != nil {
			return nil, err
		}
		add(true, penstock.Backoff(w))
	}
	add(t.LimitKeys != nil, penstock.LimitKeys(t.LimitKeys...))
	add(t.IdempotencyKey != "", penstock.Idempotency(t.IdempotencyKey, t.IdempotencyFor.d))
	add(t.Tags != nil, penstock.Tags(t.Tags...))
	add(t.Headers != nil, penstock.Headers(t.Headers))
	return opts, nil
}

// explainJSON says it without the names of Go types.
func explainJSON(err error) error {
	var wrong *json.UnmarshalTypeError
	switch {
	case errors.As(err, &wrong) && wrong.Field == "":
		return fmt.Errorf("a task is a JSON object, not a %s", wrong.Value)
	case errors.As(err, &wrong):
		return fmt.Errorf("field %q can't be a %s", wrong.Field, wrong.Value)
	case errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, io.EOF):
		return errors.New("not whole JSON: the line ends too early")
	}
	text := strings.TrimPrefix(err.Error(), "json: ")
	if name, ok := strings.CutPrefix(text, "unknown field "); ok {
		return unknownField(name)
	}
	return errors.New(text)
}

func unknownField(quoted string) error {
	return fmt.Errorf("unknown field %s; penstock enqueue --help lists them", quoted)
}

// parseMoment reads RFC 3339, or a date and time of this machine's zone.
func parseMoment(s string) (time.Time, error) {
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02T15:04", "2006-01-02 15:04:05", "2006-01-02 15:04", "2006-01-02"} {
		if t, err := time.ParseInLocation(form, s, time.Local); err == nil {
			if t.Unix() <= 0 {
				return t, fmt.Errorf("%s lies before 1970, where no task is", s)
			}
			return t, nil
		}
	}
	return time.Time{}, fmt.Errorf("%q is not a moment: write 2026-11-24T08:00:00Z", s)
}

// parseTimeout reads the limit of an attempt.
func parseTimeout(s string) (time.Duration, error) {
	if s == "none" {
		return penstock.NoTimeout, nil
	}
	d, err := parseLength(s)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("%q is no limit of an attempt: write a length of time such as 5m, or none", s)
	}
	return d, nil
}
