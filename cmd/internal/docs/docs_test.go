//go:build !race

package docs

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/internal/must"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	root = "../../.."

	// maxBlockTime is how long one block may take on a busy machine.
	maxBlockTime = 2 * time.Minute
	maxStopTime  = 20 * time.Second
)

// elsewhere lists the documents that another test runs, because they need more than one machine.
var elsewhere = map[string]string{"docs/exposing.md": "TestExposing of cmd/kivaloo-mux"}

func TestDocuments(t *testing.T) {
	if os.Getenv("KIVALOO_DOCS") == "" {
		t.Skip("takes a minute or two; KIVALOO_DOCS=on runs it, as CI does")
	}
	checkout := copyCheckout(t)
	build := exec.Command("go", "build", "-o", "bin/", "./cmd/...")
	build.Dir, build.Env = checkout, environment(checkout)
	if said, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, said)
	}
	for name, steps := range documents(t) {
		t.Run(name, func(t *testing.T) {
			if test, ok := elsewhere[name]; ok {
				t.Skipf("%s runs it", test)
			}
			run(t, name, checkout, steps)
		})
	}
}

// documents returns the steps of each document by its path.
func documents(t *testing.T) map[string][]step {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
	must.Do(t, err)
	all := make(map[string][]step)
	for _, path := range append(paths, filepath.Join(root, "README.md")) {
		name, err := filepath.Rel(root, path)
		must.Do(t, err)
		text, err := os.ReadFile(path)
		must.Do(t, err)
		if all[name], err = parse(string(text)); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	return all
}

// TestNames checks that the tests and make targets named in documents exist.
func TestNames(t *testing.T) {
	for name, steps := range documents(t) {
		for _, step := range steps {
			if step.kind != commands {
				continue
			}
			for line := range strings.SplitSeq(step.text, "\n") {
				var err error
				if tests.MatchString(line) {
					err = testsExist(line)
				} else if rest, ok := strings.CutPrefix(line, "make "); ok {
					err = targetExists(strings.Fields(rest)[0])
				}
				if err != nil {
					t.Errorf("%s:%d: %v\n%s", name, step.line, err, line)
				}
			}
		}
	}
}

// copyCheckout returns a directory called kivaloo with all files of the checkout, including
// uncommitted ones. Its path is short, because sockets are created below it.
func copyCheckout(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("/tmp", "kvdoc")
	must.Do(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	dir = filepath.Join(dir, "kivaloo")
	must.Do(t, os.Mkdir(dir, 0o700))
	clone := exec.Command("sh", "-c", `git ls-files -z --cached --others --exclude-standard |
		tar -c --null --ignore-failed-read -T - | tar -x -C "$0"`, dir)
	clone.Dir = root
	if said, err := clone.CombinedOutput(); err != nil {
		t.Skipf("no copy of the checkout: %v: %s", err, said)
	}
	return dir
}

// environment returns the environment of commands. Builds do not contain paths of the checkout, so
// the next run finds them in Go's cache. Modules come from the cache only.
func environment(checkout string) []string {
	return append(os.Environ(), "PATH="+filepath.Join(checkout, "bin")+":"+os.Getenv("PATH"),
		"GOFLAGS=-trimpath -pgo=off -buildvcs=false", "PPROF_TMPDIR="+checkout, "GOPROXY=off", "GOSUMDB=off")
}

// session runs one document.
type session struct {
	t        *testing.T
	checkout string
	outside  string // replaces / for /run, /srv, /some and /var
	debug    string // replaces 127.0.0.1:6060
	printed  string // output of the last commands
	servers  map[string]*server
}

// server is one "kivaloo serve".
type server struct {
	cmd   *exec.Cmd
	log   bytes.Buffer
	ended chan error
}

func run(t *testing.T, name, checkout string, steps []step) {
	began, before := time.Now(), entries(t, checkout)
	s := &session{t: t, checkout: checkout, debug: freeAddress(t), servers: make(map[string]*server)}
	var err error
	s.outside, err = os.MkdirTemp("/tmp", "kvdoc")
	must.Do(t, err)
	defer func() {
		s.stopServers()
		s.stopDaemons()
		must.Do(t, os.RemoveAll(s.outside))
		for entry := range entries(t, checkout) {
			if !before[entry] {
				must.Do(t, os.RemoveAll(filepath.Join(checkout, entry)))
			}
		}
	}()
	var ran, left int
	for _, step := range steps {
		var err error
		switch step.kind {
		case commands:
			ran++
			err = s.commands(step.text)
		case output:
			if line := missing(step.text, s.printed); line != "" {
				err = fmt.Errorf("this was not printed:\n%s\nbut\n%s", line, s.printed)
			}
		case stop:
			s.stopServers()
		case file:
			path, content, _ := strings.Cut(step.text, "\n")
			err = os.WriteFile(filepath.Join(checkout, path), []byte(content), 0o600)
		case notRun:
			left++
			t.Logf("%s:%d is not run: %s", name, step.line, step.text)
		}
		if err != nil {
			t.Fatalf("%s:%d: %v\n%s", name, step.line, err, step.text)
		}
	}
	t.Logf("%s: %d blocks run, %d not, in %.1f s", name, ran, left, time.Since(began).Seconds())
}

// entries returns the names in the top directory of the checkout.
func entries(t *testing.T, checkout string) map[string]bool {
	t.Helper()
	found, err := os.ReadDir(checkout)
	must.Do(t, err)
	names := make(map[string]bool)
	for _, entry := range found {
		names[entry.Name()] = true
	}
	return names
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	defer l.Close()
	return l.Addr().String()
}

var (
	outside = regexp.MustCompile(`(^|[\s"'=])(/(?:run|srv|some|var)/[\w./-]+)`)
	serve   = regexp.MustCompile(`^(\S*kivaloo|go run \./cmd/kivaloo) serve\b`)
	dirFlag = regexp.MustCompile(`--dir[ =](\S+)`)
	tests   = regexp.MustCompile(`^([A-Z_]+=\S+ )*go test\b`)
)

// commands runs a block. Its lines run one after the other in one shell, except those not meant for
// a shell.
func (s *session) commands(block string) error {
	block = strings.ReplaceAll(block, "127.0.0.1:6060", s.debug)
	block = outside.ReplaceAllStringFunc(block, func(found string) string {
		parts := outside.FindStringSubmatch(found)
		path := filepath.Join(s.outside, parts[2])
		must.Do(s.t, os.MkdirAll(filepath.Dir(path), 0o755))
		return parts[1] + path
	})
	s.printed = ""
	var script []string
	flush := func() error {
		err := s.shell(strings.Join(script, "\n"))
		script = nil
		return err
	}
	for line := range strings.SplitSeq(strings.ReplaceAll(block, "\\\n", " "), "\n") {
		switch line = strings.TrimSpace(line); {
		case serve.MatchString(line):
			if err := errors.Join(flush(), s.serve(line)); err != nil {
				return err
			}
		case tests.MatchString(line), strings.HasPrefix(line, "make "): // TestNames checks these
		default:
			script = append(script, line)
		}
	}
	return flush()
}

func (s *session) shell(script string) error {
	if strings.TrimSpace(script) == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), maxBlockTime)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-e", "-c", script)
	cmd.Dir, cmd.Env = s.checkout, environment(s.checkout)
	// Daemons keep standard error open, so it is a file: Wait would wait for the end of a pipe.
	said, err := os.CreateTemp(s.outside, "output")
	must.Do(s.t, err)
	defer said.Close()
	cmd.Stdout, cmd.Stderr = said, said
	failed := cmd.Run()
	printed, err := os.ReadFile(said.Name())
	must.Do(s.t, err)
	s.printed += string(printed)
	if failed != nil {
		return fmt.Errorf("%w: %s", failed, printed)
	}
	return nil
}

// serve starts a server, in place of the one that currently has its directory, and waits until it
// answers.
func (s *session) serve(command string) error {
	dir := "./kivaloo-data"
	if found := dirFlag.FindStringSubmatch(command); found != nil {
		dir = found[1]
	}
	s.stopServer(dir)
	command, _, _ = strings.Cut(command, " #")
	v := &server{cmd: exec.Command("sh", "-c", "exec "+command), ended: make(chan error, 1)}
	v.cmd.Dir, v.cmd.Env = s.checkout, environment(s.checkout)
	v.cmd.Stdout, v.cmd.Stderr = &v.log, &v.log
	v.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // stops processes started by "go run" too
	if err := v.cmd.Start(); err != nil {
		return err
	}
	go func() { v.ended <- v.cmd.Wait() }()
	s.servers[dir] = v
	for deadline := time.Now().Add(maxBlockTime); ; time.Sleep(50 * time.Millisecond) {
		ask := exec.Command("bin/kivaloo", "params", "--addr", "./"+dir, "--timeout", "1s")
		if filepath.IsAbs(dir) {
			ask.Args[3] = dir
		}
		ask.Dir, ask.Env = s.checkout, environment(s.checkout)
		if ask.Run() == nil {
			return nil
		}
		select {
		case err := <-v.ended:
			delete(s.servers, dir)
			return fmt.Errorf("the server has ended: %v\n%s", err, &v.log)
		default:
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("the server does not answer within %v", maxBlockTime)
		}
	}
}

func (s *session) stopServers() {
	for dir := range s.servers {
		s.stopServer(dir)
	}
}

func (s *session) stopServer(dir string) {
	v := s.servers[dir]
	if v == nil {
		return
	}
	delete(s.servers, dir)
	if err := syscall.Kill(-v.cmd.Process.Pid, syscall.SIGTERM); err != nil && !errors.Is(err, syscall.ESRCH) {
		s.t.Error(err)
	}
	select {
	case <-v.ended:
	case <-time.After(maxStopTime):
		s.t.Errorf("the server on %s does not stop within %v", dir, maxStopTime)
		syscall.Kill(-v.cmd.Process.Pid, syscall.SIGKILL)
		<-v.ended
	}
}

// stopDaemons stops everything that has left a pid file.
func (s *session) stopDaemons() {
	err := filepath.WalkDir(s.outside, func(path string, _ os.DirEntry, err error) error {
		if err != nil || filepath.Ext(path) != ".pid" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
		if err != nil {
			return err
		}
		name, _ := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid))
		if strings.HasPrefix(string(name), "kivaloo") {
			return syscall.Kill(pid, syscall.SIGTERM)
		}
		return nil
	})
	if err != nil {
		s.t.Error(err)
	}
}

// targetExists checks that the Makefile has a target.
func targetExists(target string) error {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err == nil && !regexp.MustCompile(`(?m)^`+regexp.QuoteMeta(target)+`:`).Match(makefile) {
		err = fmt.Errorf("make has no target %s", target)
	}
	return err
}

var (
	pattern  = regexp.MustCompile(`-(?:run|bench) '?([^' ]*)'?`)
	function = regexp.MustCompile(`(?m)^func ((?:Test|Benchmark|Fuzz|Example)\w*)\(`)
)

// testsExist checks that each package of a "go test" has tests, and that each alternative of the
// pattern matches one.
func testsExist(command string) error {
	command, _, _ = strings.Cut(command, " #")
	var all []string
	_, rest, _ := strings.Cut(command, "go test")
	for word := range strings.FieldsSeq(rest) {
		if word != "." && !strings.HasPrefix(word, "./") {
			continue
		}
		files, err := filepath.Glob(filepath.Join(root, word, "*_test.go"))
		if below, ok := strings.CutSuffix(word, "/..."); ok {
			files, err = testFilesBelow(filepath.Join(root, below))
		}
		if err != nil {
			return err
		}
		if len(files) == 0 {
			return fmt.Errorf("%s has no tests", word)
		}
		all = append(all, files...)
	}
	for _, found := range pattern.FindAllStringSubmatch(command, -1) {
		name, _, _ := strings.Cut(found[1], "/") // subtests have their own names
		if name == "^$" {
			continue // benchmarks only
		}
		inner, anchored := strings.CutPrefix(name, "^(")
		inner = strings.TrimSuffix(inner, ")$")
		for alternative := range strings.SplitSeq(inner, "|") {
			if anchored {
				alternative = "^(" + alternative + ")$"
			}
			r, err := regexp.Compile(alternative)
			if err != nil {
				return err
			}
			if !anyNamed(all, r) {
				return fmt.Errorf("there is no test %s", alternative)
			}
		}
	}
	return nil
}

func testFilesBelow(dir string) (files []string, err error) {
	err = filepath.WalkDir(dir, func(path string, _ os.DirEntry, err error) error {
		if strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	return files, err
}

// anyNamed reports whether one of the files has a test whose name matches a pattern.
func anyNamed(files []string, name *regexp.Regexp) bool {
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			continue
		}
		for _, found := range function.FindAllSubmatch(text, -1) {
			if name.Match(found[1]) {
				return true
			}
		}
	}
	return false
}

// TestMissing checks that output is compared by the shape of its lines.
func TestMissing(t *testing.T) {
	const printed = "one 12 ms\nget   114  25.5µs\nthe end: /tmp/x (1.5 %)\n"
	for documented, want := range map[string]string{
		"one 7.5s\n":                     "",
		"get 1,139 3ms\nthe end: ... \n": "",
		"the end: /tmp/x (20%)\none 1 s": "one 1 s",
		"two 12 ms\n":                    "two 12 ms",
		"\n":                             "",
	} {
		if got := missing(documented, printed); got != want {
			t.Errorf("%q: %q is missing, want %q", documented, got, want)
		}
	}
}

func TestParse(t *testing.T) {
	const text = "# A\n\n    kivaloo get a # b\n\nand\n\n    not a command\n\n- list\n\n      kill 1\n      # then\n      rm x\n\n" +
		"<!-- sh: mkdir\nx -->\n\n```sh\necho\n```\n<!-- output -->\n\n    printed\n\n<!-- stop -->\n" +
		"<!-- file: main.go -->\n\n```go\n\tx\n```\n" +
		"<!-- not run: a browser -->\n\n    go tool trace x\n\nand\n\n    $ curl x\n    {}\n    $ curl y\n"
	steps, err := parse(text)
	must.Do(t, err)
	var got []string
	for _, s := range steps {
		got = append(got, fmt.Sprint(s.kind, " ", s.text))
	}
	if joined := strings.Join(got, "|"); joined != "0 kivaloo get a # b|0 kill 1\n# then\nrm x|0 mkdir\nx|0 echo|1 printed|2 |4 main.go\n\tx\n|3 a browser|0 curl x|1 {}|0 curl y" {
		t.Errorf("%s", joined)
	}
	for _, bad := range []string{"<!-- outputs -->\n", "<!-- output -->\nno block\n"} {
		if _, err := parse(bad); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}
