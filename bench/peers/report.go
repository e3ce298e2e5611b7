package main

import (
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
)

// print writes the table. A ratio is the peer's rate in Penstock's, and the
// other way round for times: below 1 is always worse than Penstock.
func print(w io.Writer, format string, results []result) error {
	if format == "json" {
		enc := json.NewEncoder(w)
		for _, r := range results {
			if err := enc.Encode(r); err != nil {
				return err
			}
		}
		return nil
	}
	head := []string{"", "durable", "steady/s", "drain/s", "bulk enqueue/s", "light p50 ms", "light p99 ms"}
	var lines [][]string
	var notes []string
	own := results[0]
	for _, r := range results {
		if r.Skipped != "" {
			notes = append(notes, r.Peer+": skipped, "+r.Skipped)
			continue
		}
		lines = append(lines, r.cells(own))
		note := r.Peer + ": " + r.Durability
		if r.Tuning != "" {
			note += "; tuned: " + r.Tuning
		}
		notes = append(notes, note)
	}
	if format == "markdown" {
		return markdown(w, head, lines, notes)
	}
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(head, "\t"))
	for _, l := range lines {
		fmt.Fprintln(tw, strings.Join(l, "\t"))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	for _, n := range notes {
		fmt.Fprintln(w, n)
	}
	return nil
}

func markdown(w io.Writer, head []string, lines [][]string, notes []string) error {
	fmt.Fprintf(w, "| %s |\n|%s\n", strings.Join(head, " | "), strings.Repeat("---|", len(head)))
	for _, l := range lines {
		fmt.Fprintf(w, "| %s |\n", strings.Join(l, " | "))
	}
	fmt.Fprintln(w)
	for _, n := range notes {
		if _, err := fmt.Fprintln(w, "- "+n); err != nil {
			return err
		}
	}
	return nil
}

func (r result) cells(own result) []string {
	durable := "no"
	if r.Durable {
		durable = "yes"
	}
	bulk := rate(r.Bulk, own.Bulk)
	if r.BulkLone {
		bulk += " single calls"
	}
	return []string{r.Peer, durable, rate(r.Steady, own.Steady), rate(r.Drain, own.Drain), bulk,
		latency(r.LightP50, own.LightP50), latency(r.LightP99, own.LightP99)}
}

func rate(v, own float64) string {
	if v == 0 {
		return "·"
	}
	return thousands(v) + ratio(v, own)
}

func latency(v, own float64) string {
	if v == 0 {
		return "·"
	}
	return strconv.FormatFloat(v, 'f', 2, 64) + ratio(own, v)
}

func ratio(a, b float64) string {
	if a == 0 || b == 0 || a == b {
		return ""
	}
	return fmt.Sprintf(" (×%.2g)", a/b)
}

// thousands rounds to three digits and groups them.
func thousands(v float64) string {
	digits := 1.0
	for v/digits >= 1000 {
		digits *= 10
	}
	s := strconv.FormatInt(int64(v/digits+0.5)*int64(digits), 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
