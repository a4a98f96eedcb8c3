package mutants

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/internal/must"
)

const (
	// testLimit bounds a test that a bug makes hang.
	testLimit = 3 * time.Minute
	// runLimit bounds the test and the build before it.
	runLimit = 15 * time.Minute
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestMutants runs, for each bug, the test that must notice it.
func TestMutants(t *testing.T) {
	chosen := choose(t, readLists(t))
	if len(chosen) == 0 {
		t.Skip("set KIVALOO_MUTANTS to all, to certain, or to how many bugs are to be tried")
	}
	start := time.Now()
	took := make([]string, len(chosen))
	t.Run("each", func(t *testing.T) {
		for i, m := range chosen {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				took[i] = m.run(t)
			})
		}
	})
	caught := 0
	table := "| bug | what is broken | test | seconds |\n|---|---|---|---|\n"
	for i, m := range chosen {
		if took[i] != "" {
			caught++
			table += fmt.Sprintf("| `%s` | %s | `%s` in `%s` | %s |\n", m.name, m.breaks, m.test, strings.TrimPrefix(m.pkg, "./"), took[i])
		}
	}
	t.Logf("%d caught, in %v with their builds:\n%s", caught, time.Since(start).Round(time.Second), table)
}

// choose returns the bugs to try.
func choose(t *testing.T, ms []*mutant) []*mutant {
	want := os.Getenv("KIVALOO_MUTANTS")
	switch want {
	case "all":
		return ms
	case "certain":
		return slices.DeleteFunc(ms, func(m *mutant) bool { return m.chance != "" })
	}
	n, err := strconv.Atoi(cmp.Or(want, "0"))
	if err != nil || n < 0 {
		t.Fatalf("KIVALOO_MUTANTS=%q is neither a number nor all or certain", want)
	}
	n = min(n, len(ms))
	for i := range n { // the same ones each time, spread over the list
		ms[i] = ms[i*len(ms)/n]
	}
	return ms[:n]
}

// run runs the test on the code with the bug. It returns how long the test took to fail, in
// seconds, or "" if it did not fail.
func (m *mutant) run(t *testing.T) (took string) {
	dir, err := os.MkdirTemp("", "m") // short, because sockets are created in it
	must.Do(t, err)
	defer os.RemoveAll(dir)
	flags, err := m.overlay(dir)
	must.Do(t, err)
	out, err := m.goTest(dir, flags)
	switch {
	case strings.Contains(out, "no tests to run"):
		t.Errorf("the list is wrong: %s has no test %s", m.pkg, m.test)
	case err == nil:
		t.Errorf("%s: %s does not notice", m.breaks, m.test)
	case strings.Contains(out, "[build failed]"), strings.Contains(out, "[setup failed]"):
		t.Errorf("the list is wrong: it does not compile\n%s", out)
	case !strings.Contains(out, m.says):
		t.Errorf("%s fails, but does not say %q: %v\n%s", m.test, m.says, err, out)
	default:
		took = "?"
		if found := regexp.MustCompile(`(?m)^FAIL\tkivaloo\S*\t([0-9.]+)s$`).FindStringSubmatch(out); found != nil {
			took = found[1]
		}
		if testing.Verbose() {
			t.Logf("%s", out)
		}
	}
	return took
}

// overlay writes the files with the bug into dir, and returns the flag that makes the compiler use
// them.
func (m *mutant) overlay(dir string) (flag string, err error) {
	files, err := m.apply()
	if err != nil {
		return "", err
	}
	replace := make(map[string]string)
	for name, code := range files {
		original, err := filepath.Abs(filepath.Join(root, name))
		if err != nil {
			return "", err
		}
		replace[original] = filepath.Join(dir, strings.ReplaceAll(name, "/", "_"))
		if err := os.WriteFile(replace[original], []byte(code), 0o600); err != nil {
			return "", err
		}
	}
	list := filepath.Join(dir, "overlay.json")
	overlay, err := json.Marshal(map[string]any{"Replace": replace})
	if err != nil {
		return "", err
	}
	return "-overlay=" + list, os.WriteFile(list, overlay, 0o600)
}

// goTest runs the test, which may build programs, and returns its output.
func (m *mutant) goTest(dir, overlay string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), runLimit)
	defer cancel()
	name := "^" + strings.ReplaceAll(m.test, "/", "$/^") + "$"
	args := slices.Concat([]string{"test", "-count=1", "-vet=off", "-failfast", "-timeout=" + testLimit.String(), "-run=" + name, m.pkg}, m.flags)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = root
	cmd.Env = append(os.Environ(), "GOFLAGS="+os.Getenv("GOFLAGS")+" -pgo=off "+overlay, "TMPDIR="+dir)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	out, err := cmd.CombinedOutput()
	return string(out), err
}
