package blackbox

import (
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kivaloo/cmd/internal/daemon/daemontest"
	"kivaloo/eventloop/mux/certtest"
	"kivaloo/internal/must"
)

// secureMux starts a store behind a mux that speaks TLS and requires a certificate. It returns the
// address, the flags of an accepted client, and the store.
func secureMux(t *testing.T) (addr string, flags []string, s *serve) {
	t.Helper()
	s = newServe(t)
	s.start(t)
	authority := certtest.NewAuthority(t, "ours")
	files := certtest.NewFiles(t)
	files.Write(authority.Issue("both"), authority) // it is valid for a client too
	addr = freePort(t)
	daemontest.Start(t, s.place, "mux.pid", daemontest.Program("kivaloo-mux"), "-t", s.addr(), "-s", addr, "-p", "mux.pid",
		"--tls-cert", files.Cert, "--tls-key", files.Key, "--tls-client-ca", files.ClientCA)
	return addr, []string{"--tls-ca", files.ClientCA, "--tls-cert", files.Cert, "--tls-key", files.Key}, s
}

// TestTLS checks that all clients speak TLS, as flags or variables say, and name the fault when it
// fails.
func TestTLS(t *testing.T) {
	t.Parallel()
	addr, flags, s := secureMux(t)
	place := daemontest.Place(t)
	file := filepath.Join(place, "file")
	in := append([]string{"--addr", addr}, flags...)
	kivaloo(t, place, append([]string{"set", "key", "value"}, in...)...).want(t, 0, "", "")
	kivaloo(t, place, append([]string{"get", "key"}, in...)...).want(t, 0, "value\n", "")
	kivaloo(t, place, append([]string{"range"}, in...)...).want(t, 0, "key\tvalue\n", "")
	kivaloo(t, place, append([]string{"dump", "-o", file}, in...)...).want(t, 0, "", "dumped 1 pair,")
	kivaloo(t, place, append([]string{"load", "-i", file}, in...)...).want(t, 0, "", "loaded 1 pair,")
	for _, workload := range [][]string{{"load", "-n", "10"}, {"run", "-w", "c", "-n", "10", "--warmup", "0s", "--duration", "100ms", "-o", filepath.Join(place, "results")}, {"run", "-w", "bulk-insert", "-n", "16"}} {
		r := daemontest.Run(t, place, daemontest.Program("kivaloo-stress"), append(append(workload, "-t", addr), flags...)...)
		if r.Status != 0 {
			t.Errorf("kivaloo-stress %q: %v, %s", workload, r.Status, r.Output)
		}
	}

	env := []string{"KIVALOO_ADDR=" + addr, "KIVALOO_TLS_CA=" + flags[1], "KIVALOO_TLS_CERT=" + flags[3], "KIVALOO_TLS_KEY=" + flags[5]}
	with := func(env []string, args ...string) run {
		t.Helper()
		cmd := exec.Command(daemontest.Program("kivaloo"), args...)
		cmd.Dir, cmd.Env = place, append(os.Environ(), env...)
		return runCommand(t, cmd)
	}
	with(env, "get", "key").want(t, 0, "value\n", "")
	with(env, "get", "-a", s.addr(), "key").want(t, 0, "value\n", "") // a unix socket has no TLS
	for _, wrong := range []string{"KIVALOO_TLS=no", "KIVALOO_TLS_CA=absent", "KIVALOO_TLS_KEY=absent"} {
		with([]string{wrong}, "get", "-a", s.addr(), "key").want(t, 0, "value\n", "")
	}
	with(append(env, "KIVALOO_TLS_CA=absent"), "get", "key").want(t, 1, "", "KIVALOO_TLS_CA: open absent: no such file or directory")
	with(append(env, "KIVALOO_TLS_KEY=absent"), "get", "key").want(t, 1, "", "KIVALOO_TLS_CERT and KIVALOO_TLS_KEY: open absent")
	with(append(env, "KIVALOO_TLS=no"), "get", "key").want(t, 1, "", "KIVALOO_TLS: want 1 or 0")
	with(append(env, "KIVALOO_TLS=0"), "get", "key").want(t, 1, "", addr+" speaks TLS: connect with --tls")
	with(append(env, "KIVALOO_TIMEOUT=soon"), "get", "key").want(t, 1, "", "KIVALOO_TIMEOUT: want a duration from 10ms to 24h0m0s, not \"soon\"")

	for _, tc := range []struct {
		args []string
		says string
	}{
		{[]string{"-a", addr}, addr + " speaks TLS: connect with --tls"},
		{[]string{"-a", addr, "--tls"}, "is of an unknown authority: name the authority's file with --tls-ca"},
		{[]string{"-a", addr, "--tls-ca", flags[1]}, "if it wants a certificate, give --tls-cert and --tls-key"},
		{append([]string{"--tls-server-name", "other.example"}, in...), "is for another name: "},
		{[]string{"-a", addr, "--tls-ca", "absent"}, "--tls-ca: open absent: no such file or directory"},
		{[]string{"-a", addr, "--tls-ca", flags[5]}, "the file holds no certificate in PEM"},
		{[]string{"-a", addr, "--tls-cert", flags[3]}, "--tls-cert and --tls-key need each other"},
		{[]string{"-a", s.addr(), "--tls"}, "TLS is for host:port, not for the path of a unix socket"},
		{[]string{"-a", addr, "--tls=perhaps"}, `invalid argument "perhaps" for --tls: want true or false`},
	} {
		kivaloo(t, place, append([]string{"get", "key"}, tc.args...)...).want(t, 1, "", tc.says)
	}
}

// TestNoTLS checks the message to a TLS client of a server without TLS, be it kivaloo or not.
func TestNoTLS(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	tcp := freePort(t)
	s.options = []string{"--listen", tcp}
	s.start(t)
	kivaloo(t, "", "get", "key", "--tls", "-a", tcp).want(t, 1, "", tcp+" is a kivaloo server without TLS: connect without --tls")
	web := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	addr := web.Listener.Addr().String()
	kivaloo(t, "", "get", "key", "--tls", "-a", addr).want(t, 1, "", addr+" does not speak TLS: give the right address")
	kivaloo(t, "", "top", "--tls", addr).want(t, 1, "", addr+" does not speak TLS: connect without --tls")
	secure := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(secure.Close)
	addr = secure.Listener.Addr().String()
	kivaloo(t, "", "top", addr).want(t, 1, "", addr+" speaks TLS: connect with --tls")
}

// TestSilence checks that a server that falls silent is noticed within the timeout, whatever the
// client waits for.
func TestSilence(t *testing.T) {
	t.Parallel()
	s := newServe(t)
	tcp := freePort(t)
	s.options = []string{"--listen", tcp}
	s.start(t)
	must.Do(t, connect(t, s.addr()).Set("key", "value"))
	input, pairs, err := os.Pipe()
	must.Do(t, err)
	defer pairs.Close()
	load := exec.CommandContext(t.Context(), daemontest.Program("kivaloo"), "load", "-a", tcp, "--timeout", "1s")
	load.Stdin = input
	var said strings.Builder
	load.Stderr = &said
	must.Do(t, load.Start())
	must.Do(t, input.Close())
	defer time.AfterFunc(patience, func() { load.Process.Kill() }).Stop()
	_, err = pairs.Write(somePairs)
	must.Do(t, err)
	must.Eventually(t, "a pair is stored", func() bool { value, err := connect(t, s.addr()).Get("0"); return err == nil && string(value) == "1" })
	thaw := freeze(t, s.process)
	began := time.Now()
	_, err = pairs.Write(somePairs)
	must.Do(t, err)
	if err := load.Wait(); err == nil || !strings.Contains(said.String(), "no answer within 1s: the server is stopped, stuck or cannot be reached any more") {
		t.Errorf("load: %v, said %q after %v", err, said.String(), time.Since(began))
	}
	// Over TCP nobody can see that the process is stopped.
	kivaloo(t, "", "get", "-a", tcp, "--timeout", "200ms", "key").want(t, 1, "", "no answer from "+tcp+" within 200ms: the server is stopped or busy")
	r := daemontest.Run(t, s.place, daemontest.Program("kivaloo-stress"), "load", "-n", "1", "-t", tcp, "--timeout", "200ms")
	if r.Status.ExitStatus() != 1 || !strings.Contains(r.Output, "no answer from "+tcp+" within 200ms") {
		t.Errorf("kivaloo-stress: %v, %s", r.Status, r.Output)
	}
	thaw()
}

// somePairs is a dump that fits into a pipe.
var somePairs = []byte(strings.Repeat("\x010\x011", 1<<10))
