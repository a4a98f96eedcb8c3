package daemon

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"syscall"
)

// A Go program cannot fork, so the start command runs itself once more. What
// tells the two apart is one environment variable; readyFD is the writing end of
// a pipe in the daemon.
const (
	launchedVar = "KIVALOO_LAUNCHED"
	readyFD     = 3
)

// errSaid: the daemon could not start and has said why itself.
var errSaid = errors.New("the daemon did not start")

// errAlone: nobody is waiting for the daemon any more.
var errAlone = errors.New("the start command has gone; not starting without it")

// launched reports whether this process is the daemon that a start command has run.
func launched() bool { return os.Getenv(launchedVar) != "" }

// launch runs this program again with the same arguments, working directory,
// umask, stdin, stdout and stderr, and returns nil once it says that it is ready.
// It is not waited for after that: when the start command ends it becomes
// init's child.
func launch() error {
	ready, theirs, err := os.Pipe()
	if err != nil {
		return fmt.Errorf("starting the daemon: %w", err)
	}
	defer ready.Close()
	child := exec.Cmd{
		Path:       "/proc/self/exe", // the very same file, even if it has been replaced
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
	// The pipe ended with nothing in it: the daemon has died, or is about to.
	child.Wait()
	return errSaid
}

// startCommand returns the pipe to the start command, or nil if there is none.
// Neither the pipe nor the mark in the environment goes on to any other process.
func startCommand() *os.File {
	if !launched() {
		return nil
	}
	os.Unsetenv(launchedVar)
	syscall.CloseOnExec(readyFD)
	return os.NewFile(readyFD, "pipe to the start command")
}

// leaveSession makes the daemon independent of the terminal. Until then, a ^C
// stops the start command and the daemon together.
func leaveSession(name string) error {
	if _, err := syscall.Setsid(); err != nil {
		return fmt.Errorf("leaving the session: %w", os.NewSyscallError("setsid", err))
	}
	// Having been run as /proc/self/exe, the process would be listed as "exe".
	// This is for people only, so that a failure does not matter.
	_ = os.WriteFile("/proc/self/comm", []byte(name), 0)
	return nil
}

// tellReady lets the start command return. A start command that was killed
// while it waited must not leave behind a daemon nobody knows of.
func tellReady(parent *os.File) error {
	defer parent.Close()
	if _, err := parent.Write([]byte{0}); err != nil {
		return errAlone
	}
	return nil
}
