package main

import (
	"bytes"
	"strings"
	"testing"
	"time"
)

type dish struct {
	Name  string `json:"name"`
	Price int64  `json:"price"`
	Note  string `json:"note,omitempty"`
}

var dishes = listing[dish]{
	columns: []column[dish]{
		{head: "NAME", cell: func(d dish) string { return d.Name }},
		{head: "PRICE", right: true, cell: func(d dish) string { return thousands(d.Price) }},
		{head: "NOTE", wide: true, cell: func(d dish) string { return d.Note }},
	},
	name:   func(d dish) string { return d.Name },
	object: func(d dish) any { return d },
}

func TestFormats(t *testing.T) {
	two := []dish{{"soup", 9007199254740993, "a\tb\\"}, {"<fish & chips>", 7, "line\nbreak"}}
	f := func(format string, tty bool, menu []dish, want string) {
		t.Helper()
		var out bytes.Buffer
		r := newRows(&app{stdout: &out, output: format, stdoutTTY: tty}, dishes)
		for _, d := range menu {
			r.add(d)
		}
		if err := r.close(); err != nil || out.String() != want {
			t.Errorf("-o %s, terminal %v: got\n%s\n%v, want\n%s", format, tty, out.String(), err, want)
		}
	}
	f("", false, two, "soup\t9,007,199,254,740,993\n<fish & chips>\t7\n")
	f("", true, two, "NAME                            PRICE\nsoup            9,007,199,254,740,993\n<fish & chips>                      7\n")
	f("wide", false, two, "soup\t9,007,199,254,740,993\ta\\tb\\\\\n<fish & chips>\t7\tline\\nbreak\n")
	f("wide", true, two[1:], "NAME            PRICE  NOTE\n<fish & chips>      7  line break\n")
	f("json", true, two, "[\n  {\n    \"name\": \"soup\",\n    \"price\": 9007199254740993,\n    \"note\": \"a\\tb\\\\\"\n  },\n"+
		"  {\n    \"name\": \"<fish & chips>\",\n    \"price\": 7,\n    \"note\": \"line\\nbreak\"\n  }\n]\n")
	f("jsonl", false, two, `{"name":"soup","price":9007199254740993,"note":"a\tb\\"}`+"\n"+`{"name":"<fish & chips>","price":7,"note":"line\nbreak"}`+"\n")
	f("yaml", false, two, "- name: soup\n  price: 9007199254740993\n  note: \"a\\tb\\\\\"\n- name: <fish & chips>\n  price: 7\n  note: \"line\\nbreak\"\n")
	f("name", true, two, "soup\n<fish & chips>\n")
	f("json", false, nil, "[]\n")
	f("yaml", false, nil, "[]\n")
	f("jsonl", false, nil, "")
	f("", true, nil, "")
}

func TestPrintOne(t *testing.T) {
	f := func(format, want string) {
		t.Helper()
		var out bytes.Buffer
		if err := printOne(&app{stdout: &out, output: format}, dishes, dish{Name: "soup", Price: 3}); err != nil || out.String() != want {
			t.Errorf("-o %s: got %q, %v; want %q", format, out.String(), err, want)
		}
	}
	f("json", "{\n  \"name\": \"soup\",\n  \"price\": 3\n}\n")
	f("yaml", "name: soup\nprice: 3\n")
	f("jsonl", `{"name":"soup","price":3}`+"\n")
	f("", "soup\t3\n")
	f("name", "soup\n")
}

func TestYAMLKeepsTypes(t *testing.T) {
	raw, err := toYAML(map[string]any{"a": "007", "b": "true", "c": 12, "d": []any{}, "e": "x: y", "f": nil})
	want := "a: \"007\"\nb: \"true\"\nc: 12\nd: []\ne: 'x: y'\nf: null\n"
	if err != nil || string(raw) != want {
		t.Errorf("got %q, %v; want %q", raw, err, want)
	}
}

func TestContentLine(t *testing.T) {
	f := func(in, kind, want string) {
		t.Helper()
		if got := contentLine([]byte(in), kind); got != want {
			t.Errorf("contentLine(%q, %s) = %q, want %q", in, kind, got, want)
		}
	}
	f("{\n \"a\": 12345678901234567890 }", "", `{"a":12345678901234567890}`)
	f("abc  file\n", "text/plain", "abc  file")
	f("two\nlines\n", "text/plain", `two\nlines`)
	f("tab\tand \\ stay", "text/plain", "tab\tand \\ stay")
	f("not json", "application/json", "not json")
	f("", "", "")
}

func TestAgo(t *testing.T) {
	f := func(d time.Duration, want string) {
		t.Helper()
		if got := ago(d); got != want {
			t.Errorf("ago(%v) = %s, want %s", d, got, want)
		}
	}
	f(-time.Hour, "0s") // a clock behind the server's
	f(90*time.Second, "90s")
	f(90*time.Minute, "90m")
	f(36*time.Hour, "36h")
	f(100*time.Hour, "4d")
}

func TestThousands(t *testing.T) {
	got := strings.Join([]string{thousands(0), thousands(999), thousands(1000), thousands(1234567), thousands(-1000)}, " ")
	if want := "0 999 1,000 1,234,567 -1,000"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}
