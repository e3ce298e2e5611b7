package task_test

import (
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/task"
)

// TestPolicyCheck has what a policy's parts would leave unused, or turn into
// something else, refused.
func TestPolicyCheck(t *testing.T) {
	f := func(p task.Policy, want string) {
		t.Helper()
		e := p.Check()
		if want == "" && e != nil || want != "" && (e == nil || e.Code != task.Invalid || !strings.Contains(e.Text, want)) {
			t.Errorf("%+v, backoff %+v: got %v, want %q", p, p.Backoff, e, want)
		}
	}
	b := func(b task.Backoff, want string) {
		t.Helper()
		f(task.Policy{Backoff: &b}, want)
	}
	f(task.Policy{}, "")
	f(task.Policy{Timeout: task.AttemptTimeoutNone, MaxAttempts: task.MaxAttemptsNoLimit}, "")
	f(task.Policy{Timeout: task.DelayMax + 1}, "timeout of 315360000001 ms is over the limit")
	f(task.Policy{Timeout: -2}, "negative")
	f(task.Policy{MaxAttempts: -1}, "negative")
	b(task.Backoff{}, "")
	b(task.Backoff{Base: task.Second, Max: task.Second}, "")
	b(task.Backoff{Kind: task.BackoffLinear, Base: 5, Max: 50}, "")
	b(task.Backoff{Kind: task.BackoffFixed}, "")
	b(task.Backoff{Kind: task.BackoffFixed, Base: task.DelayMax}, "")
	b(task.Backoff{Kind: task.BackoffList, List: []task.Millis{0, task.DelayMax}}, "")
	b(task.Backoff{Kind: 4}, "unknown kind")
	b(task.Backoff{Base: -1}, "negative")
	b(task.Backoff{Max: -1}, "negative")
	b(task.Backoff{Base: 2, Max: 1}, "base of 2 ms is over its max of 1 ms")
	b(task.Backoff{Kind: task.BackoffLinear, Base: 2, Max: 1}, "over its max")
	b(task.Backoff{Base: task.DefaultBackoffMax + 1}, "over its max of 600000 ms")
	b(task.Backoff{Max: task.DefaultBackoffBase - 1}, "base of 1000 ms is over its max of 999 ms")
	b(task.Backoff{Base: 1, Max: task.DelayMax + 1}, "over the limit of ten years")
	b(task.Backoff{Kind: task.BackoffFixed, Base: task.DelayMax + 1}, "over the limit of ten years")
	b(task.Backoff{List: []task.Millis{1}}, "its kind is not list")
	b(task.Backoff{Kind: task.BackoffFixed, Base: 1, List: []task.Millis{1}}, "its kind is not list")
	b(task.Backoff{Kind: task.BackoffFixed, Base: 1, Max: 2}, "fixed backoff has a max of 2 ms")
	b(task.Backoff{Kind: task.BackoffList}, "at least one entry")
	b(task.Backoff{Kind: task.BackoffList, List: make([]task.Millis, task.BackoffListMax+1)}, "33 entries")
	b(task.Backoff{Kind: task.BackoffList, Base: 1, List: []task.Millis{1}}, "a base or a max")
	b(task.Backoff{Kind: task.BackoffList, Max: 1, List: []task.Millis{1}}, "a base or a max")
	b(task.Backoff{Kind: task.BackoffList, List: []task.Millis{-1}}, "out of range")
	b(task.Backoff{Kind: task.BackoffList, List: []task.Millis{task.DelayMax + 1}}, "out of range")
}

func TestSpecTimes(t *testing.T) {
	f := func(s task.Spec, want string) {
		t.Helper()
		s.Type = "t"
		e := s.Check()
		if want == "" && e != nil || want != "" && (e == nil || !strings.Contains(e.Text, want)) {
			t.Errorf("%+v: got %v, want %q", s, e, want)
		}
	}
	const far = 1 << 47
	f(task.Spec{RunAt: far, Deadline: far, ExpireAfter: task.DelayMax, Idempotency: "k", IdempotencyFor: task.DelayMax}, "")
	f(task.Spec{Delay: task.DelayMax + 1}, "delay of 315360000001 ms is over")
	f(task.Spec{RunAt: far + 1}, "run-at 140737488355329 lies too far")
	f(task.Spec{Deadline: far + 1}, "deadline 140737488355329 lies too far")
	f(task.Spec{RunAt: -1}, "run-at -1 lies before 1970")
	f(task.Spec{Deadline: -1}, "deadline -1 lies before 1970")
	f(task.Spec{ExpireAfter: task.DelayMax + 1}, "expire-after of 315360000001 ms is over")
	f(task.Spec{Idempotency: "k", IdempotencyFor: task.DelayMax + 1}, "idempotency window of 315360000001 ms is over")
}
