package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

type versionView struct {
	Version  string `json:"version"`
	Commit   string `json:"commit,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func (a *app) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		GroupID: groupMore,
		Short:   "Show the version",
		Long:    "Show the version of this binary and what it was built with.",
		Example: "  penstock version\n  penstock version -o json",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			v := versionView{Version: version, Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
			if info, ok := debug.ReadBuildInfo(); ok {
				if version == "dev" && info.Main.Version != "" && info.Main.Version != "(devel)" {
					v.Version = info.Main.Version // go install module@version
				}
				for _, s := range info.Settings {
					if s.Key == "vcs.revision" {
						v.Commit = s.Value
					}
				}
			}
			text := func(head string, of func(versionView) string) column[versionView] {
				return column[versionView]{head: head, cell: of}
			}
			return printOne(a, listing[versionView]{
				columns: []column[versionView]{
					text("VERSION", func(v versionView) string { return v.Version }),
					text("GO", func(v versionView) string { return v.Go }),
					text("PLATFORM", func(v versionView) string { return v.Platform }),
				},
				name:   func(v versionView) string { return v.Version },
				object: func(v versionView) any { return v },
			}, v)
		},
	}
}
