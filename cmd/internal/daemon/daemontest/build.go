package daemontest

import (
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"syscall"
	"testing"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

// binDir is where Main puts the built programs.
var binDir string

// Main is the TestMain of a package that tests built programs. It builds packages, runs the tests,
// and checks that no goroutine is left.
func Main(m *testing.M, packages ...string) {
	if err := prepare(packages); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	goleak.VerifyTestMain(m, goleak.Cleanup(func(status int) {
		os.RemoveAll(binDir)
		os.Exit(status)
	}))
}

func prepare(packages []string) (err error) {
	if err := Adopt(); err != nil {
		return err
	}
	if signal.Ignored(syscall.SIGHUP) { // under nohup; programs that the tests start would ignore it too
		signal.Notify(make(chan os.Signal, 1), syscall.SIGHUP)
	}
	if binDir, err = os.MkdirTemp("", "kivaloo-bin-"); err != nil {
		return err
	}
	args := append([]string{"build", "-o", binDir + "/"}, raceArgs...)
	build := exec.Command("go", append(args, packages...)...)
	if out, err := build.CombinedOutput(); err != nil {
		os.RemoveAll(binDir)
		return fmt.Errorf("building %v: %w\n%s", packages, err, out)
	}
	return nil
}

// Adopt makes this process adopt daemons whose start command has ended, instead of init. So it sees
// how they end.
func Adopt() error {
	// Programs built with the race detector would linger for a second each.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=0 "+os.Getenv("GORACE")); err != nil {
		return err
	}
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("adopting daemons: %w", err)
	}
	return nil
}

// Program returns the path of a program that Main has built.
func Program(name string) string { return filepath.Join(binDir, name) }
