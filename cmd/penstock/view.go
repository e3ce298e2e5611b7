package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/penstock-io/penstock"
)

// taskView is a task as -o json shows it, under the names of the HTTP interface
// and with text as text.
type taskView struct {
	penstock.Info
	Payload       json.RawMessage `json:"payload,omitempty"`
	PayloadText   string          `json:"payloadText,omitempty"`
	PayloadBase64 []byte          `json:"payloadBase64,omitempty"`
	PayloadKept   bool            `json:"payloadKept"` // false once the task is finished
	Result        json.RawMessage `json:"result,omitempty"`
	ResultText    string          `json:"resultText,omitempty"`
	ResultBase64  []byte          `json:"resultBase64,omitempty"`
	Log           string          `json:"log,omitempty"`
}

func viewOf(in penstock.Info) taskView {
	for _, t := range []*time.Time{&in.EnqueuedAt, &in.ReadyAt, &in.StartedAt, &in.FinishedAt, &in.ExpiresAt, &in.Deadline} {
		*t = t.UTC()
	}
	in.Attempts = slices.Clone(in.Attempts)
	for i := range in.Attempts {
		at := &in.Attempts[i]
		at.StartedAt, at.EndedAt = at.StartedAt.UTC(), at.EndedAt.UTC()
	}
	v := taskView{Info: in, PayloadKept: !in.State.Final() || in.State == penstock.Dead, Log: strings.ToValidUTF8(string(in.Log), "\uFFFD")}
	v.Payload, v.PayloadText, v.PayloadBase64 = contentView(in.Payload, in.ContentType)
	v.Result, v.ResultText, v.ResultBase64 = contentView(in.Result, in.ResultType)
	return v
}

// contentView shows bytes as what they are: JSON as JSON, with each digit of a
// long number; text as text; anything else in base64.
func contentView(b []byte, contentType string) (asJSON json.RawMessage, text string, raw []byte) {
	switch {
	case len(b) == 0:
		return nil, "", nil
	case isJSON(contentType) && utf8.Valid(b) && json.Valid(b):
		return b, "", nil
	case utf8.Valid(b):
		return nil, string(b), nil
	}
	return nil, "", b
}

func isJSON(contentType string) bool {
	return contentType == "" || contentType == "application/json" || strings.HasSuffix(contentType, "+json")
}

// contentLine shows bytes on one line. JSON loses its line breaks, text has
// them escaped.
func contentLine(b []byte, contentType string) string {
	if isJSON(contentType) {
		var line bytes.Buffer
		if json.Compact(&line, b) == nil {
			return line.String()
		}
	}
	s := strings.TrimSuffix(strings.TrimSuffix(string(b), "\n"), "\r")
	if strings.ContainsAny(s, "\r\n") {
		s = strings.NewReplacer("\r", `\r`, "\n", `\n`).Replace(s)
	}
	return s
}

func (a *app) taskListing() listing[taskView] {
	now := time.Now()
	return listing[taskView]{
		columns: []column[taskView]{
			{head: "ID", cell: func(v taskView) string { return v.ID.String() }},
			{head: "STATE", cell: func(v taskView) string { return v.State.String() }},
			{head: "QUEUE", cell: func(v taskView) string { return v.Queue }},
			{head: "TYPE", cell: func(v taskView) string { return v.Type }},
			{head: "TRIES", right: true, cell: func(v taskView) string { return triesOf(v.Info) }},
			{head: "AGE", right: true, cell: func(v taskView) string { return a.moment(v.EnqueuedAt, now) }},
			{head: "NOTE", cell: func(v taskView) string { return noteOf(v.Info) }},
			{head: "PRIORITY", wide: true, right: true, cell: func(v taskView) string { return fmt.Sprint(v.Priority) }},
			{head: "KEY", wide: true, cell: func(v taskView) string { return v.Key }},
			{head: "TAGS", wide: true, cell: func(v taskView) string { return strings.Join(v.Tags, ",") }},
			{head: "WORKER", wide: true, cell: func(v taskView) string { return v.Worker }},
			{head: "PAYLOAD", wide: true, cell: func(v taskView) string { return contentLine(v.Info.Payload, v.ContentType) }},
			{head: "RESULT", wide: true, cell: func(v taskView) string { return contentLine(v.Info.Result, v.ResultType) }},
		},
		name:   func(v taskView) string { return v.ID.String() },
		object: func(v taskView) any { return v },
	}
}

// moment is an age in a table, whose heads say so, and a moment in tab-separated
// values, which will be read later.
func (a *app) moment(t, now time.Time) string {
	switch {
	case t.IsZero():
		return ""
	case a.tabular():
		return ago(now.Sub(t))
	}
	return t.UTC().Format("2006-01-02T15:04:05.000Z")
}

// ago is a length of time in two figures or so. A clock that is behind the
// server's must not show a negative age.
func ago(d time.Duration) string {
	switch {
	case d < time.Second:
		return "0s"
	case d < 2*time.Minute:
		return fmt.Sprintf("%ds", d/time.Second)
	case d < 2*time.Hour:
		return fmt.Sprintf("%dm", d/time.Minute)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh", d/time.Hour)
	}
	return fmt.Sprintf("%dd", d/(24*time.Hour))
}

// triesOf is the attempts that were somebody's fault, and the one that is on or
// went well.
func triesOf(in penstock.Info) string {
	n := in.Failures + in.Crashes
	if in.State == penstock.Running || in.State == penstock.Succeeded {
		n++
	}
	if in.MaxAttempts == 0 { // of finished tasks it may not be known
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d/%d", n, in.MaxAttempts)
}

// noteOf is the one thing to know about a task in its state.
func noteOf(in penstock.Info) string {
	switch {
	case in.State == penstock.Succeeded:
		return contentLine(in.Result, in.ResultType)
	case in.State == penstock.Running && in.Progress.Total > 0:
		return strings.TrimSpace(fmt.Sprintf("%d of %d %s", in.Progress.Done, in.Progress.Total, in.Progress.Text))
	case in.State == penstock.Running:
		return in.Progress.Text
	case in.Reason != "" && in.Error != "" && !strings.HasSuffix(in.Reason, in.Error):
		return in.Reason + ": " + in.Error
	case in.Reason != "":
		return in.Reason
	}
	return in.Error
}

// details is a task for a terminal: a line a fact, and what is long below.
func (a *app) details(in penstock.Info) string {
	var b strings.Builder
	now := time.Now()
	fact := func(name, value string) {
		if value != "" {
			fmt.Fprintf(&b, "%s %s\n", a.style.dim(fmt.Sprintf("%-12s", name)), value)
		}
	}
	when := func(name string, t time.Time) {
		if t.IsZero() {
			return
		}
		word := ago(now.Sub(t)) + " ago"
		if t.After(now) {
			word = "in " + ago(t.Sub(now))
		}
		fact(name, t.Local().Format("2006-01-02 15:04:05.000 ")+a.style.dim("("+word+")"))
	}
	fact("id", in.ID.String())
	fact("state", a.paintState(in.State))
	fact("why", harmless(in.Reason))
	fact("queue", harmless(in.Queue))
	fact("type", harmless(in.Type))
	fact("key", harmless(in.Key))
	fact("priority", fmt.Sprint(in.Priority))
	fact("tries", triesText(in))
	fact("tags", harmless(strings.Join(in.Tags, ", ")))
	when("enqueued", in.EnqueuedAt)
	when("ready", in.ReadyAt)
	when("started", in.StartedAt)
	when("finished", in.FinishedAt)
	when("expires", in.ExpiresAt)
	when("deadline", in.Deadline)
	fact("worker", harmless(in.Worker))
	if in.Progress.Total != 0 || in.Progress.Text != "" {
		fact("progress", harmless(strings.TrimSpace(fmt.Sprintf("%d of %d %s", in.Progress.Done, in.Progress.Total, in.Progress.Text))))
	}
	fact("payload", harmless(contentLine(in.Payload, in.ContentType)))
	fact("result", harmless(contentLine(in.Result, in.ResultType)))
	fact("error", harmless(strings.TrimSpace(in.Error)))
	for _, at := range in.Attempts {
		took := ""
		if !at.StartedAt.IsZero() && !at.EndedAt.IsZero() {
			took = " in " + at.EndedAt.Sub(at.StartedAt).Round(time.Millisecond).String()
		}
		fact(fmt.Sprintf("attempt %d", at.Number), strings.TrimSpace(at.Outcome+took+" "+a.style.dim(oneLine(at.Worker))+" "+oneLine(at.Error)))
	}
	if len(in.Log) > 0 {
		fact("log", "\n"+harmless(strings.TrimRight(string(in.Log), "\n")))
	}
	return b.String()
}

func triesText(in penstock.Info) string {
	s := fmt.Sprintf("%s, %s, %d handed back", plural(int64(in.Failures), "failure", "failures"), plural(int64(in.Crashes), "crash", "crashes"), in.Releases)
	switch in.MaxAttempts {
	case 0: // of finished tasks it may not be known
		return s
	case penstock.Unlimited:
		return s + "; tried without limit"
	}
	return s + "; dead after " + plural(int64(in.MaxAttempts), "failure", "failures")
}

func (a *app) paintState(s penstock.State) string {
	switch s {
	case penstock.Succeeded:
		return a.style.green(s.String())
	case penstock.Dead, penstock.Expired:
		return a.style.red(s.String())
	}
	return a.style.bold(s.String())
}
