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
