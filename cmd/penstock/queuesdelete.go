package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

func (a *app) queuesDeleteCommand() *cobra.Command {
	var force, yes, dry bool
	cmd := &cobra.Command{
		Use:   "delete [flags] NAME...",
		Short: "Delete empty queues, or by --force those with waiting tasks too",
		Long: `Delete queues with their settings and counts. One that has tasks is kept, unless
--force is given: then what waits in it and its dead letters go too. One whose tasks
run is kept even then: pause it and let them end, or cancel them. Finished tasks of
a deleted queue are no longer found, and its idempotency keys are free. Who enqueues
to the name again makes a new queue, which workers that name it serve at once.

What would go is told and must be confirmed, on a terminal by an answer, elsewhere
by --yes; --dry-run only tells it. Queues that nobody has set need not be deleted:
they vanish when they were empty and unused for long (the server's --queue-idle).`,
		Example: `  penstock queues delete mail --dry-run
  penstock queues delete reply-1 reply-2 --yes
  penstock pause mail && penstock queues delete mail --force --yes`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: a.completeQueues,
		RunE: func(cmd *cobra.Command, args []string) error {
			c, err := a.inspect(cmd.Context())
			if err != nil {
				return err
			}
			defer c.Close()
			qs, err := c.Queues(cmd.Context(), args)
			if err != nil {
				return fmt.Errorf("find the queues: %w", err)
			}
			out := deletedQueues{Verb: "delete", DryRun: dry, Queues: []string{}}
			var names []string
			matched := int64(0)
			for i := range qs {
				if e := qs[i].CheckDelete(force); e != nil {
					a.refused(&out, qs[i].Name, e)
					continue
				}
				names = append(names, qs[i].Name)
				matched += countIn(&qs[i], []task.State{task.Ready, task.Scheduled, task.Blocked, task.Dead})
			}
			if dry || len(names) == 0 {
				out.Queues, out.Tasks = append(out.Queues, names...), matched
				return a.printDeleted(&out)
			}
			if err := a.confirm("delete "+queuesWith(int64(len(names)), matched), yes); err != nil {
				return err
			}
			for _, name := range names {
				n, err := c.DeleteQueue(cmd.Context(), name, force)
				if out.Tasks += n; err != nil {
					a.refused(&out, name, err)
					continue
				}
				out.Queues = append(out.Queues, name)
			}
			return a.printDeleted(&out)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&force, "force", false, "delete what waits in the queues and their dead letters too")
	fs.BoolVarP(&yes, "yes", "y", false, "do not ask")
	fs.BoolVar(&dry, "dry-run", false, "change nothing, tell what would be")
	return cmd
}

// deletedQueues is what -o json shows of deleted queues.
type deletedQueues struct {
	Verb    string   `json:"verb"`
	Queues  []string `json:"queues"`
	Tasks   int64    `json:"tasks"`
	Refused int64    `json:"refused"`
	DryRun  bool     `json:"dryRun,omitempty"`
}

func (a *app) refused(out *deletedQueues, name string, err error) {
	if out.Refused++; out.Refused <= refusedShownMax {
		a.say("penstock: queue %s: %s", name, a.explain(err))
	}
}

func (a *app) printDeleted(out *deletedQueues) error {
	var err error
	switch a.output {
	case "json", "jsonl", "yaml":
		err = printOne(a, listing[*deletedQueues]{object: func(d *deletedQueues) any { return d }}, out)
	case "name":
		for _, name := range out.Queues {
			if _, err = fmt.Fprintln(a.stdout, name); err != nil {
				break
			}
		}
	}
	word := "deleted"
	if out.DryRun {
		word = "would be deleted"
	}
	a.say("%s %s", queuesWith(int64(len(out.Queues)), out.Tasks), word)
	if err == nil && out.Refused > 0 {
		a.say("%s refused", plural(out.Refused, "queue", "queues"))
		err = &statusError{status: exitError}
	}
	return err
}

func queuesWith(queues, tasks int64) string {
	s := plural(queues, "queue", "queues")
	if tasks > 0 {
		s += " with " + plural(tasks, "task", "tasks")
	}
	return s
}
