package stress

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"kivaloo/wire"
)

// Process is a server started for a benchmark. It never outlives this program, however that ends.
type Process struct {
	Name   string
	Socket string // path of the unix socket where it will listen
	cmd    *exec.Cmd
	output *output
	grace  time.Duration // time between the request to stop and SIGKILL
	ended  chan struct{} // closed once it has ended
	err    error         // why it ended; valid once ended is closed
}

// Start runs path, which must listen on the unix socket. env is added to the environment.
func Start(name, socket, path string, args, env []string) (*Process, error) {
	p := &Process{Name: name, Socket: socket, output: &output{}, grace: stopGrace, ended: make(chan struct{})}
	p.cmd = exec.Command(path, args...)
	p.cmd.Env = append(p.cmd.Environ(), env...)
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	// It gets its own process group, so that Ctrl-C reaches only this program, which then stops its
	// servers properly.
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.ended)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// Build builds a program of this module in dir, and returns its path.
func Build(ctx context.Context, dir, program string) (string, error) {
	path, source := filepath.Join(dir, program), "kivaloo/cmd/"+program
	cmd := exec.CommandContext(ctx, "go", "build", "-o", path, source)
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s (run this inside the module, or give the program's path): %w\n%s", source, err, text)
	}
	return path, nil
}

// PID returns the process id.
func (p *Process) PID() int { return p.cmd.Process.Pid }

// Connect waits until the server accepts connections, and returns one.
func (p *Process) Connect(ctx context.Context) (net.Conn, error) {
	addr := []wire.Addr{{Name: p.Socket, Network: "unix", Address: p.Socket}}
	ctx, cancel := context.WithTimeoutCause(ctx, readyTimeout, fmt.Errorf("it does not accept connections after %v", readyTimeout))
	defer cancel()
	for {
		nc, err := wire.Dial(ctx, addr)
		if err == nil {
			return nc, nil
		}
		select {
		case <-time.After(readyInterval):
		case <-p.ended:
			return nil, p.explain(fmt.Errorf("it ended early: %w", p.endError()))
		case <-ctx.Done():
			return nil, p.explain(context.Cause(ctx))
		}
	}
}

// Stop tells the server to stop, waits for it, and kills it if it takes too long. It may be called
// again.
func (p *Process) Stop() error {
	select {
	case <-p.ended:
		return nil
	default:
	}
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
		return nil
	case <-time.After(p.grace):
	}
	syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.ended
	return p.explain(fmt.Errorf("it had to be killed, as it did not stop in %v", p.grace))
}

// Kill kills the server, as a crash would, and waits for it.
func (p *Process) Kill() {
	p.cmd.Process.Kill()
	<-p.ended
}

// Lost explains an error on a connection to the server. A dying server closes its connections
// before anything else is known, so Lost waits for its death.
func (p *Process) Lost(err error) error {
	select {
	case <-p.ended:
		return p.explain(fmt.Errorf("it ended, %w: %w", p.endError(), err))
	case <-time.After(deathWait):
		return p.explain(err)
	}
}

func (p *Process) endError() error {
	if p.err == nil {
		return errors.New("exit status 0")
	}
	return p.err
}

// explain adds the last output of the server to an error.
func (p *Process) explain(err error) error {
	if last := p.output.last(); last != "" {
		return fmt.Errorf("%s: %w; it said:\n%s", p.Name, err, last)
	}
	return fmt.Errorf("%s: %w", p.Name, err)
}

// output keeps the last tailBytes that a server prints.
type output struct {
	mu   sync.Mutex
	tail []byte
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.tail = append(o.tail, b[max(len(b)-tailBytes, 0):]...)
	if over := len(o.tail) - tailBytes; over > 0 {
		o.tail = append(o.tail[:0], o.tail[over:]...)
	}
	return len(b), nil
}

func (o *output) last() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.TrimSpace(string(o.tail))
}
