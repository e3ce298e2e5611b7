package penstocktest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

const shownMax = 5 // other tasks that a failed RequireEnqueued describes

// RequireEnqueued ends the test unless a task is in its queue, in whatever
// state, just as def.Enqueue(ctx, client, want, opts...) would have put it
// there: payload, queue, priority, key, tags, headers, attempts and times. The
// task is returned. One that has succeeded, was canceled or expired has lost its
// payload and is not found.
func RequireEnqueued[In, Out any](t testing.TB, s *Server, def *penstock.Definition[In, Out], want In, opts ...penstock.Option) *penstock.Task[Out] {
	t.Helper()
	queue, spec, err := def.Spec(want, opts...)
	if err != nil {
		t.Fatalf("penstocktest: %v", err)
	}
	var others []string
	f := penstock.Filter{Type: def.Type()}
	for {
		p, err := s.Client().List(context.Background(), f)
		if err != nil {
			t.Fatalf("penstocktest: list tasks: %v", err)
		}
		for i := range p.Tasks {
			diff := differences(&p.Tasks[i], queue, &spec)
			if len(diff) == 0 {
				return def.Task(s.Client(), p.Tasks[i].ID)
			}
			others = append(others, fmt.Sprintf("  %s: %s", p.Tasks[i].ID, strings.Join(diff, "; ")))
		}
		if p.Next == "" {
			break
		}
		f.Cursor = p.Next
	}
	t.Fatalf("penstocktest: no task of type %q with payload %s is enqueued%s", def.Type(), spec.Payload, describe(others))
	return nil
}

func describe(others []string) string {
	if len(others) == 0 {
		return ", and no other of that type"
	}
	more := ""
	if n := len(others) - shownMax; n > 0 {
		others, more = others[:shownMax], fmt.Sprintf("\n  and %d more", n)
	}
	return "; there are:\n" + strings.Join(others, "\n") + more
}

// differences says how a task differs from the one wanted.
func differences(in *penstock.Info, queue string, s *task.Spec) []string {
	var diff []string
	note := func(what string, got, want any) {
		diff = append(diff, fmt.Sprintf("%s %v, not %v", what, got, want))
	}
	if !bytes.Equal(in.Payload, s.Payload) {
		note("payload", string(in.Payload), string(s.Payload))
	}
	if in.Queue != queue {
		note("queue", in.Queue, queue)
	}
	if in.Priority != int(s.Priority) {
		note("priority", in.Priority, s.Priority)
	}
	if in.Key != s.Key {
		note("key", in.Key, s.Key)
	}
	if !slices.Equal(in.Tags, s.Tags) {
		note("tags", in.Tags, s.Tags)
	}
	headers := map[string]string{}
	for _, h := range s.Headers {
		headers[h.Name] = h.Value
	}
	if !maps.Equal(in.Headers, headers) {
		note("headers", in.Headers, headers)
	}
	if s.Policy != nil && s.Policy.MaxAttempts != 0 && in.MaxAttempts != int(s.Policy.MaxAttempts) {
		note("max attempts", in.MaxAttempts, s.Policy.MaxAttempts)
	}
	return timeDifferences(in, s, diff)
}

// timeDifferences looks at when a task may run, as long as nothing has happened
// to it.
func timeDifferences(in *penstock.Info, s *task.Spec, diff []string) []string {
	at := func(t task.Time) time.Time {
		if t == 0 {
			return time.Time{}
		}
		return time.UnixMilli(int64(t))
	}
	if !in.Deadline.Equal(at(s.Deadline)) {
		diff = append(diff, fmt.Sprintf("deadline %v, not %v", in.Deadline, at(s.Deadline)))
	}
	if in.Failures+in.Crashes+in.Releases > 0 || in.State != penstock.Scheduled && in.State != penstock.Ready {
		return diff
	}
	ready := in.EnqueuedAt.Add(time.Duration(s.Delay) * time.Millisecond)
	if s.RunAt != 0 && at(s.RunAt).After(ready) {
		ready = at(s.RunAt)
	}
	if in.State == penstock.Scheduled && !in.ReadyAt.Equal(ready) || in.State == penstock.Ready && ready.After(in.ReadyAt) {
		diff = append(diff, fmt.Sprintf("ready at %v, not %v", in.ReadyAt, ready))
	}
	if in.ExpiresAt.IsZero() != (s.ExpireAfter == 0) {
		diff = append(diff, fmt.Sprintf("expires at %v, though it should after %d ms (0 = never)", in.ExpiresAt, s.ExpireAfter))
	}
	return diff
}
