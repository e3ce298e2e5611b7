package handler

import (
	"io"
	"net/http"
	"time"
)

const (
	drainBytesMax = 256 << 20 // of a refused body
	drainMax      = 10 * time.Second
)

// drained is r, and what to do after it is answered: taking in what nobody has
// read of its body. Most clients read no answer before they have sent all, and a
// connection that is closed under them is a reset and not the answer. Who asked
// first, with Expect, and was not told to go on sends nothing.
func drained(w http.ResponseWriter, r *http.Request) (*http.Request, func()) {
	body := &watchedBody{ReadCloser: r.Body}
	r = r.WithContext(r.Context()) // net/http looks at the body of its own
	r.Body = body
	return r, func() {
		if body.ended || r.ContentLength == 0 || r.Header.Get("Expect") != "" && !body.begun {
			return
		}
		rc := http.NewResponseController(w)
		if rc.Flush() != nil || rc.SetReadDeadline(time.Now().Add(drainMax)) != nil {
			return
		}
		_, _ = io.CopyN(io.Discard, body, drainBytesMax)
	}
}

// watchedBody knows how far it was read.
type watchedBody struct {
	io.ReadCloser
	begun, ended bool
}

// Read implements io.Reader.
func (b *watchedBody) Read(p []byte) (int, error) {
	b.begun = true
	n, err := b.ReadCloser.Read(p)
	b.ended = b.ended || err != nil
	return n, err
}
