package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// parseLength reads a length of time as the HTTP interface does: 90s, 1h30m, 7d.
func parseLength(s string) (time.Duration, error) { return time.ParseDuration(inHours(s)) }

const daysMax = 100_000 // what is more is refused as it stands

// inHours writes the days at the beginning of a length of time as hours, which
// is what Go knows.
func inHours(s string) string {
	days, rest, ok := strings.Cut(s, "d")
	if n, err := strconv.ParseUint(days, 10, 32); ok && err == nil && n <= daysMax {
		return fmt.Sprintf("%dh%s", n*24, rest)
	}
	return s
}

// idleLength is a length of time of at least a day, or off.
type idleLength time.Duration

const idleOff = "off"

// Set implements pflag.Value.
func (l *idleLength) Set(s string) error {
	if s == idleOff {
		*l = 0
		return nil
	}
	d, err := parseLength(s)
	if err != nil {
		return fmt.Errorf("not a length of time: write 30d, 48h or off")
	}
	*l = idleLength(d)
	return nil
}

// String implements pflag.Value.
func (l *idleLength) String() string {
	d, day := time.Duration(*l), 24*time.Hour
	switch {
	case d == 0:
		return idleOff
	case d%day == 0:
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	return d.String()
}

// Type implements pflag.Value.
func (l *idleLength) Type() string { return "length" }

// setting is the length as the server's configuration has it, where 0 is the
// default.
func (l idleLength) setting() time.Duration {
	if l == 0 {
		return -1
	}
	return time.Duration(l)
}
