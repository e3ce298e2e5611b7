package client

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"
)

// Options of Dial. The zero value is good for a server on loopback.
type Options struct {
	Token  string       // bearer token; "" = none
	TLS    *tls.Config  // for https addresses; nil = the system's roots
	Logger *slog.Logger // nil = silent
	Name   string       // shown to the server: program and version
	Lazy   bool         // return at once and connect in the background

	// DialTimeout bounds the first connection; 0 = 5 s. ctx bounds it too.
	DialTimeout time.Duration
	// RepeatFor is how long an unanswered enqueue is repeated after a lost
	// connection before its outcome counts as unknown; 0 = half of what the
	// server keeps idle producer sessions for (5 min).
	RepeatFor time.Duration
	// Dialer replaces the TCP dial, for tests and tunnels.
	Dialer func(ctx context.Context, addr string) (net.Conn, error)
}
