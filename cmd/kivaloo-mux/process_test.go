package main

import (
	"crypto/tls"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"kivaloo/cmd/internal/blackbox/kvtest"
	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/cmd/internal/version"
	"kivaloo/eventloop/mux/certtest"
	"kivaloo/internal/must"
	"kivaloo/wire"
	"kivaloo/wire/wiretest"
)

// limited returns a mux with a limited number of open files.
func limited(files int, args ...string) *exec.Cmd {
	cmd := exec.Command("sh", "-c", fmt.Sprintf(`ulimit -n %d; exec "$0" "$@"`, files), daemontest.Program("kivaloo-mux"))
	cmd.Args = append(cmd.Args, args...)
	return cmd
}

// freePort returns an unused TCP address.
func freePort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must.Do(t, err)
	defer ln.Close()
	return fmt.Sprintf("[127.0.0.1]:%d", ln.Addr().(*net.TCPAddr).Port)
}

func TestRefusedStarts(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	s, tt := p.socket(), p.target()
	const usage = "usage: kivaloo-mux "
	for _, c := range []struct {
		args []string
		says string
	}{
		{nil, usage},
		{[]string{"-s", s}, usage},
		{[]string{"-t", tt}, usage},
		{p.args("left"), usage},
		{p.args("-1"), "illegal option -- -1\n" + usage},
		{p.args("--nonsense"), "illegal option -- --nonsense\n" + usage},
		{p.args("-n"), "requires an argument -- -n\n" + usage},
		{p.args("--allow"), "requires an argument -- --allow\n" + usage},
		{p.args("-t", "/other"), "given twice -- -t\n" + usage},
		{p.args("-n", "65536"), "option -n: "},
		{p.args("-n", "-1"), "option -n: "},
		{p.args("-n", "NaN"), "option -n: "},
		{p.args("-n", "inf"), "option -n: "},
		{p.args("--protocol", "lbs"), "option --protocol: \"lbs\" is neither"},
		{p.args("--allow", "get,put"), "option --allow: \"put\" is not a type of request"},
		{p.args("--allow", "get", "--allow", "set"), "option --allow: \"set\": given already"},
		{p.args("--allow", "/elsewhere=get"), "--allow: there is no -s /elsewhere"},
		{p.args("--allow", "get", "--protocol", "any"), "--allow needs --protocol kvlds"},
		{p.args("--clients", "0"), "option --clients: \"0\" is not a number from 1"},
		{p.args("--clients", "=5"), "option --clients: \"=5\" is not a number"},
		{p.args("--clients", "/elsewhere=5"), "--clients: there is no -s /elsewhere"},
		{p.args("--tls-cert", "x"), "--tls-cert and --tls-key need each other"},
		{p.args("--tls-client-ca", "x"), "--tls-client-ca needs"},
		{p.args("--tls-cert", "x", "--tls-key", "x"), "sources that are TCP addresses"},
		{p.args("-s", "[127.0.0.1]:9", "--tls-cert", "/no/cert", "--tls-key", "/no/key"), "/no/cert"},
		{p.args("-s", ""), "address"},
		{p.args("-s", "localhost"), "address"},
		{[]string{"-s", s, "-t", "localhost"}, "address"},
		{p.args(), "connect to " + tt},
	} {
		r := p.run(t, c.args...)
		if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, c.says) || !strings.HasPrefix(r.Output, "kivaloo-mux: ") {
			t.Errorf("%q: status %v, said %q; want %q", c.args, r.Status, r.Output, c.says)
		}
	}
	// The last of them lacked only a target. That leaves no socket's file.
	if entries, err := os.ReadDir(string(p)); err != nil || len(entries) != 1 {
		t.Errorf("refused starts leave %v, %v", entries, err)
	}
}

func TestVersion(t *testing.T) {
	t.Parallel()
	r := newPlace(t).run(t, "-n", "3", "--version", "--nonsense")
	if want := "kivaloo-mux " + version.Release + " ("; r.Status != 0 || !strings.HasPrefix(r.Output, want) {
		t.Errorf("status %v, said %q, want %q", r.Status, r.Output, want)
	}
}

// TestTargetOfAnotherProtocol checks that a target with another protocol is recognised at the
// start.
func TestTargetOfAnotherProtocol(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	daemontest.Start(t, string(p), "t.pid", daemontest.Program("kivaloo-lbs"), "-s", p.target(), "-d", p.path("d"), "-b", "512")
	r := p.run(t, p.args()...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "another protocol than kvlds") || !strings.Contains(r.Output, "--protocol any") {
		t.Errorf("status %v, said %q", r.Status, r.Output)
	}
	p.start(t, "--protocol", "any")
	c := dial(t, p.socket())
	_, err := c.Write(wire.AppendPacket(nil, 7, wire.AppendLBSRequest(nil, &wire.LBSRequest{Type: wire.TypeLBSParams2})))
	must.Do(t, err)
	answer, err := c.Next()
	must.Do(t, err)
	if size, _, _, err := wire.ParseLBSParams2(answer.Record); answer.ID != 7 || size != 512 || err != nil {
		t.Errorf("answer to request %d: block size %d, %v", answer.ID, size, err)
	}
}

// TestSources checks that the mux listens on all addresses of all sources, and that the pid file is
// named after the first.
func TestSources(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	numbered := freePort(t)
	named := strings.Replace(freePort(t), "[127.0.0.1]", "localhost", 1)
	addrs, err := wire.ResolveAddr(named)
	must.Do(t, err)
	p.start(t, "-s", numbered, "-s", p.path("s2"), "-s", named)
	sources := []string{p.socket(), p.path("s2"), numbered}
	for _, a := range addrs {
		host, port, err := net.SplitHostPort(a.Address)
		must.Do(t, err)
		sources = append(sources, fmt.Sprintf("[%s]:%s", host, port))
	}
	for _, source := range sources {
		mustServe(t, dial(t, source))
	}
}

// TestSourceThatIsInUse checks the error for a source in use. The sources before it have been
// opened by then.
func TestSourceThatIsInUse(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	must.Do(t, os.WriteFile(p.path("s2"), nil, 0o600))
	r := p.run(t, p.args("-s", p.path("s2"))...)
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "address already in use") {
		t.Errorf("status %v, said %q", r.Status, r.Output)
	}
	if absent(p.socket()) || !absent(p.path("s.pid")) {
		t.Error("the first source's socket is not there, or a pid file is")
	}
}

// TestOpenSource checks that a source that other machines can reach causes a warning, unless it has
// TLS.
func TestOpenSource(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	open := strings.Replace(freePort(t), "127.0.0.1", "0.0.0.0", 1)
	mux := p.foreground(t, "-s", open)
	mux.mustSay(t, "neither encryption nor authentication")
}

func TestClientsPerSource(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	few := p.path("few")
	p.start(t, "-s", few, "-n", "4", "--clients", few+"=1", "--clients", "3")
	first, second := dial(t, few), dial(t, few)
	mustServe(t, first)
	mustWait(t, second)
	var others []*kvtest.Conn
	for range 3 {
		c := dial(t, p.socket())
		mustServe(t, c)
		others = append(others, c)
	}
	fifth := dial(t, p.socket())
	mustWait(t, fifth)
	first.Close()
	mustAnswer(t, second)
	others[0].Close()
	mustAnswer(t, fifth)
}

// mustWait checks that a client is not served.
func mustWait(t *testing.T, c *kvtest.Conn) {
	t.Helper()
	c.Queue(&wire.KVRequest{Type: wire.TypeParams})
	must.Do(t, c.Flush())
	c.SetReadDeadline(time.Now().Add(silence))
	if p, err := c.Next(); err == nil {
		t.Fatalf("answer to request %d of a client that is one too many", p.ID)
	}
	c.SetReadDeadline(time.Now().Add(patience))
}

// mustAnswer checks that a client that had to wait is served at last.
func mustAnswer(t *testing.T, c *kvtest.Conn) {
	t.Helper()
	_, err := c.Next()
	must.Do(t, err)
}

func TestReadOnlySource(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	readers := p.path("readers")
	mux := p.foreground(t, "-s", readers, "--allow", readers+"=get,range,params")
	writer, reader := dial(t, p.socket()), dial(t, readers)
	must.Do(t, writer.Set("key", "value"))
	if value, err := reader.Get("key"); err != nil || string(value) != "value" {
		t.Fatalf("got %q, %v", value, err)
	}
	answer, err := reader.Ask(&wire.KVRequest{Type: wire.TypeScan, Max: 100})
	must.Do(t, err)
	if a, err := wire.ParseScanned(answer, &wire.KVRequest{Type: wire.TypeScan, Max: 100}); err != nil || a.N != 1 {
		t.Errorf("a reader's SCAN: %+v, %v", a, err)
	}
	if err := reader.Set("key", "other"); !wiretest.Lost(err) {
		t.Errorf("a reader's SET: %v", err)
	}
	mux.mustSay(t, "source="+readers+": request refused: only get,range,params are allowed here, not set\n")
	if value, err := writer.Get("key"); err != nil || string(value) != "value" {
		t.Errorf("got %q, %v", value, err)
	}
}

// overTLS connects a client with TLS.
func overTLS(t *testing.T, addr string, config *tls.Config) *kvtest.Conn {
	t.Helper()
	c := dial(t, addr)
	c.Conn.Conn = tls.Client(c.Conn.Conn, config)
	return c
}

func TestTLS(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	ca, files, tcp := certtest.NewAuthority(t, "ours"), certtest.NewFiles(t), freePort(t)
	files.Write(ca.Issue("server"), ca)
	mux := p.foreground(t, "-s", tcp, "--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-client-ca", files.ClientCA)
	config := func(server, client *certtest.Authority) *tls.Config {
		return &tls.Config{ServerName: "127.0.0.1", RootCAs: server.Pool(), Certificates: []tls.Certificate{client.Issue("client")}}
	}
	mustServe(t, dial(t, p.socket())) // without TLS
	stays := overTLS(t, tcp, config(ca, ca))
	mustServe(t, stays)

	other := certtest.NewAuthority(t, "other")
	mustBeRefused := func(c *kvtest.Conn) {
		t.Helper()
		if err := c.Set("key", "value"); err == nil {
			t.Error("a client with a wrong certificate is served")
		}
	}
	mustBeRefused(overTLS(t, tcp, config(ca, other)))
	mustBeRefused(dial(t, tcp))
	mux.mustSay(t, "TLS handshake failed source="+tcp+" peer=127.0.0.1:")

	// A new authority, for the server and for clients.
	files.Write(other.Issue("server"), other)
	mux.Signal(t, syscall.SIGHUP)
	mux.mustSay(t, "certificates read again")
	mustBeRefused(overTLS(t, tcp, config(other, ca)))
	mustServe(t, overTLS(t, tcp, config(other, other)))
	mustServe(t, stays)

	// Files that do not fit together change nothing.
	must.Do(t, os.WriteFile(files.Key, nil, 0o600))
	mux.Signal(t, syscall.SIGHUP)
	mux.mustSay(t, "the certificates stay as they were")
	mustServe(t, overTLS(t, tcp, config(other, other)))

	mux.Signal(t, syscall.SIGTERM)
	must.Do(t, stays.Closed())
	if status := mux.Wait(t); !status.Signaled() || status.Signal() != syscall.SIGTERM {
		t.Errorf("the mux ends with %v", status)
	}
}

// TestHangupWithoutTLS checks that SIGHUP kills a mux without certificates, like the original.
func TestHangupWithoutTLS(t *testing.T) {
	t.Parallel()
	s := startStack(t)
	s.mux.Signal(t, syscall.SIGHUP)
	if status := s.mux.Wait(t); !status.Signaled() || status.Signal() != syscall.SIGHUP {
		t.Errorf("the mux ends with %v", status)
	}
}

func TestPidFile(t *testing.T) {
	t.Parallel()
	p := newPlace(t)
	p.startTarget(t)
	daemontest.Start(t, string(p), "elsewhere", daemontest.Program("kivaloo-mux"), p.args("-p", "elsewhere")...)
	if !absent(p.path("s.pid")) {
		t.Error("-p does not replace the default pid file")
	}
}
