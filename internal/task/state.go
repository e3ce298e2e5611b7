package task

import "fmt"

// State is where a task is in its life. A retry is Scheduled or Ready with
// attempts above zero.
type State uint8

// The states.
const (
	StateUnknown State = iota
	Scheduled          // waits for its time
	Ready              // may be dispatched
	Blocked            // held by a rule (a paused queue is not a block of its tasks)
	Running            // leased
	Succeeded          // completed; has a result
	Dead               // gave up; waits in the dead letters until retried or purged
	Canceled           // ended by a user
	Expired            // its deadline or expiry passed before it was done
)

var stateNames = [...]string{"unknown", "scheduled", "ready", "blocked", "running", "succeeded", "dead", "canceled", "expired"}

// String is the state's name on the wire.
func (s State) String() string {
	if int(s) < len(stateNames) {
		return stateNames[s]
	}
	return fmt.Sprintf("state(%d)", uint8(s))
}

// ParseState is the inverse of State.String.
func ParseState(s string) (State, bool) {
	for i, n := range stateNames {
		if i > 0 && n == s {
			return State(i), true
		}
	}
	return StateUnknown, false
}

// Final says whether nothing more will happen by itself.
func (s State) Final() bool { return s >= Succeeded }
