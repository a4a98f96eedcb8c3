package blackbox

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

// TestOutputCannotBeWritten checks that every command that prints something fails if its output
// cannot be written.
func TestOutputCannotBeWritten(t *testing.T) {
	t.Parallel()
	s := newServe(t, "--debug-addr", "127.0.0.1:0")
	s.start(t)
	before := position(t, s.addr())
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	stopped := filepath.Join(daemontest.Place(t), "d")
	writeStore(t, stopped)
	root := regexp.MustCompile(`root +block (\d+)`).FindStringSubmatch(checkStore(t, stopped))[1]
	dump := filepath.Join(s.place, "dump")
	kivaloo(t, "", "dump", "-a", s.addr(), "-o", dump).want(t, 0, "", "dumped 1 pair,")

	for _, line := range []string{
		"kivaloo",
		"kivaloo --help",
		"kivaloo --version",
		"kivaloo version",
		"kivaloo get --help",
		"kivaloo completion bash",
		"kivaloo get -a ADDR key",
		"kivaloo params -a ADDR",
		"kivaloo range -a ADDR",
		"kivaloo range -a ADDR --json",
		"kivaloo watch -a ADDR --from " + before,
		"kivaloo dump -a ADDR",
		"kivaloo dump -a ADDR -o -",
		"kivaloo backup ADDR -",
		"kivaloo backup STOPPED -",
		"kivaloo check STOPPED",
		"kivaloo page STOPPED " + root,
		"kivaloo top -n 1 " + lookInto(t, s.said(t)).url,
		"kivaloo-kvlds-dump -t ADDR",
		"kivaloo-stress",
		"kivaloo-stress --help",
		"kivaloo-stress pairs 1000",
		"kivaloo-stress load -n 1 -c 1 -t ADDR",
	} {
		t.Run(line, func(t *testing.T) {
			args := strings.Fields(strings.NewReplacer("ADDR", s.addr(), "STOPPED", stopped).Replace(line))
			full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
			must.Do(t, err)
			defer full.Close()
			cmd := exec.Command(daemontest.Program(args[0]), args[1:]...)
			cmd.Stdout = full
			r := daemontest.RunCommand(t, cmd)
			if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "no space left on device") {
				t.Errorf("status %v, %q", r.Status, r.Output)
			}
		})
	}
}

// TestDash checks that "-" is standard output and standard input.
func TestDash(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	const dumped = "\x03key\x05value"
	kivaloo(t, s.place, "dump", "-a", s.addr(), "-o", "-").want(t, 0, dumped, "dumped 1 pair,")

	load := exec.Command(daemontest.Program("kivaloo"), "load", "-a", s.addr(), "-i", "-")
	load.Stdin = strings.NewReader(dumped)
	runCommand(t, load).want(t, 0, "", "loaded 1 pair,")

	backup := kivaloo(t, s.place, "backup", s.addr(), "-")
	restore := exec.Command(daemontest.Program("kivaloo"), "restore", "-", filepath.Join(s.place, "restored"))
	restore.Stdin = strings.NewReader(backup.out)
	runCommand(t, restore).want(t, 0, "", "restored 1 pair,")

	if _, err := os.Lstat(filepath.Join(s.place, "-")); !os.IsNotExist(err) {
		t.Errorf(`there is a file called "-": %v`, err)
	}
}
