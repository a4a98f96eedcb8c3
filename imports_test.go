package kivaloo_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

const module = "kivaloo"

// mayImport lists the packages of this module that each package may import, besides its parent
// folders. A folder that is not listed follows the one above it. "." is the root.
var mayImport = map[string][]string{
	".":                      {"actors", "wire", "disk", "tree"},
	"actors":                 {},
	"wire":                   {},
	"wire/wiretest":          {"internal/must"},
	"disk":                   {"actors"},
	"disk/remote":            {"actors", "wire", "eventloop"},
	"tree":                   {"actors", "disk", "tree/journal", "tree/keys", "tree/memtable", "tree/offheap", "tree/page"},
	"tree/journal":           {"disk"},
	"tree/keys":              {},
	"tree/memtable":          {"tree/keys", "tree/offheap"},
	"tree/offheap":           {},
	"tree/page":              {"disk", "tree/keys"},
	"eventloop":              {"actors", "wire"},
	"eventloop/kvlds":        {"actors", "wire", "tree"},
	"eventloop/lbs":          {"actors", "wire", "disk"},
	"eventloop/mux":          {"actors", "wire"},
	"eventloop/mux/certtest": {"internal/must"},
	"stress":                 {".", "wire"},
	"examples":               {"."},
	"contrib/collector":      {"."},
	"internal/must":          {},
	"cmd":                    {anything},
}

const anything = "*"

// forbiddenNames would be packages for odds and ends.
var forbiddenNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "shared"}

// parsedPackage is what the test needs to know about one folder with Go files.
type parsedPackage struct {
	dir     string // relative to the root, with slashes
	name    string
	imports map[string]bool   // from this module, by folder, without those of test files
	docs    map[string]string // package comments by file
	tests   bool              // it has test files
	goleak  bool              // it has a TestMain that checks for leaked goroutines
}

func TestImportTable(t *testing.T) {
	for _, p := range parseModule(t) {
		allowed, ok := rule(p.dir)
		if !ok {
			t.Errorf("%s is not in the table of who may import what", p.dir)
		}
		for _, dir := range slices.Sorted(maps.Keys(p.imports)) {
			above := p.dir != "." && (p.dir == dir || strings.HasPrefix(p.dir, dir+"/"))
			if !above && !slices.Contains(allowed, dir) && !slices.Contains(allowed, anything) {
				t.Errorf("%s must not import %s", p.dir, dir)
			}
		}
	}
}

// rule returns what the package in dir may import.
func rule(dir string) ([]string, bool) {
	for ; ; dir = filepath.ToSlash(filepath.Dir(dir)) {
		if allowed, ok := mayImport[dir]; ok || dir == "." {
			return allowed, ok
		}
		if !strings.Contains(dir, "/") {
			return nil, false
		}
	}
}

func TestPackagesIntroduceThemselves(t *testing.T) {
	for _, p := range parseModule(t) {
		introduced := p.docs["doc.go"] != "" || p.name == "main" && p.docs["main.go"] != ""
		if !introduced {
			t.Errorf("%s: no doc.go (or, for a command, main.go) that says what the package is for", p.dir)
		}
		if slices.Contains(forbiddenNames, p.name) || slices.Contains(forbiddenNames, filepath.Base(p.dir)) {
			t.Errorf("%s: a name that says nothing about what belongs there", p.dir)
		}
		if p.tests && !p.goleak {
			t.Errorf("%s: no TestMain that checks for leaked goroutines", p.dir)
		}
	}
}

// forUsers are the packages that programs outside of this module may import.
var forUsers = []string{".", "contrib/collector"}

var goFile = regexp.MustCompile(`\b\w+\.go\b`)

// TestPackageComments checks that package comments make sense without the source files, and say
// which packages are internal.
func TestPackageComments(t *testing.T) {
	for _, p := range parseModule(t) {
		internal := slices.Contains(strings.Split(p.dir, "/"), "internal")
		for file, doc := range p.docs {
			if name := goFile.FindString(doc); name != "" {
				t.Errorf("%s: the package comment speaks of %s: put lists of files below the package clause", p.dir, name)
			}
			first, _, _ := strings.Cut(doc, "\n")
			says := strings.Contains(first, " is internal to kivaloo: ")
			if doc != "" && says != (p.name != "main" && !internal && !slices.Contains(forUsers, p.dir)) {
				t.Errorf("%s/%s: the package comment begins with %q", p.dir, file, first)
			}
		}
	}
}

// parseModule reads all packages of the module, without nested modules.
func parseModule(t *testing.T) []*parsedPackage {
	t.Helper()
	byDir := make(map[string]*parsedPackage)
	err := filepath.WalkDir(".", func(path string, e fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case e.IsDir() && path != "." && (e.Name() == "testdata" || strings.ContainsAny(e.Name()[:1], "._")):
			return filepath.SkipDir
		case e.IsDir() && path != "." && isModule(path):
			return filepath.SkipDir
		case e.IsDir() || filepath.Ext(path) != ".go":
			return nil
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if byDir[dir] == nil {
			byDir[dir] = &parsedPackage{dir: dir, imports: make(map[string]bool), docs: make(map[string]string)}
		}
		return byDir[dir].read(path)
	})
	must.Do(t, err)
	if len(byDir) == 0 {
		t.Fatal("no packages found")
	}
	return slices.SortedFunc(maps.Values(byDir), func(a, b *parsedPackage) int { return strings.Compare(a.dir, b.dir) })
}

// isModule reports whether dir is the root of a module.
func isModule(dir string) bool {
	_, err := os.Stat(filepath.Join(dir, "go.mod"))
	return err == nil
}

// read adds one file to its package.
func (p *parsedPackage) read(path string) error {
	mode := parser.ImportsOnly | parser.ParseComments
	test := strings.HasSuffix(path, "_test.go")
	if test {
		mode = parser.SkipObjectResolution // TestMain comes after the imports
	}
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, mode)
	if err != nil {
		return err
	}
	if test {
		p.tests = true
		p.goleak = p.goleak || checksLeaks(file)
		return nil
	}
	p.name = file.Name.Name
	p.docs[filepath.Base(path)] = file.Doc.Text()
	for _, spec := range file.Imports {
		switch imported := strings.Trim(spec.Path.Value, `"`); {
		case imported == module:
			p.imports["."] = true
		case strings.HasPrefix(imported, module+"/"):
			p.imports[strings.TrimPrefix(imported, module+"/")] = true
		}
	}
	return nil
}

// checksLeaks reports whether a test file has a TestMain that ends with a check for leaked
// goroutines, its own or that of daemontest.Main.
func checksLeaks(file *ast.File) bool {
	for _, d := range file.Decls {
		f, ok := d.(*ast.FuncDecl)
		if !ok || f.Name.Name != "TestMain" {
			continue
		}
		found := false
		ast.Inspect(f, func(n ast.Node) bool {
			if s, ok := n.(*ast.SelectorExpr); ok {
				from, _ := s.X.(*ast.Ident)
				found = found || from != nil && (from.Name+"."+s.Sel.Name == "goleak.VerifyTestMain" ||
					from.Name+"."+s.Sel.Name == "daemontest.Main")
			}
			return true
		})
		return found
	}
	return false
}
