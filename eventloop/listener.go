package eventloop

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"

	"golang.org/x/sys/unix"

	"kivaloo/wire"
)

// Listener is a listening socket. Loop.Serve takes it over.
type Listener struct {
	addr   wire.Addr
	fd     int
	closed atomic.Bool
	file   os.FileInfo // unix: the socket's file that we made
}

// Listen binds a socket to a. For TCP port 0 the system picks a port. Listen never removes a file:
// a unix socket's path must not exist. backlog is the most connections that wait in the kernel.
func Listen(a wire.Addr, backlog int) (*Listener, error) {
	ln, err := listen(a, backlog)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", a, err)
	}
	return ln, nil
}

// ListenTakingOver is Listen for a program that owns the path of its unix socket. It removes the
// socket of a predecessor that was killed. Anything else at the path, or a socket where somebody
// answers, stays and is an error. It does not protect against two programs that take over one path
// at the same moment.
func ListenTakingOver(a wire.Addr, backlog int) (*Listener, error) {
	if a.Network == "unix" {
		stale, err := findStale(a.Address)
		if err == nil && stale {
			err = os.Remove(a.Address)
		}
		if err != nil {
			return nil, fmt.Errorf("listen on %s: %w", a, err)
		}
	}
	return Listen(a, backlog)
}

// CheckListen returns the error that ListenTakingOver would return now. It changes nothing.
func CheckListen(a wire.Addr) error {
	if err := checkListen(a); err != nil {
		return fmt.Errorf("listen on %s: %w", a, err)
	}
	return nil
}

func checkListen(a wire.Addr) error {
	if a.Network == "unix" {
		if _, err := findStale(a.Address); err != nil {
			return err
		}
		dir := filepath.Dir(a.Address)
		if err := unix.Access(dir, unix.W_OK|unix.X_OK); err != nil {
			return &fs.PathError{Op: "make a socket in", Path: dir, Err: err}
		}
		return nil
	}
	ln, sa, err := newSocket(a)
	if err != nil {
		return err
	}
	defer ln.Close()
	return ln.bind(sa)
}

// findStale reports whether path is a unix socket without a listener. Anything else at path is an
// error.
func findStale(path string) (bool, error) {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	if info.Mode().Type() != fs.ModeSocket {
		return false, errors.New("there is something else than a socket at this path; remove it, or choose another path")
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false, os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	switch err := unix.Connect(fd, &unix.SockaddrUnix{Name: path}); {
	case err == nil, errors.Is(err, unix.EAGAIN):
		return false, errors.New("another process is listening here; stop it, or choose another path")
	case errors.Is(err, unix.ECONNREFUSED):
		return true, nil
	default:
		return false, os.NewSyscallError("connect", err)
	}
}

func listen(a wire.Addr, backlog int) (*Listener, error) {
	ln, sa, err := newSocket(a)
	if err != nil {
		return nil, err
	}
	if err = ln.bind(sa); err == nil {
		err = ln.listen(backlog)
	}
	if err != nil {
		ln.Close()
		return nil, err
	}
	return ln, nil
}

// newSocket returns a socket to be bound to a, and a in the form that bind needs.
func newSocket(a wire.Addr) (*Listener, unix.Sockaddr, error) {
	sa, family, err := sockaddr(a)
	if err != nil {
		return nil, nil, err
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, os.NewSyscallError("socket", err)
	}
	return &Listener{addr: a, fd: fd}, sa, nil
}

func (ln *Listener) bind(sa unix.Sockaddr) error {
	if err := unix.SetsockoptInt(ln.fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return os.NewSyscallError("setsockopt SO_REUSEADDR", err)
	}
	if err := unix.Bind(ln.fd, sa); err != nil {
		if errors.Is(err, unix.EADDRINUSE) && ln.addr.Network == "unix" {
			return fmt.Errorf("%w: the path exists; if no process listens there, remove it", os.NewSyscallError("bind", err))
		}
		return os.NewSyscallError("bind", err)
	}
	return nil
}

func (ln *Listener) listen(backlog int) error {
	if err := unix.Listen(ln.fd, backlog); err != nil {
		return os.NewSyscallError("listen", err)
	}
	if ln.addr.Network == "unix" {
		info, err := os.Lstat(ln.addr.Address)
		ln.file = info
		return err
	}
	bound, err := unix.Getsockname(ln.fd)
	if err != nil {
		return os.NewSyscallError("getsockname", err)
	}
	switch sa := bound.(type) {
	case *unix.SockaddrInet4:
		ln.addr.Address = netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port)).String()
	case *unix.SockaddrInet6:
		ln.addr.Address = netip.AddrPortFrom(netip.AddrFrom16(sa.Addr), uint16(sa.Port)).String()
	}
	return nil
}

// sockaddr converts a for system calls, and returns its address family.
func sockaddr(a wire.Addr) (unix.Sockaddr, int, error) {
	if a.Network == "unix" {
		return &unix.SockaddrUnix{Name: a.Address}, unix.AF_UNIX, nil
	}
	ap, err := netip.ParseAddrPort(a.Address)
	switch {
	case err != nil:
		return nil, 0, err
	case ap.Addr().Zone() != "":
		return nil, 0, errors.New("addresses with a zone are not supported")
	case ap.Addr().Is4():
		return &unix.SockaddrInet4{Addr: ap.Addr().As4(), Port: int(ap.Port())}, unix.AF_INET, nil
	default:
		return &unix.SockaddrInet6{Addr: ap.Addr().As16(), Port: int(ap.Port())}, unix.AF_INET6, nil
	}
}

// Addr returns the address, with the port that the system picked.
func (ln *Listener) Addr() wire.Addr { return ln.addr }

// Close closes a listener that no loop has taken over; a loop closes its own. The file of a unix
// socket stays. Closing twice is allowed.
func (ln *Listener) Close() {
	if !ln.closed.Swap(true) {
		unix.Close(ln.fd)
	}
}

// Remove removes the file of a unix socket, unless another file has taken its place. It is for a
// program that owns the path, after the listener is closed.
func (ln *Listener) Remove() error {
	if ln.file == nil {
		return nil
	}
	info, err := os.Lstat(ln.addr.Address)
	if errors.Is(err, fs.ErrNotExist) || err == nil && !os.SameFile(info, ln.file) {
		return nil
	}
	if err != nil {
		return err
	}
	return os.Remove(ln.addr.Address)
}
