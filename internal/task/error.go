package task

import (
	"errors"
	"fmt"
)

// Code says how a caller should react to a refusal. On the wire codes are only
// ever added at the end.
type Code uint8

// The seven codes.
const (
	OK          Code = iota
	Invalid          // the request is wrong; do not repeat it
	NotFound         // no such task, queue or session
	Conflict         // it contradicts what is there (another payload under the same idempotency key, wrong state)
	LeaseLost        // the lease is no longer yours; drop the outcome
	Exhausted        // a limit is reached; try later, or raise the limit it names
	Unavailable      // try again; Applied says whether it may have happened
	Internal         // a bug or a broken disk; the log has the cause
)

var codeNames = [...]string{"ok", "invalid", "not_found", "conflict", "lease_lost", "exhausted", "unavailable", "internal"}

// String is the code's name on the wire.
func (c Code) String() string {
	if int(c) < len(codeNames) {
		return codeNames[c]
	}
	return fmt.Sprintf("code(%d)", uint8(c))
}

// ParseCode is the inverse of Code.String.
func ParseCode(s string) (Code, bool) {
	for i, n := range codeNames {
		if n == s {
			return Code(i), true
		}
	}
	return Internal, false
}

// Applied says whether a request that failed with Unavailable took effect.
type Applied uint8

// Values of Applied.
const (
	AppliedNo      Applied = iota // certainly not
	AppliedUnknown                // perhaps: repeat it under the same number
)

// Error is a refusal: a code, a text that says what to do and is safe to show,
// and for Unavailable whether the request may have been applied.
type Error struct {
	Code    Code
	Text    string
	Applied Applied
}

// Error renders "code: text".
func (e *Error) Error() string { return e.Code.String() + ": " + e.Text }

// Is makes errors.Is(err, task.ErrNotFound) and its like compare codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code && t.Text == ""
}

// Sentinels to compare codes with errors.Is.
var (
	ErrInvalid     = &Error{Code: Invalid}
	ErrUnseen      = &Error{Code: NotFound, Text: "neither its number nor its idempotency key is known here"}
	ErrNotFound    = &Error{Code: NotFound}
	ErrConflict    = &Error{Code: Conflict}
	ErrLeaseLost   = &Error{Code: LeaseLost}
	ErrExhausted   = &Error{Code: Exhausted}
	ErrUnavailable = &Error{Code: Unavailable}
	ErrInternal    = &Error{Code: Internal}
)

// Errorf builds a refusal.
func Errorf(c Code, format string, args ...any) *Error {
	return &Error{Code: c, Text: fmt.Sprintf(format, args...)}
}

// CodeOf finds the code in err: OK for nil, Internal for a foreign error.
func CodeOf(err error) Code {
	if err == nil {
		return OK
	}
	var e *Error
	if errors.As(err, &e) {
		return e.Code
	}
	return Internal
}

// AsError turns any error into a refusal; nil stays nil.
func AsError(err error) *Error {
	if err == nil {
		return nil
	}
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Internal, Text: err.Error()}
}

// ErrReopening refuses what comes while a partition is not served for a moment.
var ErrReopening = Errorf(Unavailable, "the partition is being opened anew: try again")
