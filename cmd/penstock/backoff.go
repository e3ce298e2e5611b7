package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// readBackoff reads exponential:1s:10m, linear:1s:1m, fixed:5s or 1s,10s,1m.
func readBackoff(s string) (kind task.BackoffKind, waits []time.Duration, err error) {
	word, rest, _ := strings.Cut(s, ":")
	sep, most := ":", 2
	switch word {
	case "exponential":
		kind = task.BackoffExponential
	case "linear":
		kind = task.BackoffLinear
	case "fixed":
		kind, most = task.BackoffFixed, 1
	default:
		kind, rest, sep, most = task.BackoffList, s, ",", task.BackoffListMax
	}
	least := 0
	if kind == task.BackoffFixed || kind == task.BackoffList {
		least = 1
	}
	wrong := fmt.Errorf("backoff %q: write exponential:1s:10m, linear:1s:1m, fixed:5s or 1s,10s,1m", s)
	for _, w := range strings.Split(rest, sep) {
		if rest == "" {
			break
		}
		d, err := parseLength(w)
		if err != nil || d < 0 || d > 0 && d < time.Millisecond {
			return kind, nil, wrong
		}
		if d == 0 && kind != task.BackoffList { // to the server, zero is the default
			return kind, nil, fmt.Errorf("backoff %q: a wait of 0s stands in a list only, such as 0s,10s", s)
		}
		waits = append(waits, d)
	}
	if len(waits) < least || len(waits) > most {
		return kind, nil, wrong
	}
	return kind, waits, nil
}

func at(waits []time.Duration, i int) time.Duration {
	if i < len(waits) {
		return waits[i]
	}
	return 0
}

func parseBackoff(s string) (penstock.Waits, error) {
	kind, waits, err := readBackoff(s)
	switch {
	case err != nil:
		return penstock.Waits{}, err
	case kind == task.BackoffExponential:
		return penstock.Exponential(at(waits, 0), at(waits, 1)), nil
	case kind == task.BackoffLinear:
		return penstock.Linear(at(waits, 0), at(waits, 1)), nil
	case kind == task.BackoffFixed:
		return penstock.Fixed(at(waits, 0)), nil
	}
	return penstock.Steps(waits...), nil
}

func queueBackoff(s string) (*task.Backoff, error) {
	kind, waits, err := readBackoff(s)
	if err != nil {
		return nil, err
	}
	millis := func(d time.Duration) task.Millis { return task.Millis(d.Milliseconds()) }
	b := &task.Backoff{Kind: kind, Base: millis(at(waits, 0)), Max: millis(at(waits, 1))}
	if kind == task.BackoffList {
		b.Base, b.Max = 0, 0
		for _, w := range waits {
			b.List = append(b.List, millis(w))
		}
	}
	return b, nil
}
