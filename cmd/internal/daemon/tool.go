package daemon

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// NewTool returns a program that is not a daemon: it does one thing, in the foreground, and ends.
// Until the command adds options, --version is its only one. usage is as for New.
func NewTool(name, usage string) *Program {
	p := &Program{name: name, base: filepath.Base(os.Args[0]), stderr: os.Stderr}
	p.Log = slog.New(newHandler(p.stderr, p.base))
	p.flags = newFlags(usage)
	p.long("version", func() error { return errVersion })
	return p
}

// Work reads the command line of a tool and does its work. It does not return. It exits with 0, or
// with 1 after printing an error.
func (p *Program) Work(work func() error) {
	os.Exit(p.work(os.Args[1:], work))
}

// work returns the exit status.
func (p *Program) work(args []string, work func() error) int {
	// If nobody reads the output any more, that is an error to print, not a reason to vanish.
	signal.Ignore(syscall.SIGPIPE)
	if err := p.parse(args); err != nil {
		return p.refuse(err)
	}
	return p.exit(work())
}
