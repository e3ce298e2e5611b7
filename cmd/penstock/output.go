package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"
)

// formats are the values of -o. Without -o a terminal gets a table and
// everything else gets tab-separated values.
var formats = []string{"table", "tsv", "wide", "json", "jsonl", "yaml", "name"}

// column is one column of a listing of T.
type column[T any] struct {
	head  string
	wide  bool // only with -o wide
	right bool // numbers
	cell  func(T) string
}

// listing says how a T is shown in every format.
type listing[T any] struct {
	columns []column[T]
	name    func(T) string // -o name
	object  func(T) any    // -o json, jsonl, yaml
}

// rows prints a listing as it comes: all formats but the table are streamed.
type rows[T any] struct {
	l      listing[T]
	out    io.Writer
	format string
	style  style
	shown  []column[T]
	cells  [][]string // of a table, until close
	n      int
	err    error
}

func newRows[T any](a *app, l listing[T]) *rows[T] {
	r := &rows[T]{l: l, out: a.stdout, format: a.format(), style: a.style}
	for _, c := range l.columns {
		if !c.wide || r.format == "wide" {
			r.shown = append(r.shown, c)
		}
	}
	if r.format == "wide" {
		r.format = "tsv"
		if a.stdoutTTY {
			r.format = "table"
		}
	}
	return r
}

func (r *rows[T]) add(x T) {
	switch r.format {
	case "json":
		r.print(map[bool]string{true: "[\n", false: ",\n"}[r.n == 0])
		raw, err := marshal(r.l.object(x), "  ")
		r.note(err)
		r.print("  " + string(raw))
	case "jsonl":
		raw, err := marshal(r.l.object(x), "")
		r.note(err)
		r.print(string(raw) + "\n")
	case "yaml":
		raw, err := toYAML([]any{r.l.object(x)})
		r.note(err)
		r.print(string(raw))
	case "name":
		r.print(r.l.name(x) + "\n")
	case "tsv":
		r.print(strings.Join(r.line(x, escapeTSV), "\t") + "\n")
	default:
		r.cells = append(r.cells, r.line(x, oneLine))
	}
	r.n++
}

// close ends the listing; until then a table shows nothing.
func (r *rows[T]) close() error {
	switch {
	case r.format == "json" && r.n == 0, r.format == "yaml" && r.n == 0:
		r.print("[]\n")
	case r.format == "json":
		r.print("\n]\n")
	case r.format == "table" && r.n > 0:
		r.table()
	}
	return r.err
}

func (r *rows[T]) line(x T, clean func(string) string) []string {
	out := make([]string, len(r.shown))
	for i, c := range r.shown {
		out[i] = clean(c.cell(x))
	}
	return out
}

func (r *rows[T]) table() {
	width := make([]int, len(r.shown))
	for i, c := range r.shown {
		width[i] = len(c.head)
		for _, line := range r.cells {
			width[i] = max(width[i], textWidth(line[i]))
		}
	}
	put := func(line []string, paint func(string) string) {
		var b strings.Builder
		for i, s := range line {
			pad := strings.Repeat(" ", width[i]-textWidth(s))
			switch {
			case r.shown[i].right:
				b.WriteString(pad + s)
			case i == len(line)-1:
				b.WriteString(s)
			default:
				b.WriteString(s + pad)
			}
			if i < len(line)-1 {
				b.WriteString("  ")
			}
		}
		r.print(paint(b.String()) + "\n")
	}
	heads := make([]string, len(r.shown))
	for i, c := range r.shown {
		heads[i] = c.head
	}
	put(heads, r.style.dim)
	for _, line := range r.cells {
		put(line, func(s string) string { return s })
	}
}

func (r *rows[T]) print(s string) {
	if r.err == nil {
		_, r.err = io.WriteString(r.out, s)
	}
}

func (r *rows[T]) note(err error) {
	if r.err == nil {
		r.err = err
	}
}

// printOne prints a single object, not a list of one.
func printOne[T any](a *app, l listing[T], x T) error {
	var raw []byte
	var err error
	switch a.format() {
	case "json":
		raw, err = marshal(l.object(x), "")
		if err == nil {
			var b bytes.Buffer
			err = json.Indent(&b, raw, "", "  ")
			raw = append(b.Bytes(), '\n')
		}
	case "yaml":
		raw, err = toYAML(l.object(x))
	default:
		r := newRows(a, l)
		r.add(x)
		return r.close()
	}
	if err != nil {
		return err
	}
	_, err = a.stdout.Write(raw)
	return err
}

// marshal leaves <, > and & as they are: what is printed is read by people.
func marshal(v any, indent string) ([]byte, error) {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if indent != "" {
		enc.SetIndent(indent, indent)
	}
	err := enc.Encode(v)
	return bytes.TrimRight(b.Bytes(), "\n"), err
}

var tsvEscapes = strings.NewReplacer("\\", `\\`, "\t", `\t`, "\n", `\n`, "\r", `\r`)

// escapeTSV keeps a row on one line and its columns apart; a backslash is
// doubled, so that nothing is lost.
func escapeTSV(s string) string {
	if strings.ContainsAny(s, "\\\t\n\r") {
		return tsvEscapes.Replace(s)
	}
	return s
}

// Runes of a cell, and of a text that stands on a line of its own.
const (
	cellMax  = 80
	briefMax = 1000
)

// oneLine makes s fit for a table: no control characters, not too long.
func oneLine(s string) string { return cutLine(s, cellMax) }

// brief makes s fit for a line of its own.
func brief(s string) string { return cutLine(s, briefMax) }

func cutLine(s string, most int) string {
	s = strings.NewReplacer("\n", " ", "\t", " ").Replace(harmless(strings.TrimRight(s, "\r\n")))
	if utf8.RuneCountInString(s) > most {
		s = string([]rune(s)[:most-1]) + "…"
	}
	return s
}

func checkFormat(s string) error {
	if s == "" || slices.Contains(formats, s) {
		return nil
	}
	return usagef("-o %s: use one of %s", s, strings.Join(formats, ", "))
}

// style paints for a terminal, and not at all elsewhere or under NO_COLOR.
type style struct{ on bool }

func (s style) paint(code, text string) string {
	if !s.on || text == "" {
		return text
	}
	return "\x1b[" + code + "m" + text + "\x1b[0m"
}

func (s style) dim(text string) string   { return s.paint("2", text) }
func (s style) bold(text string) string  { return s.paint("1", text) }
func (s style) red(text string) string   { return s.paint("31", text) }
func (s style) green(text string) string { return s.paint("32", text) }

func plural(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%s %s", thousands(n), many)
}

// thousands writes 1234567 as 1,234,567.
func thousands(n int64) string {
	s := fmt.Sprint(n)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}
