package eventloop

import (
	"errors"
	"time"

	"golang.org/x/sys/unix"
)

// ServeOptions say how connections are served.
type ServeOptions struct {
	// Gate limits the open connections; listeners may share one.
	Gate *Gate
	// MaxConns is for a listener without a Gate: the listener gets one for this many connections; 0
	// means as many as there are descriptors.
	MaxConns int
	// MaxRecord is the longest record in bytes. If the header of a longer one arrives, the
	// connection is closed before any of the record is buffered.
	MaxRecord uint32
	// Judge, if not nil, is called for a record that is not complete yet, as soon as its type is
	// there. length is in bytes. An error closes the connection before more of the record is
	// buffered.
	Judge func(typ, length uint32) error
	// Via, if not nil, puts something between an accepted socket and the loop, for example TLS. The
	// loop calls it. It takes over the socket fd, even if it fails, and returns a socket that is
	// served instead. The connection keeps its place at the gate until leave is called, from any
	// goroutine, when nothing of it is left.
	Via func(fd int, peer string, leave func()) (served int, err error)
	// New makes the handler of a new connection. It is called by the loop.
	New func(*Conn) Handler
}

// acceptor is a listener that a loop serves.
type acceptor struct {
	loop    *Loop
	ln      *Listener
	opts    ServeOptions
	starved bool // on loop.starved
	ended   bool
}

// Serve accepts connections from ln, and finally closes ln. Any goroutine may call it, even before
// Run.
func (l *Loop) Serve(ln *Listener, opts ServeOptions) {
	if opts.Gate == nil {
		opts.Gate = NewGate(opts.MaxConns)
	}
	a := &acceptor{loop: l, ln: ln, opts: opts}
	if !l.Post(a.start) {
		ln.Close()
	}
}

func (a *acceptor) start() {
	if a.loop.stopping {
		a.ln.Close()
		return
	}
	if err := a.loop.register(a.ln.fd, a); err != nil {
		a.loop.log.Error("cannot serve", "listener", a.ln.addr, "err", err)
		a.ln.Close()
	}
}

func (a *acceptor) ready(uint32) { a.accept() }

// accept accepts connections until none is waiting, the gate is full, or the listener's turn is
// over.
func (a *acceptor) accept() {
	for range acceptsPerTurn {
		if a.ended || a.starved || !a.opts.Gate.enter(a) {
			return
		}
		fd, peer, err := unix.Accept4(a.ln.fd, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC)
		if err == nil {
			err = a.admit(fd, peer)
		}
		if err == nil {
			continue
		}
		a.opts.Gate.leave()
		switch {
		case errors.Is(err, unix.EAGAIN):
			return
		case !passing(err):
			a.starve(err)
			return
		}
	}
	a.loop.rearm(a.ln.fd, false)
}

// admit starts serving the connection fd. On an error it closes fd.
func (a *acceptor) admit(fd int, peer unix.Sockaddr) error {
	if _, ok := peer.(*unix.SockaddrUnix); !ok {
		// If the peer is already gone, the first read reports it.
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	}
	c := &Conn{loop: a.loop, fd: fd, peer: peer, maxRecord: a.opts.MaxRecord, gate: a.opts.Gate}
	c.window.all, c.judge = &a.loop.together, a.opts.Judge
	if a.opts.Via != nil {
		served, err := a.opts.Via(fd, c.Peer(), a.opts.Gate.leave)
		if err != nil {
			return err
		}
		c.fd, c.gate = served, nil
	}
	if err := a.loop.register(c.fd, c); err != nil {
		unix.Close(c.fd)
		if c.gate == nil {
			a.starve(err) // Via gives the place back
			return nil
		}
		return err
	}
	c.registered = true
	c.handler = a.opts.New(c)
	return nil
}

// passing reports whether an error of accept concerns only one connection, which is gone. The next
// one may be fine.
func passing(err error) bool {
	for _, e := range []unix.Errno{
		unix.EINTR, unix.ECONNABORTED, unix.ENETDOWN, unix.EPROTO, unix.ENOPROTOOPT,
		unix.EHOSTDOWN, unix.ENONET, unix.EHOSTUNREACH, unix.ENETUNREACH, unix.EPERM,
	} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// starve pauses a listener that lacks descriptors or memory, until a connection of this loop is
// closed or a tick has passed.
func (a *acceptor) starve(why error) {
	a.starved = true
	a.loop.starved = append(a.loop.starved, a)
	a.loop.wantTick()
	if now := time.Now(); now.Sub(a.loop.warned) >= acceptWarnings {
		a.loop.warned = now
		a.loop.log.Warn("cannot accept connections, will try again",
			"listener", a.ln.addr, "err", why, "connections", a.loop.open)
	}
}

func (a *acceptor) stop() {
	if !a.ended {
		a.ended = true
		a.loop.doom(a)
	}
}

func (a *acceptor) kill(error) { a.stop() }

func (a *acceptor) close() {
	a.loop.forget(a.ln.fd)
	a.ln.Close()
}
