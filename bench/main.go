// Command bench measures Penstock: the workloads that its numbers are promised
// for, beside the machine's own limits (the bare fsync, bare Pebble), so that a
// ratio is always at hand. It asserts nothing: docs/performance.md tells how to
// read it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"runtime/pprof"
	"syscall"
	"time"
)

// options are the command's flags.
type options struct {
	output     string
	quick      bool
	pattern    string
	duration   time.Duration
	dir        string
	cpuProfile string
	memProfile string
	list       bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == serveCommand {
		signal.Ignore(os.Interrupt) // the terminal tells both; the parent decides
		exitOn(serve(os.Args[2:]))
		return
	}
	var o options
	flag.StringVar(&o.output, "o", "", "output: json (one object a workload), table or markdown; default: table on a terminal, else json")
	flag.BoolVar(&o.quick, "quick", false, "short windows, all but the slow rows, under a minute")
	flag.StringVar(&o.pattern, "run", "", "only the workloads that match this regular expression")
	flag.DurationVar(&o.duration, "duration", 0, "measured window of a steady workload (default 10s, with -quick 1.5s; 1m for soak and keyed)")
	flag.StringVar(&o.dir, "dir", "", "folder for the data; it decides which disk is measured (default the temporary folder)")
	flag.StringVar(&o.cpuProfile, "cpuprofile", "", "write CPU profiles to FILE.workload (this process) and FILE.workload.server (the server beside it)")
	flag.StringVar(&o.memProfile, "memprofile", "", "write what this process has allocated to FILE at the end")
	flag.BoolVar(&o.list, "list", false, "list the workloads and stop")
	flag.Parse()
	if flag.NArg() > 0 {
		exitOn(fmt.Errorf("unexpected argument %q: workloads are chosen with -run", flag.Arg(0)))
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	exitOn(run(ctx, o))
}

func exitOn(err error) {
	if err == nil {
		return
	}
	fmt.Fprintln(os.Stderr, "bench:", err)
	os.Exit(1)
}

func run(ctx context.Context, o options) error {
	re, err := regexp.Compile(o.pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	out := &printer{w: os.Stdout, as: format(o.output)}
	switch out.as {
	case "":
		out.as = formatJSON
		if isTerminal(os.Stdout) {
			out.as = formatTable
		}
	case formatJSON, formatTable, formatMarkdown:
	default:
		return fmt.Errorf("-o %q: want json, table or markdown", o.output)
	}
	if o.list {
		for _, w := range workloads {
			fmt.Printf("%-18s %s\n", w.name, w.about)
		}
		return nil
	}
	e, err := newEnv(o)
	if err != nil {
		return err
	}
	defer e.close()
	err = runAll(ctx, e, re, o, out)
	return errors.Join(err, out.flush(), profileAllocs(o.memProfile))
}

func runAll(ctx context.Context, e *env, re *regexp.Regexp, o options, out *printer) error {
	ran := 0
	for _, w := range workloads {
		if !re.MatchString(w.name) || o.quick && w.slow {
			continue
		}
		ran++
		fmt.Fprintf(os.Stderr, "bench: %s …\n", w.name)
		r, err := e.measure(ctx, w)
		if err != nil {
			return fmt.Errorf("%s: %w", w.name, err)
		}
		if err := out.add(r); err != nil {
			return err
		}
		runtime.GC() // one workload's garbage is not the next one's
	}
	if ran == 0 {
		return fmt.Errorf("no workload matches %q: see -list", o.pattern)
	}
	return nil
}

// measure runs one workload under its profile.
func (e *env) measure(ctx context.Context, w workload) (row, error) {
	e.current = w.name
	here, _ := e.profiles()
	stop, err := profileCPU(here)
	if err != nil {
		return row{}, err
	}
	defer stop()
	r, err := w.run(ctx, e)
	r.Workload = w.name
	return r, err
}

// profileCPU starts a profile into path, if there is one.
func profileCPU(path string) (stop func(), err error) {
	if path == "" {
		return func() {}, nil
	}
	f, err := os.Create(path)
	if err != nil {
		return nil, err
	}
	if err := pprof.StartCPUProfile(f); err != nil {
		return nil, err
	}
	return func() {
		pprof.StopCPUProfile()
		_ = f.Close()
	}, nil
}

// profileAllocs writes every allocation so far to path, if there is one.
func profileAllocs(path string) error {
	if path == "" {
		return nil
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	return errors.Join(pprof.Lookup("allocs").WriteTo(f, 0), f.Close())
}

func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
