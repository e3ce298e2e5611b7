package penstock_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/penstock-io/penstock"

// layer is one line of the table in ARCHITECTURE.md.
type layer struct {
	pure    bool
	allowed []string
}

// pureBans are what a pure package may not import: anything that knows a clock,
// a disk, a network, chance or another goroutine.
var pureBans = strings.Fields(`context sync sync/atomic time os io/fs net net/http log log/slog
	math/rand math/rand/v2 crypto/rand unsafe runtime`)

// testPackages may be imported by every package's tests, on top of all that
// the package itself may reach: contract suites, the store that needs no disk,
// and the public packages that put a whole node together.
var testPackages = []string{
	".", "server", "penstocktest", "internal/task", "internal/task/brokertest",
	"internal/store", "internal/store/storetest", "internal/queue/queuetest",
}

// homes names the only places where a dependency may be imported. A dependency
// that stands here nowhere needs a decision note and a line.
var homes = []struct {
	prefix string
	in     []string
}{
	{"github.com/cockroachdb/pebble", []string{"internal/store/pebblestore"}},
	{"google.golang.org/grpc", []string{"api/...", "internal/rpc/..."}},
	{"google.golang.org/protobuf", []string{"api/...", "internal/rpc/..."}},
	{"google.golang.org/genproto", []string{"api/...", "internal/rpc/..."}},
	{"connectrpc.com", []string{"api/...", "internal/rpc/..."}},
	{"golang.org/x/net", []string{"internal/rpc/..."}},
	{"github.com/prometheus", []string{"internal/metrics"}},
	{"github.com/spf13", []string{"cmd/penstock"}},
	{"go.yaml.in/yaml", []string{"cmd/penstock"}},
	{"charm.land", []string{"cmd/penstock"}},
	{"golang.org/x/term", []string{"cmd/penstock"}},
	{"github.com/rogpeppe/go-internal", []string{"cmd/penstock"}},
	{"golang.org/x/sys", []string{"internal/store/pebblestore", "internal/node", "cmd/penstock"}},
	// The load generator measures the bare engine beside the queue.
	{"github.com/cockroachdb/pebble", []string{"bench"}},
}

// TestLayers holds every import to the table in ARCHITECTURE.md.
func TestLayers(t *testing.T) {
	layers := readLayers(t)
	seen := map[string]bool{}
	for _, f := range goFiles(t, ".", true) {
		pkg := path.Dir(f)
		l, ok := layers[pkg]
		if !ok {
			if !seen[pkg] {
				t.Errorf("%s: package is not in the layer table of ARCHITECTURE.md: add a line with its allowed imports", pkg)
			}
			seen[pkg] = true
			continue
		}
		seen[pkg] = true
		test := strings.HasSuffix(f, "_test.go")
		for _, imp := range importsOf(t, f) {
			if why := l.refuses(layers, pkg, imp, test); why != "" {
				t.Errorf("%s imports %s: %s", f, imp, why)
			}
		}
		if l.pure {
			for _, line := range goroutines(t, f, nil) {
				t.Errorf("%s:%d: the package is pure: it starts no goroutine, and its tests run without the race detector", f, line)
			}
		}
	}
	for pkg, l := range layers {
		for _, a := range l.allowed {
			if _, ok := layers[a]; !ok {
				t.Errorf("layer table: %s may import %s, which has no line of its own", pkg, a)
			}
			if slices.Contains(reach(layers, a), pkg) {
				t.Errorf("layer table: %s and %s may import each other: arrows point down only", pkg, a)
			}
		}
	}
}

// TestLayersCry seeds the layer test with faults, so that a silent table is
// known to be a clean one.
func TestLayersCry(t *testing.T) {
	layers := map[string]layer{
		".":                 {allowed: []string{"a"}},
		"a":                 {pure: true, allowed: []string{"b"}},
		"b":                 {},
		"internal/store":    {},
		"internal/metrics":  {},
		"internal/rpc/wire": {},
	}
	f := func(pkg, imp string, test, refused bool) {
		t.Helper()
		if got := layers[pkg].refuses(layers, pkg, imp, test); (got != "") != refused {
			t.Errorf("%s importing %s (test %v): got %q, want refused = %v", pkg, imp, test, got, refused)
		}
	}
	f(".", modulePath+"/a", false, false)
	f(".", modulePath+"/b", false, true)
	f(".", modulePath+"/b", true, false)
	f("a", modulePath, false, true)
	f("b", modulePath+"/a", true, true)
	f("b", modulePath+"/internal/store", true, false)
	f("a", "time", false, true)
	f("a", "time", true, false)
	f("b", "time", false, false)
	f("b", "github.com/prometheus/client_golang/prometheus", false, true)
	f("internal/metrics", "github.com/prometheus/client_golang/prometheus", false, false)
	f("internal/rpc/wire", "google.golang.org/grpc/codes", false, false)
	f("b", "example.com/new", false, true)
	f("b", "C", false, true)
	if got := goroutines(t, "x.go", "package x\nfunc f() {\n\tgo f()\n}\n"); !slices.Equal(got, []int{3}) {
		t.Errorf("goroutines: got lines %v, want 3", got)
	}
}

// goroutines are the lines of a file, or of src, that start one.
func goroutines(t *testing.T, file string, src any) []int {
	t.Helper()
	set := token.NewFileSet()
	parsed, err := parser.ParseFile(set, file, src, 0)
	if err != nil {
		t.Fatal(err)
	}
	var lines []int
	ast.Inspect(parsed, func(n ast.Node) bool {
		if g, ok := n.(*ast.GoStmt); ok {
			lines = append(lines, set.Position(g.Pos()).Line)
		}
		return true
	})
	return lines
}

// refuses says why pkg may not import imp, or "". Tests may also import what
// their package reaches through others, and the test packages.
func (l layer) refuses(layers map[string]layer, pkg, imp string, test bool) string {
	if imp == "C" {
		return "cgo is not used here: the binary is static"
	}
	if local, ok := localPath(imp); ok {
		switch {
		case local == pkg || slices.Contains(l.allowed, local):
			return ""
		case test && (slices.Contains(testPackages, local) || slices.Contains(reach(layers, pkg), local)):
			return ""
		}
		return fmt.Sprintf("not in %s's line of the layer table in ARCHITECTURE.md", pkg)
	}
	if first, _, _ := strings.Cut(imp, "/"); !strings.Contains(first, ".") {
		if l.pure && !test && slices.Contains(pureBans, imp) {
			return "the package is pure: time, chance and I/O come in as arguments"
		}
		return ""
	}
	known := false
	for _, h := range homes {
		if imp != h.prefix && !strings.HasPrefix(imp, h.prefix+"/") {
			continue
		}
		known = true
		for _, in := range h.in {
			dir, tree := strings.CutSuffix(in, "/...")
			if pkg == in || tree && strings.HasPrefix(pkg, dir+"/") {
				return ""
			}
		}
	}
	if known {
		return "this dependency has another home: see homes in arch_test.go"
	}
	return "a new dependency needs a note in docs/decisions and a home in arch_test.go"
}

// reach is every package that pkg may reach through the table.
func reach(layers map[string]layer, pkg string) []string {
	var out []string
	for todo := slices.Clone(layers[pkg].allowed); len(todo) > 0; todo = todo[1:] {
		if !slices.Contains(out, todo[0]) {
			out = append(out, todo[0])
			todo = append(todo, layers[todo[0]].allowed...)
		}
	}
	return out
}

func localPath(imp string) (string, bool) {
	if imp == modulePath {
		return ".", true
	}
	return strings.CutPrefix(imp, modulePath+"/")
}

func readLayers(t *testing.T) map[string]layer {
	t.Helper()
	raw, err := os.ReadFile("ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, ok := strings.Cut(string(raw), "\n```layers\n")
	block, _, closed := strings.Cut(rest, "\n```")
	if !ok || !closed {
		t.Fatal("ARCHITECTURE.md has no ```layers block")
	}
	layers := map[string]layer{}
	for line := range strings.Lines(block) {
		if line = strings.TrimSpace(line); line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, imports, ok := strings.Cut(line, ":")
		if _, dup := layers[name]; !ok || dup {
			t.Fatalf("layer table: line %q is not `path: [pure] allowed …`, or its path stands there twice", line)
		}
		l := layer{allowed: strings.Fields(imports)}
		if len(l.allowed) > 0 && l.allowed[0] == "pure" {
			l.pure, l.allowed = true, l.allowed[1:]
		}
		layers[name] = l
	}
	return layers
}

func importsOf(t *testing.T, file string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, spec := range parsed.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, imp)
	}
	return out
}

// goFiles lists the tree's Go files with slashes, without what the go tool
// skips; ownModule leaves out folders that are modules of their own.
func goFiles(t *testing.T, root string, ownModule bool) []string {
	t.Helper()
	var out []string
	err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := d.Name()
		if d.IsDir() && p != root {
			if name == "testdata" || name == "bin" || name == "dist" || name[0] == '.' || name[0] == '_' {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(p, "go.mod")); ownModule && err == nil {
				return filepath.SkipDir
			}
		}
		if !d.IsDir() && strings.HasSuffix(name, ".go") && name[0] != '.' && name[0] != '_' {
			out = append(out, filepath.ToSlash(p))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
