package main

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock"
	"github.com/penstock-io/penstock/internal/task"
)

// change is a verb that does the same to many tasks.
type change struct {
	verb   penstock.Verb
	name   string // cancel
	past   string // canceled
	states []penstock.State
	short  string
	long   string
}

var changes = []change{
	{
		verb: penstock.VerbCancel, name: "cancel", past: "canceled",
		states: []penstock.State{penstock.Scheduled, penstock.Ready, penstock.Blocked, penstock.Running},
		short:  "End tasks; running ones are told to stop",
		long: `End tasks. The program or handler of a running task is told to stop, and what it
still reports is dropped. A filter picks waiting and running tasks unless it names a state.`,
	},
	{
		verb: penstock.VerbRetry, name: "retry", past: "retried",
		states: []penstock.State{penstock.Dead},
		short:  "Have dead, canceled or expired tasks wait again, and scheduled ones run now",
		long: `Have dead, canceled or expired tasks wait again with all their attempts, and
scheduled tasks run now. A filter picks dead tasks unless it names a state.`,
	},
	{
		verb: penstock.VerbDelete, name: "delete", past: "deleted",
		short: "Forget tasks, whatever their state but running",
		long: `Forget tasks, whatever their state but running: they are not found any more. Their
idempotency keys are free at once, but for those of tasks that have succeeded. A
filter must name a state. To empty a whole queue, penstock purge is quicker, and
leaves the keys to the end of their window.`,
	},
}

func (a *app) changeCommand(ch change) *cobra.Command {
	var f filterFlags
	var yes, dry bool
	cmd := &cobra.Command{
		Use:     ch.name + " [flags] ID... | queue:NAME type:NAME state:STATE",
		GroupID: groupTasks,
		Short:   ch.short,
		Long: ch.long + `

Many tasks at once: a filter instead of IDs. The number of tasks is told and must be
confirmed, on a terminal by an answer, elsewhere by --yes; --dry-run only tells it.

An ID may be given by four or more letters of its beginning or end that no other task
has; with more than 10,000 tasks it must be whole.`,
		Example: fmt.Sprintf(`  penstock %[1]s 0400...
  penstock %[1]s queue:mail state:dead --dry-run
  penstock %[1]s --queue mail --state dead --yes`, ch.name),
		RunE: func(cmd *cobra.Command, args []string) error {
			ids, err := f.words(args)
			if err != nil {
				return err
			}
			if len(ids) > 0 == !f.empty() {
				return usagef("give either IDs or a filter, such as queue:mail state:dead")
			}
			if len(f.states) == 0 && !f.empty() {
				if ch.states == nil {
					return usagef("name the state of the tasks to %s, such as state:dead", ch.name)
				}
				for _, s := range ch.states {
					f.states = append(f.states, s.String())
				}
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
			if len(ids) > 0 {
				return a.changeIDs(cmd.Context(), c, ch, ids, dry)
			}
			return a.changeAll(cmd.Context(), c, ch, filter, f.limit, yes, dry)
		},
	}
	f.add(cmd.Flags(), 0, "at most so many tasks; 0 is all that the filter picks")
	cmd.Flags().BoolVarP(&yes, "yes", "y", false, "do not ask")
	cmd.Flags().BoolVar(&dry, "dry-run", false, "change nothing, tell what would be")
	return cmd
}

// changed is what -o json shows of a change.
type changed struct {
	Verb    string `json:"verb"`
	Matched int64  `json:"matched"`
	Changed int64  `json:"changed"`
	Refused int64  `json:"refused"`
	DryRun  bool   `json:"dryRun,omitempty"`
	ids     []string
	past    string
}

func (a *app) changeIDs(ctx context.Context, c *penstock.Client, ch change, texts []string, dry bool) error {
	ids := make([]penstock.ID, len(texts))
	for i, text := range texts {
		id, err := a.resolve(ctx, c, text, true)
		if err != nil {
			return err
		}
		ids[i] = id
	}
	out := changed{Verb: ch.name, past: ch.past, DryRun: dry, Matched: int64(len(ids))}
	if !dry {
		a.apply(ctx, c, ch, ids, &out)
	}
	return a.printChanged(&out)
}

func (a *app) changeAll(ctx context.Context, c *penstock.Client, ch change, f penstock.Filter, limit int, yes, dry bool) error {
	var ids []penstock.ID
	if _, err := each(ctx, c, f, limit, func(in penstock.Info) { ids = append(ids, in.ID) }); err != nil {
		return err
	}
	out := changed{Verb: ch.name, past: ch.past, DryRun: dry, Matched: int64(len(ids))}
	if dry || len(ids) == 0 {
		return a.printChanged(&out)
	}
	if err := a.confirm(fmt.Sprintf("%s %s", ch.name, plural(out.Matched, "task", "tasks")), yes); err != nil {
		return err
	}
	for part := range slices.Chunk(ids, task.BatchMax) {
		a.apply(ctx, c, ch, part, &out)
		if a.stderrTTY && len(ids) > task.BatchMax {
			a.say("%s of %s", thousands(out.Changed+out.Refused), thousands(out.Matched))
		}
	}
	return a.printChanged(&out)
}

func (a *app) apply(ctx context.Context, c *penstock.Client, ch change, ids []penstock.ID, out *changed) {
	for i, err := range c.Change(ctx, ch.verb, ids) {
		if err == nil {
			out.Changed++
			out.ids = append(out.ids, ids[i].String())
			continue
		}
		if out.Refused++; out.Refused <= refusedShownMax {
			a.say("penstock: task %s: %s", ids[i], a.explain(err))
		}
	}
}

func (a *app) printChanged(out *changed) error {
	var err error
	switch a.output {
	case "json", "jsonl", "yaml":
		err = printOne(a, listing[*changed]{object: func(c *changed) any { return c }}, out)
	case "name":
		for _, id := range out.ids {
			if _, err = fmt.Fprintln(a.stdout, id); err != nil {
				break
			}
		}
	}
	n := out.Changed
	word := out.past
	if out.DryRun {
		n, word = out.Matched, "would be "+out.past
	}
	a.say("%s %s", plural(n, "task", "tasks"), word)
	if err == nil && out.Refused > 0 {
		a.say("%s refused", plural(out.Refused, "task", "tasks"))
		err = &statusError{status: exitError}
	}
	return err
}

// confirm asks before anything that many tasks feel.
func (a *app) confirm(what string, yes bool) error {
	if yes {
		return nil
	}
	if !isTerminal(a.stdin) || !a.stderrTTY {
		return usagef("this would %s: repeat it with --yes, or with --dry-run first", what)
	}
	fmt.Fprintf(a.stderr, "%s%s? [y/N] ", strings.ToUpper(what[:1]), what[1:])
	answer, _ := bufio.NewReader(a.stdin).ReadString('\n')
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &statusError{exitError, fmt.Errorf("nothing was changed")}
}
