package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// A Go program cannot fork, so the start command runs itself once more. An environment variable
// marks the second process. readyFD is the writing end of a pipe in the daemon.
const (
	launchedVar = "KIVALOO_LAUNCHED"
	readyFD     = 3
)

// errSaid means that the daemon could not start and has printed the reason itself.
var errSaid = errors.New("the daemon did not start")

// errAlone means that nobody is waiting for the daemon any more.
var errAlone = errors.New("the start command has gone; not starting without it")

// launched reports whether this process is the daemon run by a start command.
func launched() bool { return os.Getenv(launchedVar) != "" }

// launch runs this program again with the same arguments, working directory, umask, stdin, stdout
// and stderr. It returns nil once the new process is ready. Nobody waits for the process after
// that: when the start command ends, init adopts it.
func launch() error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	defer ready.Close()
	child := exec.Cmd{
		Path:       "/proc/self/exe", // the same file, even if it has been replaced
		Args:       os.Args,
		Env:        append(os.Environ(), launchedVar+"=1"),
		Stdin:      os.Stdin,
		Stdout:     os.Stdout,
		Stderr:     os.Stderr,
		ExtraFiles: []*os.File{theirs}, // becomes readyFD
	}
	err = child.Start()
	theirs.Close()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	if n, _ := ready.Read(make([]byte, 1)); n == 1 {
		return nil
	}
	// The pipe ended empty: the daemon has died, or is about to.
	child.Wait()
	return errSaid
}

// startCommand returns the pipe to the start command, or nil if there is none. No other process
// inherits the pipe or the mark in the environment.
func startCommand() *os.File {
	if !launched() {
		return nil
	}
	os.Unsetenv(launchedVar)
	syscall.CloseOnExec(readyFD)
	return os.NewFile(readyFD, "pipe to the start command")
}

// leaveSession makes the daemon independent of the terminal. Until then, ^C stops the start command
// and the daemon together.
func leaveSession(name string) error {
	if _, err := syscall.Setsid(); err != nil {
		return fmt.Errorf("leaving the session: %w", os.NewSyscallError("setsid", err))
	}
	// The process was run as /proc/self/exe and would be listed as "exe". The name only helps
	// people, so an error does not matter.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	return nil
}

// tellReady lets the start command return. If the start command was killed while it waited, the
// daemon must not stay behind unnoticed.
func tellReady(parent *os.File) error {
	defer parent.Close()
	if _, err := parent.Write([]byte{0}); err != nil {
		return errAlone
	}
	return nil
}
