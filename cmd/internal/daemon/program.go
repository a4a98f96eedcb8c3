package daemon

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kivaloo/cmd/internal/commandline"
	"kivaloo/cmd/internal/stopping"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
)

// Start does everything that has to succeed before clients are served: it
// binds the socket, opens the store, and so on. The listening socket must be able to
// take connections, if only into its backlog, when Start returns.
type Start func() (Serve, error)

// Serve serves clients until there is nothing more to do (nil), until ctx is
// done and everything has been stopped cleanly (nil), or until it fails.
type Serve func(ctx context.Context) error

// Program is one daemon, or one tool. It is made by New or NewTool, then the command adds
// its own options (see the methods in flags.go), then Main or Work runs it.
type Program struct {
	// Socket is the address to listen on, as it was written (-s, mandatory). For a program
	// with ManySockets it is the first of Sockets.
	Socket  string
	Sockets []string
	// Log carries diagnostics to stderr.
	Log *slog.Logger

	name       string // "kivaloo-lbs"
	base       string // what the program was called as, for diagnostics
	stderr     io.Writer
	flags      flags
	pidFile    string
	foreground bool
}

// New returns the daemon of that name with the options that all have: -s, -p,
// --foreground and --version. usage is the command line for people, without the
// program's name; a long one may be broken into lines.
func New(name, usage string) *Program {
	p := NewTool(name, usage)
	p.Text(&p.Socket, "s")
	p.Require("s")
	p.Text(&p.pidFile, "p")
	p.long("foreground", func() error { p.foreground = true; return nil })
	return p
}

// Main reads the command line, becomes a daemon and serves. It does not return.
func (p *Program) Main(start Start) {
	os.Exit(p.run(os.Args[1:], start))
}

// run returns the exit status.
func (p *Program) run(args []string, start Start) int {
	// A stderr that nobody reads any more is no reason to stop serving.
	signal.Ignore(syscall.SIGPIPE)
	if err := p.parse(args); err != nil {
		return p.refuse(err)
	}
	if !p.foreground && !launched() {
		return p.exit(launch())
	}
	return p.exit(p.serve(start))
}

// exit turns the outcome into an exit status, and says it.
func (p *Program) exit(err error) int {
	switch {
	case err == nil:
		return exitOK
	case !errors.Is(err, errSaid):
		p.Log.Error(commandline.ErrorText(err))
	}
	return exitFailed
}

// serve is the life of the process that listens.
func (p *Program) serve(start Start) error {
	parent := startCommand()
	// Before anything is made.
	if err := p.checkPidFile(); err != nil {
		return err
	}
	serve, err := start()
	if err != nil {
		return err
	}
	if parent != nil {
		if err := leaveSession(p.base); err != nil {
			return err
		}
	}
	if err := p.writePidFile(); err != nil {
		return err
	}
	// Until here a signal simply kills the process, which is safe at any moment.
	stop := catchSignals()
	if parent != nil {
		if err := tellReady(parent); err != nil {
			return err
		}
	}
	if err := serve(stop.ctx); err != nil {
		return err
	}
	stop.dieOfIt()
	return nil
}

// checkPidFile returns an error if there is no hope that writePidFile can work.
func (p *Program) checkPidFile() error {
	path, mode := p.pidPath(), uint32(unix.W_OK)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.pidFile == "" && strings.Contains(p.Socket, "/"):
		return nil // the socket goes there too, and it is the socket that people know of
	case errors.Is(err, fs.ErrNotExist):
		err = unix.Access(filepath.Dir(path), mode|unix.X_OK)
	case err == nil && info.IsDir():
		err = unix.EISDIR
	case err == nil:
		err = unix.Access(path, mode)
	}
	if err != nil {
		return fmt.Errorf("writing the pid file %s: %w", path, err)
	}
	return nil
}

func (p *Program) pidPath() string {
	if p.pidFile == "" {
		return p.Socket + ".pid"
	}
	return p.pidFile
}

// writePidFile leaves the process id, in decimal and without a newline, where
// scripts look for it. Nobody removes the file again: they do.
func (p *Program) writePidFile() error {
	if err := os.WriteFile(p.pidPath(), []byte(strconv.Itoa(os.Getpid())), 0o666); err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	return nil
}

// stopSignals are the ones that ask for a clean stop.
var stopSignals = []os.Signal{syscall.SIGTERM, syscall.SIGINT}

// signalStop is a stop that a signal may ask for. The first one ends ctx; a later one finds the
// default action in place and kills the process.
type signalStop struct {
	ctx  context.Context
	stop context.CancelFunc
}

func catchSignals() *signalStop {
	// What the caller has ignored stays ignored: a shell does this with SIGINT for commands in the
	// background.
	caught := slices.DeleteFunc(slices.Clone(stopSignals), signal.Ignored)
	if len(caught) == 0 {
		return &signalStop{context.Background(), func() {}}
	}
	ctx, stop := stopping.Context(context.Background(), caught...)
	return &signalStop{ctx, stop}
}

// dieOfIt ends the process, now that everything is stopped, in the way that
// whoever sent the signal expects to see: killed by it. Where there was no signal
// it returns.
func (s *signalStop) dieOfIt() {
	by := stopping.By{}
	killed := errors.As(context.Cause(s.ctx), &by)
	s.stop()
	if killed {
		syscall.Kill(os.Getpid(), by.Signal.(syscall.Signal))
		time.Sleep(time.Second) // it is on its way
	}
}
