package handler_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/penstock-io/penstock/internal/rpc/handler"
)

// TestARefusalIsReadAfterTheWholeBody: a client that reads nothing before it has
// sent all, as Python's does, gets the answer and no reset.
func TestARefusalIsReadAfterTheWholeBody(t *testing.T) {
	s := newSite(t, handler.Options{Token: "secret"})
	const size = 40 << 20
	chunk := strings.Repeat("x", 64<<10)
	f := func(status int, head string) {
		t.Helper()
		c, err := net.Dial("tcp", s.addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_, err = fmt.Fprintf(c, "POST /penstock.v1.TaskService/Enqueue HTTP/1.1\r\nHost: x\r\n%s\r\n", head)
		if !strings.Contains(head, "Expect") {
			for sent := 0; err == nil && sent < size; sent += len(chunk) {
				if strings.Contains(head, "chunked") {
					_, err = fmt.Fprintf(c, "%x\r\n%s\r\n", len(chunk), chunk)
				} else {
					_, err = io.WriteString(c, chunk)
				}
			}
			if err == nil && strings.Contains(head, "chunked") {
				_, err = io.WriteString(c, "0\r\n\r\n")
			}
		}
		if err != nil {
			t.Errorf("%q: send: %v", head, err)
			return
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Errorf("%q: read: %v", head, err)
			return
		}
		defer resp.Body.Close()
		b, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != status || !strings.Contains(string(b), `"message":`) {
			t.Errorf("%q: got %d %q, %v; want %d", head, resp.StatusCode, b, err, status)
		}
	}
	const let = "Authorization: Bearer secret\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", size)
	f(413, let+length)
	f(413, let+"Transfer-Encoding: chunked\r\n")
	f(413, let+length+"Expect: 100-continue\r\n")
	f(415, let+length+"Content-Type: text/xml\r\n")
	f(401, length)
}
