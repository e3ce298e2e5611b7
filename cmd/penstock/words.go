package main

import (
	"bytes"
	"strings"
)

// splitWords splits a command line as a shell would, and does nothing else that
// a shell does: no variables, no globs, no pipes. Quotes and backslashes keep
// blanks together. It is done before a payload is put in, so no payload can
// ever become two words, an option of the shell or a command.
func splitWords(s string) ([]string, error) {
	var out []string
	var word strings.Builder
	open := false // a word has begun, perhaps an empty one
	var quote rune
	rest := []rune(s)
	for i := 0; i < len(rest); i++ {
		r := rest[i]
		switch {
		case quote == '\'' && r != '\'', quote == '"' && r != '"' && r != '\\':
			word.WriteRune(r)
		case quote != 0 && r == quote:
			quote = 0
		case r == '\\':
			if i+1 == len(rest) {
				return nil, usagef("--exec ends in a backslash: %q", s)
			}
			i++
			if quote == '"' && rest[i] != '"' && rest[i] != '\\' {
				word.WriteRune('\\')
			}
			word.WriteRune(rest[i])
			open = true
		case r == '\'' || r == '"':
			quote, open = r, true
		case r == ' ' || r == '\t' || r == '\n' || r == '\r':
			if open {
				out = append(out, word.String())
				word.Reset()
			}
			open = false
		default:
			word.WriteRune(r)
			open = true
		}
	}
	if quote != 0 {
		return nil, usagef("--exec has a quote %c that is not closed: %q", quote, s)
	}
	if open {
		out = append(out, word.String())
	}
	if len(out) == 0 || out[0] == "" {
		return nil, usagef("--exec is empty: give it a program, such as --exec 'sha256sum {}'")
	}
	return out, nil
}

const placeholder = "{}"

// fillWords puts the payload in for each {}, as part of the one word it stands
// in. used says whether there was any.
func fillWords(words []string, payload []byte) (filled []string, used bool) {
	for _, w := range words {
		if strings.Contains(w, placeholder) {
			used = true
		}
	}
	if !used {
		return words, false
	}
	text := string(payload)
	filled = make([]string, len(words))
	for i, w := range words {
		filled[i] = strings.ReplaceAll(w, placeholder, text)
	}
	return filled, true
}

func hasNUL(b []byte) bool { return bytes.IndexByte(b, 0) >= 0 }
