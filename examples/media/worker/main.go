// Command worker resizes pictures until it is interrupted.
package main

import (
	"bytes"
	"context"
	"fmt"
	"image"
	_ "image/gif"
	_ "image/jpeg"
	"image/png"
	"log"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"time"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/examples/media"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	c, err := penstock.Dial(ctx, "")
	if err != nil {
		log.Fatal(err)
	}
	defer c.Close()
	w := c.Worker(penstock.Worker{Concurrency: 16, DrainTimeout: 20 * time.Second, Middleware: []penstock.Middleware{timed}},
		media.ResizeImage.Handle(resize))
	if err := w.Run(ctx); err != nil {
		log.Fatal(err)
	}
}

// timed logs how long each attempt took; the line is kept with the task.
func timed(ctx context.Context, a *penstock.Attempt, next func(context.Context) error) error {
	began := time.Now()
	err := next(ctx)
	penstock.Log(ctx).Info("attempt is over", "took", time.Since(began), "error", err)
	return err
}

func resize(ctx context.Context, in media.Resize) (media.Resized, error) {
	penstock.Progress(ctx, 0, 2, "fetching")
	src, err := fetch(ctx, in.URL)
	if err != nil {
		return media.Resized{}, err
	}
	penstock.Progress(ctx, 1, 2, "scaling")
	dst := scale(src, in.Width)
	var buf bytes.Buffer
	if err := png.Encode(&buf, dst); err != nil {
		return media.Resized{}, err
	}
	return media.Resized{Width: dst.Bounds().Dx(), Height: dst.Bounds().Dy(), PNG: buf.Bytes()}, nil
}

func fetch(ctx context.Context, url string) (image.Image, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, penstock.Permanent(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err // tried again after the task's backoff
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
	case http.StatusTooManyRequests:
		s, _ := strconv.Atoi(res.Header.Get("Retry-After"))
		return nil, &media.RateLimited{Wait: time.Duration(max(s, 1)) * time.Second}
	case http.StatusNotFound, http.StatusGone:
		return nil, &media.BadImage{Why: res.Status}
	default:
		return nil, fmt.Errorf("get %s: %s", url, res.Status)
	}
	img, _, err := image.Decode(res.Body)
	if err != nil {
		return nil, &media.BadImage{Why: err.Error()}
	}
	return img, nil
}

// scale takes the nearest pixels: good enough for an example.
func scale(src image.Image, width int) image.Image {
	b := src.Bounds()
	if width <= 0 || width >= b.Dx() {
		return src
	}
	height := max(b.Dy()*width/b.Dx(), 1)
	dst := image.NewRGBA(image.Rect(0, 0, width, height))
	for y := range height {
		for x := range width {
			dst.Set(x, y, src.At(b.Min.X+x*b.Dx()/width, b.Min.Y+y*b.Dy()/height))
		}
	}
	return dst
}
