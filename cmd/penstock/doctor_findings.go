package main

import (
	"io"
	"strings"
	"unicode/utf8"
)

// finding is one thing that the doctor says.
type finding struct {
	Check    string   `json:"check"`
	Verdict  string   `json:"verdict"`
	File     string   `json:"file,omitempty"`
	Detail   string   `json:"detail,omitempty"`
	Means    string   `json:"means,omitempty"`    // for the user
	Do       string   `json:"do,omitempty"`       // the next step
	Commands []string `json:"commands,omitempty"` // that do it

	// Of a damaged file: what can't be read of it; left out if that is not known.
	LostBytes   *int64 `json:"lostBytes,omitempty"`
	LostRecords *int64 `json:"lostRecords,omitempty"`

	Queue *queueFound `json:"queue,omitempty"`
	Saved *savedCount `json:"saved,omitempty"`
}

// queueFound is what can be read of a queue in a data folder. Running tasks are
// among the waiting and the scheduled.
type queueFound struct {
	Name      string `json:"name"`
	Waiting   int64  `json:"waiting"`
	Scheduled int64  `json:"scheduled"`
	Running   int64  `json:"running"`
	Dead      int64  `json:"dead"`
	Finished  int64  `json:"finished"`
	Missing   int64  `json:"missing"`
}

// savedCount is what --save has written, and what not.
type savedCount struct {
	Tasks      int64 `json:"tasks"`
	Dead       int64 `json:"dead"`
	Expired    int64 `json:"expired"`    // not written
	Unreadable int64 `json:"unreadable"` // not written
}

var findingListing = listing[finding]{
	columns: []column[finding]{
		{head: "CHECK", cell: func(f finding) string { return f.Check }},
		{head: "VERDICT", cell: func(f finding) string { return f.Verdict }},
		{head: "DETAIL", cell: func(f finding) string {
			parts := make([]string, 0, 5)
			for _, s := range []string{f.File, f.Detail, f.Means, f.Do, strings.Join(f.Commands, "; ")} {
				if s != "" {
					parts = append(parts, s)
				}
			}
			return strings.Join(parts, ": ")
		}},
	},
	name:   func(f finding) string { return f.Check },
	object: func(f finding) any { return f },
}

// findings prints what the doctor says: on a terminal as paragraphs, because a
// table would cut the next step off.
type findings struct {
	*rows[finding]
	text  bool
	style style
	width int // of the widest check
	all   []finding
}

// newFindings prints to stdout, or to stderr when stdout is for the tasks.
func newFindings(a *app, stderr bool) *findings {
	f := &findings{rows: newRows(a, findingListing), style: a.style}
	f.text = a.format() == "table"
	if stderr {
		f.out, f.style = a.stderr, style{}
		if a.output == "" {
			f.text = true
		}
	}
	return f
}

func (f *findings) add(x finding) {
	if !f.text {
		f.rows.add(x)
		return
	}
	f.all = append(f.all, x)
	f.width = max(f.width, utf8.RuneCountInString(x.Check))
}

func (f *findings) close() error {
	if !f.text {
		return f.rows.close()
	}
	var b strings.Builder
	for i := range f.all {
		f.paragraph(&b, &f.all[i])
	}
	_, err := io.WriteString(f.out, b.String())
	return err
}

// paragraphWidth is where lines of text are broken; commands are not.
const paragraphWidth = 100

func (f *findings) paragraph(b *strings.Builder, x *finding) {
	paint := map[string]func(string) string{checkOK: f.style.green, checkWarn: f.style.bold, checkFail: f.style.red}[x.Verdict]
	indent := strings.Repeat(" ", 6+f.width+2)
	b.WriteString(paint(x.Verdict) + strings.Repeat(" ", 6-len(x.Verdict)))
	b.WriteString(x.Check + strings.Repeat(" ", f.width+2-utf8.RuneCountInString(x.Check)))
	first := true
	for i, s := range []string{x.File, x.Detail, x.Means, x.Do} {
		if s == "" {
			continue
		}
		if i == 3 && !first {
			s = "do: " + s
		}
		for _, line := range wrap(brief(s), max(40, paragraphWidth-len(indent))) {
			if !first {
				b.WriteString(indent)
			}
			b.WriteString(line + "\n")
			first = false
		}
	}
	if first {
		b.WriteString("\n")
	}
	for _, c := range x.Commands {
		b.WriteString(indent + "  " + c + "\n")
	}
}

// wrap breaks text at blanks into lines of at most n runes, if words let it.
func wrap(s string, n int) (lines []string) {
	line := ""
	for _, word := range strings.Fields(s) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > n:
			lines, line = append(lines, line), word
		default:
			line += " " + word
		}
	}
	if line != "" {
		lines = append(lines, line)
	}
	return lines
}
