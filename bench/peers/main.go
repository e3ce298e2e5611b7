// Command peers runs Penstock's workloads against other queues, where those are
// installed, and prints one table with ratios to Penstock. It starts every
// server itself, in a temporary folder and on a free loopback port, and stops
// it again. It is a module of its own so that their clients stay out of
// Penstock's dependencies.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"syscall"
	"time"
)

type options struct {
	quick    bool
	pattern  string
	duration time.Duration
	dir      string
	output   string
}

func main() {
	var o options
	flag.BoolVar(&o.quick, "quick", false, "short windows")
	flag.StringVar(&o.pattern, "run", "", "only the peers whose name matches this regular expression (Penstock always runs)")
	flag.DurationVar(&o.duration, "duration", 0, "measured window (default 10s, with -quick 1.5s)")
	flag.StringVar(&o.dir, "dir", "", "folder for the data; it decides which disk is measured (default the temporary folder)")
	flag.StringVar(&o.output, "o", "table", "output: table, markdown or json (one object a peer)")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	re, err := regexp.Compile(o.pattern)
	if err != nil {
		return fmt.Errorf("-run: %w", err)
	}
	if o.output != "table" && o.output != "markdown" && o.output != "json" {
		return fmt.Errorf("-o %q: want table, markdown or json", o.output)
	}
	t := timing{warm: 2 * time.Second, window: 10 * time.Second}
	if o.quick {
		t = timing{warm: 500 * time.Millisecond, window: 1500 * time.Millisecond}
	}
	if o.duration > 0 {
		t.window = o.duration
	}
	fmt.Fprintln(os.Stderr, "peers: Penstock …")
	own, err := measurePenstock(ctx, o)
	if err != nil {
		fmt.Fprintln(os.Stderr, "peers: Penstock:", err)
		own.Skipped = err.Error() // the peers are still worth a look, without ratios
	}
	results := []result{own}
	for _, p := range allPeers {
		if !re.MatchString(p.name) {
			continue
		}
		fmt.Fprintf(os.Stderr, "peers: %s …\n", p.name)
		r, err := measurePeer(ctx, p, o.dir, t)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			r = result{Peer: p.name, Durability: p.durability, Skipped: err.Error()}
			if !errors.Is(err, errNotInstalled) {
				fmt.Fprintf(os.Stderr, "peers: %s: %v\n", p.name, err)
			}
		}
		results = append(results, r)
	}
	return print(os.Stdout, o.output, results)
}
