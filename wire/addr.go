package wire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// Addr is one address to listen on or connect to.
type Addr struct {
	Name    string // as the user wrote it
	Network string // "unix" or "tcp"
	Address string // the socket's path, or ip:port
}

// String returns the address, and the name it came from where that differs.
func (a Addr) String() string {
	if a.Name == a.Address {
		return a.Address
	}
	return a.Address + " (" + a.Name + ")"
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
//	/path           a unix stream socket
//	[addr]:port     a literal IPv4 or IPv6 address, and a decimal port
//	host:port       a name, or a bare IPv4 address; the port may be a service name
//
// Names are resolved by the system, in the order it gives.
func ResolveAddr(s string) ([]Addr, error) {
	return ResolveAddrContext(context.Background(), s)
}

// ResolveAddrContext is ResolveAddr for those who do not want to wait for the system
// longer than ctx lasts.
func ResolveAddrContext(ctx context.Context, s string) ([]Addr, error) {
	addrs, err := resolve(ctx, s)
	if err != nil {
		return nil, fmt.Errorf("address %q: %w", s, err)
	}
	return addrs, nil
}

var errSyntax = errors.New("write it as /path, [address]:port or host:port")

func resolve(ctx context.Context, s string) ([]Addr, error) {
	switch {
	case s == "":
		return nil, fmt.Errorf("it is empty; %w", errSyntax)
	case s[0] == '/':
		if len(s) > MaxUnixPathLen {
			return nil, fmt.Errorf("the path has %d bytes, a unix socket's at most %d; use a shorter one", len(s), MaxUnixPathLen)
		}
		return []Addr{{Name: s, Network: "unix", Address: s}}, nil
	case s[0] == '[':
		return resolveLiteral(s)
	}
	return resolveName(ctx, s)
}

// resolveLiteral reads [addr]:port.
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

// parsePort reads a port in decimal digits alone.
func parsePort(s string) (uint16, error) {
	n, err := strconv.ParseUint(s, 10, 16)
	if err != nil || n == 0 {
		return 0, fmt.Errorf("port %q is not a number from 1 to %d", s, maxPort)
	}
	return uint16(n), nil
}

// resolveName reads host:port and asks the system what it means.
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
		// The system may list one address twice, which could not be listened on.
		if a := tcpAddr(s, ip.Unmap(), port); !slices.Contains(addrs, a) {
			addrs = append(addrs, a)
		}
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("host %q has no addresses", host)
	}
	return addrs, nil
}

// lookupPort reads a port given as a number or the name of a service.
func lookupPort(ctx context.Context, service string) (uint16, error) {
	if strings.Trim(service, "0123456789") == "" {
		return parsePort(service)
	}
	n, err := net.DefaultResolver.LookupPort(ctx, "tcp", service)
	if err != nil {
		return 0, fmt.Errorf("port %q is neither a number from 1 to %d nor a known service", service, maxPort)
	}
	return uint16(n), nil
}

func tcpAddr(name string, ip netip.Addr, port uint16) Addr {
	return Addr{Name: name, Network: "tcp", Address: netip.AddrPortFrom(ip, port).String()}
}

// Dial connects to the first of addrs, in their order, that accepts. One whose
// queue of connections is full is waited for. What is written to a TCP connection is
// sent at once (TCP_NODELAY).
func Dial(ctx context.Context, addrs []Addr) (net.Conn, error) {
	err := errors.New("no address given")
	for _, a := range addrs {
		var nc net.Conn
		nc, err = connect(ctx, a)
		if err == nil {
			return nc, nil // a TCP connection of this library has TCP_NODELAY set
		}
		err = fmt.Errorf("connect to %s: %w", a, cause(err))
	}
	return nil, err
}

// connect connects to a. While its queue is full, a unix socket refuses every attempt that
// does not block, so those are repeated.
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

// cause strips the address that the library names too.
func cause(err error) error {
	var op *net.OpError
	if errors.As(err, &op) {
		return op.Err
	}
	return err
}
