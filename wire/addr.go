package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// SocketName is the name of a server's socket in the directory of its store.
const SocketName = "kivaloo.sock"

// Addr is one address to listen on or connect to.
type Addr struct {
	Name    string // as the user wrote it
	Network string // "unix" or "tcp"
	Address string // the socket's path, or ip:port
}

// String returns the address, and the name it came from if that differs.
func (a Addr) String() string {
	if a.Name == a.Address {
		return a.Address
	}
	return a.Address + " (" + a.Name + ")"
}

// CheckDistinct returns an error if two of addrs are the same.
func CheckDistinct(addrs []Addr) error {
	seen := make(map[string]Addr)
	for _, a := range addrs {
		place := a.place()
		if b, twice := seen[place]; twice {
			return fmt.Errorf("%s is given twice: %s is the same", a, b)
		}
		seen[place] = a
	}
	return nil
}

// place returns the address in a canonical form.
func (a Addr) place() string {
	path, err := filepath.Abs(a.Address)
	if a.Network != "unix" || err != nil {
		return a.Address
	}
	// What does not exist yet has no links in it.
	if dir, err := filepath.EvalSymlinks(filepath.Dir(path)); err == nil {
		path = filepath.Join(dir, filepath.Base(path))
	}
	return path
}

// Loopback reports whether only this machine can connect to a.
func (a Addr) Loopback() bool {
	if a.Network == "unix" {
		return true
	}
	ap, err := netip.ParseAddrPort(a.Address)
	return err == nil && ap.Addr().Unmap().IsLoopback()
}

// ResolveAddr returns the addresses that s stands for, at least one:
//
//	/path, ./path, dir/path   a unix stream socket: anything with a slash
//	[addr]:port               a literal IPv4 or IPv6 address, and a decimal port
//	host:port                 a name, or a bare IPv4 address; the port may be a service name
//	name                      without a slash or a colon: a path, if it exists
//
// A path that is a directory stands for the socket called SocketName in it. The system resolves
// host names, in the order it chooses.
func ResolveAddr(s string) ([]Addr, error) {
	return ResolveAddrContext(context.Background(), s)
}

// ResolveAddrContext is ResolveAddr with a context that bounds the wait for the system.
func ResolveAddrContext(ctx context.Context, s string) ([]Addr, error) {
	addrs, err := resolve(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	return addrs, nil
}

var errSyntax = errors.New("write it as /path, ./path, [address]:port or host:port")

func resolve(ctx context.Context, s string) ([]Addr, error) {
	switch {
	case s == "":
		return nil, fmt.Errorf("it is empty; %w", errSyntax)
	case isPath(s):
		return resolvePath(s)
	case s[0] == '[':
		return resolveLiteral(s)
	}
	return resolveName(ctx, s)
}

// isPath reports whether s is a path. Host names, addresses and ports have no slash; every address
// of a host has a colon.
func isPath(s string) bool {
	if strings.ContainsRune(s, '/') {
		return true
	}
	if strings.ContainsRune(s, ':') {
		return false
	}
	_, err := os.Stat(s)
	return err == nil
}

// resolvePath returns the socket at a path, or in the directory at that path. A relative path stays
// relative, because the path of a socket must be short.
func resolvePath(s string) ([]Addr, error) {
	if strings.Contains(s, "\x00") {
		return nil, errors.New("the path contains a zero byte")
	}
	path := s
	if info, err := os.Stat(s); err == nil && info.IsDir() {
		path = filepath.Join(s, SocketName)
	}
	if path[0] == '@' {
		path = "./" + path // the libraries take a leading @ for a name outside the file system
	}
	if len(path) > MaxUnixPathLen {
		return nil, fmt.Errorf("the path has %d bytes, a unix socket's at most %d; use a shorter one", len(path), MaxUnixPathLen)
	}
	return []Addr{{Name: s, Network: "unix", Address: path}}, nil
}

// resolveLiteral parses [addr]:port.
func resolveLiteral(s string) ([]Addr, error) {
	host, port, ok := strings.Cut(s[1:], "]:")
	if !ok {
		return nil, fmt.Errorf("no %q; %w", "]:", errSyntax)
	}
	ip, err := netip.ParseAddr(host)
	if err != nil || ip.Zone() != "" {
		return nil, fmt.Errorf("%q is not an IPv4 or IPv6 address", host)
	}
	n, err := parsePort(port)
	if err != nil {
		return nil, err
	}
	return []Addr{tcpAddr(s, ip, n)}, nil
}

// parsePort parses a port in decimal digits.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to %d", s, maxPort)
	}
	return uint16(n), nil
}

// resolveName parses host:port and asks the system for its addresses.
func resolveName(ctx context.Context, s string) ([]Addr, error) {
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 {
		return nil, fmt.Errorf("no port; %w", errSyntax)
	}
	host, service := s[:colon], s[colon+1:]
	if host == "" {
		return nil, fmt.Errorf("no host before the port; %w", errSyntax)
	}
	port, err := lookupPort(ctx, service)
	if err != nil {
		return nil, err
	}
	ips, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, err
	}
	var addrs []Addr
	for _, ip := range ips {
		// The system may list one address twice. It can only be listened on once.
		if a := tcpAddr(s, ip.Unmap(), port); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("host %q has no addresses", host)
	}
	return addrs, nil
}

// lookupPort returns a port given by number or service name.
func lookupPort(ctx context.Context, service string) (uint16, error) {
	if strings.Trim(service, "0123456789") == "" {
		return parsePort(service)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil || strings.ContainsAny(service[:1], "+-") { // the library takes a sign alone for 0, and accepts one in front of a number
		return 0, fmt.Errorf("port %q is neither a number from 1 to %d nor a known service", service, maxPort)
	}
	return uint16(n), nil
}

func tcpAddr(name string, ip netip.Addr, port uint16) Addr {
	return Addr{Name: name, Network: "tcp", Address: netip.AddrPortFrom(ip, port).String()}
}

// DialError is the error for an address to which no connection was possible.
type DialError struct {
	Addr Addr
	Err  error
}

func (e *DialError) Error() string { return fmt.Sprintf("connect to %s: %v", e.Addr, e.Err) }

func (e *DialError) Unwrap() error { return e.Err }

// Dial connects to the first of addrs that accepts, in order. If the backlog of one is full it
// waits. Data written to a TCP connection is sent at once (TCP_NODELAY).
func Dial(ctx context.Context, addrs []Addr) (net.Conn, error) {
	err := errors.New("no address given")
	for _, a := range addrs {
		var nc net.Conn
		nc, err = connect(ctx, a)
		if err == nil {
			return nc, nil // this library sets TCP_NODELAY on TCP connections
		}
		err = &DialError{Addr: a, Err: cause(err)}
	}
	return nil, err
}

// connect connects to a. While the backlog of a unix socket is full, it refuses every attempt that
// does not block, so connect retries.
func connect(ctx context.Context, a Addr) (net.Conn, error) {
	var d net.Dialer
	for {
		nc, err := d.DialContext(ctx, a.Network, a.Address)
		if !errors.Is(err, syscall.EAGAIN) {
			return nc, err
		}
		select {
		case <-time.After(queueRetry):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// cause removes the address, which the library also names.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
