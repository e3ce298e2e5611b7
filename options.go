package penstock

import (
	"cmp"
	"errors"
	"math"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// NoTimeout, given to Timeout, lets an attempt run for as long as it likes.
const NoTimeout time.Duration = -1

// Unlimited, given to MaxAttempts, has a task tried until it succeeds.
const Unlimited = task.MaxAttemptsNoLimit

// Option says how tasks of a type are queued and tried. Options given to Define
// or Func are the type's defaults; options given to Enqueue override them for
// the tasks of that call. Times are kept in whole milliseconds, rounded up.
type Option func(*taskOptions)

// taskOptions is what options write to: a spec without a payload, the queue,
// and what only the worker needs.
type taskOptions struct {
	queue  string
	spec   task.Spec
	policy task.Policy
	codec  Codec
	coded  int // WithCodec was given so often
	rules  []rule
	errs   []error
}

func defaultOptions() taskOptions {
	return taskOptions{
		queue: task.DefaultQueue,
		spec:  task.Spec{Priority: task.DefaultPriority},
		codec: JSON,
	}
}

func (o *taskOptions) refuse(format string, args ...any) {
	o.errs = append(o.errs, task.Errorf(task.Invalid, format, args...))
}

// apply returns o changed by opts, without touching what o shares.
func (o taskOptions) apply(opts []Option) taskOptions {
	o.spec.Tags, o.spec.Headers = slices.Clip(o.spec.Tags), slices.Clip(o.spec.Headers)
	o.rules, o.errs = slices.Clip(o.rules), slices.Clip(o.errs)
	before := o.policy
	for _, f := range opts {
		if f != nil {
			f(&o)
		}
	}
	if o.policy != before {
		p := o.policy
		o.spec.Policy = &p
	}
	return o
}

func (o *taskOptions) err() error {
	if e := task.CheckName("queue", o.queue); e != nil {
		o.errs = append(o.errs, e)
	}
	if len(o.errs) == 0 {
		return nil
	}
	if len(o.errs) == 1 {
		return o.errs[0]
	}
	texts := make([]string, len(o.errs))
	for i, e := range o.errs {
		var te *task.Error
		if errors.As(e, &te) {
			texts[i] = te.Text
		}
	}
	return task.Errorf(task.Invalid, "%s", strings.Join(texts, "; "))
}

// millis rounds up; lengths that do not fit are caught by the spec's checks.
func millis(d time.Duration) task.Millis {
	if d > math.MaxInt64-time.Millisecond {
		return task.Millis(d / time.Millisecond)
	}
	if d <= 0 {
		return task.Millis(d / time.Millisecond)
	}
	return task.Millis((d + time.Millisecond - 1) / time.Millisecond)
}

// Queue names the queue that the tasks go to, at most 256 bytes of UTF-8. The
// default is "default", and so is an empty name. A queue comes into being with
// its first task.
func Queue(name string) Option {
	return func(o *taskOptions) { o.queue = cmp.Or(name, task.DefaultQueue) }
}

// MaxAttempts is how many failures send a task to the dead letters: at least 1,
// or Unlimited. The default is the queue's, which is 10 unless it was set.
// Handlers handed back, snoozed or lost with their worker don't count.
func MaxAttempts(n int) Option {
	return func(o *taskOptions) {
		if n < 1 || n > Unlimited {
			o.refuse("max attempts of %d: use 1 or more, or penstock.Unlimited", n)
			return
		}
		o.policy.MaxAttempts = int32(n)
	}
}

// Timeout is how long one attempt may take before its context ends with
// ErrTimeout and the attempt counts as a failure, whatever the handler returns
// after that. The default is the queue's,
// which is one hour unless it was set; NoTimeout is none.
func Timeout(d time.Duration) Option {
	return func(o *taskOptions) {
		switch {
		case d == NoTimeout:
			o.policy.Timeout = task.AttemptTimeoutNone
		case d < 0:
			o.refuse("timeout of %v is negative: use penstock.NoTimeout for none", d)
		default:
			o.policy.Timeout = millis(d)
		}
	}
}

// Waits says how long a failed task waits for its next attempt. Make one with
// Exponential, Linear, Fixed or Steps.
type Waits struct {
	b   task.Backoff
	err *task.Error
}

// Exponential waits base, 2 base, 4 base … up to max, each ±10 %. Zero for
// either is its default: 1 s and 10 min. A base over max is refused.
func Exponential(base, max time.Duration) Waits {
	return newWaits(task.Backoff{Kind: task.BackoffExponential, Base: millis(base), Max: millis(max)})
}

// Linear waits base, 2 base, 3 base … up to max, each ±10 %. Zero for either is
// its default: 1 s and 10 min. A base over max is refused.
func Linear(base, max time.Duration) Waits {
	return newWaits(task.Backoff{Kind: task.BackoffLinear, Base: millis(base), Max: millis(max)})
}

// Fixed waits d each time. Zero is the default, 1 s; Steps(0) does not wait.
func Fixed(d time.Duration) Waits {
	return newWaits(task.Backoff{Kind: task.BackoffFixed, Base: millis(d)})
}

// Steps waits ds[0] before the second attempt, ds[1] before the third …, and
// the last one from then on. At most 32 entries.
func Steps(ds ...time.Duration) Waits {
	list := make([]task.Millis, len(ds))
	for i, d := range ds {
		list[i] = millis(d)
	}
	return newWaits(task.Backoff{Kind: task.BackoffList, List: list})
}

// String says it in words, such as "exponential 1s up to 10m0s".
func (w Waits) String() string {
	base, most := w.b.Base, w.b.Max
	if base == 0 {
		base = task.DefaultBackoffBase
	}
	if most == 0 {
		most = task.DefaultBackoffMax
	}
	switch w.b.Kind {
	case task.BackoffFixed:
		return "fixed " + fromMillis(base).String()
	case task.BackoffList:
		s := "steps"
		for _, d := range w.b.List {
			s += " " + fromMillis(d).String()
		}
		return s
	case task.BackoffLinear:
		return "linear " + fromMillis(base).String() + " up to " + fromMillis(most).String()
	}
	return "exponential " + fromMillis(base).String() + " up to " + fromMillis(most).String()
}

func newWaits(b task.Backoff) Waits {
	return Waits{b: b, err: (&task.Policy{Backoff: &b}).Check()}
}

// Backoff is how long a failed task waits before its next attempt. The default
// is the queue's, which is Exponential(time.Second, 10*time.Minute) unless it
// was set.
func Backoff(w Waits) Option {
	b := w.b
	return func(o *taskOptions) {
		if w.err != nil {
			o.errs = append(o.errs, w.err)
		}
		o.policy.Backoff = &b
	}
}

// Priority is from 0 to 9, higher first; the default is 5. Within a queue it is
// strict.
func Priority(n int) Option {
	return func(o *taskOptions) {
		if n < 0 || n > task.PriorityMax {
			o.refuse("priority %d: use 0 to %d", n, task.PriorityMax)
			return
		}
		o.spec.Priority = uint8(n)
	}
}

// Key is what the task is about, as a path such as "acme/user42", at most 256
// bytes. Fairness, order and limits of a queue go by it.
func Key(path string) Option { return func(o *taskOptions) { o.spec.Key = path } }

// LimitKeys are up to 3 further keys that only limit, such as "api:stripe".
func LimitKeys(keys ...string) Option {
	return func(o *taskOptions) { o.spec.LimitKeys = slices.Clone(keys) }
}

// Idempotency makes a repeated enqueue harmless: within the window, and while
// the first task lives, an enqueue under the same key into the same queue finds
// the first task (Task.Existing) instead of making another. With a different
// payload it is refused with ErrConflict. Zero is a window of 24 hours; the key
// is at most 256 bytes. Deleting a task that has not succeeded frees its key;
// canceling or purging does not.
func Idempotency(key string, window time.Duration) Option {
	return func(o *taskOptions) {
		if key == "" {
			o.refuse("the idempotency key is empty: leave the option out if there is none")
		}
		o.spec.Idempotency, o.spec.IdempotencyFor = key, millis(window)
	}
}

// Tags are words to find the task by, at most 16 in all. Tags of the call are
// added to those of the type.
func Tags(tags ...string) Option {
	return func(o *taskOptions) { o.spec.Tags = append(slices.Clip(o.spec.Tags), tags...) }
}

// Headers are names and values that travel with the task, such as a trace
// context: at most 32 with 8 KiB in all. They are added to those of the type,
// and replace those of the same name.
func Headers(h map[string]string) Option {
	names := make([]string, 0, len(h))
	for n := range h {
		names = append(names, n)
	}
	sort.Strings(names)
	return func(o *taskOptions) {
		out := make([]task.Header, 0, len(o.spec.Headers)+len(names))
		for _, old := range o.spec.Headers {
			if _, replaced := h[old.Name]; !replaced {
				out = append(out, old)
			}
		}
		for _, n := range names {
			out = append(out, task.Header{Name: n, Value: h[n]})
		}
		o.spec.Headers = out
	}
}

// In has the task wait for d before it may run, at most ten years.
func In(d time.Duration) Option {
	return func(o *taskOptions) { o.spec.Delay, o.spec.RunAt = millis(d), 0 }
}

// At has the task wait until t. A time in the past runs at once.
func At(t time.Time) Option {
	return func(o *taskOptions) { o.spec.Delay, o.spec.RunAt = 0, toTime(t) }
}

// ExpireAfter ends the task as Expired when it has waited for d without
// starting. Zero is never.
func ExpireAfter(d time.Duration) Option {
	return func(o *taskOptions) { o.spec.ExpireAfter = millis(d) }
}

// Deadline ends the task as Expired at t, running or not.
func Deadline(t time.Time) Option {
	return func(o *taskOptions) { o.spec.Deadline = toTime(t) }
}

// WithCodec turns inputs and results into bytes in another way than JSON. It
// belongs to the type: give it to Define or Func; a call that has it is refused.
func WithCodec(c Codec) Option {
	return func(o *taskOptions) {
		o.coded++
		if c == nil {
			o.refuse("the codec is nil: leave the option out for JSON")
			return
		}
		o.codec, o.spec.ContentType = c, c.ContentType()
		if o.spec.ContentType == JSON.ContentType() {
			o.spec.ContentType = ""
		}
	}
}

// Decision is what becomes of a task whose attempt failed.
type Decision struct {
	kind decisionKind
	wait time.Duration
}

type decisionKind uint8

const (
	decideRetry decisionKind = iota
	decideAfter
	decideStop
	decideSnooze
)

// Retry tries again after the task's backoff: what happens without a rule.
func Retry() Decision { return Decision{} }

// After tries again after d. The attempt counts as a failure.
func After(d time.Duration) Decision { return Decision{decideAfter, max(d, 0)} }

// Stop sends the task to the dead letters at once.
func Stop() Decision { return Decision{kind: decideStop} }

// SnoozeFor tries again after d and burns no attempt.
func SnoozeFor(d time.Duration) Decision { return Decision{decideSnooze, max(d, 0)} }

// rule is one RetryOn.
type rule func(error) (Decision, bool)

// RetryOn decides by the type of a handler's error, found as errors.As does:
// the first rule that fits wins. An error made with Permanent, RetryAfter or
// Snooze has decided already. Give it to Define or Func only.
//
//	penstock.RetryOn(func(e *RateLimited) penstock.Decision { return penstock.After(e.Wait) })
func RetryOn[E error](decide func(E) Decision) Option {
	r := func(err error) (Decision, bool) {
		var e E
		if errors.As(err, &e) {
			return decide(e), true
		}
		return Decision{}, false
	}
	return func(o *taskOptions) { o.rules = append(o.rules, r) }
}

func toTime(t time.Time) task.Time {
	if t.IsZero() {
		return 0
	}
	return task.Time(t.UnixMilli())
}

func fromTime(t task.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t))
}

func fromMillis(m task.Millis) time.Duration { return time.Duration(m) * time.Millisecond }
