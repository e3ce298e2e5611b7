package sim

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var (
	mutantsOf    = flag.String("mutants", "", "run the mutants whose name matches, each with seeds until one cries")
	mutantsSeeds = flag.Int("mutantseeds", 300, "how many seeds at most a mutant has")
)

// mutant is one fault on purpose. Old stands exactly once in File; with New in
// its place something that is promised does not hold, and By has to cry.
type mutant struct {
	name   string
	breaks string // the promise
	file   string // from the root of the module
	old    string
	new    string
	by     string // "package test"; "" = the simulator's seeds
	blind  string // why nobody cries yet; "" = somebody has to
}

const (
	mutantTimeMax = 10 * time.Minute
	mutantTestMax = 2 * time.Minute // where one test has to cry; a loop without end is a cry too
)

// TestMutantsFit holds the table to the sources: a change that moves the code
// under a mutant has to move the mutant too, or a checker may go blind unseen.
func TestMutantsFit(t *testing.T) {
	names := map[string]bool{}
	for _, m := range mutants {
		if names[m.name] {
			t.Errorf("two mutants are named %q", m.name)
		}
		names[m.name] = true
		src, err := m.apply()
		if err != nil {
			t.Error(err)
			continue
		}
		if _, err := parser.ParseFile(token.NewFileSet(), m.file, src, 0); err != nil {
			t.Errorf("mutant %q does not parse: %v", m.name, err)
		}
	}
}

// apply is the source of the file with the fault in it.
func (m *mutant) apply() ([]byte, error) {
	src, err := os.ReadFile(filepath.Join("..", "..", m.file))
	if err != nil {
		return nil, fmt.Errorf("mutant %q: %w", m.name, err)
	}
	if n := bytes.Count(src, []byte(m.old)); n != 1 {
		return nil, fmt.Errorf("mutant %q: its old text stands %d times in %s, want once: the code has moved, so move the mutant with it, and see that it is still caught\n%s", m.name, n, m.file, m.old)
	}
	return bytes.Replace(src, []byte(m.old), []byte(m.new), 1), nil
}

// TestMutants lets every mutant live until a checker cries. One that nobody
// notices means that a promise is watched by nobody.
func TestMutants(t *testing.T) {
	if *mutantsOf == "" {
		t.Skip("runs with -mutants=.")
	}
	of, err := regexp.Compile(*mutantsOf)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range mutants {
		if !of.MatchString(m.name) {
			continue
		}
		t.Run(m.name, func(t *testing.T) {
			t.Parallel()
			how, caught := m.live(t)
			switch {
			case caught && m.blind != "":
				t.Errorf("caught %s: take the mark %q off it", how, m.blind)
			case caught:
				t.Logf("caught %s", how)
			case m.blind != "":
				t.Logf("not seen, as is known: %s", m.blind)
			default:
				t.Errorf("MISSED %s: nobody sees that this is broken: %s", how, m.breaks)
			}
		})
	}
}

// live builds the tests over the mutant and runs them, and says how it ended.
func (m *mutant) live(t *testing.T) (how string, caught bool) {
	dir := t.TempDir()
	src, err := m.apply()
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	mutated := filepath.Join(dir, filepath.Base(m.file))
	overlay, err := json.Marshal(map[string]map[string]string{"Replace": {filepath.Join(root, m.file): mutated}})
	if err != nil {
		t.Fatal(err)
	}
	write := func(name string, b []byte) string {
		if err := os.WriteFile(name, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	write(mutated, src)
	pkg, test, seeded := "./internal/sim", "^TestSeeds$", m.by == ""
	if !seeded {
		pkg, test, _ = strings.Cut(m.by, " ")
	}
	bin := filepath.Join(dir, "mutant.test")
	if out, err := command(root, "go", "test", "-c", "-vet=off", "-overlay", write(filepath.Join(dir, "overlay.json"), overlay), "-o", bin, pkg); err != nil {
		t.Fatalf("the mutant does not build: %v\n%s", err, out)
	}
	most := mutantTestMax
	if seeded {
		most = mutantTimeMax
	}
	args := []string{"-test.run", test, "-test.timeout", most.String()}
	if seeded {
		args = append(args, "-stop", "-seeds", strconv.Itoa(*mutantsSeeds))
	}
	out, err := command(filepath.Join(root, pkg), bin, args...)
	var exit *exec.ExitError
	switch {
	case err == nil && seeded:
		return fmt.Sprintf("after %d seeds", *mutantsSeeds), false
	case err == nil:
		return "by " + m.by, false
	case !errors.As(err, &exit):
		t.Fatalf("run the mutant: %v\n%s", err, out)
	}
	return "by " + firstCry(out, seeded), true
}

var cryLine = regexp.MustCompile(`seed (\d+)\n[^\n]*\n\s*([^\n]*)`)

// firstCry finds in a test's output who cried, and of which seed.
func firstCry(out []byte, seeded bool) string {
	if x := cryLine.FindSubmatch(out); x != nil && seeded {
		return fmt.Sprintf("seed %s: %.200s", x[1], x[2])
	}
	for line := range strings.Lines(string(out)) {
		if s := strings.TrimSpace(line); strings.Contains(s, "_test.go:") || strings.HasPrefix(s, "panic:") {
			return fmt.Sprintf("%.200s", s)
		}
	}
	return fmt.Sprintf("%.200s", out)
}

func command(dir, name string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(context.Background(), name, args...)
	cmd.Dir = dir
	return cmd.CombinedOutput()
}
