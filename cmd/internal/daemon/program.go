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

// Start does everything that must succeed before clients are served: it binds the socket, opens the
// store, and so on. When it returns, the listening socket must be able to take connections, if only
// into its backlog.
type Start func() (Serve, error)

// Serve serves clients. It returns nil when there is nothing more to do, or after ctx is cancelled
// and everything has been stopped cleanly. Otherwise it returns an error.
type Serve func(ctx context.Context) error

// Program is a daemon or a tool. New or NewTool creates it, the command adds its own options (see
// the methods in flags.go), and Main or Work runs it.
type Program struct {
	// Socket is the address to listen on, as written on the command line (-s, mandatory). For a
	// program with ManySockets it is the first of Sockets.
	Socket  string
	Sockets []string
	// Log carries diagnostics to stderr.
	Log *slog.Logger

	name       string // "kivaloo-lbs"
	base       string // the name by which it was called, for diagnostics
	stderr     io.Writer
	flags      flags
	pidFile    string
	foreground bool
}

// New returns the daemon with this name and the options that all daemons have: -s, -p, --foreground
// and --version. usage is the usage message without the program's name; it may have several lines.
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
	// If nobody reads stderr any more, that is no reason to stop serving.
	signal.Ignore(syscall.SIGPIPE)
	if err := p.parse(args); err != nil {
		return p.refuse(err)
	}
	if !p.foreground && !launched() {
		return p.exit(launch())
	}
	return p.exit(p.serve(start))
}

// exit prints the outcome and returns the exit status.
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
	// Check this before anything is created.
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
	// Until now a signal simply kills the process, which is safe at any moment.
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

// checkPidFile returns an error if writePidFile cannot succeed.
func (p *Program) checkPidFile() error {
	path, mode := p.pidPath(), uint32(unix.W_OK)
	info, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist) && p.pidFile == "" && strings.Contains(p.Socket, "/"):
		return nil // the socket goes to the same place, and people know about the socket
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

// writePidFile writes the process id, in decimal and without a newline, where scripts look for it.
// The scripts remove the file.
func (p *Program) writePidFile() error {
	if err := os.WriteFile(p.pidPath(), []byte(strconv.Itoa(os.Getpid())), 0o666); err != nil {
		return fmt.Errorf("writing the pid file: %w", err)
	}
	return nil
}

// stopSignals are the signals that ask for a clean stop.
var stopSignals = []os.Signal{syscall.SIGTERM, syscall.SIGINT}

// signalStop is a stop requested by a signal. The first signal cancels ctx. A later one has the
// default action and kills the process.
type signalStop struct {
	ctx  context.Context
	stop context.CancelFunc
}

func catchSignals() *signalStop {
	// Keep ignored signals ignored: a shell ignores SIGINT for commands in the background.
	caught := slices.DeleteFunc(slices.Clone(stopSignals), signal.Ignored)
	if len(caught) == 0 {
		return &signalStop{context.Background(), func() {}}
	}
	ctx, stop := stopping.Context(context.Background(), caught...)
	return &signalStop{ctx, stop}
}

// dieOfIt ends the process after a clean stop as the sender of the signal expects: killed by that
// signal. Without a signal it returns.
func (s *signalStop) dieOfIt() {
	by := stopping.By{}
	killed := errors.As(context.Cause(s.ctx), &by)
	s.stop()
	if killed {
		syscall.Kill(os.Getpid(), by.Signal.(syscall.Signal))
		time.Sleep(time.Second) // the signal is on its way
	}
}
