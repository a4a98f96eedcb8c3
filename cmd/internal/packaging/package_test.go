package packaging

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
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
	nfpm = "github.com/goreleaser/nfpm/v2/cmd/nfpm@v2.45.2"
)

// build builds the packages and returns the paths of the .deb and the .rpm. It skips the test if
// they cannot be built.
func build(t *testing.T) (deb, rpm string) {
	t.Helper()
	program := filepath.Join(t.TempDir(), "nfpm")
	get := exec.Command("go", "install", nfpm)
	get.Env = append(os.Environ(), "GOBIN="+filepath.Dir(program), "GOFLAGS=-p=1")
	if said, err := get.CombinedOutput(); err != nil {
		t.Skipf("nfpm cannot be had: %v: %s", err, said)
	}
	out := t.TempDir()
	run(t, exec.Command(filepath.Join(root, "contrib/package/build"), out), "NFPM="+program, "GOFLAGS=-pgo=off -buildvcs=false")
	return only(t, out, "*.deb"), only(t, out, "*.rpm")
}

// only returns the single file in a directory that matches a pattern.
func only(t *testing.T, dir, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(dir, pattern))
	must.Do(t, err)
	if len(found) != 1 {
		t.Fatalf("%s: %q", pattern, found)
	}
	return found[0]
}

// run runs a command that must succeed, and returns its output.
func run(t *testing.T, cmd *exec.Cmd, env ...string) string {
	t.Helper()
	cmd.Env = append(os.Environ(), env...)
	said, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s: %v\n%s", cmd, err, said)
	}
	return string(said)
}

// contents lists some files of both packages, at least one of each kind.
var contents = []string{
	"/etc/kivaloo",
	"/usr/bin/kivaloo",
	"/usr/bin/kivaloo-kvlds",
	"/usr/bin/kivaloo-kvlds-dump",
	"/usr/bin/kivaloo-kvlds-undump",
	"/usr/bin/kivaloo-lbs",
	"/usr/bin/kivaloo-mux",
	"/usr/bin/kivaloo-perf",
	"/usr/bin/kivaloo-stress",
	"/usr/lib/systemd/system/kivaloo-backup.service",
	"/usr/lib/systemd/system/kivaloo-backup.timer",
	"/usr/lib/systemd/system/kivaloo-mux.service",
	"/usr/lib/systemd/system/kivaloo.service",
	"/usr/lib/sysusers.d/kivaloo.conf",
	"/usr/share/bash-completion/completions/kivaloo",
	"/usr/share/bash-completion/completions/kivaloo-stress",
	"/usr/share/doc/kivaloo/CHANGELOG.md",
	"/usr/share/doc/kivaloo/README.md",
	"/usr/share/doc/kivaloo/SECURITY.md",
	"/usr/share/doc/kivaloo/copyright",
	"/usr/share/doc/kivaloo/operations.md",
	"/usr/share/fish/vendor_completions.d/kivaloo.fish",
	"/usr/share/kivaloo/grafana/kivaloo.json",
	"/usr/share/kivaloo/prometheus/kivaloo.rules.yml",
	"/usr/share/man/man1/kivaloo-serve.1.gz",
	"/usr/share/man/man1/kivaloo-stress.1.gz",
	"/usr/share/man/man1/kivaloo.1.gz",
	"/usr/share/zsh/site-functions/_kivaloo",
	"/usr/share/zsh/vendor-completions/_kivaloo",
}

// machine is a directory that dpkg and the package's scripts take for the root of a machine. A
// systemctl that only records its arguments stands in for systemd.
type machine struct {
	t    *testing.T
	root string
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	m := &machine{t, t.TempDir()}
	for _, dir := range []string{"var/lib/dpkg/info", "var/lib/dpkg/updates", "var/lib/dpkg/triggers", "run/systemd/system", "fake", "etc"} {
		must.Do(t, os.MkdirAll(m.path(dir), 0o755))
	}
	must.Do(t, os.WriteFile(m.path("var/lib/dpkg/status"), nil, 0o644))
	const systemctl = "#!/bin/sh\necho \"$@\" >>\"$DPKG_ROOT/asked\"\n"
	must.Do(t, os.WriteFile(m.path("fake/systemctl"), []byte(systemctl), 0o755))
	return m
}

func (m *machine) path(path string) string { return filepath.Join(m.root, path) }

// dpkg runs dpkg on the machine, and returns the calls of systemctl by the scripts.
func (m *machine) dpkg(args ...string) string {
	m.t.Helper()
	must.Do(m.t, os.WriteFile(m.path("asked"), nil, 0o644))
	args = append([]string{"--root=" + m.root, "--force-script-chrootless", "--force-not-root", "--log=" + m.path("dpkg.log")}, args...)
	m.t.Log(run(m.t, exec.Command("dpkg", args...), "PATH="+m.path("fake")+":"+os.Getenv("PATH")))
	asked, err := os.ReadFile(m.path("asked"))
	must.Do(m.t, err)
	return string(asked)
}

// want fails the test unless exactly these calls of systemctl were made.
func (m *machine) want(got string, lines ...string) {
	m.t.Helper()
	if want := strings.Join(lines, "\n") + "\n"; got != want {
		m.t.Errorf("systemctl was asked\n%sinstead of\n%s", got, want)
	}
}

func (m *machine) exists(path string) bool {
	_, err := os.Lstat(m.path(path))
	return err == nil
}

func (m *machine) hasStore() bool {
	m.t.Helper()
	files, err := filepath.Glob(m.path("var/lib/kivaloo/blks_*"))
	must.Do(m.t, err)
	return len(files) > 0
}

func TestPackages(t *testing.T) {
	if os.Getenv("KIVALOO_PACKAGES") == "" {
		t.Skip("takes a minute or two; KIVALOO_PACKAGES=on runs it, as CI does")
	}
	for _, tool := range []string{"dpkg", "dpkg-deb"} {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("the .deb cannot be looked into: %v", err)
		}
	}
	deb, rpm := build(t)

	t.Run("contents", func(t *testing.T) {
		listed := run(t, exec.Command("dpkg-deb", "--contents", deb))
		for _, path := range contents {
			if !regexp.MustCompile(`root/root .* \.` + regexp.QuoteMeta(path) + `/?\n`).MatchString(listed) {
				t.Errorf("%s is not in the .deb, or does not belong to root", path)
			}
		}
		documents, err := filepath.Glob(filepath.Join(root, "docs/*.md"))
		must.Do(t, err)
		for _, document := range documents {
			if !strings.Contains(listed, "./usr/share/doc/kivaloo/"+filepath.Base(document)+"\n") {
				t.Errorf("%s is not in the .deb", document)
			}
		}
		if t.Failed() {
			t.Log(listed)
		}
		fields := run(t, exec.Command("dpkg-deb", "--field", deb))
		for _, want := range []string{"Package: kivaloo\n", "Maintainer: ", "Section: database\n", "Description: durable"} {
			if !strings.Contains(fields, want) {
				t.Errorf("no %q in the fields of the .deb:\n%s", want, fields)
			}
		}
	})

	t.Run("rpm", func(t *testing.T) {
		if rpmTool, err := exec.LookPath("rpm"); err == nil {
			listed := strings.Split(run(t, exec.Command(rpmTool, "-qlp", rpm)), "\n")
			for _, path := range contents {
				if !slices.Contains(listed, path) {
					t.Errorf("%s is not in the .rpm", path)
				}
			}
			return
		}
		// Even without rpm, the header must name the files.
		whole, err := os.ReadFile(rpm)
		must.Do(t, err)
		for _, path := range contents {
			if !bytes.Contains(whole, []byte("\x00"+filepath.Base(path)+"\x00")) {
				t.Errorf("%s is not in the header of the .rpm", path)
			}
		}
	})

	t.Run("life", func(t *testing.T) {
		m := newMachine(t)
		m.want(m.dpkg("--install", deb), "daemon-reload", "try-restart kivaloo.service kivaloo-mux.service")
		users, err := os.ReadFile(m.path("etc/passwd"))
		must.Do(t, err)
		if !strings.Contains(string(users), "kivaloo:") {
			t.Errorf("there is no user kivaloo: %s", users)
		}
		m.use()
		m.want(m.dpkg("--install", deb), "daemon-reload", // by the old package's postremove
			"daemon-reload", "try-restart kivaloo.service kivaloo-mux.service")
		m.want(m.dpkg("--remove", "kivaloo"), "disable --now kivaloo-backup.timer kivaloo-mux.service kivaloo.service", "daemon-reload")
		if m.exists("usr/bin/kivaloo") || !m.hasStore() {
			t.Error("a removal leaves programs, or does not leave the store")
		}
		m.want(m.dpkg("--purge", "kivaloo"), "daemon-reload")
		if !m.hasStore() {
			t.Error("a purge deletes the store")
		}
		// Without a store, nothing of the package is left.
		must.Do(t, os.RemoveAll(m.path("var/lib/kivaloo")))
		must.Do(t, os.Mkdir(m.path("var/lib/kivaloo"), 0o750))
		m.dpkg("--install", deb)
		m.dpkg("--purge", "kivaloo")
		var left []string
		must.Do(t, filepath.WalkDir(m.root, func(path string, _ os.DirEntry, err error) error {
			if strings.Contains(filepath.Base(path), "kivaloo") {
				left = append(left, path)
			}
			return err
		}))
		if len(left) > 0 {
			t.Errorf("a purge leaves %q", left)
		}
	})
}

// use starts the installed server as the unit does, stores and reads a pair, backs it up as the
// timer's unit does, and stops the server.
func (m *machine) use() {
	t := m.t
	t.Helper()
	dir := m.path("var/lib/kivaloo")
	var log bytes.Buffer
	server := exec.Command(m.path("usr/bin/kivaloo"), "serve", "--dir", dir)
	server.Stderr = &log
	must.Do(t, server.Start())
	must.Eventually(t, "the server is there", func() bool { return m.exists("var/lib/kivaloo/kivaloo.sock") })
	client := func(args ...string) string {
		t.Helper()
		return run(t, exec.Command(m.path("usr/bin/kivaloo"), args...), "KIVALOO_ADDR="+dir)
	}
	client("set", "greeting", "hello")
	if got := client("get", "greeting"); got != "hello\n" {
		t.Errorf("the installed server answers %q", got)
	}

	must.Do(t, os.Mkdir(m.path("var/lib/kivaloo-backup"), 0o700))
	unit, err := os.ReadFile(m.path("usr/lib/systemd/system/kivaloo-backup.service"))
	must.Do(t, err)
	command := regexp.MustCompile(`(?m)^ExecStart=sh -c '(.*)'$`).FindSubmatch(unit)
	if command == nil {
		t.Fatalf("the backup's command is not found in its unit: %s", unit)
	}
	ours := strings.NewReplacer("$$", "$", "%%", "%", "/var/lib", m.path("var/lib")).Replace(string(command[1]))
	run(t, exec.Command("sh", "-c", ours), "PATH="+m.path("usr/bin")+":"+os.Getenv("PATH"))
	today := m.path("var/lib/kivaloo-backup/" + time.Now().Weekday().String())
	client("restore", today, m.path("var/lib/restored"))
	must.Do(t, os.RemoveAll(m.path("var/lib/kivaloo-backup")))

	must.Do(t, server.Process.Signal(syscall.SIGTERM))
	if err := server.Wait(); err != nil {
		t.Errorf("the installed server stops with %v\n%s", err, &log)
	}
}

// TestUnits checks that systemd accepts the units if their programs exist.
func TestUnits(t *testing.T) {
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skipf("the units cannot be verified: %v", err)
	}
	sleep, err := exec.LookPath("sleep")
	must.Do(t, err)
	units, err := filepath.Glob(filepath.Join(root, "contrib/systemd/kivaloo*"))
	must.Do(t, err)
	dir := t.TempDir()
	verify := exec.Command("systemd-analyze", "verify", "--man=no")
	for _, unit := range units {
		if strings.HasSuffix(unit, ".conf") {
			continue
		}
		text, err := os.ReadFile(unit)
		must.Do(t, err)
		text = regexp.MustCompile(`(?m)^ExecStart=kivaloo\S*`).ReplaceAll(text, []byte("ExecStart="+sleep))
		path := filepath.Join(dir, filepath.Base(unit))
		must.Do(t, os.WriteFile(path, text, 0o644))
		verify.Args = append(verify.Args, path)
	}
	verify.Env = append(os.Environ(), "SYSTEMD_UNIT_PATH="+dir+":")
	said, err := verify.CombinedOutput()
	for line := range strings.Lines(string(said)) {
		if strings.Contains(line, "kivaloo") {
			t.Error(line)
		}
	}
	if err != nil && len(said) == 0 {
		t.Error(err)
	}
}

// TestChangelogHasTheVersion checks that the version that programs print without a tag is that of
// the latest release, or of the next one.
func TestChangelogHasTheVersion(t *testing.T) {
	changes, err := os.ReadFile(filepath.Join(root, "CHANGELOG.md"))
	must.Do(t, err)
	source, err := os.ReadFile(filepath.Join(root, "cmd/internal/version/version.go"))
	must.Do(t, err)
	release := regexp.MustCompile(`const Release = "(.*)"`).FindSubmatch(source)
	if release == nil || !bytes.Contains(changes, append([]byte("\n## ["), append(release[1], ']')...)) {
		t.Errorf("CHANGELOG.md has no section for version %s", release)
	}
}
