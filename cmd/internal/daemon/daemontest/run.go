package daemontest

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"kivaloo/internal/must"
)

// Result is how a program ended.
type Result struct {
	Status syscall.WaitStatus
	Output string // stderr of the program, and so far of a daemon that it left running
	stderr string // the file with stderr
}

// Said returns everything that the program, and a daemon that it left running, have written to
// stderr so far.
func (r Result) Said(t *testing.T) string {
	t.Helper()
	said, err := os.ReadFile(r.stderr)
	if err != nil {
		t.Fatal(err)
	}
	return string(said)
}

// Run runs a program in dir until it ends. Its stderr is a file, because a daemon keeps it open.
func Run(t *testing.T, dir, program string, args ...string) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), must.Patience)
	defer cancel()
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir = dir
	return RunCommand(t, cmd)
}

// RunCommand is Run for a prepared command.
func RunCommand(t *testing.T, cmd *exec.Cmd) Result {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stderr = out
	var exit *exec.ExitError
	if err := cmd.Run(); err != nil && !errors.As(err, &exit) {
		t.Fatalf("running %s: %v", cmd.Path, err)
	}
	said, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	return Result{cmd.ProcessState.Sys().(syscall.WaitStatus), string(said), out.Name()}
}

// Daemon is a running daemon. It is killed when the test ends.
type Daemon struct {
	Pid     int
	process *os.Process
	ended   chan syscall.WaitStatus
}

// Start runs a start command in dir and expects it to succeed. It takes over the daemon named in
// pidFile (relative to dir). If the test fails, it shows the daemon's stderr.
func Start(t *testing.T, dir, pidFile, program string, args ...string) *Daemon {
	t.Helper()
	r := Run(t, dir, program, args...)
	if r.Status.ExitStatus() != 0 || r.Output != "" {
		t.Fatalf("%s %q: status %v, said %q", program, args, r.Status, r.Output)
	}
	t.Cleanup(func() {
		if said, err := os.ReadFile(r.stderr); t.Failed() && len(said) > 0 {
			t.Logf("%s said (%v):\n%s", filepath.Base(program), err, said)
		}
	})
	return Take(t, filepath.Join(dir, pidFile))
}

// Take takes over the daemon named in a pid file.
func Take(t *testing.T, pidFile string) *Daemon {
	t.Helper()
	text, err := os.ReadFile(pidFile)
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text)) // does not accept a newline
	if err != nil {
		t.Fatalf("pid file: %v", err)
	}
	process, err := os.FindProcess(pid)
	if err != nil {
		t.Fatal(err)
	}
	return watch(t, process, process.Wait)
}

// Foreground starts a program that keeps running, with its stderr in the file said.
func Foreground(t *testing.T, cmd *exec.Cmd) (d *Daemon, said string) {
	t.Helper()
	out, err := os.CreateTemp(t.TempDir(), "stderr")
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	cmd.Stderr = out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	wait := func() (*os.ProcessState, error) {
		_ = cmd.Wait() // the state has the result
		return cmd.ProcessState, nil
	}
	return watch(t, cmd.Process, wait), out.Name()
}

// watch makes process, a child of this one, a Daemon.
func watch(t *testing.T, process *os.Process, wait func() (*os.ProcessState, error)) *Daemon {
	d := &Daemon{Pid: process.Pid, process: process, ended: make(chan syscall.WaitStatus, 1)}
	go func() {
		defer close(d.ended)
		if state, err := wait(); err == nil {
			d.ended <- state.Sys().(syscall.WaitStatus)
		}
	}()
	t.Cleanup(func() {
		d.Kill()
		for range d.ended {
		}
	})
	return d
}

// Signal sends a signal to the daemon.
func (d *Daemon) Signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := d.process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// Kill kills the daemon if it has not ended yet. It is safe for concurrent use.
func (d *Daemon) Kill() { _ = d.process.Kill() }

// Wait waits for the daemon to end. It works only once.
func (d *Daemon) Wait(t *testing.T) syscall.WaitStatus {
	t.Helper()
	select {
	case status, ok := <-d.ended:
		if !ok {
			t.Fatal("the daemon ended unseen")
		}
		return status
	case <-time.After(must.Patience):
		t.Fatal("the daemon does not end")
	}
	panic("not reached")
}
