package kivaloo

import (
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo/disk"
	"kivaloo/internal/must"
	"kivaloo/tree"
	"kivaloo/wire"
)

// TestConstants checks that the constants documented as numbers equal those of the engine.
func TestConstants(t *testing.T) {
	if MaxLen != wire.MaxKeyLen || MaxClientBatch != wire.MaxApplyItems || DefaultScrubRate != disk.DefaultScrubRate ||
		Certain != Trust(tree.Certain) || Unchecked != Trust(tree.Unchecked) || Stale != Trust(tree.Stale) || Lost != Trust(tree.Lost) {
		t.Error("a constant of the library is not that of the engine")
	}
}

// TestNoInternalNames checks that the output of go doc mentions no package of the engine, except in
// the values of errors.
func TestNoInternalNames(t *testing.T) {
	out, err := exec.Command("go", "doc", "-all", ".").Output()
	must.Do(t, err)
	internal := regexp.MustCompile(`\b(actors|disk|tree|wire|eventloop)\.[A-Z]|[Pp]ackage (actors|disk|tree|wire|eventloop)`)
	errorValue := regexp.MustCompile(`^\tErr\w+ += \w+\.Err\w+$`)
	if !strings.Contains(string(out), "func Open(") {
		t.Fatalf("go doc prints %q", out)
	}
	for line := range strings.Lines(string(out)) {
		if line = strings.TrimSuffix(line, "\n"); internal.MatchString(line) && !errorValue.MatchString(line) {
			t.Errorf("go doc prints %q", line)
		}
	}
}

// notInExamples lists the functions that no example needs to call.
var notInExamples = map[string]string{
	"Error":  "fmt and log call it",
	"String": "fmt and log call it",
	"Unwrap": "errors.Is and errors.As call it",
}

// TestExamplesUseEverything checks that each exported function and method is used in an example.
func TestExamplesUseEverything(t *testing.T) {
	used, named := make(map[types.Object]bool), make(map[string]bool)
	pkg, info := checkExamples(t)
	for _, obj := range info.Uses {
		used[obj] = true
	}
	for _, obj := range info.Defs {
		if f, ok := obj.(*types.Func); ok {
			named[f.Name()] = true // also counts as used if it is called through an interface
		}
	}
	looked := 0
	want := func(f *types.Func, example string) {
		if f.Exported() && notInExamples[f.Name()] == "" {
			looked++
			if !used[f] && !named[example] {
				t.Errorf("no example uses %s", f.FullName())
			}
		}
	}
	for _, name := range pkg.Scope().Names() {
		switch obj := pkg.Scope().Lookup(name).(type) {
		case *types.Func:
			want(obj, "Example"+name)
		case *types.TypeName:
			if typ, ok := obj.Type().(*types.Named); ok && obj.Exported() && !types.IsInterface(typ) {
				for m := range typ.Methods() {
					want(m, "Example"+name+"_"+m.Name())
				}
			}
		}
	}
	if looked < 80 {
		t.Errorf("only %d functions were looked at", looked)
	}
}

// checkExamples type-checks the examples. It returns this package, and what the example files
// declare and use.
func checkExamples(t *testing.T) (*types.Package, *types.Info) {
	t.Helper()
	list, err := exec.Command("go", "list", "-export", "-deps", "-f", "{{.ImportPath}} {{.Export}}", ".").Output()
	must.Do(t, err)
	exports := make(map[string]string)
	for line := range strings.Lines(string(list)) {
		path, file, _ := strings.Cut(strings.TrimSpace(line), " ")
		exports[path] = file
	}
	fset := token.NewFileSet()
	var files []*ast.File
	names, err := filepath.Glob("example_*_test.go")
	must.Do(t, err)
	for _, name := range names {
		file, err := parser.ParseFile(fset, name, nil, parser.SkipObjectResolution)
		must.Do(t, err)
		files = append(files, file)
	}
	importer := importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })
	conf := types.Config{Importer: importer, Error: func(error) {}} // ignore errors: what other test files declare is missing
	info := &types.Info{Uses: make(map[*ast.Ident]types.Object), Defs: make(map[*ast.Ident]types.Object)}
	conf.Check("kivaloo_test", fset, files, info)
	pkg, err := importer.Import("kivaloo")
	must.Do(t, err)
	return pkg, info
}
