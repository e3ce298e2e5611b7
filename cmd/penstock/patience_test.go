package main

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

// TestPatience has a command wait for a server of this machine that is not there
// yet, and for nothing else.
func TestPatience(t *testing.T) {
	refused := &net.OpError{Op: "dial", Net: "tcp", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	f := func(addr string, serves time.Duration, failure error, limit, took time.Duration, ok bool) {
		t.Helper()
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), limit)
			defer cancel()
			begin := time.Now()
			dial := patient(func(context.Context, string) (net.Conn, error) {
				if time.Since(begin) >= serves {
					return nil, nil
				}
				return nil, failure
			})
			_, err := dial(ctx, addr)
			if (err == nil) != ok || err != nil && !errors.Is(err, failure) {
				t.Errorf("%s: got %v", addr, err)
			}
			if got := time.Since(begin); got < took || got > took+patiencePause {
				t.Errorf("%s: took %v, want %v", addr, got, took)
			}
		})
	}
	f("127.0.0.1:7070", 0, refused, time.Minute, 0, true)
	f("127.0.0.1:7070", time.Second, refused, time.Minute, time.Second, true)
	f("[::1]:7070", time.Second, refused, time.Minute, time.Second, true)
	f("localhost:7070", time.Hour, refused, time.Minute, patience, false)
	f("127.0.0.1:7070", time.Hour, refused, time.Second, time.Second, false)
	f("127.0.0.1:7070", time.Hour, syscall.ECONNRESET, time.Minute, 0, false)
	f("10.0.0.1:7070", time.Hour, refused, time.Minute, 0, false)
	f("queue.internal:7070", time.Hour, refused, time.Minute, 0, false)
}
