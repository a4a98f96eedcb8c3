package daemon

import (
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

// NewTool returns a program of that name that is no daemon: it does one thing, in the
// foreground, and ends. Its only option, until the command adds others, is --version. usage
// is as for New.
func NewTool(name, usage string) *Program {
	p := &Program{name: name, base: filepath.Base(os.Args[0]), stderr: os.Stderr}
	p.Log = slog.New(newHandler(p.stderr, p.base))
	p.flags = newFlags(usage)
	p.long("version", func() error { return errVersion })
	return p
}

// Work reads the command line of a tool and does its work. It does not return: the exit
// status is 0, or 1 after an error, which is said.
func (p *Program) Work(work func() error) {
	os.Exit(p.work(os.Args[1:], work))
}

// work returns the exit status.
func (p *Program) work(args []string, work func() error) int {
	// An output that nobody reads any more is an error to be said, not a reason to vanish.
	signal.Ignore(syscall.SIGPIPE)
	if err := p.parse(args); err != nil {
		return p.refuse(err)
	}
	return p.exit(work())
}
