package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

func (a *app) getCommand() *cobra.Command {
	var payload, result bool
	cmd := &cobra.Command{
		Use:     "get [flags] ID...",
		Aliases: []string{"show"},
		GroupID: groupTasks,
		Short:   "Show all that is known of tasks",
		Long: `Show all that is known of tasks: state, attempts, payload, result, error, log.
An ID may be given whole, or by four or more letters of its beginning or end that no
other of the 10,000 newest tasks shares.`,
		Example: `  penstock get 0400...
  penstock get 0400... -o json
  penstock get 0400... --result > out`,
		Args: cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if payload && result {
				return usagef("--payload and --result exclude each other: use one")
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			return a.get(cmd.Context(), c, args, payload, result)
		},
	}
	cmd.Flags().BoolVar(&payload, "payload", false, "print the payload only, byte for byte")
	cmd.Flags().BoolVar(&result, "result", false, "print the result only, byte for byte")
	return cmd
}

func (a *app) get(ctx context.Context, c *penstock.Client, args []string, payload, result bool) error {
	rows := newRows(a, a.taskListing())
	for i, arg := range args {
		id, err := a.resolve(ctx, c, arg, false)
		if err != nil {
			return err
		}
		in, err := c.Get(ctx, id)
		if err != nil {
			return fmt.Errorf("get task %s: %w", arg, err)
		}
		switch {
		case payload || result:
			raw := in.Payload
			if result {
				raw = in.Result
			}
			if _, err := a.stdout.Write(raw); err != nil {
				return err
			}
		case a.format() == "table":
			if i > 0 {
				fmt.Fprintln(a.stdout)
			}
			if _, err := fmt.Fprint(a.stdout, a.details(in)); err != nil {
				return err
			}
		case len(args) == 1:
			return printOne(a, a.taskListing(), viewOf(in))
		default:
			rows.add(viewOf(in))
		}
	}
	if payload || result || a.format() == "table" {
		return nil
	}
	return rows.close()
}

// resolveMax is how many tasks are looked through for a part of an ID.
const resolveMax = 10_000

// resolve finds the ID that text is, or is a part of. With sure a part must be of no
// other task at all, which can't be told where there are too many to look through.
func (a *app) resolve(ctx context.Context, c *penstock.Client, text string, sure bool) (penstock.ID, error) {
	id, wrong := penstock.ParseID(text)
	if wrong == nil {
		return id, nil
	}
	const partMin = 4
	if len(text) < partMin || strings.Trim(text, "0123456789abcdefghjkmnpqrstvwxyz") != "" {
		return id, &statusError{exitUsage, wrong}
	}
	f := penstock.Filter{Limit: task.ListMax}
	found, seen := 0, 0
	for seen < resolveMax {
		page, err := c.List(ctx, f)
		if err != nil {
			return id, fmt.Errorf("look for task %s: %w", text, err)
		}
		for _, in := range page.Tasks {
			if s := in.ID.String(); strings.HasPrefix(s, text) || strings.HasSuffix(s, text) {
				id, found = in.ID, found+1
			}
		}
		if seen += len(page.Tasks); page.Next == "" {
			f.Cursor = ""
			break
		}
		f.Cursor = page.Next
	}
	switch found {
	case 1:
		if sure && f.Cursor != "" {
			return id, usagef("%s may be a part of other IDs too, of more than %d tasks: give the whole ID; it may be %v", text, seen, id)
		}
		return id, nil
	case 0:
		return id, fmt.Errorf("no task has %s at the beginning or the end of its ID: copy the whole ID from what enqueue printed", text)
	}
	return id, usagef("%d tasks have %s at the beginning or the end of their IDs: give more of it", found, text)
}

// filterFlags pick tasks: by flags, or by words such as state:dead.
type filterFlags struct {
	queue, typ string
	states     []string
	limit      int
	cursor     string
	fs         *pflag.FlagSet
}

func (f *filterFlags) add(fs *pflag.FlagSet, limit int, limitHelp string) {
	f.fs = fs
	fs.StringVarP(&f.queue, "queue", "q", "", "only tasks of the queue of this `name`")
	fs.StringVarP(&f.typ, "type", "t", "", "only tasks of the type of this `name`")
	fs.StringSliceVarP(&f.states, "state", "s", nil, "only tasks in one of these `states`, separated by commas: scheduled, ready, blocked, running, succeeded, dead, canceled or expired")
	fs.IntVarP(&f.limit, "limit", "n", limit, limitHelp)
}

// words takes filter words out of the arguments and returns the others. One
// without a value, as of a shell's variable that is not set, would pick all.
func (f *filterFlags) words(args []string) (rest []string, err error) {
	for _, name := range []string{"queue", "type", "state"} {
		if g := f.fs.Lookup(name); g.Changed && (g.Value.String() == "" || g.Value.String() == "[]") {
			return nil, usagef("--%s is empty: leave it out to pick all", name)
		}
	}
	for _, arg := range args {
		name, value, ok := strings.Cut(arg, ":")
		switch {
		case !ok:
			rest = append(rest, arg)
		case value == "" && (name == "queue" || name == "type" || name == "state"):
			return nil, usagef("%s names nothing: leave it out to pick all", arg)
		case name == "queue" && (f.queue == "" || f.queue == value):
			f.queue = value
		case name == "type" && (f.typ == "" || f.typ == value):
			f.typ = value
		case name == "state":
			f.states = append(f.states, strings.Split(value, ",")...)
		case name == "queue" || name == "type":
			return nil, usagef("%s: the filter names one %s already", arg, name)
		default:
			return nil, usagef("%s: the filter knows queue:, type: and state:", arg)
		}
	}
	return rest, nil
}

func (f *filterFlags) empty() bool { return f.queue == "" && f.typ == "" && len(f.states) == 0 }

func (f *filterFlags) filter() (penstock.Filter, error) {
	out := penstock.Filter{Queue: f.queue, Type: f.typ, Cursor: f.cursor}
	for _, s := range f.states {
		state, err := penstock.ParseState(s)
		if err != nil {
			return out, &statusError{exitUsage, err}
		}
		out.States = append(out.States, state)
	}
	if f.limit < 0 {
		return out, usagef("--limit %d: use 1 or more, or 0 for all", f.limit)
	}
	return out, nil
}

// each calls fn for the tasks that the filter picks, up to limit (0 = all), and
// returns the cursor of what follows.
func each(ctx context.Context, c *penstock.Client, f penstock.Filter, limit int, fn func(penstock.Info)) (next string, err error) {
	for n := 0; ; {
		f.Limit = task.ListMax
		if limit > 0 {
			f.Limit = min(f.Limit, limit-n)
		}
		page, err := c.List(ctx, f)
		if err != nil {
			return "", fmt.Errorf("list tasks: %w", err)
		}
		for _, in := range page.Tasks {
			fn(in)
		}
		n += len(page.Tasks)
		if page.Next == "" || limit > 0 && n >= limit {
			return page.Next, nil
		}
		f.Cursor = page.Next
	}
}

func (a *app) lsCommand() *cobra.Command {
	var f filterFlags
	cmd := &cobra.Command{
		Use:     "ls [flags] [queue:NAME] [type:NAME] [state:STATE]",
		Aliases: []string{"list"},
		GroupID: groupTasks,
		Short:   "List tasks, newest first within a state",
		Long: `List tasks, newest first within a state. Without a filter all tasks are listed, up
to --limit; where there are more, the way to the next page is told on stderr.`,
		Example: `  penstock ls
  penstock ls queue:mail state:dead
  penstock ls --queue mail --state dead,expired -o wide
  penstock ls state:dead --limit 0 -o jsonl > dead.jsonl`,
		RunE: func(cmd *cobra.Command, args []string) error {
			rest, err := f.words(args)
			if err != nil {
				return err
			}
			if len(rest) > 0 {
				return usagef("%s is no filter: write queue:NAME, type:NAME or state:STATE; penstock get shows a task by its ID", rest[0])
			}
			filter, err := f.filter()
			if err != nil {
				return err
			}
			c, err := a.connect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			rows := newRows(a, a.taskListing())
			next, err := each(cmd.Context(), c, filter, f.limit, func(in penstock.Info) { rows.add(viewOf(in)) })
			if err != nil {
				return err
			}
			if err := rows.close(); err != nil {
				return err
			}
			if rows.n == 0 && a.stdoutTTY {
				a.say("no tasks")
			}
			if next != "" {
				a.say("more: --cursor %s", next)
			}
			return nil
		},
	}
	f.add(cmd.Flags(), 100, "at most so many tasks; 0 is all")
	cmd.Flags().StringVar(&f.cursor, "cursor", "", "go on where a page ended")
	return cmd
}
