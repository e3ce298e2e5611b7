package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/internal/task"
)

// The verdicts of a check.
const (
	checkOK   = "ok"
	checkWarn = "warn"
	checkFail = "fail"
)

// skewMax is how far apart the clocks of client and server may be.
const skewMax = 2 * time.Second

// offsetMax is how far the clock of the data may be off the server's before that is told.
const offsetMax = 5 * time.Second

func (a *app) doctorCommand() *cobra.Command {
	var data string
	var save saveFlags
	cmd := &cobra.Command{
		Use:     "doctor",
		GroupID: groupMore,
		Short:   "Look for what is wrong, and say what to do about it",
		Long: `Look for what is wrong, and say what to do about it.

Without --data: is the server there and ready, do the clocks agree, is it of this
version, are there queues without workers, types that nobody serves, dead letters.

With --data: read a data folder whole while no server uses it, past what is damaged.
It tells which files and records are damaged, what each queue still holds and what is
missing, and writes nothing into the folder.

With --save FILE (- is stdout) every task that has not ended and can be read is also
written to a new file, a line each, for "penstock enqueue --json": payload, type,
queue, key, priority, moment to run at, deadline, policy, tags, headers and idempotency
key. --dead adds the dead letters, which then run again. Not carried over: the old ID,
attempts behind it and their errors, results and the history of finished tasks.

Exit status: 0 all is well or only warnings, 1 something is wrong, after --save too.`,
		Example: `  penstock doctor
  penstock doctor --url http://queue.internal:7070 -o json
  penstock doctor --data /var/lib/penstock
  penstock doctor --data /var/lib/penstock --save tasks.jsonl
  penstock enqueue --json < tasks.jsonl`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := save.check(cmd.Flags().Changed("data")); err != nil {
				return err
			}
			d := &doctor{a: a, rows: newFindings(a, save.file == "-")}
			if cmd.Flags().Changed("data") {
				d.folder(cmd.Context(), data, &save)
			} else {
				d.server(cmd.Context())
			}
			if err := d.rows.close(); err != nil {
				return err
			}
			if d.failed {
				return &statusError{status: exitError}
			}
			return nil
		},
	}
	fs := cmd.Flags()
	fs.StringVar(&data, "data", "", "check this data folder instead of a running server")
	fs.StringVar(&save.file, "save", "", "with --data: write the tasks that can be read to this new file; - is stdout")
	fs.BoolVar(&save.dead, "dead", false, "with --save: dead letters too")
	return cmd
}

type doctor struct {
	a      *app
	rows   *findings
	failed bool
}

func (d *doctor) say(check, verdict, detail, do string) {
	d.tell(finding{Check: check, Verdict: verdict, Detail: detail, Do: do})
}

func (d *doctor) tell(f finding) {
	d.failed = d.failed || f.Verdict == checkFail
	d.rows.add(f)
}

// server examines a running server from outside.
func (d *doctor) server(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	c, err := d.a.inspect(ctx)
	if err != nil {
		d.say("server", checkFail, d.a.explain(err), "")
		return
	}
	defer c.Close()
	before := time.Now()
	n, err := c.Node(ctx)
	if err != nil {
		d.say("server", checkFail, d.a.explain(err), "")
		return
	}
	after := time.Now()
	d.say("server", checkOK, fmt.Sprintf("%s at %s, version %s, up for %s", n.Node, d.a.url, n.Version, ago(after.Sub(timeOf(n.Started)))), "")
	if n.Ready {
		d.say("ready", checkOK, "", "")
	} else {
		d.say("ready", checkFail, n.NotReady, "see the server's log")
	}
	d.clocks(before, after, timeOf(n.Now))
	d.offset(n.Partitions)
	if n.Version != version && version != "dev" {
		d.say("version", checkWarn, fmt.Sprintf("the server is %s, this command is %s", n.Version, version), "use the same where you can")
	}
	storage := fmt.Sprintf("%s, %s", n.Storage, bytesText(n.StorageBytes))
	if n.Ready {
		d.say("storage", checkOK, storage, "")
	} else {
		d.say("storage", checkWarn, storage, "see what keeps the server from being ready")
	}
	d.partitions(n.Partitions)
	qs, err := c.Queues(ctx, nil)
	if err != nil {
		d.say("queues", checkFail, d.a.explain(err), "")
		return
	}
	d.say("queues", checkOK, fmt.Sprintf("%s, %s", plural(int64(len(qs)), "queue", "queues"), plural(int64(len(n.Workers)), "worker", "workers")), "")
	for i := range qs {
		d.queue(&qs[i], after)
	}
}

func (d *doctor) clocks(before, after, server time.Time) {
	skew := time.Duration(0)
	if server.Before(before) {
		skew = server.Sub(before)
	} else if server.After(after) {
		skew = server.Sub(after)
	}
	if skew.Abs() > skewMax {
		d.say("clock", checkWarn, fmt.Sprintf("the server's is %s off from this machine's", skew.Round(time.Millisecond)),
			"delays are kept by the server's clock, moments are read by it: set both by NTP")
		return
	}
	d.say("clock", checkOK, "", "")
}

// offset tells of data whose clock is not the server's: that runs evenly, while the
// server's was set.
func (d *doctor) offset(ps []task.PartitionInfo) {
	var most time.Duration
	for _, p := range ps {
		if x := time.Duration(p.ClockOffset) * time.Millisecond; x.Abs() > most.Abs() {
			most = x
		}
	}
	if most.Abs() <= offsetMax {
		return
	}
	way := "ahead of"
	if most < 0 {
		way = "behind"
	}
	d.say("data's clock", checkWarn, fmt.Sprintf("it is %s %s the server's clock, which was set, or was wrong when the server started", most.Abs().Round(time.Millisecond), way),
		"nothing waits for that: delays, leases and timeouts keep their lengths, run-at times go by the server's clock; only times from before are shown off by as much. Set the clock by NTP")
}

func (d *doctor) partitions(ps []task.PartitionInfo) {
	for _, p := range ps {
		name := fmt.Sprintf("partition %d", p.Partition)
		switch {
		case !p.Serving:
			d.say(name, checkFail, "it does not serve", "see what keeps the server from being ready")
		case p.SafeMode:
			d.say(name, checkWarn, fmt.Sprintf("safe mode after %d unclean openings within a minute: one task at a time, each claim on disk first", p.UncleanOpens),
				"find the task that ends the process: penstock ls state:running")
		}
		if p.ProducersEvicted > 0 {
			d.say(name, checkWarn, fmt.Sprintf("%s gave way to newer ones, %s known now", plural(p.ProducersEvicted, "producer session", "producer sessions"), plural(p.Producers, "is", "are")),
				"keep one client a process and let it live: each process and queue is a session for ten minutes; or enqueue without one, under idempotency keys")
		}
	}
}

func (d *doctor) queue(q *task.QueueInfo, now time.Time) {
	name := "queue " + q.Name
	if q.Paused && q.Ready > 0 {
		d.say(name, checkWarn, fmt.Sprintf("paused, %s waiting", plural(q.Ready, "task", "tasks")), "penstock resume "+q.Name)
	}
	for _, u := range q.Unserved {
		d.say(name, checkWarn, fmt.Sprintf("no worker serves type %q, its oldest task has waited for %s", u.Type, ago(now.Sub(timeOf(u.Oldest)))), "start one, or cancel them")
	}
	if !q.Paused && len(q.Unserved) == 0 && q.Workers == 0 && q.Ready > 0 {
		d.say(name, checkWarn, fmt.Sprintf("%s waiting and no worker", plural(q.Ready, "task", "tasks")), "start one: penstock work --queue "+q.Name)
	}
	if q.Dead > 0 {
		d.say(name, checkWarn, plural(q.Dead, "dead letter", "dead letters"),
			fmt.Sprintf("see why with penstock ls queue:%s state:dead, then penstock retry or purge", q.Name))
	}
}
