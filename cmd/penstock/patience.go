package main

import (
	"context"
	"errors"
	"net"
	"syscall"
	"time"
)

// A server that the line before has started on this machine may not be there yet.
const (
	patience      = 2 * time.Second
	patiencePause = 20 * time.Millisecond
)

// dialFunc opens a connection to host:port.
type dialFunc func(ctx context.Context, addr string) (net.Conn, error)

func dialTCP(ctx context.Context, addr string) (net.Conn, error) {
	return (&net.Dialer{}).DialContext(ctx, "tcp", addr)
}

// patient is dial, which for patience from now on is tried again where nobody
// listens on loopback. All other errors come at once, and so does the end of ctx.
func patient(dial dialFunc) dialFunc {
	until := time.Now().Add(patience)
	return func(ctx context.Context, addr string) (net.Conn, error) {
		host, _, _ := net.SplitHostPort(addr)
		for {
			conn, err := dial(ctx, addr)
			if !errors.Is(err, syscall.ECONNREFUSED) || !loopback(host) || !time.Now().Before(until) {
				return conn, err
			}
			select {
			case <-time.After(patiencePause):
			case <-ctx.Done():
				return nil, err
			}
		}
	}
}
