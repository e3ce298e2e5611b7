//go:build unix

package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/penstock-io/penstock/server"
)

func TestMain(m *testing.M) {
	if fifo := os.Getenv(holderEnv); fifo != "" && len(os.Args) == 1 {
		_ = os.Unsetenv(holderEnv)
		holdChildren(fifo)
	}
	if len(os.Args) == 2 && os.Args[1] == guardCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	// Under -race each process that a test starts would sleep at its end.
	_ = os.Setenv("GORACE", strings.TrimSpace(os.Getenv("GORACE")+" atexit_sleep_ms=0"))
	testscript.Main(m, map[string]func(){"penstock": main})
}

// TestScripts runs testdata/script: each is a session on a terminal that is no
// terminal, against a server of its own.
func TestScripts(t *testing.T) {
	testscript.Run(t, testscript.Params{
		Dir:                 "testdata/script",
		RequireExplicitExec: true,
		Setup: func(env *testscript.Env) error {
			srv, err := server.Open(server.Config{Dir: env.WorkDir + "/.data", HTTP: "127.0.0.1:0"})
			if err != nil {
				return err
			}
			env.Defer(func() { _ = srv.Close() })
			env.Setenv("PENSTOCK_URL", srv.URL())
			env.Setenv("GORACE", os.Getenv("GORACE"))
			return nil
		},
		Cmds: map[string]func(ts *testscript.TestScript, neg bool, args []string){"status": scriptStatus},
	})
}

// scriptStatus runs a command and wants one exit status: status 3 penstock wait …
func scriptStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s ended with status %d, not %s", strings.Join(args[1:], " "), got, args[0])
	}
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}
