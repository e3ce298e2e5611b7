package brokertest

import (
	"bytes"
	"fmt"
	"unicode/utf8"

	"github.com/penstock-io/penstock/internal/task"
)

// Report is task.Broker's.
func (f *Fake) Report(b *task.OutcomeBatch) {
	f.mu.Lock()
	defer f.leave()
	f.enter()
	f.report(b)
}

func (f *Fake) report(b *task.OutcomeBatch) {
	b.Codes = make([]task.Code, len(b.Outcomes))
	b.Err = f.refusal()
	if b.Err == nil && len(b.Outcomes) > task.BatchMax {
		b.Err = task.Errorf(task.Invalid, "%d outcomes in one report, the limit is %d", len(b.Outcomes), task.BatchMax)
	}
	if b.Err == nil {
		for i := range b.Outcomes {
			b.Codes[i] = f.outcome(&b.Outcomes[i])
		}
		b.Err = f.loseAnswer()
	}
	f.call(func() { b.Done(b) })
}

func (f *Fake) outcome(o *task.Outcome) task.Code {
	if e := o.Check(); e != nil {
		return e.Code
	}
	r := f.recs[o.Token.Seq]
	switch {
	case r == nil:
		return task.NotFound
	case r.state.Final():
		if o.Token == r.finishing && o.Kind == r.told {
			return task.OK
		}
		return task.LeaseLost
	case o.Token != r.token:
		return task.LeaseLost
	case r.answered && o.Kind == r.told:
		return task.OK
	case r.answered: // what was acknowledged stands
		return task.LeaseLost
	}
	r.answered, r.told = true, o.Kind
	if len(o.Log) > 0 {
		r.log = bytes.Clone(o.Log)
	}
	switch o.Kind {
	case task.OutcomeComplete:
		f.endAttempt(r, task.AttemptSucceeded, "")
		r.finishing = o.Token
		r.result, r.resultType, r.errText = bytes.Clone(o.Result), o.ResultType, ""
		f.finish(r, task.Succeeded, "")
	case task.OutcomeFail:
		f.fail(r, task.AttemptFailed, o.Error, o.Delay, o.Permanent)
	default:
		f.release(r, o.Delay, o.Started)
	}
	return task.OK
}

// fail counts a failure and lets r wait for its next attempt, or gives it up.
func (f *Fake) fail(r *rec, how task.AttemptOutcome, text string, after task.Millis, permanent bool) {
	text = clip(text)
	r.counts.Failures++
	r.errText = text
	f.endAttempt(r, how, text)
	maxAttempts, _, _ := r.policy()
	switch {
	case permanent:
		r.finishing = r.token
		f.finish(r, task.Dead, "it failed for good")
	case int64(r.counts.Failures) >= int64(maxAttempts):
		r.finishing = r.token
		f.finish(r, task.Dead, fmt.Sprintf("it failed %d times, as often as it may", r.counts.Failures))
	case after == task.RetryAfterByBackoff:
		f.wait(r, f.now.Add(r.retryWait(r.counts.Failures)))
	default:
		f.wait(r, f.now.Add(after))
	}
}

// release hands r back without blame. One that was never started shows nothing.
func (f *Fake) release(r *rec, after task.Millis, started bool) {
	if r == nil {
		return
	}
	f.endAttempt(r, task.AttemptReleased, "")
	if started {
		r.counts.Releases++
	} else if n := len(r.attempts); n > 0 {
		r.attempts = r.attempts[:n-1]
	}
	f.wait(r, f.now.Add(after))
}

// crash ends a lease that was lost, to the blame of the task.
func (f *Fake) crash(r *rec, text string) {
	r.counts.Crashes++
	r.errText = text
	f.endAttempt(r, task.AttemptCrashed, text)
	if r.counts.Crashes >= task.CrashesMax {
		r.token = task.Token{}
		f.finish(r, task.Dead, fmt.Sprintf("quarantined: its lease was lost %d times", r.counts.Crashes))
		return
	}
	f.wait(r, f.now)
}

// revoke tells the worker of r that its lease has ended.
func (f *Fake) revoke(r *rec, why task.Code) {
	if s := r.holder; s != nil && s.attached {
		f.revokeToken(s, r.token, why)
	}
}

// clip keeps head and tail of an error text that is too long, and says so.
func clip(s string) string {
	if len(s) <= task.ErrorTextMax {
		return s
	}
	note := fmt.Sprintf("\n… %d bytes left out …\n", len(s)-task.ErrorTextMax)
	half := (task.ErrorTextMax - len(note) - 16) / 2
	head, tail := s[:half], s[len(s)-half:]
	for len(head) > 0 && !utf8.RuneStart(s[len(head)]) {
		head = head[:len(head)-1]
	}
	for len(tail) > 0 && !utf8.RuneStart(tail[0]) {
		tail = tail[1:]
	}
	return head + note + tail
}
