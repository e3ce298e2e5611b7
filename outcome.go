package penstock

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

const timeoutSlack = 100 * time.Millisecond // between the server's clock and ours

// outOfTime says whether the attempt's own time is over, or so near it that the
// server may have seen it first.
func (a *Attempt) outOfTime() bool {
	at, ok := a.Deadline()
	return ok && time.Until(at) < timeoutSlack
}

// overTime says whether a handler that took so long was over its Timeout: then
// its attempt has failed, whatever it returns. The server, which counts from the
// dispatch and allows a second more, need not have noticed yet.
func (a *Attempt) overTime(took time.Duration) bool {
	return a.d.Timeout > 0 && took >= fromMillis(a.d.Timeout)
}

// caught makes an error of what recover returned in an attempt that did not
// return: nil means that the goroutine is on its way out.
func caught(value any) error {
	if value == nil {
		return errors.New("the handler ended its goroutine (runtime.Goexit, or a test's FailNow)")
	}
	return &panicError{value, debug.Stack()}
}

// outcome is what to report of an attempt whose handler returned err; false =
// nothing, for nobody wants to know. An error whose own methods panic is a
// failure too.
func (a *Attempt) outcome(err error) (o task.Outcome, report bool) {
	defer func() {
		if v := recover(); v != nil {
			text := "the handler's error can't be read: " + (&panicError{v, debug.Stack()}).Error()
			o.Kind, o.Delay, o.Error, report = task.OutcomeFail, task.RetryAfterByBackoff, clip(text, task.ErrorTextMax), true
		}
	}()
	o = task.Outcome{Token: a.d.Token, Started: true, Log: a.logTail()}
	if took := time.Since(a.received) - a.waited; err == nil && a.overTime(took) {
		err = fmt.Errorf("the handler succeeded, but after %v: its timeout is %v", took.Round(time.Millisecond), fromMillis(a.d.Timeout))
	}
	if err == nil {
		if n := len(a.result); n > task.PayloadMax {
			err = Permanent(fmt.Errorf("result is %d bytes, the limit is %d: keep large data elsewhere and return its address", n, task.PayloadMax))
		} else {
			// Even when the lease is gone: if nobody else began the task, it is done.
			o.Kind, o.Result, o.ResultType = task.OutcomeComplete, a.result, a.resultType
			return o, !a.revokedAsCanceled()
		}
	}
	cause := a.endedBy()
	switch cause {
	case ErrCanceled:
		return o, false
	case ErrLeaseLost:
		o.Kind = task.OutcomeRelease
		return o, !a.revoked.Load()
	case ErrTimeout:
		if a.revoked.Load() {
			return o, false // the server has counted it
		}
	case ErrShutdown:
		o.Kind = task.OutcomeRelease
		return o, true
	}
	d, err := a.decide(err)
	switch d.kind {
	case decideSnooze:
		o.Kind, o.Delay = task.OutcomeRelease, min(millis(d.wait), task.DelayMax)
		return o, true
	case decideAfter:
		o.Delay = min(millis(d.wait), task.DelayMax)
	case decideStop:
		o.Permanent = true
	default:
		o.Delay = task.RetryAfterByBackoff
	}
	o.Kind = task.OutcomeFail
	text := err.Error()
	if cause == ErrTimeout && !strings.Contains(text, ErrTimeout.Error()) {
		text = ErrTimeout.Error() + ": " + text
	}
	o.Error = clip(text, task.ErrorTextMax)
	return o, true
}

func (a *Attempt) revokedAsCanceled() bool {
	return a.revoked.Load() && a.endedBy() == ErrCanceled
}

// decide asks the error itself, then the type's rules. A rule that panics adds
// to the error and decides nothing.
func (a *Attempt) decide(failed error) (d Decision, err error) {
	err = failed
	var de *decidedError
	if errors.As(err, &de) {
		return de.Decision, err
	}
	defer func() {
		if v := recover(); v != nil {
			d, err = Retry(), fmt.Errorf("%w (and a RetryOn rule: %w)", failed, &panicError{v, debug.Stack()})
		}
	}()
	for _, r := range a.h.rules {
		if d, ok := r(err); ok {
			return d, err
		}
	}
	return Retry(), err
}

// clip makes s valid UTF-8 of at most n bytes: a longer text keeps its head and
// its tail and says what is missing.
func clip(s string, n int) string {
	if !utf8.ValidString(s) {
		s = strings.ToValidUTF8(s, "�")
	}
	if len(s) <= n {
		return s
	}
	const note = "\n… %d bytes left out …\n"
	room := n - len(note) - 20
	if room < 64 {
		return strings.ToValidUTF8(s[:n], "")
	}
	head, tail := room*3/4, room/4
	return strings.ToValidUTF8(s[:head], "") + fmt.Sprintf(note, len(s)-head-tail) + strings.ToValidUTF8(s[len(s)-tail:], "")
}
