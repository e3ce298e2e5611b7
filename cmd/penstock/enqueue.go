package main

import (
	"bufio"
	"context"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock"
)

// refusedShownMax is how many refused lines are told one by one.
const refusedShownMax = 20

type enqueuedView struct {
	ID       string `json:"id,omitempty"`
	Existing bool   `json:"existing,omitempty"`
	Error    string `json:"error,omitempty"`
}

var enqueuedListing = listing[enqueuedView]{
	columns: []column[enqueuedView]{
		{head: "ID", cell: func(e enqueuedView) string { return e.ID }},
		{head: "EXISTING", wide: true, cell: func(e enqueuedView) string { return fmt.Sprint(e.Existing) }},
	},
	name:   func(e enqueuedView) string { return e.ID },
	object: func(e enqueuedView) any { return e },
}

func (a *app) enqueueCommand() *cobra.Command {
	var (
		f               specFlags
		stdin, json, nl bool
	)
	cmd := &cobra.Command{
		Use:     "enqueue [flags] PAYLOAD...",
		Aliases: []string{"add"},
		GroupID: groupTasks,
		Short:   "Put tasks in a queue and print their IDs",
		Long: `Put tasks in a queue. Each argument is the payload of one task; with --from-stdin
each line of stdin is. The ID of each task is printed once the task is on disk, one
a line, in the order of the input. Lines travel in large batches when they come fast
and at once when they come slowly: a million lines take seconds, and "tail -f |" works.

A payload is stored byte for byte. One that is valid JSON is labelled so, any other
as text; --content-type says it by hand. Without --type a task's type is the name of
its queue.

With --json each line of stdin is a whole task. Its fields, of which none is a must:

  type queue key priority delay runAt expireAfter deadline maxAttempts timeout backoff
  limitKeys idempotencyKey idempotencyFor tags headers contentType
  payload (any JSON) | payloadText (a string's text) | payloadBase64

Lengths of time are written "90s", "1h30m" or "7d", moments as 2026-11-24T08:00:00Z. What a
line leaves out is taken from the flags, and so is an empty name of a queue; an
unknown field is an error.

A line that is refused prints an empty line to stdout and the reason to stderr, the
others go on, and the exit status is 1. Flags that no task can have are wrong usage,
2, and nothing is read. Repeating after an interruption is harmless
with --json and an idempotencyKey in each line.`,
		Example: `  penstock enqueue --queue hash go.mod go.sum
  find . -name '*.go' | penstock enqueue --queue hash --from-stdin
  penstock enqueue --type email.send --delay 10m '{"to":"ann@example.com"}'
  echo '{"type":"email.send","payload":{"to":"ann"},"priority":9}' | penstock enqueue --json`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if nl && json {
				return usagef("--null and --json exclude each other: use one")
			}
			if nl || json {
				stdin = true
			}
			if stdin && len(args) > 0 {
				return usagef("payloads come from the arguments or from stdin, not from both")
			}
			if !stdin && len(args) == 0 {
				return usagef("nothing to enqueue: give payloads as arguments, or --from-stdin")
			}
			opts, err := f.options(cmd.Flags())
			if err != nil {
				return err
			}
			in := newIntake()
			if stdin {
				go in.readFrom(a.stdin, lineReader(&f, json, nl))
			} else {
				go in.readArgs(args, &f)
			}
			return a.enqueue(cmd.Context(), in, opts, stdin)
		},
	}
	fs := cmd.Flags()
	f.add(fs)
	fs.BoolVar(&stdin, "from-stdin", false, "each line of stdin is a payload; empty lines are left out")
	fs.BoolVarP(&nl, "null", "0", false, "payloads on stdin end in NUL bytes, as of find -print0")
	fs.BoolVar(&json, "json", false, "each line of stdin is a whole task in JSON")
	return cmd
}

// enqueue sends what comes in, one batch of everything that waits at a time, so
// that the order of the input is the order in the queue.
func (a *app) enqueue(ctx context.Context, in *intake, opts []penstock.Option, numbered bool) error {
	c, err := a.connect(ctx)
	if err != nil {
		return err
	}
	defer c.Close()
	if a.output == "" {
		a.output = "name"
	}
	out := bufio.NewWriterSize(a.stdout, 64<<10)
	rows := newRows(a, enqueuedListing)
	rows.out = out
	refused, total := int64(0), int64(0)
	bar := a.startProgress("enqueued")
	defer bar.stop()
	for {
		items := in.take()
		if len(items) == 0 {
			break
		}
		total += int64(len(items))
		bar.add(int64(len(items)))
		for i, got := range a.enqueueBatch(ctx, c, items, opts) {
			if got.err != nil {
				if refused++; refused <= refusedShownMax {
					if numbered {
						a.say("penstock: line %d: %s", items[i].line, a.explain(got.err))
					} else {
						a.say("penstock: %s", a.explain(got.err))
					}
				}
			}
			// Lines of the output stand for lines of the input; arguments have none.
			if got.err == nil || numbered || a.output != "name" {
				rows.add(got.view)
			}
		}
		if err := out.Flush(); err != nil {
			return fmt.Errorf("print IDs: %w", err)
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	if err := rows.close(); err != nil {
		return err
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("print IDs: %w", err)
	}
	if err := in.failed(); err != nil {
		return fmt.Errorf("read tasks after the first %d: %w", total, err)
	}
	if refused > 0 {
		if numbered {
			a.say("penstock: %s of %s refused", thousands(refused), plural(total, "task", "tasks"))
		}
		return &statusError{status: exitError}
	}
	return nil
}

type enqueueAnswer struct {
	view enqueuedView
	err  error
}

func (a *app) enqueueBatch(ctx context.Context, c *penstock.Client, items []intakeItem, opts []penstock.Option) []enqueueAnswer {
	out := make([]enqueueAnswer, len(items))
	raws, place := make([]penstock.Raw, 0, len(items)), make([]int, 0, len(items))
	for i, item := range items {
		if item.err != nil {
			out[i] = enqueueAnswer{enqueuedView{Error: item.err.Error()}, item.err}
			continue
		}
		raws, place = append(raws, item.raw), append(place, i)
	}
	answers, _ := c.EnqueueMany(ctx, raws, opts...)
	for k, got := range answers {
		if got.Err != nil {
			out[place[k]] = enqueueAnswer{enqueuedView{Error: a.explain(got.Err)}, got.Err}
			continue
		}
		out[place[k]].view = enqueuedView{ID: got.Task.ID().String(), Existing: got.Task.Existing()}
	}
	return out
}

// lineReader picks how one record of stdin becomes a task.
func lineReader(f *specFlags, json, nul bool) func(*bufio.Reader) (intakeItem, error) {
	end := byte('\n')
	if nul {
		end = 0
	}
	n := 0
	return func(r *bufio.Reader) (intakeItem, error) {
		for {
			line, over, err := readRecord(r, end)
			n++
			if len(line) == 0 && err == nil && !over {
				continue
			}
			switch {
			case err != nil: // what came before a broken pipe is no whole record
				return intakeItem{}, err
			case over:
				return intakeItem{line: n, err: fmt.Errorf("line is over %d bytes", recordMax)}, nil
			case json:
				raw, err := f.rawFromJSON(line)
				return intakeItem{line: n, raw: raw, err: err}, nil
			}
			return intakeItem{line: n, raw: f.raw(line)}, nil
		}
	}
}

// recordMax is one line of stdin: a payload of the largest size in base64, and
// room for the other fields.
const recordMax = 2 << 20

// readRecord reads up to the next end, which it leaves out. A record over
// recordMax is read to its end and dropped.
func readRecord(r *bufio.Reader, end byte) (record []byte, over bool, err error) {
	for {
		part, err := r.ReadSlice(end)
		if len(record)+len(part) > recordMax {
			over, record = true, nil
		}
		if !over {
			record = append(record, part...)
		}
		if err == bufio.ErrBufferFull {
			continue
		}
		if n := len(record); n > 0 && record[n-1] == end {
			record = record[:n-1]
		}
		if err == io.EOF && (len(record) > 0 || over) {
			err = nil // what follows the last end is a record too
		}
		return record, over, err
	}
}
