package blackbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/internal/must"
)

func TestMain(m *testing.M) {
	daemontest.Main(m, "kivaloo/cmd/kivaloo", "kivaloo/cmd/kivaloo-lbs", "kivaloo/cmd/kivaloo-kvlds", "kivaloo/cmd/kivaloo-kvlds-dump", "kivaloo/cmd/kivaloo-kvlds-undump",
		"kivaloo/cmd/kivaloo-mux", "kivaloo/cmd/kivaloo-stress")
}

// run is how a command ended, and its output.
type run struct {
	status      syscall.WaitStatus
	out, stderr string
}

// kivaloo runs one of kivaloo's commands in dir until it ends.
func kivaloo(t *testing.T, dir string, args ...string) run {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), daemontest.Program("kivaloo"), args...)
	cmd.Dir = dir
	return runCommand(t, cmd)
}

// runCommand runs cmd until it ends, or kills it after patience.
func runCommand(t *testing.T, cmd *exec.Cmd) run {
	t.Helper()
	var out bytes.Buffer
	cmd.Stdout = &out
	timer := time.AfterFunc(patience, func() { cmd.Process.Kill() })
	defer timer.Stop()
	r := daemontest.RunCommand(t, cmd)
	return run{r.Status, out.String(), r.Output}
}

// want checks how a command ended, and everything that it printed. Its stderr need only contain the
// given text, in one line; it may have logged warnings before.
func (r run) want(t *testing.T, status int, out, stderr string) {
	t.Helper()
	if !r.status.Exited() || r.status.ExitStatus() != status || r.out != out {
		t.Errorf("status %#x, printed %q, said %q; want status %d, %q", r.status, r.out, r.stderr, status, out)
	}
	said := ""
	for line := range strings.Lines(r.stderr) {
		if !strings.Contains(line, "level=WARN") {
			said += line
		}
	}
	if !strings.Contains(said, stderr) || stderr == "" && said != "" || strings.Count(said, "\n") > 1 {
		t.Errorf("said %q; want one line with %q", r.stderr, stderr)
	}
}

// patience bounds every wait. It is far above what anything takes, for busy machines.
const patience = 60 * time.Second

// connect connects to a server for the duration of the test.
func connect(t *testing.T, addr string) *kvtest.Conn {
	t.Helper()
	c, err := kvtest.Dial(t.Context(), addr)
	must.Do(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

// treeHash returns a hash of everything in a directory: names, kinds, permissions, contents and
// times of change. A missing directory has its own hash.
func treeHash(t *testing.T, dir string) string {
	t.Helper()
	h := sha256.New()
	err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if os.IsNotExist(err) && path == dir {
			return nil
		}
		if err != nil {
			return err
		}
		info, err := os.Lstat(path)
		if err != nil {
			return err
		}
		fmt.Fprintln(h, path, info.Mode(), info.ModTime(), info.Size())
		if !info.Mode().IsRegular() {
			return nil
		}
		content, err := os.ReadFile(path)
		h.Write(content)
		return err
	})
	must.Do(t, err)
	return hex.EncodeToString(h.Sum(nil))
}

// checkStore runs kivaloo check, which must find no fault in the store in dir, and returns its
// output.
func checkStore(t *testing.T, dir string) string {
	t.Helper()
	r := kivaloo(t, "", "check", dir)
	if r.status != 0 || !strings.Contains(r.out, "no faults") {
		t.Fatalf("check: status %#x, %s%s", r.status, r.out, r.stderr)
	}
	return r.out
}

// blockFiles returns the names and sizes of the block files in a directory.
func blockFiles(t *testing.T, dir string) map[string]int64 {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "blks_????????????????"))
	must.Do(t, err)
	files := make(map[string]int64)
	for _, name := range names {
		info, err := os.Stat(name)
		if os.IsNotExist(err) {
			continue // freed meanwhile
		}
		must.Do(t, err)
		files[filepath.Base(name)] = info.Size()
	}
	return files
}

// diskUse returns the total size of the block files in a directory.
func diskUse(t *testing.T, dir string) (bytes int64) {
	t.Helper()
	for _, size := range blockFiles(t, dir) {
		bytes += size
	}
	return bytes
}
