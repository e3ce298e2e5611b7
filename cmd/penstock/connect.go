package main

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"strconv"
	"strings"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/rpc/client"
)

// connect dials the server that --url, PENSTOCK_URL or the default name.
func (a *app) connect(ctx context.Context, opts ...penstock.DialOption) (*penstock.Client, error) {
	address, err := serverURL(a.url)
	if err != nil {
		return nil, err
	}
	a.url = address
	token, err := clientToken(a.tokenFile)
	if err != nil {
		return nil, err
	}
	opts = append([]penstock.DialOption{
		penstock.WithToken(token),
		penstock.WithName("penstock " + version),
		penstock.WithLogger(slog.New(a.notices())),
		penstock.WithDialer(patient(dialTCP)),
	}, opts...)
	return penstock.Dial(ctx, address, opts...)
}

func serverURL(flag string) (string, error) {
	s := flag
	if s == "" {
		s = os.Getenv("PENSTOCK_URL")
	}
	if s == "" {
		s = penstock.DefaultURL
	}
	bare := !strings.Contains(s, "://")
	if bare {
		s = "http://" + s
	}
	u, err := url.Parse(s)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.User != nil {
		return "", usagef("%q is not an address: write http://host:port", s)
	}
	if n, err := strconv.ParseUint(u.Port(), 10, 16); u.Port() != "" && (err != nil || n == 0) {
		return "", usagef("%q is not an address: a port is a number from 1 to 65535", s)
	}
	if bare && u.Port() == "" {
		return s + ":7070", nil // as the SDK has it
	}
	return strings.TrimRight(s, "/"), nil
}

func clientToken(file string) (string, error) {
	if file == "" && os.Getenv("PENSTOCK_TOKEN") == "" {
		file = os.Getenv("PENSTOCK_TOKEN_FILE")
	}
	if file == "" {
		return os.Getenv("PENSTOCK_TOKEN"), nil
	}
	return readToken(file)
}

// notices is a slog handler for the terminal of a command line: one plain line
// for what is worth a person's attention.
func (a *app) notices() slog.Handler { return &noticeHandler{a: a} }

type noticeHandler struct {
	a     *app
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *noticeHandler) Enabled(_ context.Context, l slog.Level) bool {
	return l >= slog.LevelWarn && !h.a.hushed.Load()
}

// Handle implements slog.Handler.
func (h *noticeHandler) Handle(_ context.Context, r slog.Record) error {
	var b strings.Builder
	put := func(at slog.Attr) bool {
		b.WriteString(" " + at.Key + "=" + brief(at.Value.String()))
		return true
	}
	for _, at := range h.attrs {
		put(at)
	}
	r.Attrs(put)
	h.a.say("penstock: %s%s", r.Message, b.String())
	return nil
}

// WithAttrs implements slog.Handler.
func (h *noticeHandler) WithAttrs(as []slog.Attr) slog.Handler {
	return &noticeHandler{h.a, append(h.attrs[:len(h.attrs):len(h.attrs)], as...)}
}

// WithGroup implements slog.Handler: a line for people needs no groups.
func (h *noticeHandler) WithGroup(string) slog.Handler { return h }

// inspect dials for commands that ask and tell what the SDK has no use for.
func (a *app) inspect(ctx context.Context) (*client.Conn, error) {
	return a.inspectBy(ctx, patient(dialTCP))
}

func (a *app) inspectBy(ctx context.Context, dial dialFunc) (*client.Conn, error) {
	address, err := serverURL(a.url)
	if err != nil {
		return nil, err
	}
	a.url = address
	token, err := clientToken(a.tokenFile)
	if err != nil {
		return nil, err
	}
	return client.Dial(ctx, address, client.Options{
		Token: token, Name: "penstock " + version, Logger: slog.New(a.notices()), Dialer: dial,
	})
}
