package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

// completions teach the shell what stands behind a flag or a command: formats,
// states and, asked of the server, the names of queues and types.
func (a *app) completions(root *cobra.Command) {
	fixed := func(words []string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	byFlag := map[string]cobra.CompletionFunc{
		"output": fixed(formats), "state": fixed(stateNames()), "history": fixed(historyNames), "claims": fixed(claimsNames),
		"log-format": fixed([]string{"text", "json"}), "log-level": fixed([]string{"debug", "info", "warn", "error"}),
		"queue": a.completeQueues, "type": a.completeTypes,
	}
	byCommand := map[string]cobra.CompletionFunc{
		"pause": a.completeQueues, "resume": a.completeQueues, "purge": a.completeQueues, "queues": a.completeQueues,
		"set": a.completeQueues, "top": a.completeQueues, "ls": a.completeFilter, "cancel": a.completeFilter,
		"retry": a.completeFilter, "delete": a.completeFilter, "get": cobra.NoFileCompletions, "wait": cobra.NoFileCompletions,
	}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for name, f := range byFlag {
			if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, f) // fails for a flag that has one
			}
		}
		if f := byCommand[cmd.Name()]; f != nil && cmd.ValidArgsFunction == nil { // queues delete has its own
			cmd.ValidArgsFunction = f
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
}

// queueNames and the like are asked of the server; without one there are none.
func (a *app) queueNames(ctx context.Context) (names []string) {
	a.ask(ctx, func(ctx context.Context, c task.Inspector) {
		qs, _ := c.Queues(ctx, nil)
		for i := range qs {
			names = append(names, qs[i].Name)
		}
	})
	return names
}

// typeNames are the types that workers serve, and those that none does.
func (a *app) typeNames(ctx context.Context) (names []string) {
	a.ask(ctx, func(ctx context.Context, c task.Inspector) {
		qs, _ := c.Queues(ctx, nil)
		for i := range qs {
			for _, u := range qs[i].Unserved {
				names = append(names, u.Type)
			}
		}
		n, _ := c.Node(ctx)
		for _, w := range n.Workers {
			names = append(names, w.Types...)
		}
	})
	slices.Sort(names)
	return slices.Compact(names)
}

func (a *app) ask(ctx context.Context, f func(context.Context, task.Inspector)) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	if c, err := a.inspectBy(ctx, dialTCP); err == nil { // a shell waits for it
		f(ctx, c)
		_ = c.Close()
	}
}

func (a *app) completeQueues(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	names := slices.DeleteFunc(a.queueNames(cmd.Context()), func(q string) bool { return slices.Contains(args, q) })
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (a *app) completeTypes(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return a.typeNames(cmd.Context()), cobra.ShellCompDirectiveNoFileComp
}

// completeFilter offers the words of a filter, and behind a word its values.
func (a *app) completeFilter(cmd *cobra.Command, _ []string, begun string) ([]string, cobra.ShellCompDirective) {
	name, _, valued := strings.Cut(begun, ":")
	if !valued {
		return []string{"queue:", "type:", "state:"}, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	var values []string
	switch name {
	case "queue":
		values = a.queueNames(cmd.Context())
	case "type":
		values = a.typeNames(cmd.Context())
	case "state":
		values = stateNames()
	}
	for i := range values {
		values[i] = name + ":" + values[i]
	}
	return values, cobra.ShellCompDirectiveNoFileComp
}

func stateNames() (names []string) {
	for s := task.Scheduled; s <= task.Expired; s++ {
		names = append(names, s.String())
	}
	return names
}
