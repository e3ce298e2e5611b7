package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

func (a *app) purgeCommand() *cobra.Command {
	var states []string
	var yes, dry bool
	cmd := &cobra.Command{
		Use:     "purge [flags] QUEUE",
		GroupID: groupQueue,
		Short:   "Delete all waiting tasks, or all dead letters, of a queue",
		Long: `Delete all tasks of a queue that are in a state: by default those that wait (ready
and scheduled), with --state dead its dead letters. Running tasks stay. The
number of tasks is told and must be confirmed, on a terminal by an answer, elsewhere
by --yes; --dry-run only tells it.`,
		Example: `  penstock purge mail --dry-run
  penstock purge mail --state dead --yes`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var picked []task.State
			for _, s := range states {
				state, ok := task.ParseState(s)
				if !ok || state != task.Ready && state != task.Scheduled && state != task.Blocked && state != task.Dead {
					return usagef("%q is not a state that can be purged: use ready, scheduled, blocked or dead", s)
				}
				picked = append(picked, state)
			}
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			qs, err := c.Queues(cmd.Context(), args)
			if err != nil {
				return fmt.Errorf("count tasks: %w", err)
			}
			if len(qs) == 0 {
				return fmt.Errorf("no queue is called %q: penstock queues lists them", args[0])
			}
			out := changed{Verb: "purge", past: "purged", DryRun: dry, Matched: countIn(&qs[0], picked)}
			if dry || out.Matched == 0 {
				return a.printChanged(&out)
			}
			if err := a.confirm(fmt.Sprintf("delete %s of queue %s", plural(out.Matched, "task", "tasks"), args[0]), yes); err != nil {
				return err
			}
			if out.Changed, err = c.Purge(cmd.Context(), args[0], picked); err != nil {
				return fmt.Errorf("purge queue %s: %w", args[0], err)
			}
			return a.printChanged(&out)
		},
	}
	fs := cmd.Flags()
	fs.StringSliceVarP(&states, "state", "s", []string{"ready", "scheduled"}, "`states` whose tasks are deleted: ready, scheduled, blocked or dead")
	fs.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fs.BoolVar(&dry, "dry-run", false, "change nothing, tell what would be")
	return cmd
}

func countIn(q *task.QueueInfo, states []task.State) (n int64) {
	for _, s := range states {
		switch s {
		case task.Ready:
			n += q.Ready
		case task.Scheduled:
			n += q.Scheduled
		case task.Blocked:
			n += q.Blocked
		case task.Dead:
			n += q.Dead
		}
	}
	return n
}
