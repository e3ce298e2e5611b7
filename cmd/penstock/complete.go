package main

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

// completions teach the shell what stands behind a flag or a command: formats,
// states and, asked of the server, the names of queues.
func (a *app) completions(root *cobra.Command) {
	fixed := func(words []string) cobra.CompletionFunc {
		return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp)
	}
	var states []string
	for s := task.Scheduled; s <= task.Expired; s++ {
		states = append(states, s.String())
	}
	byFlag := map[string]cobra.CompletionFunc{
		"output": fixed(formats), "state": fixed(states), "history": fixed(historyNames), "claims": fixed(claimsNames),
		"log-format": fixed([]string{"text", "json"}), "log-level": fixed([]string{"debug", "info", "warn", "error"}),
		"queue": a.completeQueues,
	}
	byCommand := map[string]bool{"pause": true, "resume": true, "purge": true, "queues": true, "set": true, "top": true}
	var walk func(cmd *cobra.Command)
	walk = func(cmd *cobra.Command) {
		for name, f := range byFlag {
			if cmd.Flags().Lookup(name) != nil || cmd.PersistentFlags().Lookup(name) != nil {
				_ = cmd.RegisterFlagCompletionFunc(name, f) // fails for a flag that has one
			}
		}
		if byCommand[cmd.Name()] {
			cmd.ValidArgsFunction = a.completeQueues
		}
		for _, c := range cmd.Commands() {
			walk(c)
		}
	}
	walk(root)
}

func (a *app) completeQueues(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(cmd.Context(), time.Second)
	defer cancel()
	c, err := a.inspect(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	defer c.Close()
	qs, err := c.Queues(ctx, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	names := make([]string, len(qs))
	for i := range qs {
		names[i] = qs[i].Name
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
