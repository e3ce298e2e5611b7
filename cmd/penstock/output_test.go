package main

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/penstock-io/penstock"
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

// TestYAMLOfAnyJSON: JSON knows escapes that YAML does not, and YAML takes
// words and numbers for something else.
func TestYAMLOfAnyJSON(t *testing.T) {
	f := func(in, want string) {
		t.Helper()
		raw, err := toYAML(map[string]any{"p": json.RawMessage(in)})
		if err != nil || string(raw) != "p:"+want+"\n" {
			t.Errorf("%s: got %q, %v; want %q", in, raw, err, "p:"+want+"\n")
		}
		var back map[string]any
		if err := yaml.Unmarshal(raw, &back); err != nil {
			t.Errorf("%s: %q does not read back: %v", in, raw, err)
		}
		var text string
		if json.Unmarshal([]byte(in), &text) == nil && back["p"] != text && in != "null" {
			t.Errorf("%s: %q reads back as %#v", in, raw, back["p"])
		}
	}
	f(`"\ud83d\ude00"`, ` "\U0001F600"`)
	f(`"a\/b"`, " a/b")
	f(`"\ud800"`, " �")
	f(`"\u0000\u0085\u2028\ufeff"`, ` "\0\N\L\uFEFF"`)
	f(`"yes"`, ` "yes"`)
	f(`"Off"`, ` "Off"`)
	f(`"n"`, ` "n"`)
	f(`"12:30:45"`, ` "12:30:45"`)
	f(`"1e3"`, ` "1e3"`)
	f(`"0x10"`, ` "0x10"`)
	f(`"2030-01-02"`, ` "2030-01-02"`)
	f(`"~"`, ` "~"`)
	f(`""`, ` ""`)
	f(`"  two\n\nlines\n"`, ` "  two\n\nlines\n"`)
	f(`"# x"`, ` '# x'`)
	f(`123456789012345678901234567890`, " 123456789012345678901234567890")
	f(`-0.10000000000000000000000001e-5`, " -0.10000000000000000000000001e-5")
	f(`null`, " null")
	f(`true`, " true")
	f(`{}`, " {}")
	f(`[[],[1,"1"],{"no":{"<<":2}}]`, "\n  - []\n  - - 1\n    - \"1\"\n  - \"no\":\n      \"<<\": 2")
	f(`{"z":1,"a":2,"z":3}`, "\n  z: 3\n  a: 2")
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

func TestTriesAndNote(t *testing.T) {
	f := func(in penstock.Info, tries, note string) {
		t.Helper()
		if got := triesOf(in); got != tries {
			t.Errorf("%+v: tries %q, want %q", in, got, tries)
		}
		if got := noteOf(in); got != note {
			t.Errorf("%+v: note %q, want %q", in, got, note)
		}
	}
	f(penstock.Info{State: penstock.Running, Failures: 1, MaxAttempts: 10}, "2/10", "")
	f(penstock.Info{State: penstock.Succeeded, Result: []byte("1")}, "1", "1")
	f(penstock.Info{State: penstock.Dead, Failures: 1, MaxAttempts: 1, Reason: "failed 1 times, the most it may: exit status 1", Error: "exit status 1"},
		"1/1", "failed 1 times, the most it may: exit status 1")
	f(penstock.Info{State: penstock.Dead, Crashes: 3, MaxAttempts: 10, Reason: "lost 3 times", Error: "worker gone"}, "3/10", "lost 3 times: worker gone")
}

func TestTriesText(t *testing.T) {
	f := func(in penstock.Info, want string) {
		t.Helper()
		if got := triesText(in); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	f(penstock.Info{Failures: 1, MaxAttempts: 1}, "1 failure, 0 crashes, 0 handed back; dead after 1 failure")
	f(penstock.Info{Crashes: 1, MaxAttempts: penstock.Unlimited}, "0 failures, 1 crash, 0 handed back; tried without limit")
	f(penstock.Info{Failures: 2}, "2 failures, 0 crashes, 0 handed back")
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

// Bytes are shown as JSON only where a strict reader takes them for it.
func TestContentView(t *testing.T) {
	for _, c := range []struct{ bytes, asJSON, text, raw string }{
		{`{"a":12345678901234567890}`, `{"a":12345678901234567890}`, "", ""},
		{"\"caf\xe9\"", "", "", "\"caf\xe9\""},
		{"no JSON", "", "no JSON", ""},
		{"", "", "", ""},
	} {
		j, text, raw := contentView([]byte(c.bytes), "application/json")
		if string(j) != c.asJSON || text != c.text || string(raw) != c.raw {
			t.Errorf("%q: got %q, %q, %q", c.bytes, j, text, raw)
		}
	}
	if got := contentType([]byte("\"caf\xe9\"")); got != "application/octet-stream" {
		t.Errorf("a line that is not UTF-8 is labelled %s", got)
	}
}
