package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/penstock-io/penstock/internal/task"
)

// Exit statuses, the same for every command.
const (
	exitOK       = 0
	exitError    = 1
	exitUsage    = 2
	exitFailed   = 3 // the task failed
	exitTimedOut = 4
)

// statusError carries a status of its own. Without err it exits in silence:
// what there was to say has been said.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit status %d", e.status)
	}
	return e.err.Error()
}

func (e *statusError) Unwrap() error { return e.err }

func usagef(format string, args ...any) error {
	return &statusError{exitUsage, fmt.Errorf(format, args...)}
}

// exit says what went wrong, once, and picks the status.
func (a *app) exit(err error) int {
	if err == nil {
		return exitOK
	}
	var e *statusError
	if !errors.As(err, &e) {
		e = &statusError{statusOf(err), err}
	}
	if e.err != nil {
		a.say("penstock: %s", a.explain(e.err))
		if e.status == exitUsage && a.running != "" {
			a.say("See '%s --help'.", a.running)
		}
	}
	return e.status
}

func statusOf(err error) int {
	if errors.Is(err, context.DeadlineExceeded) {
		return exitTimedOut
	}
	return exitError
}

// explain is the text for people: a refusal without its code, and a next step
// where the cause is one that everybody meets.
func (a *app) explain(err error) string {
	text := err.Error()
	var refusal *task.Error
	if errors.As(err, &refusal) {
		text = strings.Replace(text, refusal.Error(), refusal.Text, 1)
	}
	for _, cause := range []string{"connection refused", "no such host", "no route to host"} {
		if strings.Contains(strings.ToLower(text), cause) && !strings.Contains(text, "PENSTOCK_URL") {
			return text + fmt.Sprintf("\n  No server answers at %s: start one with \"penstock dev\", or set PENSTOCK_URL or --url.", a.url)
		}
	}
	return text
}
