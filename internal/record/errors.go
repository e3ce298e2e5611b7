package record

import (
	"errors"
	"fmt"
)

// The ways in which bytes can be unreadable.
var (
	// ErrNewer: a later version of Penstock wrote it.
	ErrNewer = errors.New("written by a newer Penstock: open it with that version or a later one")
	// ErrOlder: a version of Penstock from before its first release wrote it.
	ErrOlder = errors.New("written by an earlier Penstock that was never released: this one can't read it, so start with an empty data folder")
	// ErrCorrupt: no version of Penstock writes such bytes.
	ErrCorrupt = errors.New("not readable: run penstock doctor")
)

// Error says which record can't be read and why. It wraps ErrNewer,
// ErrOlder or ErrCorrupt.
type Error struct {
	Class Class
	Key   bool   // it is the key that is wrong, not the value
	Why   string // "" when the kind says it all
	Kind  error
}

// Error names the record, the fault and the next step.
func (e *Error) Error() string {
	part := "record"
	if e.Key {
		part = "key"
	}
	if e.Why == "" {
		return fmt.Sprintf("%s %s is %v", e.Class, part, e.Kind)
	}
	return fmt.Sprintf("%s %s: %s: %v", e.Class, part, e.Why, e.Kind)
}

// Unwrap makes errors.Is(err, ErrNewer) and its like work.
func (e *Error) Unwrap() error { return e.Kind }

func badKey(c Class, key []byte) error {
	return &Error{Class: c, Key: true, Why: fmt.Sprintf("%x", key), Kind: ErrCorrupt}
}
