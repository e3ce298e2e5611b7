package main

import (
	"log/slog"
	"os"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type settingView struct {
	Setting string `json:"setting"`
	Value   string `json:"value"`
	Origin  string `json:"origin"`
	Default string `json:"default"`
	Flag    string `json:"flag,omitempty"`
	Env     string `json:"env"`
	Help    string `json:"help"`
}

var settingListing = listing[settingView]{
	columns: []column[settingView]{
		{head: "SETTING", cell: func(s settingView) string { return s.Setting }},
		{head: "VALUE", cell: func(s settingView) string { return s.Value }},
		{head: "ORIGIN", cell: func(s settingView) string { return s.Origin }},
		{head: "DEFAULT", wide: true, cell: func(s settingView) string { return s.Default }},
		{head: "ENV", wide: true, cell: func(s settingView) string { return s.Env }},
		{head: "HELP", wide: true, cell: func(s settingView) string { return s.Help }},
	},
	name:   func(s settingView) string { return s.Setting },
	object: func(s settingView) any { return s },
}

func (a *app) configCommand() *cobra.Command {
	s := newSettings()
	cmd := &cobra.Command{
		Use:     "config",
		GroupID: groupServe,
		Short:   "Show every setting of the server with its value and where it comes from",
		Long: `Show every setting with its value and where it comes from: what "penstock
server" with the same flags, environment and file would use. Secrets are not shown.

Flags win over the environment, the environment over the file, the file over the
defaults. A setting has one name in three spellings:

  --drain-timeout 5s    PENSTOCK_DRAIN_TIMEOUT=5s    drain_timeout: 5s

Unknown names in the file, a name given twice and a half-written file are errors. An
unknown PENSTOCK_* variable is told of on stderr and nothing more: the environment
is shared. A variable that is set and empty counts as not set.`,
		Example: `  penstock config
  penstock config --config /etc/penstock.yaml -o wide
  PENSTOCK_DATA=/var/lib/penstock penstock config`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			a.warnStray(s, os.Environ())
			if err := s.load(cmd.Flags(), os.Getenv); err != nil {
				return err
			}
			r := newRows(a, settingListing)
			for _, v := range s.views() {
				r.add(v)
			}
			return r.close()
		},
	}
	s.addFlags(cmd.Flags())
	return cmd
}

func (s *settings) views() (out []settingView) {
	s.fs.VisitAll(func(f *pflag.Flag) {
		_, help := pflag.UnquoteUsage(f)
		v := settingView{
			Setting: fileName(f.Name), Value: f.Value.String(), Default: f.DefValue,
			Origin: s.origins[f.Name].text, Flag: "--" + f.Name, Env: envName(f.Name), Help: help,
		}
		if f.Name == "token" {
			v.Flag = ""
			if v.Value != "" {
				v.Value = "(hidden)"
			}
		}
		out = append(out, v)
	})
	return out
}

func parseLogLevel(s string) (slog.Level, error) {
	var l slog.Level
	err := l.UnmarshalText([]byte(s))
	return l, err
}

// logger writes the server's log to stderr.
func (a *app) logger(s *settings) *slog.Logger {
	level, err := parseLogLevel(s.LogLevel)
	if err != nil {
		level = slog.LevelInfo // validate has refused it
	}
	opts := &slog.HandlerOptions{Level: level}
	if s.LogFormat == "json" {
		return slog.New(slog.NewJSONHandler(a.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(a.stderr, opts))
}
