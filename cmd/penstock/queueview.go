package main

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/penstock-io/penstock/internal/task"
)

// queueView is a queue as -o json shows it: under the names of the HTTP
// interface, and with each setting as it holds, defaults included.
type queueView struct {
	Queue         string         `json:"queue"`
	Config        configView     `json:"config"`
	Paused        bool           `json:"paused"`
	Scheduled     int64          `json:"scheduled"`
	Ready         int64          `json:"ready"`
	Blocked       int64          `json:"blocked"`
	Running       int64          `json:"running"`
	Dead          int64          `json:"dead"`
	DeadBytes     int64          `json:"deadBytes"`
	Enqueued      int64          `json:"enqueued"`
	Succeeded     int64          `json:"succeeded"`
	Canceled      int64          `json:"canceled"`
	Expired       int64          `json:"expired"`
	OldestReadyAt time.Time      `json:"oldestReadyAt,omitzero"`
	Workers       int            `json:"workers"`
	Unserved      []unservedView `json:"unserved,omitempty"`
	HistoryFrom   time.Time      `json:"historyFrom,omitzero"`

	config task.QueueConfig
}

type configView struct {
	MaxAttempts int32       `json:"maxAttempts"`
	Timeout     string      `json:"timeout"`
	Backoff     backoffView `json:"backoff"`
	Retention   string      `json:"retention"`
	History     string      `json:"history"`
	Unserved    string      `json:"unserved"`
	Claims      string      `json:"claims"`
	Width       int         `json:"width"`
}

type backoffView struct {
	Kind string   `json:"kind"`
	Base string   `json:"base,omitempty"`
	Max  string   `json:"max,omitempty"`
	List []string `json:"list,omitempty"`
}

type unservedView struct {
	Type     string    `json:"type"`
	OldestAt time.Time `json:"oldestAt,omitzero"`
}

var (
	historyNames = []string{"all", "failures", "none"}
	claimsNames  = []string{"deferred", "durable"}
	backoffNames = []string{"exponential", "linear", "fixed", "list"}
)

func queueViewOf(q *task.QueueInfo) queueView {
	v := queueView{
		Queue: q.Name, Config: configViewOf(&q.Config), Paused: q.Paused, Ready: q.Ready, Scheduled: q.Scheduled, Blocked: q.Blocked,
		Running: q.Running, Dead: q.Dead, DeadBytes: q.DeadBytes, Enqueued: q.Enqueued, Succeeded: q.Succeeded, Canceled: q.Canceled,
		Expired: q.Expired, OldestReadyAt: timeOf(q.OldestReady), Workers: q.Workers, HistoryFrom: timeOf(q.HistoryFrom), config: q.Config,
	}
	for _, u := range q.Unserved {
		v.Unserved = append(v.Unserved, unservedView{u.Type, timeOf(u.Oldest)})
	}
	return v
}

func configViewOf(c *task.QueueConfig) configView {
	return configView{
		MaxAttempts: orDefault(c.MaxAttempts, task.DefaultMaxAttempts), Timeout: secondsText(orDefault(c.Timeout, task.DefaultTimeout)),
		Backoff: backoffViewOf(c.Backoff), Retention: secondsText(orDefault(c.Retention, task.DefaultRetention)),
		History: nameOf(historyNames, int(c.History)), Unserved: secondsText(orDefault(c.Unserved, task.DefaultUnserved)),
		Claims: nameOf(claimsNames, int(c.Claims)), Width: max(c.Width, 1),
	}
}

func backoffViewOf(b *task.Backoff) backoffView {
	if b == nil {
		b = &task.Backoff{}
	}
	v := backoffView{Kind: nameOf(backoffNames, int(b.Kind))}
	switch b.Kind {
	case task.BackoffList:
		for _, m := range b.List {
			v.List = append(v.List, secondsText(m))
		}
		return v
	case task.BackoffExponential, task.BackoffLinear:
		v.Max = secondsText(orDefault(b.Max, task.DefaultBackoffMax))
	}
	v.Base = secondsText(orDefault(b.Base, task.DefaultBackoffBase))
	return v
}

// secondsText writes a length of time as the HTTP interface does: 1500 is 1.5s.
func secondsText(m task.Millis) string {
	if m == task.AttemptTimeoutNone {
		return "none"
	}
	return strconv.FormatFloat(float64(m)/1000, 'f', -1, 64) + "s"
}

func orDefault[T comparable](x, standard T) T {
	var zero T
	if x == zero {
		return standard
	}
	return x
}

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return fmt.Sprint(i)
}

func timeOf(t task.Time) time.Time {
	if t == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(t)).UTC()
}

func lengthText(m task.Millis) string { return shortLength(time.Duration(m) * time.Millisecond) }

// shortLength writes 1h0m0s as 1h.
func shortLength(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

func timeoutText(m task.Millis) string {
	if m == task.AttemptTimeoutNone {
		return "none"
	}
	return lengthText(orDefault(m, task.DefaultTimeout))
}

func backoffText(b *task.Backoff) string {
	if b == nil {
		b = &task.Backoff{}
	}
	base, limit := lengthText(orDefault(b.Base, task.DefaultBackoffBase)), lengthText(orDefault(b.Max, task.DefaultBackoffMax))
	switch b.Kind {
	case task.BackoffExponential:
		return "exponential:" + base + ":" + limit
	case task.BackoffLinear:
		return "linear:" + base + ":" + limit
	case task.BackoffFixed:
		return "fixed:" + base
	}
	words := make([]string, len(b.List))
	for i, m := range b.List {
		words[i] = lengthText(m)
	}
	return strings.Join(words, ",")
}

func (a *app) queueListing() listing[queueView] {
	now := time.Now()
	count := func(head string, of func(queueView) int64) column[queueView] {
		return column[queueView]{head: head, right: true, cell: func(v queueView) string { return a.count(of(v)) }}
	}
	wide := func(c column[queueView]) column[queueView] { c.wide = true; return c }
	text := func(head string, of func(queueView) string) column[queueView] {
		return column[queueView]{head: head, cell: of}
	}
	return listing[queueView]{
		columns: []column[queueView]{
			text("QUEUE", func(v queueView) string { return v.Queue }),
			count("READY", func(v queueView) int64 { return v.Ready }),
			count("SCHEDULED", func(v queueView) int64 { return v.Scheduled }),
			count("RUNNING", func(v queueView) int64 { return v.Running }),
			count("DEAD", func(v queueView) int64 { return v.Dead }),
			count("SUCCEEDED", func(v queueView) int64 { return v.Succeeded }),
			{head: "OLDEST", right: true, cell: func(v queueView) string { return a.moment(v.OldestReadyAt, now) }},
			count("WORKERS", func(v queueView) int64 { return int64(v.Workers) }),
			text("NOTE", func(v queueView) string { return v.note() }),
			wide(count("BLOCKED", func(v queueView) int64 { return v.Blocked })),
			wide(count("ENQUEUED", func(v queueView) int64 { return v.Enqueued })),
			wide(count("CANCELED", func(v queueView) int64 { return v.Canceled })),
			wide(count("EXPIRED", func(v queueView) int64 { return v.Expired })),
			wide(column[queueView]{head: "HISTORY", right: true, cell: func(v queueView) string { return a.moment(v.HistoryFrom, now) }}),
			wide(text("KEEPS", func(v queueView) string {
				return v.Config.History + " " + lengthText(orDefault(v.config.Retention, task.DefaultRetention))
			})),
			wide(text("TRIES", func(v queueView) string {
				return fmt.Sprintf("%d %s", v.Config.MaxAttempts, backoffText(v.config.Backoff))
			})),
			wide(text("TIMEOUT", func(v queueView) string { return timeoutText(v.config.Timeout) })),
			wide(count("WIDTH", func(v queueView) int64 { return int64(v.Config.Width) })),
		},
		name:   func(v queueView) string { return v.Queue },
		object: func(v queueView) any { return v },
	}
}

func (v *queueView) note() string {
	const typesMax = 3
	var types []string
	for _, u := range v.Unserved[:min(len(v.Unserved), typesMax)] {
		types = append(types, u.Type)
	}
	switch {
	case v.Paused:
		return "paused"
	case len(v.Unserved) > typesMax:
		return fmt.Sprintf("no worker serves %d types: %s …", len(v.Unserved), strings.Join(types, ", "))
	case len(v.Unserved) > 0:
		return "no worker serves " + strings.Join(types, ", ")
	case v.Workers == 0 && v.Ready > 0:
		return "no workers"
	}
	return ""
}

// count is a number, with separators in a table.
func (a *app) count(n int64) string {
	if a.tabular() {
		return thousands(n)
	}
	return fmt.Sprint(n)
}
