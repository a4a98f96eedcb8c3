package daemon_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/daemon"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/stopping"
	"kivaloo/internal/must"
)

// modeVar makes the test binary one of the daemons below instead of running tests.
const modeVar = "DAEMON_TEST_MODE"

func TestMain(m *testing.M) {
	if mode := os.Getenv(modeVar); mode != "" {
		daemon.New("kivaloo-test", "-s <socket>").Main(func() (daemon.Serve, error) { return start(mode) })
	}
	if err := daemontest.Adopt(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}

// start is the daemon under test. The mode decides how its start, its service and its stop go. It
// leaves files that show how far it came.
func start(mode string) (daemon.Serve, error) {
	mark("started")
	switch mode {
	case "fail":
		return nil, errors.New("binding the socket: no")
	case "die":
		syscall.Kill(os.Getpid(), syscall.SIGKILL)
	case "exit":
		os.Exit(0)
	case "slow":
		waitFor("go")
	}
	return func(ctx context.Context) error {
		switch mode {
		case "end":
			return nil
		case "break":
			return errors.New("reading block 7: no")
		}
		mark("serving")
		<-ctx.Done()
		mark("stopping")
		if mode == "hang" {
			time.Sleep(time.Hour)
		}
		mark("stopped")
		return nil
	}, nil
}

// mark creates a file with the process id in it, atomically.
func mark(name string) {
	if err := os.WriteFile("tmp", []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		panic(err)
	}
	if err := os.Rename("tmp", name); err != nil {
		panic(err)
	}
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

func waitFor(name string) {
	for range 6000 {
		if exists(name) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	panic("nobody made " + name)
}

// command returns the command line of a daemon in a mode. A shell runs setup first.
func command(t *testing.T, dir, mode, setup string, args ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	must.Do(t, err)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", setup+`; exec "$0" -s sock "$@"`)
	cmd.Args = append(append(cmd.Args, self), args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), modeVar+"="+mode)
	return cmd
}

func TestDaemonIsReadyWhenTheStartCommandReturns(t *testing.T) {
	dir := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(dir, "sock.pid"), []byte("something longer, of an older daemon"), 0o666))
	r := daemontest.RunCommand(t, command(t, dir, "serve", "umask 027"))
	if r.Status.ExitStatus() != 0 || r.Output != "" {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	d := daemontest.Take(t, filepath.Join(dir, "sock.pid"))
	if sid, err := unix.Getsid(d.Pid); err != nil || sid != d.Pid {
		t.Errorf("session %d, %v; want %d", sid, err, d.Pid)
	}
	if wd := readLink(t, d.Pid, "cwd"); wd != dir {
		t.Errorf("working directory %s, want %s", wd, dir)
	}
	if status := readProc(t, d.Pid, "status"); !strings.Contains(status, "\nUmask:\t0027\n") {
		t.Errorf("umask not kept:\n%s", status)
	}
	if comm := strings.TrimSpace(readProc(t, d.Pid, "comm")); comm != "daemon.test" {
		t.Errorf("listed as %q", comm)
	}
	if to := readLink(t, d.Pid, "fd/2"); !strings.Contains(to, "stderr") {
		t.Errorf("stderr is %s", to)
	}
	ours := pipes(t, os.Getpid()) // whoever runs the tests may leave some open
	must.Eventually(t, "the pipe to the start command is closed", func() bool {
		for to := range pipes(t, d.Pid) {
			if !ours[to] {
				return false
			}
		}
		return true
	})
	d.Signal(t, syscall.SIGTERM)
	if s := d.Wait(t); s.Signal() != syscall.SIGTERM || !exists(filepath.Join(dir, "stopped")) {
		t.Errorf("ended with %v, stopped: %v", s, exists(filepath.Join(dir, "stopped")))
	}
	if !exists(filepath.Join(dir, "sock.pid")) {
		t.Error("the daemon has removed its pid file")
	}
}

func TestPidFileModeFollowsUmask(t *testing.T) {
	dir := t.TempDir()
	if r := daemontest.RunCommand(t, command(t, dir, "serve", "umask 027", "-p", "pid")); r.Status != 0 {
		t.Fatalf("status %v, said %q", r.Status, r.Output)
	}
	daemontest.Take(t, filepath.Join(dir, "pid"))
	if info, err := os.Stat(filepath.Join(dir, "pid")); err != nil || info.Mode() != 0o640 {
		t.Errorf("pid file: mode %v, %v", info.Mode(), err)
	}
	if exists(filepath.Join(dir, "sock.pid")) {
		t.Error("-p does not replace the default pid file")
	}
}

func TestStartThatFails(t *testing.T) {
	for _, c := range []struct{ mode, setup, says string }{
		{"fail", ":", "daemon.test: binding the socket: no\n"},
		{"die", ":", ""},
		{"exit", ":", ""},
		{"serve", "mkdir sock.pid", "daemon.test: writing the pid file sock.pid: is a directory\n"},
	} {
		t.Run(c.mode, func(t *testing.T) {
			dir := t.TempDir()
			r := daemontest.RunCommand(t, command(t, dir, c.mode, c.setup))
			if r.Status.ExitStatus() != 1 || r.Output != c.says {
				t.Errorf("status %v, said %q", r.Status, r.Output)
			}
			if exists(filepath.Join(dir, "serving")) {
				t.Error("it serves all the same")
			}
		})
	}
}

// TestPidFileIsCheckedFirst checks that an unwritable pid file is noticed before anything is
// created.
func TestPidFileIsCheckedFirst(t *testing.T) {
	dir := t.TempDir()
	r := daemontest.RunCommand(t, command(t, dir, "fail", ":", "-p", "absent/pid"))
	if r.Status.ExitStatus() != 1 || r.Output != "daemon.test: writing the pid file absent/pid: no such file or directory\n" {
		t.Errorf("status %v, said %q", r.Status, r.Output)
	}
}

func TestEnd(t *testing.T) {
	for _, args := range [][]string{nil, {"--foreground"}} {
		for _, c := range []struct {
			mode   string
			status int
			says   string
		}{
			{"end", 0, ""},
			{"break", 1, "daemon.test: reading block 7: no\n"},
		} {
			t.Run(c.mode+strings.Join(args, ""), func(t *testing.T) {
				dir := t.TempDir()
				r := daemontest.RunCommand(t, command(t, dir, c.mode, ":", args...))
				if args == nil {
					if r.Status != 0 {
						t.Fatalf("start command: %v, said %q", r.Status, r.Output)
					}
					r.Status = daemontest.Take(t, filepath.Join(dir, "sock.pid")).Wait(t)
				} else if r.Output != c.says {
					t.Errorf("said %q", r.Output)
				}
				if r.Status.ExitStatus() != c.status {
					t.Errorf("status %v, want %d", r.Status, c.status)
				}
			})
		}
	}
}

func TestSignals(t *testing.T) {
	for _, c := range []struct {
		name, mode    string
		first, second os.Signal // the second is sent during the stop
		by            syscall.Signal
	}{
		{"term", "serve", syscall.SIGTERM, nil, syscall.SIGTERM},
		{"int", "serve", syscall.SIGINT, nil, syscall.SIGINT},
		{"twice", "hang", syscall.SIGINT, syscall.SIGTERM, syscall.SIGTERM},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			d, _ := daemontest.Foreground(t, command(t, dir, c.mode, ":", "--foreground"))
			must.Eventually(t, "serving", func() bool { return exists(filepath.Join(dir, "serving")) })
			if pid := readFile(t, filepath.Join(dir, "sock.pid")); pid != strconv.Itoa(d.Pid) {
				t.Errorf("pid file says %q, the process is %d", pid, d.Pid)
			}
			d.Signal(t, c.first)
			must.Eventually(t, "stopping", func() bool { return exists(filepath.Join(dir, "stopping")) })
			if c.second != nil {
				time.Sleep(2 * stopping.Together)
				d.Signal(t, c.second)
			}
			if status := d.Wait(t); status.Signal() != c.by {
				t.Errorf("ended with %v, want %v", status, c.by)
			}
			if got := exists(filepath.Join(dir, "stopped")); got == (c.second != nil) {
				t.Errorf("stopped cleanly: %v", got)
			}
		})
	}
}

func TestIgnoredSignalStaysIgnored(t *testing.T) {
	dir := t.TempDir()
	d, _ := daemontest.Foreground(t, command(t, dir, "serve", `trap "" INT`, "--foreground"))
	must.Eventually(t, "serving", func() bool { return exists(filepath.Join(dir, "serving")) })
	d.Signal(t, syscall.SIGINT)
	d.Signal(t, syscall.SIGTERM)
	if status := d.Wait(t); status.Signal() != syscall.SIGTERM {
		t.Errorf("ended with %v", status)
	}
}

func TestNoDaemonWithoutItsStartCommand(t *testing.T) {
	dir := t.TempDir()
	start, said := daemontest.Foreground(t, command(t, dir, "slow", ":"))
	must.Eventually(t, "started", func() bool { return exists(filepath.Join(dir, "started")) })
	start.Kill()
	start.Wait(t)
	d := daemontest.Take(t, filepath.Join(dir, "started"))
	must.Do(t, os.WriteFile(filepath.Join(dir, "go"), nil, 0o600))
	if status := d.Wait(t); status.ExitStatus() != 1 {
		t.Errorf("ended with %v", status)
	}
	if got, want := readFile(t, said), "the start command has gone"; !strings.Contains(got, want) {
		t.Errorf("said %q, want %q", got, want)
	}
	if exists(filepath.Join(dir, "serving")) {
		t.Error("the daemon serves")
	}
}

// pipes returns the open pipes of a process.
func pipes(t *testing.T, pid int) map[string]bool {
	t.Helper()
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	must.Do(t, err)
	open := make(map[string]bool)
	for _, fd := range fds {
		to, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%s", pid, fd.Name()))
		if err == nil && strings.HasPrefix(to, "pipe:") { // one may have been closed meanwhile
			open[to] = true
		}
	}
	return open
}

func readLink(t *testing.T, pid int, name string) string {
	t.Helper()
	to, err := os.Readlink(fmt.Sprintf("/proc/%d/%s", pid, name))
	must.Do(t, err)
	return to
}

func readProc(t *testing.T, pid int, name string) string {
	t.Helper()
	return readFile(t, fmt.Sprintf("/proc/%d/%s", pid, name))
}

func readFile(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	must.Do(t, err)
	return string(b)
}
