package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var rewrite = flag.Bool("rewrite", false, "write the golden files anew; then read the diff")

const cliPage = `# The command line

All help texts on one page, written by a test from the binary's own
(` + "`go test ./cmd/penstock -run TestHelp -rewrite`" + `).
`

// TestHelp holds the text of every --help to its golden file. Each has to
// teach: what it does, and how it looks when used.
func TestHelp(t *testing.T) {
	root := newApp(nil, nil, nil).root()
	var paths [][]string
	var walk func(cmd *cobra.Command, path []string)
	walk = func(cmd *cobra.Command, path []string) {
		paths = append(paths, path)
		if own := len(path) > 0 && path[0] != "help" && path[0] != "completion"; own && !cmd.Hidden {
			if cmd.Example == "" || cmd.Long == "" || cmd.Short == "" {
				t.Errorf("%s: its help has no example, or no text", cmd.CommandPath())
			}
			if len(cmd.Short) > 80 {
				t.Errorf("%s: its summary is %d letters long", cmd.CommandPath(), len(cmd.Short))
			}
		}
		for _, c := range cmd.Commands() {
			walk(c, append(path[:len(path):len(path)], c.Name()))
		}
	}
	walk(root, nil)
	seen := map[string]bool{}
	page := &strings.Builder{}
	page.WriteString(cliPage)
	for _, path := range paths {
		name := filepath.Join("testdata", "help", strings.Join(append([]string{"penstock"}, path...), "-")+".golden")
		seen[filepath.Base(name)] = true
		var stdout, stderr bytes.Buffer
		status := run(context.Background(), append(path[:len(path):len(path)], "--help"), strings.NewReader(""), &stdout, &stderr)
		if status != 0 || stderr.Len() > 0 {
			t.Errorf("%s --help: status %d, stderr %q", strings.Join(path, " "), status, stderr.String())
		}
		if len(path) == 0 || path[0] != "help" && path[0] != "completion" && path[0] != guardCommand {
			fmt.Fprintf(page, "\n## %s\n\n```\n%s```\n", strings.Join(append([]string{"penstock"}, path...), " "), stdout.String())
		}
		if *rewrite {
			if err := os.WriteFile(name, stdout.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(name)
		if err != nil || !bytes.Equal(want, stdout.Bytes()) {
			t.Errorf("%s --help differs from %s (%v): run with -rewrite and read the diff; got:\n%s", strings.Join(path, " "), name, err, stdout.String())
		}
	}
	const cli = "../../docs/cli.md"
	if *rewrite {
		if err := os.WriteFile(cli, []byte(page.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if raw, err := os.ReadFile(cli); err != nil || string(raw) != page.String() {
		t.Errorf("%s is not what --help says (%v): run with -rewrite", cli, err)
	}
	files, err := os.ReadDir(filepath.Join("testdata", "help"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if !seen[f.Name()] {
			t.Errorf("testdata/help/%s belongs to no command", f.Name())
		}
	}
}
