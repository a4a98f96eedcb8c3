package mutants

import (
	"fmt"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo/internal/must"
)

// root is the directory of the module.
const root = "../../.."

// mutant is one bug.
type mutant struct {
	name   string
	breaks string
	pkg    string // relative to root
	test   string // parts of a name, separated by slashes
	says   string // part of the failing test's output
	flags  []string
	chance string // why a run may miss it; empty: no run does
	hunks  []hunk
}

// hunk replaces some lines of a file.
type hunk struct{ file, before, after string }

// readLists returns all bugs, in the order of the lists.
func readLists(t *testing.T) []*mutant {
	t.Helper()
	names, err := filepath.Glob("testdata/*.txt")
	if err != nil || len(names) == 0 {
		t.Fatalf("no lists: %v", err)
	}
	var all []*mutant
	for _, name := range names {
		list, err := os.ReadFile(name)
		must.Do(t, err)
		ms, err := parse(string(list))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		all = append(all, ms...)
	}
	return all
}

// parse parses a list.
func parse(list string) (ms []*mutant, err error) {
	var m *mutant
	for i, line := range strings.Split(list, "\n") {
		if line == "" || line[0] == '#' {
			continue
		}
		if name, ok := strings.CutPrefix(line, "mutant "); ok {
			m = &mutant{name: name}
			ms = append(ms, m)
			continue
		}
		if m == nil || !m.add(line) {
			return nil, fmt.Errorf("line %d: %q", i+1, line)
		}
	}
	return ms, nil
}

// add adds one line of the list.
func (m *mutant) add(line string) bool {
	last := len(m.hunks) - 1
	switch c := line[0]; {
	case strings.IndexByte("@ -+", c) >= 0 && last < 0:
		return false
	case c == '@':
		m.hunks = append(m.hunks, hunk{file: m.hunks[last].file})
		return true
	case c == ' ', c == '-', c == '+':
		h := &m.hunks[last]
		if c != '+' {
			h.before += line[1:] + "\n"
		}
		if c != '-' {
			h.after += line[1:] + "\n"
		}
		return true
	}
	key, value, _ := strings.Cut(line, " ")
	switch key {
	case "breaks":
		m.breaks = value
	case "in":
		m.hunks = append(m.hunks, hunk{file: value})
	case "test":
		m.pkg, m.test, _ = strings.Cut(value, " ")
	case "says":
		m.says = value
	case "chance":
		m.chance = value
	case "flags":
		m.flags = strings.Fields(value)
	default:
		return false
	}
	return true
}

// apply returns the files that the bug changes, with the bug in them, by name.
func (m *mutant) apply() (map[string]string, error) {
	files := make(map[string]string)
	for _, h := range m.hunks {
		code, ok := files[h.file]
		if !ok {
			read, err := os.ReadFile(filepath.Join(root, h.file))
			if err != nil {
				return nil, err
			}
			code = string(read)
		}
		parts := strings.Split("\n"+code, "\n"+h.before)
		if len(parts) != 2 || h.before == "" {
			return nil, fmt.Errorf("%s has these lines %d times, not once:\n%s", h.file, len(parts)-1, h.before)
		}
		files[h.file] = strings.Join(parts, "\n"+h.after)[1:]
	}
	for name, code := range files {
		if _, err := parser.ParseFile(token.NewFileSet(), name, code, parser.SkipObjectResolution); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// testExists returns an error if the test does not exist.
func (m *mutant) testExists() error {
	name, _, _ := strings.Cut(m.test, "/")
	files, err := filepath.Glob(filepath.Join(root, m.pkg, "*_test.go"))
	if err != nil {
		return err
	}
	for _, file := range files {
		code, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		if regexp.MustCompile(`(?m)^func ` + name + `\(`).Match(code) {
			return nil
		}
	}
	return fmt.Errorf("%s has no test %q", m.pkg, name)
}

// TestLists checks that each bug can be applied, and that its test exists.
func TestLists(t *testing.T) {
	seen := make(map[string]bool)
	for _, m := range readLists(t) {
		if seen[m.name] || m.breaks == "" || m.says == "" {
			t.Errorf("%s: it is in the lists twice, or its breaks or says line is missing", m.name)
		}
		seen[m.name] = true
		if _, err := m.apply(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
		if err := m.testExists(); err != nil {
			t.Errorf("%s: %v", m.name, err)
		}
	}
}
