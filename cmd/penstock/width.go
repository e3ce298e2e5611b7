package main

import (
	"strings"
	"unicode"
)

// wideRunes take two cells of a terminal: CJK, Hangul, fullwidth forms, emoji.
var wideRunes = &unicode.RangeTable{
	R16: []unicode.Range16{
		{Lo: 0x1100, Hi: 0x115f, Stride: 1}, {Lo: 0x2e80, Hi: 0x303e, Stride: 1}, {Lo: 0x3041, Hi: 0xa4cf, Stride: 1},
		{Lo: 0xac00, Hi: 0xd7a3, Stride: 1}, {Lo: 0xf900, Hi: 0xfaff, Stride: 1}, {Lo: 0xfe30, Hi: 0xfe6f, Stride: 1},
		{Lo: 0xff00, Hi: 0xff60, Stride: 1}, {Lo: 0xffe0, Hi: 0xffe6, Stride: 1},
	},
	R32: []unicode.Range32{{Lo: 0x1f300, Hi: 0x1f64f, Stride: 1}, {Lo: 0x1f680, Hi: 0x1faff, Stride: 1}, {Lo: 0x20000, Hi: 0x3fffd, Stride: 1}},
}

func runeWidth(r rune) int {
	switch {
	case r < 0x300:
		return 1
	case unicode.In(r, unicode.Mn, unicode.Me, unicode.Cf):
		return 0
	case unicode.Is(wideRunes, r):
		return 2
	}
	return 1
}

// textWidth is the cells that s takes on a terminal, as near as can be told
// without asking it.
func textWidth(s string) (n int) {
	for _, r := range s {
		n += runeWidth(r)
	}
	return n
}

// fit cuts a text that is too wide for its place.
func fit(s string, width int) string {
	s = brief(s)
	if textWidth(s) <= width {
		return s
	}
	n := 1 // of the mark
	for i, r := range s {
		if n += runeWidth(r); n > width {
			return s[:i] + strings.Repeat("…", min(width, 1))
		}
	}
	return s
}

// cell cuts or fills a text to its place.
func cell(s string, width int) string {
	s = fit(s, width)
	return s + strings.Repeat(" ", max(width-textWidth(s), 0))
}

// harmless takes out what a terminal would obey instead of show: control
// characters, line breaks and tabs apart, and marks that turn the direction of
// writing.
func harmless(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) && r != '\n' && r != '\t' || unicode.Is(unicode.Bidi_Control, r) {
			return ' '
		}
		return r
	}, s)
}
