package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"golang.org/x/term"
)

// app is what all commands share: the streams and the flags that stand on
// every command.
type app struct {
	stdin                io.Reader
	stdout               io.Writer
	stderr               io.Writer
	stdoutTTY, stderrTTY bool
	style                style // for stdout

	url       string
	tokenFile string
	output    string
	running   string // the command's path, for hints

	sayMu  sync.Mutex  // keeps lines on stderr whole
	hushed atomic.Bool // notices would break the screen
}

const defaultURL = "http://127.0.0.1:7070"

func newApp(stdin io.Reader, stdout, stderr io.Writer) *app {
	a := &app{stdin: stdin, stdout: stdout, stderr: stderr}
	a.stdoutTTY, a.stderrTTY = isTerminal(stdout), isTerminal(stderr)
	a.style.on = a.stdoutTTY && os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return a
}

func isTerminal(w any) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// say writes one line for people.
func (a *app) say(format string, args ...any) {
	a.sayMu.Lock()
	defer a.sayMu.Unlock()
	fmt.Fprintf(a.stderr, format+"\n", args...)
}

func (a *app) format() string {
	if a.output != "" {
		return a.output
	}
	if a.stdoutTTY {
		return "table"
	}
	return "tsv"
}

// tabular says that a listing is a table with heads, for people.
func (a *app) tabular() bool {
	return a.format() == "table" || a.format() == "wide" && a.stdoutTTY
}

// Groups of commands in the help of the root.
const (
	groupServe = "serve"
	groupTasks = "tasks"
	groupQueue = "queues"
	groupMore  = "more"
)

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "penstock",
		Short: "A durable, distributed task queue in one binary",
		Long: `Penstock is a durable task queue: producers enqueue tasks, workers lease and
execute them, results come back. Nothing is acknowledged before it is on disk.

  penstock dev                                      a server to try things on
  penstock enqueue --queue hash go.mod go.sum       two tasks; prints their IDs
  penstock work --queue hash --exec 'sha256sum {}'  any program is a worker
  penstock wait ID                                  prints the result

Data goes to stdout, everything else to stderr. Listings are tables on a terminal
and tab-separated values elsewhere, without heads, and with moments where a table
shows ages; -o chooses another format. JSON has the names of the HTTP interface.

Lengths of time are written 500ms, 90s, 1h30m or 7d, bytes 64MiB or 1000.

A server of this machine (127.0.0.1, ::1, localhost) that has just been started may
not be there yet: where nobody listens, a command tries on for 2 s before it says so.

Exit status: 0 done, 1 error, 2 wrong usage, 3 the task failed, 4 timed out.`,
		Example: `  find . -name '*.go' | penstock enqueue --queue hash --from-stdin | penstock wait --from-stdin`,
		Args:    unknownCommand,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return cmd.Help()
		},
		SuggestionsMinimumDistance: 2,
		SilenceErrors:              true,
		SilenceUsage:               true,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error {
			a.running = cmd.CommandPath()
			return checkFormat(a.output)
		},
	}
	root.SetIn(a.stdin)
	root.SetOut(a.stdout)
	root.SetErr(a.stderr)
	root.AddGroup(
		&cobra.Group{ID: groupServe, Title: "Serve"},
		&cobra.Group{ID: groupTasks, Title: "Tasks"},
		&cobra.Group{ID: groupQueue, Title: "Queues"},
		&cobra.Group{ID: groupMore, Title: "More"},
	)
	root.SetHelpCommandGroupID(groupMore)
	root.SetCompletionCommandGroupID(groupMore)
	a.globalFlags(root.PersistentFlags())
	a.addCommands(root)
	root.InitDefaultCompletionCmd()
	for _, cmd := range root.Commands() {
		if cmd.Name() == "completion" { // for a shell that it does not know it would show its help
			cmd.Args, cmd.RunE = unknownCommand, func(cmd *cobra.Command, _ []string) error { return cmd.Help() }
		}
	}
	a.completions(root)
	a.strict(root)
	return root
}

func unknownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	text := fmt.Sprintf("unknown command %q", args[0])
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		text += "; did you mean " + strings.Join(near, " or ") + "?"
	}
	return errors.New(text)
}

func (a *app) globalFlags(fs *pflag.FlagSet) {
	fs.StringVar(&a.url, "url", "", "`address` of the server (default $PENSTOCK_URL, or "+defaultURL+")")
	fs.StringVar(&a.tokenFile, "token-file", "", "`file` that holds the access token (default $PENSTOCK_TOKEN_FILE; or the token itself in $PENSTOCK_TOKEN)")
	fs.StringVarP(&a.output, "output", "o", "", "`format` of the output: table, tsv, wide (more columns), json, jsonl (one object a line), yaml or name (IDs or names only)")
	fs.SortFlags = false
}

// strict makes wrong usage an error with a status of its own, on every
// command: wrong arguments, wrong flags, and the same flag twice.
func (a *app) strict(root *cobra.Command) {
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		a.running = cmd.CommandPath()
		return &statusError{exitUsage, err}
	})
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		cmd.Flags().SortFlags = false
		cmd.Flags().VisitAll(onlyOnce)
		cmd.PersistentFlags().VisitAll(onlyOnce)
		args := cmd.Args
		cmd.Args = func(cmd *cobra.Command, words []string) error {
			a.running = cmd.CommandPath()
			if args == nil {
				return nil
			}
			if err := args(cmd, words); err != nil {
				return &statusError{exitUsage, err}
			}
			return nil
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
}

// onlyOnce refuses a second value for a flag that holds one.
func onlyOnce(f *pflag.Flag) {
	if _, list := f.Value.(pflag.SliceValue); list {
		return
	}
	if f.DefValue == "0s" {
		f.DefValue = "" // the help tells in words what zero means
	}
	if _, done := f.Value.(*once); !done {
		f.Value = &once{Value: f.Value}
	}
}

type once struct {
	pflag.Value
	set bool
}

// Set implements pflag.Value.
func (o *once) Set(s string) error {
	if o.set {
		return fmt.Errorf("it is given twice: give it once")
	}
	o.set = true
	if o.Type() == "duration" {
		s = inHours(s)
	}
	return o.Value.Set(s)
}
