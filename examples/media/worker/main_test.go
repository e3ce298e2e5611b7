package main

import (
	"bytes"
	"errors"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/examples/media"
	"github.com/penstock-io/penstock/penstocktest"
)

// pictures serves a picture of 100 × 50 pixels, to each address but the first
// time.
func pictures(t *testing.T) string {
	var buf bytes.Buffer
	if err := png.Encode(&buf, image.NewRGBA(image.Rect(0, 0, 100, 50))); err != nil {
		t.Fatal(err)
	}
	asked := map[string]bool{}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.URL.Path == "/text":
			_, _ = w.Write([]byte("no picture"))
		case r.URL.Path == "/busy" && !asked[r.URL.Path]:
			asked[r.URL.Path] = true
			w.Header().Set("Retry-After", "30")
			w.WriteHeader(http.StatusTooManyRequests)
		default:
			_, _ = w.Write(buf.Bytes())
		}
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

// One attempt, without a queue.
func TestResize(t *testing.T) {
	f := media.ResizeImage.Handle(resize)
	out, err := penstocktest.Exec(t, f, media.Resize{URL: pictures(t) + "/cat", Width: 20})
	if err != nil || out.Width != 20 || out.Height != 10 || len(out.PNG) == 0 {
		t.Errorf("%d × %d, %d bytes, %v", out.Width, out.Height, len(out.PNG), err)
	}
}

// Retries and dead letters, over the real queue with a clock in the hand.
func TestBusyHostsAndBadPictures(t *testing.T) {
	url := pictures(t)
	s := penstocktest.New(t, media.ResizeImage.Handle(resize))
	busy, err := media.ResizeImage.Enqueue(t.Context(), s.Client(), media.Resize{URL: url + "/busy", Width: 20})
	if err != nil {
		t.Fatal(err)
	}
	text, err := media.ResizeImage.Enqueue(t.Context(), s.Client(), media.Resize{URL: url + "/text", Width: 20})
	if err != nil {
		t.Fatal(err)
	}
	drain := func() {
		t.Helper()
		if err := s.Drain(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	drain()
	var failed *penstock.TaskError
	if _, err := text.Wait(t.Context()); !errors.As(err, &failed) || failed.State != penstock.Dead || failed.Failures != 1 {
		t.Errorf("text: %v", err)
	}
	if in, err := busy.Info(t.Context()); err != nil || in.State != penstock.Scheduled || in.Failures != 1 {
		t.Fatalf("busy: %v after %d failures, %v", in.State, in.Failures, err)
	}
	s.Advance(30 * time.Second)
	drain()
	if out, err := busy.Wait(t.Context()); out.Width != 20 || err != nil {
		t.Errorf("busy: %d pixels wide, %v", out.Width, err)
	}
}
