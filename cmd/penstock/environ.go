package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/pflag"
)

const envPrefix = "PENSTOCK_"

// warnStray tells of variables that look like settings and are none. They are
// no error: the environment is shared with other programs, and newer ones.
func (a *app) warnStray(s *settings, environ []string) {
	for _, line := range s.stray(environ) {
		a.say("penstock: %s", line)
	}
}

func (s *settings) stray(environ []string) (out []string) {
	known := []string{"PENSTOCK_CONFIG", "PENSTOCK_URL", markEnv}
	for _, pair := range (&attempt{}).environ("") { // of a server that a worker has started
		name, _, _ := strings.Cut(pair, "=")
		known = append(known, name)
	}
	s.fs.VisitAll(func(f *pflag.Flag) { known = append(known, envName(f.Name)) })
	for _, pair := range environ {
		name, value, _ := strings.Cut(pair, "=")
		if value == "" || !strings.HasPrefix(name, envPrefix) || slices.Contains(known, name) {
			continue
		}
		hint := "penstock config -o wide lists the names"
		best := editsMax + 1
		for _, k := range known {
			if d := editDistance(name, k); d < best {
				best, hint = d, "did you mean "+k+"?"
			}
		}
		out = append(out, fmt.Sprintf("%s in the environment is no setting and has no effect; %s", oneLine(name), hint))
	}
	slices.Sort(out)
	return out
}
