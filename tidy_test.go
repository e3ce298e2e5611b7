package penstock_test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// Limits of the house style. Over a limit means that a concept is missing: find
// it, do not cut by line count.
const (
	fileLinesMax           = 600
	funcLinesMax           = 70
	packageCommentLinesMax = 5
	architectureLinesMax   = 250
	agentsLinesMax         = 60
)

// noPackages say nothing about what is in them.
var noPackages = strings.Fields("util utils common base types helper helpers misc shared pkg lib")

// noWords have a word of their own here (AGENTS.md, "Words"); front doors that
// speak another system's protocol keep that system's words.
var noWords = strings.Fields("job jobs visibility settle settled flow flows")

var generated = regexp.MustCompile(`(?m)^// Code generated .* DO NOT EDIT\.$`)

// TestTidy holds the house style over every Go file of the tree, the nested
// modules' too.
func TestTidy(t *testing.T) {
	documented := map[string]bool{} // by package folder
	for _, name := range goFiles(t, ".", false) {
		src, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if generated.Match(src) {
			documented[path.Dir(name)] = true
			continue
		}
		f, err := parseTidy(name, src)
		if err != nil {
			t.Error(err)
			continue
		}
		for _, fault := range f.faults() {
			t.Error(fault)
		}
		if !strings.HasSuffix(name, "_test.go") {
			documented[path.Dir(name)] = documented[path.Dir(name)] || f.file.Doc != nil
		}
	}
	for dir, ok := range documented {
		if !ok {
			t.Errorf("%s: no package comment: say in at most %d lines what it is, what it is not and its one rule", dir, packageCommentLinesMax)
		}
	}
}

// TestTidyDocs holds the documents that are read whole to a readable length.
func TestTidyDocs(t *testing.T) {
	f := func(name string, limit int) {
		t.Helper()
		raw, err := os.ReadFile(name)
		if err != nil {
			t.Error(err)
		} else if n := strings.Count(string(raw), "\n"); n > limit {
			t.Errorf("%s has %d lines, the limit is %d", name, n, limit)
		}
	}
	f("ARCHITECTURE.md", architectureLinesMax)
	f("AGENTS.md", agentsLinesMax)
}

// TestTidyCries seeds each rule with its fault.
func TestTidyCries(t *testing.T) {
	long := strings.Repeat("\t_ = 0\n", funcLinesMax)
	f := func(name, src, want string) {
		t.Helper()
		tf, err := parseTidy(name, []byte(src))
		if err != nil {
			t.Fatal(err)
		}
		got := strings.Join(tf.faults(), "\n")
		if want == "" && got != "" || !strings.Contains(got, want) {
			t.Errorf("%s: got %q, want %q", name, got, want)
		}
	}
	f("a.go", "// Package a is.\npackage a\n\n// X is.\nfunc X() {}\n", "")
	f("a.go", "package a\n"+strings.Repeat("\n", fileLinesMax), "lines, the limit is 600")
	f("a.go", "package a\nfunc x() {\n"+long+"}\n", "func x has 72 lines")
	f("a.go", "package util\n", "says nothing")
	f("a.go", "package a\nfunc X() {}\n", "X has no doc comment")
	f("a.go", "package a\ntype t int\nfunc (t) X() {}\n", "")
	f("a.go", "package a\nconst (\n\tX = 1\n)\n", "X has no doc comment")
	f("a.go", "package a\nconst (\n\tX = 1 // why\n)\n", "")
	f("a.go", "package a\n// X is.\ntype X struct{ JobID int }\n", "JobID")
	f("a.go", "package a\n// JobsOf is.\nfunc JobsOf() {}\n", "JobsOf")
	f("a.go", "package a\n// Overflow is.\nfunc Overflow() {}\n", "")
	f("a.go", "package a\n// Message is.\ntype Message struct{}\n", "Message")
	f("a_test.go", "package a\nimport \"time\"\nfunc x() { time.Sleep(1) }\n", "time.Sleep")
	f("a_test.go", "package a\nimport t \"time\"\nfunc x() { t.Sleep(1) }\n", "time.Sleep")
	f("a_test.go", "package a\nfunc X() {}\n", "")
	f("x/a.go", "// Package a is\n// 2\n// 3\n// 4\n// 5\n// 6\npackage a\n", "package comment has 6 lines")
}

type tidyFile struct {
	name string
	test bool
	set  *token.FileSet
	file *ast.File
	out  []string
}

func parseTidy(name string, src []byte) (*tidyFile, error) {
	set := token.NewFileSet()
	f, err := parser.ParseFile(set, name, src, parser.ParseComments|parser.SkipObjectResolution)
	return &tidyFile{name: name, test: strings.HasSuffix(name, "_test.go"), set: set, file: f}, err
}

func (f *tidyFile) fault(at token.Pos, format string, args ...any) {
	f.out = append(f.out, fmt.Sprintf("%s:%d: ", f.name, f.line(at))+fmt.Sprintf(format, args...))
}

func (f *tidyFile) line(at token.Pos) int { return f.set.Position(at).Line }

func (f *tidyFile) faults() []string {
	if n := f.set.File(f.file.FileStart).LineCount(); n > fileLinesMax {
		f.fault(f.file.Package, "file has %d lines, the limit is %d", n, fileLinesMax)
	}
	if pkg := strings.TrimSuffix(f.file.Name.Name, "_test"); slices.Contains(noPackages, pkg) {
		f.fault(f.file.Package, "package name %q says nothing about what is in it", pkg)
	}
	if d := f.file.Doc; d != nil && f.file.Name.Name != "main" && path.Dir(f.name) != "." {
		if n := f.line(d.End()) - f.line(d.Pos()) + 1; n > packageCommentLinesMax {
			f.fault(d.Pos(), "package comment has %d lines, the limit is %d", n, packageCommentLinesMax)
		}
	}
	for _, d := range f.file.Decls {
		switch d := d.(type) {
		case *ast.FuncDecl:
			f.checkFunc(d)
		case *ast.GenDecl:
			f.checkDecl(d)
		}
	}
	if f.test {
		f.checkSleep()
	}
	return f.out
}

func (f *tidyFile) checkFunc(d *ast.FuncDecl) {
	if n := f.line(d.End()) - f.line(d.Pos()) + 1; n > funcLinesMax {
		f.fault(d.Pos(), "func %s has %d lines, the limit is %d", d.Name.Name, n, funcLinesMax)
	}
	if d.Recv != nil && !receiverExported(d.Recv) {
		return
	}
	f.checkName(d.Name, d.Doc)
}

func receiverExported(recv *ast.FieldList) bool {
	for e := recv.List[0].Type; ; {
		switch x := e.(type) {
		case *ast.StarExpr:
			e = x.X
		case *ast.IndexExpr:
			e = x.X
		case *ast.IndexListExpr:
			e = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return true
		}
	}
}

func (f *tidyFile) checkDecl(d *ast.GenDecl) {
	for _, spec := range d.Specs {
		switch s := spec.(type) {
		case *ast.TypeSpec:
			f.checkName(s.Name, s.Doc, d.Doc, s.Comment)
			if s.Name.Name == "Message" && !f.test {
				f.fault(s.Pos(), "Message is another system's word: here it is a task")
			}
			if s.Name.IsExported() {
				f.checkFields(s.Type)
			}
		case *ast.ValueSpec:
			for _, n := range s.Names {
				f.checkName(n, s.Doc, d.Doc, s.Comment)
			}
		}
	}
}

// checkFields looks at the words only: a field's name often says it all.
func (f *tidyFile) checkFields(e ast.Expr) {
	var fields *ast.FieldList
	switch x := e.(type) {
	case *ast.StructType:
		fields = x.Fields
	case *ast.InterfaceType:
		fields = x.Methods
	default:
		return
	}
	for _, field := range fields.List {
		for _, n := range field.Names {
			f.checkWords(n)
		}
	}
}

func (f *tidyFile) checkName(n *ast.Ident, docs ...*ast.CommentGroup) {
	if f.test || !n.IsExported() {
		return
	}
	f.checkWords(n)
	for _, d := range docs {
		if d != nil {
			return
		}
	}
	f.fault(n.Pos(), "exported %s has no doc comment: say why it is there, not what the line says", n.Name)
}

func (f *tidyFile) checkWords(n *ast.Ident) {
	if f.test || !n.IsExported() {
		return
	}
	for _, w := range camelWords(n.Name) {
		if slices.Contains(noWords, w) {
			f.fault(n.Pos(), "%s: %q is not one of our words, see AGENTS.md", n.Name, w)
		}
	}
}

// camelWords splits at each capital that follows a small letter.
func camelWords(s string) []string {
	var out []string
	var word strings.Builder
	small := false
	for _, r := range s {
		if unicode.IsUpper(r) && small {
			out = append(out, word.String())
			word.Reset()
		}
		small = !unicode.IsUpper(r)
		word.WriteRune(unicode.ToLower(r))
	}
	return append(out, word.String())
}

func (f *tidyFile) checkSleep() {
	name := ""
	for _, imp := range f.file.Imports {
		if imp.Path.Value == `"time"` {
			name = "time"
			if imp.Name != nil {
				name = imp.Name.Name
			}
		}
	}
	ast.Inspect(f.file, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && name != "" && sel.Sel.Name == "Sleep" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == name {
				f.fault(sel.Pos(), "time.Sleep in a test: wait for the event, or use testing/synctest")
			}
		}
		return true
	})
}
