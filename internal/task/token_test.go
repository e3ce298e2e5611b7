package task

import "testing"

// A token is what was given out, letter by letter: the decoder passes over line ends,
// and over the bits that fill the last letter up.
func TestParseTokenTakesWhatStringWrites(t *testing.T) {
	k := Token{Partition: 3, Attempt: 2, Epoch: 7, Nonce: 9, Slot: 11, Dispatch: 13, Queue: 15, Seq: 17}
	s := k.String()
	if got, err := ParseToken(s); err != nil || got != k {
		t.Fatalf("%s: %+v, %v", s, got, err)
	}
	wrong := []string{s + "\n", s[:10] + "\r\n" + s[10:], s[:len(s)-1], s + "0", ""}
	for _, c := range "0123456789abcdefghjkmnpqrstvwxyz" {
		if last := s[:len(s)-1] + string(c); last != s {
			wrong = append(wrong, last)
		}
	}
	for _, w := range wrong {
		if got, err := ParseToken(w); err == nil && (got == k || got.String() != w) { // one bit of the last letter counts
			t.Errorf("%q is taken for %+v", w, got)
		}
	}
}
