//go:build !race

package docs

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

// maxColumns is the longest line of prose. A tab counts as four columns.
const maxColumns = 100

// badStyle lists phrases that make a sentence hard to read.
var badStyle = []struct {
	phrase *regexp.Regexp
	advice string
}{
	{regexp.MustCompile(`(?i)\b(of (which|whom)|that which|which of (them|these|those)|from which on)\b`), "begin a new sentence instead"},
	{regexp.MustCompile(`(?i)\bthose (who|which)\b`), "name them instead"},
	{regexp.MustCompile(`(?:^|[^-+−.,^\w\s]|\w )\b1 (bits|blocks|bytes|changes|clients|commits|connections|errors|faults|files|` +
		`keys|leaves|lines|operations|pages|pairs|ranges|records|requests|roots|seconds|times|values)\b`), "write the singular"},
	{regexp.MustCompile(`\b[a-z]{3,}\(s\)`), "use package plural instead"},
}

// TestProse checks the style of comments, of strings that users may see, and of documents. Spelling
// is checked by .ci/lint.
func TestProse(t *testing.T) {
	must.Do(t, filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name := entry.Name()
		switch {
		case err != nil:
			return err
		case entry.IsDir() && path != root && (name[0] == '.' || name == "bin" || name == "testdata"):
			return filepath.SkipDir
		case filepath.Ext(name) == ".go" && name != "prose_test.go":
			for _, fault := range faultsOfCode(t, path) {
				t.Error(fault)
			}
		case filepath.Ext(name) == ".md":
			text, err := os.ReadFile(path)
			must.Do(t, err)
			for _, fault := range faultsOfDocument(string(text)) {
				t.Errorf("%s:%s", path, fault)
			}
		}
		return nil
	}))
}

// faultsOfCode returns what is wrong with the comments and strings of a Go file.
func faultsOfCode(t *testing.T, path string) (faults []string) {
	source, err := os.ReadFile(path)
	must.Do(t, err)
	files := token.NewFileSet()
	parsed, err := parser.ParseFile(files, path, source, parser.ParseComments|parser.SkipObjectResolution)
	must.Do(t, err)
	note := func(pos token.Pos, text string) {
		for _, fault := range faultsOfText(text) {
			faults = append(faults, fmt.Sprintf("%s: %s", files.Position(pos), fault))
		}
	}
	lines := strings.Split(string(source), "\n")
	for _, group := range parsed.Comments {
		note(group.Pos(), strings.Join(strings.Fields(group.Text()), " "))
		for _, comment := range group.List {
			line := lines[files.Position(comment.Pos()).Line-1]
			alone := strings.HasPrefix(strings.TrimLeft(line, "\t"), "// ")
			if alone && isLong(strings.ReplaceAll(line, "\t", "    ")) {
				faults = append(faults, fmt.Sprintf("%s: comment of more than %d columns", files.Position(comment.Pos()), maxColumns))
			}
		}
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if s, ok := n.(*ast.BasicLit); ok && s.Kind == token.STRING {
			note(s.Pos(), strings.Trim(s.Value, "`\""))
		}
		return true
	})
	return faults
}

// faultsOfDocument returns what is wrong with the prose of a Markdown document, by line.
func faultsOfDocument(text string) (faults []string) {
	code, html := false, false
	for i, line := range strings.Split(text, "\n") {
		switch {
		case html || strings.HasPrefix(line, "<!--"):
			html = !strings.Contains(line, "-->")
			continue
		case strings.HasPrefix(strings.TrimSpace(line), "```"):
			code = !code
			continue
		case code || strings.HasPrefix(line, "    "):
			continue
		}
		for _, fault := range faultsOfText(line) {
			faults = append(faults, fmt.Sprintf("%d: %s", i+1, fault))
		}
		if !strings.HasPrefix(line, "|") && !strings.Contains(line, "](") && isLong(line) {
			faults = append(faults, fmt.Sprintf("%d: line of more than %d columns", i+1, maxColumns))
		}
	}
	return faults
}

// faultsOfText returns the phrases in a text that are bad style.
func faultsOfText(text string) (faults []string) {
	for _, bad := range badStyle {
		if found := bad.phrase.FindString(text); found != "" {
			faults = append(faults, fmt.Sprintf("%q: %s", found, bad.advice))
		}
	}
	return faults
}

// isLong reports whether a line is too long. A URL cannot be wrapped.
func isLong(line string) bool {
	return len([]rune(line)) > maxColumns && !strings.Contains(line, "://")
}

func TestFaultsOfDocument(t *testing.T) {
	long := strings.Repeat("word ", 21)
	for text, want := range map[string]string{
		"A line.":                         "",
		"A tree, the root of which is A":  `1: "of which": begin a new sentence instead`,
		"\nfor those who wait":            `2: "those who": name them instead`,
		"there are 1 leaves":              `1: "e 1 leaves": write the singular`,
		"1 pages":                         `1: "1 pages": write the singular`,
		"2^32-1 bytes, 20 + 1 blocks":     "",
		"21 pages, 1.1 pages":             "",
		"2 file(s)":                       `1: "file(s)": use package plural instead`,
		long:                              "1: line of more than 100 columns",
		"| " + long + "|":                 "",
		"```\n" + long + "\n```\n" + long: "4: line of more than 100 columns",
		"<!-- " + long + "\n" + long + " -->\nthose who": `3: "those who": name them instead`,
		long + "https://example.org":                     "",
	} {
		if got := strings.Join(faultsOfDocument(text), "; "); got != want {
			t.Errorf("%q: got %q, want %q", text, got, want)
		}
	}
}
