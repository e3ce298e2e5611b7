package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock"
)

// waitsMax is how many tasks are watched at once; beyond it reading stops until
// the first of them is printed.
const waitsMax = 2_000

func (a *app) waitCommand() *cobra.Command {
	var (
		stdin, unordered bool
		timeout          time.Duration
	)
	cmd := &cobra.Command{
		Use:     "wait [flags] ID...",
		GroupID: groupTasks,
		Short:   "Wait for tasks to end and print their results",
		Long: `Wait for tasks to end and print the result of each as soon as it is known, in
the order of the IDs. With --from-stdin the IDs are read as they come, so that wait can
stand behind enqueue in a pipe.

One ID as an argument: its result, byte for byte; a terminal gets a line break behind
it. Several, and with --from-stdin: one line each, so that lines of the
output and lines of the input belong together: a line break inside a result is
written \n, JSON is put on one line. A task that did not succeed prints an empty line
to stdout and the reason to stderr; so does a line that is no ID of a task. -o jsonl
prints all that is known of each task, and nothing for a line that is none. An ID
that is given twice is printed twice.

A server that goes away meanwhile is waited for.

Exit status: 0 all succeeded, 3 one ended dead, canceled or expired, 1 an ID is
unknown, 4 the time was over first. Of several the one that stands first here; what
is no ID among the arguments is wrong usage, 2.`,
		Example: `  penstock wait 0400...
  penstock enqueue --queue hash go.mod | penstock wait --from-stdin
  penstock wait --from-stdin --as-completed -o jsonl --timeout 10m < ids`,
		RunE: func(cmd *cobra.Command, args []string) error {
			if stdin == (len(args) > 0) {
				return usagef("give IDs as arguments, or --from-stdin")
			}
			if timeout < 0 {
				return usagef("--timeout %v is negative: leave it out to wait for ever", timeout)
			}
			var in io.Reader = a.stdin
			if !stdin {
				var lines bytes.Buffer
				ids, err := a.wholeIDs(cmd.Context(), args)
				if err != nil {
					return err
				}
				for _, id := range ids {
					lines.WriteString(id + "\n")
				}
				in = &lines
			}
			ctx := cmd.Context()
			if timeout > 0 {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, timeout)
				defer cancel()
			}
			return a.wait(ctx, in, unordered, len(args) == 1)
		},
	}
	fs := cmd.Flags()
	fs.BoolVar(&stdin, "from-stdin", false, "read IDs from stdin, one a line, as they come")
	fs.BoolVar(&unordered, "as-completed", false, "print in the order in which the tasks end")
	fs.DurationVar(&timeout, "timeout", 0, "give up after so long; 0 is never")
	return cmd
}

// wholeIDs finds the IDs that the arguments are, or are parts of.
func (a *app) wholeIDs(ctx context.Context, args []string) ([]string, error) {
	out := make([]string, len(args))
	var c *penstock.Client
	for i, arg := range args {
		if _, err := penstock.ParseID(arg); err == nil {
			out[i] = arg
			continue
		}
		if c == nil {
			var err error
			if c, err = a.connect(ctx); err != nil {
				return nil, err
			}
			defer c.Close()
		}
		id, err := a.resolve(ctx, c, arg, false)
		if err != nil {
			return nil, err
		}
		out[i] = id.String()
	}
	return out, nil
}

// waited is one ID on its way to the output.
type waited struct {
	text string
	line int // of the input; 1 is the first
	info penstock.Info
	err  error
	done chan struct{}
}

func (a *app) wait(ctx context.Context, ids io.Reader, unordered, single bool) error {
	c, err := a.connect(ctx)
	if err != nil && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &statusError{exitTimedOut, fmt.Errorf("the time is over and the server has not answered: wait longer, or see penstock doctor")}
	}
	if err != nil {
		return err
	}
	defer c.Close()
	readCtx, stopReading := context.WithCancel(ctx)
	defer stopReading()
	queue := make(chan *waited, waitsMax)
	readErr := make(chan error, 1)
	go func() { readErr <- a.watchAll(readCtx, c, ids, queue, unordered) }()
	p := newWaitPrinter(a, single)
	p.numbered = ids == a.stdin
	bar := a.startProgress("ended")
	defer bar.stop()
	for w := range queue {
		if !unordered {
			// What is known by now goes out before the next wait.
			select {
			case <-w.done:
			default:
				if err := p.flush(); err != nil {
					return err
				}
				<-w.done
			}
		}
		p.print(w)
		bar.add(1)
		if unordered && len(queue) == 0 {
			if err := p.flush(); err != nil {
				return err
			}
		}
	}
	if err := p.close(); err != nil {
		return fmt.Errorf("print results: %w", err)
	}
	if err := <-readErr; err != nil && ctx.Err() == nil {
		return fmt.Errorf("read IDs: %w", err)
	}
	return p.verdict()
}

// watchAll starts a wait for each ID. In order, the queue gets each wait as it
// begins; else as it ends.
func (a *app) watchAll(ctx context.Context, c *penstock.Client, ids io.Reader, queue chan<- *waited, unordered bool) error {
	defer close(queue)
	var all sync.WaitGroup
	defer all.Wait()
	slots := make(chan struct{}, waitsMax)
	r := bufio.NewReaderSize(ids, 64<<10)
	for n := 1; ; n++ {
		line, err := readLine(ctx, r)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		w := &waited{text: string(bytes.TrimSpace(line)), line: n, done: make(chan struct{})}
		slots <- struct{}{}
		if !unordered {
			queue <- w
		}
		all.Go(func() {
			w.info, w.err = waitOne(ctx, c, w.text)
			close(w.done)
			<-slots
			if unordered {
				queue <- w
			}
		})
	}
}

var errNoID = errors.New("no ID: its enqueue was refused")

func waitOne(ctx context.Context, c *penstock.Client, text string) (penstock.Info, error) {
	if text == "" {
		return penstock.Info{}, errNoID
	}
	id, err := penstock.ParseID(text)
	if err != nil {
		return penstock.Info{}, err
	}
	return c.Wait(ctx, id)
}

// readLine reads one line, or gives up when ctx ends: a read from a pipe knows
// no context, so its goroutine is left behind.
func readLine(ctx context.Context, r *bufio.Reader) ([]byte, error) {
	if r.Buffered() > 0 {
		if peek, _ := r.Peek(r.Buffered()); bytes.IndexByte(peek, '\n') >= 0 {
			return readLineNow(r)
		}
	}
	type answer struct {
		line []byte
		err  error
	}
	ch := make(chan answer, 1)
	go func() {
		line, err := readLineNow(r)
		ch <- answer{line, err}
	}()
	select {
	case got := <-ch:
		return got.line, got.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func readLineNow(r *bufio.Reader) ([]byte, error) {
	line, over, err := readRecord(r, '\n')
	if over {
		return nil, errors.New("a line is no ID: it is over 2 MiB")
	}
	if len(line) > 0 {
		err = nil
	}
	return line, err
}

// waitPrinter prints what became of tasks and remembers the worst of it.
type waitPrinter struct {
	a        *app
	single   bool
	numbered bool // IDs are lines of stdin
	plain    bool // results only
	out      *bufio.Writer
	rows     *rows[taskView]
	failed   int64
	unknown  int64
	timedOut int64
	err      error
}

func newWaitPrinter(a *app, single bool) *waitPrinter {
	p := &waitPrinter{a: a, single: single, plain: a.output == "", out: bufio.NewWriterSize(a.stdout, 64<<10)}
	p.rows = newRows(a, a.taskListing())
	p.rows.out = p.out
	return p
}

func (p *waitPrinter) print(w *waited) {
	switch {
	case errors.Is(w.err, context.DeadlineExceeded), errors.Is(w.err, context.Canceled):
		p.timedOut++
	case w.err != nil:
		p.unknown++
		where := "task " + w.text
		if p.numbered {
			where = fmt.Sprintf("line %d", w.line)
		}
		p.a.say("penstock: %s: %s", where, p.a.explain(w.err))
	case w.info.Err() != nil:
		p.failed++
		p.a.say("penstock: %s", brief(w.info.Err().Error()))
	}
	switch {
	case !p.plain && w.err == nil && p.single:
		p.err = printOne(p.a, p.a.taskListing(), viewOf(w.info))
	case !p.plain && w.err == nil:
		p.rows.add(viewOf(w.info))
	case !p.plain:
	case p.single && w.err == nil && w.info.Err() == nil:
		p.write(w.info.Result)
		if n := len(w.info.Result); p.a.stdoutTTY && n > 0 && w.info.Result[n-1] != '\n' {
			p.write([]byte{'\n'})
		}
	case p.single:
	case w.err == nil && w.info.Err() == nil:
		p.write([]byte(contentLine(w.info.Result, w.info.ResultType) + "\n"))
	default:
		p.write([]byte{'\n'})
	}
}

func (p *waitPrinter) write(b []byte) {
	if p.err == nil {
		_, p.err = p.out.Write(b)
	}
}

func (p *waitPrinter) flush() error {
	if p.err == nil {
		p.err = p.out.Flush()
	}
	return p.err
}

func (p *waitPrinter) close() error {
	if !p.plain && !p.single && p.err == nil {
		p.err = p.rows.close()
	}
	return p.flush()
}

func (p *waitPrinter) verdict() error {
	switch {
	case p.failed > 0:
		return &statusError{status: exitFailed}
	case p.unknown > 0:
		return &statusError{status: exitError}
	case p.timedOut > 0:
		return &statusError{exitTimedOut, fmt.Errorf("the time is over and %s not ended: wait again, or see penstock get ID",
			plural(p.timedOut, "task has", "tasks have"))}
	}
	return nil
}
