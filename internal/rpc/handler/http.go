package handler

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"sort"
	"strconv"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/penstock-io/penstock/internal/rpc/codec"
	"github.com/penstock-io/penstock/internal/task"
)

const (
	bodyBytesMax = 32 << 20 // one HTTP request: a batch of BatchBytesMax as base64 and its names
	bodyReadMax  = time.Minute
	bodyStallMax = 10 * time.Second // between two pieces of a body that is not small
	writeMax     = 2 * time.Minute  // of one answer, long polls apart
)

func (s *Server) newHTTP() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "ok\n") })
	mux.HandleFunc("GET /readyz", s.readyz)
	calls := http.HandlerFunc(s.serveCall)
	// A page of another site may not make the user's browser call us.
	protect := http.NewCrossOriginProtection()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		r, drain := drained(w, r)
		defer drain()
		if !s.gate.admits(r.Header.Get("Authorization")) {
			w.Header().Set("WWW-Authenticate", `Bearer realm="penstock"`)
			writeRefusal(w, refusal{code: codes.Unauthenticated, message: unauthorized(r.Header.Get("Authorization"))})
			return
		}
		switch {
		case strings.HasPrefix(r.URL.Path, pathPrefix):
			if err := protect.Check(r); err != nil {
				writeRefusal(w, refusal{code: codes.PermissionDenied, message: "a page of another origin may not call this server: " + err.Error()})
				return
			}
			calls.ServeHTTP(w, r)
		case s.o.HTTP != nil:
			s.o.HTTP.ServeHTTP(w, r)
		default:
			writeRefusal(w, refusal{code: codes.Unimplemented, message: fmt.Sprintf("there is nothing at %s: calls are at %sTaskService/Enqueue and its like, see docs/protocol.md", r.URL.Path, pathPrefix)})
		}
	})
	return mux
}

// serveCall answers one unary call in JSON or protobuf, as Connect's unary
// protocol has it.
func (s *Server) serveCall(w http.ResponseWriter, r *http.Request) {
	m, ok := s.unary[r.URL.Path]
	if !ok {
		writeRefusal(w, s.unknownCall(r.URL.Path))
		return
	}
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		name, _ := connectCode(codes.Unimplemented)
		writeJSON(w, http.StatusMethodNotAllowed, errorBody(name, fmt.Sprintf(`%s is a call: POST a JSON object to it, such as curl -d '{}' http://%s%s`, m.name, r.Host, r.URL.Path), nil))
		return
	}
	enc, e := encodingOf(r)
	if e != nil {
		writeJSON(w, http.StatusUnsupportedMediaType, errorBody("invalid_argument", e.Error(), e))
		return
	}
	ctx, cancel, e := callContext(r)
	if e != nil {
		writeRefusal(w, refusalOf(e))
		return
	}
	defer cancel()
	u := &undo{}
	resp, err := s.invoke(m.name, func() (any, error) { return s.call(context.WithValue(ctx, undoKey{}, u), m, enc, w, r) })
	if err == errBodyTooLarge {
		r := refusalOf(err)
		name, _ := connectCode(r.code)
		writeJSON(w, http.StatusRequestEntityTooLarge, errorBody(name, r.message, r.detail))
		return
	}
	if err != nil {
		writeRefusal(w, refusalOf(err))
		return
	}
	// Only a failed write is proof: who hangs up right after it has read the
	// answer has the leases.
	if err := enc.write(w, resp.(proto.Message)); err != nil && u.leases != nil {
		u.leases()
	}
}

func (s *Server) unknownCall(path string) refusal {
	service, _, _ := strings.Cut(strings.TrimPrefix(path, pathPrefix), "/")
	var known []string
	for p := range s.unary {
		if strings.HasPrefix(p, pathPrefix+service+"/") {
			known = append(known, strings.TrimPrefix(p, pathPrefix))
		}
	}
	if len(known) == 0 {
		known = []string{"TaskService", "WorkerService", "QueueService", "NodeService"}
	}
	sort.Strings(known)
	return refusal{code: codes.Unimplemented, message: fmt.Sprintf("there is no call %s: known are %s", strings.TrimPrefix(path, "/"), strings.Join(known, ", "))}
}

func (s *Server) call(ctx context.Context, m method, enc encoding, w http.ResponseWriter, r *http.Request) (proto.Message, error) {
	c := s.bodies.claim()
	defer c.end()
	body, err := readBody(ctx, w, r, c)
	if err != nil {
		return nil, err
	}
	req := m.make()
	leave, err := c.decode(ctx, s.bodies.lineOf(&m), enc.weigh(body, req), func() error { return enc.read(body, req) })
	if err != nil {
		return nil, err
	}
	defer leave()
	c.give(cap(body)) // it is garbage from here on, or a part of what was weighed
	if m.waits {
		leave()
	}
	return m.call(ctx, req)
}

// callContext honours Connect's timeout header; without one the call lives as
// long as its connection.
func callContext(r *http.Request) (context.Context, context.CancelFunc, *task.Error) {
	h := r.Header.Get("Connect-Timeout-Ms")
	if h == "" {
		return r.Context(), func() {}, nil
	}
	ms, err := strconv.ParseInt(h, 10, 64)
	if err != nil || ms < 0 || ms > 9_999_999_999 {
		return nil, nil, task.Errorf(task.Invalid, "Connect-Timeout-Ms is %q: send milliseconds", h)
	}
	ctx, cancel := context.WithTimeout(r.Context(), time.Duration(ms)*time.Millisecond)
	return ctx, cancel, nil
}

func readBody(ctx context.Context, w http.ResponseWriter, r *http.Request, c *claim) ([]byte, error) {
	rc := http.NewResponseController(w)
	end := time.Now().Add(bodyReadMax)
	_ = rc.SetReadDeadline(end)
	if r.ContentLength > bodyBytesMax {
		return nil, errBodyTooLarge
	}
	var src io.Reader = http.MaxBytesReader(w, r.Body, bodyBytesMax)
	size := r.ContentLength // < 0: nobody knows
	switch ce := r.Header.Get("Content-Encoding"); ce {
	case "", "identity":
	case "gzip":
		z, err := gzip.NewReader(src)
		if err != nil {
			return nil, task.Errorf(task.Invalid, "the body is not gzip, as its Content-Encoding says: %v", err)
		}
		src, size = z, -1
	default:
		return nil, task.Errorf(task.Invalid, "Content-Encoding %q is not known: send the body plain or as gzip", ce)
	}
	body, err := fill(ctx, src, size, c, func() {
		_ = rc.SetReadDeadline(earlier(end, time.Now().Add(bodyStallMax)))
	})
	if err != nil {
		return nil, err
	}
	_ = rc.SetReadDeadline(time.Time{})
	return body, nil
}

// fill reads src to its end, size bytes if that is known, and takes from c what
// the buffer needs as it grows. next is called before each piece but the first
// ones.
func fill(ctx context.Context, src io.Reader, size int64, c *claim, next func()) ([]byte, error) {
	room := int64(bodyBytesMax + 1) // one more shows that it is too large, or at its end
	if size >= 0 {
		room = size + 1
	}
	var buf []byte
	for {
		if was := cap(buf); len(buf) == was {
			grown := int(min(max(2*int64(was), 4<<10), room))
			if was == 0 {
				grown = int(min(max(size+1, 4<<10), freeBytes/2))
			}
			if err := c.take(ctx, grown); err != nil {
				return nil, err
			}
			buf = append(make([]byte, 0, grown), buf...)
			c.give(was)
		}
		if len(buf) >= freeBytes {
			next()
		}
		n, err := src.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		var big *http.MaxBytesError
		switch {
		case errors.As(err, &big) || len(buf) > bodyBytesMax:
			return nil, errBodyTooLarge
		case err == io.EOF:
			return buf, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, task.Errorf(task.Invalid, "the body came too slowly: it has %v, and a large one may not pause for %v", bodyReadMax, bodyStallMax)
		case err != nil:
			return nil, task.Errorf(task.Invalid, "the body ended early: %v", err)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}

var errBodyTooLarge error = task.Errorf(task.Invalid, "the body is over the limit of %d bytes: send several calls", bodyBytesMax)

// encoding is how a call's messages are written.
type encoding struct {
	weigh func(body []byte, m proto.Message) int // the memory that read will take, about
	read  func(body []byte, m proto.Message) error
	write func(w http.ResponseWriter, m proto.Message) error
}

var (
	jsonEncoding = encoding{
		weigh: func(body []byte, _ proto.Message) int { return codec.WeighJSON(body) },
		read: func(body []byte, m proto.Message) error {
			if e := codec.ParseJSON(body, m); e != nil {
				return e
			}
			return nil
		},
		write: func(w http.ResponseWriter, m proto.Message) error {
			return writeBody(w, "application/json", append(codec.AppendJSON(nil, m), '\n'))
		},
	}
	protoEncoding = encoding{
		weigh: codec.WeighProto,
		read: func(body []byte, m proto.Message) error {
			if err := codec.UnmarshalBounded(body, m); err != nil {
				return task.Errorf(task.Invalid, "the body is not a %s in protobuf: %v", m.ProtoReflect().Descriptor().FullName(), err)
			}
			return nil
		},
		write: func(w http.ResponseWriter, m proto.Message) error {
			b, err := proto.Marshal(m)
			if err != nil {
				return fmt.Errorf("encode %s: %w", m.ProtoReflect().Descriptor().FullName(), err)
			}
			return writeBody(w, "application/proto", b)
		},
	}
)

// encodingOf takes curl's own content type for JSON: it is what curl -d sends.
func encodingOf(r *http.Request) (encoding, *task.Error) {
	ct := r.Header.Get("Content-Type")
	media, params, err := mime.ParseMediaType(ct)
	if ct == "" {
		media, err = "application/json", nil
	}
	if cs := params["charset"]; err == nil && (cs == "" || strings.EqualFold(cs, "utf-8")) {
		switch media {
		case "application/json", "application/x-www-form-urlencoded":
			return jsonEncoding, nil
		case "application/proto":
			return protoEncoding, nil
		}
	}
	return encoding{}, task.Errorf(task.Invalid, "Content-Type %q is not known: send application/json, or application/proto", ct)
}

func writeBody(w http.ResponseWriter, contentType string, b []byte) error {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeMax))
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	w.Header().Set("Cache-Control", "no-store")
	if _, err := w.Write(b); err != nil {
		return err
	}
	return rc.Flush()
}

func writeRefusal(w http.ResponseWriter, r refusal) {
	name, status := connectCode(r.code)
	if status == http.StatusTooManyRequests {
		w.Header().Set("Retry-After", "2")
	}
	writeJSON(w, status, errorBody(name, r.message, r.detail))
}

// errorBody is Connect's form of an error. Its detail carries our own code and
// text, in base64 for machines and plainly in debug.
func errorBody(code, message string, e *task.Error) []byte {
	type detail struct {
		Type  string          `json:"type"`
		Value string          `json:"value"`
		Debug json.RawMessage `json:"debug"`
	}
	body := struct {
		Code    string   `json:"code"`
		Message string   `json:"message"`
		Details []detail `json:"details,omitempty"`
	}{Code: code, Message: message}
	if e != nil {
		m := codec.ErrorToProto(e)
		if raw, err := proto.Marshal(m); err == nil {
			body.Details = []detail{{Type: "penstock.v1.Error", Value: base64.RawStdEncoding.EncodeToString(raw), Debug: codec.AppendJSON(nil, m)}}
		}
	}
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(body) // strings and valid JSON only
	return b.Bytes()
}

func writeJSON(w http.ResponseWriter, status int, body []byte) {
	rc := http.NewResponseController(w)
	_ = rc.SetWriteDeadline(time.Now().Add(writeMax))
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}

// readyz tells whether the server can do its work; ?verbose tells each check.
func (s *Server) readyz(w http.ResponseWriter, r *http.Request) {
	status, lines := http.StatusOK, ""
	for _, c := range s.checks(r.Context()) {
		mark := "ok"
		if !c.OK {
			mark, status = "not ready: "+c.Detail, http.StatusServiceUnavailable
		}
		lines += c.Name + ": " + mark + "\n"
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	verbose := r.URL.Query().Has("verbose") && s.gate.admits(r.Header.Get("Authorization"))
	switch {
	case verbose:
		_, _ = io.WriteString(w, lines)
	case status == http.StatusOK:
		_, _ = io.WriteString(w, "ok\n")
	default:
		_, _ = io.WriteString(w, "not ready\n")
	}
}
