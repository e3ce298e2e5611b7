//go:build unix

package main

import (
	"context"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"
)

func TestMain(m *testing.M) {
	if fifo := os.Getenv(holderEnv); fifo != "" && len(os.Args) == 1 {
		_ = os.Unsetenv(holderEnv)
		holdChildren(fifo)
	}
	if len(os.Args) == 2 && os.Args[1] == guardCommand {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
	}
	testscript.Main(m, map[string]func(){"penstock": main})
}
