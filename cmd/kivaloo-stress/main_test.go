package main

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"kivaloo/internal/must"
)

// TestMain makes the test program act as kivaloo-stress, and as a server that it starts, which
// never accepts a connection.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case "settings":
			main()
			os.Exit(0)
		case "serve":
			if err := os.Mkdir(os.Args[3], 0o700); err != nil {
				panic(err)
			}
			time.Sleep(time.Hour)
		}
	}
	goleak.VerifyTestMain(m)
}

// TestSignals checks that Ctrl-C, and the other signals that end programs, leave no process and no
// file.
func TestSignals(t *testing.T) {
	self, err := os.Executable()
	must.Do(t, err)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(signal.String(), func(t *testing.T) {
			tmp := t.TempDir()
			cmd := exec.Command(self, "settings", "--serve-bin", self)
			cmd.Env = append(cmd.Environ(), "TMPDIR="+tmp, "GORACE=atexit_sleep_ms=0")
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			must.Do(t, cmd.Start())
			served := waitFor(t, filepath.Join(tmp, "kivaloo-stress-*", "store"))
			must.Do(t, cmd.Process.Signal(signal))
			var exit *exec.ExitError
			if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
				t.Errorf("it ended with %v, want exit status 1: %s", err, &stderr)
			}
			if left, _ := os.ReadDir(tmp); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
			if pids := running(t, served); len(pids) != 0 {
				t.Errorf("the server is still running: %v", pids)
			}
		})
	}
}

// waitFor waits for a path that matches pattern, and returns it.
func waitFor(t *testing.T, pattern string) string {
	t.Helper()
	for range 1000 {
		if paths, _ := filepath.Glob(pattern); len(paths) == 1 {
			if pids := running(t, paths[0]); len(pids) != 1 {
				t.Errorf("processes %v serve %s, want one", pids, paths[0])
			}
			return paths[0]
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("no %s", pattern)
	return ""
}

// running returns the processes that have dir as an argument.
func running(t *testing.T, dir string) (pids []string) {
	t.Helper()
	commands, err := filepath.Glob("/proc/[0-9]*/cmdline")
	must.Do(t, err)
	for _, path := range commands {
		text, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(text), "--dir\x00"+dir+"\x00") {
			pids = append(pids, path)
		}
	}
	return pids
}

func TestUsage(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{[]string{"settings", "--overwrites", "0"}, `invalid argument "0" for "--overwrites" flag`},
		{[]string{"settings", "surplus"}, `unexpected argument "surplus"`},
		{[]string{"nonsense"}, `unknown command "nonsense"`},
		{[]string{"settings", "--nonsense"}, "unknown flag: --nonsense"},
	} {
		if err := run(c.args); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%v: %v, want an error with: %s", c.args, err, c.want)
		}
	}
}
