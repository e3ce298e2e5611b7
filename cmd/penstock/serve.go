package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"github.com/penstock-io/penstock/server"
)

func (a *app) serverCommand() *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:     "server",
		Aliases: []string{"serve"},
		GroupID: groupServe,
		Short:   "Run a server with embedded storage",
		Long: `Run a server. Its storage is embedded: a folder is all it needs. One port serves the
SDK's stream, JSON calls for curl, /livez, /readyz and /metrics.

An address that other machines can reach needs an access token, or an explicit
--insecure. SIGTERM and Ctrl-C drain: calls in progress are answered, running tasks
keep their leases until a server is back.

Settings come from flags, then PENSTOCK_* in the environment, then the YAML file,
then the defaults; "penstock config" shows each with where it comes from. A PENSTOCK_*
variable that is no setting is told of on stderr.`,
		Example: `  penstock server --data /var/lib/penstock
  penstock server --http 0.0.0.0:7070 --token-file /etc/penstock/token
  penstock server --config /etc/penstock/penstock.yaml
  PENSTOCK_DATA=/var/lib/penstock penstock server`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.warnStray(s, os.Environ())
			if err := s.load(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			ctx, stop := a.untilSignal(cmd.Context())
			defer stop()
			srv, err := a.openServer(s)
			if err != nil {
				return err
			}
			return srv.Serve(ctx)
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func (a *app) openServer(s *settings) (*server.Server, error) {
	cfg, err := s.config()
	if err != nil {
		return nil, err
	}
	cfg.Logger = a.logger(s)
	if version != "dev" {
		cfg.Version = version
	}
	return server.Open(cfg)
}

func (a *app) devCommand() *cobra.Command {
	s := newSettings()
	s.LogLevel, s.fs.Lookup("log-level").DefValue = "warn", "warn"
	data := s.fs.Lookup("data")
	data.DefValue, data.Usage = "", "`folder` that holds the queue; made if it is missing (default: a temporary one)"
	cmd := &cobra.Command{
		Use:     "dev",
		GroupID: groupServe,
		Short:   "Run a server to try things on, with its data in a temporary folder",
		Long: `Run a server to try things on. Its data is in a temporary folder that is removed at
the end, unless --data names one. The address is printed to stdout once it serves.
All settings of "penstock server" can be given.`,
		Example: `  penstock dev
  penstock dev --http 127.0.0.1:0
  penstock dev --data ./tasks`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.warnStray(s, os.Environ())
			if err := s.load(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			ctx, stop := a.untilSignal(cmd.Context())
			defer stop()
			return a.dev(ctx, s)
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func (a *app) dev(ctx context.Context, s *settings) (err error) {
	where := s.dataPath()
	if s.origins["data"].rank == rankDefault {
		if s.Data, err = os.MkdirTemp("", "penstock-dev-"); err != nil {
			return fmt.Errorf("make a temporary folder: %w", err)
		}
		where = s.Data + ", removed at the end"
		defer func() { err = errors.Join(err, os.RemoveAll(s.Data)) }()
	}
	srv, err := a.openServer(s)
	if err != nil {
		return err
	}
	fmt.Fprintln(a.stdout, srv.URL())
	a.say("Penstock serves on %s", srv.URL())
	a.say("  SDK         penstock.Dial(ctx, %q)", srv.URL())
	a.say("  command     penstock --url %s queues", srv.URL())
	a.say("  curl        curl %s/penstock.v1.QueueService/List -d '{}'", srv.URL())
	a.say("  metrics     %s/metrics", srv.URL())
	if srv.AdminURL() != "" {
		a.say("  profiles    %s/debug/pprof/", srv.AdminURL())
	}
	a.say("  data        %s", where)
	a.say("Ctrl-C ends it.")
	return srv.Serve(ctx)
}
