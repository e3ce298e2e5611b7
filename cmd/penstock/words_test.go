package main

import (
	"slices"
	"testing"
)

func TestSplitWords(t *testing.T) {
	f := func(in string, want ...string) {
		t.Helper()
		got, err := splitWords(in)
		if err != nil || !slices.Equal(got, want) {
			t.Errorf("splitWords(%q) = %q, %v; want %q", in, got, err, want)
		}
	}
	f("sha256sum {}", "sha256sum", "{}")
	f("  a \t b\nc ", "a", "b", "c")
	f(`a 'b c' "d e" f\ g`, "a", "b c", "d e", "f g")
	f(`a "x\"y" 'x\y' "x\y" "x\\y"`, "a", `x"y`, `x\y`, `x\y`, `x\y`)
	f(`a '' ""`, "a", "", "")
	f(`a b''c "d"'e'`, "a", "bc", "de")
	f(`sh -c 'echo "$1" | tr a b' sh {}`, "sh", "-c", `echo "$1" | tr a b`, "sh", "{}")
	f("echo $HOME *.go `date` ; ls | wc", "echo", "$HOME", "*.go", "`date`", ";", "ls", "|", "wc")
	f("größe 日本", "größe", "日本")

	bad := func(in string) {
		t.Helper()
		if got, err := splitWords(in); err == nil {
			t.Errorf("splitWords(%q) = %q, want an error", in, got)
		}
	}
	bad("")
	bad("   ")
	bad("''")
	bad(`a 'b`)
	bad(`a "b`)
	bad(`a \`)
}

func TestFillWords(t *testing.T) {
	f := func(payload string, used bool, words, want []string) {
		t.Helper()
		got, u := fillWords(words, []byte(payload))
		if !slices.Equal(got, want) || u != used {
			t.Errorf("fillWords(%q, %q) = %q, %v; want %q, %v", words, payload, got, u, want, used)
		}
	}
	f(`a b'; rm -rf /`, true, []string{"sum", "{}"}, []string{"sum", `a b'; rm -rf /`})
	f("x", true, []string{"cp", "{}", "--to={}.bak"}, []string{"cp", "x", "--to=x.bak"})
	f("{}", true, []string{"a", "{}"}, []string{"a", "{}"})
	f("x", false, []string{"wc", "-l"}, []string{"wc", "-l"})
	f("", true, []string{"a", "{}"}, []string{"a", ""})
}
