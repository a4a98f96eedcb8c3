package wire_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/internal/must"
	"kivaloo/wire"
)

func TestResolveAddr(t *testing.T) {
	dir := t.TempDir()
	must.Do(t, os.WriteFile(filepath.Join(dir, "file"), nil, 0o600))
	longest := "/" + strings.Repeat("p", wire.MaxUnixPathLen-1)
	for _, c := range []struct {
		in       string
		network  string
		address  string
		loopback bool
	}{
		{"/", "unix", "/kivaloo.sock", true},
		{"/absent/", "unix", "/absent/", true},
		{"./relative.sock", "unix", "./relative.sock", true},
		{"../relative.sock", "unix", "../relative.sock", true},
		{"absent/relative.sock", "unix", "absent/relative.sock", true},
		{"[odd]/name:80", "unix", "[odd]/name:80", true},
		{":/", "unix", ":/", true},
		{"@/name", "unix", "./@/name", true},
		{".", "unix", "kivaloo.sock", true},
		{dir, "unix", dir + "/kivaloo.sock", true},
		{dir + "/", "unix", dir + "/kivaloo.sock", true},
		{dir + "/file", "unix", dir + "/file", true},
		{"/run/kivaloo.sock", "unix", "/run/kivaloo.sock", true},
		{"/odd:80", "unix", "/odd:80", true},
		{longest, "unix", longest, true},
		{"[127.0.0.1]:1", "tcp", "127.0.0.1:1", true},
		{"[10.1.2.3]:65535", "tcp", "10.1.2.3:65535", false},
		{"[::1]:1236", "tcp", "[::1]:1236", true},
		{"[::]:1236", "tcp", "[::]:1236", false},
		{"[::ffff:127.0.0.1]:80", "tcp", "[::ffff:127.0.0.1]:80", true},
		{"127.0.0.1:1234", "tcp", "127.0.0.1:1234", true},
		{"0.0.0.0:1234", "tcp", "0.0.0.0:1234", false},
		{"127.0.0.1:http", "tcp", "127.0.0.1:80", true},
		{"::1:1234", "tcp", "[::1]:1234", true}, // the last colon separates the port
	} {
		addrs, err := wire.ResolveAddr(c.in)
		if err != nil || len(addrs) != 1 {
			t.Errorf("%s: %v, %v", c.in, addrs, err)
			continue
		}
		if want := (wire.Addr{Name: c.in, Network: c.network, Address: c.address}); addrs[0] != want {
			t.Errorf("%s: %+v, want %+v", c.in, addrs[0], want)
		}
		if addrs[0].Loopback() != c.loopback {
			t.Errorf("%s: loopback %v", c.in, !c.loopback)
		}
	}
}

// TestResolveNameInDirectory checks that a name without slash, port or colon is a path if it
// exists.
func TestResolveNameInDirectory(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, err := range []error{os.Mkdir("store", 0o700), os.Mkdir("host:80", 0o700), os.WriteFile("file", nil, 0o600)} {
		must.Do(t, err)
	}
	for in, want := range map[string]string{"store": "store/kivaloo.sock", "file": "file", "./host:80": "host:80/kivaloo.sock"} {
		addrs, err := wire.ResolveAddr(in)
		if err != nil || len(addrs) != 1 || addrs[0] != (wire.Addr{Name: in, Network: "unix", Address: want}) {
			t.Errorf("%s: %v, %v", in, addrs, err)
		}
	}
	if addrs, err := wire.ResolveAddr("localhost:80"); err != nil || addrs[0].Network != "tcp" {
		t.Errorf("%v, %v", addrs, err)
	}
	deep := strings.Repeat("d", wire.MaxUnixPathLen-len("/kivaloo.sock"))
	must.Do(t, os.Mkdir(deep, 0o700))
	if addrs, err := wire.ResolveAddr(deep); err != nil || len(addrs[0].Address) != wire.MaxUnixPathLen {
		t.Errorf("%v, %v", addrs, err)
	}
	must.Do(t, os.Mkdir(deep+"d", 0o700))
	if _, err := wire.ResolveAddr(deep + "d"); err == nil || !strings.Contains(err.Error(), "108 bytes") {
		t.Error(err)
	}
}

func TestResolveName(t *testing.T) {
	addrs, err := wire.ResolveAddr("localhost:1234")
	if err != nil || len(addrs) == 0 {
		t.Fatal(addrs, err)
	}
	seen := map[wire.Addr]bool{}
	for _, a := range addrs {
		if !a.Loopback() || a.Network != "tcp" || !strings.HasSuffix(a.Address, ":1234") || a.Name != "localhost:1234" || seen[a] {
			t.Errorf("%+v", a)
		}
		if !strings.Contains(a.String(), "localhost:1234") || !strings.Contains(a.String(), a.Address) {
			t.Errorf("written as %s", a)
		}
		seen[a] = true
	}
}

func TestResolveAddrErrors(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"", "it is empty"},
		{":", "no host before the port"},
		{":80", "no host before the port"},
		{"localhost", "no port"},
		{"/run/k\x00sock", "the path contains a zero byte"},
		{"/" + strings.Repeat("p", wire.MaxUnixPathLen), "the path has 108 bytes, a unix socket's at most 107"},
		{"localhost:", `port "" is not a number from 1 to 65535`},
		{"localhost:0", `port "0" is not a number`},
		{"localhost:65536", `port "65536" is not a number`},
		{"localhost:-1", `port "-1" is neither a number`},
		{"localhost:-", `port "-" is neither a number`},
		{"localhost:+80", `port "+80" is neither a number`},
		{"localhost:80x", `port "80x" is neither a number`},
		{"localhost:no-such-service", `port "no-such-service" is neither a number`},
		{strings.Repeat("x", 300) + ":80", "no such host"},
		{"[127.0.0.1]", `no "]:"`},
		{"[127.0.0.1]80", `no "]:"`},
		{"[127.0.0.1:80", `no "]:"`},
		{"[]:80", `"" is not an IPv4 or IPv6 address`},
		{"[localhost]:80", `"localhost" is not an IPv4 or IPv6 address`},
		{"[127.0.0.256]:80", "is not an IPv4 or IPv6 address"},
		{"[127.1]:80", "is not an IPv4 or IPv6 address"},
		{"[fe80::1%lo]:80", "is not an IPv4 or IPv6 address"},
		{"[127.0.0.1]:", `port "" is not a number`},
		{"[127.0.0.1]:0", `port "0" is not a number`},
		{"[127.0.0.1]:65536", `port "65536" is not a number`},
		{"[127.0.0.1]:80 ", `port "80 " is not a number`},
		{"[127.0.0.1]:+80", `port "+80" is not a number`},
		{"[127.0.0.1]:http", `port "http" is not a number`},
		{"[::1]:80:90", `port "80:90" is not a number`},
	} {
		addrs, err := wire.ResolveAddr(c.in)
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "address") {
			t.Errorf("%q: %v, %v, want an error with: %s", c.in, addrs, err, c.want)
		}
	}
}

// FuzzResolveAddr checks that an error repeats the address, and that a result can be connected to
// as it is. It does not ask for host names.
func FuzzResolveAddr(f *testing.F) {
	for _, s := range []string{"/run/kivaloo.sock", ".", "@/abstract", "a/\x00b", "[::ffff:127.0.0.1]:80", "[fe80::1%lo]:80", "127.0.0.1:http",
		"::1:1234", ":80", "localhost:65536", "[127.0.0.1]:+80", "/" + strings.Repeat("p", wire.MaxUnixPathLen)} {
		f.Add(s)
	}
	nobodyAsked, cancel := context.WithCancel(context.Background())
	cancel()
	f.Fuzz(func(t *testing.T, s string) {
		addrs, err := wire.ResolveAddrContext(nobodyAsked, s)
		if err != nil {
			if !strings.HasPrefix(err.Error(), fmt.Sprintf("address %q: ", s)) || addrs != nil {
				t.Fatalf("%v, %v", addrs, err)
			}
			return
		}
		if len(addrs) == 0 {
			t.Fatal("no address and no error")
		}
		for _, a := range addrs {
			switch ap, err := netip.ParseAddrPort(a.Address); {
			case a.Name != s:
				t.Errorf("%+v for %q", a, s)
			case a.Network == "unix":
				// Go takes a leading @ for a name outside the file system, and the kernel takes a
				// zero byte for the end.
				if a.Address == "" || len(a.Address) > wire.MaxUnixPathLen || a.Address[0] == '@' || strings.Contains(a.Address, "\x00") {
					t.Errorf("no path of a socket: %q", a.Address)
				}
			case a.Network != "tcp" || err != nil || ap.Port() == 0:
				t.Errorf("%+v: %v", a, err)
			case ap.Addr().Zone() == "":
				again, err := wire.ResolveAddr(a.Address)
				if err != nil || len(again) != 1 || again[0].Address != a.Address {
					t.Errorf("%s stands for %v, %v", a.Address, again, err)
				}
			}
		}
	})
}

func listen(t *testing.T, network, address string) net.Addr {
	ln, err := net.Listen(network, address)
	must.Do(t, err)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			nc.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return ln.Addr()
}

func TestDialInOrder(t *testing.T) {
	dir := t.TempDir()
	unix := func(name string) wire.Addr {
		path := filepath.Join(dir, name)
		return wire.Addr{Name: path, Network: "unix", Address: path}
	}
	nobody, first, second := unix("nobody"), unix("first"), unix("second")
	listen(t, "unix", first.Address)
	listen(t, "unix", second.Address)

	nc, err := wire.Dial(context.Background(), []wire.Addr{nobody, first, second})
	must.Do(t, err)
	defer nc.Close()
	if got := nc.RemoteAddr().String(); got != first.Address {
		t.Errorf("connected to %s", got)
	}

	_, err = wire.Dial(context.Background(), []wire.Addr{nobody})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "connect to "+nobody.Address) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err = wire.Dial(context.Background(), nil); err == nil {
		t.Error("connected to no address")
	}
	stopped, stop := context.WithCancel(context.Background())
	stop()
	if _, err = wire.Dial(stopped, []wire.Addr{first}); err == nil {
		t.Error("connected after being told not to")
	}
}

func TestDialWaitsForRoomInTheQueue(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	fd, err := syscall.Socket(syscall.AF_UNIX, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err == nil {
		err = syscall.Bind(fd, &syscall.SockaddrUnix{Name: path})
	}
	if err == nil {
		err = syscall.Listen(fd, 0) // a backlog of one
	}
	must.Do(t, err)
	file := os.NewFile(uintptr(fd), path)
	defer file.Close()
	ln, err := net.FileListener(file)
	must.Do(t, err)
	defer ln.Close()
	addrs := []wire.Addr{{Name: path, Network: "unix", Address: path}}
	first, err := wire.Dial(context.Background(), addrs)
	must.Do(t, err)
	defer first.Close()
	short, cancel := context.WithTimeout(context.Background(), 30*time.Millisecond)
	defer cancel()
	if nc, err := wire.Dial(short, addrs); err == nil {
		t.Error("connected although there was no room")
		nc.Close()
	}
	timer := time.AfterFunc(30*time.Millisecond, func() {
		if nc, err := ln.Accept(); err == nil {
			nc.Close()
		}
	})
	defer timer.Stop()
	second, err := wire.Dial(context.Background(), addrs)
	must.Do(t, err)
	second.Close()
}

func TestDialSetsNoDelay(t *testing.T) {
	at := listen(t, "tcp", "127.0.0.1:0").String()
	nc, err := wire.Dial(context.Background(), []wire.Addr{{Name: at, Network: "tcp", Address: at}})
	must.Do(t, err)
	defer nc.Close()
	raw, err := nc.(*net.TCPConn).SyscallConn()
	must.Do(t, err)
	noDelay := 0
	controlErr := raw.Control(func(fd uintptr) {
		noDelay, err = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_NODELAY)
	})
	if controlErr != nil || err != nil || noDelay == 0 {
		t.Errorf("TCP_NODELAY is %d, %v, %v", noDelay, controlErr, err)
	}
}
